"""What one life of publishers and relays looks like: everything here is drawn from the seed."""

from __future__ import annotations

import random
from typing import Final

import attrs

from alhena_async import HttpPolicy, RetryPolicy

__all__ = ["Fault", "Scenario", "draw"]

KINDS: Final = {
    "kill": 4,
    "stop": 2,
    "stop-resting": 3,
    "cancel": 2,
    "freeze": 3,
    "freeze-resting": 5,
    "cut": 2,
    "broker-away": 2,
    "broker-restarted": 3,
    "broker-restarted-resting": 2,
    "api-away": 3,
    "lose-publish": 2,
    "lose-done": 2,
    "lose-extend": 2,
    "lose-bury": 1,
    "kill-publisher": 1,
    "freeze-publisher": 1,
}
"""Faults, and how often each is met."""


@attrs.frozen
class Fault:
    """Something that happens to the fleet."""

    at: float
    """Seconds from the beginning."""
    kind: str
    lasts: float
    """Seconds; of what ends at once, how long nobody takes its place."""
    what: str
    """Of a call that is lost: which part of it."""
    first: bool
    """Of what can be cancelled twice, whether it is."""


@attrs.frozen(kw_only=True)
class Scenario:
    """Processes, network and visitors of one life."""

    publishers: int
    relays: int
    visitors: int
    events: int
    """Over all visitors."""
    gap: float
    """Seconds between two requests of a visitor, on average."""
    orders: float
    """The share of events that are orders."""
    lease: float
    room: int
    max_in_flight: int
    retry: RetryPolicy
    http: HttpPolicy
    drain: float
    api_latency: float
    api_faults: float
    broker_latency: float
    faults: tuple[Fault, ...]


def draw(rng: random.Random, events: int, faults: float) -> Scenario:
    """Draw a scenario of this many events.

    Args:
        rng: Decides.
        events: How many.
        faults: The share of the API's requests that fail; 0: nothing at all fails.
    """
    faults = faults if rng.random() < 0.9 else 0.0
    lease = rng.choice((6.0, 20.0, 60.0))
    visitors = rng.choice((2, 4, 4, 8))
    gap = lease * rng.choice((0.02, 0.1, 0.3))
    length = gap * max(2.0, events / visitors / 2)
    return Scenario(
        publishers=rng.choice((1, 2, 3)),
        relays=rng.choice((1, 2, 3, 3)),
        visitors=visitors,
        events=events,
        gap=gap,
        orders=rng.choice((0.0, 0.2, 0.5)),
        lease=lease,
        room=rng.choice((2, 1_024, 1_024)),
        max_in_flight=rng.choice((1, 2, 256)),
        retry=_retry(rng, lease),
        http=HttpPolicy(request_timeout=min(10.0, lease / 6)),
        drain=rng.choice((0.0, 1.0, 10.0)),
        api_latency=lease * rng.choice((0.002, 0.02, 0.08)),
        api_faults=faults * rng.choice((0.0, 1.0, 1.0, 3.0)),
        broker_latency=lease * rng.choice((0.0002, 0.002, 0.01)),
        faults=_faults(rng, lease, length) if faults else (),
    )


def _retry(rng: random.Random, lease: float) -> RetryPolicy:
    return RetryPolicy(
        base=rng.choice((0.25, lease / 10)),
        cap=rng.choice((1.0, lease / 2)),
        cart_delivery_timeout=rng.choice((900.0, 900.0, 2 * lease)),
        precondition_retries=0,
        assign_order_ids=rng.random() < 0.5,
    )


def _faults(rng: random.Random, lease: float, length: float) -> tuple[Fault, ...]:
    kinds, weights = list(KINDS), list(KINDS.values())
    count = rng.randint(1, 5)
    return tuple(
        Fault(
            at=rng.uniform(0.0, length),
            kind=kind,
            lasts=lease * rng.uniform(1.2, 2.0) if "freeze" in kind else rng.uniform(0.0, lease),
            what=rng.choice(("request", "answer", "connection")),
            first=rng.random() < 0.5,
        )
        for kind in sorted(rng.choices(kinds, weights, k=count))
    )
