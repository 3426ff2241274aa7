"""All that is said to Postgres by a relay, a publisher and the command: the only file with asyncpg.

A connection runs one statement at a time, to its end: whoever stops waiting for it cancels nothing.
None is prepared by name, and none leaves anything behind in the session, so that PgBouncer may hand
out the server's connections for each transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import asyncpg

from alhena_async.relay._postgres_table import CHANNEL
from alhena_async.transports import TransportError

__all__ = ["Connection", "Refused", "connect"]

_CONNECT_TIMEOUT: Final = 10.0  # seconds

_NO_RIGHTS: Final[str] = asyncpg.InsufficientPrivilegeError.sqlstate
_NO_TABLE: Final[str] = asyncpg.UndefinedTableError.sqlstate
_READ_ONLY: Final[str] = asyncpg.ReadOnlySQLTransactionError.sqlstate


class Refused(Exception):  # noqa: N818  it is neither the connection's fault nor the end of it
    """The server refused one statement; the connection goes on.

    Args:
        why: In the server's words, which quote no value of an event.
        code: The server's, as in `42P01`.
    """

    def __init__(self, why: str, code: str) -> None:
        super().__init__(why)
        self.code = code

    @property
    def is_lasting(self) -> bool:
        """Whether to ask again on this connection is in vain: a table, a right, a primary lacks."""
        return self.code in {_NO_TABLE, _NO_RIGHTS, _READ_ONLY}

    @property
    def is_no_table(self) -> bool:
        """Whether a table is not there."""
        return self.code == _NO_TABLE

    @property
    def is_no_right(self) -> bool:
        """Whether the user may not do it."""
        return self.code == _NO_RIGHTS


async def connect(url: str) -> Connection:
    """Return a connection.

    Raises:
        TransportError: There is none now; the message quotes nothing of the URL.
        ValueError: The URL can never work.
    """
    try:
        made = await asyncpg.connect(
            url, timeout=_CONNECT_TIMEOUT, statement_cache_size=0, **_wanted_of(url)
        )
    except (asyncpg.PostgresError, asyncpg.InternalClientError) as error:
        raise TransportError(_words(error), sent=False) from None
    except asyncpg.InterfaceError as error:
        raise ValueError(f"the URL of the database cannot be used: {_words(error)}") from None
    except TimeoutError:
        raise TransportError("the database does not answer", sent=False) from None
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise TransportError(f"no connection to the database: {why}", sent=False) from None
    return Connection(made)


def _wanted_of(url: str) -> dict[str, Any]:
    """Of several servers the one that can be written to, unless the URL says otherwise."""
    is_several = "," in url.partition("://")[2].partition("/")[0]
    return {"target_session_attrs": "read-write"} if is_several else {}


class Connection:
    """A connection that is there until it is lost; then it is lost for good.

    Args:
        made: asyncpg's.
    """

    def __init__(self, made: Any) -> None:
        self._made = made
        self._turn = asyncio.Lock()
        self._on_lost: list[Callable[[], None]] = []
        made.add_termination_listener(self._terminated)

    @property
    def is_lost(self) -> bool:
        """Whether it can be used no more."""
        return bool(self._made.is_closed())

    def on_lost(self, callback: Callable[[], None]) -> None:
        """Call something once it is lost."""
        self._on_lost.append(callback)

    def _terminated(self, _: Any) -> None:
        for callback in self._on_lost:
            callback()

    def fail(self) -> None:
        """Break it: what waits for an answer has none."""
        self._made.terminate()

    async def fetch(self, sql: str, *arguments: Any, timeout: float | None) -> Sequence[Any]:
        """Run one statement, and return its rows. It is not to be cancelled.

        Args:
            sql: With `$1`, `$2` for what is put in.
            arguments: Those.
            timeout: Seconds without an answer after which the connection counts as lost; None
                waits as long as it is there.

        Raises:
            Refused: The server did not do it.
            TransportError: The connection is lost; it may be done.
        """
        async with self._turn:
            end = None
            if timeout is not None:
                end = asyncio.get_running_loop().call_later(timeout, self.fail)
            try:
                rows: Sequence[Any] = await self._made.fetch(sql, *arguments)
            except asyncpg.PostgresError as error:
                if self.is_lost or error.sqlstate in _GOING:
                    raise TransportError(_words(error)) from error
                raise Refused(_words(error), str(error.sqlstate)) from error
            except (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
                self.fail()
                raise TransportError("the connection to the database was lost") from error
            except AttributeError as error:  # lost between two steps, the driver stumbles
                if not self.is_lost:
                    raise
                raise TransportError("the connection to the database was lost") from error
            finally:
                if end is not None:
                    end.cancel()
        return rows

    async def run_all(self, statements: Sequence[str]) -> None:
        """Run statements without parameters in one transaction.

        Raises:
            Refused: The server did not do one; none is done.
            TransportError: The connection is lost.
        """
        async with self._turn:
            try:
                async with self._made.transaction():
                    for one in statements:
                        await self._made.execute(one)
            except asyncpg.PostgresError as error:
                raise Refused(_words(error), str(error.sqlstate)) from error
            except (asyncpg.InterfaceError, OSError) as error:
                raise TransportError("the connection to the database was lost") from error

    async def listen(self, callback: Callable[[], None]) -> None:
        """Call something whenever an event comes, as far as the server says so.

        Behind a pooler that hands out connections for each transaction it says nothing.

        Raises:
            TransportError: The connection is lost.
        """
        try:
            await self._made.add_listener(CHANNEL, lambda *_: callback())
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise TransportError("the connection to the database was lost") from error

    async def close(self) -> None:
        """Leave the server, within a second."""
        try:
            async with asyncio.timeout(1.0):
                await self._made.close()
        except (TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            self._made.terminate()


_GOING: Final = {"57P01", "57P02", "57P03", "57P05", "08006", "08003"}
"""The server ends the connection, and has said why."""


def _words(error: Exception) -> str:
    """Return the server's first line: what else it says may quote a row."""
    return str(error.args[0] if error.args else type(error).__name__).partition("\n")[0]
