"""Dead letters: what ended badly, kept with the reason; one file that all processes share."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from alhena_async._wire import dumps, unstructure_event
from alhena_async.events import CartEvent
from alhena_async.journal._directory import LETTERS, identity_of
from alhena_async.journal._sqlite import (
    FileKind,
    insertion,
    to_journal_error,
    transaction,
)
from alhena_async.journal.protocol import Ending

__all__ = [
    "BUSY_TIMEOUT",
    "EXCERPT",
    "KIND",
    "DeadLetter",
    "DeadLetterFilter",
    "DeadLetterStore",
    "Retention",
    "letter_of",
    "letters_path",
    "origin_of",
]

EXCERPT: Final = 500
"""Characters kept of what the API said."""


@attrs.frozen(kw_only=True)
class DeadLetter:
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
class Retention:
    """How much is kept.

    Of what is too much, carts go first and checkouts last. Of either kind, those that found no room
    go before the others, as far as they take more than their share, and after them otherwise; each
    the oldest first.
    """

    limit: int
    """Letters."""
    age: float
    """Seconds since they ended."""
    bytes: int
    """What the file holds, its log aside."""

    @property
    def dropped(self) -> int:
        """The share of events that found no room: a flood of them must not wash out the others."""
        return max(1, self.limit // 10)


@attrs.frozen(kw_only=True)
class DeadLetterFilter:
    """Which letters; every field narrows them down, and by default it is all of them."""

    ids: tuple[int, ...] = ()
    codes: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    company_keys: tuple[str, ...] = ()
    since: float | None = None
    """Ended then or later, in seconds since the epoch."""
    until: float | None = None
    """Ended before then, in seconds since the epoch."""
    resent: bool | None = None
    """Sent again (True), or not yet (False)."""
    limit: int | None = None
    """The oldest so many."""

    def clause(self) -> tuple[str, list[Any]]:
        """Return the end of a SELECT, and its values."""
        conditions, values = [], list[Any]()
        for column, wanted in (
            ("id", self.ids), ("code", self.codes), ("status", self.statuses),
            ("kind", self.kinds), ("company_key", self.company_keys),
        ):  # fmt: skip
            if wanted:
                conditions.append(f"{column} IN ({', '.join('?' * len(wanted))})")
                values += wanted
        for condition, moment in (("ended >= ?", self.since), ("ended < ?", self.until)):
            if moment is not None:
                conditions.append(condition)
                values.append(moment)
        if self.resent is not None:
            conditions.append("resent IS NOT NULL" if self.resent else "resent IS NULL")
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        limit = "" if self.limit is None else f" LIMIT {self.limit:d}"
        return f"{where} ORDER BY id{limit}", values


def letter_of(ending: Ending, *, origin: str | None, destination: str, now: float) -> DeadLetter:
    """Return the letter of an event that ended.

    Args:
        ending: How it ended.
        origin: Its journal row.
        destination: Where it was to go.
        now: Seconds since the epoch.
    """
    outcome = ending.outcome
    return DeadLetter(
        origin=origin,
        destination=destination,
        company_key=ending.company_key,
        kind="cart" if outcome.event.__class__ is CartEvent else "checkout",
        status=outcome.status.value,
        code=None if outcome.code is None else str(outcome.code)[:EXCERPT],
        http_status=outcome.http_status,
        attempts=outcome.attempts,
        detail=None if outcome.detail is None else outcome.detail[:EXCERPT],
        order_id=ending.order_id,
        accepted=now - outcome.elapsed,
        ended=now,
        body=dumps(unstructure_event(outcome.event)).decode(),
    )


def origin_of(uuid: str, id_: int) -> str:
    """Return the name of a journal row that is the same in every process."""
    return f"{uuid}:{id_}"


BUSY_TIMEOUT: Final = 0.25
"""Seconds that the writer thread waits for another process: it has other work to do."""


def _version_1(connection: sqlite3.Connection) -> None:
    connection.execute(
        "CREATE TABLE letters (id INTEGER PRIMARY KEY AUTOINCREMENT, origin TEXT UNIQUE,"
        " destination TEXT, company_key TEXT, kind TEXT, status TEXT, code TEXT,"
        " http_status INTEGER, attempts INTEGER, detail TEXT, order_id TEXT, accepted REAL,"
        " ended REAL, body TEXT, resent REAL, resent_status TEXT, resent_detail TEXT)"
    )


def _version_2(connection: sqlite3.Connection) -> None:
    # What is let go first is looked for with every batch, and must not be searched for.
    connection.execute("CREATE INDEX letters_by_kind ON letters (kind)")
    connection.execute(f"CREATE INDEX dropped_letters ON letters (kind) WHERE {_DROPPED}")


_DROPPED: Final = "(status = 'dropped')"

KIND: Final = FileKind(
    name="a file of dead letters",
    application_id=0x414C_444C,  # "ALDL"
    migrations=(_version_1, _version_2),
)


_FIELDS: Final = tuple(field.name for field in attrs.fields(DeadLetter) if field.name != "id")

_INTO: Final = f"OR IGNORE INTO letters ({', '.join(_FIELDS)})"

_CHUNK: Final = 512


def letters_path(directory: Path) -> Path:
    """Return where a directory's dead letters are."""
    return directory / LETTERS


