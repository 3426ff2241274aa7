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
        self.path: Path = Path(path)

    def __repr__(self) -> str:
        return f"<SQLiteOutbox {self.path}>"

    def create(self, *, region: Region | str | None = None, base_url: str | None = None) -> bool:
        """Make the table and what belongs to it, or bring it up to this version. Blocks.

        Args:
            region: Where its events go, written down, so that no client for another place
                delivers them. None (default), with no `base_url`: any client's, or what stands
                there already.
            base_url: Instead of a region's host.

        Returns:
            Whether it was made: False where one stood already.

        Raises:
            OutboxError: The database cannot be used, or its outbox is of a newer version, or for
                another place.
        """
        destination = _destination(region, base_url)

        def make() -> bool:
            with closing(sqlite3.connect(self.path, timeout=WAIT, isolation_level=None)) as own:
                own.execute("BEGIN IMMEDIATE")
                version = _version(own)
                if version < sql.VERSION:
                    for statement in sql.make(destination, version):
                        own.execute(statement)
                if version and destination is not None:
                    self._settle_on(destination, own)
                own.execute("COMMIT")
                return version == 0

        made = self._explained(make)
        self._explained(self._check)
        return made

    def _settle_on(self, destination: str, connection: sqlite3.Connection) -> None:
        """Write down where events go, in a table that stands already and says nothing of it."""
        (said,) = connection.execute("SELECT destination FROM alhena_outbox_settings").fetchone()
        if said is None:
            connection.execute("UPDATE alhena_outbox_settings SET destination = ?", (destination,))
        elif said != destination:
            raise OutboxError(
                f"the outbox in {self.path} stands already and is for {said}, not {destination}: "
                "what waits in it is meant for there"
            )

    def script(self, *, region: Region | str | None = None, base_url: str | None = None) -> str:
        """Return what `create` does as a file of SQL, for a shop's own migrations."""
        return "".join(f"{one};\n" for one in sql.make(_destination(region, base_url)))

    def drain(
        self,
        *,
        destination: str,
        retry: RetryPolicy,
        http: HttpPolicy,
        observers: Sequence[Observer],
        max_in_flight: int,
        max_rate: float | None,
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
            max_rate=max_rate,
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
            cure = "update alhena-async" if version > sql.VERSION else "call outbox.create()"
            raise OutboxError(
                f"{self.path}: its outbox is of version {version}, and this is "
                f"{sql.VERSION}: {cure}"
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


def _destination(region: Region | str | None, base_url: str | None) -> str | None:
    """Return where events go; None: it is not said."""
    if region is None and base_url is None:
        return None
    return resolve_base_url(region or Region.US, base_url, allow_insecure=True)


def _version(own: sqlite3.Connection) -> int:
    """Return which version stands in a database; 0: none."""
    named = "SELECT 1 FROM sqlite_master WHERE name = 'alhena_outbox_settings'"
    if own.execute(named).fetchone() is None:
        return 0
    return int(own.execute(sql.SETTINGS).fetchone()[0])
