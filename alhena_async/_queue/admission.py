"""Room: how much may be outstanding, how much of it one lane may have, and who waits for it.

An event takes one slot of `capacity`; one that is larger than a slot's share of `capacity_bytes`
takes several. Of one lane no more than `lane_capacity` events wait, so that no visitor takes the
room of all others, and carts leave `checkout_reserve` to the checkouts. What is set free goes to
those who wait, lane by lane in turn, lanes with a checkout first. While events are on disk alone,
it goes to them; only a checkout that overtakes none of its own lane enters beside them.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Callable
from sys import getsizeof
from typing import TYPE_CHECKING, Final

from alhena_async._queue.spill import Spill
from alhena_async.events import (
    MAX_SOURCE_CHARACTERS,
    CartEvent,
    Event,
    LineItem,
)
from alhena_async.policies import QueuePolicy

if TYPE_CHECKING:
    from alhena_async._queue.backlog import Backlogs
    from alhena_async._queue.lane import Lane

__all__ = ["MAX_ROWS_PER_PAGE", "Admission", "Callers", "bytes_of"]

_EVENT_BYTES: Final = 640  # an event with its receipt, its lane and its visitor, texts aside

_LINE_BYTES: Final = 160  # a line item, texts aside

_MAX_BYTES_PER_CHARACTER: Final = 4

_TEXT_BYTES: Final = 80  # a text, its characters aside

MAX_ROWS_PER_PAGE: Final = 250  # keeps each turn of the loop short

_SLOT_BYTES: Final = 10_000
"""Bytes of a slot where the policy sets no bound: enough for what nearly every shop sends."""


def bytes_of(event: Event) -> int:
    """Return about how much memory an event takes while it waits; nothing is encoded for it."""
    if isinstance(event, CartEvent):
        return _EVENT_BYTES + _text_bytes(event) + getsizeof(event.source)
    return _EVENT_BYTES + sum([_LINE_BYTES + _text_bytes(line) for line in event.line_items])


def _text_bytes(item: CartEvent | LineItem) -> int:
    return getsizeof(item.product_id) + getsizeof(item.product_name)


class Callers:
    """Who waits for room in one lane, first come first served."""

    __slots__ = ("checkouts", "granted", "waiting")

    def __init__(self) -> None:
        self.waiting: OrderedDict[asyncio.Future[bool], tuple[int, Event]] = OrderedDict()
        """Each with its ticket and its event, in the order of the tickets."""
        self.checkouts = 0
        """How many of the waiting have a checkout: those before it hurry for its sake."""
        self.granted = 0
        """How many were granted room and have not come back for it yet."""

    def append(self, waiter: asyncio.Future[bool], event: Event, ticket: int) -> None:
        """Let one wait: behind the others, unless its ticket says that it was there before."""
        was_there = bool(self.waiting) and ticket < next(reversed(self.waiting.values()))[0]
        self.waiting[waiter] = ticket, event
        if was_there:
            self.waiting = OrderedDict(sorted(self.waiting.items(), key=_ticket_of))
        self.checkouts += event.__class__ is not CartEvent

    def pop(self) -> tuple[asyncio.Future[bool], Event]:
        """Return the first, who waits no more."""
        waiter, (_, event) = self.waiting.popitem(last=False)
        self.checkouts -= event.__class__ is not CartEvent
        return waiter, event

    def remove(self, waiter: asyncio.Future[bool]) -> None:
        """Let one go, wherever it stands; one that does not wait any more is left alone."""
        _, event = self.waiting.pop(waiter, (0, None))
        self.checkouts -= event is not None and event.__class__ is not CartEvent

    def are_behind(self, ticket: int | None) -> bool:
        """Return whether a caller with this ticket comes before all others; None has none."""
        if ticket is None:
            return False
        return not self.waiting or ticket < next(iter(self.waiting.values()))[0]


def _ticket_of(waiting: tuple[asyncio.Future[bool], tuple[int, Event]]) -> int:
    return waiting[1][0]


class Admission:
    """Counts the room that is taken, and grants what is free to callers that wait.

    Args:
        policy: How much there is, and for whom.
        spill: What is on disk alone; None: nothing ever is.
        backlogs: Which events wait behind a dead process's rows; None: none ever does.
    """

    __slots__ = (
        "_backlogs", "_granted", "_pager", "_parked", "_patient", "_replayer",
        "_reserved_for_page", "_reserved_for_replay", "_slot_bytes", "_tickets",
        "_urgent", "capacity", "lane_capacity", "large", "open_below", "reserve", "short", "spill",
        "taken",
    )  # fmt: skip

    def __init__(
        self,
        policy: QueuePolicy,
        spill: Spill | None = None,
        backlogs: Backlogs | None = None,
    ) -> None:
        self.capacity = policy.capacity
        self.lane_capacity = policy.lane_capacity
        self.taken = 0
        """Events that have room, or were granted it."""
        self._granted = 0
        """Those of them whose callers have not come back for it yet."""
        self.large = 0
        """Slots that large events take beyond their first."""
        self.reserve = int(policy.capacity * policy.checkout_reserve)
        """Slots that carts leave to checkouts."""
        room = policy.capacity_bytes or _SLOT_BYTES * policy.capacity
        self._slot_bytes = room / policy.capacity
        for_characters = self._slot_bytes - _EVENT_BYTES - 3 * _TEXT_BYTES
        self.short = for_characters / _MAX_BYTES_PER_CHARACTER - MAX_SOURCE_CHARACTERS
        """A cart event with an id and a name of no more characters takes one slot."""
        self.spill = spill or Spill()
        self._backlogs = backlogs
        self._reserved_for_replay = 0
        self._replayer: asyncio.Future[None] | None = None
        self._reserved_for_page = 0
        """Slots for the page that is being read of what is on disk alone."""
        self._pager: asyncio.Future[None] | None = None
        # Every lane with callers that wait is in one of these lines. Urgent: with a checkout among
        # them. Patient: without. Parked: the lane itself is full.
        self._urgent: OrderedDict[Lane, None] = OrderedDict()
        self._patient: OrderedDict[Lane, None] = OrderedDict()
        self._parked: OrderedDict[Lane, None] = OrderedDict()
        self._tickets = itertools.count()
        self.open_below = 0
        """With less taken than this, a short cart event enters without a closer look: there is
        room, and nobody waits who comes before it."""
        self._measure()

    @property
    def outstanding(self) -> int:
        """Events that have room."""
        return self.taken - self._granted

    # --- at once -------------------------------------------------------------------------------

    @property
    def has_room(self) -> bool:
        """Whether a cart event may enter at once, if its lane has room."""
        return self.taken < self.open_below

    def try_acquire(self, lane: Lane, event: Event) -> bool:
        """Take room, if an event may enter its lane at once; return whether it could."""
        if not (
            self.taken < self.open_below
            and lane.size < self.lane_capacity
            and event.__class__ is CartEvent
            and len(event.product_id) + len(event.product_name) <= self.short
        ):
            return self._look_closer(lane, event)
        self.taken += 1
        lane.size += 1
        return True

    def _look_closer(self, lane: Lane, event: Event) -> bool:
        is_checkout = event.__class__ is not CartEvent
        if self.is_full(lane) or self.others_wait(lane, is_checkout=is_checkout):
            return False
        if self.spill.count and (not is_checkout or self.spill.of(lane)):
            return False
        if self._has_room(is_checkout=is_checkout):
            self.take(lane, event)
            return True
        return False

    def is_full(self, lane: Lane) -> bool:
        """Whether as many events of a lane wait as may, on disk or in memory."""
        waiting = lane.size - (lane.taken is not None)
        if self.spill.count:
            waiting += self.spill.of(lane)
        return waiting >= self.lane_capacity

    def others_wait(self, lane: Lane, *, is_checkout: bool) -> bool:
        """Whether somebody waits for room who comes before a new event of this lane."""
        if lane.callers is not None or self._urgent:
            return True
        return bool(self._patient) and not is_checkout

    def take(self, lane: Lane, event: Event) -> int:
        """Take room for an event, which the caller has seen is there; return how many slots."""
        slots = self.slots_of(event)
        self.taken += 1
        lane.size += 1
        self._add_large(slots - 1)
        return slots

    def release(self, lane: Lane, event: Event) -> None:
        """Give an event's room back. `grant` passes it on."""
        self.taken -= 1
        lane.size -= 1
        if self.large:
            self._add_large(1 - self.slots_of(event))
        if lane.rare is not None and lane.rare.callers is not None:
            self.look_anew(lane)

    def slots_of(self, event: Event) -> int:
        """Return how many slots an event takes."""
        return max(1, -int(-bytes_of(event) // self._slot_bytes))

    def _add_large(self, slots: int) -> None:
        if slots:
            self.large += slots
            self._measure()

    def _has_room(self, *, is_checkout: bool) -> bool:
        return self._free > (0 if is_checkout else self.reserve)

    @property
    def _free(self) -> int:
        reserved = self._reserved_for_replay + self._reserved_for_page
        return self.capacity - self.taken - self.large - reserved

    def _measure(self) -> None:
        others = self._urgent or self._patient or self._granted or self.spill.count
        self.open_below = 0 if others else self._free + self.taken - self.reserve

    # --- waiting -------------------------------------------------------------------------------

    def ticket(self) -> int:
        """Return the place of who comes now."""
        return next(self._tickets)

    async def acquire(self, lane: Lane, event: Event, ticket: int | None = None) -> bool:
        """Wait for room and take it: behind the lane's own callers, in turn with other lanes'.

        Cancelled while it waits, nothing is taken; cancelled after the room was granted, that goes
        to the next.

        Args:
            lane: Where.
            event: What for.
            ticket: The caller's place among those of its lane, if it had one before.

        Returns:
            False: there is none, nothing was taken, and the disk may have room.
        """
        callers = lane.callers = lane.callers or Callers()
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        callers.append(waiter, event, self.ticket() if ticket is None else ticket)
        self.look_anew(lane)
        self.grant()
        try:
            if waiter.done():  # it took others of its lane along, who come back before it
                await asyncio.sleep(0)
            has_room = await waiter
        except asyncio.CancelledError:
            callers.remove(waiter)
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._come_back(lane, callers, has_room=waiter.result())
                if waiter.result():
                    self.release(lane, event)
            self.look_anew(lane)
            self.grant()
            raise
        self._come_back(lane, callers, has_room=has_room)
        return has_room

    def _come_back(self, lane: Lane, callers: Callers, *, has_room: bool) -> None:
        callers.granted -= 1
        self._granted -= has_room
        self.look_anew(lane)

    def look_anew(self, lane: Lane) -> None:
        """Let a lane stand where it belongs, whose callers or whose events have changed."""
        callers = lane.callers
        if callers is None:
            return
        if not callers.waiting:
            right = None
        elif self.is_full(lane):
            right = self._parked
        else:
            right = self._urgent if callers.checkouts else self._patient
        for line in (self._urgent, self._patient, self._parked):
            if line is not right:
                line.pop(lane, None)
        if right is not None:
            right.setdefault(lane)
        elif not callers.granted:
            lane.callers = None
        self._measure()

    def grant(self) -> None:
        """Give what is free to those who wait: first of all to what is on disk alone."""
        if self.spill.count:
            if self._pager is not None and self._has_room_for_page and not self._pager.done():
                self._pager.set_result(None)
        elif self._urgent or self._patient:
            self._grant_to_callers()
        if self._replayer is not None and self.room_for_replay and not self._replayer.done():
            self._replayer.set_result(None)

    def _grant_to_callers(self) -> None:
        while self._urgent and self._has_room(is_checkout=True):
            self._grant_to(self._urgent.popitem(last=False)[0])
        while self._patient and self._has_room(is_checkout=False):
            self._grant_to(self._patient.popitem(last=False)[0])

    def _grant_to(self, lane: Lane) -> None:
        """Give room to a lane's first caller; if others of it wait, its turn comes again."""
        callers = lane.callers
        assert callers is not None  # noqa: S101  it stood in a line
        waiter, event = callers.pop()
        if not waiter.done():  # else it is about to be withdrawn
            callers.granted += 1
            self._granted += 1
            self.take(lane, event)
            waiter.set_result(True)
        self.look_anew(lane)

    def fail_waiters(self, make_error: Callable[[], Exception]) -> None:
        """Fail every caller that waits."""
        for lane in [*self._urgent, *self._patient, *self._parked]:
            callers = lane.callers
            while callers is not None and callers.waiting:
                waiter, _ = callers.pop()
                if not waiter.done():
                    waiter.set_exception(make_error())
            self.look_anew(lane)

    # --- on disk alone -------------------------------------------------------------------------

    def send_to_disk(self) -> None:
        """Let those who wait for room try the disk, which has some: all but those of full lanes."""
        for lane in [*self._urgent, *self._patient]:
            callers = lane.callers
            while callers is not None and callers.waiting:
                waiter, _ = callers.pop()
                if not waiter.done():  # else it is about to be withdrawn
                    callers.granted += 1
                    waiter.set_result(False)
            self.look_anew(lane)

    def spill_changed(self) -> None:
        """Hear that something is on disk alone now, or that nothing is any more."""
        self._measure()
        self.grant()

    @property
    def _room_for_page(self) -> int:
        return self._free - self.reserve

    @property
    def _has_room_for_page(self) -> bool:
        """Whether it is worth reading a page: a quarter of what it could ever be."""
        most = self.capacity - self.reserve - self._reserved_for_replay
        return self._room_for_page >= max(1, min(MAX_ROWS_PER_PAGE, most // 4))

    async def wait_to_page(self) -> int:
        """Wait until something is on disk alone and there is room for it; one caller a time.

        Returns:
            How many slots there are; they are kept free until `end_page`.
        """
        while not (self.spill.count and self._has_room_for_page):
            self._pager = asyncio.get_running_loop().create_future()
            try:
                await self._pager
            finally:
                self._pager = None
        self._reserved_for_page = min(self._room_for_page, MAX_ROWS_PER_PAGE)
        return self._reserved_for_page

    def end_page(self) -> None:
        """Let go of what was kept free for a page: its events take what they need."""
        self._reserved_for_page = 0

    # --- replay --------------------------------------------------------------------------------

    @property
    def reserved_for_replay(self) -> int:
        """Slots for the replay alone, which takes them by `take`; nobody else enters there."""
        return self._reserved_for_replay

    @reserved_for_replay.setter
    def reserved_for_replay(self, slots: int) -> None:
        self._reserved_for_replay = slots
        self._measure()

    @property
    def room_for_replay(self) -> int:
        """How many of the reserved slots are there to be taken.

        If all that has room waits behind rows to come, there is one beyond the capacity: nothing
        would ever move otherwise.
        """
        reserved = self._reserved_for_replay
        room = max(0, min(reserved, self._free + reserved))
        if room or not reserved or self._backlogs is None:
            return room
        return int(self.outstanding == self._backlogs.held_count)

    async def wait_to_replay(self) -> int:
        """Wait for slots that are reserved, and return how many there are; one caller a time."""
        while not self.room_for_replay:
            self._replayer = asyncio.get_running_loop().create_future()
            try:
                await self._replayer
            finally:
                self._replayer = None
        return self.room_for_replay
