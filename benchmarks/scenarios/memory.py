"""What a waiting event holds in memory, its receipt kept."""

from __future__ import annotations

import gc
from functools import partial

from benchmarks.machine import resident_bytes
from benchmarks.scenario import Case, Claim, Figures, Measured, Scenario
from benchmarks.shop import Opened, cart, visitors
from benchmarks.size import sized

__all__ = ["SCENARIO"]

_EVENTS = sized(200_000)


async def _waiting(people: int) -> Figures:
    crowd = visitors(people)
    async with Opened(_EVENTS) as client:
        receipts: list[object] = [None] * _EVENTS
        gc.collect()
        before = resident_bytes()
        for number in range(_EVENTS):
            receipts[number] = client.track_nowait(cart(crowd[number % people], f"sku-{number}"))
        gc.collect()
        grown = resident_bytes() - before
    return {"bytes_per_event": grown / _EVENTS}


def _claims(measured: Measured) -> list[Claim]:
    return [
        Claim.of_turns(
            "resident bytes per waiting event, 200,000 of 5,000 visitors",
            measured.turns("5,000 visitors", "bytes_per_event"),
            unit="B",
            at_most=300,
        ),
        Claim.of_turns(
            "resident bytes per waiting event, one event per visitor",
            measured.turns("200,000 visitors", "bytes_per_event"),
            unit="B",
            at_most=500,
        ),
    ]


SCENARIO = Scenario(
    title="Memory of a waiting event",
    how=(
        "200,000 cart events wait in a client that sends nothing; every receipt is kept, and every "
        "event has a product id of its own. What the process grew by, divided by the events. The "
        "visitors are made before."
    ),
    cases={
        "5,000 visitors": Case(measure=partial(_waiting, 5_000), rounds=3),
        "200,000 visitors": Case(measure=partial(_waiting, _EVENTS), rounds=3),
    },
    claims=_claims,
    figures={"bytes_per_event": "bytes per event"},
)
