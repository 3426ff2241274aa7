"""What is still delivered when a share of the requests fails."""

from __future__ import annotations

import asyncio
import contextlib
import time
from functools import partial
from typing import Any, Final

from alhena_async import AlhenaClient, Coalescing, QueuePolicy, Stats
from benchmarks.scenario import Case, Claim, Figures, Measured, Scenario
from benchmarks.shop import cart, visitors
from benchmarks.sink import Sink

__all__ = ["SCENARIO"]

_SECONDS = 10.0
_LATENCY = 0.1
_SHARES: Final = tuple(tenth / 10 for tenth in range(10))
_DEAD = "all fail, 2,000 waiting"
_DEAD_SECONDS = 5.0
_WAITING = 2_000
_SLOW = "ten times slower"
_BEFORE: Final = {
    "0% fail": (297.9, 1.011),
    "10% fail": (273.5, 1.128),
    "20% fail": (247.7, 1.259),
    "30% fail": (211.4, 1.455),
    "40% fail": (181.2, 1.708),
    "50% fail": (7.23, 1.986),
    "60% fail": (2.10, 2.571),
    "70% fail": (1.40, 3.714),
    "80% fail": (0.80, 6.5),
    "90% fail": (0.80, 6.5),
    _SLOW: (28.8, 1.111),
    _DEAD: (0.0, 51.0),
}
"""Events/s and requests per event of the breaker that opened at half of 30 s failing, measured in
the same way, on the same machine, two turns each."""


async def _delivered(case: str, faults: float = 0.0, latency: float = _LATENCY) -> Figures:
    """Deliver for some seconds, events coming as fast as there is room."""
    people = visitors(5_000)
    queue = QueuePolicy(linger=0.0)
    with Sink(faults=faults, latency=latency) as sink:
        client = AlhenaClient("bench", base_url=sink.url, queue=queue, coalescing=Coalescing.OFF)
        await client.start()

        async def feed() -> None:
            number = 0
            while True:
                await client.track(cart(people[number % 5_000], f"sku-{number}"))
                number += 1
                if number % 100 == 0:
                    await asyncio.sleep(0)

        feeding = asyncio.create_task(feed())
        began = time.perf_counter()
        await asyncio.sleep(_SECONDS)
        stats, took = client.stats(), time.perf_counter() - began
        feeding.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await feeding
        await client.close(timeout=0)
    return _figures(case, stats, took)


async def _dead() -> Figures:
    """Let as many events wait for an API at which all fails; count what it is asked."""
    with Sink(faults=1.0) as sink:
        client = AlhenaClient("bench", base_url=sink.url, queue=QueuePolicy(linger=0.0))
        await client.start()
        for number, person in enumerate(visitors(_WAITING)):
            client.track_nowait(cart(person, f"sku-{number}"))
        await asyncio.sleep(_DEAD_SECONDS)
        stats = client.stats()
        await client.close(timeout=0)
    return _figures(_DEAD, stats, _DEAD_SECONDS)


def _figures(case: str, stats: Stats, took: float) -> Figures:
    before_per_second, before_requests_per_event = _BEFORE[case]
    return {
        "per_second": stats.recorded / took,
        "before_per_second": before_per_second,
        "requests_per_event": stats.requests / max(1, stats.recorded),
        "before_requests_per_event": before_requests_per_event,
        "requests": float(stats.requests),
        "lost": float(stats.accepted - stats.recorded - stats.queued - stats.in_flight),
    }


def _name(share: float) -> str:
    return f"{share:.0%} fail"


def _of_the_possible(measured: Measured, share: float, figure: str = "per_second") -> float:
    healthy = measured.median(_name(0.0), figure)
    return measured.median(_name(share), figure) / ((1 - share) * healthy)


def _claims(measured: Measured) -> list[Claim]:
    worst = min(_SHARES, key=lambda share: _of_the_possible(measured, share))
    most = max(
        measured.median(_name(share), "requests_per_event") * (1 - share) for share in _SHARES
    )
    return [
        Claim(
            what="delivered/s of (1 - f) times the healthy rate, "
            f"least of f = 0 to 0.9 (at {worst})",
            value=_of_the_possible(measured, worst),
            at_least=0.9,
        ),
        Claim(what="requests per event, times (1 - f), most of them", value=most, at_most=1.3),
        Claim(
            what=f"requests to an API at which all fail, in {_DEAD_SECONDS:g} s, 2,000 waiting",
            value=measured.median(_DEAD, "requests"),
            unit="",
            at_most=399,
        ),
        Claim(
            what="requests per event at ten times the latency",
            value=measured.median(_SLOW, "requests_per_event"),
            at_most=1.15,
        ),
    ]


def _draw(measured: Measured, axes: Any) -> None:
    shares = list(_SHARES)
    healthy = measured.median(_name(0.0), "per_second")
    axes.plot(shares, [(1 - f) * healthy for f in shares], color="0.75", label="what succeeds")
    for figure, label in (("before_per_second", "before"), ("per_second", "now")):
        rates = [measured.median(_name(f), figure) for f in shares]
        axes.plot(shares, rates, marker="o", markersize=4, label=label)
    axes.set_xlabel("share of requests that fail")
    axes.set_ylabel("recorded events/s")
    axes.set_xlim(0, 0.95)
    axes.set_ylim(0)
    axes.legend(frameon=False)


SCENARIO = Scenario(
    title="Faults",
    how=(
        f"A sink answers after {_LATENCY * 1e3:g} ms, and that share of the requests with 500, 502 "
        "or a closed connection, in equal parts, by chance with a fixed seed. Events of 5,000 "
        f"visitors come as fast as there is room, for {_SECONDS:g} s, under the default policies: "
        "32 requests at once; an event that failed is tried again after a backoff, and its "
        "visitor's later ones wait for it. `before` is the breaker that opened at half of the "
        "replies of 30 s failing, measured once in the same way. Requests per event count the 32 "
        "that are on the wire at the end. `lost` counts events that ended in any other way than "
        f"recorded. Where all fail, {_WAITING:,} events wait for {_DEAD_SECONDS:g} s, and the sink "
        f"answers at once; the requests are for one event that never came."
    ),
    cases={
        **{
            _name(share): Case(measure=partial(_delivered, _name(share), share), rounds=1)
            for share in _SHARES
        },
        _DEAD: Case(measure=_dead, rounds=1),
        _SLOW: Case(measure=partial(_delivered, _SLOW, latency=10 * _LATENCY), rounds=1),
    },
    claims=_claims,
    figures={
        "per_second": "events/s",
        "before_per_second": "before",
        "requests_per_event": "requests per event",
        "before_requests_per_event": "before",
        "requests": "requests",
        "lost": "lost",
    },
    draw=_draw,
)
