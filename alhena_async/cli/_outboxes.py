"""Outboxes by their URLs, for the commands that look through what stands in one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from alhena_async.cli._broker import file_at, outbox_at
from alhena_async.outbox import PostgresOutbox, SQLiteOutbox, Statement, _sqlite_contents
from alhena_async.outbox._contents import Contents
from alhena_async.relay import _postgres_contents
from alhena_async.relay._brokers import is_database

__all__ = ["OutboxAt", "is_outbox"]

_ROWS: Final = 1_000
"""Of a shop's own statement, at a time."""


def is_outbox(url: str) -> bool:
    """Whether a text is the URL of an outbox."""
    return url.startswith("sqlite:") or is_database(url)


class OutboxAt:
    """An outbox in one database or the other.

    Args:
        url: `postgresql://...` or `sqlite:///...`.
        schema: Where its tables are, in Postgres.

    Raises:
        click.UsageError: There can be none such.
    """

    def __init__(self, url: str, schema: str | None) -> None:
        self._path = file_at(url) if url.startswith("sqlite:") else None
        self._database = outbox_at("postgresql://" if self._path else url, schema)
        self._schema = schema

    def __str__(self) -> str:
        return str(self._database) if self._path is None else f"the outbox {self._path}"

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Contents]:
        """Be at its tables while the block runs.

        Raises:
            TransportError, OutboxError: There are none that can be used.
        """
        if self._path is None:
            async with _postgres_contents.opened(self._database) as contents:
                yield contents
        else:
            with _sqlite_contents.opened(self._path) as inner:
                yield inner

    async def query(self, sql: str) -> AsyncIterator[list[dict[str, Any]]]:
        """Run a shop's own statement, which may only read; yield its rows, so many at once.

        Raises:
            TopologyError, TransportError, OutboxError: The database does not run it.
        """
        if self._path is None:
            async for rows in _postgres_contents.query(self._database, sql, _ROWS):
                yield rows
        else:
            for found in _sqlite_contents.query(self._path, sql, _ROWS):
                yield found

    def adding(self, company_key: str) -> PostgresOutbox | SQLiteOutbox:
        """Return what makes statements for it.

        Raises:
            ValueError: The company key is none.
        """
        if self._path is None:
            return PostgresOutbox(company_key, schema=self._schema)
        return SQLiteOutbox(self._path, company_key)

    def said(self, statement: Statement) -> tuple[Any, ...]:
        """Return SQL and parameters as `Contents.add` takes them."""
        sql, parameters = statement.dollar if self._path is None else statement.qmark
        return sql, *parameters
