"""An outbox in a shop's own SQLite database, delivered by the shop's own client."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from alhena_async._delivery.preparation import BeforeSend
from alhena_async.errors import OutboxError
from alhena_async.observers import Observer
from alhena_async.outbox import _sqlite_table as sql
from alhena_async.outbox._adding import Outbox
from alhena_async.outbox._drain import Drain
from alhena_async.outbox._sqlite_source import WAIT, SQLiteSource, connect, explained, undisturbed
from alhena_async.outbox._statement import SQLITE
from alhena_async.policies import HttpPolicy, Region, RetryPolicy, resolve_base_url
from alhena_async.transports import Transport

__all__ = ["SQLiteOutbox"]

_Result = TypeVar("_Result")


class SQLiteOutbox(Outbox):
    """Writes events into a table of the shop's own SQLite database; the shop's client delivers.

    It takes part in the caller's transaction and never commits: order and event are committed
    together, or neither is. `AlhenaClient(..., outbox=outbox)` delivers what is committed. Several
    processes may share the database, each with an outbox and a client of its own: one of them
    delivers at a time. It holds no connection; one serves any number of threads and requests.

    Args:
        path: Of the shop's database file.
        company_key: The organisation's public key.
        before_send: Called with each event as it is added; see `AlhenaClient`.

    Raises:
        ValueError, TypeError: An argument cannot work; the message names it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        company_key: str,
        *,
        before_send: BeforeSend | None = None,
    ) -> None:
        if str(path) in {"", ":memory:"}:
            raise ValueError("path must be that of the shop's database file")
        super().__init__(company_key, SQLITE, "alhena_outbox", before_send)
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"<SQLiteOutbox {self.path}>"

    def create(self, *, region: Region | str | None = None, base_url: str | None = None) -> bool:
        """Make the table and what belongs to it, unless it is there. Blocks for the disk.

        Args:
            region: Where its events go, written down, so that no client for another place
                delivers them. None (default), with no `base_url`: any client's.
            base_url: Instead of a region's host.

        Returns:
            Whether it was made.

        Raises:
            OutboxError: The database cannot be used, or its outbox is of a newer version.
        """
        statements = _statements(region, base_url)

        def make() -> bool:
            with closing(sqlite3.connect(self.path, timeout=WAIT, isolation_level=None)) as own:
                own.execute("BEGIN IMMEDIATE")
                found = own.execute(
                    "SELECT 1 FROM sqlite_master WHERE name = 'alhena_outbox_settings'"
                ).fetchone()
                if found is None:
                    for statement in statements:
                        own.execute(statement)
                own.execute("COMMIT")
                return found is None

        made = self._explained(make)
        self._explained(self._check)
        return made

    def script(self, *, region: Region | str | None = None, base_url: str | None = None) -> str:
        """Return what `create` does as a file of SQL, for a shop's own migrations."""
        return "".join(f"{one};\n" for one in _statements(region, base_url))

    def drain(
        self,
        *,
        destination: str,
        retry: RetryPolicy,
        http: HttpPolicy,
        observers: Sequence[Observer],
        max_in_flight: int,
        transport: Transport | None,
    ) -> Drain:
        """Return what delivers it: for `AlhenaClient(outbox=)`."""

        def last() -> int:
            self._check(destination)
            return int(self._one(sql.LAST))

        return Drain(
            f"the outbox {self.path}",
            lambda changed, ended: SQLiteSource(self.path, destination, changed, ended),
            waits=lambda upto: bool(self._explained(lambda: self._one(sql.WAITS, upto))),
            last=lambda: self._explained(last),
            retry=retry,
            http=http,
            observers=observers,
            max_in_flight=max_in_flight,
            transport=transport,
        )

    def status(self) -> dict[str, Any]:
        """Return what waits: `waiting`, `oldest_age` in seconds, `dead_letters`. Blocks.

        Raises:
            OutboxError: The database cannot be used.
        """

        def look() -> dict[str, Any]:
            self._check()
            with closing(connect(self.path, timeout=WAIT)) as own:
                waiting, oldest_age, dead_letters = own.execute(sql.STATUS).fetchone()
            return {
                "waiting": waiting,
                "oldest_age": max(0.0, oldest_age or 0.0),
                "dead_letters": dead_letters,
            }

        return self._explained(look)

    def _check(self, destination: str | None = None) -> None:
        """Refuse an outbox that is of another version, or for another destination."""
        with closing(connect(self.path, timeout=WAIT)) as own:
            version, written, *_ = own.execute(sql.SETTINGS).fetchone() or (0, None)
        if version != sql.VERSION:
            raise OutboxError(
                f"{self.path}: its outbox is of version {version}, and this is "
                f"{sql.VERSION}: update alhena-async"
            )
        if destination is not None and written is not None and written != destination:
            raise OutboxError(f"{self.path}: its outbox is for {written}, not for {destination}")

    def _one(self, statement: str, *parameters: Any) -> Any:
        with closing(connect(self.path, timeout=WAIT)) as own:
            return own.execute(statement, parameters).fetchone()[0]

    def _explained(self, work: Callable[[], _Result]) -> _Result:
        try:
            return undisturbed(work)
        except sqlite3.Error as error:
            raise OutboxError(explained(self.path, error)) from error


def _statements(region: Region | str | None, base_url: str | None) -> list[str]:
    """Return what makes the tables; where events go is written down, if it is said."""
    destination = "NULL"
    if region is not None or base_url is not None:
        url = resolve_base_url(region or Region.US, base_url, allow_insecure=True)
        destination = "'" + url.replace("'", "''") + "'"
    return [
        *sql.MAKE,
        (
            "INSERT INTO alhena_outbox_settings (version, destination) "
            f"VALUES ({sql.VERSION}, {destination})"
        ),
    ]
