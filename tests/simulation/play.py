"""A client played by hand, a step at a time, to show the oracle a trace that is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from alhena_async import CartEvent, CheckoutEvent, LineItem, Stats, Visitor
from alhena_async.events import CartEventType, Event
from alhena_async.outcomes import Outcome, OutcomeStatus
from tests.simulation.book import End, Entry, Rules
from tests.simulation.oracle import Oracle, Violation

__all__ = ["LOST", "RECORDED", "Play", "broken"]

RECORDED = End("recorded", status=200)
LOST = End("transient", ambiguous=True)
LINES = (LineItem(product_id="p", product_name="Mug", quantity=1, value=5, currency="EUR"),)


class Play:
    """Plays a client's part by hand, a step at a time, on a clock that is set by hand."""

    def __init__(self, **rules: Any) -> None:
        self.time_now = 0.0
        self.oracle = Oracle(Rules(**rules), self)
        self.numbers = 0

    def time(self) -> float:
        return self.time_now

    def cart(self, visitor: str = "a", kind: str = "ITEM_ADDED", **more: Any) -> Entry:
        self.numbers += 1
        event = CartEvent(
            visitor=Visitor(fingerprint=visitor, faq_fingerprint="ticket"),
            type=CartEventType(kind),
            product_id=more.pop("product", "p"),
            product_name="Mug",
            value=float(self.numbers),
            currency="EUR",
            quantity=0 if kind == "ITEM_REMOVED" else 1,
        )
        return self._accept(event, **more)

    def checkout(self, visitor: str = "a", order_id: str | None = None) -> Entry:
        self.numbers += 1
        event = CheckoutEvent(
            visitor=Visitor(fingerprint=visitor, faq_fingerprint="ticket"),
            value=float(self.numbers),
            currency="EUR",
            line_items=LINES,
            order_id=order_id,
        )
        return self._accept(event)

    def _accept(self, event: Event, *, pinned: bool = False) -> Entry:
        entry = self.oracle.entry(event, "ours", pinned=pinned)
        self.oracle.accept(entry)
        return entry

    def begin(self, entry: Entry, **changes: Any) -> None:
        event = entry.event
        payload: dict[str, Any] = {
            "company_key": "ours",
            "user_fingerprint": event.visitor.fingerprint,
            "value": event.value,
        }
        if isinstance(event, CartEvent):
            payload |= {
                "type": event.type.value, "quantity": event.quantity, "product_id": event.product_id
            }  # fmt: skip
        elif event.order_id is not None:
            payload |= {"order_id": event.order_id, "orderId": event.order_id}
        else:
            payload |= {"order_id": "auto-1", "orderId": "auto-1"}
        self.oracle.wire.begin(payload | changes, checkout=not entry.is_cart)

    def attempt(self, entry: Entry, end: End = RECORDED) -> None:
        self.begin(entry)
        if end.kind == "recorded":
            self.oracle.wire.recorded(entry)
        self.oracle.wire.end(entry, end)

    def settle(self, entry: Entry, status: OutcomeStatus, **facts: Any) -> None:
        facts = {
            "attempts": entry.attempts,
            "ambiguous": entry.ambiguous,
            "elapsed": self.time_now - entry.accepted_at,
        } | facts
        self.oracle.outcome(Outcome(status=status, event=entry.event, **facts))

    def end(self, **wrong: int) -> None:
        """Let the loop become idle, with a client whose counts are right, but for `wrong`."""
        oracle = self.oracle
        outstanding = len(oracle.open_carts) + len(oracle.open_checkouts)
        counts: dict[str, Any] = {
            "accepted": oracle.accepted,
            "in_flight": oracle.wire.taken,
            "queued": outstanding - oracle.wire.taken,
            "requests": oracle.wire.attempts,
            "retries": oracle.wire.retries,
            "failed_attempts": oracle.wire.failed,
            **{status.value: oracle.counts[status] for status in OutcomeStatus},
        }
        oldest = oracle.oldest()
        age = self.time_now - oldest.accepted_at if oldest else 0.0
        stats = Stats(**{**counts, "oldest_age": age, **wrong})
        oracle.client = type("Client", (), {"stats": lambda _: stats})()
        oracle.idle()


def broken(play: Play, promise: str) -> None:
    with pytest.raises(Violation, match=promise):
        play.end()
