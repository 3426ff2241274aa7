"""What stands in a Postgres database, looked at and made: the I/O of `alhena outbox`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import attrs

from alhena_async.relay import _postgres_sql, _postgres_table
from alhena_async.relay._postgres_table import VERSION, Settings, Tables, change, checked_version
from alhena_async.relay._topology import TopologyError

if TYPE_CHECKING:
    from alhena_async.relay._postgres import Postgres
    from alhena_async.relay._postgres_connection import Connection, Refused

__all__ = ["Made", "Standing", "connected", "look", "make"]

_TIMEOUT: Final = 60.0  # seconds; counting a million rows takes one


@attrs.frozen(kw_only=True)
class Standing:
    """What stands in a database."""

    waiting: int
    """Events that are not delivered, what relays have in hand included."""
    held: int
    oldest_age: float
    """Seconds since the oldest of them was accepted; 0 if there is none."""
    bytes: int
    """What the table takes on disk, its indexes included."""
    dead_rows: int
    """Rows that are deleted, and whose room is not free yet."""
    dead_letters: int


@attrs.frozen(kw_only=True)
class Made:
    """What `make` found, and did."""

    version: int
    """What stood before; 0: nothing."""
    settings: Settings | None
    """What was written down before, if the version that stood can be read."""


@asynccontextmanager
async def connected(database: Postgres) -> AsyncIterator[Connection]:
    """Be connected while the block runs.

    Raises:
        TransportError: The database cannot be reached.
        ValueError: The URL can never work.
    """
    connection = await database.dialler().connect()
    try:
        yield connection
    finally:
        await connection.close()


async def look(connection: Connection, tables: Tables) -> Standing:
    """Return what waits.

    Raises:
        TopologyError: Something may not be looked at.
        TransportError: The database does not say.
    """
    from alhena_async.relay._postgres_connection import Refused  # noqa: PLC0415

    try:
        [row] = await connection.fetch(tables.put_into(_postgres_sql.STATUS), timeout=_TIMEOUT)
    except Refused as error:
        raise TopologyError(str(error)) from error
    return Standing(**{name: value or 0 for name, value in row.items()})


async def make(connection: Connection, tables: Tables, wanted: Settings, *, changes: bool) -> Made:
    """Make what is missing, or bring an older version up to this one, in one transaction.

    Args:
        connection: To the database.
        tables: Their names.
        wanted: What is to be written down.
        changes: Whether it is also where something else stands.

    Raises:
        TopologyError: It cannot be made there; nothing was.
        TransportError: The connection was lost.
    """
    from alhena_async.relay._postgres_connection import Refused  # noqa: PLC0415

    made = await _found(connection, tables)
    statements = _postgres_table.make(tables, wanted, made.version)
    if changes and made.version:
        statements.append(change(tables, wanted))
    try:
        await connection.run_all(statements)
    except Refused as error:
        if error.code in _MADE_MEANWHILE and not made.version:
            return await _found(connection, tables)  # as by the same command beside this one
        raise TopologyError(_advised(error, tables)) from error
    return made


_MADE_MEANWHILE: Final = {"42P07", "23505"}  # a table of that name, or its entry in the catalogue


def _advised(error: Refused, tables: Tables) -> str:
    """Return the server's words, with what to do."""
    if error.code == "3F000" and tables.schema:  # no such schema
        return f"{error}: CREATE SCHEMA {tables.schema} first"
    return str(error)


async def _found(connection: Connection, tables: Tables) -> Made:
    from alhena_async.relay._postgres_connection import Refused  # noqa: PLC0415

    try:
        rows = await connection.fetch(tables.put_into(_postgres_sql.SETTINGS), timeout=_TIMEOUT)
    except Refused as error:
        if not error.is_no_table:
            raise TopologyError(str(error)) from error
        return Made(version=0, settings=None)
    if not rows:
        raise TopologyError(
            f"{tables.settings} is empty: delete the tables, or write its row (see --print)"
        )
    version = checked_version(rows[0]["version"])
    settings = _postgres_table.read(rows[0]) if version == VERSION else None
    return Made(version=version, settings=settings)
