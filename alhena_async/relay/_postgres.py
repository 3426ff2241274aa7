"""Postgres as a broker: the tables of an outbox, published to and taken from.

What stands in the database is said in `_postgres_table.py`, what is said to it in
`_postgres_sql.py`; why: `docs/internals/outbox.md`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from alhena_async.relay import _postgres_sql
from alhena_async.relay._message import in_ascii, key_in
from alhena_async.relay._postgres_dialler import ANSWER_TIMEOUT, Dialler
from alhena_async.relay._postgres_source import PostgresSource, heard
from alhena_async.relay._postgres_table import Tables
from alhena_async.relay._seam import Parcel
from alhena_async.transports import TransportError

if TYPE_CHECKING:
    from alhena_async.relay._postgres_connection import Connection

__all__ = ["Postgres", "PostgresChannel"]


class Postgres:
    """The outbox of a Postgres database, which `alhena outbox init` made: a `Broker`.

    Extra: `asyncpg`. Making one connects nothing. A name and a password may stand in the URL; they
    are in no `repr`, no log line and no error.

    Args:
        url: `postgresql://user:password@host:5432/database`; of several hosts, separated by
            commas, the one that can be written to is used. What else libpq's URLs say, such as
            `?sslmode=verify-full`, holds here too.
        schema: Where the tables are. Default: wherever the search path finds them.

    Raises:
        ValueError: An argument cannot work; the message names it.
    """

    def __init__(self, url: str, *, schema: str | None = None) -> None:
        self._url = url
        self._at = _address_in(url)
        self.tables: Tables = Tables(schema)

    @property
    def name(self) -> str:
        """What names the queue: the same for every list of hosts, as that may grow."""
        return f"postgres:{self.tables.schema or ''}"

    def channel(self) -> PostgresChannel:
        """See `Broker`."""
        return PostgresChannel(self.dialler())

    def source(self) -> PostgresSource:
        """See `Broker`."""
        return PostgresSource(self.dialler())

    def dialler(self) -> Dialler:
        """Return what connects, and reads what stands there.

        Raises:
            ModuleNotFoundError: The extra is not installed.
        """
        try:
            from alhena_async.relay import _postgres_connection  # noqa: F401, PLC0415
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"{error}: a relay on Postgres needs the extra: pip install "
                "'alhena-async[asyncpg]', whatever driver the shop itself has: it hears NOTIFY "
                "while it waits, and leaves a server that answers nothing",
                name=error.name,
            ) from None
        return Dialler(self._url, self.tables)

    def __str__(self) -> str:
        return f"the outbox at {self._at}"

    def __repr__(self) -> str:
        return f"<Postgres {self.tables.events} at {self._at}>"


def _address_in(url: object) -> str:
    """Return where a database is; an error quotes nothing of its URL, as it may hold a password.

    Raises:
        ValueError: It is no URL of a Postgres database.
    """
    wanted = (
        "the URL of the database must be one such as postgresql://user@host:5432/shop; in a "
        "password, # / ? and @ are written %23 %2F %3F and %40"
    )
    if not isinstance(url, str):
        raise ValueError(wanted)  # noqa: TRY004  one error for all that cannot be a URL
    scheme, _, _ = url.partition("://")
    if scheme.startswith(("postgresql+", "postgres+")):
        raise ValueError(f"{wanted}: without the name of a driver behind postgresql")
    if scheme not in {"postgresql", "postgres"}:
        raise ValueError(wanted)
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError(wanted) from None
    hosts = parts.netloc.rpartition("@")[2]
    at = hosts + parts.path
    if "#" in url or not all(map(_HOST.fullmatch, hosts.split(","))):
        raise ValueError(wanted)
    if not re.fullmatch(r"[\w.,:/\[\]%-]*", at):
        raise ValueError(wanted)
    return at.strip("/") or "the default host"


_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[\w.%-]*)(:\d{1,5})?")


class PostgresChannel:
    """Publishes to the outbox: a `Channel`.

    Args:
        dialler: Connects.
    """

    def __init__(self, dialler: Dialler) -> None:
        self._dialler = dialler
        self._connection: Connection | None = None

    async def open(self) -> None:
        """See `Channel`."""
        if self._connection is not None and not self._connection.is_lost:
            return
        await self.close()
        connection = await self._dialler.connect()
        try:
            await self._dialler.read(connection, relays=False)
        except BaseException:
            connection.fail()
            raise
        self._connection = connection

    async def publish(self, parcel: Parcel) -> None:
        """See `Channel`."""
        company_key, order_id = key_in(parcel.body) or ("", None)
        await self._asked(
            _postgres_sql.PUBLISH,
            parcel.id,
            parcel.lane,
            company_key,
            order_id,
            in_ascii(parcel.body),
        )

    async def _asked(self, template: str, *arguments: Any) -> Sequence[Any]:
        """Return what a statement brings; cancelled, it is done all the same.

        Raises:
            TransportError: The database has not said that it is done; not `sent`: it is not.
        """
        from alhena_async.relay._postgres_connection import Refused  # noqa: PLC0415

        connection = self._connection
        if connection is None or connection.is_lost:
            raise TransportError("no connection to the database", sent=False)
        sql = self._dialler.tables.put_into(template)
        asking = asyncio.create_task(
            connection.fetch(sql, *arguments, timeout=ANSWER_TIMEOUT), name="alhena-publish"
        )
        asking.add_done_callback(heard)
        try:
            return await asyncio.shield(asking)
        except Refused as error:
            raise TransportError(str(error)) from error

    async def close(self) -> None:
        """See `Channel`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
