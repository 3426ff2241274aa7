"""The one thread that touches the disk.

What the event loop submits lies in queues that only grow on its side and only shrink on ours. The
thread takes what has gathered, writes all of it in one transaction, and tells the loop with one
call: so batches grow by themselves while a commit is under way, and nobody lingers for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Container, Mapping, Sequence
from math import inf
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

import attrs

from alhena_async.errors import JournalError
from alhena_async.journal._active_file import ActiveFile
from alhena_async.journal._adoption import AdoptedFiles, Adopter
from alhena_async.journal._dead_letter_writer import DeadLetterWriter
from alhena_async.journal._dead_letters import origin_of
from alhena_async.journal._directory import Directory
from alhena_async.journal._forget_requests import Answer, ForgetRequest, Whom
from alhena_async.journal._models import OWN, Settings, id_of, marks_in, slot_of
from alhena_async.journal._reports import Report
from alhena_async.journal._rows import Stored
from alhena_async.journal._sqlite import to_journal_error
from alhena_async.journal._unsettled import PendingRow
from alhena_async.journal.protocol import Ending, Page, SendMark
from alhena_async.observers import JournalLevels

__all__ = ["Command", "Result", "Writer"]

_log = logging.getLogger("alhena_async")

_T = TypeVar("_T")

_MAX_ROWS_WAITING: Final = 1_000
"""Rows that may wait for the disk before no more are spilled: they are in memory until then."""

_SECONDS_BETWEEN_LOOKS: Final = 1.0

_SECONDS_BETWEEN_RETRIES: Final = 1.0
"""Seconds after which what failed is tried again, if nothing comes along with it before."""


@attrs.define(eq=False)
class Command:
    """Something that the loop waits for: a function to be run here, or only the commit."""

    future: asyncio.Future[Any]
    call: Callable[[], Any] | None = None
    """Run after the commit of what was submitted before it; None: only the commit is waited for."""
    row_ids: Sequence[int] = ()
    """Guarded rows to be marked in that commit."""
    guard: SendMark = SendMark.NONE
    """What they are marked as."""


@attrs.frozen
class Result:
    """What came of a command."""

    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None


class Writer:
    """Owns the thread, and through it every file.

    Args:
        directory: Where the files are.
        destination: Whose events.
        settings: How they are kept.
        notify: Called on this thread when something was written, failed to be, or was
            commanded.
    """

    def __init__(
        self,
        directory: Directory,
        destination: str,
        settings: Settings,
        notify: Callable[[Sequence[Result]], object],
    ) -> None:
        self.appended: deque[PendingRow] = deque()
        self.settled: deque[Ending] = deque()
        self.commands: deque[Command] = deque()
        self.is_idle = False
        self._wakeup: SimpleQueue[None] = SimpleQueue()
        self.written = 0
        """Own rows up to here are on disk, or settled."""
        self.tried = 0
        """Own rows up to here are written, or could not be: then `trouble` says why."""
        self.trouble: JournalError | None = None
        """Why rows behind `written` are not on disk; None as long as all goes well."""
        self.unwritable: Container[int] = ()
        """Own rows that never will be on disk."""
        self._unforeseen = 0
        self.on_commit: Callable[[int, float], object] | None = None
        """Called on this thread with each commit: how many new rows, and how many seconds."""
        self._levels = JournalLevels(
            rows=0,
            bytes=0,
            max_bytes=settings.max_bytes,
            dead_letters=0,
            is_writing=True,
            is_alive=True,
        )
        self._measured_at = -inf
        self._is_stale = False
        """Something was written since, and somebody wants to know."""
        adopter = Adopter(directory, destination, settings.synchronous)
        self._letters = DeadLetterWriter(directory, destination, settings)
        self.adopted = AdoptedFiles(adopter, self._letters.rows_of, self._take_unreadable)
        self.report = Report(directory.path)
        """What this process tells of itself; written on this thread."""
        self._directory = directory
        self._destination = destination
        self._settings = settings
        self._notify = notify
        self._own: ActiveFile | None = None
        self._elsewhere = 0
        """Unsettled rows of adopted files."""
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="alhena-journal", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Wake the thread; called where `is_idle` was seen."""
        self.is_idle = False
        self._wakeup.put(None)

    @property
    def has_room(self) -> bool:
        """Whether more may be spilled. Asked on the other side: nothing is done for it."""
        own, waiting = self._own, len(self.appended)
        return (
            own is not None
            and waiting + own.last - own.written < _MAX_ROWS_WAITING
            and own.has_room(self._elsewhere + waiting)
        )

    @property
    def levels(self) -> JournalLevels:
        """How full it is; sizes and dead letters are measured once a second, if anybody listens."""
        own = self._own
        return attrs.evolve(
            self._levels,
            rows=self._elsewhere + (0 if own is None else own.unsettled) + len(self.appended),
            is_writing=self.trouble is None,
            is_alive=self._thread.is_alive(),
        )

    # --- what the thread does ------------------------------------------------------------------

    def _run(self) -> None:
        while not self._is_over:
            self._wait()
            try:
                self._turn()
            except Exception:  # noqa: BLE001  a thread that dies in silence would hang whoever waits
                _log.exception(
                    "alhena: the journal in %s failed in its thread", self._directory.path
                )

    def _wait(self) -> None:
        # The flag first, then a look: whoever submits in between wakes it.
        self.is_idle = True
        if not (self.commands or self.settled or self.appended):
            with contextlib.suppress(Empty):
                comes_back = self._is_stale or self._has_debts()
                self._wakeup.get(timeout=_SECONDS_BETWEEN_RETRIES if comes_back else None)
        self.is_idle = False

    def _has_debts(self) -> bool:
        own = self._own
        return (own is not None and own.has_debts) or bool(
            self._letters.has_debts or self.adopted.has_debts
        )

    def _turn(self) -> None:
        # In this order: what was submitted before a command, or an ending's row, is in here too.
        commands = _drained(self.commands)
        endings = _drained(self.settled)
        appended = _drained(self.appended)
        failures = self._store(appended, endings, commands)
        results = [self._result_of(command, failures) for command in commands]
        if appended or results:
            self._notify(results)
        if self._is_stale:
            self._measure()

    def _store(
        self, appended: Sequence[PendingRow], endings: Sequence[Ending], commands: Sequence[Command]
    ) -> _Failures:
        own = self._own
        if own is None:
            return _Failures()
        # Whoever waits for the disk's last word does not want to hear of an earlier failure.
        relied_on = any(
            not command.call and command.guard is not SendMark.SENT for command in commands
        )
        urgent = relied_on or any(command.call == self.end for command in commands)
        fault: JournalError | None = None
        try:
            if relied_on:
                own.look_now()
                self.adopted.look()
            own.take(appended)
            gone = self._letters.write(endings, self._origin_of, urgent=urgent)
            own.let_go(id_of(row_id) for row_id in gone if slot_of(row_id) == OWN)
            # The last one counts.
            marks = {row_id: command.guard for command in commands for row_id in command.row_ids}
            notes = self.adopted.settle(gone, marks, urgent=urgent)
            self._elsewhere = self.adopted.left
            before, began = own.written, time.perf_counter()
            unwritten = own.write(marks_in(OWN, marks), elsewhere=self._elsewhere, urgent=urgent)
            if self.on_commit is not None and unwritten.was_written:
                self.on_commit(own.written - before, time.perf_counter() - began)
                self._is_stale = True
            if unwritten.notes is not None:
                notes[OWN] = unwritten.notes
            return _Failures(rows=unwritten.rows, notes=notes, letters=self._letters.trouble)
        except Exception as error:  # noqa: BLE001  ours is the fault: the shop goes on regardless
            self._log_unforeseen()
            fault = to_journal_error(self._directory.path, error)
            return _Failures(unforeseen=fault)
        finally:
            self.written, self.trouble = own.written, own.outage.cause or fault
            self.unwritable = own.unwritable
            self.tried = own.last  # at the end: who reads it may rely on the other two

    def _log_unforeseen(self) -> None:
        """Log the 1st, 10th, 100th ... of what may come with every commit, with its traceback."""
        self._unforeseen += 1
        if str(self._unforeseen).strip("0") == "1":
            _log.exception(
                "alhena: the journal in %s failed in an unforeseen way (%d so far), and what it "
                "was to write may not be on disk: please report this",
                self._directory.path,
                self._unforeseen,
            )

    def _measure(self) -> None:
        if self._own is not None and time.monotonic() - self._measured_at >= _SECONDS_BETWEEN_LOOKS:
            self._measured_at, self._is_stale = time.monotonic(), False
            self._levels = attrs.evolve(
                self._levels, bytes=self._own.bytes, dead_letters=self._letters.count()
            )

    def _result_of(self, command: Command, failures: _Failures) -> Result:
        if command.call is None:
            return Result(command.future, error=failures.of(command))
        try:
            return Result(command.future, command.call())
        except Exception as error:  # noqa: BLE001  whoever waits gets it
            return Result(command.future, error=to_journal_error(self._directory.path, error))

    # --- our own file --------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin our own file, now or, where the disk is full, as soon as there is room.

        Raises:
            JournalError: The directory cannot be used.
        """
        self._own = ActiveFile.begin(self._directory, self._destination, self._settings)

    @property
    def series(self) -> str | None:
        """What names our own rows, together with their ids, in every process; None at the end."""
        return self._own.series if self._own is not None else None

    def page_own(self, after: int, limit: int, asked: float) -> Page:
        """Return the next spilled rows.

        Raises:
            JournalError, sqlite3.Error: They cannot be read.
        """
        assert self._own is not None  # noqa: S101  it was begun
        page, unreadable = self._own.page(after, limit, asked)
        for row in unreadable:
            self._take_unreadable(row, row.id)
        return page

    def forget(self, whom: Whom) -> int:
        """Remove what is on disk alone of a visitor, and write all our files anew.

        Raises:
            JournalError, sqlite3.Error, OSError: It was not done, or not to its end.
        """
        assert self._own is not None  # noqa: S101  it was begun
        removed = self._own.forget(whom) + self.adopted.forget(whom)
        self._elsewhere = self.adopted.left
        return removed

    def answer(self, request: ForgetRequest, answer: Answer) -> None:
        """Say that a request is done with here.

        Raises:
            OSError: It cannot be said.
        """
        if self.report.name is not None:
            request.answer(self.report.name, answer)

    def end(self) -> None:
        """Release every file; nothing is done after that."""
        self._is_over = True
        self.report.release()
        own, self._own = self._own, None
        try:
            self._letters.close()
            self.adopted.release_all()
        finally:
            if own is not None:
                own.close()

    # --- files of dead processes ---------------------------------------------------------------

    def take_over(self) -> list[int]:
        """Take the files of dead processes; return their slots, oldest first.

        Raises:
            JournalError: The directory cannot be read.
        """
        assert self._own is not None  # noqa: S101  it was begun
        self._own.look_now()
        return self.adopted.take_over(self._own.number)

    def _origin_of(self, row_id: int) -> str | None:
        """The name of a row that is the same in every process."""
        own = self._own.uuid if self._own is not None else None
        uuid = own if slot_of(row_id) == OWN else self.adopted.uuid_of(slot_of(row_id))
        return None if uuid is None else origin_of(uuid, id_of(row_id))

    def _take_unreadable(self, row: Stored, row_id: int) -> None:
        self._letters.take_unreadable(row, row_id, self._origin_of(row_id))


@attrs.frozen(kw_only=True)
class _Failures:
    rows: JournalError | None = None
    """Why some own rows are not on disk."""
    notes: Mapping[int, JournalError] = attrs.field(factory=dict)
    """Why ends and marks are not, by slot."""
    letters: JournalError | None = None
    unforeseen: JournalError | None = None

    def of(self, command: Command) -> JournalError | None:
        """Return what a command has failed of: a mark, of what its own rows lack."""
        if command.row_ids:
            slots = map(slot_of, command.row_ids)
            return self.unforeseen or next((self.notes[s] for s in slots if s in self.notes), None)
        notes = next(iter(self.notes.values()), None)
        return self.unforeseen or self.rows or notes or self.letters


def _drained(queue: deque[_T]) -> list[_T]:
    # Only as many as there are: the other side may go on for ever.
    return [queue.popleft() for _ in range(len(queue))]
