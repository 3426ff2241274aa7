"""Dead letters: what ended badly, kept with the reason; one file that all processes share."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

import attrs

from alhena_async._json import dumps, dumps_ascii
from alhena_async._wire import unstructure_event
from alhena_async.events import CartEvent, CheckoutEvent, Event
from alhena_async.journal._directory import (
    LETTERS,
    check_exists,
    check_own_file,
    identity_of,
    refused,
)
from alhena_async.journal._locks import exclusively
from alhena_async.journal._rows import event_of, stored_form
from alhena_async.journal._sqlite import (
    DamagedError,
    FileKind,
    check_structure,
    closed_on_error,
    to_journal_error,
    transaction,
)
from alhena_async.journal.protocol import Ending

__all__ = [
    "BUSY_TIMEOUT",
    "EXCERPT",
    "KIND",
    "UNREADABLE",
    "DeadLetter",
    "DeadLetterFilter",
    "DeadLetterStore",
    "DeadLetters",
    "Retention",
    "judged",
    "letter_of",
    "letters_path",
    "origin_of",
]

EXCERPT: Final = 500
"""Characters kept of what the API said."""


@attrs.frozen(kw_only=True)
class DeadLetter:
    """An event that ended badly, with the reason."""

    id: int = 0
    """Its number in the directory; 0 before it is kept."""
    origin: str | None
    """The journal row that it was, so that it is kept only once; None if it never had one."""
    destination: str
    """The base URL that it was meant for."""
    company_key: str
    kind: str
    """`cart` or `checkout`."""
    status: str
    """How it ended: `rejected`, `expired`, `unknown`, `dropped`; `unreadable` if it is no event."""
    code: str | None
    """What the API refused it with."""
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
    """What became of it then; None: it was not sent again."""
    resent_detail: str | None = None

    def form(self) -> dict[str, Any] | None:
        """Return the event's fields by name, numbers with their digits; None if it has none."""
        try:
            form = stored_form(self.body)
        except (ValueError, RecursionError):
            return None
        return form if isinstance(form, dict) else None

    def event(self) -> Event | None:
        """Return the event, under the order id that it was sent with; None if it is unreadable."""
        if self.status == UNREADABLE:
            return None
        try:
            event = event_of(self.body)
        except ValueError:
            return None
        if isinstance(event, CheckoutEvent) and self.order_id is not None:
            return attrs.evolve(event, order_id=self.order_id)  # the API knows it by that
        return event

    def line(self) -> str | None:
        """Return the event as a line that `alhena replay` reads; None if it is unreadable."""
        form = self.form()
        if form is None or self.status == UNREADABLE:
            return None
        line: dict[str, Any] = {"ts": _iso(self.accepted), "kind": self.kind, **form}
        if self.order_id is not None:
            line["order_id"] = self.order_id
        line["company_key"] = self.company_key
        line["dead_letter"] = {"id": self.id, "status": self.status, "code": self.code}
        return dumps_ascii(line)


def _iso(moment: float) -> str:
    try:
        return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError, TypeError):
        return "?"  # no letter has a checksum: whatever stands there is shown


_SENDING: Final = "sending"

UNREADABLE: Final = "unreadable"
"""The status of a row that is whole, and yet no event by today's rules."""


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


def _several(value: Iterable[Any]) -> tuple[Any, ...]:
    if isinstance(value, str | int):
        raise TypeError(f"give several, also where it is one: ({value!r},)")
    return tuple(value)


@attrs.frozen(kw_only=True)
class DeadLetterFilter:
    """Which dead letters: every field narrows them down, several values of one widen it again.

    `DeadLetterFilter()` is all of them.
    """

    ids: tuple[int, ...] = attrs.field(default=(), converter=_several)
    codes: tuple[str, ...] = attrs.field(default=(), converter=_several)
    statuses: tuple[str, ...] = attrs.field(default=(), converter=_several)
    kinds: tuple[str, ...] = attrs.field(default=(), converter=_several)
    company_keys: tuple[str, ...] = attrs.field(default=(), converter=_several)
    since: float | None = None
    """Ended then or later, in seconds since the epoch."""
    until: float | None = None
    """Ended before then, in seconds since the epoch."""
    resent: bool | None = None
    """Sent again (True), or not yet (False)."""
    resent_statuses: tuple[str, ...] = attrs.field(default=(), converter=_several)
    """What became of it then: `sending`, or how it ended."""
    limit: int | None = None
    """The oldest so many."""


