"""Where an event's time goes over TLS, and the least that each stage could take."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import attrs

from alhena_async import AlhenaClient, Coalescing, Endpoint, HttpPolicy, QueuePolicy
from alhena_async._http.transport import HttpTransport
from alhena_async._replies import classify
from alhena_async._wire import request_body
from benchmarks.blocking import blocking_post
from benchmarks.loops import post_all, raw_post
from benchmarks.scenario import Case, Claim, Figures, Measured, Scenario
from benchmarks.shop import RECORDED, Opened, Silent, cart, fields, visitors
from benchmarks.sink import Sink
from benchmarks.size import sized

__all__ = ["SCENARIO"]

_CALLS = sized(5_000)
_REPEATS = sized(20, least=2)
_DRAINS = sized(7, least=2)
_EVENTS = sized(10_000)
_REQUESTS = sized(1_600)
_TURNS = sized(5, least=2)
_AT_ONCE = 32
_FLOOR = "floor_us"


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
        _FLOOR: _us(lambda: _Bare(visitor, "ITEM_ADDED", "sku-1", "Stoneware mug", 9.5, "EUR", 1)),
    }


async def _admission() -> Figures:
    people = visitors(500)
    events = [cart(people[number % 500], f"sku-{number}") for number in range(2 * _EVENTS)]
    best = float("inf")
    for _ in range(_DRAINS):
        async with Opened(len(events)) as client:
            track = client.track_nowait
            began = time.process_time()
            for event in events:
                track(event)
            best = min(best, time.process_time() - began)
    line: deque[object] = deque(maxlen=10_000)
    return {
        "us": best / len(events) * 1e6,
        _FLOOR: _us(lambda: line.append([events[0], None])),
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
        _FLOOR: _us(lambda: dumps(ready)),
    }


async def _reply() -> Figures:
    known = {RECORDED.body: RECORDED}
    return {
        "us": _us(lambda: classify(RECORDED)),
        _FLOOR: _us(lambda: known.get(RECORDED.body)),
    }


async def _dispatch() -> Figures:
    """The whole way over a transport that answers at once, admission apart."""
    people = visitors(500)
    count = _EVENTS
    best = float("inf")
    for _ in range(_DRAINS):
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
        _FLOOR: await _hand_over(),
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


async def _http() -> Figures:
    """What our transport adds to raw TLS sockets, against a head joined and a reply cut."""
    async with _wires(tls=True) as wires:
        transport, raw, _ = await _costs(wires)
    return {"us": transport - raw, _FLOOR: _framing()}


def _framing() -> float:
    """Return microseconds for one request put together, and one reply taken apart."""
    head, body, reply = b"h" * 120, _body(), b"HTTP/1.1 200 OK\r\n\r\n" + RECORDED.body
    return _us(
        lambda: (
            b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body),
            reply[9:12],
            reply[reply.find(b"\r\n\r\n") + 4 :],
        )
    )


async def _tls() -> Figures:
    """What TLS adds to raw sockets: on the loop, and on sockets that block."""
    async with _wires(tls=True) as with_tls, _wires(tls=False) as without:
        _, raw_tls, blocking_tls, _, raw, blocking = await _costs([*with_tls, *without])
    return {"us": raw_tls - raw, _FLOOR: blocking_tls - blocking}


async def _loop() -> Figures:
    """Raw sockets on the loop, and sockets that block."""
    async with _wires(tls=False) as wires:
        _, raw, blocking = await _costs(wires)
    return {"us": raw, _FLOOR: blocking}


Wire = Callable[[int], Awaitable[None]]
"""Sends so many requests."""


@contextlib.asynccontextmanager
async def _wires(*, tls: bool) -> AsyncIterator[list[Wire]]:
    """Connect three ways to a sink: our transport, raw sockets on the loop, blocking ones."""
    body = _body()
    with Sink(tls=tls) as sink, blocking_post(sink, _AT_ONCE) as block:
        transport = HttpTransport(sink.url, HttpPolicy(ssl=sink.trust))
        await transport.open()

        async def blocking(count: int) -> None:
            block(body, count)

        async with raw_post(sink, _AT_ONCE) as raw:
            send = partial(transport.send, Endpoint.CART)
            yield [
                partial(post_all, send, body, _AT_ONCE),
                partial(post_all, raw, body, _AT_ONCE),
                blocking,
            ]
        await transport.close()


def _body() -> bytes:
    return request_body(
        cart(visitors(1)[0], "sku-1"),
        company_key="bench",
        order_id=None,
        order_id_field=HttpPolicy().order_id_field,
    )


async def _costs(wires: list[Wire]) -> list[float]:
    """Return microseconds of CPU for a request over each, taking turns: the best of some."""
    best = [float("inf")] * len(wires)
    for _ in range(_TURNS):
        for number, send in enumerate(wires):
            began = time.process_time()
            await send(_REQUESTS)
            best[number] = min(best[number], time.process_time() - began)
    return [spent / _REQUESTS * 1e6 for spent in best]


_ENGINE = "engine: wake-up, turns, deadline, settling"
_STAGES = {
    "building the event": _construction,
    "accepting it": _admission,
    _ENGINE: _dispatch,
    "encoding": _encoding,
    "HTTP: connection, head and reply": _http,
    "TLS": _tls,
    "loop and sockets": _loop,
    "reading the reply": _reply,
}
_BY_LOOP = (_dispatch, _http, _tls, _loop)
"""What costs something else on uvloop."""


def _on(stage: str, *, uvloop: bool) -> str:
    return f"{stage}, uvloop" if uvloop and _STAGES[stage] in _BY_LOOP else stage


def _claims(measured: Measured) -> list[Claim]:
    claims = [
        Claim.of_turns(
            f"a delivered event's share of the {_ENGINE}",
            measured.turns(_ENGINE, "us"),
            unit="us",
            at_most=6,
        ),
        Claim.of_turns(
            "what it cannot do without: a future set by the loop and awaited",
            measured.turns(_ENGINE, _FLOOR),
            unit="us",
        ),
    ]
    for uvloop in (False, True):
        stages = [_on(stage, uvloop=uvloop) for stage in _STAGES]
        if measured.has(*stages):
            loop = "uvloop" if uvloop else "asyncio"
            for what, figure in (
                ("CPU of an event over all stages", "us"),
                ("their floors", _FLOOR),
            ):
                total = sum(measured.median(stage, figure) for stage in stages)
                claims.append(Claim(what=f"{what}, over TLS on {loop}", value=total, unit="us"))
    return claims


def _draw(measured: Measured, axes: Any) -> None:
    names = list(_STAGES)
    ours = [measured.median(name, "us") for name in names]
    floors = [measured.median(name, _FLOOR) for name in names]
    bars = axes.barh(names, ours, color="C1", label="alhena-async")
    axes.barh(names, floors, color="0.35", height=0.35, label="floor")
    axes.bar_label(bars, fmt="%.1f", padding=4)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("microseconds of CPU per event, over TLS on asyncio")
    axes.set_title("Where an event's time goes")
    axes.legend(frameon=False, loc="lower right")


SCENARIO = Scenario(
    title="Where the time goes",
    how=(
        "CPU time of each stage of an event over TLS by itself, warm, the best of many rounds, so "
        "less than it takes among all the others. The engine is what is left of a drain over a "
        "transport that answers at once, without encoding and reading. HTTP is what our transport "
        "costs more than raw TLS sockets on the same loop; TLS what those cost more than plain "
        "ones; the loop and its sockets what plain ones cost. The floors: the same fields in a "
        "class without a rule; an append to a deque; a future set by the loop and awaited; orjson "
        "on a ready dict; a head and a body joined, and a reply cut at its blank line; what TLS "
        "costs more on sockets that block; such sockets without TLS and without a loop; a look-up "
        "by the reply's bytes."
    ),
    cases={
        _on(stage, uvloop=uvloop): Case(
            measure=measure, rounds=3, uvloop=uvloop, needs=("uvloop",) if uvloop else ()
        )
        for uvloop in (False, True)
        for stage, measure in _STAGES.items()
        if not uvloop or measure in _BY_LOOP
    },
    claims=_claims,
    figures={"us": "us", _FLOOR: "floor, us"},
    draw=_draw,
)
