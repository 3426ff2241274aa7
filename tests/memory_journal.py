"""A journal in memory, on virtual time: it commits, stalls, fails and is left behind by script."""

from __future__ import annotations

import asyncio
import bisect
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import count, islice

import attrs

from alhena_async import CartEvent, Event, JournalError, OutcomeStatus
from alhena_async._wire import lane_digest
from alhena_async.journal import Backlog, Ending, Page, Row, SendMark

__all__ = ["Kept", "MemoryJournal", "kept"]

_row_ids = count(1)


@attrs.define
class Kept:
    """A row: what it holds, and whether the disk has it."""

    row_id: int
    event: Event
    company_key: str
    order_id: str | None
    guard: SendMark
    since: float
    on_disk: bool = False
    spilled: bool = False

    @property
    def lane(self) -> int:
        return lane_digest(self.event.visitor, self.company_key)

    def as_row(self, now: float) -> Row:
        return Row(
            row_id=self.row_id,
            lane=self.lane,
            event=self.event,
            company_key=self.company_key,
            order_id=self.order_id,
            age=now - self.since,
            guard=self.guard,
        )


def kept(
    *events: Event, since: float = 0.0, guard: SendMark = SendMark.NONE, order_id: str | None = None
) -> list[Kept]:
    """Rows that a dead process left, accepted at the loop's time `since`."""
    return [
        Kept(
            row_id=next(_row_ids),
            event=event,
            company_key="shop",
            order_id=order_id or getattr(event, "order_id", None),
            guard=guard,
            since=since,
            on_disk=True,
        )
        for event in events
    ]


