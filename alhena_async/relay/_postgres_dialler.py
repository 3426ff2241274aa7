"""Connects to the database of an outbox, and reads what stands there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from alhena_async.relay import _postgres_sql, _postgres_table
from alhena_async.relay._postgres_table import Settings, Tables
from alhena_async.relay._topology import TopologyError
from alhena_async.transports import TransportError

if TYPE_CHECKING:
    from alhena_async.relay._postgres_connection import Connection

__all__ = ["ANSWER_TIMEOUT", "Dialler"]

ANSWER_TIMEOUT: Final = 10.0
"""Seconds for a statement that waits for no lock."""


class Dialler:
    """Connects, and reads what stands there.

    Args:
        url: Of the database.
        tables: Their names.
    """

    def __init__(self, url: str, tables: Tables) -> None:
        self._url = url
        self.tables = tables

    async def connect(self) -> Connection:
        """Return a connection.

        Raises:
            TransportError: There is none now.
            ValueError: The URL can never work.
        """
        from alhena_async.relay._postgres_connection import connect  # noqa: PLC0415

        return await connect(self._url)

    async def read(self, connection: Connection, *, relays: bool) -> Settings:
        """Return the settings that stand.

        Args:
            connection: To the database.
            relays: Whether a relay is to work there: it needs more rights, and a database that
                can be written to.

        Raises:
            TransportError: There are none that can be used now; the message says what to do. The
                `TopologyError` behind it says that waiting alone will not help.
        """
        from alhena_async.relay._postgres_connection import Refused  # noqa: PLC0415

        try:
            settings = _postgres_table.read(await self._row(connection))
            if relays:
                await self._check(connection)
        except Refused as error:
            raise TransportError(str(error), sent=False) from error
        except TopologyError as error:
            raise TransportError(str(error), sent=False) from error
        return settings

    async def _row(self, connection: Connection) -> Any:
        rows = await _asked(connection, self.tables, _postgres_sql.SETTINGS)
        if not rows:
            raise TopologyError("alhena_outbox_settings is empty: run alhena outbox init --apply")
        return rows[0]

    async def _check(self, connection: Connection) -> None:
        [row] = await _asked(connection, self.tables, _postgres_sql.CHECK)
        if row["is_read_only"]:
            raise TopologyError("the database is read-only, as a replica is: name its primary")
        if row["lacking"]:
            raise TopologyError(f"the user lacks the right to {row['lacking']}")


async def _asked(connection: Connection, tables: Tables, template: str) -> Sequence[Any]:
    """Return what a question brings.

    Raises:
        TopologyError: A table is not there, or may not be looked at.
        Refused: The server did not answer it.
        TransportError: The connection is lost.
    """
    from alhena_async.relay._postgres_connection import Refused  # noqa: PLC0415

    try:
        return await connection.fetch(tables.put_into(template), timeout=ANSWER_TIMEOUT)
    except Refused as error:
        if error.is_no_table:
            raise _postgres_table.missing(tables) from error
        if error.is_no_right:
            raise TopologyError(str(error)) from error
        raise
