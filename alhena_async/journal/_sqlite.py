"""The base of both kinds of file: made, opened, checked, brought up; and what errors mean."""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

import attrs

from alhena_async.errors import JournalError
from alhena_async.journal._clock import uptime
from alhena_async.journal._directory import (
    NO_ROOM,
    FullDiskError,
    check_own_files,
    refused,
    sidecars,
)

__all__ = [
    "SQLITE_VERSION",
    "DamagedError",
    "FileKind",
    "ForeignError",
    "Migration",
    "NewerVersionError",
    "bounded_in_time",
    "check_sqlite",
    "check_structure",
    "closed_on_error",
    "connect",
    "is_damage",
    "is_no_room",
    "migrate",
    "to_journal_error",
    "transaction",
]

Migration = Callable[[sqlite3.Connection], object]
"""Brings a file from the version before it to its own, within a transaction."""

SQLITE_VERSION: Final = sqlite3.sqlite_version_info
"""Of the SQLite that this Python runs with."""

_LOWER_BYTE: Final = 0xFF

_SCALE: Final = {"FULL": 2, "NORMAL": 1}


class DamagedError(Exception):
    """A file's content is not what was once written."""


class ForeignError(DamagedError):
    """A file bears neither the mark nor the tables of any of ours: it may be another program's."""


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
    path: Path,
    *,
    synchronous: str = "FULL",
    busy_timeout: float = 0.0,
    read_only: bool = False,
    is_shared: bool = False,
) -> sqlite3.Connection:
    """Open an existing SQLite file.

    Args:
        path: Where it is; it is not created.
        synchronous: `FULL` or `NORMAL`.
        busy_timeout: Seconds to wait for another process's transaction.
        read_only: Change nothing in it.
        is_shared: Another process may begin to write it while it is read.

    Raises:
        JournalError: This Python's SQLite lacks what a journal needs.
        sqlite3.Error: It cannot be opened, or is none.
    """
    check_sqlite(path.parent, sqlite3.sqlite_version_info)
    mode = "ro" if read_only else "rw"
    if read_only and not (is_shared or _has_log(path)):
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


def check_sqlite(
    directory: Path, version: tuple[int, ...], *, has_json: bool | None = None
) -> None:
    """Return if a SQLite knows all that our statements say.

    Before anything is accepted: what an older one takes, it might not give back.

    Args:
        directory: The journal's.
        version: SQLite's.
        has_json: Whether it has the JSON functions. Default: this Python's is asked.

    Raises:
        JournalError: It does not.
    """
    if version < _OLDEST_SQLITE:
        found = f"runs with {_dotted(version)}"
    elif not (_has_json() if has_json is None else has_json):
        found = f"has a {_dotted(version)} that was built without them"
    else:
        return
    raise JournalError(
        f"{directory}: a journal needs SQLite {_dotted(_OLDEST_SQLITE)} or newer with its JSON "
        f"functions, and this Python {found}: update the system's SQLite, take a Python that "
        "brings its own, or do without journal="
    )


_OLDEST_SQLITE: Final = (3, 26, 0)
"""`make test-oldest` runs the journal's tests with it."""


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


@functools.cache
def _has_json() -> bool:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        try:
            return bool(connection.execute("SELECT 1 FROM json_each('[1]')").fetchone())
        except sqlite3.OperationalError:
            return False


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


@contextlib.contextmanager
def bounded_in_time(connection: sqlite3.Connection, seconds: float) -> Iterator[None]:
    """Give up whatever SQLite does with a file within this if it takes too long.

    Args:
        connection: The file's.
        seconds: How long it may take.

    Raises:
        DamagedError: It took longer: no sound file of ours does.
    """
    until = uptime() + seconds
    connection.set_progress_handler(lambda: uptime() > until, _OPERATIONS_BETWEEN_LOOKS)
    try:
        yield
    except sqlite3.OperationalError as error:
        if _code(error) != sqlite3.SQLITE_INTERRUPT:
            raise
        raise DamagedError(f"reading it takes longer than {seconds:.0f} s") from None
    finally:
        connection.set_progress_handler(None, 0)


_OPERATIONS_BETWEEN_LOOKS: Final = 10_000


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