class DeadLetterStore:
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
    def look_into(cls, directory: Path) -> DeadLetterStore | None:
        """Open a directory's letters to read them; None if there are none.

        Raises:
            JournalError: The file is not ours.
            sqlite3.Error: It cannot be opened.
            DamagedError: It is no file of letters.
        """
        path = letters_path(directory)
        if not path.exists():
            return None
        connection = KIND.open(path, busy_timeout=BUSY_TIMEOUT, read_only=True)
        return None if connection is None else cls(path, connection)

    @classmethod
    def open(cls, directory: Path, *, busy_timeout: float = BUSY_TIMEOUT) -> DeadLetterStore:
        """Open a directory's letters; the file is made where there is none.

        Raises:
            JournalError: The file is not ours.
            OSError, sqlite3.Error: The disk refused.
            DamagedError: It is no file of letters.
        """
        path = letters_path(directory)
        with contextlib.suppress(FileExistsError):
            KIND.make(path)
        connection = KIND.open(path, begin=True, busy_timeout=busy_timeout)
        assert connection is not None  # noqa: S101  an empty one was begun
        return cls(path, connection)

    def wait_for_others(self, seconds: float) -> None:
        """Set for how long another process's transaction is waited for."""
        self._connection.execute(f"PRAGMA busy_timeout = {seconds * 1_000:.0f}")

    def keep(self, letters: Sequence[DeadLetter], retention: Retention) -> None:
        """Add letters, and let go of what is past the retention. One transaction.

        Raises:
            sqlite3.Error: Nothing of it was done.
        """
        rows = [tuple(getattr(letter, name) for name in _FIELDS) for letter in letters]
        with transaction(self._connection):
            for start in range(0, len(rows), _CHUNK):
                self._connection.execute(*insertion(_INTO, rows[start : start + _CHUNK]))
                self._prune(retention)

    def _prune(self, retention: Retention) -> None:
        self._connection.execute(
            "DELETE FROM letters WHERE ended < ?", (time.time() - retention.age,)
        )
        self._let_go(self._count() - retention.limit, retention)
        while (used := self._bytes_used()) > retention.bytes and (count := self._count()):
            # A little more than is needed, so that not every batch has to make room.
            self._let_go(count * (used - retention.bytes * 9 // 10) // used + 1, retention)

    def _let_go(self, excess: int, retention: Retention) -> None:
        """Delete so many, in the order of their worth."""
        for kind in ("kind = 'cart'", "kind = 'checkout'"):
            spare = self._count(_DROPPED) - retention.dropped
            excess -= self._delete(f"{_DROPPED} AND {kind}", min(excess, spare))
            excess -= self._delete(f"NOT {_DROPPED} AND {kind}", excess)
            excess -= self._delete(kind, excess)

    def _delete(self, condition: str, count: int) -> int:
        """Delete the oldest so many that meet a condition; return how many there were."""
        if count <= 0:
            return 0
        chosen = f"SELECT id FROM letters WHERE {condition} ORDER BY id LIMIT ?"
        return self._connection.execute(
            f"DELETE FROM letters WHERE id IN ({chosen})", (count,)
        ).rowcount

    def _count(self, condition: str = "TRUE") -> int:
        return self._number(f"SELECT count(*) FROM letters WHERE {condition}")

    def _bytes_used(self) -> int:
        pages = self._number("PRAGMA page_count") - self._number("PRAGMA freelist_count")
        return pages * self._number("PRAGMA page_size")

    def _number(self, query: str) -> int:
        return int(self._connection.execute(query).fetchone()[0])

    def rows_of(self, uuid: str) -> list[int]:
        """Return the ids of a journal file's rows that are letters already."""
        found = self._connection.execute(
            "SELECT origin FROM letters WHERE origin >= ? AND origin < ?", (f"{uuid}:", f"{uuid};")
        )
        return [int(origin.partition(":")[2]) for (origin,) in found.fetchall()]

    def select(self, wanted: DeadLetterFilter) -> list[DeadLetter]:
        """Return the letters that are wanted, oldest first.

        Raises:
            JournalError: The file cannot be read.
        """
        where, values = wanted.clause()
        found = self._run(f"SELECT id, {', '.join(_FIELDS)} FROM letters{where}", values)
        return [DeadLetter(id=row[0], **dict(zip(_FIELDS, row[1:], strict=True))) for row in found]

    def counts(self, wanted: DeadLetterFilter) -> Counter[tuple[str, str | None]]:
        """Return how many of the wanted letters there are, by status and code.

        Raises:
            JournalError: The file cannot be read.
        """
        where, values = wanted.clause()
        return Counter(self._run(f"SELECT status, code FROM letters{where}", values))

    def note_resent(self, id_: int, status: str, detail: str | None = None) -> None:
        """Note what became of a letter that was sent again.

        Raises:
            JournalError: It was not noted.
        """
        self._mark(id_, time.time(), status, None if detail is None else detail[:EXCERPT])

    def note_unsent(self, letter: DeadLetter) -> None:
        """Note that a letter was not sent after all: its mark is again what was read.

        Raises:
            JournalError: It was not noted.
        """
        self._mark(letter.id, letter.resent, letter.resent_status, letter.resent_detail)

    def _mark(self, id_: int, *mark: float | str | None) -> None:
        self._run(
            "UPDATE letters SET resent = ?, resent_status = ?, resent_detail = ? WHERE id = ?",
            (*mark, id_),
        )

    def purge(self, wanted: DeadLetterFilter) -> int:
        """Delete the wanted letters; return how many there were.

        Raises:
            JournalError: Nothing was deleted.
        """
        where, values = wanted.clause()
        chosen = f"SELECT id FROM letters{where}"
        return len(self._run(f"DELETE FROM letters WHERE id IN ({chosen}) RETURNING id", values))

    def _run(self, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise to_journal_error(self.path, error) from error

    def close(self) -> None:
        """Close it. Idempotent."""
        self._connection.close()
