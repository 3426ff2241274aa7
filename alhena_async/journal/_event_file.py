"""One file of events: its schema, and the few statements that ever run on it."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sqlite3
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from alhena_async.journal._clock import ClockReading
from alhena_async.journal._directory import (
    check_own_files,
    identity_of,
    reserve_path,
    sidecars,
)
from alhena_async.journal._reserve import Notes, Reserve, notes_beside
from alhena_async.journal._rows import COLUMNS, GUARD_STEP, Stored, is_sound, marked
from alhena_async.journal._sqlite import (
    DamagedError,
    FileKind,
    check_structure,
    closed_on_error,
    connect,
    is_damage,
    is_no_room,
    transaction,
)
from alhena_async.journal._sqlite_pages import loses_log
from alhena_async.journal.protocol import SendMark

__all__ = [
    "KIND",
    "EventFile",
    "FileHeader",
    "bears_seal",
    "facts_of",
    "gone_among",
    "remove",
    "rows_in",
]


def _version_1(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID")
    connection.execute(
        "CREATE TABLE rows (id INTEGER PRIMARY KEY AUTOINCREMENT, kind INTEGER, guard INTEGER,"
        " lane INTEGER, accepted INTEGER, company_key TEXT, order_id TEXT, body TEXT, seal INTEGER)"
    )


KIND: Final = FileKind(
    name="a journal",
    application_id=0x414C_4845,  # "ALHE"
    migrations=(_version_1,),
)

_NAMES: Final = ", ".join(COLUMNS)
_IDS: Final = "id IN (SELECT value FROM json_each(?))"
_INSERT: Final = f"INSERT INTO rows ({_NAMES}) VALUES ({', '.join('?' * len(COLUMNS))})"
_INSERT_OR_REPLACE: Final = _INSERT.replace("INSERT", "INSERT OR REPLACE")
_INSERT_FACT: Final = "INSERT INTO about VALUES (?, ?)"
_DELETE: Final = f"DELETE FROM rows WHERE {_IDS}"
_MARK: Final = {
    SendMark.SENT: (
        f"UPDATE rows SET guard = {SendMark.SENT:d}, seal = seal + {GUARD_STEP}"
        f" WHERE guard = {SendMark.UNSENT:d} AND {_IDS}"
    ),
    SendMark.UNSENT: (
        f"UPDATE rows SET guard = {SendMark.UNSENT:d}, seal = seal - {GUARD_STEP}"
        f" WHERE guard = {SendMark.SENT:d} AND {_IDS}"
    ),
}
"""Both touch guarded rows only: what may be repeated stays as it is."""
_READ_ONE_BY_ONE: Final = f"SELECT {_NAMES} FROM rows WHERE id > ? ORDER BY id LIMIT ?"

_READ: Final = f"SELECT json_group_array(json_array({_NAMES})) FROM ({_READ_ONE_BY_ONE})"


@attrs.frozen(kw_only=True)
class FileHeader:
    """What a file says of itself."""

    uuid: str
    series: str
    """Names the rows together with their ids, also in a file that follows a damaged one."""
    destination: str
    pid: int
    anchor: ClockReading

    @classmethod
    def now(cls, destination: str, series: str | None = None) -> FileHeader:
        """Return the header of a file that this process begins."""
        own = uuid.uuid4().hex
        return cls(
            uuid=own,
            series=series or own,
            destination=destination,
            pid=os.getpid(),
            anchor=ClockReading.now(),
        )

    def facts(self) -> dict[str, str]:
        """Return it as text."""
        return {
            "uuid": self.uuid,
            "series": self.series,
            "destination": self.destination,
            "pid": str(self.pid),
            "wall": repr(self.anchor.wall),
            "uptime": repr(self.anchor.uptime),
            "boot_id": self.anchor.boot_id,
        }

    @classmethod
    def of(cls, facts: Mapping[str, str]) -> FileHeader:
        """Read it.

        Raises:
            DamagedError: Something is missing or makes no sense.
        """
        try:
            anchor = ClockReading(
                wall=_finite(facts["wall"]),
                uptime=_finite(facts["uptime"]),
                boot_id=facts["boot_id"],
            )
            return cls(
                uuid=facts["uuid"],
                series=facts.get("series", facts["uuid"]),
                destination=facts["destination"],
                pid=int(facts["pid"]),
                anchor=anchor,
            )
        except (KeyError, ValueError, TypeError) as error:
            raise DamagedError(f"the file does not say whose it is ({error!r})") from None


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("no number")
    return number


_PAGE_BYTES: Final = 4096

_ROWS_PER_DELETION: Final = 512
"""Rows that notes are made up for at a time: a little room is enough for any number."""

_SPARE_BYTES: Final = 256 * 1024
"""Bytes that SQLite may need for a batch beyond what is in it."""

_MAX_LOG_BYTES: Final = 64 * 1024 * 1024
"""Bytes of a log that SQLite should have started over long before."""

_NONE: Final[Mapping[int, SendMark]] = {}


class EventFile:
    """An open file of events. Belongs to the thread that opened it.

    Args:
        path: Where it is.
        connection: Its database, at the newest version.
        header: What it says of itself.
        synchronous: `FULL` or `NORMAL`.
    """

    def __init__(
        self, path: Path, connection: sqlite3.Connection, header: FileHeader, synchronous: str
    ) -> None:
        self.path = path
        self.header = header
        self.reserve = Reserve(path, syncs=synchronous == "FULL")
        self._connection = connection
        self._max_pages = 0
        # The log and its index as well: what is in a log that was deleted dies with this process.
        self._identities = {one: identity_of(one) for one in (path, *sidecars(path))}

    @classmethod
    def create(
        cls, path: Path, header: FileHeader, *, synchronous: str, max_bytes: int | None = None
    ) -> EventFile:
        """Begin a file, which must not exist.

        Args:
            path: Where.
            header: What it is to say of itself.
            synchronous: `FULL` or `NORMAL`.
            max_bytes: How large it may become; None: as large as the disk.

        Raises:
            OSError, sqlite3.Error: The disk refused.
        """
        KIND.make(path)
        try:
            connection = connect(path, synchronous=synchronous)
            with closed_on_error(connection):
                KIND.bring_up(connection)
                with transaction(connection):
                    connection.executemany(_INSERT_FACT, header.facts().items())
                file = cls(path, connection, header, synchronous)
                if max_bytes is not None:
                    file._bound(max_bytes)
                return file
        except BaseException:
            remove(path)
            raise

    def _bound(self, max_bytes: int) -> None:
        self._max_pages = max(16, max_bytes // _PAGE_BYTES)
        self._connection.execute(f"PRAGMA max_page_count = {self._max_pages}").fetchone()

    @classmethod
    def open(cls, path: Path, *, synchronous: str) -> EventFile | None:
        """Open a file that another process left behind; None if it was never begun.

        `facts_of` has found that its log can be read.

        Raises:
            DamagedError, sqlite3.Error: Its content is broken.
            NewerVersionError: A newer version of this package wrote it.
            JournalError: It is not ours.
        """
        connection = KIND.open(path, synchronous=synchronous)
        if connection is None:
            return None
        with closed_on_error(connection):
            if not _is_shell(connection):
                _check_writable(path, connection)
                return cls(path, connection, FileHeader.of(_facts(connection)), synchronous)
        connection.close()
        return None

    def is_in_place(self) -> bool:
        """Return whether the paths still lead to the files that are open."""
        return all(identity_of(path) == identity for path, identity in self._identities.items())

    def is_ours(self) -> bool:
        """Return whether the path leads to the file that was opened, if perhaps not to its log."""
        return identity_of(self.path) == self._identities[self.path]

    def is_log_stuck(self) -> bool:
        """Return whether the log is long, and a reader keeps SQLite from starting it over."""
        log, *_ = sidecars(self.path)
        if log.stat().st_size <= _MAX_LOG_BYTES:
            return False
        _, frames, copied = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return bool(copied < frames)

    def write(
        self,
        *,
        rows: Sequence[Stored] = (),
        marks: Mapping[int, SendMark] = _NONE,
        gone: Collection[int] = (),
    ) -> None:
        """Add rows, mark guarded ones, and take out settled ones, in one transaction.

        Args:
            rows: In increasing order of their ids.
            marks: What guarded rows are from now on, by id: `SENT` or `UNSENT`.
            gone: Ids of settled rows.

        What was noted before is made up for first.

        Raises:
            sqlite3.Error: Nothing of it was done.
        """
        if self.reserve.notes:
            self._make_up()
        with transaction(self._connection):
            if rows:
                self._connection.executemany(_INSERT, rows)
            self._mark(marks)
            if gone:
                self._delete(gone)

    def _mark(self, marks: Mapping[int, SendMark]) -> None:
        for guard, statement in _MARK.items():
            ids = [id_ for id_, mark in marks.items() if mark is guard]
            if ids:
                self._connection.execute(statement, (json.dumps(ids),))

    def _delete(self, gone: Collection[int]) -> None:
        self._connection.execute(_DELETE, (json.dumps(list(gone)),))

    def note(self, marks: Mapping[int, SendMark], gone: Collection[int]) -> None:
        """Write into the reserve what the tables do not take; from now on they are read so.

        Args:
            marks: What guarded rows are from now on.
            gone: Ids of settled rows.

        Raises:
            OSError: There is no reserve, or no room in it.
        """
        self.reserve.note(marks, gone)

    def _make_up(self) -> None:
        """Tell the tables what was noted, in small steps."""
        notes = self.reserve.notes
        gone = gone_among(self._connection, notes)
        for start in range(0, len(gone), _ROWS_PER_DELETION):
            with transaction(self._connection):
                self._delete(gone[start : start + _ROWS_PER_DELETION])
        if notes.marks:
            with transaction(self._connection):
                self._mark(notes.marks)
        try:
            self.reserve.clear()
        except OSError:  # it must not be believed any more; another is made
            with contextlib.suppress(OSError):
                self.reserve.path.unlink()

    def salvage(self, rows: Sequence[Stored]) -> None:
        """Add rows in any order, a later one in the place of an earlier one with its id.

        Raises:
            sqlite3.Error: Nothing of it was done.
        """
        with transaction(self._connection):
            self._connection.executemany(_INSERT_OR_REPLACE, rows)

    def call(self, header: FileHeader) -> None:
        """Let the file say something else of itself.

        Raises:
            sqlite3.Error: It says what it said before.
        """
        with transaction(self._connection):
            self._connection.execute("DELETE FROM about")
            self._connection.executemany(_INSERT_FACT, header.facts().items())
        self.header = header

    def read(self, *, after: int, limit: int) -> list[tuple[Any, ...]]:
        """Return up to `limit` rows behind an id, in order, unjudged, without those noted as gone.

        Raises:
            sqlite3.Error: The file cannot be read.
        """
        if not self.reserve.notes:
            return self._read(after, limit)
        found: list[tuple[Any, ...]] = []
        while len(found) < limit:
            rows = self._read(after, limit)
            found += self._as_noted(rows)
            if len(rows) < limit:
                break
            after = rows[-1][0]
        return found[:limit]

    def _as_noted(self, rows: Sequence[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
        notes = self.reserve.notes
        for row in rows:
            if row[0] not in notes.gone:
                yield marked(row, notes.marks[row[0]]) if row[0] in notes.marks else row

    def _read(self, after: int, limit: int) -> list[tuple[Any, ...]]:
        with contextlib.suppress(ValueError):  # broken text: read it row by row
            try:
                text = self._connection.execute(_READ, (after, limit)).fetchone()[0]
                return [tuple(row) for row in json.loads(text)]
            except sqlite3.OperationalError as error:
                if is_damage(error):
                    raise
        self._connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        return self._connection.execute(_READ_ONE_BY_ONE, (after, limit)).fetchall()

    def is_at_bound(self, error: sqlite3.Error, rows: Sequence[Stored]) -> bool:
        """Return whether rows did not fit because the file is as large as it may be.

        SQLite says the same of a full disk; the disk says whether it is.
        """
        if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_FULL:
            return False
        try:
            disk = os.statvfs(self.path.parent)
        except OSError:
            return False
        wanted = sum(len(row.body) for row in rows)
        return disk.f_bavail * disk.f_frsize > 4 * wanted + _SPARE_BYTES

    def is_nearly_full(self) -> bool:
        """Return whether less than a twentieth of what it may become is left."""
        pages = int(self._connection.execute("PRAGMA page_count").fetchone()[0])
        if not self._max_pages or 20 * pages < 19 * self._max_pages:
            return False
        free = int(self._connection.execute("PRAGMA freelist_count").fetchone()[0])
        return 20 * (pages - free) >= 19 * self._max_pages

    def check(self) -> None:
        """Return if the file's structure is whole.

        Raises:
            DamagedError, sqlite3.Error: It is not.
        """
        check_structure(self._connection)

    def count(self) -> int:
        """Return how many rows there are, those noted as gone aside."""
        return _count(self._connection, self.reserve.notes)

    def size(self) -> int:
        """Return how many bytes it takes, its log included."""
        return sum(one.stat().st_size for one in (self.path, sidecars(self.path)[0]))

    def shrink(self) -> None:
        """Give an emptied file's space back to the disk."""
        pages = self._connection.execute("PRAGMA page_count").fetchone()[0]
        if pages * _PAGE_BYTES > _BYTES_WORTH_SHRINKING:
            self._connection.execute("VACUUM")
            self.empty_log()

    def rewrite(self) -> None:
        """Write the file anew, so that nothing is in it, or in its log, but the rows that are.

        Raises:
            sqlite3.Error: The disk refused, or somebody reads it.
        """
        self._connection.execute("VACUUM")
        self.empty_log()

    def empty_log(self) -> None:
        """Put all that the log holds into the file, as far as no reader is in the way.

        Raises:
            sqlite3.Error: The disk refused. (`close` would keep that to itself.)
        """
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def close(self) -> None:
        """Close it; what its log holds goes into the file. Idempotent."""
        self._connection.close()

    def delete(self) -> None:
        """Close it and delete it: nothing of it is needed any more."""
        if self.reserve.notes:
            # Its log goes first, and says of rows that they are gone of which nothing is noted.
            with contextlib.suppress(OSError, sqlite3.Error):
                self.note({}, self._all_ids())
        with contextlib.suppress(sqlite3.Error):
            self.close()
        remove(self.path)

    def _all_ids(self) -> range:
        last = self._connection.execute("SELECT max(seq) FROM sqlite_sequence").fetchone()[0]
        return range(1, (last or 0) + 1)


