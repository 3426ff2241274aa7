"""The file that this process writes: what of it is on disk, and what becomes of it when it fails.

Rows are written in the order of their ids, so that one number tells which are on disk. What could
not be written stays on the shelf and goes with the next batch; what cannot be deleted, likewise.
Spilled rows are read back from here: from the file, or from the shelf if they are not in it yet.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import uuid
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

import attrs

from alhena_async._wire import lane_digest
from alhena_async.errors import JournalError
from alhena_async.journal._clock import ClockReading, stood_still, uptime
from alhena_async.journal._directory import Directory, FullDiskError, events_path, reserve_path
from alhena_async.journal._event_file import EventFile, FileHeader, remove
from alhena_async.journal._forget_requests import Whom, is_of
from alhena_async.journal._locks import Lock
from alhena_async.journal._models import Settings
from alhena_async.journal._outage import Outage
from alhena_async.journal._reserve import RESERVE_BYTES
from alhena_async.journal._rows import Stored, event_of, is_sound, seed_of, stored
from alhena_async.journal._salvage import set_aside
from alhena_async.journal._sqlite import DamagedError, is_damage, is_no_room, to_journal_error
from alhena_async.journal._sqlite_pages import carve
from alhena_async.journal._unsettled import DiskRow, PendingRow, UnsettledRows
from alhena_async.journal.protocol import Page, Row, SendMark

__all__ = ["ActiveFile", "Unwritten", "open_next", "retire"]


def open_next(
    directory: Directory,
    destination: str,
    settings: Settings,
    *,
    above: int = 0,
    series: str | None = None,
) -> tuple[Lock, EventFile]:
    """Claim a number and begin its file.

    Args:
        directory: Where.
        destination: Whose events.
        settings: How they are kept.
        above: The number of the file that this one follows; 0: it is the first.
        series: What names its rows, together with their ids; None: the file's own name.

    Raises:
        JournalError: The disk refused; nothing is left behind.
    """
    lock = directory.claim(above=above)
    path = events_path(directory.path, lock.number)
    try:
        header = FileHeader.now(destination, series)
        lock.note(header.facts())
        file = EventFile.create(
            path, header, synchronous=settings.synchronous, max_bytes=settings.max_bytes
        )
        directory.sync()
    except BaseException as error:
        lock.release(remove=True)
        if isinstance(error, sqlite3.Error | OSError):
            raise to_journal_error(path, error) from error
        raise
    return lock, file


def retire(old: EventFile, *, damaged: bool) -> Path | None:
    """Close a file that is not used any more; return its new name if it is kept."""
    if not old.path.exists() or (old.is_ours() and not damaged):
        old.delete()
        return None
    with contextlib.suppress(sqlite3.Error):
        old.close()
    aside = set_aside(old.path)
    reserve_path(old.path).unlink(missing_ok=True)
    return aside


_log = logging.getLogger("alhena_async")

_SECONDS_BETWEEN_TRIES: Final = 0.1
"""Seconds between two tries while the disk refuses: a shop's requests come faster."""

_ROWS_PER_PROBE: Final = 64
"""Rows that are tried first after a failure: no need to encode all to see that it still fails."""

_ROWS_BEFORE_SHRINKING: Final = 20_000
"""Rows after which an empty file may be large."""

_ROWS_PER_READ: Final = 512
"""Spilled rows that are read at a time, where many are."""

_SECONDS_BETWEEN_CHECKS: Final = 0.1
"""Seconds between two looks at whether our files are still there."""

_SECONDS_BETWEEN_RESERVES: Final = 5.0
"""Seconds between two tries to make a reserve for which there is no room."""

_BYTES_WORTH_LEAVING: Final = RESERVE_BYTES
"""Bytes of a file on a full disk that is left for a new one if hardly anything in it is needed.

They make up for what the new one takes, so that there is room for its reserve.
"""


@attrs.frozen(kw_only=True)
class Unwritten:
    """What could not be put on disk, and why."""

    rows: JournalError | None = None
    """Rows: they go on in memory."""
    notes: JournalError | None = None
    """What became of rows that are there: their ends, and marks."""
    was_written: bool = False
    """Something was to be written, and was."""


