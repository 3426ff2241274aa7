"""What dead processes left on disk: the rows not yet paged in, and the events held behind them.

Lanes are known here by their digest alone: a backlog may hold a million of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from alhena_async._queue.envelope import Envelope
from alhena_async._queue.flush import FlushGeneration
from alhena_async._wire import lane_digest
from alhena_async.journal import Backlog

__all__ = ["Backlogs", "digest_of"]


def digest_of(envelope: Envelope) -> int:
    """Return the digest of the lane that an envelope belongs to."""
    return lane_digest(envelope.event.visitor, envelope.lane.company_key)


class _File:
    """A file that is being paged in: what is left of it."""

    __slots__ = ("generation", "lanes", "least", "rows")

    def __init__(self, backlog: Backlog, generation: FlushGeneration) -> None:
        self.rows = backlog.rows
        self.least = 0 if backlog.lanes else 1  # not counted yet: one is to come until the end
        self.lanes = {lane: count for lane, count in backlog.lanes.items() if count > 0}
        self.generation = generation


class Backlogs:
    """Counts the rows of each lane that are still to come, and holds younger events back.

    A flush waits for rows as for events: each counts as one unsettled event of the generation in
    which its file was adopted, from then until what it held is settled.

    Args:
        share: Slots for replayed events, at most.
    """

    def __init__(self, *, share: int) -> None:
        self._share = share
        self._files: dict[int, _File] = {}
        self._lanes: dict[int, int] = {}
        """Rows to come by lane, over all files."""
        self._held: dict[int, dict[Envelope, None]] = {}
        self._freed: deque[int] = deque()
        """Lanes without a row to come, and with somebody held."""
        self._outstanding = 0
        """Replayed events that are not settled."""
        self._held_again = 0
        """Those of them that are held behind rows of a file that was adopted later."""
        self.row_count = 0
        """Rows that are still to come."""
        self.held_count = 0

    @property
    def is_quiet(self) -> bool:
        """Whether no event needs to be held."""
        return not self._lanes and not self._held

    @property
    def slots(self) -> int:
        """How many slots are to be reserved for rows to come.

        One at least for an unfinished file, whatever its counts say. What is held again has its
        slots beside the share: it waits for those very rows.
        """
        if not self._files:
            return 0
        free = self._share - (self._outstanding - self._held_again)
        return max(0, min(free, max(self.row_count, 1)))

    # --- rows ----------------------------------------------------------------------------------

    def expect(self, backlog: Backlog, generation: FlushGeneration) -> None:
        """Count the rows of a file that was adopted."""
        file = self._files[backlog.file] = _File(backlog, generation)
        generation.unsettled += file.rows
        self.row_count += file.rows
        for lane, count in file.lanes.items():
            self._lanes[lane] = self._lanes.get(lane, 0) + count

    def paged_in(self, name: int, lane: int) -> FlushGeneration:
        """Count a row off, which becomes an unsettled event of the generation that is returned."""
        file = self._files[name]
        if file.rows > file.least:
            file.rows -= 1
            self.row_count -= 1
        else:
            file.generation.unsettled += 1  # more rows than were counted
        left = file.lanes.get(lane, 0)
        if left:
            self._count_off(lane, 1)
            if left == 1:
                del file.lanes[lane]
            else:
                file.lanes[lane] = left - 1
        self._outstanding += 1
        return file.generation

    def finish(self, name: int) -> tuple[FlushGeneration, int]:
        """Expect no more of a file; return how many rows of its generation never came."""
        file = self._files.pop(name)
        self.row_count -= file.rows
        for lane, count in file.lanes.items():
            self._count_off(lane, count)
        return file.generation, file.rows

    def admitted(self) -> None:
        """Count an event that was accepted elsewhere; it is as good as replayed."""
        self._outstanding += 1

    def settled(self) -> None:
        """Count a replayed event that is settled."""
        self._outstanding -= 1

    @property
    def files(self) -> list[int]:
        """The names of the files that are not finished."""
        return list(self._files)

    def _count_off(self, lane: int, count: int) -> None:
        left = self._lanes[lane] - count
        if left:
            self._lanes[lane] = left
            return
        del self._lanes[lane]
        if lane in self._held:
            self._freed.append(lane)

    # --- held events ---------------------------------------------------------------------------

    def expects(self, lane: int) -> bool:
        """Return whether a row of this lane is to come."""
        return lane in self._lanes

    def blocks(self, lane: int) -> bool:
        """Return whether an event of this lane has to wait for older ones outside of memory."""
        return lane in self._lanes or lane in self._held

    def hold(self, lane: int, envelope: Envelope) -> None:
        """Hold an event back, behind the rows of its lane and those already held."""
        self._held.setdefault(lane, {})[envelope] = None
        self.held_count += 1

    def hold_first(self, lane: int, envelopes: Iterable[Envelope]) -> None:
        """Hold those back that stood in the lane, ahead of those already held."""
        held = self._held.get(lane, {})
        self._held[lane] = ahead = dict.fromkeys(envelopes)
        self.held_count += len(ahead)
        self._held_again += sum(one.is_replayed for one in ahead)
        ahead |= held
        if lane not in self._lanes:
            self._freed.append(lane)

    def next_older(self, lane: int, moment: float) -> Envelope | None:
        """Return the first that is held in a lane, no longer held, if a row does not precede it."""
        envelope = next(iter(self._held.get(lane, ())), None)
        if envelope is None or not envelope.precedes(moment):
            return None
        self.let_go(lane, envelope)
        return envelope

    def let_go(self, lane: int, envelope: Envelope) -> None:
        """Hold an event no longer: it is settled, or its turn has come."""
        held = self._held[lane]
        del held[envelope]
        if not held:
            del self._held[lane]
        self.held_count -= 1
        self._held_again -= envelope.is_replayed

    def next_freed(self) -> Envelope | None:
        """Return one that may enter its lane now, in call order within each, no longer held."""
        while self._freed:
            lane = self._freed[0]
            held = self._held.get(lane)
            if held is None or lane in self._lanes:  # gone, or another file has rows of it
                self._freed.popleft()
                continue
            envelope = next(iter(held))
            self.let_go(lane, envelope)
            return envelope
        return None

    def held_in(self, lane: int) -> list[Envelope]:
        """Return the held events of a lane, in call order."""
        return list(self._held.get(lane, ()))

    def all_held(self) -> list[Envelope]:
        """Return every held event, lane by lane in call order."""
        return [envelope for held in self._held.values() for envelope in held]
