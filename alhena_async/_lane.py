"""One visitor's lane: what waits, in order, and what of it is taken."""

from __future__ import annotations

import enum
from collections.abc import Iterator

from alhena_async._envelope import Envelope, EnvelopeState
from alhena_async.events import CartEvent

__all__ = ["Lane", "LaneState"]


class LaneState(enum.Enum):
    """What a lane is doing.

    IDLE -> READY: something in it is due, and it joins the line for a request.
    READY -> TAKEN: its turn came; one request is on the wire.
    READY -> IDLE: its turn came, but all that was due has expired or been shed.
    TAKEN -> BACKOFF: the attempt failed; the lane stays taken, and nothing passes.
    BACKOFF -> READY: the time is over. TAKEN, BACKOFF -> READY or IDLE: its head is settled.
    Never from BACKOFF to IDLE with a head unsettled, nor READY twice in the line at once.
    """

    IDLE = "idle"
    READY = "ready"
    TAKEN = "taken"
    BACKOFF = "backoff"


class Lane:
    """A FIFO of envelopes, linked through themselves, and at most one of them taken."""

    __slots__ = (
        "company_key", "due", "head", "key", "orders", "precondition_at", "products",
        "resume_at", "state", "tail", "taken", "waiting_checkouts",
    )  # fmt: skip

    def __init__(self, key: object, company_key: str) -> None:
        self.key = key
        self.company_key = company_key
        self.state = LaneState.IDLE
        self.head: Envelope | None = None
        self.tail: Envelope | None = None
        self.taken: Envelope | None = None
        """In flight: on the wire or in backoff."""
        self.due = 0
        """How many of the waiting are due."""
        self.waiting_checkouts = 0
        self.resume_at = 0.0
        """When its backoff ends; tells a live timer entry from a stale one."""
        self.precondition_at: float | None = None
        """When a precondition retry last began; what waited then gets none of its own."""
        self.products: dict[str, Envelope] | None = None
        """The last waiting event of each product since the last checkout: who may fold."""
        self.orders: dict[str, Envelope] | None = None
        """The waiting checkouts by the caller's order id."""

    def __iter__(self) -> Iterator[Envelope]:
        envelope = self.head
        while envelope is not None:
            following = envelope.next
            yield envelope
            envelope = following

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits and nothing is taken."""
        return self.head is None and self.taken is None

    def append(self, envelope: Envelope) -> None:
        """Put an envelope at the end."""
        envelope.lane = self
        last = self.tail
        if last is None:
            self.head = envelope
        else:
            last.next = envelope
            envelope.previous = last
        self.tail = envelope
        if envelope.state is EnvelopeState.DUE:
            self.due += 1
        if envelope.event.__class__ is not CartEvent:
            self.waiting_checkouts += 1

    def make_due(self, envelope: Envelope) -> None:
        """End the linger of a waiting envelope."""
        if envelope.state is EnvelopeState.WAITING:
            envelope.state = EnvelopeState.DUE
            self.due += 1

    def take_head(self) -> Envelope:
        """Take the first waiting envelope out of the line, for its attempts."""
        envelope = self.head
        if envelope is None or self.taken is not None:
            raise RuntimeError("only an untaken lane with a head can be taken from")
        self.remove(envelope)
        envelope.state = EnvelopeState.IN_FLIGHT
        self.taken = envelope
        return envelope

    def remove(self, envelope: Envelope) -> None:
        """Unlink a waiting envelope, wherever it stands, and forget it as a partner."""
        before, after = envelope.previous, envelope.next
        if before is None:
            self.head = after
        else:
            before.next = after
        if after is None:
            self.tail = before
        else:
            after.previous = before
        envelope.previous = envelope.next = None
        if envelope.state is EnvelopeState.DUE:
            self.due -= 1
        event = envelope.event
        if event.__class__ is CartEvent:
            if self.products and self.products.get(event.product_id) is envelope:
                del self.products[event.product_id]
        else:
            self.waiting_checkouts -= 1
            order_id = event.order_id  # type: ignore[union-attr]  # a checkout
            if order_id and self.orders and self.orders.get(order_id) is envelope:
                del self.orders[order_id]
