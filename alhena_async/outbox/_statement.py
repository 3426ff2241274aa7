"""One statement in the ways in which drivers mark parameters. Pure, and without a driver."""

from __future__ import annotations

from typing import Any, Final

import attrs

from alhena_async.outbox._rows import Row
from alhena_async.relay._postgres_table import CHANNEL

__all__ = ["POSTGRES", "POSTGRES_UNHEARD", "SQLITE", "Dialect", "Statement"]

_COLUMNS: Final = ("lane", "company_key", "order_id", "body")

# The row says by itself that it came, so that it needs no trigger; and nothing of the table is
# read, so that the right to insert is all it takes.
_INSERT: Final = f"""INSERT INTO {{table}} ({", ".join(_COLUMNS)})
VALUES ({{marks}}) ON CONFLICT DO NOTHING"""


@attrs.frozen
class Dialect:
    """How a statement is said to a database."""

    database: str
    """As Django calls it."""
    insert: str


POSTGRES: Final = Dialect("postgresql", f"{_INSERT}\nRETURNING pg_notify('{CHANNEL}', '')")

POSTGRES_UNHEARD: Final = Dialect("postgresql", f"{_INSERT}\nRETURNING 1")

SQLITE: Final = Dialect("sqlite", _INSERT)

_NOTHING: Final = "SELECT 1 WHERE false"


@attrs.frozen
class Statement:
    """What puts an event into the outbox, as part of the caller's own transaction.

    Each form is a pair of SQL and parameters. It changes one row if the event was put in (and in
    Postgres returns one), none if its order id stood there already. Of an event that is not to be
    sent at all (`dropped`) it is a statement that does nothing.
    """

    row: Row | None = attrs.field(repr=False)
    """What is written; None: nothing."""
    table: str
    """Where to."""
    dialect: Dialect = attrs.field(default=POSTGRES, repr=False)
    order_id: str | None = None
    """What is sent as a checkout's order id: the caller's or an assigned one."""
    dropped: str | None = None
    """Why it is not to be sent."""

    @property
    def dollar(self) -> tuple[str, tuple[Any, ...]]:
        """For asyncpg: `await connection.execute(sql, *parameters)`."""
        return self._sql([f"${place}" for place in range(1, len(_COLUMNS) + 1)]), self._values()

    @property
    def percent(self) -> tuple[str, tuple[Any, ...]]:
        """For psycopg and Django: `cursor.execute(sql, parameters)`."""
        return self._sql(["%s"] * len(_COLUMNS)), self._values()

    @property
    def qmark(self) -> tuple[str, tuple[Any, ...]]:
        """For sqlite3 and aiosqlite: `connection.execute(sql, parameters)`."""
        return self._sql(["?"] * len(_COLUMNS)), self._values()

    @property
    def named(self) -> tuple[str, dict[str, Any]]:
        """For SQLAlchemy: `session.execute(text(sql), parameters)`."""
        named = {} if self.row is None else attrs.asdict(self.row)
        return self._sql([f":{name}" for name in _COLUMNS]), named

    def _sql(self, marks: list[str]) -> str:
        if self.row is None:
            return _NOTHING
        return self.dialect.insert.format(table=self.table, marks=", ".join(marks))

    def _values(self) -> tuple[Any, ...]:
        return () if self.row is None else attrs.astuple(self.row)