class ActiveFile:
    """Our own rows, on disk and not yet on disk.

    Args:
        directory: Where.
        destination: Whose events.
        settings: How they are kept.
    """

    def __init__(self, directory: Directory, destination: str, settings: Settings) -> None:
        self.series = uuid.uuid4().hex
        """Names our rows, together with their ids, in whatever file they are."""
        self.written = 0
        """Rows up to here are on disk, or settled."""
        self._directory = directory
        self._destination = destination
        self._settings = settings
        self._seed = seed_of(destination)
        self._held: tuple[Lock, EventFile] | None = None
        """The file and its number; None until there is room to begin it."""
        self._unsettled = UnsettledRows()
        self.last = 0
        """The last row that was taken in."""
        self.outage = Outage(pause=_SECONDS_BETWEEN_TRIES)
        """Why rows are not on disk, while they cannot be written."""
        self._lacks_reserve = Outage(pause=_SECONDS_BETWEEN_RESERVES)
        self._first = 1
        """No row before this one is in the file."""
        self._left_at = 0.0
        self.unwritable: set[int] = set()
        """Rows that cannot be encoded, and so never will be on disk."""
        self._gone: list[int] = []
        self._wanted: Sequence[Stored] = ()
        self._looked_at = uptime()
        self._since_shrunk = 0
        self._is_nearly_full = False

    @classmethod
    def begin(cls, directory: Directory, destination: str, settings: Settings) -> ActiveFile:
        """Claim a number and begin its file; on a full disk, as soon as there is room.

        Raises:
            JournalError: The directory cannot be used.
        """
        own = cls(directory, destination, settings)
        try:
            own._hold(own._begun())
            own._keep_reserve()
        except FullDiskError as error:
            own._failed(error)
        return own

    @property
    def number(self) -> int:
        """The file's number in the directory; 0 while it is not begun."""
        return self._held[0].number if self._held is not None else 0

    @property
    def uuid(self) -> str | None:
        """The file's own name, the same in every process; None while it is not begun."""
        return self._file.header.uuid if self._held is not None else None

    @property
    def _file(self) -> EventFile:
        assert self._held is not None  # noqa: S101  `_look` begins it
        return self._held[1]

    @property
    def unsettled(self) -> int:
        """How many rows are not settled."""
        return len(self._unsettled)

    @property
    def bytes(self) -> int:
        """How large the file is, its log aside; 0 while it is not begun, or is gone."""
        try:
            return self._file.path.stat().st_size if self._held is not None else 0
        except OSError:
            return 0

    @property
    def has_debts(self) -> bool:
        """Whether something is to be written that could not be."""
        return self.written < self.last or bool(self._gone) or self._has_notes

    @property
    def _has_notes(self) -> bool:
        return self._held is not None and bool(self._file.reserve.notes)

    def take(self, appended: Sequence[PendingRow]) -> None:
        """Take in new rows, in the order of their ids; `write` puts them on disk."""
        for kept in appended:
            self._unsettled.put(kept)
            self.last = kept.id

    def let_go(self, gone: Iterable[int]) -> None:
        """Let go of rows that are settled: `write` deletes them, or never writes them at all."""
        for id_ in gone:
            if self._unsettled.remove(id_) and id_ <= self.written:
                self._gone.append(id_)
            self.unwritable.discard(id_)

    def write(
        self, marks: Mapping[int, SendMark], *, elsewhere: int, urgent: bool = False
    ) -> Unwritten:
        """Write what was taken in, and what an earlier call left undone.

        Args:
            marks: What guarded rows are from now on, by id.
            elsewhere: Unsettled rows in files that were adopted.
            urgent: Try, even if it has only just failed.
        """
        if not (self.has_debts or marks):
            return Unwritten()
        for id_, guard in marks.items():
            if id_ > self.written:  # its row bears the mark, whenever it is written
                self._unsettled.mark(id_, guard)
        error: Exception | None = None
        if self.outage.may_try(urgent=urgent or self._can_start_over):
            error = self._tried(marks, elsewhere)
            if error is None:
                self.outage.succeeded(f"{self._file.path} can be written again")
                return Unwritten(was_written=True)
        is_settled = (error is not None and self._settled_only(marks)) or self._noted(marks)
        if error is not None:
            self._failed(error)
        cause = self.outage.cause
        if next(self._unsettled.after(self.written), None) is None:
            self.written = self.last  # what is not on disk is settled
        return Unwritten(
            rows=cause if self.written < self.last else None, notes=None if is_settled else cause
        )

    def _tried(self, marks: Mapping[int, SendMark], elsewhere: int) -> Exception | None:
        try:
            if self._held is None or uptime() - self._looked_at > _SECONDS_BETWEEN_CHECKS:
                self._look()
            self._check_room(elsewhere)
            self._write(marks)
        except Exception as error:  # noqa: BLE001  whatever it is, the shop goes on
            return None if self._recovered(error, marks) else error
        return None

    def _settled_only(self, marks: Mapping[int, SendMark]) -> bool:
        """Let what settles into the tables at least, which may make room for the rows."""
        if self._held is None:
            return False
        try:
            self._file.write(marks=self._there(marks), gone=self._gone)
        except Exception:  # noqa: BLE001  whatever it is: the first one is told of
            return False
        self._settled(marks)
        return True

    def _noted(self, marks: Mapping[int, SendMark]) -> bool:
        """Keep what settles in the reserve, since the tables do not take it."""
        there = self._there(marks)
        if not (self._gone or there):
            return True
        try:
            self._file.note(there, self._gone)
        except OSError as error:
            _log.debug("alhena: %s cannot be written: %s", self._file.reserve.path, error.strerror)
            return False
        self._settled(there)
        return True

    def _there(self, marks: Mapping[int, SendMark]) -> dict[int, SendMark]:
        """Those of some marks whose rows are on disk."""
        return {id_: guard for id_, guard in marks.items() if id_ <= self.written}

    def _settled(self, marks: Mapping[int, SendMark]) -> None:
        for id_, guard in marks.items():
            self._unsettled.mark(id_, guard)
        self._gone.clear()

    def _write(self, marks: Mapping[int, SendMark]) -> None:
        if self.outage.cause is not None:
            self._write_part(marks, most=_ROWS_PER_PROBE)
        self._write_part(marks)

    def _write_part(self, marks: Mapping[int, SendMark], most: int | None = None) -> None:
        anchor = self._file.header.anchor
        rows = self._encoded(self.written, self.last, anchor=anchor, most=most)
        if rows or marks or self._gone:
            self._wanted = rows
            self._file.write(rows=rows, marks=marks, gone=self._gone)
        elif self._has_notes:
            self._file.write()
        self._settled(marks)
        self.written = rows[-1].id if most is not None and len(rows) == most else self.last
        self._unsettled.forget_events(self.written, self.unwritable)
        self._wanted = ()
        self._is_nearly_full = self._file.is_nearly_full()
        self._since_shrunk += len(rows)
        if self._since_shrunk > _ROWS_BEFORE_SHRINKING and not len(self._unsettled):
            self._file.shrink()
            self._since_shrunk = 0

    def _encoded(
        self,
        behind: int,
        upto: int,
        *,
        anchor: ClockReading,
        most: int | None = None,
    ) -> list[Stored]:
        rows: list[Stored] = []
        gone: list[int] = []
        for kept in self._unsettled.after(behind):
            if kept.id > upto or len(rows) == most:
                break
            if kept.id in self.unwritable:
                continue
            try:
                row = _encode(kept, anchor=anchor, seed=self._seed)
            except Exception as error:  # noqa: BLE001  one event must not stand in all others' way
                _log.error(
                    "alhena: a %s could not be encoded (%s): it goes on in memory only",
                    type(kept.event).__name__, type(error).__name__,
                )  # fmt: skip
                self.unwritable.add(kept.id)
                if not kept.spilled:  # otherwise nobody else has it
                    gone.append(kept.id)
            else:
                rows.append(row)
        for id_ in gone:
            self._unsettled.remove(id_)
        return rows

    # --- when it fails -------------------------------------------------------------------------

    def _recovered(self, error: Exception, marks: Mapping[int, SendMark]) -> bool:
        """Leave a file that is damaged, or full of what is over; return whether that helped."""
        if self._held is None:
            return False
        try:
            if is_damage(error, self._file.path):
                self._roll_over(str(error), damaged=True)
            elif is_no_room(error) and self._is_spent:
                self._start_over()
            elif is_no_room(error) and self._is_worth_leaving():
                self._file.reserve.lend()
                self._roll_over("hardly anything in it is needed", level=logging.DEBUG)
            else:
                return False
            self._write(marks)
        except Exception as another:  # noqa: BLE001  then it is an outage
            _log.debug(
                "alhena: %s: no other file could be begun: %s", self._directory.path, another
            )
            return False
        return True

    @property
    def _can_start_over(self) -> bool:
        return isinstance(self.outage.cause, FullDiskError) and self._is_spent

    @property
    def _is_spent(self) -> bool:
        """Whether rows were written into the file, and none of them is needed any more."""
        return self._first <= self.written and not self._unsettled.count_until(self.written, most=1)

    def _is_worth_leaving(self) -> bool:
        """Whether the few rows that are needed fit into what the reserve lends. Now and then."""
        most = _ROWS_PER_PROBE
        if uptime() - self._left_at < _SECONDS_BETWEEN_RESERVES:
            return False
        self._left_at = uptime()
        is_large = self._file.size() > _BYTES_WORTH_LEAVING
        return is_large and self._unsettled.count_until(self.written, most=most + 1) <= most

    def _start_over(self) -> None:
        """Delete the file, which gives its room back, and begin the next."""
        assert self._held is not None  # noqa: S101  there is one to delete
        lock, file = self._held
        self._held = None
        self._gone.clear()
        try:
            file.delete()
        finally:
            lock.release(remove=True)
        self._hold(self._begun())
        self._keep_reserve(urgent=True)

    def _hold(self, begun: tuple[Lock, EventFile]) -> None:
        self._held = begun
        has_rows = self._unsettled.count_until(self.written, most=1)
        self._first = 1 if has_rows else self.written + 1

    def _failed(self, error: Exception) -> None:
        self.outage.failed(
            self._explained(error),
            "events go on in memory, and are written as soon as it can be",
        )

    def _explained(self, error: Exception) -> JournalError:
        if self._held is None:
            return to_journal_error(self._directory.path, error)
        if isinstance(error, sqlite3.Error) and self._file.is_at_bound(error, self._wanted):
            return JournalError(
                f"{self._file.path} is as large as max_bytes ({self._settings.max_bytes:,}) lets "
                "it be: let the API catch up, or raise max_bytes"
            )
        return to_journal_error(self._file.path, error)

    def _check_room(self, elsewhere: int) -> None:
        if len(self._unsettled) + elsewhere > self._settings.max_rows and self.written < self.last:
            raise JournalError(
                f"{self._directory.path} holds max_rows ({self._settings.max_rows:,}) events: let "
                "the API catch up, or raise max_rows"
            )

    def look_now(self) -> None:
        """See that our files are still there, also while nothing is written."""
        try:
            self._look()
        except Exception as error:  # noqa: BLE001  the next write tells of it
            _log.debug("alhena: %s", to_journal_error(self._directory.path, error))

    def _look(self) -> None:
        self._looked_at = 0.0  # until it has gone well, every write looks again
        if self._held is None:
            self._hold(self._begun())
        elif not self._file.is_in_place():
            try:
                self._roll_over("it was deleted or replaced underneath")
            except BaseException:
                self.written = 0  # nothing of it is on disk any more: nobody may rely on it
                raise
        elif not self._held[0].is_in_place():
            self._roll_over("its lock file was deleted underneath")
        elif stood_still(self._file.header.anchor, ClockReading.now()):
            self._roll_over("this machine was resumed from a snapshot, by what its clocks say")
        elif self._file.is_log_stuck():
            self._roll_over("another program reads it, and keeps its log from being shortened")
        self._keep_reserve()
        self._looked_at = uptime()

    def _roll_over(self, why: str, *, damaged: bool = False, level: int = logging.ERROR) -> None:
        """Write every unsettled row that was on disk into a new file, and leave the old one."""
        assert self._held is not None  # noqa: S101  there is one to leave
        (old_lock, old), (lock, file) = self._held, self._begun()
        try:
            rows = self._encoded(0, self.written, anchor=file.header.anchor)
            file.write(rows=rows)
            lost = self._copy_spilled(old, file)
        except BaseException:
            file.close()
            remove(file.path)
            lock.release(remove=True)
            raise
        self._hold((lock, file))
        self._gone.clear()
        aside = retire(old, damaged=damaged)
        old_lock.release(remove=True)
        self._keep_reserve(urgent=True)
        _log.log(
            level,
            "alhena: %s cannot be used any more (%s)%s; all %d unsettled events are in %s now",
            old.path, why, f", and was set aside as {aside}" if aside else "",
            self._unsettled.count_until(self.written) - len(lost), file.path,
        )  # fmt: skip
        self._lose(lost)

    def _begun(self) -> tuple[Lock, EventFile]:
        self._directory.prepare()
        return open_next(
            self._directory,
            self._destination,
            self._settings,
            above=self.number,
            series=self.series,
        )

    def _keep_reserve(self, *, urgent: bool = False) -> None:
        """See that the file has its reserve; where there is no room for it, that is said once.

        Args:
            urgent: A file with a reserve has just been left.
        """
        reserve = self._file.reserve
        if reserve.is_whole or not self._lacks_reserve.may_try(urgent=urgent):
            return
        path, kib = reserve.path, RESERVE_BYTES // 1024
        try:
            reserve.make(leaving=0 if urgent else RESERVE_BYTES)
        except OSError as error:
            why = f"{path}, a reserve of {kib} KiB, cannot be made ({error.strerror}): free some"
            self._lacks_reserve.failed(
                JournalError(f"{why} space"),
                "should the disk fill up, what is delivered then may be sent again by a restart",
            )
        else:
            self._lacks_reserve.succeeded(f"{path} is whole again")

    # --- what was spilled ----------------------------------------------------------------------

    def has_room(self, elsewhere: int) -> bool:
        """Return whether more may be spilled.

        Args:
            elsewhere: Unsettled rows that are not counted here.
        """
        is_full = len(self._unsettled) + elsewhere >= self._settings.max_rows
        return self.outage.cause is None and not is_full and not self._is_nearly_full

    def page(self, after: int, limit: int, asked: float) -> tuple[Page, list[Stored]]:
        """Return the next spilled rows, and those that are whole and yet no events.

        Args:
            after: The id behind which to begin.
            limit: Rows at most.
            asked: The `uptime` that ages refer to.

        Raises:
            JournalError, sqlite3.Error: The file cannot be read.
        """
        rows = list(islice(self._unsettled.spilled_after(after), limit + 1))
        is_last = len(rows) <= limit
        try:
            return self._page(rows[:limit], asked, is_last=is_last)
        except Exception as error:
            if self._held is None or not is_damage(error):
                raise
            self._roll_over(str(error), damaged=True)
            return self._page(rows[:limit], asked, is_last=is_last)

    def _page(
        self, wanted: Sequence[PendingRow | DiskRow], asked: float, *, is_last: bool
    ) -> tuple[Page, list[Stored]]:
        on_disk = [row.id for row in wanted if isinstance(row, DiskRow)]
        found = self._read(self._file, on_disk) if on_disk else {}
        rows: list[Row] = []
        unreadable: list[Stored] = []
        for row in wanted:
            if isinstance(row, PendingRow):
                rows.append(_row_of(row, asked))
            elif row.id in found:
                try:
                    pending = _pending(found[row.id], self._file.header.anchor)
                    rows.append(_row_of(pending, asked))
                except ValueError as error:
                    _log.error(
                        "alhena: %s: row %d is whole, but %s; it is set aside as a dead letter",
                        self._file.path, row.id, error,
                    )  # fmt: skip
                    unreadable.append(found[row.id])
        self._lose([id_ for id_ in on_disk if id_ not in found])
        return Page(rows=rows, last=is_last), unreadable

    def _read(self, file: EventFile, ids: Sequence[int]) -> dict[int, Stored]:
        """Return those of some rows that are in a file; ids are in increasing order.

        Raises:
            DamagedError, sqlite3.Error: It is damaged.
        """
        found: dict[int, Stored] = {}
        wanted, after = set(ids), ids[0] - 1
        while after < ids[-1]:
            rows = file.read(after=after, limit=_ROWS_PER_READ)
            if not rows:
                break
            for row in rows:
                if row[0] in wanted:
                    if not is_sound(row, self._seed):
                        raise DamagedError("it holds a row whose checksum is wrong")
                    found[row[0]] = Stored(*row)
            after = rows[-1][0]
        return found

    def _copy_spilled(self, old: EventFile, new: EventFile) -> list[int]:
        """Copy the rows that the disk alone has; return the ids of those that cannot be read."""
        lost: list[int] = []
        carved: dict[int, Stored] | None = None
        on_disk = self._unsettled.on_disk()
        while rows := list(islice(on_disk, _ROWS_PER_READ)):
            if carved is None:
                try:
                    found = self._read(old, [row.id for row in rows])
                except (sqlite3.Error, DamagedError) as error:
                    _log.debug("alhena: %s: %s", old.path, error)
                    found = carved = self._carved(old)
            copies, unread = self._copies(rows, found, old.header.anchor, new.header.anchor)
            new.write(rows=copies)
            lost += unread
        return lost

    def _copies(
        self,
        rows: Iterable[DiskRow],
        found: Mapping[int, Stored],
        old: ClockReading,
        new: ClockReading,
    ) -> tuple[list[Stored], list[int]]:
        """Return rows as another file has them, and the ids of those that were not found."""
        copies: list[Stored] = []
        lost: list[int] = []
        for row in rows:
            try:
                kept = _pending(found[row.id], old)
            except (KeyError, ValueError):
                lost.append(row.id)
            else:
                copies.append(_encode(kept, anchor=new, seed=self._seed))
        return copies, lost

    def _carved(self, old: EventFile) -> dict[int, Stored]:
        """Return all rows of ours that are left in a damaged file."""
        if not old.is_ours():
            return {}
        sound: dict[int, Stored] = {}
        for id_, record in carve(old.path):
            row = (id_, *record[1:])
            if len(row) == len(Stored._fields) and is_sound(row, self._seed):
                sound[id_] = Stored(*row)
        return sound

    def _lose(self, ids: Iterable[int]) -> None:
        lost = sum(self._unsettled.remove(id_) for id_ in ids)
        if lost:
            _log.error(
                "alhena: %s: %d events that the disk alone had are lost: their rows are gone, or "
                "damaged", self._directory.path, lost,
            )  # fmt: skip

    def forget(self, whom: Whom) -> int:
        """Remove what is here alone of a visitor, and go on in a new file; return how many rows.

        What is in memory too has been settled before. The old file goes, with its log, in which
        rows of long ago may still stand.

        Raises:
            JournalError, sqlite3.Error, OSError, DamagedError: It was not done.
        """
        spilled = list(self._unsettled.spilled_after(0))
        doomed = [one.id for one in spilled if isinstance(one, PendingRow) and whom.has(one.event)]
        on_disk = [one.id for one in spilled if isinstance(one, DiskRow)]
        for start in range(0, len(on_disk), _ROWS_PER_READ):
            found = self._read(self._file, on_disk[start : start + _ROWS_PER_READ])
            doomed += [id_ for id_, row in found.items() if is_of(row.body, whom)]
        self.let_go(doomed)
        if self._held is not None:
            self._roll_over("a visitor is forgotten", level=logging.DEBUG)
        return len(doomed)

    # --- the end -------------------------------------------------------------------------------

    def close(self) -> None:
        """Release the file, and delete it if nothing unsettled is left in it.

        Deleting needs no room: what a full disk would not let be acknowledged goes with it.

        Raises:
            sqlite3.Error, OSError: What its log holds is not in the file yet; the next process
                reads it from there.
        """
        if self._held is None:
            return
        lock, file = self._held
        is_over = not len(self._unsettled) and file.is_ours()
        try:
            if is_over:
                file.delete()
            else:
                file.close()
        finally:
            lock.release(remove=is_over)


def _pending(found: Stored, anchor: ClockReading) -> PendingRow:
    """Return a spilled row with its event again.

    Raises:
        ValueError: It is no event.
    """
    return PendingRow(
        found.id,
        event_of(found.body),
        found.company_key,
        found.order_id,
        SendMark(found.guard),
        anchor.uptime + (found.accepted / 1e6 - anchor.wall),
    )


def _row_of(kept: PendingRow, asked: float) -> Row:
    return Row(
        row_id=kept.id,
        lane=lane_digest(kept.event.visitor, kept.company_key),
        event=kept.event,
        company_key=kept.company_key,
        order_id=kept.order_id,
        age=asked - kept.accepted,
        guard=kept.guard,
    )


def _encode(kept: PendingRow, *, anchor: ClockReading, seed: int) -> Stored:
    return stored(
        kept.id,
        kept.event,
        company_key=kept.company_key,
        order_id=kept.order_id,
        guard=kept.guard,
        accepted=anchor.wall_at(kept.accepted),
        seed=seed,
    )
