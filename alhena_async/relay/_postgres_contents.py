"""What stands in an outbox in Postgres, for the commands that look through it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from alhena_async._json import loads
from alhena_async.relay import _postgres_sql
from alhena_async.relay._postgres_admin import connected
from alhena_async.relay._topology import TopologyError

if TYPE_CHECKING:
    from alhena_async.relay._postgres import Postgres
    from alhena_async.relay._postgres_connection import Connection
    from alhena_async.relay._postgres_table import Tables

__all__ = ["PostgresContents", "opened", "query"]

_TIMEOUT: Final = 60.0  # seconds without an answer

_QUERY_TIMEOUT: Final = 600.0  # for a shop's own statement


@asynccontextmanager
async def opened(database: Postgres) -> AsyncIterator[PostgresContents]:
    """Be at an outbox while the block runs.

    Raises:
        TransportError: There is none that can be used now.
        ValueError: The URL can never work.
    """
    async with connected(database) as connection:
        await database.dialler().read(connection, relays=False)
        yield PostgresContents(connection, database.tables)


async def query(database: Postgres, sql: str, size: int) -> AsyncIterator[list[dict[str, Any]]]:
    """Run a shop's own statement in a transaction that only reads; yield its rows, so many at once.

    Raises:
        TopologyError: The server does not run it.
        TransportError: The connection is lost.
    """
    async with connected(database) as connection:
        await _run(connection, "BEGIN READ ONLY")
        await _run(connection, _postgres_sql.QUERY.format(sql=sql))
        while rows := await _run(connection, f"FETCH {size} FROM orders"):
            yield [loads(row["row"]) for row in rows]


async def _run(connection: Connection, sql: str, *arguments: Any) -> Sequence[Any]:
    from alhena_async.relay._postgres_connection import Refused  # noqa: PLC0415

    try:
        return await connection.fetch(sql, *arguments, timeout=_QUERY_TIMEOUT)
    except Refused as error:
        raise TopologyError(f"the database refuses it: {error}") from error


class PostgresContents:
    """The tables of an outbox in Postgres, by their contents.

    Args:
        connection: Open.
        tables: Their names.
    """

    def __init__(self, connection: Connection, tables: Tables) -> None:
        self._connection = connection
        self._tables = tables

    async def waiting(self, after: int) -> list[tuple[int, bytes]]:
        """Return ids and messages of the next rows that wait; none: that was all."""
        rows = await self._fetch(_postgres_sql.WAITING_AFTER, after)
        return [(row["id"], row["body"].encode()) for row in rows]

    async def letters(self, after: int) -> list[tuple[int, bytes]]:
        """Return the numbers of the next dead letters, and them; none: that was all."""
        rows = await self._fetch(_postgres_sql.LETTERS_AFTER, after)
        return [(row["id"], row["letter"].encode()) for row in rows]

    async def found(
        self, company_key: str, order_ids: Sequence[str]
    ) -> tuple[Collection[str], Collection[str]]:
        """Return which of these orders wait, and which were delivered."""
        names = json.dumps(list(order_ids))
        waiting = await self._fetch(_postgres_sql.WAITING_ORDERS, company_key, names)
        # After those that wait: what was settled meanwhile is found here.
        delivered = await self._fetch(_postgres_sql.DELIVERED_ORDERS, company_key, names)
        return {row["order_id"] for row in waiting}, {row["order_id"] for row in delivered}

    async def known_since(self) -> float | None:
        """Return since when delivered orders are known, in seconds since the epoch; None: none."""
        [row] = await self._fetch(_postgres_sql.KNOWN_SINCE)
        since: float | None = row["since"]
        return since

    async def add(self, sql: str, *parameters: Any) -> bool:
        """Put an event in, and commit it; return whether it is a new one."""
        return bool(await _run(self._connection, sql, *parameters))

    async def remove(self, waiting: Sequence[int], letters: Sequence[int]) -> int:
        """Remove rows; return how many of those that waited are with a relay right now."""
        if letters:
            await self._fetch(_postgres_sql.REMOVE_LETTERS, json.dumps(list(letters)))
        if not waiting:
            return 0
        ids = json.dumps(list(waiting))
        await self._fetch(_postgres_sql.REMOVE_WAITING, ids)
        # Afterwards: no relay can take what is gone, and who has taken it still has its lease.
        [row] = await self._fetch(_postgres_sql.IN_HAND, ids)
        return int(row["count"])

    async def _fetch(self, template: str, *arguments: Any) -> Sequence[Any]:
        return await _run(self._connection, self._tables.put_into(template), *arguments)
