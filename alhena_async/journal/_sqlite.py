"""The base of both kinds of file: made, opened, checked, brought up; and what errors mean."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

import attrs

from alhena_async.errors import JournalError
from alhena_async.journal._directory import FullDiskError, check_own_files, refused, sidecars

__all__ = [
    "DamagedError",
    "FileKind",
    "Migration",
    "NewerVersionError",
    "closed_on_error",
    "connect",
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
    with closed_on_error(connection):
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        if not read_only:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            connection.execute(f"PRAGMA synchronous = {_SCALE[synchronous]}")
            # What was delivered is overwritten, not only forgotten: for privacy's sake, and so
            # that no page of a damaged file holds rows that were settled.
            connection.execute("PRAGMA secure_delete = ON").fetchone()
            connection.execute("PRAGMA journal_size_limit = 16777216").fetchone()
    return connection


@contextlib.contextmanager
def closed_on_error(connection: sqlite3.Connection) -> Iterator[None]:
    """Close a connection if what is done with it at first fails."""
    try:
        yield
    except BaseException:
        connection.close()
        raise


def _has_log(path: Path) -> bool:
    try:
        return sidecars(path)[0].stat().st_size > 0
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


@attrs.frozen(kw_only=True)
class FileKind:
    """What tells one kind of our files from all others, and how an old one is brought up."""

    name: str
    """What a file of it is, in words."""
    application_id: int
    """The mark that it bears."""
    migrations: Sequence[Migration]
    """The first makes version 1 of an empty file."""

    def make(self, path: Path) -> None:
        """Make an empty file that only its owner may read.

        Raises:
            FileExistsError: There is one.
            OSError: The disk refused.
        """
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(descriptor, 0o600)  # whatever the umask; SQLite's own files follow it
        finally:
            os.close(descriptor)

    def open(
        self,
        path: Path,
        *,
        begin: bool = False,
        read_only: bool = False,
        synchronous: str = "FULL",
        busy_timeout: float = 0.0,
    ) -> sqlite3.Connection | None:
        """Open an existing file, and bring it to the newest version; None if it is empty.

        Args:
            path: Where it is.
            begin: An empty one is begun.
            read_only: Change nothing in it, its version neither.
            synchronous: `FULL` or `NORMAL`.
            busy_timeout: Seconds to wait for another process's transaction.

        Raises:
            JournalError: It is not ours, or a newer version of this package wrote it.
            DamagedError: It is of no such kind.
            sqlite3.Error: It cannot be opened, or is damaged.
        """
        check_own_files(path)
        connection = connect(
            path, synchronous=synchronous, busy_timeout=busy_timeout, read_only=read_only
        )
        with closed_on_error(connection):
            is_begun = self._is_begun(path, connection)
            if not read_only and (is_begun or begin):
                self.bring_up(connection)
        if is_begun or begin:
            return connection
        connection.close()
        return None

    def _is_begun(self, path: Path, connection: sqlite3.Connection) -> bool:
        has_mark = _number(connection, "PRAGMA application_id") == self.application_id
        version = _version(connection)
        if has_mark and version > len(self.migrations):
            raise NewerVersionError(path, version)
        if not _number(connection, "SELECT EXISTS (SELECT 1 FROM sqlite_schema)"):
            if _number(connection, "PRAGMA page_count") > 1:
                raise DamagedError("it holds pages that no table owns")
            return False
        if not has_mark:
            raise DamagedError(f"it does not bear the mark of {self.name}")
        return True

    def bring_up(self, connection: sqlite3.Connection) -> None:
        """Mark a file as one of this kind, and bring it to the newest version."""
        if _number(connection, "PRAGMA application_id") != self.application_id:
            connection.execute(f"PRAGMA application_id = {self.application_id}")
        migrate(connection, self.migrations)


def _version(connection: sqlite3.Connection) -> int:
    return _number(connection, "PRAGMA user_version")


def _number(connection: sqlite3.Connection, query: str) -> int:
    return int(connection.execute(query).fetchone()[0])


def is_damage(error: BaseException) -> bool:
    """Return whether an error says that a file's content is broken."""
    if isinstance(error, DamagedError):
        return True
    return isinstance(error, sqlite3.Error) and _code(error) in {
        sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT,
    }  # fmt: skip


def to_journal_error(path: Path, error: BaseException, done: str = "written") -> JournalError:
    """Return what an error of SQLite or the system means, with the path and what to do.

    Args:
        path: The file.
        error: What was raised.
        done: What cannot be done with it: `written` or `read`.
    """
    if isinstance(error, JournalError):
        return error
    if isinstance(error, DamagedError):
        return JournalError(f"{path} is damaged: {error}")
    if isinstance(error, OSError):
        return refused(path, error)
    code = _code(error) if isinstance(error, sqlite3.Error) else None
    meaning = _MEANING.get(code or 0, f"{error}: see what is wrong with the disk")
    kind = FullDiskError if getattr(error, "sqlite_errorcode", None) in _NO_ROOM else JournalError
    return kind(f"{path} cannot be {done}: {meaning}")


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
