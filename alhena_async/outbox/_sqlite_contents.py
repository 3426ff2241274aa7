"""What stands in an outbox in SQLite, for the commands that look through it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from alhena_async.errors import OutboxError
from alhena_async.outbox import _sqlite_table as sql
from alhena_async.outbox._sqlite import SQLiteOutbox
from alhena_async.outbox._sqlite_source import WAIT, connect, explained
from alhena_async.relay._clock import now

__all__ = ["SQLiteContents", "opened", "query"]


@contextmanager
def opened(path: Path) -> Iterator[SQLiteContents]:
    """Be at an outbox while the block runs.

    Raises:
        OutboxError: There is none that can be used.
    """
    SQLiteOutbox(path, "nobody").status()  # of this version, and all of it there
    with _at(path) as own:
        own.execute("PRAGMA secure_delete = ON")  # what is removed is overwritten, too
        yield SQLiteContents(own)


def query(path: Path, statement: str, size: int) -> Iterator[list[dict[str, Any]]]:
    """Run a shop's own statement, which may only read; yield its rows, so many at once.

    Raises:
        OutboxError: The database does not run it.
    """
    with _at(path) as own:
        own.execute("PRAGMA query_only = ON")
        cursor = own.execute(statement)
        names = [column[0] for column in cursor.description or ()]
        while rows := cursor.fetchmany(size):
            yield [dict(zip(names, row, strict=True)) for row in rows]


@contextmanager
def _at(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(connect(path, timeout=WAIT)) as own:
            yield own
    except sqlite3.Error as error:
        raise OutboxError(explained(path, error)) from error


class SQLiteContents:
    """The tables of an outbox in SQLite, by their contents.

    The disk is waited for on the loop, on which nothing else runs.

    Args:
        own: A connection to the database.
    """

    def __init__(self, own: sqlite3.Connection) -> None:
        self._own = own

    async def waiting(self, after: int) -> list[tuple[int, bytes]]:
        """Return ids and messages of the next rows that wait; none: that was all."""
        return self._page(sql.WAITING_AFTER, after)

    async def letters(self, after: int) -> list[tuple[int, bytes]]:
        """Return the numbers of the next dead letters, and them; none: that was all."""
        return self._page(sql.LETTERS_AFTER, after)

    def _page(self, statement: str, after: int) -> list[tuple[int, bytes]]:
        rows = self._own.execute(statement, (after,)).fetchall()
        return [(number, str(text).encode(errors="replace")) for number, text in rows]

    async def found(
        self, company_key: str, order_ids: Sequence[str]
    ) -> tuple[Collection[str], Collection[str]]:
        """Return which of these orders wait, and which were delivered."""
        # Those that wait first: what was settled meanwhile is among the others.
        waiting, delivered = (
            {row[0] for row in self._own.execute(one, (company_key, json.dumps(list(order_ids))))}
            for one in (sql.WAITING_ORDERS, sql.DELIVERED_ORDERS)
        )
        return waiting, delivered

    async def known_since(self) -> float | None:
        """Return since when delivered orders are known, in seconds since the epoch; None: none."""
        since: float | None = self._own.execute(sql.KNOWN_SINCE).fetchone()[0]
        return since

    async def add(self, statement: str, *parameters: Any) -> bool:
        """Put an event in, and commit it; return whether it is a new one."""
        return self._own.execute(statement, parameters).rowcount > 0

    async def remove(self, waiting: Sequence[int], letters: Sequence[int]) -> int:
        """Remove rows; return how many of those that waited may be on their way right now."""
        ids = json.dumps(list(waiting))
        self._own.execute("BEGIN IMMEDIATE")
        *_, token, until, _upto = self._own.execute(sql.SETTINGS).fetchone()
        is_delivered = bool(token) and until > now()
        # One of each visitor at most: whoever delivers does not write down which.
        in_hand = self._own.execute(sql.LANES_OF, (ids,)).fetchone()[0] if is_delivered else 0
        self._own.executemany(sql.DONE, [(one,) for one in waiting])
        self._own.executemany(sql.REMOVE_LETTER, [(one,) for one in letters])
        self._own.execute("COMMIT")
        return int(in_hand)
