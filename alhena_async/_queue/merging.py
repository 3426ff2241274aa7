"""One line out of several files: their rows by when they were accepted, one page of each in memory.

Within a file, order is the file's own, whatever the clock said.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from alhena_async.events import Event
from alhena_async.journal import Page, Row

__all__ = ["MergedRow", "RowMerge"]

_ROWS_AT_ONCE: Final = 250  # over all pages: many files have small ones

_MIN_ROWS_PER_PAGE: Final = 25


class MergedRow(NamedTuple):
    """A row whose turn has come."""

    file: int
    row: Row
    accepted_at: float
    """By the loop's time."""
    turn: float
    """The same, but never less than that of the row before it in its file: its place in line."""


class _Source:
    """A file that is read: its page, as far as it was not handed out."""

    __slots__ = ("after", "is_last", "latest", "rows")

    def __init__(self) -> None:
        self.rows: deque[MergedRow] = deque()
        self.after: int | None = None
        """The last row that was read."""
        self.is_last = False
        """No page follows."""
        self.latest = float("-inf")
        """The last row's `MergedRow.turn`."""


class RowMerge:
    """A k-way merge, fed page by page; ties go to the lower file, and within it to the lower id."""

    def __init__(self) -> None:
        self._sources: dict[int, _Source] = {}
        self._heads: list[tuple[float, int]] = []
        """The first row of each page that has one: a heap."""
        self._lacking: dict[int, None] = {}
        """Files that have no row here, and may have more: nobody knows whose row is next."""
        self._salvaged: dict[int, None] = {}
        """Files that are still being salvaged: nothing waits for their rows."""

    def __bool__(self) -> bool:
        return bool(self._sources)

    def add(self, file: int) -> None:
        """Expect the rows of a file."""
        self._sources[file] = _Source()
        self._lacking[file] = None

    def drop(self, file: int) -> None:
        """Expect nothing more of a file that lacks a page: it cannot be read on."""
        del self._sources[file]
        self._lacking.pop(file, None)
        self._salvaged.pop(file, None)

    def clear(self) -> None:
        """Expect nothing more."""
        self._sources.clear()
        self._heads.clear()
        self._lacking.clear()
        self._salvaged.clear()

    def lacking(self) -> int | None:
        """Return a file whose next page decides what comes next; None if there is none."""
        return next(iter(self._lacking), None)

    def salvaged(self) -> int | None:
        """Return a file whose last page was empty and not its end: the one asked longest ago."""
        return next(iter(self._salvaged), None)

    def read_so_far(self, file: int) -> int | None:
        """Return the id of the last row that was read of a file."""
        return self._sources[file].after

    @property
    def page_size(self) -> int:
        """How many rows a page should have."""
        return max(_MIN_ROWS_PER_PAGE, _ROWS_AT_ONCE // max(1, len(self._sources)))

    def put(self, file: int, page: Page, asked_at: float) -> None:
        """Take in the next page of a file that lacks one.

        Args:
            file: Which.
            page: What was read.
            asked_at: The loop's time that the rows' ages refer to.
        """
        source = self._sources[file]
        source.is_last = page.last
        for row in page.rows:
            accepted_at = asked_at - row.age
            source.latest = max(source.latest, accepted_at)
            source.rows.append(MergedRow(file, row, accepted_at, source.latest))
        if page.rows:
            source.after = page.rows[-1].row_id
            heapq.heappush(self._heads, (source.rows[0].turn, file))
        self._lacking.pop(file, None)
        self._salvaged.pop(file, None)
        if not page.rows and not page.last:
            self._salvaged[file] = None

    def take(self) -> MergedRow | None:
        """Return the next row; None if there is none, or a page has to be read first."""
        if self._lacking or not self._heads:
            return None
        _, file = self._heads[0]
        source = self._sources[file]
        row = source.rows.popleft()
        if source.rows:
            heapq.heapreplace(self._heads, (source.rows[0].turn, file))
            return row
        heapq.heappop(self._heads)
        if not source.is_last:
            self._lacking[file] = None
        return row

    def remove(self, is_unwanted: Callable[[Event], bool]) -> None:
        """Take out rows that are not to be handed out, wherever they stand."""
        for file, source in self._sources.items():
            if not source.rows:
                continue
            source.rows = deque(row for row in source.rows if not is_unwanted(row.row.event))
            if not (source.rows or source.is_last):
                self._lacking[file] = None
        heads = self._sources.items()
        self._heads = [(one.rows[0].turn, file) for file, one in heads if one.rows]
        heapq.heapify(self._heads)

    def pop_finished(self) -> list[int]:
        """Return the files of which all was handed out, and forget them."""
        over = [file for file, one in self._sources.items() if one.is_last and not one.rows]
        for file in over:
            del self._sources[file]
        return over
