"""A shop's process that is going to be killed: it tracks events, and tells of each acceptance.

A line goes to standard output, in one unbuffered write, the moment `await track` has returned:
what the other end of the pipe has read was promised. It also tells how many were on disk alone.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
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
from alhena_async.events import Event

__all__ = ["CAPACITY", "MAX_IN_FLIGHT", "client_of", "visitor"]

CAPACITY = 64
MAX_IN_FLIGHT = 8


def client_of(config: dict[str, Any]) -> AlhenaClient:
    """Return a client that works on a directory."""
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
            breaker=BreakerPolicy(min_calls=1_000),
        ),
        journal=SQLiteJournal(config["directory"], synchronous=config["synchronous"]),
    )


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
            await client.track(event(one, of, dice))
        except JournalError:
            continue  # it was not promised
        say(f"{one} {client.stats().spilled}")
        await asyncio.sleep(dice.random() * 0.02)


async def main() -> None:
    """Live until killed."""
    config = json.loads(sys.argv[1])
    dice = random.Random(config["name"])
    say("up")
    async with client_of(config) as client, asyncio.TaskGroup() as group:
        for of in range(config["visitors"]):
            group.create_task(shop(client, config["name"], of, random.Random(dice.random())))


if __name__ == "__main__":
    asyncio.run(main())
