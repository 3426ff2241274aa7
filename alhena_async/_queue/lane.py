"""One visitor's lane: what waits, in order, and what of it is taken."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from alhena_async._queue.envelope import Envelope, EnvelopeState
from alhena_async._queue.flush import FlushGeneration
from alhena_async.events import CartEvent, Event
from alhena_async.transports import Endpoint

if TYPE_CHECKING:
    from alhena_async._queue.admission import Callers

__all__ = ["MOVES", "Lane", "LaneState", "never_queued"]

# As in envelope.py: a member is slow to look up in Python 3.11.
_DUE: Final = EnvelopeState.DUE

_IN_FLIGHT: Final = EnvelopeState.IN_FLIGHT

_MAX_LOOKED_THROUGH: Final = (
    4  # events; up to here a look back is smaller and no slower than an index
)


class LaneState(enum.Enum):
    """What a lane is doing; `MOVES` says what may follow what.

    From TAKEN, WRITING_INTENT and BACKOFF it goes on to READY or IDLE when what was taken is
    settled, never to IDLE before that: what was taken keeps its place. A lane that left a line
    early may still have a place there; `queued_for` tells which one counts.
    """

    IDLE = "idle"
    """Nothing in it is due."""
    READY = "ready"
    """It stands in line for a request: the first, or another attempt."""
    TAKEN = "taken"
    """Its turn came; one request is on the wire."""
    WRITING_INTENT = "writing intent"
    """The journal must know first that something is sent; nothing passes."""
    BACKOFF = "backoff"
    """An attempt failed, and the next one is to come; nothing passes."""


MOVES: Final[Mapping[LaneState, frozenset[LaneState]]] = {
    LaneState.IDLE: frozenset({LaneState.READY}),
    LaneState.READY: frozenset({LaneState.TAKEN, LaneState.IDLE}),
    LaneState.TAKEN: frozenset(
        {LaneState.WRITING_INTENT, LaneState.BACKOFF, LaneState.READY, LaneState.IDLE}
    ),
    LaneState.WRITING_INTENT: frozenset({LaneState.BACKOFF, LaneState.READY, LaneState.IDLE}),
    LaneState.BACKOFF: frozenset({LaneState.READY, LaneState.IDLE}),
}


class _Neighbours(dict[str, Envelope]):
    """The last waiting cart event of each product since the last checkout, in a long lane."""

    __slots__ = ("covered",)

    def __init__(self) -> None:
        super().__init__()
        self.covered: dict[Envelope, Envelope] = {}
        """By a waiting event: the earlier one of its product that it stands before."""

    def forget(self, envelope: Envelope) -> None:
        """Offer one to nobody any more."""
        product_id = envelope.cart.product_id
        if self.get(product_id) is envelope:
            del self[product_id]


class Lane:
    """A FIFO of envelopes, linked through themselves, and at most one of them taken."""

    __slots__ = (
        "_neighbours", "_orders", "callers", "company_key", "due", "head", "key",
        "precondition_at", "queued_for", "resume_at", "size", "state", "tail", "taken",
        "waiting_checkouts",
    )  # fmt: skip

    def __init__(self, key: tuple[str, ...], company_key: str) -> None:
        self.key = key
        self.company_key = company_key
        self.state = LaneState.IDLE
        self.size = 0
        """How many of its events have room: what is taken, folded or held among them."""
        self.callers: Callers | None = None
        """Who waits for room in it, if anybody does."""
        self.queued_for: Endpoint | None = None
        """Whose line it stands in while READY; its place in any other is stale."""
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
        self._neighbours: _Neighbours | None = None
        """Of a long lane alone; a short one is looked through."""
        self._orders: dict[str, Envelope] | None = None
        """The last waiting checkout of each of the caller's order ids."""

    def __iter__(self) -> Iterator[Envelope]:
        envelope = self.head
        while envelope is not None:
            following = envelope.next
            yield envelope
            envelope = following

    @property
    def is_needed(self) -> bool:
        """Whether anything of it is unsettled, or anybody waits for room in it."""
        return self.size > 0 or self.callers is not None

    def append(self, envelope: Envelope) -> None:
        """Put an envelope at the end."""
        last = self.tail
        self.tail = envelope
        if last is None:
            self.head = envelope
        else:
            last.next = envelope
            envelope.previous = last
        if envelope.state is _DUE:
            self.due += 1
        event = envelope.event
        if event.__class__ is CartEvent:
            if self._neighbours is not None:
                self._neighbours[event.product_id] = envelope
        else:
            self._append_checkout(envelope)

    def _append_checkout(self, envelope: Envelope) -> None:
        self.waiting_checkouts += 1
        if self._neighbours is not None:
            self._neighbours = _Neighbours()  # nothing is a neighbour across a checkout
        order_id = envelope.checkout.order_id
        if order_id is not None:
            if self._orders is None:
                self._orders = {}
            self._orders[order_id] = envelope

    def neighbour(self, product_id: str) -> Envelope | None:
        """Return the last waiting event of a product, unless a checkout stands behind it."""
        if self._neighbours is None:
            if self.size <= _MAX_LOOKED_THROUGH:
                return self._look_back(product_id)
            self._neighbours = self._index()
        return self._neighbours.get(product_id)

    def cover(self, earlier: Envelope, later: Envelope) -> None:
        """Remember that one stands before a neighbour, which did not fold into it."""
        if self._neighbours is not None:
            self._neighbours.covered[later] = earlier

    def covered_by(self, envelope: Envelope) -> Envelope | None:
        """Return the neighbour that an envelope stands before, if that is known."""
        return None if self._neighbours is None else self._neighbours.covered.get(envelope)

    def uncover(self, envelope: Envelope) -> None:
        """Let one be the next neighbour again that nothing stands before any more."""
        if self._neighbours is not None and envelope.waits:
            self._neighbours[envelope.cart.product_id] = envelope

    def _look_back(self, product_id: str) -> Envelope | None:
        envelope = self.tail
        while envelope is not None and envelope.event.__class__ is CartEvent:
            if envelope.event.product_id == product_id:
                return envelope
            envelope = envelope.previous
        return None

    def _index(self) -> _Neighbours:
        found = _Neighbours()
        first: dict[str, Envelope] = {}
        envelope = self.tail
        while envelope is not None and envelope.event.__class__ is CartEvent:
            product_id = envelope.event.product_id
            if product_id in found:
                found.covered[first[product_id]] = envelope
            else:
                found[product_id] = envelope
            first[product_id] = envelope
            envelope = envelope.previous
        return found

    def waiting_order(self, order_id: str) -> Envelope | None:
        """Return the last waiting checkout with this caller's order id: it waits the longest."""
        return self._orders.get(order_id) if self._orders else None

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
        envelope.state = _IN_FLIGHT
        self.taken = envelope
        return envelope

    def remove(self, envelope: Envelope) -> None:
        """Unlink a waiting envelope, wherever it stands, and forget it as a partner."""
        self.unlink(envelope)
        event = envelope.event
        if event.__class__ is CartEvent:
            if self._neighbours is not None:
                self._neighbours.forget(envelope)
        else:
            self.waiting_checkouts -= 1
            order_id = envelope.checkout.order_id
            if order_id and self._orders and self._orders.get(order_id) is envelope:
                del self._orders[order_id]

    def recall(self, moment: float) -> list[Envelope]:
        """Take those out that wait, back to one that precedes a row; return them in order."""
        recalled = []
        while self.tail is not None and not self.tail.precedes(moment):
            envelope = self.tail
            self.remove(envelope)
            envelope.state = EnvelopeState.HELD
            recalled.append(envelope)
        recalled.reverse()
        return recalled

    def unlink(self, envelope: Envelope) -> None:
        """Take a cart event out that is folded into a later one, which is about to be appended.

        That one is the partner then of whatever comes next.
        """
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
        if envelope.state is _DUE:
            self.due -= 1
        if self._neighbours is not None and self._neighbours.covered:
            self._neighbours.covered.pop(envelope, None)


_NO_LANE: Final = Lane((), "")

_NO_GENERATION: Final = FlushGeneration()


def never_queued(event: Event, accepted_at: float) -> Envelope:
    """Return the envelope of an event that is dropped at once: no lane and no flush knows it."""
    return Envelope(event, accepted_at, _NO_LANE, _NO_GENERATION, _DUE)
