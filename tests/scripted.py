"""A transport that answers by script, and the events and replies that engine tests are made of."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from alhena_async import (
    AlhenaClient,
    CartEvent,
    CheckoutEvent,
    Endpoint,
    Event,
    LineItem,
    OutcomeStatus,
    Reply,
    TransportError,
    Visitor,
)
from alhena_async._queue.envelope import Envelope
from alhena_async._queue.flush import FlushGeneration
from alhena_async._queue.lane import Lane
from alhena_async.testing import Answer, MemoryTransport, Sent

__all__ = [
    "HANG",
    "NEVER_SENT",
    "OK",
    "RESET",
    "Script",
    "balance",
    "cart",
    "checkout",
    "client_over",
    "code",
    "status",
    "task_of",
    "visitor",
    "waiting_envelope",
]  # fmt: skip

HANG: Answer = None
OK = Reply(200, b'{"status":"success","event_type":"CART_EVENT_RECORDED"}')
RESET = TransportError("connection lost (reset)")
NEVER_SENT = TransportError("no connection (refused)", sent=False)


def status(number: int, *, retry_after: float | None = None) -> Reply:
    """A reply without any code of the API's."""
    headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
    return Reply(number, b"{}" if 400 <= number < 500 else b"", headers)


def code(name: str, number: int = 400) -> Reply:
    """A refusal by a documented code."""
    return Reply(number, json.dumps({"status": "error", "error": name}).encode())


class Script(MemoryTransport):
    """A transport: plays the steps in order, then answers with `otherwise`.

    Args:
        *steps: One for each request.
        otherwise: Answers the requests after that; a step, or a function of the request.
        latency: Seconds from a request to its answer.
    """

    def __init__(
        self,
        *steps: Answer,
        otherwise: Answer | Callable[[Sent], Answer] = OK,
        latency: float = 0.0,
    ) -> None:
        super().__init__(latency=latency)
        self.answer(otherwise, times=None)
        for step in steps:
            self.answer(step)

    @property
    def times(self) -> list[float]:
        return [sent.at for sent in self.sent]

    @property
    def what(self) -> list[str]:
        return [_what(sent) for sent in self.sent]

    def of(self, fingerprint: str) -> list[str]:
        """What one visitor's requests were."""
        return [_what(sent) for sent in self.sent if sent.fingerprint == fingerprint]


def _what(sent: Sent) -> str:
    """`mug:ITEM_ADDED:1` for a cart event, the order id for a checkout."""
    payload = sent.payload
    if sent.endpoint is Endpoint.CHECKOUT:
        return str(payload.get("orderId"))
    return f"{payload['product_id']}:{payload['type']}:{payload['quantity']}"


def visitor(name: str = "v") -> Visitor:
    return Visitor(fingerprint=name, faq_fingerprint=f"faq-{name}")


def cart(
    who: str = "v",
    *,
    product: str = "mug",
    type: Any = "ITEM_ADDED",  # noqa: A002
    quantity: float = 1,
    currency: str = "EUR",
    source: str | None = None,
) -> CartEvent:
    return CartEvent(
        visitor=visitor(who),
        type=type,
        product_id=product,
        product_name=product,
        value=9.5,
        currency=currency,
        quantity=quantity,
        source=source,
    )


def checkout(who: str = "v", *, order_id: str | None = "order-1") -> CheckoutEvent:
    line = LineItem(product_id="mug", product_name="Mug", quantity=1, value=9.5, currency="EUR")
    return CheckoutEvent(
        visitor=visitor(who), value=9.5, currency="EUR", line_items=(line,), order_id=order_id
    )


def waiting_envelope(event: Event, accepted_at: float = 0.0) -> Envelope:
    """An envelope that lingers in a lane of its own, outside of any queue."""
    return Envelope(event, accepted_at, Lane(("v", "faq-v", "shop")), FlushGeneration())


def client_over(transport: Script, **arguments: Any) -> AlhenaClient:
    return AlhenaClient("shop", transport=transport, **arguments)


def task_of(name: str) -> asyncio.Task[object]:
    """The client's task of this name."""
    [task] = [one for one in asyncio.all_tasks() if one.get_name() == name]
    return task


def balance(client: AlhenaClient) -> None:
    """Accepted = the sum of all statuses + queued + in flight + spilled."""
    stats = client.stats()
    ended = sum(getattr(stats, kind.value) for kind in OutcomeStatus)
    unsettled = stats.queued + stats.in_flight + stats.spilled
    assert stats.accepted + stats.replayed == ended + unsettled, stats
    assert min(stats.queued, stats.in_flight, stats.spilled) >= 0