def facts_of(path: Path) -> dict[str, str]:
    """Return what a dead process's file says of itself; nothing if it was never begun.

    Changes nothing in it.

    Raises:
        DamagedError, sqlite3.Error: Its content is broken.
        JournalError: It is not ours.
    """
    check_own_files(path)
    if loses_log(path):
        raise DamagedError("its log holds more than can be reached through the file")
    connection = KIND.open(path, read_only=True)
    if connection is None:
        return {}
    with contextlib.closing(connection):
        return _facts(connection)


def rows_in(path: Path) -> int:
    """Return how many rows a dead process's file has that are not settled. Changes nothing in it.

    Raises:
        DamagedError, sqlite3.Error: Its content is broken.
        JournalError: It is not ours.
    """
    connection = KIND.open(path, read_only=True)
    if connection is None:
        return 0
    with contextlib.closing(connection):
        return _count(connection, notes_beside(path))


def _count(connection: sqlite3.Connection, notes: Notes) -> int:
    rows = int(connection.execute("SELECT count(*) FROM rows").fetchone()[0])
    return rows - len(gone_among(connection, notes))


def gone_among(connection: sqlite3.Connection, notes: Notes) -> list[int]:
    """Return which rows have ended, in order, though the tables could not be told.

    Raises:
        sqlite3.Error: They cannot be read.
    """
    ids = connection.execute("SELECT id FROM rows ORDER BY id") if notes.gone else ()
    return [id_ for (id_,) in ids if id_ in notes.gone]