ALL: Final = DeadLetterFilter()


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

_INSERT: Final = (
    f"INSERT OR IGNORE INTO letters ({', '.join(_FIELDS)}) VALUES ({', '.join('?' * len(_FIELDS))})"
)

_LETTERS_PER_BATCH: Final = 512


def judged(id_: int, found: Mapping[str, Any]) -> DeadLetter:
    """Return a letter as it was found; `unreadable` where a field cannot be what it is.

    No letter has a checksum, SQLite keeps anything in any column, and a broker takes letters from
    anybody: one odd letter must not hide all others.

    Args:
        id_: Its number.
        found: All other fields by name, whatever they hold.
    """
    odd: list[str] = []
    fields: dict[str, Any] = {}
    for name, value in found.items():
        if value is None and name in _MAY_BE_MISSING:
            fields[name] = None
            continue
        is_sound, otherwise = _KINDS_OF_FIELD.get(name, (_is_text, _as_text))
        fields[name] = value if is_sound(value) else otherwise(value)
        if not is_sound(value):
            odd.append(name)
    if odd:
        fields["status"] = UNREADABLE
        fields["detail"] = f"damaged: {', '.join(odd)}"
    return DeadLetter(id=id_, **fields)


def _is_text(value: object) -> bool:
    return type(value) is str and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _as_text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return "?" if value is None else str(value).encode("utf-8", "replace").decode()


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def _is_moment(value: object) -> bool:
    return type(value) in {int, float} and 0 <= value < _YEAR_10000  # type: ignore[operator]


_YEAR_10000: Final = 253_402_300_800
_MAY_BE_MISSING: Final = frozenset(
    {
        "origin", "code", "http_status", "detail", "order_id",
        "resent", "resent_status", "resent_detail",
    }
)  # fmt: skip
_KINDS_OF_FIELD: Final[Mapping[str, tuple[Callable[[Any], bool], Callable[[Any], Any]]]] = {
    "http_status": (_is_count, lambda _: None),
    "attempts": (_is_count, lambda _: 0),
    "accepted": (_is_moment, lambda _: 0.0),
    "ended": (_is_moment, lambda _: 0.0),
    "resent": (_is_moment, lambda _: None),
}
"""Of each field that is no text: whether a value can be it, and what stands for one that cannot."""


def _lenient_text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def letters_path(directory: Path) -> Path:
    """Return where a directory's dead letters are."""
    return directory / LETTERS


class DeadLetterStore:
    """The open file of dead letters, as a journal writes it. Belongs to the thread that opened it.

    Args:
        path: Where it is.
        connection: Its database, at the newest version.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self.identity = identity_of(path)

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
        with closed_on_error(connection):
            check_structure(connection)
            connection.text_factory = _lenient_text
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
            for start in range(0, len(rows), _LETTERS_PER_BATCH):
                self._connection.executemany(_INSERT, rows[start : start + _LETTERS_PER_BATCH])
                self._prune(retention)

    def take_in(self, found: Iterable[Sequence[Any]]) -> int:
        """Add what was salvaged of a damaged file; return how many letters are new.

        Each keeps its number, unless another letter has that by now.

        Args:
            found: Number and fields, several times where a file holds several states; the last
                one counts.

        Raises:
            sqlite3.Error: Nothing of it was done.
        """
        names = ", ".join(_FIELDS)
        execute = self._connection.execute
        execute(
            f"CREATE TEMP TABLE found (id INTEGER PRIMARY KEY, {names})"
        )  # as large as it likes
        try:
            with transaction(self._connection):
                marks = ", ".join("?" * (1 + len(_FIELDS)))
                self._connection.executemany(
                    f"INSERT OR REPLACE INTO temp.found VALUES ({marks})", found
                )
                added = execute(
                    f"INSERT OR IGNORE INTO letters (id, {names}) SELECT * FROM temp.found"
                    " WHERE id NOT IN (SELECT id FROM letters)"
                ).rowcount
                added += execute(
                    f"INSERT OR IGNORE INTO letters ({names}) SELECT {names} FROM temp.found AS one"
                    " WHERE NOT EXISTS (SELECT 1 FROM letters WHERE letters.id = one.id"
                    " AND letters.body IS one.body AND letters.ended IS one.ended)"
                ).rowcount
                return added
        finally:
            execute("DROP TABLE temp.found")

    def _prune(self, retention: Retention) -> None:
        self._connection.execute(
            "DELETE FROM letters WHERE ended < ?", (_now_by_both(self.path) - retention.age,)
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

    def count(self) -> int:
        """Return how many letters there are."""
        return self._count()

    def rows_of(self, uuid: str) -> list[int]:
        """Return the ids of a journal file's rows that are letters already."""
        found = self._connection.execute(
            "SELECT origin FROM letters WHERE origin >= ? AND origin < ?", (f"{uuid}:", f"{uuid};")
        )
        ids = (origin.partition(":")[2] for (origin,) in found.fetchall() if type(origin) is str)
        return [int(id_) for id_ in ids if id_.isdecimal() and len(id_) < _DIGITS]

    def close(self) -> None:
        """Close it. Idempotent."""
        self._connection.close()