class MemoryJournal:
    """A journal whose disk is a dict.

    Args:
        *dead: The files that dead processes left, oldest first.
        latency: Seconds until what was submitted is committed.
    """

    def __init__(self, *dead: Iterable[Kept], latency: float = 0.0) -> None:
        self.latency = latency
        self._moves = asyncio.Event()
        self._moves.set()
        self.is_full = False
        """What is committed now fails."""
        self.unreadable: set[int | None] = set()
        """Files whose pages fail; None stands for our own."""
        self.dead = [list(rows) for rows in dead]
        """Adopted with the next look."""
        self.rows: dict[int, Kept] = {}
        self.files: dict[int, list[Kept]] = {}
        self.max_rows = 1_000_000
        """Beyond so many, no more are spilled."""
        self.lost: set[int] = set()
        """Spilled rows that no page has, though they are not settled."""
        self.groups: list[list[Ending]] = []
        """What was settled, call by call."""
        self.marks: list[tuple[SendMark, list[int]]] = []
        self.pages: list[int] = []
        """How many rows each page had."""
        self.calls: list[str] = []
        self.destination = ""
        self._own: list[int] = []
        """All that was spilled."""
        self._dirty: list[Kept] = []
        self._waiting: dict[int, list[asyncio.Future[None]]] = {}

    # --- the protocol --------------------------------------------------------------------------

    async def open(self, *, destination: str) -> None:
        self.calls.append("open")
        self.destination = destination

    @property
    def has_room(self) -> bool:
        return not self.is_full and self._moves.is_set() and len(self.rows) < self.max_rows

    def append(
        self,
        event: Event,
        *,
        company_key: str,
        order_id: str | None,
        guard: SendMark,
        spilled: bool = False,
    ) -> int:
        now = asyncio.get_running_loop().time()
        row = Kept(next(_row_ids), event, company_key, order_id, guard, now, spilled=spilled)
        self.rows[row.row_id] = row
        self._dirty.append(row)
        if spilled:
            self._own.append(row.row_id)
        self._later()
        return row.row_id

    async def committed(self, row_id: int) -> None:
        row = self.rows.get(row_id)
        if row is not None and not row.on_disk:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(row_id, []).append(waiter)
            await waiter

    async def mark(self, row_ids: Sequence[int], guard: SendMark) -> None:
        self.marks.append((guard, list(row_ids)))
        await asyncio.sleep(self.latency)
        await self._moves.wait()
        if self.is_full:
            raise JournalError("the disk is full")
        for row_id in row_ids:
            if row_id in self.rows and self.rows[row_id].guard is not SendMark.NONE:
                self.rows[row_id].guard = guard

    def holds(self, row_id: int) -> bool:
        return row_id in self.rows and self.rows[row_id].on_disk

    def settle(self, endings: Sequence[Ending]) -> None:
        self.groups.append(list(endings))
        for ending in endings:
            if ending.row_id is not None:
                self.rows.pop(ending.row_id, None)

    async def adopt(self) -> Sequence[Backlog]:
        self.calls.append("adopt")
        backlogs = []
        for rows in self.dead:
            name = len(self.files)
            self.files[name] = rows
            self.rows |= {row.row_id: row for row in rows}
            lanes = Counter(row.lane for row in rows)
            backlogs.append(Backlog(file=name, rows=len(rows), lanes=lanes))
        self.dead = []
        return backlogs

    async def page(self, file: int | None, *, after: int | None, limit: int) -> Page:
        assert limit >= 1
        now = asyncio.get_running_loop().time()
        await asyncio.sleep(self.latency)
        if file in self.unreadable:
            raise JournalError(f"file {file} cannot be read")
        found = self._spilled(after or 0) if file is None else self.files[file]
        behind = (row for row in found if after is None or row.row_id > after)
        rows = list(islice(behind, limit + 1))
        self.pages.append(len(rows[:limit]))
        page = [row.as_row(now) for row in rows[:limit]]
        return Page(rows=page, last=len(rows) <= limit)

    async def sync(self) -> None:
        self.calls.append("sync")
        await asyncio.sleep(self.latency)
        await self._moves.wait()
        self._commit()
        if self.is_full:
            raise JournalError("the disk is full")

    async def close(self) -> None:
        self.calls.append("close")
        for waiter in [one for waiters in self._waiting.values() for one in waiters]:
            if not waiter.done():
                waiter.set_exception(JournalError("the journal was closed"))

    # --- the script ----------------------------------------------------------------------------

    def left(self) -> list[list[Kept]]:
        """The files that the next process finds, if this one is gone now."""
        adopted = [[row for row in rows if row.row_id in self.rows] for rows in self.files.values()]
        old = {row.row_id for rows in adopted for row in rows}
        own = [row for row in self.rows.values() if row.on_disk and row.row_id not in old]
        return [rows for rows in (*adopted, *self.dead, own) if rows]

    def stall(self) -> None:
        """Commit nothing more until `go_on`."""
        self._moves.clear()

    def go_on(self) -> None:
        """Commit what waits."""
        self._moves.set()
        self._commit()

    @property
    def endings(self) -> list[list[tuple[OutcomeStatus, bool]]]:
        """Each group's statuses, and whether each had a row."""
        return [
            [(ending.outcome.status, ending.row_id is not None) for ending in group]
            for group in self.groups
        ]

    @property
    def held_products(self) -> list[str]:
        """The products of the cart events that are in a row now."""
        events = [row.event for row in self.rows.values()]
        return [event.product_id for event in events if isinstance(event, CartEvent)]

    def _spilled(self, after: int) -> Iterator[Kept]:
        first = bisect.bisect_right(self._own, after)
        for place in range(first, len(self._own)):
            row_id = self._own[place]
            if row_id in self.rows and row_id not in self.lost:
                yield self.rows[row_id]

    def _later(self) -> None:
        loop = asyncio.get_running_loop()
        if self.latency:
            loop.call_later(self.latency, self._commit)
        else:
            loop.call_soon(self._commit)

    def _commit(self) -> None:
        if not self._moves.is_set():
            return
        waiting, self._waiting = self._waiting, {}
        for row_id, waiters in waiting.items():
            for waiter in waiters:
                if waiter.done():
                    continue
                if self.is_full and row_id in self.rows:
                    waiter.set_exception(JournalError("the disk is full; it goes on in memory"))
                else:
                    waiter.set_result(None)
        if not self.is_full:
            for row in self._dirty:
                row.on_disk = True
            self._dirty.clear()
