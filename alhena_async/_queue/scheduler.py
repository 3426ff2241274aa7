"""Which lane is next: those that are ready stand in line for a request, others are in backoff.

Knows no clock: `now` is an argument. A lane is in here as long as anything waits in it or is
taken from it.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from math import inf
from typing import Final

from alhena_async._queue.envelope import Envelope
from alhena_async._queue.lane import Lane, LaneState
from alhena_async._replies import VerdictKind
from alhena_async.events import CartEvent
from alhena_async.transports import Endpoint

__all__ = ["LaneScheduler"]

# As in envelope.py: a member is slow to look up in Python 3.11.
_CART_READY: Final = LaneState.CART_READY

_CHECKOUT_READY: Final = LaneState.CHECKOUT_READY

_TAKEN: Final = LaneState.TAKEN

_IDLE: Final = LaneState.IDLE

_MIN_STALE: Final = 100  # entries of lanes that left the line, before it is worth dropping them


class LaneScheduler:
    """A line of ready lanes for each endpoint, and the lanes in backoff by when that ends."""

    def __init__(self) -> None:
        self.lanes: dict[tuple[str, str, str], Lane] = {}
        """All lanes by their key."""
        self.in_flight = 0
        """Envelopes taken and unresolved."""
        self.stirred = False
        """Something became ready, or due sooner than anything else; the queue tells of it."""
        self.on_taken: Callable[[Envelope], None] | None = None
        """Called when a lane has one less that waits, if that matters to anybody."""
        self.tells_of_all = False
        """Whether it matters even where nobody waits for room in the lane."""
        self._carts: deque[Lane] = deque()
        self._checkouts: deque[Lane] = deque()
        self.lines = {Endpoint.CART: self._carts, Endpoint.CHECKOUT: self._checkouts}
        """Lanes that stand in line for each endpoint; some may have left since."""
        self._backoffs: list[tuple[float, int, Lane]] = []
        self._order = itertools.count()

    # --- taking --------------------------------------------------------------------------------

    @property
    def have_ready(self) -> bool:
        """Whether a lane stands in line for any endpoint."""
        return bool(self._carts or self._checkouts)

    def take(self, endpoint: Endpoint) -> Envelope | None:
        """Return the next envelope to attempt at this endpoint, its lane taken; None if none."""
        line = self.lines[endpoint]
        ready = _CART_READY if line is self._carts else _CHECKOUT_READY
        while line:
            lane = line.popleft()
            if lane.state is not ready:
                continue
            lane.state = _TAKEN
            if lane.taken is not None:
                return lane.taken
            envelope = lane.take_head()
            self.in_flight += 1
            rare = lane.rare
            is_awaited = rare is not None and rare.callers is not None
            if (is_awaited or self.tells_of_all) and self.on_taken is not None:
                self.on_taken(envelope)
            return envelope
        return None

    def back_off(self, lane: Lane, until: float) -> None:
        """Let a lane wait for its next attempt; it stays taken."""
        lane.state = LaneState.BACKOFF
        lane.resume_at = until
        self.stirred = True
        heapq.heappush(self._backoffs, (until, next(self._order), lane))

    def hold_for_intent(self, envelope: Envelope) -> None:
        """Let a taken envelope's lane wait for the journal, before anything is sent."""
        envelope.lane.state = LaneState.WRITING_INTENT

    def resume(self, envelope: Envelope) -> None:
        """Let the lane of an envelope that was held stand in line again: first, it had its turn."""
        lane = envelope.lane
        if lane.state is LaneState.WRITING_INTENT and lane.taken is envelope:
            self._line_up(lane, first=True)

    def release(self, lane: Lane) -> None:
        """Let a lane go on whose taken envelope is settled."""
        lane.taken = None
        self.in_flight -= 1
        if lane.is_ready:
            self.reschedule(lane)  # it expired in line for a retry
        elif lane.due:
            self._line_up(lane)
        else:
            lane.state = _IDLE

    def forget(self, lane: Lane) -> None:
        """Let a lane go, if nothing of it is unsettled and nobody waits for room in it."""
        if not lane.is_needed:
            self.lanes.pop(lane.key, None)

    # --- standing in line ----------------------------------------------------------------------

    def make_ready(self, lane: Lane) -> None:
        """Let an idle lane with something due join the line."""
        if lane.state is _IDLE and lane.due:
            self._line_up(lane)

    def reschedule(self, lane: Lane) -> None:
        """Put a lane where it belongs once a waiting envelope has left it.

        One endpoint may be down for long: what comes next must not stand in the other's line.
        """
        if not lane.is_ready or lane.taken is not None:
            return
        left = lane.state
        if not lane.due:
            lane.state = _IDLE
        elif lane.head is not None and _ready_for(lane.head) is not left:
            self._line_up(lane)
        self._drop_stale(left)

    def _line_up(self, lane: Lane, *, first: bool = False) -> None:
        self.stirred = True
        envelope = lane.taken or lane.head
        assert envelope is not None  # noqa: S101  a lane in line has something to send
        ready = lane.state = _ready_for(envelope)
        line = self._carts if ready is _CART_READY else self._checkouts
        if first:
            line.appendleft(lane)
        else:
            line.append(lane)

    def _drop_stale(self, ready: LaneState) -> None:
        """Drop the places of lanes that left a line, if they are many.

        Perhaps nothing is taken from it for long.
        """
        line = self._carts if ready is _CART_READY else self._checkouts
        if len(line) > 2 * len(self.lanes) + _MIN_STALE:
            standing = [lane for lane in line if lane.state is ready]
            line.clear()
            line.extend(dict.fromkeys(standing))

    # --- time ----------------------------------------------------------------------------------

    def end_backoffs(self, now: float, budget: int) -> None:
        """Let lanes whose backoff is over stand in line again, at most `budget` of them."""
        for _ in range(budget):
            if not self._backoffs or self._backoffs[0][0] > now:
                break
            until, _order, lane = heapq.heappop(self._backoffs)
            if _is_current(lane, until):
                self._line_up(lane)

    def shorten_backoffs(self, now: float, end: float) -> None:
        """Let lanes whose backoff would outlast `end` have their next attempt now instead.

        Not those that wait for a precondition: what they need comes from elsewhere, in its time.
        """
        for index, (until, order, lane) in enumerate(self._backoffs):
            if until > end and _is_current(lane, until) and not _waits_for_precondition(lane):
                lane.resume_at = now
                self._backoffs[index] = (now, order, lane)
        heapq.heapify(self._backoffs)
        self.stirred = True

    def next_due(self) -> float:
        """Return when the next backoff ends; infinity if none does."""
        return self._backoffs[0][0] if self._backoffs else inf


def _ready_for(envelope: Envelope) -> LaneState:
    """Return the state of a lane that is in line to have this sent."""
    return _CART_READY if envelope.event.__class__ is CartEvent else _CHECKOUT_READY


def _is_current(lane: Lane, until: float) -> bool:
    """Return whether an entry of the heap still says when its lane's backoff ends."""
    return lane.state is LaneState.BACKOFF and lane.resume_at == until


def _waits_for_precondition(lane: Lane) -> bool:
    last = lane.taken.last_verdict if lane.taken is not None else None
    return last is not None and last.kind is VerdictKind.PRECONDITION
