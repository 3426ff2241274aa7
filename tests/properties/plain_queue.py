"""The queue as plainly as it can be said: lists that are walked, and a table that is looked up.

It imports nothing of the engine, and keeps no link, cursor or index: whatever it is asked, it
looks for among all events.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

import attrs

__all__ = ["FOLDS", "Item", "PlainQueue"]

CART, CHECKOUT = "cart", "checkout"
ADDED, REMOVED = "ITEM_ADDED", "ITEM_REMOVED"
MORE, LESS = "QUANTITY_INCREASED", "QUANTITY_DECREASED"
NOTHING = "nothing"

_SAME = {(kind, kind): kind for kind in (ADDED, MORE, LESS, REMOVED)}
_NET = {
    (ADDED, MORE): ADDED,
    (ADDED, LESS): ADDED,
    (ADDED, REMOVED): NOTHING,
    (MORE, REMOVED): REMOVED,
    (LESS, REMOVED): REMOVED,
}
FOLDS = {"off": {}, "duplicates": {}, "latest": _SAME, "net": _SAME | _NET}
"""In each mode: as what two neighbours are sent that are not equal, by their types."""


@attrs.define(eq=False, kw_only=True)
class Item:
    """An event, and what has become of it."""

    lane: str
    company: str = ""
    kind: str = CART
    type: str = ""
    product: str = ""
    quantity: float = 0
    marks: tuple[str | None, ...] = ()
    """A cart event's currency and source."""
    order_id: str | None = None
    pinned: bool = False
    accepted_at: float = 0.0
    linger_ends: float = -inf
    deadline: float = inf
    epoch: int = 0
    state: str = "due"
    """`waiting`, `due`, `folded`, `in flight` or `settled`."""
    flight: str = ""
    """While it is in flight: `on the wire`, `rests` or `in line`."""
    resumes_at: float = 0.0
    speaker: Item | None = None
    """Whom it is folded into."""
    members: list[Item] = attrs.field(factory=list)
    """Who is folded into it, in the order they came."""
    overlooked: bool = False
    """It is folded, and its own time is over."""
    status: str | None = None
    settled_at: float = 0.0

    @property
    def waits(self) -> bool:
        return self.state in {"waiting", "due"}


