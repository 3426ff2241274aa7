"""Taking over what dead processes left: find their files, check every row, read them in order."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from alhena_async.errors import JournalError
from alhena_async.journal._clock import ClockReading, age_of, uptime
from alhena_async.journal._directory import Directory, events_path, state_of
from alhena_async.journal._event_file import EventFile, bears_seal, facts_of, remove, rows_in
from alhena_async.journal._forget_requests import Whom, rows_of
from alhena_async.journal._locks import Lock
from alhena_async.journal._models import OWN, base_of, id_of, marks_in, slot_of
from alhena_async.journal._outage import Outage
from alhena_async.journal._reserve import Reserve
from alhena_async.journal._rows import Stored, event_of, is_sound, seed_of
from alhena_async.journal._salvage import Salvage, Salvaged, finish_salvage
from alhena_async.journal._sqlite import (
    DamagedError,
    ForeignError,
    is_damage,
    is_no_room,
    to_journal_error,
)
from alhena_async.journal.protocol import Backlog, Page, Row, SendMark

__all__ = ["AdoptedFile", "AdoptedFiles", "Adopter"]

_log = logging.getLogger("alhena_async")

_SECONDS_PER_SALVAGE: Final = 0.05
"""Seconds of a salvage at a time: likewise."""

_SECONDS_BETWEEN_TRIES: Final = 0.1
"""Seconds between two tries to write a file while the disk refuses."""

_CHARACTERS_TOLD: Final = 200
"""Characters of a base URL that go into a line of the log: it comes from a file."""

_ROWS_PER_CHECK: Final = 512
"""Rows checked at a time: the writer commits in between."""


class AdoptedFile:
    """A dead process's file, held by this process.

    Args:
        lock: Its number, taken.
        file: Its rows.
        seed: `seed_of` the destination.
    """

    def __init__(self, lock: Lock, file: EventFile, seed: int) -> None:
        self.lock = lock
        self.file = file
        self.lanes: Counter[int] = Counter()
        """Rows by lane, once all are checked."""
        self.left = 0
        """Rows that are not settled, as far as they are checked."""
        self.gone: list[int] = []
        """Rows that are settled and not yet deleted."""
        self._seed = seed
        self.checked = 0
        """Rows up to this id are checked."""
        self.is_checked = False
        """All rows are checked."""
        self._outage = Outage(pause=_SECONDS_BETWEEN_TRIES)
        self._may_wonder = True

    def forget(self, ids: Sequence[int]) -> None:
        """Delete rows that have ended, before any is checked.

        Raises:
            sqlite3.Error: Nothing was deleted.
        """
        if not ids:
            return
        try:
            self.file.write(gone=ids)
        except sqlite3.Error as error:
            self._note({}, ids, error)

    def _note(self, marks: Mapping[int, SendMark], gone: Sequence[int], error: Exception) -> None:
        """Keep in the reserve what the tables do not take.

        Raises:
            sqlite3.Error, OSError: `error`; the reserve does not take it either.
        """
        try:
            self.file.note(marks, gone)
        except OSError:
            raise error from None

    def check_some(self) -> bool:
        """Check the next rows; return whether all are checked.

        Raises:
            DamagedError, sqlite3.Error: The file is damaged.
        """
        if not self.checked:
            self.file.check()
        rows = self.file.read(after=self.checked, limit=_ROWS_PER_CHECK)
        for row in rows:
            self._check(row)
            self.lanes[row[3]] += 1
        self.left += len(rows)
        if rows:
            self.checked = rows[-1][0]
        self.is_checked = len(rows) < _ROWS_PER_CHECK
        return self.is_checked

    def remove(self, whom: Whom) -> int:
        """Delete a visitor's rows; return how many there were.

        Raises:
            sqlite3.Error: Nothing was deleted.
        """
        ids = rows_of(self.file, whom)
        self.file.write(gone=[*self.gone, *ids])
        self.gone.clear()
        self.left -= sum(id_ <= self.checked for id_ in ids)
        return len(ids)

    def trust(self) -> None:
        """Take the rows as checked: they were salvaged, and are judged again as they are read."""
        self.left = self.file.count()
        self.is_checked = True

    def rows(
        self, *, after: int, limit: int, base: int, asked: float
    ) -> tuple[list[Row], list[Stored], bool]:
        """Return the next rows, those of them that are no events, and whether none is left behind.

        Args:
            after: The id behind which to begin.
            limit: Rows at most.
            base: What a row's row_id is counted from.
            asked: The `uptime` that ages refer to.

        Raises:
            sqlite3.Error: The file cannot be read.
        """
        found = self.file.read(after=after, limit=limit + 1)
        now = ClockReading.at(asked)
        rows: list[Row] = []
        unreadable: list[Stored] = []
        for row in found[:limit]:
            self._check(row)
            stored = Stored(*row)
            try:
                rows.append(self._row(stored, now, base))
            except ValueError as error:
                _log.error(
                    "alhena: %s: row %d is whole, but %s; it is set aside as a dead letter",
                    self.file.path, stored.id, error,
                )  # fmt: skip
                unreadable.append(stored)
        return rows, unreadable, len(found) <= limit

    def _check(self, row: Sequence[object]) -> None:
        if not is_sound(row, self._seed):
            raise DamagedError("it holds a row whose checksum is wrong")

    def _row(self, stored: Stored, now: ClockReading, base: int) -> Row:
        age = age_of(stored.accepted / 1e6, anchor=self.file.header.anchor, now=now)
        if age < 0 and self._may_wonder:
            self._may_wonder = False
            _log.warning(
                "alhena: %s: row %d was accepted %.0f s in the future: the clock was set back, and "
                "the age of such rows counts from now (said once)", self.file.path, stored.id, -age,
            )  # fmt: skip
        return Row(
            row_id=base | stored.id,
            identity=f"{self.file.header.series}-{stored.id:x}",
            lane=stored.lane,
            event=event_of(stored.body),
            company_key=stored.company_key,
            order_id=stored.order_id,
            age=max(age, 0.0),
            guard=SendMark(stored.guard),
        )

    @property
    def has_debts(self) -> bool:
        """Whether the tables are to be told something that they could not be."""
        # Before all is checked nothing has ended but what is noted already.
        return self.is_checked and bool(self.gone or self.file.reserve.notes)

    def let_go(self, id_: int) -> None:
        """Let go of a row that is settled: `settle` deletes it."""
        self.gone.append(id_)
        self.left -= 1

    def settle(self, marks: Mapping[int, SendMark], *, urgent: bool = False) -> JournalError | None:
        """Delete the rows that are settled, and mark others; return why that is not on disk.

        Args:
            marks: What guarded rows are from now on, by id.
            urgent: Try the tables, even if they have only just failed.
        """
        error: Exception | None = self._outage.cause
        if self._outage.may_try(urgent=urgent):
            error = self._written(marks)
        if error is not None and (self.gone or marks):
            try:
                self._note(marks, self.gone, error)
            except Exception:  # noqa: BLE001  tried again with the next ones
                return self._outage.cause
        self.gone.clear()
        return None

    def _written(self, marks: Mapping[int, SendMark]) -> Exception | None:
        try:
            self.file.write(marks=marks, gone=self.gone)
        except (sqlite3.Error, OSError) as error:
            self._outage.failed(
                to_journal_error(self.file.path, error),
                "what was settled is deleted as soon as it can be",
            )
            return error
        self._outage.succeeded(f"{self.file.path} can be written again")
        with contextlib.suppress(OSError):
            self.file.reserve.make()
        return None

    def is_over(self) -> bool:
        """Return whether nothing in the file is needed any more."""
        if self.left <= 0:  # the file itself has the last word
            self.left = self.file.count() - len(self.gone)
        return self.left <= 0

    def release(self) -> None:
        """Let go of the file, and delete it if all of it was checked and nothing is left in it."""
        is_empty = self.is_checked and self.left <= 0
        if is_empty:
            self.file.delete()
        else:
            self.file.close()
        self.lock.release(remove=is_empty)


class DamagedFile:
    """A dead process's damaged file, held by this process: what is readable of it is salvaged.

    Args:
        lock: Its number, taken.
        path: The file, closed.
        why: What was found.
        job: Salvages it.
    """

    def __init__(self, lock: Lock, path: Path, why: Exception, job: Salvage) -> None:
        self.lock = lock
        self.path = path
        self.why = why
        self._job = job
        self._steps = job.steps()

    def salvage_some(self) -> bool:
        """Go on for a moment; return whether that is done. `result` says what came of it.

        Raises:
            OSError, sqlite3.Error: The disk refused.
        """
        until = uptime() + _SECONDS_PER_SALVAGE
        return all(uptime() <= until for _ in self._steps)

    @property
    def result(self) -> Salvaged | None:
        """What came of it; None if no row of it is ours."""
        return self._job.result

    def release(self) -> None:
        """Let go of it as it is."""
        self._steps.close()
        self.lock.release(remove=False)


class Adopter:
    """Finds files to adopt.

    Args:
        directory: Where.
        destination: Whose files: those of no other are touched.
        synchronous: `FULL` or `NORMAL`.
    """

    def __init__(self, directory: Directory, destination: str, synchronous: str) -> None:
        self._directory = directory
        self._destination = destination
        self._synchronous = synchronous
        self._seed = seed_of(destination)
        self._left_alone: dict[int, Outage] = {}
        self._judged: dict[int, tuple[object, ...]] = {}
        """Files that are not ours, each as it was then: not read again before it changes."""
        self._others: Counter[str] = Counter()
        """Events for other destinations, of files that were looked at and not yet told of."""

    def find(self, held: Iterable[int]) -> list[AdoptedFile | DamagedFile]:
        """Take every file that is ours to adopt, oldest first, unchecked, and damaged ones.

        Args:
            held: Numbers that this process holds already.

        Raises:
            JournalError: The directory cannot be read.
        """
        mine = set(held)
        found = [self._take(number) for number in self._directory.numbers() if number not in mine]
        self._tell_of_others()
        return [adopted for adopted in found if adopted is not None]

    def _tell_of_others(self) -> None:
        """Say how much is for which other destination: nobody here delivers it."""
        for destination, rows in self._others.items():
            _log.warning(
                "alhena: %s holds %d events that dead processes left for %s: they wait for a "
                "client with that base URL; this one sends to %s",
                self._directory.path, rows, destination, self._destination,
            )  # fmt: skip
        self._others.clear()

    def _take(self, number: int) -> AdoptedFile | DamagedFile | None:
        path = events_path(self._directory.path, number)
        if number in self._judged and self._judged[number] == state_of(path):
            return None
        try:
            lock = self._directory.try_lock(number)
            if lock is None:
                return None
        except JournalError as error:
            self.leave(number, error)
            return None
        file, is_over = None, False
        try:
            file = self._opened(lock, path)
            is_over = not path.exists()  # and nothing of it has another name for now
        except Exception as error:  # noqa: BLE001  no file keeps a client from starting
            self.leave(number, to_journal_error(path, error))
        else:
            if file is None and not is_over:
                self._judged[number] = state_of(path)
                self._note_others(path)
        finally:
            if file is None:
                lock.release(remove=is_over)
        if file is None or isinstance(file, DamagedFile):
            return file
        with contextlib.suppress(OSError):  # without room for it one goes on without
            file.reserve.make()
        self._left_alone.pop(number, Outage()).succeeded(f"{path} is taken over after all")
        return AdoptedFile(lock, file, self._seed)

    def _opened(self, lock: Lock, path: Path) -> EventFile | DamagedFile | None:
        """Open a file; SQLite needs a little room for that, which its reserve may lend."""
        try:
            return self._judged_and_opened(lock, path)
        except Exception as error:
            if not (is_no_room(error) and Reserve(path, syncs=False).lend()):
                raise
        return self._judged_and_opened(lock, path)

    def _judged_and_opened(self, lock: Lock, path: Path) -> EventFile | DamagedFile | None:
        finish_salvage(path)
        if not path.exists():
            remove(path)
            return None
        try:
            if self._is_of_others(lock, path):
                return None
            file = EventFile.open(path, synchronous=self._synchronous)
        except Exception as error:
            if not is_damage(error, path):
                raise
            return self.damaged(lock, path, error)
        if file is None:
            remove(path)
        return file

    def _is_of_others(self, lock: Lock, path: Path) -> bool:
        """Whether a file is another destination's.

        It says whose it is, and its lock file repeats that; where they disagree, the rows' seals
        decide.

        Raises:
            DamagedError: They disagree, and it is ours, or may be.
        """
        facts, noted = facts_of(path), lock.noted()
        if not facts:
            return False
        claims = {said.get("destination") for said in (facts, noted or facts)}
        if noted in ({}, facts) and claims == {self._destination}:
            return False
        if noted == facts:
            return True
        if self._destination in claims or bears_seal(path, self._seed):
            raise DamagedError("what it says of itself is not what its lock file or its rows say")
        return True

    def _note_others(self, path: Path) -> None:
        with contextlib.suppress(JournalError, DamagedError, sqlite3.Error, OSError):
            rows = rows_in(path)
            if rows:
                destination = facts_of(path).get("destination", "nobody knows whom")
                self._others[" ".join(destination.split())[:_CHARACTERS_TOLD]] += rows

    def damaged(self, lock: Lock, path: Path, why: Exception) -> DamagedFile:
        """Return a damaged file as one that is to be salvaged.

        Args:
            lock: The number, held.
            path: The file, closed.
            why: What was found.
        """
        job = Salvage(
            path, lock, self._destination, synchronous=self._synchronous,
            is_foreign=isinstance(why, ForeignError),
        )  # fmt: skip
        return DamagedFile(lock, path, why, job)

    def salvaged(self, file: DamagedFile) -> AdoptedFile | None:
        """Say what came of a salvage; return the file of its number, None if none is ours.

        Raises:
            OSError, sqlite3.Error: The disk refused.
        """
        found, path = file.result, file.path
        if found is None:
            message = (
                f"{path} is damaged ({file.why}), and no row of it is meant for {self._destination}"
            )
            if isinstance(file.why, ForeignError):
                message = f"{path} seems to be another program's ({file.why}): move it elsewhere"
            self.leave(file.lock.number, JournalError(message))
            self._judged[file.lock.number] = state_of(path)
            return None
        _log.error(
            "alhena: %s is damaged (%s): set aside as %s; "
            "%d events were salvaged and are delivered",
            path, file.why, found.aside, found.rows,
        )  # fmt: skip
        opened = EventFile.open(path, synchronous=self._synchronous)
        return None if opened is None else AdoptedFile(file.lock, opened, self._seed)

    def leave(self, number: int, why: JournalError) -> None:
        """Say once of a number why its file is left alone."""
        self._left_alone.setdefault(number, Outage()).failed(why, "the file is left alone")


def _uncounted(slot: int) -> Backlog:
    return Backlog(file=slot, rows=1, lanes={})


class AdoptedFiles:
    """Holds adopted files by slot. Belongs to the writer's thread.

    Args:
        adopter: Finds and salvages them.
        settled_rows: Returns which rows of a file, by its uuid, are dead letters already.
        unreadable: Told of rows that are whole and yet no events, with their row_ids.
    """

    def __init__(
        self,
        adopter: Adopter,
        settled_rows: Callable[[str], Sequence[int]],
        unreadable: Callable[[Stored, int], object],
    ) -> None:
        self._adopter = adopter
        self._settled_rows = settled_rows
        self._unreadable = unreadable
        self._files: dict[int, AdoptedFile] = {}
        self._damaged: dict[int, DamagedFile] = {}
        """Not yet salvaged: that begins with the first page."""
        self._spent: list[Lock] = []
        """Held to the end: rows of theirs were handed out, and are to be handed out only once."""
        self._last_slot = OWN

    def __contains__(self, slot: object) -> bool:
        return slot in self._files

    @property
    def left(self) -> int:
        """Rows that are not settled."""
        return sum(one.left for one in self._files.values())

    @property
    def has_debts(self) -> bool:
        """Whether rows are to be deleted that could not be."""
        return any(one.has_debts for one in self._files.values())

    def uuid_of(self, slot: int) -> str | None:
        """Return a file's own name; None if it is not held any more."""
        adopted = self._files.get(slot)
        return adopted.file.header.uuid if adopted is not None else None

    def take_over(self, own: int) -> list[int]:
        """Take the files of dead processes; return their slots, oldest first.

        Args:
            own: The number of our own file.

        Raises:
            JournalError: The directory cannot be read.
        """
        slots = []
        for adopted in self._adopter.find([own, *self._numbers()]):
            self._last_slot += 1
            if isinstance(adopted, DamagedFile):
                self._damaged[self._last_slot] = adopted
            else:
                self._files[self._last_slot] = adopted
            slots.append(self._last_slot)
        return slots

    def check_some(self, slot: int) -> Backlog | bool:
        """Check some rows of a file that was taken over.

        Returns:
            False: there are more to check. True: nothing of it is ours to deliver. Otherwise
            what it holds; of a damaged one nobody knows yet, but that it may hold something.
        """
        if slot in self._damaged:
            return _uncounted(slot)
        adopted = self._files[slot]
        try:
            if not adopted.checked:
                # Their letters were kept, and then the process died: they have ended.
                adopted.forget(self._settled_rows(adopted.file.header.uuid))
            if not adopted.check_some():
                return False
        except Exception as error:  # noqa: BLE001  one bad file must not hide the others
            return self._put_off(slot, error)
        if not adopted.left:
            self._release(slot)
            return True
        return Backlog(file=slot, rows=adopted.left, lanes=dict(adopted.lanes))

    def page(self, slot: int, after: int, limit: int, asked: float) -> Page:
        """Return the next rows of a file, salvaged once more if need be.

        Raises:
            JournalError: It cannot be read.
        """
        if slot in self._damaged:
            return self._salvage_some(slot)
        adopted = self._files.get(slot)
        if adopted is None:
            raise JournalError("the file is not held any more: close the client, and start another")
        path = adopted.file.path
        try:
            try:
                return self._page(slot, after, limit, asked)
            except Exception as error:
                if not (is_damage(error, path) and self._salvaged(slot, error)):
                    raise
                return self._page(slot, after, limit, asked)
        except Exception as error:
            raise to_journal_error(path, error) from error

    def _page(self, slot: int, after: int, limit: int, asked: float) -> Page:
        base = base_of(slot)
        rows, unreadable, last = self._files[slot].rows(
            after=after, limit=limit, base=base, asked=asked
        )
        for row in unreadable:
            self._unreadable(row, base | row.id)
        return Page(rows=rows, last=last)

    def settle(
        self, gone: Iterable[int], marks: Mapping[int, SendMark], *, urgent: bool = False
    ) -> dict[int, JournalError]:
        """Delete and mark rows; return why that is not on disk, by slot.

        Args:
            gone: Places of settled rows; those of our own file are passed over.
            marks: What guarded rows are from now on, by row_id; likewise.
            urgent: Try, even where it has only just failed.
        """
        for row_id in gone:
            if slot_of(row_id) in self._files:
                self._files[slot_of(row_id)].let_go(id_of(row_id))
        failures: dict[int, JournalError] = {}
        for slot, adopted in list(self._files.items()):
            own = marks_in(slot, marks)
            if adopted.has_debts or own:
                failure = adopted.settle(own, urgent=urgent)
                if self._is_over(adopted):
                    self._release(slot)
                elif failure is not None:
                    failures[slot] = failure
        return failures

    def _is_over(self, adopted: AdoptedFile) -> bool:
        try:
            return adopted.is_over()
        except (sqlite3.Error, OSError) as error:
            _log.debug("alhena: %s", to_journal_error(adopted.file.path, error, "read"))
            return False

    def forget(self, whom: Whom) -> int:
        """Remove a visitor's rows from every file, and write those anew; return how many rows.

        What is in memory too has been settled before.

        Raises:
            sqlite3.Error, OSError: It was not done, or not to its end.
        """
        removed = 0
        for slot, adopted in list(self._files.items()):
            removed += adopted.remove(whom)
            if self._is_over(adopted) and adopted.is_checked:
                self._release(slot)
            else:
                adopted.file.rewrite()
        return removed

    def look(self) -> None:
        """Let go of files that were deleted or replaced underneath."""
        for slot, adopted in list(self._files.items()):
            if not adopted.file.is_ours():
                message = f"{adopted.file.path} was deleted or replaced underneath"
                self._adopter.leave(adopted.lock.number, JournalError(message))
                self._release(slot)

    def release_all(self) -> None:
        """Let go of every file."""
        for damaged in self._damaged.values():
            damaged.release()
        self._damaged.clear()
        for slot in list(self._files):
            self._release(slot)
        for lock in self._spent:
            lock.release(remove=False)

    def _numbers(self) -> list[int]:
        held = [one.lock for one in self._files.values()]
        held += [one.lock for one in self._damaged.values()]
        return [lock.number for lock in (*held, *self._spent)]

    def _put_off(self, slot: int, why: Exception) -> Backlog | bool:
        """Salvage a file later that is found damaged, or let go of one that cannot be read."""
        adopted = self._files.pop(slot)
        path: Path = adopted.file.path
        with contextlib.suppress(sqlite3.Error):
            adopted.file.close()
        if is_damage(why, path):
            self._damaged[slot] = self._adopter.damaged(adopted.lock, path, why)
            return _uncounted(slot)
        self._adopter.leave(adopted.lock.number, to_journal_error(path, why))
        adopted.lock.release(remove=False)
        return True

    def _salvage_some(self, slot: int) -> Page:
        """Salvage a part of a damaged file; the page after the last part has the first rows."""
        damaged = self._damaged[slot]
        try:
            if not damaged.salvage_some():
                return Page(rows=[], last=False)
            adopted = self._adopter.salvaged(damaged)
        except Exception as error:  # noqa: BLE001  a later look tries again
            self._adopter.leave(damaged.lock.number, to_journal_error(damaged.path, error))
            adopted = None
        del self._damaged[slot]
        if adopted is None:
            damaged.release()
            return Page(rows=[], last=True)
        self._files[slot] = adopted
        adopted.forget(self._settled_rows(adopted.file.header.uuid))
        adopted.trust()
        if not adopted.left:
            self._release(slot)
        return Page(rows=[], last=not adopted.left)

    def _salvaged(self, slot: int, why: Exception) -> bool:
        """Salvage a file of which rows were handed out; if that fails, it is released."""
        adopted = self._files[slot]
        path: Path = adopted.file.path
        with contextlib.suppress(sqlite3.Error):
            adopted.file.close()
        damaged = self._adopter.damaged(adopted.lock, path, why)
        again = None
        try:
            while not damaged.salvage_some():
                pass
            again = self._adopter.salvaged(damaged)
        except (sqlite3.Error, OSError, JournalError) as error:
            self._adopter.leave(adopted.lock.number, to_journal_error(path, error))
        if again is None:
            del self._files[slot]
            self._spent.append(adopted.lock)
            return False
        adopted.file = again.file
        adopted.trust()
        return True

    def _release(self, slot: int) -> None:
        with contextlib.suppress(sqlite3.Error, OSError):
            self._files.pop(slot).release()