_DIGITS: Final = 20


def _now_by_both(path: Path) -> float:
    """Return what time it is by this process and by the disk, whichever is earlier.

    A process whose clock stands weeks ahead must not take everybody's letters for old.
    """
    now = time.time()
    try:
        os.utime(path)
        return min(now, path.stat().st_mtime)
    except OSError:
        return now


def _clause(wanted: DeadLetterFilter) -> tuple[str, list[Any]]:
    """The end of a SELECT, and its values."""
    conditions, values = [], list[Any]()
    for column, several in (
        ("id", wanted.ids), ("code", wanted.codes), ("status", wanted.statuses),
        ("kind", wanted.kinds), ("company_key", wanted.company_keys),
        ("resent_status", wanted.resent_statuses),
    ):  # fmt: skip
        if several:
            conditions.append(f"{column} IN (SELECT value FROM json_each(?))")
            values.append(json.dumps(several))
    for condition, moment in (("ended >= ?", wanted.since), ("ended < ?", wanted.until)):
        if moment is not None:
            conditions.append(condition)
            values.append(moment)
    if wanted.resent is not None:
        conditions.append("resent IS NOT NULL" if wanted.resent else "resent IS NULL")
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"{where} ORDER BY id LIMIT ?", [*values, -1 if wanted.limit is None else wanted.limit]


