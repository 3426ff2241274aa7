"""What the oracle keeps of each event and each lane."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

import attrs

from alhena_async.events import CartEvent, Event
from alhena_async.outcomes import Outcome

__all__ = ["MOMENT", "End", "Entry", "LaneBook", "ProductBook", "Rules", "key_of"]

MOMENT: Final = 0.001 + 1e-9
"""Seconds within which events that are accepted may share a time."""


@attrs.frozen(kw_only=True)
class Rules:
    """The policies' numbers that promises depend on; plain values, none of the engine's types."""

    capacity: int = 10_000
    lane_capacity: int = 300
    reserve: int = 0
    """Slots of the capacity that carts leave to checkouts."""
    max_in_flight: int = 32
    linger: float = 0.5
    overflow: str = "reject"
    coalescing: str = "latest"
    cart_timeout: float = 900.0
    checkout_timeout: float = 86_400.0
    request_timeout: float = 10.0
    max_attempts: int | None = None
    base: float = 0.25
    throttle_base: float = 1.0
    longest_delay: float = 30.0
    """No backoff is longer, unless the API asks for it."""
    retry_after_cap: float = 300.0
    precondition_retries: int = 1
    precondition_delay: float = 2.0
    retry_ambiguous_carts: bool = True
    assign_order_ids: bool = True
    preconditions: str = "off"
    failure_ratio: float = 1.0
    min_calls: int = 150
    open_for: float = 0.1
    open_cap: float = 5.0


@attrs.frozen
class End:
    """How an attempt truly ended: `recorded`, `code`, `terminal`, `transient`, `cancelled`."""

    kind: str
    code: str | None = attrs.field(default=None, kw_only=True)
    status: int | None = attrs.field(default=None, kw_only=True)
    ambiguous: bool = attrs.field(default=False, kw_only=True)
    pause: float = attrs.field(default=0.0, kw_only=True)
    throttled: bool = attrs.field(default=False, kw_only=True)


class ProductBook:
    """One product in one lane: its accepted events in short."""

    __slots__ = ("added", "entries", "increased", "quantity", "spoilt")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.quantity = 0.0
        self.added = False
        self.increased = False
        self.spoilt = False
        """Some event of it was lost by right, or the history makes no sense: no claims."""


class LaneBook:
    """One visitor of one company."""

    __slots__ = (
        "callers", "checkouts", "company", "full_at", "on_wire", "products", "segment",
        "served_at", "size", "taken", "turn_at", "visitor", "waiting",
    )  # fmt: skip

    def __init__(self, company: str, visitor: str) -> None:
        self.company = company
        self.visitor = visitor
        self.waiting: deque[Entry] = deque()
        """Accepted, in order, and not yet passed by an attempt."""
        self.taken: Entry | None = None
        self.on_wire: Entry | None = None
        self.size = 0
        """Accepted and not settled, what is taken included."""
        self.callers: dict[int, Entry] = {}
        """Those who wait for room in it, in the order of their calls."""
        self.served_at = 0.0
        """When its turn for room last came, or it began to wait for it."""
        self.turn_at = 0.0
        """The same at the latest: it may have been full meanwhile, and begun anew."""
        self.full_at = -1.0
        """When an event last found it full."""
        self.segment = 0
        """Counts checkouts: nothing folds across one."""
        self.checkouts: list[Entry] = []
        self.products: dict[str, ProductBook] = {}

    def product(self, product_id: str) -> ProductBook:
        book = self.products.get(product_id)
        if book is None:
            book = self.products[product_id] = ProductBook()
        return book


class Entry:
    """One event that a caller gave, and all that became of it."""

    __slots__ = (
        "accepted_at", "added", "ambiguous", "attempts", "began", "deadline", "doomed",
        "ended_at", "event", "first_step", "increased", "is_cart", "key", "lane", "last", "lost",
        "members", "order", "order_id", "outcome", "passed", "pinned", "place",
        "precondition_tries", "product", "receipt", "recorded", "segment", "sent_type", "step",
        "until", "wire_id",
    )  # fmt: skip

    def __init__(self, key: int, event: Event, lane: LaneBook, *, pinned: bool) -> None:
        self.key = key
        self.event = event
        self.lane = lane
        self.pinned = pinned
        self.is_cart = isinstance(event, CartEvent)
        self.product: str | None = event.product_id if isinstance(event, CartEvent) else None
        self.order_id: str | None = None if isinstance(event, CartEvent) else event.order_id
        self.order = -1
        """Its place among all accepted; -1: not accepted."""
        self.doomed = False
        """A filter or the lack of room drops it at once."""
        self.receipt: Any = None
        self.place = self.segment = self.step = 0
        self.accepted_at = self.deadline = self.began = self.until = self.ended_at = 0.0
        self.attempts = self.recorded = self.lost = self.precondition_tries = 0
        self.first_step = -1
        self.added = self.increased = False
        """Whether its product was added or increased before, in its lane."""
        self.ambiguous = self.passed = False
        self.last: End | None = None
        self.wire_id: str | None = None
        self.sent_type: str | None = None
        self.outcome: Outcome | None = None
        self.members: list[Entry] | None = None

    def __repr__(self) -> str:
        what = self.event.type if isinstance(self.event, CartEvent) else "CHECKOUT"
        place = f"order {self.order}, place {self.segment}.{self.place}"
        ended = self.outcome and self.outcome.status.value
        return (
            f"#{self.key} {what} {self.product or self.order_id} of {self.lane.visitor}"
            f" ({place}, {self.attempts} attempts, last {self.last}, {ended})"
        )


def key_of(value: Any) -> int:
    """Return an event's number. Its `value` carries it; a double click's second is an int."""
    return 2 * int(value) + (value.__class__ is int)