@contextlib.contextmanager
def _snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """Let all reads see one state: another process may begin the file between two of them."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:  # an error may have ended it
            connection.execute("ROLLBACK")


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
        if read_only:
            connection = connect(path, busy_timeout=busy_timeout, read_only=True)
            with closed_on_error(connection):
                is_begun = self.is_begun(path, connection)
        else:
            is_begun = self._look(path, busy_timeout)
            if not (is_begun or begin):
                return None
            connection = connect(path, synchronous=synchronous, busy_timeout=busy_timeout)
            with closed_on_error(connection):
                self.bring_up(connection)
        if is_begun or begin:
            return connection
        connection.close()
        return None

    def _look(self, path: Path, busy_timeout: float) -> bool:
        """Decide what a file is before anything is written to it."""
        _take_back_making(path, busy_timeout)
        connection = connect(path, busy_timeout=busy_timeout, read_only=True, is_shared=True)
        with contextlib.closing(connection):
            return self.is_begun(path, connection)

    def is_begun(self, path: Path, connection: sqlite3.Connection) -> bool:
        """Return whether a file is one of this kind; False if it is empty.

        Its tables decide, and they must be ours to the letter: no view, no trigger, no other
        table. Mark and version have to agree with them.

        Raises:
            NewerVersionError: A newer version of this package wrote it.
            ForeignError: It is another program's, by all that it says of itself.
            DamagedError: It is of no such kind, or not any more.
            sqlite3.Error: It cannot be read.
        """
        with bounded_in_time(connection, _SECONDS_TO_JUDGE), _snapshot(connection):
            return self._judge(path, connection)

    def _judge(self, path: Path, connection: sqlite3.Connection) -> bool:
        mark = _number(connection, "PRAGMA application_id")
        version = _number(connection, "PRAGMA user_version")
        found = _tables(connection)
        if not found:
            if version or _number(connection, "PRAGMA page_count") > 1:
                raise DamagedError("it holds pages that no table owns")
            return False
        tables_of = {tables: number + 1 for number, tables in enumerate(_tables_of(self))}
        known = tables_of.get(found)
        if mark != self.application_id:
            error = ForeignError if known is None else DamagedError
            raise error(f"it does not bear the mark of {self.name}")
        if version > len(self.migrations) and not _is_one_bit_off(version, known):
            raise NewerVersionError(path, version)
        if known is None:
            raise DamagedError(f"its tables are not those of {self.name}")
        if version != known:
            raise DamagedError(f"its tables are of version {known}, and its number is {version}")
        return True

    def bring_up(self, connection: sqlite3.Connection) -> None:
        """Mark a file as one of this kind, and bring it to the newest version."""
        if _number(connection, "PRAGMA application_id") != self.application_id:
            connection.execute(f"PRAGMA application_id = {self.application_id}")
        migrate(connection, self.migrations)


def _take_back_making(path: Path, busy_timeout: float) -> None:
    """Let SQLite take back a file's first page if its maker was killed before there was a log.

    It does that when the file is read, but not for who may only read. A file of more than that
    page has long had its log: what then stands beside it was not written by us, and stays.
    """
    _, _, rollback = sidecars(path)
    if not rollback.exists() or path.stat().st_size > _FIRST_PAGE_BYTES:
        return
    where = f"file:{quote(str(path.absolute()))}?mode=rw"
    connection = sqlite3.connect(where, uri=True, isolation_level=None, timeout=busy_timeout)
    with contextlib.closing(connection):
        _number(connection, "PRAGMA schema_version")


_FIRST_PAGE_BYTES: Final = 4096

_SECONDS_TO_JUDGE: Final = 5.0
"""Seconds for looking at a file's mark, version and tables."""

_MAX_TABLES: Final = 64
"""Tables, indexes and whatever else a file of ours may have, by far."""

_Tables = frozenset[tuple[str, str, str, str | None]]


def _tables(connection: sqlite3.Connection) -> _Tables:
    """What a file holds, each by kind, name, table, and the statement that made it."""
    query = f"SELECT type, name, tbl_name, sql FROM sqlite_master LIMIT {_MAX_TABLES}"
    return frozenset(connection.execute(query).fetchall())


