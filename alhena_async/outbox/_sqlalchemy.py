"""All that is said to SQLAlchemy: a statement in a session's or a connection's own transaction."""

from __future__ import annotations

from typing import Any

__all__ = ["run", "run_async"]


def run(connection: Any, named: tuple[str, dict[str, Any]]) -> tuple[bool, bool]:
    """Run a statement on a session or a connection.

    Returns:
        Whether it returned a row, and whether it was committed by itself.
    """
    used = connection.connection() if _is_session(connection) else connection
    result = connection.execute(_text(named), named[1])
    return _is_new(result), _is_autocommit(used)


async def run_async(connection: Any, named: tuple[str, dict[str, Any]]) -> tuple[bool, bool]:
    """Run a statement on an async session or connection; see `run`."""
    used = await connection.connection() if _is_session(connection) else connection
    result = await connection.execute(_text(named), named[1])
    return _is_new(result), _is_autocommit(used.sync_connection)


def _is_session(connection: Any) -> bool:
    """Whether it is a session, scoped or not: a connection cannot flush."""
    return hasattr(connection, "flush")


def _text(named: tuple[str, dict[str, Any]]) -> Any:
    from sqlalchemy import text  # noqa: PLC0415  its connection is here, so it is installed

    return text(named[0])


def _is_autocommit(connection: Any) -> bool:
    """Whether the driver's connection commits by itself: `isolation_level="AUTOCOMMIT"`."""
    driver = connection.connection.dbapi_connection
    if connection.dialect.name == "sqlite":
        return not getattr(driver, "driver_connection", driver).in_transaction
    return bool(getattr(driver, "autocommit", False))


def _is_new(result: Any) -> bool:
    """Whether a row was put in: Postgres returns one, SQLite counts."""
    return bool(result.all()) if result.returns_rows else result.rowcount > 0
