"""Who may come in: what the capacity, a lane's share and the checkouts' reserve leave, in turn."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import attrs

from tests.simulation.book import Entry, LaneBook

if TYPE_CHECKING:
    from tests.simulation.oracle import Oracle

__all__ = ["RoomWatch"]

_EPS = 1e-6


@attrs.define(eq=False)
class _Waiting:
    """A caller without room."""

    entry: Entry
    task: asyncio.Task[Any]
    until: float
    since: float

    def may_go(self, now: float) -> bool:
        """Whether it was called off, so that others may pass."""
        return self.task.cancelling() > 0 or self.until <= now + _EPS


class RoomWatch:
    """Judges who is let in and who is not.

    The oracle hears of what ends a turn later than the engine; where that matters, only what has
    been so since an earlier instant counts.
    """

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle
        self._line: OrderedDict[int, _Waiting] = OrderedDict()
        """All callers that wait, in the order of their calls."""

    # --- what happens --------------------------------------------------------------------------

    def wait(self, entry: Entry, task: asyncio.Task[Any], until: float) -> None:
        """A caller found no room, and waits; it keeps the place that it has."""
        lane, now = entry.lane, self._oracle.now()
        if entry.key in self._line:
            if self._oracle.journal is not None:
                lane.turn_at = now  # sent to a disk, which had no room after all: it begins anew
            return
        if not lane.callers or not (entry.is_cart or self._is_urgent(lane)):
            lane.turn_at = lane.served_at = now  # it begins to wait, or to hurry
        lane.callers[entry.key] = entry
        self._line[entry.key] = _Waiting(entry, task, until, now)

    def leave(self, entry: Entry) -> None:
        """It waits no more, without having been accepted."""
        self._forget(entry, was_served=False)

    def accepted(self, entry: Entry) -> None:
        """An event was accepted, by whatever call."""
        entry.lane.size += 1
        self._look_at(entry.lane)

    def taken(self, lane: LaneBook) -> None:
        """One less waits in a lane."""
        self._look_at(lane)

    def settled(self, lane: LaneBook) -> None:
        """An event of a lane has ended."""
        self._look_at(lane)
        lane.size -= 1

    def _look_at(self, lane: LaneBook) -> None:
        if lane.callers and lane.size >= self._oracle.rules.lane_capacity:
            lane.turn_at = self._oracle.now()  # it may have been full: its turn begins anew then

    def _forget(self, entry: Entry, *, was_served: bool) -> None:
        if self._line.pop(entry.key, None) is None:
            return
        lane = entry.lane
        was_urgent = self._is_urgent(lane)
        del lane.callers[entry.key]
        if was_served or self._is_urgent(lane) != was_urgent:
            lane.turn_at = lane.served_at = self._oracle.now()

    # --- what was right ------------------------------------------------------------------------

    def in_turn(self, entry: Entry, now: float) -> None:
        """An event of `track` or `record` was accepted: was it its turn?"""
        if entry.key in self._line:
            self._check_own_lane(entry, now)
            self._check_other_lanes(entry, now)
            self._forget(entry, was_served=True)
        else:
            self.nowait(entry, now)

    def _check_own_lane(self, entry: Entry, now: float) -> None:
        for key in entry.lane.callers:
            if key == entry.key:
                return
            earlier = self._line[key]
            if not earlier.may_go(now):
                self._oracle.expect(False, "out of turn:", entry, earlier.entry)

    def _check_other_lanes(self, entry: Entry, now: float) -> None:
        lane = entry.lane
        if self._oracle.client.stats().spilled:
            return  # the disk has room for all that came before as well
        is_urgent = self._is_urgent(lane)
        for other, first in self._standing(now):
            if other is lane or other.turn_at > now - _EPS or self._is_full(other):
                continue
            hurries = self._is_urgent(other)
            if hurries and not is_urgent:
                self._oracle.expect(False, "a checkout's turn came first:", entry, first)
            if hurries == is_urgent and other.turn_at < lane.served_at - _EPS:
                self._oracle.expect(False, "another visitor's turn came first:", entry, first)

    def nowait(self, entry: Entry, now: float) -> None:
        """An event found room at once: nobody may have waited whose room that was."""
        before = []
        for other, first in self._standing(now):
            if other is entry.lane:
                self._oracle.expect(False, "barged in before its own visitor's:", entry, first)
            elif (entry.is_cart or self._is_urgent(other)) and not self._is_full(other):
                before += [first] if other.turn_at < now - _EPS else []
        # Some may have been granted theirs in this very turn, and there was more.
        stats = self._oracle.client.stats()
        if stats.spilled:
            return  # it may be on disk, and those who waited as well in an instant
        needed = stats.queued + stats.in_flight + len(before)
        sheds = self._oracle.rules.overflow == "shed"
        needed -= sheds  # it may have made its own room, beside checkouts that came since
        fits = needed <= self._room(urgent=sheds or not entry.is_cart)
        self._oracle.expect(fits or not before, "barged in before those who wait:", entry, before)

    def no_room(self, entry: Entry) -> None:
        """`track_nowait` found no room."""
        stats, lane = self._oracle.client.stats(), entry.lane
        room = self._room(urgent=not entry.is_cart)
        lane_is_full = self._is_full(lane)
        full = stats.queued + stats.in_flight >= room or lane_is_full
        spilled = stats.spilled > 0
        self._oracle.expect(full or spilled or self._line, "there was room", entry, stats)
        journal = self._oracle.journal
        if journal is not None and journal.has_room:
            last = lane_is_full or lane.callers
            self._oracle.expect(last, "there was room on disk", entry, stats)
        if self._oracle.rules.overflow == "shed" and not self._line and not spilled:
            for other in islice(self._oracle.untouched.values(), 5):
                waits = other.receipt is not None and not other.receipt.done()
                may_be_shed = waits and (other.lane is lane or not lane_is_full)
                self._oracle.expect(not may_be_shed, "refused, with one to shed:", entry, other)

    def idle(self) -> None:
        """All work of this instant is done: nobody waits beside room."""
        stats = self._oracle.client.stats()
        if stats.spilled:
            return  # that comes first
        outstanding = stats.queued + stats.in_flight
        for lane, first in self._standing(self._oracle.now()):
            room = self._room(urgent=self._is_urgent(lane))
            in_vain = outstanding >= room or self._is_full(lane)
            self._oracle.expect(in_vain, "there is room, and somebody waits:", first)

    # --- inside --------------------------------------------------------------------------------

    def note_full(self, lane: LaneBook) -> None:
        """An event is about to come: it may cost its own lane's oldest, if that is full."""
        if self._is_full(lane):
            lane.full_at = self._oracle.now()

    def _standing(self, now: float) -> Iterator[tuple[LaneBook, Entry]]:
        """Yield the lanes with callers, and who is the first, unless one of them goes away."""
        lanes = {id(one.entry.lane): one.entry.lane for one in self._line.values()}
        for lane in lanes.values():
            if not any(self._line[key].may_go(now) for key in lane.callers):
                yield lane, next(iter(lane.callers.values()))

    def _room(self, *, urgent: bool) -> int:
        rules = self._oracle.rules
        return rules.capacity if urgent else rules.capacity - rules.reserve

    def _is_full(self, lane: LaneBook) -> bool:
        return lane.size - (lane.taken is not None) >= self._oracle.rules.lane_capacity

    def _is_urgent(self, lane: LaneBook) -> bool:
        return any(not entry.is_cart for entry in lane.callers.values())