@functools.cache
def _tables_of(kind: FileKind) -> tuple[_Tables, ...]:
    """What a file holds in each version, beginning with the first."""
    found = []
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for count in range(len(kind.migrations)):
            migrate(connection, kind.migrations[: count + 1])
            found.append(_tables(connection))
    return tuple(found)


def _is_one_bit_off(version: int, known: int | None) -> bool:
    """Whether a version number is more likely a flipped bit than a newer version's."""
    return known is not None and ((version ^ known) & 0xFFFF_FFFF).bit_count() == 1


def _version(connection: sqlite3.Connection) -> int:
    return _number(connection, "PRAGMA user_version")


def _number(connection: sqlite3.Connection, query: str) -> int:
    return int(connection.execute(query).fetchone()[0])


def is_damage(error: BaseException, path: Path | None = None) -> bool:
    """Return whether an error says that a file's content is broken.

    Our statements are sound, so it is all that SQLite says of them but what speaks of the disk,
    of a lock, of permissions.

    Args:
        error: What was raised.
        path: The file, if it was to be written.
    """
    if not isinstance(error, sqlite3.Error):
        # SQLite quotes what it does not understand, and Python cannot read the quotation.
        return isinstance(error, DamagedError | UnicodeDecodeError)
    if _code(error) is None:  # Python itself raised it
        return "decode" in str(error)
    if error.sqlite_errorcode == sqlite3.SQLITE_READONLY:
        # The file itself forbids it, if neither its mode nor its file system does.
        return path is not None and os.access(path, os.W_OK)
    if error.sqlite_errorcode == sqlite3.SQLITE_READONLY_ROLLBACK:
        return True  # what is to be rolled back into it is not ours: a file of ours has a log
    return _code(error) not in _CIRCUMSTANCES


_CIRCUMSTANCES: Final = {
    sqlite3.SQLITE_ABORT, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_MISUSE, sqlite3.SQLITE_NOLFS, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_SCHEMA,
}  # fmt: skip
"""What SQLite says of everything but the content."""


_SECONDS_TO_CHECK: Final = 60.0

_PAGES_PER_SECOND: Final = 1_000
"""As many as a slow disk reads."""


def check_structure(connection: sqlite3.Connection) -> None:
    """Return if a file's pages hang together.

    Raises:
        DamagedError, sqlite3.Error: They do not.
    """
    pages = _number(connection, "PRAGMA page_count")
    with bounded_in_time(connection, _SECONDS_TO_CHECK + pages / _PAGES_PER_SECOND):
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise DamagedError(" ".join(found.split()))  # it goes into a line of the log


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
    if isinstance(error, UnicodeDecodeError):
        return JournalError(f"{path} is damaged: its tables make no sense")
    if isinstance(error, OSError):
        return refused(path, error)
    extended = getattr(error, "sqlite_errorcode", None)
    if extended in _NO_SHARED_MEMORY:
        return JournalError(
            f"{path} cannot be {done}: the file system of {path.parent} shares no memory between "
            "processes, as FUSE and network mounts do not: move the directory to a local disk"
        )
    code = _code(error) if isinstance(error, sqlite3.Error) else None
    meaning = _MEANING.get(code or 0, f"{error}: see what is wrong with the disk")
    kind = FullDiskError if is_no_room(error) else JournalError
    return kind(f"{path} cannot be {done}: {meaning}")


def is_no_room(error: BaseException) -> bool:
    """Return whether an error says that the disk is full."""
    if isinstance(error, OSError):
        return error.errno in NO_ROOM
    return isinstance(error, FullDiskError) or getattr(error, "sqlite_errorcode", None) in _NO_ROOM


def _code(error: sqlite3.Error) -> int | None:
    code = getattr(error, "sqlite_errorcode", None)  # absent where Python itself raised it
    return None if code is None else code & _LOWER_BYTE


_NO_ROOM: Final = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR_WRITE,  # a used up quota
    sqlite3.SQLITE_IOERR_SHMSIZE,  # a full disk, met by the file beside the log
}

_NO_SHARED_MEMORY: Final = {sqlite3.SQLITE_IOERR_SHMMAP, sqlite3.SQLITE_IOERR_SHMLOCK}
"""The index of the log, the `-shm` file, is mapped into memory and locked there."""

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