class DeadLetters:
    """The dead letters of a journal's directory: list them, take them out, note, let them go.

        with DeadLetters("var/alhena") as letters:
            for letter in letters.list(DeadLetterFilter(kinds=("checkout",), resent=False)):
                print(letter.code, letter.event())

    Processes that use the directory are not disturbed. Every call reads or writes the disk at
    once; where an event loop runs, do all of it in one function in a thread (`asyncio.to_thread`):
    a thread's letters are not for another.

    Args:
        directory: The journal's. Nothing is opened before the first call.
        busy_timeout: Seconds to wait for a process that writes a letter just then. Default 10.
    """

    def __init__(self, directory: str | os.PathLike[str], *, busy_timeout: float = 10.0) -> None:
        self.directory: Path = Path(directory)
        self._path = letters_path(self.directory)
        self._busy_timeout = busy_timeout
        self._connection: sqlite3.Connection | None = None
        self._may_write = False
        self._hold = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, and let go of it. Idempotent; a further call opens it again."""
        self._disconnect()
        self._hold.close()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def hold(self) -> bool:
        """Keep the letters from others who ask, until `close`; return whether nobody else does.

        For who sends them: what is marked `sending` is then left of one who died.

        Raises:
            JournalError: The directory cannot be written.
        """
        path = self._path.with_suffix(".lock")
        check_own_file(path)
        try:
            self._hold.enter_context(exclusively(path))
        except BlockingIOError:
            return False
        except OSError as error:
            raise refused(path, error) from error
        return True

    def count(self, wanted: DeadLetterFilter = ALL) -> Counter[tuple[str, str | None]]:
        """Return how many of the wanted letters there are, by status and code.

        Raises:
            JournalError: The directory or the file cannot be read.
        """
        where, values = _clause(wanted)
        found = self._query(f"SELECT status, code FROM letters{where}", values)
        return Counter(
            (_as_text(status), None if code is None else _as_text(code)) for status, code in found
        )

    def list(self, wanted: DeadLetterFilter = ALL) -> Sequence[DeadLetter]:
        """Return the wanted letters, oldest first; one with a damaged field as `unreadable`.

        Raises:
            JournalError: The directory or the file cannot be read.
        """
        where, values = _clause(wanted)
        found = self._query(f"SELECT id, {', '.join(_FIELDS)} FROM letters{where}", values)
        return [judged(id_, dict(zip(_FIELDS, row, strict=True))) for id_, *row in found]

    def export(self, wanted: DeadLetterFilter = ALL) -> Iterator[str]:
        """Go through the wanted letters as lines of JSON that `alhena replay` reads.

        Unreadable ones are left out. Lines hold what visitors did: keep them from others' eyes.

        Raises:
            JournalError: The directory or the file cannot be read.
        """
        lines = (letter.line() for letter in self.list(wanted))
        return (line for line in lines if line is not None)

    def note(
        self, id_: int, status: str | None, detail: str | None = None, *, at: float | None = None
    ) -> bool:
        """Note what became of a letter that was sent again; return whether it is still there.

        Args:
            id_: Which.
            status: How the event ended this time; None takes back what was noted.
            detail: In words; 500 characters are kept.
            at: When, in seconds since the epoch. Default: now.

        Raises:
            JournalError: It was not noted.
        """
        if status is None:
            at = detail = None
        elif at is None:
            at = time.time()
        noted = self._change(
            "UPDATE letters SET resent = ?, resent_status = ?, resent_detail = ? WHERE id = ?",
            (at, status, None if detail is None else detail[:EXCERPT], id_),
        )
        return noted > 0

    def claim(self, letter: DeadLetter) -> bool:
        """Mark a letter as `sending`, if it still stands as it was read; return whether it did.

        One statement: of several who want to send a letter, one may. Whoever has claimed it notes
        how it ended; if he dies, it stays `sending`.

        Raises:
            JournalError: It was not marked: do not send it.
        """
        claimed = self._change(
            "UPDATE letters SET resent = ?, resent_status = ?, resent_detail = NULL"
            " WHERE id = ? AND resent IS ? AND resent_status IS ?",
            (time.time(), _SENDING, letter.id, letter.resent, letter.resent_status),
        )
        return claimed > 0

    def purge(self, wanted: DeadLetterFilter) -> int:
        """Delete the wanted letters for good; return how many there were.

        Raises:
            JournalError: Nothing was deleted.
        """
        where, values = _clause(wanted)
        chosen = f"SELECT id FROM letters{where}"
        return self._change(f"DELETE FROM letters WHERE id IN ({chosen})", values)

    def rewrite(self) -> None:
        """Write the file anew, so that nothing of letters that are gone is left in its bytes.

        Raises:
            JournalError: It was not done, or not to its end: others read the file meanwhile.
        """
        with self._in_our_words("written"):
            connection = self._opened(to_write=True)
            if connection is not None:
                connection.execute("VACUUM")
                is_busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                if is_busy:
                    raise sqlite3.OperationalError("its log is in use")

    def _query(self, statement: str, values: Sequence[Any]) -> Sequence[tuple[Any, ...]]:
        with self._in_our_words("read"):
            connection = self._opened(to_write=False)
            return [] if connection is None else connection.execute(statement, values).fetchall()

    def _change(self, statement: str, values: Sequence[Any]) -> int:
        """Run a statement that changes letters; return how many it changed."""
        with self._in_our_words("written"):
            connection = self._opened(to_write=True)
            # No RETURNING: SQLite knows it from 3.35 on.
            return 0 if connection is None else connection.execute(statement, values).rowcount

    @contextlib.contextmanager
    def _in_our_words(self, done: str) -> Iterator[None]:
        try:
            yield
        except (DamagedError, sqlite3.Error, OSError, UnicodeDecodeError) as error:
            raise to_journal_error(self._path, error, done) from error

    def _opened(self, *, to_write: bool) -> sqlite3.Connection | None:
        """The open file; None if nothing ever ended badly."""
        if not self._may_write:
            self._disconnect()  # what was opened to be read shows the file as it was then
        if self._connection is None:
            check_exists(self.directory)
            if self._path.exists():
                self._connection = KIND.open(
                    self._path, read_only=not to_write, busy_timeout=self._busy_timeout
                )
                self._may_write = to_write
                if self._connection is not None:
                    self._connection.text_factory = _lenient_text
                    with closed_on_error(self._connection):
                        check_structure(self._connection)
        return self._connection
