"""An outage of hours on virtual time: `make outage`.

A shop of so many events a second, an API that is out of reach, memory for little of it, a journal
for the rest. Then the API is back: nothing may be lost, nothing reordered, and what came too late
is a dead letter.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import time
from collections.abc import Sequence

import attrs

from alhena_async import AlhenaClient, Coalescing, OutcomeStatus, QueuePolicy, RetryPolicy
from alhena_async.events import Event
from alhena_async.journal import Ending
from alhena_async.testing import run_virtually
from alhena_async.transports import Endpoint, Reply, TransportError
from tests.memory_journal import MemoryJournal
from tests.scripted import OK, cart, checkout

__all__ = ["Figures", "live_through", "main"]

_AT_ONCE = 200
"""Visitors in the shop at any time."""

_EACH = 6
"""Events of each; the last of every third visitor is an order."""


@attrs.frozen(kw_only=True)
class Figures:
    """What became of everything."""

    events: int
    refused: int
    """Events that found no room anywhere."""
    recorded: int
    expired: int
    letters: int
    late_orders: int
    """Orders among what expired."""
    lost: int
    reordered: int
    repeated: int
    most_in_memory: int
    most_on_disk: int
    requests_meanwhile: int
    seconds_to_recover: float


class _Api:
    """Out of reach until `back_at`; knows what it recorded, by visitor."""

    def __init__(self, back_at: float) -> None:
        self.back_at = back_at
        self.last: dict[str, int] = {}
        self.refused = self.recorded = self.reordered = self.repeated = 0

    async def open(self) -> None:
        pass

    async def send(self, endpoint: Endpoint, body: bytes) -> Reply:
        await asyncio.sleep(0.05)
        if asyncio.get_running_loop().time() < self.back_at:
            self.refused += 1
            raise TransportError("no connection (refused)", sent=False)
        payload = json.loads(body)
        order_id, visitor = payload.get("order_id"), payload["user_fingerprint"]
        number = int(payload["quantity"] if order_id is None else order_id)
        before = self.last.get(visitor, -1)
        self.reordered += number < before
        self.repeated += number == before
        self.recorded += 1
        self.last[visitor] = number
        return OK

    async def close(self) -> None:
        pass


class _Journal(MemoryJournal):
    """Counts dead letters and keeps nothing of them."""

    letters = late_orders = 0

    def settle(self, endings: Sequence[Ending]) -> None:
        super().settle(endings)
        self.groups.clear()
        for ending in endings:
            if ending.outcome.status is OutcomeStatus.EXPIRED:
                self.letters += 1
                self.late_orders += ending.order_id is not None


def _event(number: int) -> Event:
    """The next event of the shop; its number is its quantity or its order's."""
    visitor = number % _AT_ONCE + number // (_AT_ONCE * _EACH) * _AT_ONCE
    is_last = number // _AT_ONCE % _EACH == _EACH - 1
    if is_last and visitor % 3 == 0:
        return checkout(f"v{visitor}", order_id=f"{number + 1}")
    return cart(f"v{visitor}", product=f"p{number}", quantity=number + 1)


def live_through(
    *, seconds: float, rate: float, capacity: int, retry: RetryPolicy | None = None
) -> Figures:
    """Live through an outage of so many seconds, and a minute more; return what became of it."""
    return run_virtually(
        lambda: _live(seconds, rate, capacity, retry or RetryPolicy()), debug=False
    )


async def _live(seconds: float, rate: float, capacity: int, retry: RetryPolicy) -> Figures:
    loop = asyncio.get_running_loop()
    api, journal = _Api(loop.time() + seconds), _Journal(latency=0.01)
    client = AlhenaClient(
        "shop",
        transport=api,
        journal=journal,
        queue=QueuePolicy(capacity=capacity, linger=0.0),
        retry=retry,
        coalescing=Coalescing.OFF,
    )
    await client.start()
    memory = disk = number = refused = 0
    while loop.time() < api.back_at + 60:
        receipt = client.track_nowait(_event(number))
        refused += receipt.done()
        number += 1
        if number % 10 == 0:
            stats = client.stats()
            memory, disk = max(memory, stats.queued + stats.in_flight), max(disk, stats.spilled)
        await asyncio.sleep(1 / rate)
    await client.flush()
    recovered = loop.time() - api.back_at
    stats = (await client.close()).stats
    return Figures(
        events=number,
        refused=refused,
        recorded=stats.recorded,
        expired=stats.expired,
        letters=journal.letters,
        late_orders=journal.late_orders,
        lost=number - api.recorded + api.repeated - stats.expired + len(journal.rows),
        reordered=api.reordered,
        repeated=api.repeated,
        most_in_memory=memory,
        most_on_disk=disk,
        requests_meanwhile=api.refused,
        seconds_to_recover=recovered,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures. Returns 1 if anything was lost, refused, repeated or reordered."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=12.0, help="events a second")
    parser.add_argument("--capacity", type=int, default=500, help="events in memory")
    options = parser.parse_args(arguments)
    logging.getLogger("alhena_async").setLevel(logging.CRITICAL)
    before = time.process_time()
    figures = live_through(
        seconds=options.hours * 3600, rate=options.rate, capacity=options.capacity
    )
    for name, value in attrs.asdict(figures).items():
        sys.stdout.write(f"{name.replace('_', ' '):20} {value:>12,.0f}\n")
    sys.stdout.write(f"{'seconds of CPU':20} {time.process_time() - before:>12,.0f}\n")
    return int(any((figures.lost, figures.refused, figures.reordered, figures.repeated)))


if __name__ == "__main__":
    sys.exit(main())
