"""The rows of our own file, as far as they are unsettled: enough to write each of them again.

The events themselves are the engine's; a row costs a reference and a time here. Rows stand in
chunks by number, so that nothing is hashed per row and nothing large is ever copied.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from alhena_async.events import CartEvent, Event
from alhena_async.journal.protocol import SendMark

__all__ = ["PendingRow", "UnsettledRows"]

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


class _Chunk:
    __slots__ = ("left", "slots", "times")

    def __init__(self) -> None:
        # A slot is the event alone where that says all of it, otherwise the whole PendingRow.
        self.slots: list[Any] = [None] * _SIZE
        self.times = array("d", bytes(8 * _SIZE))
        self.left = 0


class UnsettledRows:
    """Unsettled rows by number. Numbers are put in increasing order."""

    def __init__(self) -> None:
        self._chunks: dict[int, _Chunk] = {}
        self._usual_key: str | None = None
        self._count = 0
        self._last = 0

    def __len__(self) -> int:
        return self._count

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
        )
        chunk.slots[place] = kept.event if plain else kept
        chunk.times[place] = kept.accepted
        chunk.left += 1
        self._count += 1
        self._last = kept.id

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

    def after(self, id_: int) -> Iterator[PendingRow]:
        """Go through the rows behind a number, in order."""
        first = (id_ + 1) >> _BITS
        span = range(first, (self._last >> _BITS) + 1)
        # Whichever is shorter: the numbers in between, or the chunks that there are.
        numbers = span if len(span) <= len(self._chunks) else list(self._chunks)
        for number in numbers:
            if number >= first and number in self._chunks:
                yield from self._rows_of(number, id_)

    def _rows_of(self, number: int, behind: int) -> Iterator[PendingRow]:
        chunk = self._chunks[number]
        for place, slot in enumerate(chunk.slots):
            id_ = (number << _BITS) | place
            if slot is None or id_ <= behind:
                continue
            if isinstance(slot, PendingRow):
                yield slot
            else:
                key = self._usual_key or ""
                yield PendingRow(id_, slot, key, None, SendMark.NONE, chunk.times[place])
