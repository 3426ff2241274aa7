"""Events delivered per second, one request each, beside what sends the same without us."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from alhena_async import AlhenaClient, Coalescing, QueuePolicy
from benchmarks.loops import LOOPS
from benchmarks.peers import SENDERS
from benchmarks.scenario import Case, Claim, Figures, Measured, Scenario
from benchmarks.shop import cart, visitors
from benchmarks.sink import Sink

__all__ = ["SCENARIO"]

_AT_ONCE = 32
_WARM = 500
_OURS = "alhena-async"
_BARE = "bare aiohttp"
_TUNED = "tuned aiohttp"
Send = Callable[[str, int], Awaitable[None]]


async def _ours(url: str, count: int) -> None:
    people = visitors(500)
    queue = QueuePolicy(
        capacity=count, checkout_reserve=0.0, linger=0.0, flush_at=None, max_in_flight=_AT_ONCE
    )
    async with AlhenaClient(
        "bench", base_url=url, queue=queue, coalescing=Coalescing.OFF
    ) as client:
        for number in range(count):
            client.track_nowait(cart(people[number % 500], f"sku-{number % 997}"))
        await client.flush()
        assert client.stats().recorded == count


def _loop(name: str) -> Send:
    people = [visitor.fingerprint for visitor in visitors(500)]
    return lambda url, count: LOOPS[name](url, count, people, _AT_ONCE)


async def _rate(send: Send, count: int) -> Figures:
    with Sink() as sink:
        await send(sink.url, _WARM)
        began, spent = time.perf_counter(), time.process_time()
        await send(sink.url, count)
        took, spent = time.perf_counter() - began, time.process_time() - spent
    assert sink.counts["requests"] == count + _WARM
    return {"per_second": count / took, "cpu_us_per_event": spent / count * 1e6}


async def _measure_ours() -> Figures:
    return await _rate(_ours, 6_000)


async def _measure_loop(name: str, count: int) -> Figures:
    return await _rate(_loop(name), count)


def _measure_peer(name: str, count: int) -> Figures:
    send = SENDERS[name][1]
    with Sink() as sink:
        send(sink.url, 20)
        began, spent = time.perf_counter(), time.process_time()
        send(sink.url, count)
        took, spent = time.perf_counter() - began, time.process_time() - spent
    assert sink.counts["requests"] >= count + 20
    return {"per_second": count / took, "cpu_us_per_event": spent / count * 1e6}


def _on_uvloop(name: str) -> str:
    return f"{name}, uvloop"


def _claims(measured: Measured) -> list[Claim]:
    rate = partial(measured.ratios, figure="per_second")
    work = partial(measured.ratios, figure="cpu_us_per_event")
    claims = [
        Claim.of_turns(
            "delivered/s against the bare aiohttp loop", rate(_OURS, _BARE), at_least=1.15
        ),
        Claim.of_turns(
            "delivered/s against the hand-tuned aiohttp loop", rate(_OURS, _TUNED), at_least=0.95
        ),
        Claim.of_turns("CPU per event, the bare loop's against ours", work(_BARE, _OURS)),
        Claim.of_turns("CPU per event, the tuned loop's against ours", work(_TUNED, _OURS)),
    ]
    if _on_uvloop(_OURS) in measured:
        claims.append(
            Claim.of_turns(
                "delivered/s on uvloop against the tuned loop on uvloop",
                rate(_on_uvloop(_OURS), _on_uvloop(_TUNED)),
                at_least=0.9,
            )
        )
        claims.append(
            Claim.of_turns(
                "delivered/s on uvloop against the bare loop on uvloop",
                rate(_on_uvloop(_OURS), _on_uvloop(_BARE)),
            )
        )
    return claims


def _draw(measured: Measured, axes: Any) -> None:
    names = [name for name in SCENARIO.cases if name in measured]
    turns = [[run["per_second"] for run in measured.runs[name]] for name in names]
    colours = ["C1" if name.startswith(_OURS) else "C0" for name in names]
    bars = axes.barh(names, [max(rates) for rates in turns], color=colours)
    axes.bar_label(bars, labels=[f"{max(rates):,.0f}" for rates in turns], padding=6)
    for name, rates in zip(names, turns, strict=True):
        axes.plot(rates, [name] * len(rates), "|", color="black", markersize=7, alpha=0.6)
    axes.invert_yaxis()
    axes.margins(x=0.14)
    axes.set_xlabel(
        "events delivered per second, one request each, 32 at once: the best turn, and all"
    )
    axes.set_title("Delivering events")


def _cases() -> dict[str, Case]:
    cases = {_OURS: Case(measure=_measure_ours, rounds=9)}
    for name in (_BARE, _TUNED):
        cases[name] = Case(measure=partial(_measure_loop, name, 6_000), rounds=9)
    for name in (_OURS, _BARE, _TUNED):
        cases[_on_uvloop(name)] = Case(
            measure=cases[name].measure, rounds=9, needs=("uvloop",), uvloop=True
        )
    cases["raw sockets"] = Case(measure=partial(_measure_loop, "raw sockets", 6_000), rounds=3)
    cases["httpx"] = Case(measure=partial(_measure_loop, "httpx", 500), rounds=3, needs=("httpx",))
    for name, (needs, _) in SENDERS.items():
        cases[name] = Case(measure=partial(_measure_peer, name, 500), rounds=3, needs=(needs,))
    return cases


SCENARIO = Scenario(
    title="Delivery",
    how=(
        "A sink in a process of its own, on the other core, answers at once; 32 requests at a time "
        "and no coalescing. Ours is timed from the first `CartEvent(...)` to the end of `flush`. "
        "The loops build the same fields and send them from 32 tasks, without a queue, an order, "
        "a retry or an outcome: `bare` as aiohttp's first page shows it (`json=`, "
        "`await response.json()`), `tuned` with everything that its public API offers. "
        "`raw sockets` parses nothing and is the floor, not a client. The peers send one request "
        "per event from as many threads as they allow. On the standard loop a process runs in one "
        "of two gears, a fifth apart, ours and the loops alike, so that a median says which came "
        "more often: the claims are medians of the ratios, turn by turn, with the least and the "
        "most of them, and the plot shows each case's best turn, with a mark for every one."
    ),
    cases=_cases(),
    claims=_claims,
    figures={"per_second": "events/s", "cpu_us_per_event": "CPU us per event"},
    draw=_draw,
)
