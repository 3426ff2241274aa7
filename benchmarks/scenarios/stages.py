"""Where an event's time goes, and the least that each stage could take."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs

from alhena_async import AlhenaClient, Coalescing, Endpoint, HttpPolicy, QueuePolicy
from alhena_async._http.transport import HttpTransport
from alhena_async._replies import classify
from alhena_async._wire import request_body
from benchmarks.loops import post_all, raw_post
from benchmarks.scenario import Case, Claim, Figures, Measured, Scenario
from benchmarks.shop import RECORDED, Opened, Silent, cart, fields, visitors
from benchmarks.sink import Sink

__all__ = ["SCENARIO"]

_CALLS = 5_000
_REPEATS = 20
_AT_ONCE = 32


@attrs.define(slots=True)
class _Bare:
    """An event's fields, without a rule."""

    visitor: object
    type: str
    product_id: str
    product_name: str
    value: float
    currency: str
    quantity: int


def _us(call: Callable[[], object]) -> float:
    """Return microseconds of CPU for one call: the best of many rounds, warm."""
    best = float("inf")
    for _ in range(_REPEATS):
        began = time.process_time()
        for _ in range(_CALLS):
            call()
        best = min(best, time.process_time() - began)
    return best / _CALLS * 1e6


async def _construction() -> Figures:
    visitor = visitors(1)[0]
    return {
        "us": _us(lambda: cart(visitor, "sku-1")),
        "floor_us": _us(
            lambda: _Bare(visitor, "ITEM_ADDED", "sku-1", "Stoneware mug", 9.5, "EUR", 1)
        ),
    }


async def _admission() -> Figures:
    people = visitors(500)
    events = [cart(people[number % 500], f"sku-{number}") for number in range(20_000)]
    best = float("inf")
    for _ in range(7):
        async with Opened(len(events)) as client:
            track = client.track_nowait
            began = time.process_time()
            for event in events:
                track(event)
            best = min(best, time.process_time() - began)
    line: deque[object] = deque(maxlen=10_000)
    return {
        "us": best / len(events) * 1e6,
        "floor_us": _us(lambda: line.append([events[0], None])),
    }


async def _encoding() -> Figures:
    from orjson import dumps

    event = cart(visitors(1)[0], "sku-1")
    ready = {"company_key": "bench", "type": "ITEM_ADDED", **fields("f" * 36, "sku-1")}
    ready["user_fingerprint"] = "f" * 36
    name = HttpPolicy().order_id_field
    return {
        "us": _us(
            lambda: request_body(event, company_key="bench", order_id=None, order_id_field=name)
        ),
        "floor_us": _us(lambda: dumps(ready)),
    }


async def _reply() -> Figures:
    known = {RECORDED.body: RECORDED}
    return {
        "us": _us(lambda: classify(RECORDED)),
        "floor_us": _us(lambda: known.get(RECORDED.body)),
    }


async def _dispatch() -> Figures:
    """The whole way over a transport that answers at once, admission apart."""
    people = visitors(500)
    count = 10_000
    best = float("inf")
    for _ in range(7):
        transport = Silent()
        queue = QueuePolicy(capacity=count, checkout_reserve=0.0, linger=600.0, flush_at=None)
        async with AlhenaClient(
            "bench", transport=transport, queue=queue, coalescing=Coalescing.OFF
        ) as client:
            for number in range(count):
                client.track_nowait(cart(people[number % 500], f"sku-{number}"))
            transport.gate.set()
            began = time.process_time()
            await client.flush()
            best = min(best, time.process_time() - began)
    encoded, read = await _encoding(), await _reply()
    return {
        "us": best / count * 1e6 - encoded["us"] - read["us"],
        "floor_us": await _hand_over(),
    }


async def _hand_over() -> float:
    """Return microseconds for what no dispatcher can do without: a future set and awaited."""
    loop = asyncio.get_running_loop()
    best = float("inf")
    for _ in range(_REPEATS):
        began = time.process_time()
        for _ in range(_CALLS):
            future = loop.create_future()
            loop.call_soon(future.set_result, None)
            await future
        best = min(best, time.process_time() - began)
    return best / _CALLS * 1e6


async def _request() -> Figures:
    """The transport alone, 32 at once, and raw sockets that write the same and parse nothing."""
    body = request_body(
        cart(visitors(1)[0], "sku-1"),
        company_key="bench",
        order_id=None,
        order_id_field=HttpPolicy().order_id_field,
    )
    with Sink() as sink:
        transport = HttpTransport(sink.url, HttpPolicy())
        await transport.open()
        ours = await _cpu(partial(post_all, partial(transport.send, Endpoint.CART), body, _AT_ONCE))
        await transport.close()
        async with raw_post(sink.url, _AT_ONCE) as post:
            floor = await _cpu(partial(post_all, post, body, _AT_ONCE))
    return {"us": ours, "floor_us": floor}


async def _cpu(send: Callable[[int], Any]) -> float:
    count = 3_200
    await send(320)
    began = time.process_time()
    await send(count)
    return (time.process_time() - began) / count * 1e6


_STAGES = {
    "construction and validation": _construction,
    "admission": _admission,
    "wake-up, turns, deadline, settling": _dispatch,
    "encoding": _encoding,
    "request and reply on the wire": _request,
    "reading the reply": _reply,
}


def _claims(measured: Measured) -> list[Claim]:
    total = sum(measured.median(stage, "us") for stage in _STAGES)
    floor = sum(measured.median(stage, "floor_us") for stage in _STAGES)
    return [
        Claim(what="CPU of an event over all stages, warm", value=total, unit="us"),
        Claim(what="the floors of all stages", value=floor, unit="us"),
    ]


def _draw(measured: Measured, axes: Any) -> None:
    names = list(_STAGES)
    ours = [measured.median(name, "us") for name in names]
    floors = [measured.median(name, "floor_us") for name in names]
    bars = axes.barh(names, ours, color="C1", label="alhena-async")
    axes.barh(names, floors, color="0.35", height=0.35, label="floor")
    axes.bar_label(bars, fmt="%.1f", padding=4)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("microseconds of CPU per event")
    axes.set_title("Where an event's time goes")
    axes.legend(frameon=False, loc="lower right")


SCENARIO = Scenario(
    title="Where the time goes",
    how=(
        "CPU time of each stage by itself, warm, the best of many rounds, so less than it takes "
        "among all the others. The floors: the same fields in a class without a rule; an append to "
        "a deque; a future set by the loop and awaited; orjson on a ready dict; raw sockets that "
        "parse nothing; a look-up by the reply's bytes. The third stage is what is left of a drain "
        "over a transport that answers at once, without encoding and reading."
    ),
    cases={stage: Case(measure=measure, rounds=3) for stage, measure in _STAGES.items()},
    claims=_claims,
    figures={"us": "us", "floor_us": "floor, us"},
    draw=_draw,
)
