"""One visitor's lane: what waits, in order, and what of it is taken."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from alhena_async._queue.envelope import Envelope, EnvelopeState
from alhena_async._queue.flush import FlushGeneration
from alhena_async.events import CartEvent, Event

if TYPE_CHECKING:
    from alhena_async._queue.admission import Callers

__all__ = ["MOVES", "Lane", "LaneState", "never_queued"]

# As in envelope.py: a member is slow to look up in Python 3.11.
_WAITING: Final = EnvelopeState.WAITING

_DUE: Final = EnvelopeState.DUE

_IN_FLIGHT: Final = EnvelopeState.IN_FLIGHT

_MAX_LOOKED_THROUGH: Final = (
    4  # events; up to here a look back is smaller and no slower than an index
)


class LaneState(enum.Enum):
    """What a lane is doing; `MOVES` says what may follow what.

    From TAKEN, WRITING_INTENT and BACKOFF it goes on into a line or to IDLE when what was taken is
    settled, never to IDLE before that: what was taken keeps its place. A lane that left a line
    early may still have a place there, which does not count.
    """

    IDLE = "idle"
    """Nothing in it is due."""
    CART_READY = "cart ready"
    """It stands in line for a request to the cart endpoint: the first, or another attempt."""
    CHECKOUT_READY = "checkout ready"
    """It stands in line for a request to the checkout endpoint."""
    TAKEN = "taken"
    """Its turn came; one request is on the wire."""
    WRITING_INTENT = "writing intent"
    """The journal must know first that something is sent; nothing passes."""
    BACKOFF = "backoff"
    """An attempt failed, and the next one is to come; nothing passes."""


_READY: Final = (LaneState.CART_READY, LaneState.CHECKOUT_READY)

MOVES: Final[Mapping[LaneState, frozenset[LaneState]]] = {
    LaneState.IDLE: frozenset(_READY),
    LaneState.CART_READY: frozenset({LaneState.CHECKOUT_READY, LaneState.TAKEN, LaneState.IDLE}),
    LaneState.CHECKOUT_READY: frozenset({LaneState.CART_READY, LaneState.TAKEN, LaneState.IDLE}),
    LaneState.TAKEN: frozenset(
        {LaneState.WRITING_INTENT, LaneState.BACKOFF, LaneState.IDLE, *_READY}
    ),
    LaneState.WRITING_INTENT: frozenset({LaneState.BACKOFF, LaneState.IDLE, *_READY}),
    LaneState.BACKOFF: frozenset({LaneState.IDLE, *_READY}),
}


# An empty dict takes 64 bytes, and most that need one never fill it: these stay empty.
_NONE_COVERED: Final[dict[Envelope, Envelope]] = {}

_NO_ORDERS: Final[dict[str, Envelope]] = {}


class _Neighbours(dict[str, Envelope]):
    """The last waiting cart event of each product since the last checkout, in a long lane."""

    __slots__ = ("covered",)

    def __init__(self) -> None:
        super().__init__()
        self.covered = _NONE_COVERED
        """By a waiting event: the earlier one of its product that it stands before."""

    def cover(self, earlier: Envelope, later: Envelope) -> None:
        """Remember that one stands before another of its product."""
        if not self.covered:
            self.covered = {}
        self.covered[later] = earlier

    def forget(self, envelope: Envelope) -> None:
        """Offer one to nobody any more."""
        self.covered.pop(envelope, None)
        product_id = envelope.cart.product_id
        if self.get(product_id) is envelope:
            del self[product_id]


class _Rare:
    """What only some lanes need to remember."""

    __slots__ = (
        "callers", "neighbours", "orders", "precondition_at", "resume_at", "waiting_checkouts"
    )  # fmt: skip

    def __init__(self) -> None:
        self.callers: Callers | None = None
        self.neighbours: _Neighbours | None = None
        """Of a long lane alone; a short one is looked through."""
        self.orders = _NO_ORDERS
        """The last waiting checkout of each of the caller's order ids."""
        self.waiting_checkouts = 0
        self.resume_at = 0.0
        self.precondition_at: float | None = None