class PlainQueue:
    """Says what must become of every event, whatever happens."""

    def __init__(
        self,
        mode: str,
        *,
        linger: float,
        flush_at: int,
        timeouts: dict[str, float],
        room: dict[str, int],
        lane_room: int,
    ) -> None:
        self.mode = mode
        self.room = room
        """By kind: how many events may be unsettled when one enters, less one."""
        self.lane_room = lane_room
        self.linger = linger
        self.flush_at = flush_at
        self.timeouts = timeouts
        self.unsettled: list[Item] = []
        """In the order of their acceptance."""
        self.lanes: dict[str, list[Item]] = {}
        """What waits in each lane; one in which nothing waits and nothing flies is not here."""
        self.taken: dict[str, Item] = {}
        self.resting: list[Item] = []
        """In the order in which they were put to rest; some have woken since."""
        self.stands: dict[str, str] = {}
        """The lanes that are ready, and in which line."""
        self.lines: dict[str, list[str]] = {CART: [], CHECKOUT: []}
        """Lanes in turn. One that has nothing due keeps its place, until nothing waits in it."""
        self.coming = ""
        """The lane of an event that others make room for: it stays, though nothing is in it."""
        self.epoch = 0
        self.recorded: set[tuple[str, str]] = set()

    # --- in ------------------------------------------------------------------------------------

    def is_full(self, lane: str) -> bool:
        waiting = [item for item in self.unsettled if item.lane == lane]
        return len(waiting) - (lane in self.taken) >= self.lane_room

    def has_room(self, item: Item) -> bool:
        return len(self.unsettled) < self.room[item.kind] and not self.is_full(item.lane)

    def accept(self, item: Item, now: float) -> None:
        in_lane = [one for one in self.unsettled if one.lane == item.lane]
        crowded = len(self.unsettled) + 1 - len(self.taken) >= self.flush_at
        if crowded:
            self._end_lingers()
        item.accepted_at, item.epoch = now, self.epoch
        item.deadline = now + self.timeouts[item.kind]
        fills_lane = len(in_lane) + 1 >= self.lane_room
        if item.kind == CART and not item.pinned and not crowded and not fills_lane:
            item.state, item.linger_ends = "waiting", now + self.linger
        self.unsettled.append(item)
        self.coming = ""
        lane = self.lanes.setdefault(item.lane, [])
        (self._enter_cart if item.kind == CART else self._enter_checkout)(item, lane, now)
        self._look_at(item.lane)

    def _enter_cart(self, item: Item, lane: list[Item], now: float) -> None:
        earlier = _neighbour(item, lane)
        kind = self._sent_as(earlier, item) if earlier else None
        if earlier is None or kind is None:
            lane.append(item)
            return
        lane.remove(earlier)
        if kind == NOTHING:
            self._end(earlier, "coalesced", now)
            self._end(item, "coalesced", now)
        else:
            lane.append(item)
            item.type = kind
            if earlier.state == "due":
                item.state = "due"
            _fold(earlier, into=item)

    def _enter_checkout(self, item: Item, lane: list[Item], now: float) -> None:
        same = [one for one in lane if one.kind == CHECKOUT and one.order_id == item.order_id]
        if same and self.mode != "off" and not item.pinned:
            _fold(item, into=same[-1])
        else:
            lane.append(item)

    def _sent_as(self, earlier: Item, later: Item) -> str | None:
        """Return the type that is sent for both, `NOTHING`, or None if each is sent."""
        if self.mode == "off" or earlier.pinned or earlier.epoch != later.epoch:
            return None
        alike = earlier.marks == later.marks
        if alike and (earlier.type, earlier.quantity) == (later.type, later.quantity):
            return later.type
        kind = FOLDS[self.mode].get((earlier.type, later.type)) if alike else None
        return None if kind == NOTHING and later.pinned else kind

    # --- out -----------------------------------------------------------------------------------

    def take(self, kind: str) -> Item | None:
        line = self.lines[kind]
        while line:
            name = line.pop(0)
            if self.stands.get(name) != kind:
                continue
            del self.stands[name]
            if name not in self.taken:
                self.taken[name] = self.lanes[name].pop(0)
            item = self.taken[name]
            item.state, item.flight = "in flight", "on the wire"
            return item
        return None

    def rest(self, item: Item, until: float) -> None:
        self.resting = [other for other in self.resting if other.flight == "rests"] + [item]
        item.flight, item.resumes_at = "rests", until

    def settle(self, item: Item, status: str, now: float) -> None:
        if self.taken.get(item.lane) is item:
            del self.taken[item.lane]
        else:
            self.lanes[item.lane].remove(item)
        self._end(item, status, now)
        if status == "recorded" and item.order_id:
            self.recorded.add((item.company, item.order_id))
        self._look_at(item.lane)

    def _end(self, item: Item, status: str, now: float) -> None:
        self.unsettled.remove(item)
        item.state, item.flight = "settled", ""
        item.status, item.settled_at = status, now
        for member in item.members:
            self._end(member, "coalesced", now)

    def shed(self, item: Item, now: float) -> bool:
        """Make room for an event: in its lane if that is full."""
        within = item.lane if self.is_full(item.lane) else None
        self.coming = item.lane
        for victim in self._all(CART):
            if victim.waits and within in {None, victim.lane}:
                lane = self.lanes[victim.lane]
                for later in lane[lane.index(victim) :]:
                    if later.kind == CART and later.product == victim.product:
                        self.settle(later, "dropped", now)
                return True
        self.coming = ""
        return False

    # --- time ----------------------------------------------------------------------------------

    def flush(self) -> list[Item]:
        """Return what it waits for; from now on nothing of it folds with what comes later."""
        self._end_lingers()
        self.epoch += 1
        return list(self.unsettled)

    def _end_lingers(self) -> None:
        for item in self._all(CART):
            item.linger_ends = -inf

    def sweep(self, now: float) -> None:
        for item in self._all(CART):
            who = item.speaker or item
            if item.linger_ends <= now and who.waits:
                who.state = "due"
                self._look_at(who.lane)
        for item in sorted(self.resting, key=lambda item: item.resumes_at):
            if item.flight == "rests" and item.resumes_at <= now:
                item.flight = "in line"
                self._look_at(item.lane)
        for item in [*self._all(CART), *self._all(CHECKOUT)]:
            if item.deadline > now or item.state == "settled":
                continue
            if item.state == "folded":
                item.overlooked = True
            elif item.flight != "on the wire":
                self.settle(item, "expired", now)

    def next_due(self) -> float:
        """Return when `sweep` must come at the latest."""
        times = [inf]
        for item in self.unsettled:
            if (item.speaker or item).state == "waiting":
                times.append(item.linger_ends)
            if item.flight == "rests":
                times.append(item.resumes_at)
            if item.state != "folded" and item.flight != "on the wire":
                times.append(item.deadline)
        return min(times)

    # --- inside --------------------------------------------------------------------------------

    def _all(self, kind: str) -> Iterator[Item]:
        return iter([item for item in self.unsettled if item.kind == kind])

    def _look_at(self, name: str) -> None:
        """See where a lane stands after a change: in a line, in none, or not at all."""
        lane, taken = self.lanes[name], self.taken.get(name)
        first = taken or next(iter(lane), None)
        ready = taken.flight == "in line" if taken else any(one.state == "due" for one in lane)
        if first is None and name != self.coming:
            del self.lanes[name]
            self.lines = {kind: [n for n in line if n != name] for kind, line in self.lines.items()}
        if first is None or not ready:
            self.stands.pop(name, None)
        elif self.stands.get(name) != first.kind:
            self.stands[name] = first.kind
            self.lines[first.kind].append(name)


def _neighbour(item: Item, lane: list[Item]) -> Item | None:
    """Return the last event of the same product, unless a checkout stands behind it."""
    for other in reversed(lane):
        if other.kind == CHECKOUT or other.product == item.product:
            return other if other.kind == CART else None
    return None


def _fold(item: Item, *, into: Item) -> None:
    into.members += [*item.members, item]
    for member in into.members:
        member.speaker = into
    item.members = []
    item.state = "folded"
