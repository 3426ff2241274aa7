"""The one thread that touches the disk.

What the event loop submits lies in queues that only grow on its side and only shrink on ours. The
thread takes what has gathered, writes all of it in one transaction, and tells the loop with one
call: so batches grow by themselves while a commit is under way, and nobody lingers for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Collection, Container, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

import attrs

from alhena_async.errors import JournalError
from alhena_async.journal._adoption import Adopted, Adopter
from alhena_async.journal._correspondence import Correspondence
from alhena_async.journal._directory import Directory
from alhena_async.journal._own import OwnFile
from alhena_async.journal._schema import is_damage, translated
from alhena_async.journal._settings import Settings
from alhena_async.journal._shelf import Kept
from alhena_async.journal.protocol import Backlog, Ending, Page

__all__ = ["Answer", "Ask", "Writer", "id_of", "slot_of"]

_log = logging.getLogger("alhena_async")

_T = TypeVar("_T")

_SLOT: Final = 40
"""A place is the number of a file, as this process counts them, and a row's id in that file."""
_ID: Final = (1 << _SLOT) - 1
OWN: Final = 0
"""The slot of the file that this process writes."""
_RETRY: Final = 1.0
"""Seconds after which what failed is tried again, if nothing comes along with it before."""


def slot_of(place: int) -> int:
    """Return which file a place is in."""
    return place >> _SLOT


def id_of(place: int) -> int:
    """Return which row of its file a place is."""
    return place & _ID


@attrs.define(eq=False)
class Ask:
    """Something that the loop waits for: a function to be run here, or only the commit."""

    future: asyncio.Future[Any]
    call: Callable[[], Any] | None = None
    """Run after the commit of what was submitted before it; None: the commit is the answer."""
    sent: Sequence[int] = ()
    """Places to be marked as sent, in that commit."""


@attrs.frozen
class Answer:
    """What an ask came to."""

    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None