class Lane:
    """A FIFO of envelopes, linked through themselves, and at most one of them taken.

    There may be one for each waiting event, so each attribute costs; most lanes need these alone.

    Args:
        key: The visitor's two fingerprints, and the company's key.
    """

    __slots__ = ("due", "head", "key", "rare", "size", "state", "tail", "taken")

    def __init__(self, key: tuple[str, str, str]) -> None:
        self.key = key
        self.state = LaneState.IDLE
        self.size = 0
        """How many of its events have room: what is taken, folded or held among them."""
        self.head: Envelope | None = None
        self.tail: Envelope | None = None
        self.taken: Envelope | None = None
        """In flight: on the wire or in backoff."""
        self.due = 0
        """How many of the waiting are due."""
        self.rare: _Rare | None = None
        """Made when first needed."""

    def __iter__(self) -> Iterator[Envelope]:
        envelope = self.head
        while envelope is not None:
            following = envelope.next
            yield envelope
            envelope = following

    @property
    def is_ready(self) -> bool:
        """Whether it stands in line for a request."""
        return self.state in _READY

    @property
    def company_key(self) -> str:
        """On whose behalf its events are sent."""
        return self.key[2]

    @property
    def callers(self) -> Callers | None:
        """Who waits for room in it, if anybody does."""
        return self.rare.callers if self.rare else None

    @callers.setter
    def callers(self, callers: Callers | None) -> None:
        self._remember().callers = callers

    @property
    def waiting_checkouts(self) -> int:
        """How many checkouts wait."""
        return self.rare.waiting_checkouts if self.rare else 0

    @waiting_checkouts.setter
    def waiting_checkouts(self, count: int) -> None:
        self._remember().waiting_checkouts = count

    @property
    def resume_at(self) -> float:
        """When its backoff ends; tells a live timer entry from a stale one."""
        return self.rare.resume_at if self.rare else 0.0

    @resume_at.setter
    def resume_at(self, end: float) -> None:
        self._remember().resume_at = end

    @property
    def precondition_at(self) -> float | None:
        """When a precondition retry last began; what waited then gets none of its own."""
        return self.rare.precondition_at if self.rare else None

    @precondition_at.setter
    def precondition_at(self, began: float) -> None:
        self._remember().precondition_at = began

    def _remember(self) -> _Rare:
        if self.rare is None:
            self.rare = _Rare()
        return self.rare

    @property
    def is_needed(self) -> bool:
        """Whether anything of it is unsettled, or anybody waits for room in it."""
        return self.size > 0 or (self.rare is not None and self.rare.callers is not None)

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
            rare = self.rare
            if rare is not None and rare.neighbours is not None:
                rare.neighbours[event.product_id] = envelope
        else:
            self._append_checkout(envelope)

    def _append_checkout(self, envelope: Envelope) -> None:
        rare = self._remember()
        rare.waiting_checkouts += 1
        if rare.neighbours is not None:
            rare.neighbours = _Neighbours()  # nothing is a neighbour across a checkout
        order_id = envelope.checkout.order_id
        if order_id is not None:
            if not rare.orders:
                rare.orders = {}
            rare.orders[order_id] = envelope

    def neighbour(self, product_id: str) -> Envelope | None:
        """Return the last waiting event of a product, unless a checkout stands behind it."""
        rare = self.rare
        if rare is not None and rare.neighbours is not None:
            return rare.neighbours.get(product_id)
        if self.size <= _MAX_LOOKED_THROUGH:
            return self._look_back(product_id)
        neighbours = self._remember().neighbours = self._index()
        return neighbours.get(product_id)

    @property
    def _neighbours(self) -> _Neighbours | None:
        return self.rare.neighbours if self.rare else None

    def cover(self, earlier: Envelope, later: Envelope) -> None:
        """Remember that one stands before a neighbour, which did not fold into it."""
        neighbours = self._neighbours
        if neighbours is not None:
            neighbours.cover(earlier, later)

    def covered_by(self, envelope: Envelope) -> Envelope | None:
        """Return the neighbour that an envelope stands before, if that is known."""
        neighbours = self._neighbours
        return None if neighbours is None else neighbours.covered.get(envelope)

    def uncover(self, envelope: Envelope) -> None:
        """Let one be the next neighbour again that nothing stands before any more."""
        neighbours = self._neighbours
        if neighbours is not None and envelope.waits:
            neighbours[envelope.cart.product_id] = envelope

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
                found.cover(envelope, first[product_id])
            else:
                found[product_id] = envelope
            first[product_id] = envelope
            envelope = envelope.previous
        return found

    def waiting_order(self, order_id: str) -> Envelope | None:
        """Return the last waiting checkout with this caller's order id: it waits the longest."""
        return self.rare.orders.get(order_id) if self.rare else None

    def make_due(self, envelope: Envelope) -> None:
        """End the linger of a waiting envelope."""
        if envelope.state is _WAITING:
            envelope.state = _DUE
            self.due += 1

    def take_head(self) -> Envelope:
        """Take the first waiting envelope out of the line, for its attempts."""
        envelope = self.head
        if envelope is None or self.taken is not None:
            raise RuntimeError("only an untaken lane with a head can be taken from")
        following = self.head = envelope.next
        if following is None:
            self.tail = None
        else:
            following.previous = envelope.next = None
        if envelope.state is _DUE:
            self.due -= 1
        if self.rare is not None:
            self._forget(envelope)
        envelope.state = _IN_FLIGHT
        self.taken = envelope
        return envelope

    def remove(self, envelope: Envelope) -> None:
        """Unlink a waiting envelope, wherever it stands, and forget it as a partner."""
        self.unlink(envelope)
        self._forget(envelope)

    def _forget(self, envelope: Envelope) -> None:
        """Offer one that waits no more to nobody as a partner."""
        if envelope.event.__class__ is not CartEvent:
            self._forget_checkout(envelope)
        elif (neighbours := self._neighbours) is not None:
            neighbours.forget(envelope)

    def _forget_checkout(self, envelope: Envelope) -> None:
        rare = self._remember()
        rare.waiting_checkouts -= 1
        order_id = envelope.checkout.order_id
        if order_id and self.waiting_order(order_id) is envelope:
            del rare.orders[order_id]

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
        neighbours = self._neighbours
        if neighbours is not None and neighbours.covered:
            neighbours.covered.pop(envelope, None)


_NO_LANE: Final = Lane(("", "", ""))

_NO_GENERATION: Final = FlushGeneration()


def never_queued(event: Event, accepted_at: float) -> Envelope:
    """Return the envelope of an event that is dropped at once: no lane and no flush knows it."""
    return Envelope(event, accepted_at, _NO_LANE, _NO_GENERATION, _DUE)
