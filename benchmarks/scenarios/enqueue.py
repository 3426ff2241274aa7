"""What a request handler waits for: the event built and accepted, beside the peers' enqueue."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from alhena_async import CartEvent
from benchmarks.machine import resident_bytes
from benchmarks.peers import ENQUEUERS
from benchmarks.scenario import Case, Claim, Figures, Measured, Scenario
from benchmarks.shop import Opened, visitors

__all__ = ["SCENARIO"]

_EVENTS = 20_000
_PEOPLE = 500
_OURS = "alhena-async"


def _timed(call: Callable[[Any, str], object], people: list[Any]) -> Figures:
    """Time each call by itself; then what all of them hold."""
    products = [f"sku-{number % 997}" for number in range(_EVENTS)]
    for number in range(2_000):  # warm
        call(people[number % _PEOPLE], products[number])
    laps = [0] * _EVENTS
    clock = time.perf_counter_ns
    gc.collect()
    before = resident_bytes()
    for number in range(_EVENTS):
        visitor, product = people[number % _PEOPLE], products[number]
        began = clock()
        call(visitor, product)
        laps[number] = clock() - began
    gc.collect()
    grown = resident_bytes() - before
    cuts = statistics.quantiles(laps, n=1000)
    return {
        "p50_us": cuts[499] / 1e3,
        "p99_us": cuts[989] / 1e3,
        "bytes_per_event": grown / _EVENTS,
    }


async def _ours() -> Figures:
    async with Opened(2 * _EVENTS) as client:
        track = client.track_nowait

        def call(visitor: Any, product: str) -> object:
            return track(
                CartEvent(
                    visitor=visitor,
                    type="ITEM_ADDED",
                    product_id=product,
                    product_name="Stoneware mug",
                    value=9.5,
                    currency="EUR",
                    quantity=1,
                )
            )

        return _timed(call, visitors(_PEOPLE))


def _peer(name: str) -> Figures:
    people = [visitor.fingerprint for visitor in visitors(_PEOPLE)]
    return _timed(ENQUEUERS[name][1](2 * _EVENTS), people)


def _claims(measured: Measured) -> list[Claim]:
    peers = [name for name in ENQUEUERS if name in measured]
    if not peers:
        return []
    fastest = measured.least(peers, "p50_us")
    return [
        Claim.of_turns(
            f"`CartEvent(...)` + `track_nowait`, p50, against the fastest peer's ({fastest})",
            measured.ratios(_OURS, fastest, "p50_us"),
            at_most=0.45,
        ),
        Claim(
            what="`CartEvent(...)` + `track_nowait`, p50",
            value=measured.median(_OURS, "p50_us"),
            unit="us",
        ),
    ]


def _draw(measured: Measured, axes: Any) -> None:
    names = [_OURS, *(name for name in ENQUEUERS if name in measured)]
    bars = axes.barh(names, [measured.median(name, "p50_us") for name in names])
    bars[0].set_color("C1")
    axes.bar_label(bars, fmt="%.1f", padding=4)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("microseconds per event, p50")
    axes.set_title("Accepting an event")


SCENARIO = Scenario(
    title="Enqueue",
    how=(
        "Each call is timed by itself, 20,000 of them after 2,000 to warm up, all with the same "
        "fields; nothing is sent meanwhile. Ours builds and validates the event and admits it to "
        "its lane, with a receipt; the peers' is the call that their documentation shows, their "
        "sending threads not started."
    ),
    cases={
        _OURS: Case(measure=_ours, rounds=7),
        **{
            name: Case(measure=partial(_peer, name), rounds=7, needs=(needs,))
            for name, (needs, _) in ENQUEUERS.items()
        },
    },
    claims=_claims,
    figures={"p50_us": "p50, us", "p99_us": "p99, us", "bytes_per_event": "bytes held"},
    draw=_draw,
)