class Writer:
    """Owns the thread, and through it every file.

    Args:
        directory: Where the files are.
        destination: Whose events.
        settings: How they are kept.
        tell: Called on this thread when something was written, or failed to be, or was asked for.
    """

    def __init__(
        self,
        directory: Directory,
        destination: str,
        settings: Settings,
        tell: Callable[[Sequence[Answer]], object],
    ) -> None:
        self.appended: deque[Kept] = deque()
        self.settled: deque[Ending] = deque()
        self.asked: deque[Ask] = deque()
        self.is_idle = False
        self.bell: SimpleQueue[None] = SimpleQueue()
        self.written = 0
        """Own rows up to here are on disk, or settled."""
        self.tried = 0
        """Own rows up to here are written, or could not be: then `trouble` says why."""
        self.trouble: JournalError | None = None
        """Why rows behind `written` are not on disk; None as long as all goes well."""
        self.unwritable: Container[int] = ()
        """Own rows that never will be on disk."""
        self.adopted: dict[int, Adopted] = {}
        """By slot."""
        self._directory = directory
        self._destination = destination
        self._settings = settings
        self._tell = tell
        self._own: OwnFile | None = None
        self._adopter = Adopter(directory, destination, settings.synchronous)
        self._letters = Correspondence(directory, destination, settings)
        self._last_slot = OWN
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="alhena-journal", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def ring(self) -> None:
        """Wake the thread; called where `is_idle` was seen."""
        self.is_idle = False
        self.bell.put(None)

    # --- what the thread does ------------------------------------------------------------------

    def _run(self) -> None:
        while not self._is_over:
            self._wait()
            self._turn()

    def _wait(self) -> None:
        # The flag first, then a look: whoever submits in between rings.
        self.is_idle = True
        if not (self.asked or self.settled or self.appended):
            with contextlib.suppress(Empty):
                self.bell.get(timeout=_RETRY if self._has_debts() else None)
        self.is_idle = False

    def _has_debts(self) -> bool:
        return (
            (self._own is not None and self._own.has_debts)
            or self._letters.has_debts
            or any(adopted.gone for adopted in self.adopted.values())
        )

    def _turn(self) -> None:
        # In this order: what was submitted before an ask, or an ending's row, is then in here too.
        asks = _drained(self.asked)
        endings = _drained(self.settled)
        appended = _drained(self.appended)
        failures = self._store(appended, endings, asks)
        answers = [self._answer(ask, failures) for ask in asks]
        if appended or answers:
            self._tell(answers)

    def _store(
        self, appended: Sequence[Kept], endings: Sequence[Ending], asks: Sequence[Ask]
    ) -> _Failures:
        own = self._own
        if own is None:
            return _Failures()
        try:
            own.take(appended)
            gone = self._letters.write(endings, self._uuid_of)
            own.let_go(place for place in gone if slot_of(place) == OWN)
            sent = {place for ask in asks for place in ask.sent}
            elsewhere = self._settle_adopted(gone, sent)
            marks = {place for place in sent if slot_of(place) == OWN}
            left = sum(one.left for one in self.adopted.values())
            rows = own.write(marks, elsewhere=left, urgent=self._ends(asks))
            return _Failures(rows, elsewhere, self._letters.trouble)
        except Exception as error:  # noqa: BLE001  ours is the fault: the shop goes on regardless
            _log.exception("the journal in %s failed in an unforeseen way", self._directory.path)
            return _Failures(translated(self._directory.path, error))
        finally:
            self.written, self.trouble = own.written, own.trouble
            self.unwritable = own.unwritable
            self.tried = own.last  # at the end: who reads it may rely on the other two

    def _ends(self, asks: Sequence[Ask]) -> bool:
        return any(ask.call == self.end for ask in asks)

    def _answer(self, ask: Ask, failures: _Failures) -> Answer:
        if ask.call is None:
            failure = failures.own or failures.elsewhere
            return Answer(ask.future, error=failure if ask.sent else failure or failures.letters)
        try:
            return Answer(ask.future, ask.call())
        except Exception as error:  # noqa: BLE001  whoever asked gets it
            return Answer(ask.future, error=translated(self._directory.path, error))

    # --- our own file --------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin our own file.

        Raises:
            JournalError: The directory or the disk refused.
        """
        try:
            self._directory.prepare()
            self._own = OwnFile.begin(self._directory, self._destination, self._settings)
        except BaseException:
            self._is_over = True
            raise

    def end(self) -> None:
        """Release every file; nothing is done after that."""
        self._is_over = True
        self._letters.close()
        for slot in list(self.adopted):
            self._release(slot)
        if self._own is not None:
            self._own.close()
            self._own = None

    # --- files of dead processes ---------------------------------------------------------------

    def take_over(self) -> list[int]:
        """Take the files of dead processes; return their slots, oldest first."""
        assert self._own is not None  # noqa: S101  it was begun
        held = [self._own.number, *(one.lock.number for one in self.adopted.values())]
        slots = []
        for adopted in self._adopter.find(held):
            self._last_slot += 1
            self.adopted[self._last_slot] = adopted
            slots.append(self._last_slot)
        return slots

    def check_some(self, slot: int) -> Backlog | bool:
        """Check some rows of a file that was taken over.

        Returns:
            False: there are more to check. True: nothing is left of it. Else what it holds.
        """
        adopted = self.adopted[slot]
        try:
            if not adopted.checked:
                # Their letters were kept, and then the process died: they have ended.
                adopted.forget(self._letters.rows_of(adopted.file.birth.uuid))
            if not adopted.check_some():
                return False
        except Exception as error:
            if not is_damage(error):
                self._give_up(slot)
                raise
            return self._salvage(slot, error)
        if not adopted.left:
            self._release(slot)
            return True
        return Backlog(file=slot, rows=adopted.left, lanes=dict(adopted.lanes))

    def _salvage(self, slot: int, why: BaseException) -> bool:
        adopted = self.adopted[slot]
        adopted.file.close()
        file = self._adopter.salvaged(adopted.lock, adopted.file.path, why)
        if file is None:
            self._give_up(slot)
            return True
        adopted.recount(adopted.lock, file)
        return False

    def page(self, slot: int, after: int, limit: int) -> Page:
        """Return the next rows of a file."""
        adopted = self.adopted.get(slot)
        if adopted is None:
            raise JournalError(f"{self._directory.path}: the file is not held any more")
        try:
            rows, unreadable, last = adopted.rows(after=after, limit=limit, base=slot << _SLOT)
        except (sqlite3.Error, OSError) as error:
            raise translated(adopted.file.path, error) from error
        for row in unreadable:
            self._letters.take_unreadable(row, slot << _SLOT | row.id, adopted.file.birth.uuid)
        return Page(rows=rows, last=last)

    def _settle_adopted(self, gone: Collection[int], sent: Collection[int]) -> JournalError | None:
        """Delete and mark rows of adopted files; return why some could not be."""
        for place in gone:
            if slot_of(place) in self.adopted:
                self.adopted[slot_of(place)].gone.append(id_of(place))
        failure: JournalError | None = None
        for slot, adopted in list(self.adopted.items()):
            marks = [id_of(place) for place in sent if slot_of(place) == slot]
            if not (adopted.gone or marks):
                continue
            try:
                if adopted.settle(marks):
                    self._release(slot)
            except (sqlite3.Error, OSError) as error:
                failure = adopted.failed(error)
        return failure

    def _release(self, slot: int) -> None:
        with contextlib.suppress(sqlite3.Error, OSError):
            self.adopted.pop(slot).release()

    def _give_up(self, slot: int) -> None:
        adopted = self.adopted.pop(slot)
        adopted.file.close()
        adopted.lock.release(remove=False)

    def _uuid_of(self, place: int) -> str | None:
        if slot_of(place) == OWN:
            return self._own.uuid if self._own is not None else None
        adopted = self.adopted.get(slot_of(place))
        return adopted.file.birth.uuid if adopted is not None else None


@attrs.frozen
class _Failures:
    own: JournalError | None = None
    elsewhere: JournalError | None = None
    letters: JournalError | None = None


def _drained(queue: deque[_T]) -> list[_T]:
    # Only as many as there are: the other side may go on for ever.
    return [queue.popleft() for _ in range(len(queue))]
