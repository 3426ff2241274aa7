"""What shops hold in their hands: which driver a connection is of, and how it runs a statement.

No driver is imported to find out: a connection is known by the names of its classes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import attrs

from alhena_async.outbox import _sqlalchemy
from alhena_async.outbox._statement import Statement

__all__ = ["Run", "driver_of"]


@attrs.frozen
class Run:
    """What became of a statement."""

    is_new: bool
    """Whether a row was put in."""
    is_autocommit: bool
    """Whether it was committed by itself, beside any transaction of the caller's."""


@attrs.frozen
class Driver:
    """A kind of connection: how a statement is run on it, in the caller's own transaction."""

    package: str
    name: str
    """Of the class, or of one that it is made of."""
    database: str | None = None
    """Which alone it speaks to; None: to several."""
    run: Callable[[Any, Statement], Run] | None = None
    run_async: Callable[[Any, Statement], Awaitable[Run]] | None = None

    @property
    def said(self) -> str:
        """How it is called in a message."""
        return f"{self.package}'s {self.name}"


async def _asyncpg(connection: Any, statement: Statement) -> Run:
    is_autocommit = not connection.is_in_transaction()
    sql, parameters = statement.dollar
    return Run(bool(await connection.fetch(sql, *parameters)), is_autocommit)


_IDLE: Final = 0  # libpq's PQTRANS_IDLE


def _is_autocommit(connection: Any) -> bool:
    """Whether a psycopg connection commits the next statement by itself."""
    return bool(connection.autocommit) and int(connection.info.transaction_status) == _IDLE


def _psycopg(connection: Any, statement: Statement) -> Run:
    is_autocommit = _is_autocommit(connection)
    with connection.cursor() as cursor:
        cursor.execute(*statement.percent)
        return Run(cursor.rowcount != 0, is_autocommit)


async def _psycopg_async(connection: Any, statement: Statement) -> Run:
    is_autocommit = _is_autocommit(connection)
    async with connection.cursor() as cursor:
        await cursor.execute(*statement.percent)
        return Run(cursor.rowcount != 0, is_autocommit)


def _django(connection: Any, statement: Statement) -> Run:
    if connection.vendor != statement.dialect.database:
        raise TypeError(
            f"Django's connection is one to {connection.vendor}: this outbox is one in "
            f"{statement.dialect.database}"
        )
    is_autocommit = connection.get_autocommit()
    with connection.cursor() as cursor:
        cursor.execute(*statement.percent)
        return Run(cursor.rowcount != 0, is_autocommit)


def _sqlite(connection: Any, statement: Statement) -> Run:
    cursor = connection.execute(*statement.qmark)
    return Run(cursor.rowcount > 0, not connection.in_transaction)


async def _sqlite_async(connection: Any, statement: Statement) -> Run:
    async with connection.execute(*statement.qmark) as cursor:
        return Run(cursor.rowcount > 0, not connection.in_transaction)


def _alchemy(connection: Any, statement: Statement) -> Run:
    return Run(*_sqlalchemy.run(connection, statement.named))


async def _alchemy_async(connection: Any, statement: Statement) -> Run:
    return Run(*await _sqlalchemy.run_async(connection, statement.named))


DRIVERS: Final = (
    Driver("asyncpg", "Connection", "postgresql", run_async=_asyncpg),
    Driver("asyncpg", "PoolConnectionProxy", "postgresql", run_async=_asyncpg),
    Driver("psycopg", "AsyncConnection", "postgresql", run_async=_psycopg_async),
    Driver("psycopg", "Connection", "postgresql", run=_psycopg),
    Driver("aiosqlite", "Connection", "sqlite", run_async=_sqlite_async),
    Driver("sqlite3", "Connection", "sqlite", run=_sqlite),
    Driver("sqlalchemy", "AsyncSession", run_async=_alchemy_async),
    Driver("sqlalchemy", "async_scoped_session", run_async=_alchemy_async),
    Driver("sqlalchemy", "AsyncConnection", run_async=_alchemy_async),
    Driver("sqlalchemy", "Session", run=_alchemy),
    Driver("sqlalchemy", "scoped_session", run=_alchemy),
    Driver("sqlalchemy", "Connection", run=_alchemy),
    Driver("django", "BaseDatabaseWrapper", run=_django),
    Driver("django", "ConnectionProxy", run=_django),
)
"""What is supported; the first row that fits decides."""


def driver_of(connection: object, database: str, *, sync: bool) -> Driver:
    """Return what a connection is.

    Args:
        connection: The caller's.
        database: What the outbox is in.
        sync: Whether the call is `add_sync`.

    Raises:
        TypeError: It is none of those that are supported, or one of the other call's.
    """
    found = _find(connection)
    if found is not None and found.database in {None, database}:
        if (found.run if sync else found.run_async) is not None:
            return found
        call, other = ("add_sync", "await add") if sync else ("add", "add_sync")
        raise TypeError(f"{call} got {found.said}: use {other}(...) for it")
    call = "add_sync" if sync else "add"
    wanted = ", ".join(
        one.said
        for one in DRIVERS
        if (one.run if sync else one.run_async) and one.database in {None, database}
    )
    kind = type(connection)
    raise TypeError(
        f"{call} got {kind.__module__}.{kind.__qualname__}: it takes a connection that is in the "
        f"transaction which makes the order ({wanted}); for any other, run statement(event)"
    )


def _find(connection: object) -> Driver | None:
    kinds = {(one.__module__.partition(".")[0], one.__name__) for one in type(connection).__mro__}
    return next((one for one in DRIVERS if (one.package, one.name) in kinds), None)
