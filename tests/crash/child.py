"""A shop's process that is going to be killed: it tracks events, and tells what it does.

Each line goes to standard output in one unbuffered write: `accepted` the moment `await track` has
returned (what the other end of the pipe has read was promised), `adopted` and `row` as it takes
over what others left, `turn` as an event is taken out of its lane. `turns.py` reads them.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from alhena_async import (
    AlhenaClient,
    BreakerPolicy,
    CartEvent,
    CheckoutEvent,
    JournalError,
    LineItem,
    QueuePolicy,
    RetryPolicy,
    SQLiteJournal,
    Visitor,
)
from alhena_async._delivery import replay
from alhena_async._queue.envelope import Envelope, SpilledReceipt
from alhena_async.events import Event
from alhena_async.journal import Backlog, Page
from alhena_async.transports import Endpoint

__all__ = ["CAPACITY", "MAX_IN_FLIGHT", "running", "visitor"]

CAPACITY = 64
MAX_IN_FLIGHT = 8


class _TellingJournal(SQLiteJournal):
    """Tells of files that are taken over."""

    def __init__(self, config: dict[str, Any], tell: Callable[[str], object]) -> None:
        super().__init__(config["directory"], synchronous=config["synchronous"])
        self._tell = tell

    async def adopt(self) -> Sequence[Backlog]:
        adopted = await super().adopt()
        for backlog in adopted:
            self._tell(f"adopted {backlog.file}")
        return adopted


@asynccontextmanager
async def running(
    config: dict[str, Any], tell: Callable[[str], object]
) -> AsyncIterator[AlhenaClient]:
    """Run a client that works on a directory, and tells what it does."""
    async with _client_of(config, tell) as client:
        replayer, scheduler = client._engine._replayer, client._queue.scheduler
        assert replayer is not None
        put, take = replayer._merge.put, scheduler.take

        def telling_put(file: int, page: Page, asked_at: float) -> None:
            for row in page.rows:
                tell(f"row {file} {name_of(row.event)} {asked_at - row.age}")
            put(file, page, asked_at)

        def telling_take(endpoint: Endpoint) -> Envelope | None:
            envelope = take(endpoint)
            if envelope is not None:
                tell(f"turn {name_of(envelope.event)}")
            return envelope

        # Nothing was read, nor had its turn, before the loop's next turn.
        replayer._merge.put = telling_put  # type: ignore[method-assign]
        scheduler.take = telling_take  # type: ignore[method-assign]
        yield client


def _client_of(config: dict[str, Any], tell: Callable[[str], object]) -> AlhenaClient:
    return AlhenaClient(
        "crash",
        base_url=config["url"],
        coalescing="off",
        queue=QueuePolicy(
            capacity=config["capacity"],
            checkout_reserve=0.3,
            linger=0.0,
            max_in_flight=MAX_IN_FLIGHT,
        ),
        retry=RetryPolicy(
            base=0.005,
            throttle_base=0.01,
            cap=0.1,
            assign_order_ids=config["assign_order_ids"],
            retry_ambiguous_carts=config["retry_ambiguous_carts"],
            breaker=BreakerPolicy(min_calls=1_000),
        ),
        journal=_TellingJournal(config, tell),
    )


def name_of(event: Event) -> str:
    """Return the name that an event's product has."""
    return event.product_id if isinstance(event, CartEvent) else event.line_items[0].product_id


def visitor(number: int) -> Visitor:
    """Return one of the shop's visitors, the same in every process."""
    return Visitor(
        fingerprint=f"550e8400-e29b-41d4-a716-{number:012d}",
        faq_fingerprint=f"660e8400-e29b-41d4-a716-{number:012d}",
    )


def event(name: str, of: int, dice: random.Random) -> Event:
    """Return an event that its product's id names."""
    if dice.random() < 0.7:
        return CartEvent(
            visitor=visitor(of), type="ITEM_ADDED", product_id=name, product_name="Mug",
            value=9.5, currency="EUR", quantity=1,
        )  # fmt: skip
    line = LineItem(product_id=name, product_name="Mug", quantity=1, value=9.5, currency="EUR")
    order_id = f"order-{name}" if dice.random() < 0.5 else None
    return CheckoutEvent(
        visitor=visitor(of), value=9.5, currency="EUR", line_items=[line], order_id=order_id
    )


def say(line: str) -> None:
    """Write a line at once and whole."""
    os.write(1, line.encode() + b"\n")


async def shop(client: AlhenaClient, name: str, of: int, dice: random.Random) -> None:
    """One visitor's clicks, one after the other."""
    for number in range(1_000_000):
        one = f"{name}.{of}.{number}"
        try:
            receipt = await client.track(event(one, of, dice))
        except JournalError:
            continue  # it was not promised
        spilled = isinstance(receipt, SpilledReceipt)
        say(f"accepted {one} {receipt.accepted_at} {spilled:d}")
        await asyncio.sleep(dice.random() * 0.02)


async def main() -> None:
    """Live until killed."""
    config = json.loads(sys.argv[1])
    dice = random.Random(config["name"])
    replay._SECONDS_BETWEEN_LOOKS = config["seconds_between_looks"]  # type: ignore[misc]
    say("up")
    async with running(config, say) as client, asyncio.TaskGroup() as group:
        for of in range(config["visitors"]):
            group.create_task(shop(client, config["name"], of, random.Random(dice.random())))


if __name__ == "__main__":
    asyncio.run(main())