def bears_seal(path: Path, seed: int) -> bool:
    """Return whether any row of a dead process's file is meant for a destination.

    Args:
        path: The file.
        seed: `seed_of` the destination.

    Raises:
        DamagedError, sqlite3.Error: Its content is broken.
        JournalError: It is not ours.
    """
    connection = KIND.open(path, read_only=True)
    if connection is None:
        return False
    with contextlib.closing(connection):
        check_structure(connection)
        return any(is_sound(row, seed) for row in connection.execute(f"SELECT {_NAMES} FROM rows"))


_BYTES_WORTH_SHRINKING: Final = 16 * 1024 * 1024


def _facts(connection: sqlite3.Connection) -> dict[str, str]:
    facts = connection.execute("SELECT name, value FROM about LIMIT 64").fetchall()
    return {name: value for name, value in facts if type(name) is type(value) is str}


def _check_writable(path: Path, connection: sqlite3.Connection) -> None:
    """Return if a file can be written: one that cannot would be delivered at every start."""
    try:
        with transaction(connection):  # beginning one is not refused
            connection.execute(f"PRAGMA user_version = {len(KIND.migrations)}")
    except sqlite3.Error as error:
        if is_damage(error, path):
            raise DamagedError("its first page forbids writing") from None
        if not is_no_room(error):  # then its reserve may be written
            raise


def _is_shell(connection: sqlite3.Connection) -> bool:
    """Whether the process died before it had written down whose file it is."""
    # Rows are read only where no header is: their damage is found by `check`.
    tables = ("about", "rows")
    queries = (f"SELECT EXISTS (SELECT 1 FROM {table})" for table in tables)
    return not any(connection.execute(query).fetchone()[0] for query in queries)


def remove(path: Path) -> None:
    """Delete a database that is closed: what stands beside it first, or it would be read again."""
    for one in (*sidecars(path), path, reserve_path(path)):
        with contextlib.suppress(FileNotFoundError):
            one.unlink()
