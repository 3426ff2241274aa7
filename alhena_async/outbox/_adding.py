"""What every outbox does: an event becomes a row in the transaction that makes the order."""

from __future__ import annotations

import enum
import logging
from contextlib import AbstractContextManager
from typing import Any

import attrs

from alhena_async._delivery.preparation import BeforeSend
from alhena_async._telemetry.telemetry import Reporting
from alhena_async.events import Event
from alhena_async.outbox._drivers import Run, driver_of
from alhena_async.outbox._rows import RowMaker
from alhena_async.outbox._statement import Dialect, Statement

__all__ = ["Added", "AddedStatus", "Outbox"]

_log = logging.getLogger("alhena_async")


class AddedStatus(enum.StrEnum):
    """What became of an event that was to be added."""

    ADDED = "added"
    """It is in the outbox once the caller's transaction is committed."""
    THERE = "there"
    """Its order id stands in the outbox already: nothing was written, and nothing is missing."""
    DROPPED = "dropped"
    """`before_send` took it out."""


@attrs.frozen(kw_only=True)
class Added:
    """What `add` has done."""

    status: AddedStatus
    order_id: str | None = None
    """What is sent as a checkout's order id: the caller's or an assigned one."""
    detail: str | None = None
    """Of one that was dropped: why."""


class Outbox:
    """Makes rows of events, and puts them in on connections that others hold.

    Args:
        company_key: The organisation's public key.
        dialect: How its statements are said.
        table: Where they go.
        before_send: The caller's filter.

    Raises:
        ValueError, TypeError: An argument cannot work; the message names it.
    """

    def __init__(
        self,
        company_key: str,
        dialect: Dialect,
        table: str,
        before_send: BeforeSend | None,
    ) -> None:
        self._maker = RowMaker(company_key, before_send)
        self._dialect = dialect
        self._table = table
        self._reporting = Reporting(self._maker.telemetry.reported)
        self._has_warned = False

    def statement(self, event: Event, *, company_key: str | None = None) -> Statement:
        """Return what puts an event into the outbox, for whoever runs it in a transaction.

        Args:
            event: A `CartEvent` or `CheckoutEvent`.
            company_key: Another organisation's than the outbox's.

        Raises:
            TypeError: Not an event.
            ValueError: The company key is no non-empty text.
        """
        made = self._maker.make(event, company_key)
        return Statement(
            made.row,
            self._table,
            self._dialect,
            order_id=made.order_id,
            dropped=made.dropped,
        )

    async def add(self, connection: Any, event: Event, *, company_key: str | None = None) -> Added:
        """Put an event into the outbox, in the transaction that the connection is in.

        Args:
            connection: asyncpg's (one of a pool too), psycopg's `AsyncConnection`, aiosqlite's,
                SQLAlchemy's `AsyncSession` or `AsyncConnection`.
            event: A `CartEvent` or `CheckoutEvent`.
            company_key: Another organisation's than the outbox's.

        Raises:
            TypeError: Not an event, or not such a connection.
            ValueError: The company key is no non-empty text.
        """
        driver = driver_of(connection, self._dialect.database, sync=False)
        statement = self.statement(event, company_key=company_key)
        if statement.row is None or driver.run_async is None:
            return _dropped(statement)
        return self._added(statement, await driver.run_async(connection, statement))

    def add_sync(self, connection: Any, event: Event, *, company_key: str | None = None) -> Added:
        """Put an event into the outbox; see `add`.

        Args:
            connection: psycopg's `Connection`, sqlite3's, SQLAlchemy's `Session` or `Connection`,
                Django's `connection`.
            event: A `CartEvent` or `CheckoutEvent`.
            company_key: Another organisation's than the outbox's.

        Raises:
            TypeError: Not an event, or not such a connection.
            ValueError: The company key is no non-empty text.
        """
        driver = driver_of(connection, self._dialect.database, sync=True)
        statement = self.statement(event, company_key=company_key)
        if statement.row is None or driver.run is None:
            return _dropped(statement)
        return self._added(statement, driver.run(connection, statement))

    def reporting(self) -> AbstractContextManager[None, bool]:
        """Return a `with` block in which no error of this package leaves, and none is hidden.

        As `AlhenaClient.reporting`: make and add the event inside it, and an event that breaks a
        rule costs the shop a line of its log, and not the order. What the database says is no
        error of this package, and leaves the block: the transaction is broken then.
        """
        return self._reporting

    def _added(self, statement: Statement, run: Run) -> Added:
        if run.is_autocommit and not self._has_warned:
            self._has_warned = True
            _log.warning(
                "alhena: an event was added to the outbox outside any transaction: it was "
                "committed by itself, so that it is delivered also where the order is never "
                "committed. Add it on the connection that makes the order, between BEGIN and "
                "COMMIT (asyncpg, psycopg: `async with connection.transaction()`; SQLAlchemy: "
                "`session.begin()`, without AUTOCOMMIT; Django: `transaction.atomic()`; sqlite3: "
                "after a BEGIN, or with an isolation_level). This is said once"
            )
        status = AddedStatus.ADDED if run.is_new else AddedStatus.THERE
        return Added(status=status, order_id=statement.order_id)


def _dropped(statement: Statement) -> Added:
    return Added(status=AddedStatus.DROPPED, detail=statement.dropped)
