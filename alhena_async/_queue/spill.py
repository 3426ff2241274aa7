"""What this process has left to the disk alone: how much, of which lanes, and whose receipts.

As long as anything is, what comes after it is left to the disk as well: one line, first in, first
out, so that nobody is overtaken. Nothing here grows with an event but one entry for its lane; a
receipt is remembered only while somebody else holds it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from alhena_async._queue.envelope import SpilledReceipt
    from alhena_async._queue.flush import FlushGeneration
    from alhena_async._queue.lane import Lane

__all__ = ["Spill"]

_KEY_BITS: Final = (1 << 60) - 1
"""Of a lane's hash: the largest number that Python keeps in 32 bytes. Two lanes that share one
merely count together."""


class _Segment:
    """Events of one flush generation that were spilled one after the other."""

    __slots__ = ("count", "generation", "last")

    def __init__(self, generation: FlushGeneration) -> None:
        self.generation = generation
        self.count = 0
        """How many of them are still on disk alone."""
        self.last = 0
        """The id of the last one's row."""


class Spill:
    """Counts what is spilled, from its row to its page."""

    def __init__(self) -> None:
        self.count = 0
        """Events that are on disk alone."""
        self.since = 0.0
        """None of them was accepted before this, by the loop's time."""
        self._lanes: dict[int, int] = {}
        self._segments: deque[_Segment] = deque()
        self._missing: list[_Segment] = []
        """Segments of which no more can come, and something should have."""
        self._is_cut = False
        """The next event begins a segment of its own."""
        self._receipts: WeakValueDictionary[int, SpilledReceipt] = WeakValueDictionary()
        self.awaited: set[SpilledReceipt] = set()
        """Receipts that are held because somebody waits for them."""
        self._tail: deque[int] = deque()
        """The last rows, as far as they were not seen on disk yet."""
        self._seen = 0
        """The last row that was seen there."""
        self.paged = 0
        """The last row that was paged in."""

    def of(self, lane: Lane) -> int:
        """Return how many events of a lane are on disk alone."""
        return self._lanes.get(_key_of(lane), 0)

    # --- coming and going ----------------------------------------------------------------------

    def add(self, receipt: SpilledReceipt, lane: Lane, generation: FlushGeneration) -> None:
        """Count an event in that has a row and no room."""
        if not self.count:
            self.since = receipt.accepted_at
        self.count += 1
        key = _key_of(lane)
        self._lanes[key] = self._lanes.get(key, 0) + 1
        segment = self._segments[-1] if self._segments else None
        if segment is None or self._is_cut or segment.generation is not generation:
            segment = _Segment(generation)
            self._segments.append(segment)
            self._is_cut = False
        segment.count += 1
        segment.last = receipt.row_id
        self._tail.append(receipt.row_id)
        self._receipts[receipt.row_id] = receipt

    def take(self, row_id: int, lane: Lane) -> tuple[FlushGeneration, SpilledReceipt | None] | None:
        """Count an event off that was paged in.

        Returns:
            Its generation, and its receipt if anybody holds that; None if its row is none of ours.
        """
        while self._segments and self._segments[0].last < row_id:
            self._missing.append(self._segments.popleft())
        if row_id <= self.paged or not self._segments:
            return None
        segment = self._segments[0]
        segment.count -= 1
        if not segment.count:
            self._segments.popleft()
        self.paged = row_id
        self._leave(_key_of(lane))
        self._count_off(1)
        return segment.generation, self._receipts.pop(row_id, None)

    def _leave(self, key: int) -> None:
        left = self._lanes.get(key, 0) - 1
        if left > 0:
            self._lanes[key] = left
        else:
            self._lanes.pop(key, None)

    def _count_off(self, count: int) -> None:
        self.count -= count
        if not self.count:
            self._lanes = {}  # a dict that was large stays so
            self._tail.clear()

    def cut(self) -> int:
        """Return the id of the last row; what comes after it will not be counted with it."""
        self._is_cut = True
        return self._segments[-1].last if self._segments else 0

    def lose(self, upto: int) -> tuple[list[tuple[FlushGeneration, int]], list[SpilledReceipt]]:
        """Count off what should have come with the pages so far, and did not.

        Args:
            upto: No row up to here is to come any more.

        Returns:
            How many of which generations, and the receipts that are held of them.
        """
        while self._segments and self._segments[0].last <= upto:
            self._missing.append(self._segments.popleft())
        missing, self._missing = [one for one in self._missing if one.count], []
        if not missing:
            return [], []
        last = missing[-1].last
        receipts = [one for row_id, one in self._held() if row_id <= last]
        for receipt in receipts:
            del self._receipts[receipt.row_id]
        self._count_off(sum(one.count for one in missing))
        return [(one.generation, one.count) for one in missing], receipts

    def _held(self) -> list[tuple[int, SpilledReceipt]]:
        return sorted(self._receipts.items(), key=lambda item: item[0])

    # --- the disk ------------------------------------------------------------------------------

    def look(self, holds: Callable[[int], bool]) -> None:
        """Forget the rows that are on disk by now."""
        tail = self._tail
        while tail and holds(tail[0]):
            self._seen = tail.popleft()

    def on_disk(self, holds: Callable[[int], bool]) -> int:
        """Return how many of those that are spilled a next process will find."""
        if self._seen > self.paged and not holds(self._seen):
            return 0  # the file is gone, with all that was in it
        missing = sum(row_id > self.paged and not holds(row_id) for row_id in self._tail)
        return max(0, self.count - missing)


def _key_of(lane: Lane) -> int:
    return hash(lane.key) & _KEY_BITS
