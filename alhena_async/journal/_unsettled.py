"""The rows of our own file, as far as they are unsettled: enough to write each of them again.

The events themselves are the engine's; a row costs a reference and a time here. Those that were
spilled nobody else has: once they are on disk, nothing is left of them in memory but their place.
Rows stand in chunks by number, so that nothing is hashed per row and nothing large is ever copied.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Container, Iterator
from itertools import islice, takewhile
from typing import Any, Final, NamedTuple

from alhena_async.events import CartEvent, Event
from alhena_async.journal.protocol import SendMark

__all__ = ["DiskRow", "PendingRow", "UnsettledRows"]

_BITS: Final = 6

_SIZE: Final = 1 << _BITS


class PendingRow(NamedTuple):
    """An event that was submitted and is not settled."""

    id: int
    event: Event
    company_key: str
    order_id: str | None
    guard: SendMark
    accepted: float
    """Seconds on the clock of `uptime`."""
    spilled: bool = False
    """Nobody else has the event: it leaves memory as soon as it is on disk."""


class DiskRow(NamedTuple):
    """A spilled event that the disk alone has."""

    id: int


_ON_DISK: Final = object()
"""The slot of a `DiskRow`."""


class _Chunk:
    __slots__ = ("left", "slots", "times")

    def __init__(self) -> None:
        # A slot is the event alone where that says all of it, otherwise the whole PendingRow, or
        # _ON_DISK.
        self.slots: list[Any] = [None] * _SIZE
        self.times: array[float] | None = None
        """Of events alone; made with the first."""
        self.left = 0


class UnsettledRows:
    """Unsettled rows by number. Numbers are put in increasing order."""

    def __init__(self) -> None:
        self._chunks: dict[int, _Chunk] = {}
        self._usual_key: str | None = None
        self._count = 0
        self._last = 0
        self._spilled: deque[int] = deque()
        """Spilled rows whose events are still in memory."""

    def __len__(self) -> int:
        return self._count

    def count_until(self, id_: int, *, most: int | None = None) -> int:
        """Return how many rows there are up to a number.

        Args:
            id_: The number.
            most: Count no further.
        """
        upto = takewhile(lambda row: row.id <= id_, self._all_after(0))
        return sum(1 for _ in islice(upto, most))

    def put(self, kept: PendingRow) -> None:
        """Add a row."""
        number = kept.id >> _BITS
        chunk = self._chunks.get(number)
        if chunk is None:
            chunk = self._chunks[number] = _Chunk()
        if self._usual_key is None:
            self._usual_key = kept.company_key
        place = kept.id & (_SIZE - 1)
        plain = (
            kept.event.__class__ is CartEvent
            and kept.guard is SendMark.NONE
            and kept.company_key == self._usual_key
            and not kept.spilled
        )
        chunk.slots[place] = kept.event if plain else kept
        if plain:
            if chunk.times is None:
                chunk.times = array("d", bytes(8 * _SIZE))
            chunk.times[place] = kept.accepted
        chunk.left += 1
        self._count += 1
        self._last = kept.id
        if kept.spilled:
            self._spilled.append(kept.id)

    def remove(self, id_: int) -> bool:
        """Take a row out; return whether it was there."""
        chunk = self._chunks.get(id_ >> _BITS)
        if chunk is None or chunk.slots[id_ & (_SIZE - 1)] is None:
            return False
        chunk.slots[id_ & (_SIZE - 1)] = None
        chunk.left -= 1
        self._count -= 1
        if not chunk.left:
            del self._chunks[id_ >> _BITS]
        return True

    def mark(self, id_: int, guard: SendMark) -> None:
        """Note what a guarded row is from now on; others stay as they are."""
        chunk = self._chunks.get(id_ >> _BITS)
        kept = chunk.slots[id_ & (_SIZE - 1)] if chunk is not None else None
        if chunk is not None and isinstance(kept, PendingRow) and kept.guard is not SendMark.NONE:
            chunk.slots[id_ & (_SIZE - 1)] = kept._replace(guard=guard)

    def forget_events(self, written: int, unwritable: Container[int]) -> None:
        """Let the events of spilled rows go that are on disk.

        Args:
            written: Rows up to here were written.
            unwritable: Those that could not be: they stay.
        """
        while self._spilled and self._spilled[0] <= written:
            id_ = self._spilled.popleft()
            chunk = self._chunks.get(id_ >> _BITS)
            if chunk is None or id_ in unwritable:
                continue
            place = id_ & (_SIZE - 1)
            if isinstance(chunk.slots[place], PendingRow):  # otherwise it is settled
                chunk.slots[place] = _ON_DISK

    def after(self, id_: int) -> Iterator[PendingRow]:
        """Go through the rows behind a number whose events are in memory, in order."""
        return (row for row in self._all_after(id_) if isinstance(row, PendingRow))

    def on_disk(self) -> Iterator[DiskRow]:
        """Go through the rows that the disk alone has, in order."""
        return (row for row in self._all_after(0) if isinstance(row, DiskRow))

    def spilled_after(self, id_: int) -> Iterator[PendingRow | DiskRow]:
        """Go through the spilled rows behind a number, in order, on disk or not yet."""
        return (row for row in self._all_after(id_) if isinstance(row, DiskRow) or row.spilled)

    def _all_after(self, id_: int) -> Iterator[PendingRow | DiskRow]:
        first = (id_ + 1) >> _BITS
        span = range(first, (self._last >> _BITS) + 1)
        # Whichever is shorter: the numbers in between, or the chunks that there are.
        numbers = span if len(span) <= len(self._chunks) else list(self._chunks)
        for number in numbers:
            if number >= first and number in self._chunks:
                yield from self._rows_of(number, id_)

    def _rows_of(self, number: int, behind: int) -> Iterator[PendingRow | DiskRow]:
        chunk = self._chunks[number]
        for place, slot in enumerate(chunk.slots):
            id_ = (number << _BITS) | place
            if slot is None or id_ <= behind:
                continue
            if isinstance(slot, PendingRow):
                yield slot
            elif slot is _ON_DISK:
                yield DiskRow(id_)
            elif chunk.times is not None:
                key = self._usual_key or ""
                yield PendingRow(id_, slot, key, None, SendMark.NONE, chunk.times[place])
