"""The letters of an outbox in Postgres: read one after the other, removed, published again."""

from __future__ import annotations

from typing import Any

from alhena_async.journal import DeadLetter
from alhena_async.relay import _postgres_sql
from alhena_async.relay._letters import read_letter
from alhena_async.relay._postgres import PostgresChannel
from alhena_async.relay._postgres_dialler import Dialler

__all__ = ["PostgresLetters"]


class PostgresLetters(PostgresChannel):
    """Reads letters and removes them; puts their events into the outbox as any `Channel`.

    Args:
        dialler: Connects.
    """

    def __init__(self, dialler: Dialler) -> None:
        super().__init__(dialler)
        self._last: int | None = None
        """The number of the last letter that was there at the opening."""

    async def open(self) -> None:
        """Connect, and see which letter is the last.

        Raises:
            TransportError: There is no connection now, or nothing that can be used.
        """
        await super().open()
        if self._last is None:
            [row] = await self._asked(_postgres_sql.LAST_LETTER)
            self._last = row["last"]

    async def after(self, number: int) -> DeadLetter | None:
        """Return the first letter above a number, if it was there at the opening.

        Raises:
            TransportError: There was no answer.
        """
        rows = await self._asked(_postgres_sql.LETTER, number, self._last or 0)
        return _letter_of(rows[0]) if rows else None

    async def remove(self, number: int) -> bool:
        """Remove a letter for good; return whether it was there.

        Raises:
            TransportError: There was no answer; it may be gone.
        """
        return bool(await self._asked(_postgres_sql.REMOVE_LETTER, number))

    def id_of(self, number: int) -> str:
        """Return what a letter's event is published under: the same whenever it is tried again."""
        return f"letter/{number}"


def _letter_of(row: Any) -> DeadLetter:
    return read_letter(row["id"], row["letter"].encode(), kept=row["ended"])
