"""Dead letters: what ended badly, kept with the reason; one file that all processes share."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from alhena_async._wire import dumps, unstructure_event
from alhena_async.events import CartEvent
from alhena_async.journal._directory import LETTERS, check_own_file, sidecars
from alhena_async.journal._schema import (
    DamagedError,
    Migration,
    check_version,
    connect,
    insertion,
    migrate,
    transaction,
)
from alhena_async.journal.protocol import Ending

__all__ = ["MIGRATIONS", "Bounds", "Letter", "LetterBox", "letter_of", "letters_path"]

APPLICATION_ID: Final = 0x414C_444C  # "ALDL"
_BUSY_TIMEOUT: Final = 0.25
"""Seconds that the writer thread waits for another process: it has other work to do."""
_EXCERPT: Final = 500
"""Characters kept of what the API said."""


def _version_1(connection: sqlite3.Connection) -> None:
    connection.execute(
        "CREATE TABLE letters (id INTEGER PRIMARY KEY AUTOINCREMENT, origin TEXT UNIQUE,"
        " destination TEXT, company_key TEXT, kind TEXT, status TEXT, code TEXT,"
        " http_status INTEGER, attempts INTEGER, detail TEXT, order_id TEXT, accepted REAL,"
        " ended REAL, body TEXT, resent REAL, resent_status TEXT, resent_detail TEXT)"
    )


MIGRATIONS: Final[Sequence[Migration]] = (_version_1,)


@attrs.frozen(kw_only=True)
class Letter:
    """A dead letter."""

    id: int = 0
    """Its number in the file; 0 before it is kept."""
    origin: str | None
    """The journal row that it was, so that it is kept only once; None if it never had one."""
    destination: str
    """The base URL that it was meant for."""
    company_key: str
    kind: str
    """`cart` or `checkout`."""
    status: str
    """How it ended: an `OutcomeStatus`."""
    code: str | None
    http_status: int | None
    attempts: int
    detail: str | None
    """In words, at most 500 characters. May quote a reply."""
    order_id: str | None
    """The order id that was sent: the caller's or an assigned one."""
    accepted: float
    """Seconds since the epoch."""
    ended: float
    """Seconds since the epoch."""
    body: str
    """The event's stored form, as JSON."""
    resent: float | None = None
    """When it was sent again, in seconds since the epoch."""
    resent_status: str | None = None
    resent_detail: str | None = None


@attrs.frozen(kw_only=True)
class Bounds:
    """How much is kept; the oldest go first."""

    limit: int
    """Letters."""
    age: float
    """Seconds since they ended."""


_FIELDS: Final = tuple(field.name for field in attrs.fields(Letter) if field.name != "id")
_INTO: Final = f"OR IGNORE INTO letters ({', '.join(_FIELDS)})"
_CHUNK: Final = 512
_INSERT: Final = (
    f"INSERT OR IGNORE INTO letters ({', '.join(_FIELDS)}) VALUES ({', '.join('?' * len(_FIELDS))})"
)


def letter_of(ending: Ending, *, origin: str | None, destination: str, now: float) -> Letter:
    """Return the letter of an event that ended.

    Args:
        ending: How it ended.
        origin: Its journal row.
        destination: Where it was to go.
        now: Seconds since the epoch.
    """
    outcome = ending.outcome
    return Letter(
        origin=origin,
        destination=destination,
        company_key=ending.company_key,
        kind="cart" if outcome.event.__class__ is CartEvent else "checkout",
        status=outcome.status.value,
        code=None if outcome.code is None else str(outcome.code)[:_EXCERPT],
        http_status=outcome.http_status,
        attempts=outcome.attempts,
        detail=None if outcome.detail is None else outcome.detail[:_EXCERPT],
        order_id=ending.order_id,
        accepted=now - outcome.elapsed,
        ended=now,
        body=dumps(unstructure_event(outcome.event)).decode(),
    )


def letters_path(directory: Path) -> Path:
    """Return where a directory's dead letters are."""
    return directory / LETTERS


class LetterBox:
    """The open file of dead letters. Belongs to the thread that opened it.

    Args:
        path: Where it is.
        connection: Its database, at the newest version.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self.identity = identity_of(path)

    @classmethod
    def open(cls, directory: Path, *, busy_timeout: float = _BUSY_TIMEOUT) -> LetterBox:
        """Open a directory's letters; the file is made where there is none.

        Raises:
            JournalError: The file is not ours.
            OSError, sqlite3.Error: The disk refused.
            DamagedError: It is no file of letters.
        """
        path = letters_path(directory)
        for one in (path, *sidecars(path)):
            check_own_file(one)
        _touch(path)
        connection = connect(path, busy_timeout=busy_timeout)
        try:
            _begin(path, connection)
            migrate(connection, MIGRATIONS)
            return cls(path, connection)
        except BaseException:
            connection.close()
            raise

    def keep(self, letters: Sequence[Letter], bounds: Bounds) -> None:
        """Add letters, and let go of what is past the bounds. One transaction.

        Raises:
            sqlite3.Error: Nothing of it was done.
        """
        rows = [tuple(getattr(letter, name) for name in _FIELDS) for letter in letters]
        with transaction(self._connection):
            for start in range(0, len(rows), _CHUNK):
                self._connection.execute(*insertion(_INTO, rows[start : start + _CHUNK]))
            self._prune(bounds)

    def _prune(self, bounds: Bounds) -> None:
        execute = self._connection.execute
        execute("DELETE FROM letters WHERE ended < ?", (time.time() - bounds.age,))
        excess = execute("SELECT count(*) FROM letters").fetchone()[0] - bounds.limit
        if excess > 0:
            execute(
                "DELETE FROM letters WHERE id IN (SELECT id FROM letters ORDER BY id LIMIT ?)",
                (excess,),
            )

    def rows_of(self, uuid: str) -> list[int]:
        """Return the ids of a journal file's rows that are letters already."""
        found = self._connection.execute(
            "SELECT origin FROM letters WHERE origin >= ? AND origin < ?", (f"{uuid}:", f"{uuid};")
        )
        return [int(origin.partition(":")[2]) for (origin,) in found.fetchall()]

    def close(self) -> None:
        """Close it. Idempotent."""
        self._connection.close()


def origin_of(uuid: str, id_: int) -> str:
    """Return the name of a journal row that is the same in every process."""
    return f"{uuid}:{id_}"


def identity_of(path: Path) -> tuple[int, int] | None:
    """Return which file a path leads to."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _begin(path: Path, connection: sqlite3.Connection) -> None:
    if connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID:
        check_version(path, connection, MIGRATIONS)
        return
    if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        raise DamagedError("it is no file of dead letters")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def _touch(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


def letter_from(row: Sequence[Any]) -> Letter:
    """Return the letter of a row: its id, then the fields in order."""
    return Letter(id=row[0], **dict(zip(_FIELDS, row[1:], strict=True)))
