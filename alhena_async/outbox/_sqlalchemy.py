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
    return bool(result.all()), _is_autocommit(used)


async def run_async(connection: Any, named: tuple[str, dict[str, Any]]) -> tuple[bool, bool]:
    """Run a statement on an async session or connection; see `run`."""
    used = await connection.connection() if _is_session(connection) else connection
    result = await connection.execute(_text(named), named[1])
    return bool(result.all()), _is_autocommit(used.sync_connection)


def _is_session(connection: Any) -> bool:
    """Whether it is a session, scoped or not: a connection cannot flush."""
    return hasattr(connection, "flush")


def _text(named: tuple[str, dict[str, Any]]) -> Any:
    from sqlalchemy import text  # noqa: PLC0415  its connection is here, so it is installed

    return text(named[0])


def _is_autocommit(connection: Any) -> bool:
    """Whether the driver's connection commits by itself: `isolation_level="AUTOCOMMIT"`."""
    return bool(getattr(connection.connection.dbapi_connection, "autocommit", False))
