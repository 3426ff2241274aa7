"""All unsettled events by age: who lingered long enough, who expires next, who is the oldest.

Linger and delivery timeout are constant within a kind, so the order of acceptance is the order
of every due time: a list linked through the envelopes and one cursor do the work of a heap,
without an entry per event.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from math import inf
from typing import Final

from alhena_async._queue.envelope import Envelope, EnvelopeState
from alhena_async.events import CartEvent, Event
from alhena_async.policies import RetryPolicy

__all__ = ["ArrivalHeap", "ArrivalList", "Deadlines", "expiry_detail"]

_WAITING: Final = EnvelopeState.WAITING  # as in envelope.py: a member is slow to look up

_MIN_ENTRIES: Final = 100  # of a heap, before it is worth looking for settled ones


class ArrivalList:
    """Envelopes of one kind, oldest first."""

    __slots__ = ("_cursor", "_ended_to", "_linger", "_newest", "oldest", "timeout")

    def __init__(self, *, timeout: float, linger: float) -> None:
        self.timeout = timeout
        self._linger = linger
        self.oldest: Envelope | None = None
        self._newest: Envelope | None = None
        self._cursor: Envelope | None = None
        """The first whose linger is not known to be over; all older ones are due or gone."""
        self._ended_to: Envelope | None = None
        """From the cursor up to here, nothing lingers any longer."""

    def end_linger(self) -> None:
        """End the linger of all that are in the list now."""
        if self._cursor is not None:
            self._ended_to = self._newest

    def append(self, envelope: Envelope) -> bool:
        """Add the youngest; return whether `next_due` may be sooner for it."""
        last = self._newest
        self._newest = envelope
        if last is None:
            self.oldest = envelope
        else:
            last.newer = envelope
            envelope.older = last
        if self._cursor is None and envelope.state is _WAITING:
            self._cursor = envelope
            return True
        return last is None

    def peek(self) -> Envelope | None:
        """Return the oldest."""
        return self.oldest

    def remove(self, envelope: Envelope) -> None:
        """Unlink one, wherever it stands; one that is not in the list is left alone."""
        older, newer = envelope.older, envelope.newer
        if older is None and newer is None and self.oldest is not envelope:
            return
        if self._ended_to is envelope:
            self._ended_to = None if self._cursor is envelope else older
        if self._cursor is envelope:
            self._cursor = newer
        if older is None:
            self.oldest = newer
        else:
            older.newer = newer
        if newer is None:
            self._newest = older
        else:
            newer.older = older
        envelope.older = envelope.newer = None

    def lingered(self, now: float, most: int) -> list[Envelope]:
        """Return those whose linger is over at `now`, or was ended, at most so many; each once."""
        found: list[Envelope] = []
        envelope = self._cursor
        while envelope is not None and len(found) < most:
            if self._ended_to is None and envelope.accepted_at + self._linger > now:
                break
            found.append(envelope)
            if envelope is self._ended_to:
                self._ended_to = None
            envelope = envelope.newer
        self._cursor = envelope
        return found

    def next_expired(self, now: float) -> Envelope | None:
        """Return the oldest, unlinked, if its delivery timeout is over, otherwise None."""
        envelope = self.oldest
        if envelope is None or envelope.accepted_at + self.timeout > now:
            return None
        self.remove(envelope)
        return envelope

    def next_due(self) -> float:
        """Return when there is something to do next; infinity if never."""
        due = inf if self.oldest is None else self.oldest.accepted_at + self.timeout
        if self._cursor is None:
            return due
        return -inf if self._ended_to else min(due, self._cursor.accepted_at + self._linger)


class ArrivalHeap:
    """Envelopes of one kind that come in any order of age: a heap. None of them lingers.

    A settled one is passed over when it comes up; no call is needed for it.
    """

    __slots__ = ("_bound", "_heap", "_order", "timeout")

    def __init__(self, *, timeout: float) -> None:
        self.timeout = timeout
        self._heap: list[tuple[float, int, Envelope]] = []
        self._order = itertools.count()
        self._bound = _MIN_ENTRIES
        """At this length, it is worth looking for those that are settled."""

    def add(self, envelope: Envelope) -> None:
        """Add one of any age."""
        if len(self._heap) >= self._bound:
            settled = EnvelopeState.SETTLED
            self._heap = [entry for entry in self._heap if entry[2].state is not settled]
            heapq.heapify(self._heap)
            self._bound = 2 * len(self._heap) + _MIN_ENTRIES
        heapq.heappush(self._heap, (envelope.accepted_at, next(self._order), envelope))

    @property
    def oldest(self) -> Envelope | None:
        """The oldest unsettled one."""
        while self._heap and self._heap[0][2].state is EnvelopeState.SETTLED:
            heapq.heappop(self._heap)
        return self._heap[0][2] if self._heap else None

    def peek(self) -> Envelope | None:
        """Return the oldest and change nothing, as another thread has to."""
        unsettled = [one for one in self._heap.copy() if one[2].state is not EnvelopeState.SETTLED]
        return min(unsettled)[2] if unsettled else None

    def next_expired(self, now: float) -> Envelope | None:
        """Return the oldest, forgotten here, if its delivery timeout is over, otherwise None."""
        envelope = self.oldest
        if envelope is None or envelope.accepted_at + self.timeout > now:
            return None
        heapq.heappop(self._heap)
        return envelope

    def next_due(self) -> float:
        """Return when the next delivery timeout ends; infinity if none does."""
        envelope = self.oldest
        return inf if envelope is None else envelope.accepted_at + self.timeout


class Deadlines:
    """When what expires: both kinds of events, and both kinds of replayed ones."""

    __slots__ = ("_all", "_replayed", "carts", "checkouts")

    def __init__(self, retry: RetryPolicy, *, linger: float) -> None:
        self.carts = ArrivalList(timeout=retry.cart_delivery_timeout, linger=linger)
        self.checkouts = ArrivalList(timeout=retry.checkout_delivery_timeout, linger=0.0)
        self._replayed: dict[bool, ArrivalHeap] = {}
        """By whether they are carts; made when first needed."""
        self._all: list[ArrivalList | ArrivalHeap] = [self.carts, self.checkouts]

    def of(self, envelope: Envelope) -> float:
        """Return when the envelope expires."""
        events = self.carts if envelope.event.__class__ is CartEvent else self.checkouts
        return envelope.accepted_at + events.timeout

    def timeout(self, envelope: Envelope) -> float:
        """Return its delivery timeout in seconds."""
        return self.timeout_of(envelope.event)

    def timeout_of(self, event: Event) -> float:
        """Return an event's delivery timeout in seconds."""
        return (self.carts if event.__class__ is CartEvent else self.checkouts).timeout

    def remove(self, envelope: Envelope) -> None:
        """Forget one; one that is not there is left alone."""
        (self.carts if envelope.event.__class__ is CartEvent else self.checkouts).remove(envelope)

    def add_replayed(self, envelope: Envelope) -> None:
        """Add one that an earlier process accepted; once settled, it needs no `remove`."""
        events = self._replayed.get(envelope.is_cart)
        if events is None:
            events = ArrivalHeap(timeout=self.timeout(envelope))
            self._replayed[envelope.is_cart] = events
            self._all.append(events)
        events.add(envelope)

    def next_expired(self, now: float) -> Envelope | None:
        """Return one whose delivery timeout is over, forgotten here; None if there is none."""
        for events in self._all:
            envelope = events.next_expired(now)
            if envelope is not None:
                return envelope
        return None

    def next_due(self) -> float:
        """Return when a linger or a delivery timeout ends next; infinity if never."""
        return min([events.next_due() for events in self._all])

    def oldest_age(self, now: float) -> float:
        """Return seconds since the oldest event was accepted; 0 if there is none."""
        return _age_of([events.oldest for events in self._all], now)

    def peek_oldest_age(self, now: float) -> float:
        """Return the same, on another thread than the event loop's."""
        return _age_of([events.peek() for events in self._all], now)

    def first_expiry(self) -> float:
        """Return when the first event expires; infinity if there is none."""
        ends = [events.oldest.accepted_at + events.timeout for events in self._all if events.oldest]
        return min(ends, default=inf)


def _age_of(oldest: Sequence[Envelope | None], now: float) -> float:
    moments = [one.accepted_at for one in oldest if one is not None]
    return max(0.0, now - min(moments)) if moments else 0.0


def expiry_detail(envelope: Envelope, timeout: float) -> str:
    """Return the words for an envelope whose delivery timeout is over."""
    over = f"its delivery timeout of {timeout:g} s is over"
    last = envelope.last_verdict
    return over if last is None else f"{over}; the last: {last.detail}"
