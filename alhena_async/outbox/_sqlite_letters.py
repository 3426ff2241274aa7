"""The letters of an outbox in SQLite: read one after the other, removed, sent again."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from alhena_async.journal import DeadLetter
from alhena_async.outbox import _sqlite_table as sql
from alhena_async.outbox._sqlite_source import WAIT, connect, explained
from alhena_async.relay._letters import read_letter
from alhena_async.relay._message import key_in
from alhena_async.relay._seam import Parcel
from alhena_async.transports import TransportError

__all__ = ["SQLiteLetters"]

_Result = TypeVar("_Result")


class SQLiteLetters:
    """Reads letters and removes them; puts their events into the outbox again.

    The disk is waited for on the loop, on which nothing else runs.

    Args:
        path: Of the shop's database file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last = 0

    def __str__(self) -> str:
        return f"the outbox {self._path}"

    async def open(self) -> None:
        """See that there are letters, and which is the last.

        Raises:
            TransportError: The database cannot be used.
        """
        if not self._last:
            self._last = int(self._at(lambda own: own.execute(sql.LAST_LETTER).fetchone()[0]))

    async def close(self) -> None:
        """Nothing stays open."""

    async def after(self, number: int) -> DeadLetter | None:
        """Return the first letter above a number, if it was there at the opening.

        Raises:
            TransportError: The database cannot be used.
        """
        row = self._at(lambda own: own.execute(sql.LETTER, (number, self._last)).fetchone())
        if row is None:
            return None
        found, letter, ended_at = row
        kept = ended_at if isinstance(ended_at, float) else 0.0
        return read_letter(found, str(letter).encode(errors="replace"), kept=kept)

    def id_of(self, number: int) -> str:
        """Return what names a letter to `publish`."""
        return str(number)

    async def publish(self, parcel: Parcel) -> None:
        """Put a letter's event into the outbox, and remove the letter, in one transaction.

        Raises:
            TransportError: The database cannot be used; nothing was changed.
        """

        def again(own: sqlite3.Connection) -> None:
            own.execute("BEGIN IMMEDIATE")
            if own.execute(sql.REMOVE_LETTER, (int(parcel.id),)).rowcount:
                company_key, order_id = key_in(parcel.body) or ("", None)
                row = (parcel.lane, company_key, order_id, parcel.body.decode())
                own.execute(sql.PUBLISH, row)
            own.execute("COMMIT")

        self._at(again)

    async def remove(self, number: int) -> bool:
        """Remove a letter for good; return whether it was there.

        Raises:
            TransportError: The database cannot be used.
        """
        return self._at(lambda own: own.execute(sql.REMOVE_LETTER, (number,)).rowcount > 0)

    def _at(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        try:
            with closing(connect(self._path, timeout=WAIT)) as own:
                return work(own)
        except sqlite3.Error as error:
            raise TransportError(explained(self._path, error)) from error
