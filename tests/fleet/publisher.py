"""A web process of the shop: a line in is a request of a visitor, a line out its answer.

    python -m tests.fleet.publisher nats://127.0.0.1:4222

In: `VISITOR NAME` for a cart event, `VISITOR NAME ORDER` for an order. Out: `STATUS NAME`, once the
event has ended.
"""

from __future__ import annotations

import asyncio
import sys

from alhena_async import CartEvent, CheckoutEvent, LineItem, Visitor
from alhena_async.events import Event
from alhena_async.relay import Publisher

__all__ = ["event_of"]


def event_of(visitor: str, name: str, order_id: str | None = None) -> Event:
    """Return the event that a line says."""
    who = Visitor(fingerprint=visitor, faq_fingerprint=f"faq-{visitor}")
    if order_id is None:
        return CartEvent(
            visitor=who,
            type="ITEM_ADDED",
            product_id=name,
            product_name="Mug",
            value=5,
            currency="EUR",
            quantity=1,
        )
    line = LineItem(product_id=name, product_name="Mug", quantity=1, value=5, currency="EUR")
    return CheckoutEvent(
        visitor=who, value=5, currency="EUR", line_items=(line,), order_id=order_id
    )


async def _serve(servers: str) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with Publisher("shop", broker=servers, coalescing="off") as shop:
        requests: set[asyncio.Task[None]] = set()
        async for line in reader:
            task = asyncio.create_task(_answer(shop, line.decode().split()))
            requests.add(task)
            task.add_done_callback(requests.discard)
        if requests:
            await asyncio.wait(requests)


async def _answer(shop: Publisher, words: list[str]) -> None:
    outcome = await shop.track_nowait(event_of(*words))
    sys.stdout.write(f"{outcome.status.value} {words[1]}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
