"""`SQLiteJournal`: the event loop's side of the journal. It submits, and waits for reports."""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import enum
import logging
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs

from alhena_async.errors import JournalError
from alhena_async.events import Event
from alhena_async.journal._clock import uptime
from alhena_async.journal._directory import Directory
from alhena_async.journal._forget_requests import Answer, ForgetRequest, Whom, requests_in
from alhena_async.journal._models import Settings, id_of, makes_letter, slot_of
from alhena_async.journal._outage import Outage
from alhena_async.journal._unsettled import PendingRow
from alhena_async.journal._writer import Command, Result, Writer
from alhena_async.journal.protocol import Backlog, Ending, Page, SendMark
from alhena_async.observers import JournalLevels

__all__ = ["SQLiteJournal"]

_GIB: Final = 1 << 30

_DAY: Final = 86_400.0

_MAX_ENDINGS_WAITING: Final = 20_000
"""Endings that wait for the thread at most. What has not ended, the client bounds itself."""

_log = logging.getLogger("alhena_async")


class _Life(enum.Enum):
    """NEW -> OPEN -> CLOSED. Never back: a second client needs a journal of its own."""

    NEW = "new"
    OPEN = "open"
    CLOSED = "closed"


class SQLiteJournal:
    """Keeps accepted events in a directory until they are settled.

    Give it to one client: `AlhenaClient(..., journal=SQLiteJournal("var/alhena"))`. Several
    processes of one machine may share a directory: each has a file of its own, and takes over
    those that dead processes left. Constructing touches no disk, thread or event loop.

    Args:
        directory: Where. It is made with mode 0700 where it is missing, must belong to this
            process's user, and must outlive the process: in a container, on a volume.
        synchronous: `"FULL"` (default): what is committed survives a power cut. `"NORMAL"`: it
            survives the death of the process, and commits are cheaper.
        max_rows: Unsettled events kept at most, adopted ones included: it bounds the outage, as
            what memory has no room for goes to disk alone. Default 1,000,000.
        max_bytes: How large the file of this process may become, its log aside; the last twentieth
            is for what is in memory too. Default 1 GiB. Beyond either bound
            `QueuePolicy.overflow` applies, and events in memory go on there alone, as with a full
            disk.
        dead_letter_limit: Dead letters kept at most. Default 10,000. Of what is too much, carts go
            first, and of either kind those that found no room, down to a tenth of the limit.
        dead_letter_age: Seconds for which dead letters are kept. Default 30 days.
        dead_letter_bytes: How large their file may become, its log aside. Default 64 MiB.

    Raises:
        ValueError, TypeError: An argument cannot work; the message names it.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        synchronous: str = "FULL",
        max_rows: int = 1_000_000,
        max_bytes: int = _GIB,
        dead_letter_limit: int = 10_000,
        dead_letter_age: float = 30 * _DAY,
        dead_letter_bytes: int = _GIB // 16,
    ) -> None:
        self.directory: Path = _checked_directory(directory)
        self._settings = Settings(
            synchronous=synchronous,
            max_rows=max_rows,
            max_bytes=max_bytes,
            dead_letter_limit=dead_letter_limit,
            dead_letter_age=dead_letter_age,
            dead_letter_bytes=dead_letter_bytes,
        )
        self.on_commit: Callable[[int, float], object] | None = None
        """Called on the journal's thread with each commit: how many new rows, and how many seconds.
        Set before it is opened."""
        self._life = _Life.NEW
        self._pid = 0
        self._last = 0
        self._outage = Outage()
        """A write hangs, and what has ended piles up."""
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writer: Writer | None = None
        self._closing: asyncio.Future[None] | None = None

    def unopened(self) -> SQLiteJournal:
        """Return a journal of the same settings that was not opened: for one more client."""
        return SQLiteJournal(self.directory, **attrs.asdict(self._settings))

    def __repr__(self) -> str:
        return f"<SQLiteJournal {self._life.value}, {self.directory}>"

    # --- life ----------------------------------------------------------------------------------

    async def open(self, *, destination: str) -> None:
        """See `Journal.open`."""
        if self._life is not _Life.NEW:
            raise JournalError(
                f"{self.directory}: this journal was opened before; make one for each client"
            )
        self._life = _Life.OPEN
        self._pid = os.getpid()
        self._loop = asyncio.get_running_loop()
        directory = Directory(self.directory.absolute())  # the process may change its own later
        self._writer = writer = Writer(directory, destination, self._settings, self._notify)
        writer.on_commit = self.on_commit
        try:
            writer.start()
        except RuntimeError as error:  # no more threads
            self._life = _Life.CLOSED
            raise JournalError(f"{self.directory}: its thread cannot start: {error}") from error
        begun = self._command(writer.begin)
        try:
            await asyncio.shield(begun)
        except JournalError:
            await self.close()
            raise
        except asyncio.CancelledError:
            begun.add_done_callback(self._end_what_was_begun)
            raise

    async def close(self) -> None:
        """See `Journal.close`. Cancelled, it goes on in its thread."""
        if self._life is _Life.OPEN:
            self._end()
        self._life = _Life.CLOSED
        if self._closing is not None:
            await asyncio.shield(self._closing)

    def _end(self) -> None:
        self._closing = self._command(self._running().end)
        self._life = _Life.CLOSED

    def _end_what_was_begun(self, begun: asyncio.Future[None]) -> None:
        if not begun.cancelled():
            begun.exception()  # nobody waits for it any more
        if self._life is _Life.OPEN:
            self._end()

    # --- recording -----------------------------------------------------------------------------

    @property
    def series(self) -> str | None:
        """What names this process's rows, together with their ids, in every process to come."""
        return self._running().series

    @property
    def has_room(self) -> bool:
        """See `Journal.has_room`."""
        writer = self._running()
        return writer.has_room and len(writer.settled) < _MAX_ENDINGS_WAITING

    def append(
        self,
        event: Event,
        *,
        company_key: str,
        order_id: str | None,
        guard: SendMark,
        spilled: bool = False,
    ) -> int:
        """See `Journal.append`."""
        writer = self._running()
        if len(writer.settled) >= _MAX_ENDINGS_WAITING or self._outage.cause is not None:
            self._check_pace(writer)
        self._last = row_id = self._last + 1
        row = PendingRow(row_id, event, company_key, order_id, guard, uptime(), spilled)
        writer.appended.append(row)
        if writer.is_idle:
            writer.wake()
        return row_id

    @property
    def levels(self) -> JournalLevels | None:
        """How full it is, from any thread; None while it is not open. Sizes need `on_commit`."""
        return self._writer.levels if self._life is _Life.OPEN and self._writer else None

    async def committed(self, row_id: int) -> None:
        """See `Journal.committed`."""
        writer = self._running()
        if self.holds(row_id):
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._waiters and row_id < self._waiters[-1][0]:
            bisect.insort(self._waiters, (row_id, waiter), key=_row_id_of)
        else:
            self._waiters.append((row_id, waiter))
        if row_id <= writer.tried:
            self._wake_waiters()  # the thread may have reported it just before
        await waiter

    async def mark(self, row_ids: Sequence[int], guard: SendMark) -> None:
        """See `Journal.mark`."""
        await self._command(row_ids=tuple(row_ids), guard=guard)

    def holds(self, row_id: int) -> bool:
        """See `Journal.holds`."""
        writer = self._running()
        if slot_of(row_id):
            return slot_of(row_id) in writer.adopted
        return row_id <= writer.written and row_id not in writer.unwritable

    def settle(self, endings: Sequence[Ending]) -> None:
        """See `Journal.settle`."""
        writer = self._running()
        has_room = len(writer.settled) < _MAX_ENDINGS_WAITING
        writer.settled.extend(
            ending
            for ending in endings
            if ending.row_id is not None or (has_room and makes_letter(ending.outcome))
        )
        if writer.is_idle:
            writer.wake()

    async def sync(self) -> None:
        """See `Journal.sync`."""
        await self._command()

    # --- what the disk alone has ---------------------------------------------------------------

    async def adopt(self) -> Sequence[Backlog]:
        """See `Journal.adopt`."""
        writer = self._running()
        backlogs = []
        for slot in await self._command(writer.take_over):
            found: Backlog | bool = False
            while found is False:
                found = await self._command(partial(writer.adopted.check_some, slot))
            if isinstance(found, Backlog):
                backlogs.append(found)
        return backlogs

    async def page(self, file: int | None, *, after: int | None, limit: int) -> Page:
        """See `Journal.page`."""
        writer = self._running()
        behind, asked = 0 if after is None else id_of(after), uptime()
        if file is None:
            read = partial(writer.page_own, behind, limit, asked)
        else:
            read = partial(writer.adopted.page, file, behind, limit, asked)
        page: Page = await self._command(read)
        return page

    # --- what is told of the process -------------------------------------------------------------

    async def report(
        self,
        counts: Mapping[str, Any],
        outcomes: Sequence[Mapping[str, Any]] = (),
        *,
        is_last: bool = False,
    ) -> bool:
        """Put counts into the directory, for `alhena status`, in the place of the earlier ones.

        Args:
            counts: As they are now.
            outcomes: What ended since the last time, for whoever watches.
            is_last: The client is closed.

        Returns:
            Whether anybody watches.

        Raises:
            JournalError: The journal is not open.
        """
        write = partial(self._running().report.write, counts, outcomes, is_last=is_last)
        is_watched: bool = await self._command(write)
        return is_watched

    # --- who is forgotten ----------------------------------------------------------------------

    async def forget_requests(self) -> Sequence[ForgetRequest]:
        """Return whom the directory asks to forget.

        Raises:
            JournalError: The journal is not open.
        """
        directory = self.directory.absolute()
        requests: Sequence[ForgetRequest] = await self._command(
            lambda: list(requests_in(directory))
        )
        return requests

    async def forget(self, whom: Whom) -> int:
        """Remove what is on disk alone of a visitor, and write this process's files anew.

        Returns:
            How many events were removed.

        Raises:
            JournalError: It was not done.
        """
        removed: int = await self._command(partial(self._running().forget, whom))
        return removed

    async def answer(self, request: ForgetRequest, *, dropped: int, on_wire: int) -> None:
        """Say in the directory that a request is done with here.

        Raises:
            JournalError: It could not be said.
        """
        answer = Answer(dropped=dropped, on_wire=on_wire)
        await self._command(partial(self._running().answer, request, answer))

    # --- inside --------------------------------------------------------------------------------

    def _running(self) -> Writer:
        if self._life is _Life.OPEN and self._writer is not None:
            if self._pid == os.getpid():
                return self._writer
            raise JournalError(
                f"{self.directory}: this journal was opened in another process; after a fork, "
                "make one of your own (start the client in each worker, not before the fork)"
            )
        raise JournalError(f"{self.directory}: this journal is {_STATE[self._life]}")

    def _check_pace(self, writer: Writer) -> None:
        """Return if the thread keeps up; said once when it stops, and once when it does again.

        Raises:
            JournalError: A write hangs.
        """
        if len(writer.settled) < _MAX_ENDINGS_WAITING:
            self._outage.succeeded(f"{self.directory}: events are written again")
            return
        message = f"{self.directory}: the disk hangs, or is too slow: see what is wrong with it"
        self._outage.failed(JournalError(message), "further events go on in memory only")
        raise JournalError(f"{message}; the event goes on in memory")

    def _command(
        self,
        call: Callable[[], Any] | None = None,
        *,
        row_ids: Sequence[int] = (),
        guard: SendMark = SendMark.NONE,
    ) -> asyncio.Future[Any]:
        writer, loop = self._running(), asyncio.get_running_loop()
        if loop is not self._loop:
            raise JournalError(f"{self.directory}: this journal was opened on another event loop")
        future: asyncio.Future[Any] = loop.create_future()
        writer.commands.append(Command(future, call, row_ids, guard))
        if writer.is_idle:
            writer.wake()
        return future

    def _notify(self, results: Sequence[Result]) -> None:
        """Pass to the loop what the writer's thread tells. Called on that thread."""
        # A waiter that comes now looks for itself, at what was set before.
        if (results or self._waiters) and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                self._loop.call_soon_threadsafe(self._on_report, results)

    def _on_report(self, results: Sequence[Result]) -> None:
        self._wake_waiters()
        for result in results:
            if result.error is not None:
                _fail(result.future, result.error)
            elif not result.future.done():
                result.future.set_result(result.result)

    def _wake_waiters(self) -> None:
        """Wake those whose rows are on disk, and fail those whose rows could not be written."""
        writer, waiters = self._writer, self._waiters
        assert writer is not None  # noqa: S101  it was opened
        tried, written, trouble = writer.tried, writer.written, writer.trouble
        while waiters and waiters[0][0] <= written:
            row_id, waiter = waiters.popleft()
            if row_id in writer.unwritable:
                _fail(waiter, JournalError("the event could not be encoded; see the log"))
            elif not waiter.done():
                waiter.set_result(None)
        while trouble is not None and waiters and waiters[0][0] <= tried:
            _fail(waiters.popleft()[1], trouble)


_STATE: Final = {_Life.NEW: "not open", _Life.CLOSED: "closed"}


def _row_id_of(waiter: tuple[int, asyncio.Future[None]]) -> int:
    return waiter[0]


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        # Each its own: a traceback grows on the error that is raised.
        future.set_exception(JournalError(str(error)))


def _checked_directory(given: object) -> Path:
    if not isinstance(given, str | os.PathLike):
        raise TypeError(f"directory must be a path, not {type(given).__name__}")
    text = os.fspath(given)
    if not isinstance(text, str) or not text or "\0" in text:
        raise ValueError("directory must be a non-empty path")
    return Path(text)
