"""A transport that answers by script, and the events and replies that engine tests are made of."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import attrs

from alhena_async import (
    AlhenaClient,
    CartEvent,
    CheckoutEvent,
    Endpoint,
    LineItem,
    OutcomeStatus,
    Reply,
    TransportError,
    Visitor,
)

__all__ = [
    "HANG",
    "NEVER_SENT",
    "OK",
    "RESET",
    "Script",
    "Sent",
    "balance",
    "cart",
    "checkout",
    "client_over",
    "code",
    "status",
    "visitor",
]  # fmt: skip

Step = Reply | Exception | None
"""A reply, an error to raise, or None: never an answer."""
HANG: Step = None
OK: Step = Reply(200, b'{"status":"success","event_type":"CART_EVENT_RECORDED"}')
RESET: Step = TransportError("connection lost (reset)")
NEVER_SENT: Step = TransportError("no connection (refused)", sent=False)


def status(number: int, *, retry_after: float | None = None) -> Reply:
    """A reply without any code of the API's."""
    headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
    return Reply(number, b"", headers)


def code(name: str, number: int = 400) -> Reply:
    """A refusal by a documented code."""
    return Reply(number, json.dumps({"status": "error", "error": name}).encode())


@attrs.frozen
class Sent:
    """A request as it arrived."""

    at: float
    endpoint: Endpoint
    body: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        return str(self.body["user_fingerprint"])

    @property
    def what(self) -> str:
        """`mug:ITEM_ADDED:1` for a cart event, the order id for a checkout."""
        body = self.body
        if self.endpoint is Endpoint.CHECKOUT:
            return str(body.get("orderId"))
        return f"{body['product_id']}:{body['type']}:{body['quantity']}"


class Script:
    """A transport: plays the steps in order, then answers with `otherwise`.

    Args:
        *steps: One for each request.
        otherwise: Answers the requests after that; a step, or a function of the request.
        latency: Seconds from a request to its answer.
    """

    def __init__(
        self, *steps: Step, otherwise: Step | Callable[[Sent], Step] = OK, latency: float = 0.0
    ) -> None:
        self.steps = deque(steps)
        self.otherwise = otherwise
        self.latency = latency
        self.sent: list[Sent] = []
        self.opened = 0
        self.closed = 0
        self.at_once = 0
        """The most requests on the wire at once."""
        self.at_once_per_visitor = 0
        self._now: Counter[str] = Counter()

    async def open(self) -> None:
        self.opened += 1

    async def close(self) -> None:
        self.closed += 1

    async def send(self, endpoint: Endpoint, body: bytes) -> Reply:
        sent = Sent(asyncio.get_running_loop().time(), endpoint, json.loads(body))
        self.sent.append(sent)
        with self._counted(sent.fingerprint):
            await asyncio.sleep(self.latency)
            return await self._answer(sent)

    async def _answer(self, sent: Sent) -> Reply:
        if self.steps:
            step = self.steps.popleft()
        else:
            step = self.otherwise(sent) if callable(self.otherwise) else self.otherwise
        if step is None:
            await asyncio.get_running_loop().create_future()
        if isinstance(step, Exception):
            raise step
        assert isinstance(step, Reply)
        return step

    @contextmanager
    def _counted(self, fingerprint: str) -> Any:
        self._now[fingerprint] += 1
        self.at_once = max(self.at_once, self._now.total())
        self.at_once_per_visitor = max(self.at_once_per_visitor, self._now[fingerprint])
        try:
            yield
        finally:
            self._now[fingerprint] -= 1

    @property
    def times(self) -> list[float]:
        return [sent.at for sent in self.sent]

    @property
    def what(self) -> list[str]:
        return [sent.what for sent in self.sent]

    def of(self, fingerprint: str) -> list[str]:
        """What one visitor's requests were."""
        return [sent.what for sent in self.sent if sent.fingerprint == fingerprint]


def visitor(name: str = "v") -> Visitor:
    return Visitor(fingerprint=name, faq_fingerprint=f"faq-{name}")


def cart(
    who: str = "v",
    *,
    product: str = "mug",
    type: str = "ITEM_ADDED",  # noqa: A002
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


def client_over(transport: Script, **arguments: Any) -> AlhenaClient:
    return AlhenaClient("shop", transport=transport, **arguments)


def balance(client: AlhenaClient) -> None:
    """Accepted = the sum of all statuses + queued + in flight."""
    stats = client.stats()
    ended = sum(getattr(stats, kind.value) for kind in OutcomeStatus)
    assert stats.accepted + stats.replayed == ended + stats.queued + stats.in_flight, stats
    assert stats.queued >= 0 <= stats.in_flight
