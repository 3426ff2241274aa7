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
from benchmarks.peers import ENQUEUERS, PRODUCE
from benchmarks.scenario import Case, Claim, Figures, Measured, Ratio, Scenario
from benchmarks.shop import Opened, visitors
from benchmarks.size import sized

__all__ = ["SCENARIO"]

_EVENTS = sized(20_000)
_WARM = sized(2_000)
_ROOM = 4 * _EVENTS
_PEOPLE = 500
_OURS = "alhena-async"
Call = Callable[[Any, str], object]


def _timed(call: Call, people: list[Any]) -> Figures:
    """Time each call by itself, with what all of them hold; then all of them without a clock."""
    _all_cpu(call, people, _WARM)
    gc.collect()
    before = resident_bytes()
    laps = _laps(call, people)
    gc.collect()
    grown = resident_bytes() - before
    cuts = statistics.quantiles(laps, n=1000)
    return {
        "p50_us": cuts[499] / 1e3,
        "p99_us": cuts[989] / 1e3,
        "cpu_us": _all_cpu(call, people, _EVENTS) / _EVENTS * 1e6,
        "bytes_per_event": grown / _EVENTS,
    }


def _laps(call: Call, people: list[Any]) -> list[int]:
    """Return the nanoseconds of each call."""
    laps = [0] * _EVENTS
    clock = time.perf_counter_ns
    for number, product in enumerate(_products(_EVENTS)):
        visitor = people[number % _PEOPLE]
        began = clock()
        call(visitor, product)
        laps[number] = clock() - began
    return laps


def _all_cpu(call: Call, people: list[Any], count: int) -> float:
    """Return the CPU seconds of so many calls, with what threads behind them do meanwhile."""
    products = _products(count)
    began = time.process_time()
    for number, product in enumerate(products):
        call(people[number % _PEOPLE], product)
    return time.process_time() - began


def _products(count: int) -> list[str]:
    return [f"sku-{number % 997}" for number in range(count)]


async def _ours() -> Figures:
    async with Opened(_ROOM) as client:
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


async def _peer(name: str) -> Figures:
    people = [visitor.fingerprint for visitor in visitors(_PEOPLE)]
    return _timed(ENQUEUERS[name][1](_ROOM), people)


_AIMS = {PRODUCE: 1.5, "Mixpanel": 0.3}
"""Whom we are held against: the fastest producer there is, in C, and the fastest peer."""


def _claims(measured: Measured) -> list[Claim]:
    ratios = [
        Claim.of_turns(
            f"`CartEvent(...)` + `track_nowait`, p50, against {name}",
            measured.ratios(_OURS, name, "p50_us"),
            at_most=aim,
        )
        for name, aim in _AIMS.items()
        if name in measured
    ]
    ours = [
        Claim.of_turns(
            f"`CartEvent(...)` + `track_nowait`, {what}", measured.turns(_OURS, figure), unit="us"
        )
        for what, figure in (("p50", "p50_us"), ("CPU, garbage collections included", "cpu_us"))
    ]
    return [*ratios, *ours]


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
        f"Each call is timed by itself, {_EVENTS:,} of them after {_WARM:,} to warm up, all with "
        "the same fields; then as many once more without a clock, for the CPU of the process with "
        "its threads. Nothing is sent meanwhile. Ours builds and validates the event and admits it "
        "to its lane, with a receipt; the peers' is the call that their documentation shows, their "
        "sending threads not started. confluent-kafka's `produce` is librdkafka's: the fields "
        "encoded with orjson, keyed by visitor, with a callback for the delivery report, into its "
        "bounded queue; there is no broker. statsig's core is in Rust, and hands full batches to "
        "its threads, which may not use the network."
    ),
    cases={
        _OURS: Case(measure=_ours, rounds=5),
        **{
            name: Case(measure=partial(_peer, name), rounds=5, needs=(needs,))
            for name, (needs, _) in ENQUEUERS.items()
        },
    },
    claims=_claims,
    figures={
        "p50_us": "p50, us",
        "p99_us": "p99, us",
        "cpu_us": "CPU us",
        "bytes_per_event": "bytes held",
    },
    ratio=Ratio(heading="p50 against ours", figure="p50_us", reference=lambda case: _OURS),
    draw=_draw,
)
