"""Opening SQLite files: who may, with which settings, at which schema version; what errors mean."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from alhena_async.errors import JournalError
from alhena_async.journal._directory import FullDiskError, refused

__all__ = [
    "DamagedError",
    "Migration",
    "NewerVersionError",
    "check_version",
    "connect",
    "insertion",
    "is_damage",
    "migrate",
    "to_journal_error",
    "transaction",
]

Migration = Callable[[sqlite3.Connection], object]
"""Brings a file from the version before it to its own, within a transaction."""

_LOWER_BYTE: Final = 0xFF

_SCALE: Final = {"FULL": 2, "NORMAL": 1}


class DamagedError(Exception):
    """A file's content is not what was once written."""


class NewerVersionError(JournalError):
    """A newer version of this package wrote a file: it is left as it is.

    Args:
        path: The file.
        version: Its schema's version.
    """

    def __init__(self, path: Path, version: int) -> None:
        super().__init__(
            f"{path} is of version {version}, which is newer than this package knows: update the "
            "package, or let the newer one deliver what is in it"
        )


def connect(
    path: Path, *, synchronous: str = "FULL", busy_timeout: float = 0.0, read_only: bool = False
) -> sqlite3.Connection:
    """Open an existing SQLite file.

    Args:
        path: Where it is; it is not created.
        synchronous: `FULL` or `NORMAL`.
        busy_timeout: Seconds to wait for another process's transaction.
        read_only: Change nothing in it.

    Raises:
        sqlite3.Error: It cannot be opened, or is none.
    """
    mode = "ro" if read_only else "rw"
    if read_only and not _has_log(path):
        mode = "ro&immutable=1"  # nobody has it open: leave nothing beside it
    connection = sqlite3.connect(
        f"file:{quote(str(path.absolute()))}?mode={mode}",
        uri=True,
        isolation_level=None,
        timeout=busy_timeout,
        cached_statements=64,
    )
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        if not read_only:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            connection.execute(f"PRAGMA synchronous = {_SCALE[synchronous]}")
            # What was delivered is overwritten, not only forgotten: for privacy's sake, and so
            # that no page of a damaged file holds rows that were settled.
            connection.execute("PRAGMA secure_delete = ON").fetchone()
            connection.execute("PRAGMA journal_size_limit = 16777216").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _has_log(path: Path) -> bool:
    try:
        return path.with_name(f"{path.name}-wal").stat().st_size > 0
    except OSError:
        return False


class transaction:  # noqa: N801  reads as the statement that it is
    """`with transaction(connection):` commits at the end, or takes all of it back.

    Args:
        connection: One without a transaction of its own.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            try:
                self._connection.execute("COMMIT")
            except BaseException:
                self._take_back()
                raise
        else:
            self._take_back()

    def _take_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


def insertion(into: str, rows: Sequence[Sequence[Any]]) -> tuple[str, list[Any]]:
    """Return one statement that inserts all rows, and its values.

    There are few such statements, so that each is prepared once: a shorter list is filled up with
    rows of NULL, which are not inserted.

    Args:
        into: `INTO` and the table with its columns.
        rows: At least one; none has NULL in its second column.
    """
    size = 1 << (len(rows) - 1).bit_length()
    width = len(rows[0])
    values = [value for row in rows for value in row]
    values += [None] * ((size - len(rows)) * width)
    return _insert(into, width, size), values


@functools.cache
def _insert(into: str, width: int, size: int) -> str:
    row = f"({', '.join('?' * width)})"
    values = ", ".join([row] * size)
    return f"INSERT {into} SELECT * FROM (VALUES {values}) WHERE column2 IS NOT NULL"


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> None:
    """Bring a file to the newest version, each step in a transaction of its own.

    Args:
        connection: The open file, of this version or an older one; 0 is an empty file.
        migrations: The first makes version 1 of version 0.
    """
    while _version(connection) < len(migrations):
        with transaction(connection):
            version = _version(connection)  # another process may have been quicker
            if version < len(migrations):
                migrations[version](connection)
                connection.execute(f"PRAGMA user_version = {version + 1}")


def check_version(
    path: Path, connection: sqlite3.Connection, migrations: Sequence[Migration]
) -> None:
    """Return if a file's version is one that we know.

    Raises:
        NewerVersionError: It is not.
    """
    version = _version(connection)
    if version > len(migrations):
        raise NewerVersionError(path, version)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def is_damage(error: BaseException) -> bool:
    """Return whether an error says that a file's content is broken."""
    if isinstance(error, DamagedError):
        return True
    return isinstance(error, sqlite3.Error) and _code(error) in {
        sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT,
    }  # fmt: skip


def to_journal_error(path: Path, error: BaseException) -> JournalError:
    """Return what an error of SQLite or the system means, with the path and what to do."""
    if isinstance(error, JournalError):
        return error
    if isinstance(error, OSError):
        return refused(path, error)
    code = _code(error) if isinstance(error, sqlite3.Error) else None
    meaning = _MEANING.get(code or 0, f"{error}: see what is wrong with the disk")
    kind = FullDiskError if getattr(error, "sqlite_errorcode", None) in _NO_ROOM else JournalError
    return kind(f"{path} cannot be written: {meaning}")


def _code(error: sqlite3.Error) -> int | None:
    code = getattr(error, "sqlite_errorcode", None)  # absent where Python itself raised it
    return None if code is None else code & _LOWER_BYTE


_NO_ROOM: Final = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR_WRITE,  # a used up quota
    sqlite3.SQLITE_IOERR_SHMSIZE,  # a full disk, met by the file beside the log
}

_MEANING: Final = {
    sqlite3.SQLITE_FULL: "the disk is full: free some space",
    sqlite3.SQLITE_READONLY: "the file or its file system is read-only: make it writable",
    sqlite3.SQLITE_PERM: "this process's user may not: give it the directory",
    sqlite3.SQLITE_IOERR: "the disk reports an I/O error: is it full, or failing?",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: was it deleted, or is the directory read-only?",
    sqlite3.SQLITE_BUSY: "another process has locked it: nobody else may write to it",
    sqlite3.SQLITE_CORRUPT: "its content is damaged",
    sqlite3.SQLITE_NOTADB: "its content is damaged",
}
