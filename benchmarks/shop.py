"""The events that the benchmarks record, and clients to record them with."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from alhena_async import AlhenaClient, CartEvent, Endpoint, QueuePolicy, Reply, Visitor

__all__ = ["RECORDED", "Opened", "Silent", "cart", "fields", "visitors"]

RECORDED = Reply(200, b'{"status":"success","event_type":"CART_EVENT_RECORDED"}')


def visitors(count: int) -> list[Visitor]:
    """Make visitors with fingerprints of their own."""
    return [
        Visitor(fingerprint=str(uuid.uuid4()), faq_fingerprint=str(uuid.uuid4()))
        for _ in range(count)
    ]


def cart(visitor: Visitor, product_id: str) -> CartEvent:
    """Make the event that all benchmarks send."""
    return CartEvent(
        visitor=visitor,
        type="ITEM_ADDED",
        product_id=product_id,
        product_name="Stoneware mug",
        value=9.5,
        currency="EUR",
        quantity=1,
    )


def fields(faq_fingerprint: str, product_id: str) -> dict[str, Any]:
    """Return the same event's fields as a peer takes them; the visitor is its `distinct_id`."""
    return {
        "faq_fingerprint": faq_fingerprint,
        "product_id": product_id,
        "product_name": "Stoneware mug",
        "value": 9.5,
        "currency": "EUR",
        "quantity": 1,
    }


class Silent:
    """A transport whose gate is shut until it is opened; then it records everything at once."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()

    async def open(self) -> None:
        """Nothing to get ready."""

    async def send(self, endpoint: Endpoint, body: bytes) -> Reply:
        """Answer once the gate is open."""
        if not self.gate.is_set():
            await self.gate.wait()
        return RECORDED

    async def close(self) -> None:
        """Nothing to release."""


class Opened:
    """A started client over a silent transport, left without a drain: nothing is delivered."""

    def __init__(self, capacity: int) -> None:
        queue = QueuePolicy(capacity=capacity, checkout_reserve=0.0, linger=600.0, flush_at=None)
        self.transport = Silent()
        self.client = AlhenaClient("bench", queue=queue, transport=self.transport)

    async def __aenter__(self) -> AlhenaClient:
        await self.client.start()
        return self.client

    async def __aexit__(self, *_: object) -> None:
        await self.client.close(timeout=0)
