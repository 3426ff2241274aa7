"""Connections: aiohttp's connector makes them, requests are written to them and replies read here.

A connection has two protocols by turns. Ours takes in plain replies. aiohttp's own, with which the
connector made it, gets what is anything else, and hears of the end in any case: the connector waits
for that as it closes.
"""

from __future__ import annotations

import asyncio
import functools
import select
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import aiohttp

from alhena_async._http.plain import read_plain
from alhena_async.transports import Reply, TransportError

__all__ = ["KEPT_FOR", "Connection", "ConnectionPool", "no_connection", "read_bounded"]

KEPT_FOR: Final = 15.0
"""Seconds for which an idle connection is kept, as aiohttp keeps those of its own."""

_NO_PLACE: Final = (
    "no connection (this machine had no free place in the connector, or no thread to look the "
    "name up)"
)

_MOST_INTERIM_REPLIES: Final = 20
"""Those that come together are all read in one turn of the loop."""


class Connection(asyncio.Protocol):
    """One connection, on loan from the connector.

    Args:
        loan: The connector's.
        was_used: Whether it has carried a request.
    """

    def __init__(self, loan: Any, *, was_used: bool) -> None:
        self._loan = loan
        self._handler = loan.protocol
        self._transport = loan.transport
        self._loop = asyncio.get_running_loop()
        self._answered: asyncio.Future[Reply | None] | None = None
        self._room = 0
        self._is_ours = False
        self._has_input = _input_of(self._transport.get_extra_info("socket").fileno())
        self.was_used = was_used
        """It has carried a request, so the server may have given it up."""
        self.idle_since = 0.0
        """The loop's time at which its last request was over."""

    async def post(self, request: bytes, room: int) -> Reply:
        """Write a request and return the reply to it, its body cut at `room`.

        Raises:
            TransportError: The server says nothing to the point.
            HttpProcessingError: The reply is not HTTP.
            aiohttp.ClientError, OSError: It was lost.
        """
        if not self._is_ours:
            self._transport.set_protocol(self)
            self._is_ours = True
        self._room = room
        self._answered = answered = self._loop.create_future()
        self._transport.write(request)
        reply = await answered
        return await self._read_from_handler() if reply is None else reply

    def data_received(self, data: bytes) -> None:
        """Take in a reply, or leave it to aiohttp's protocol from its first byte on."""
        answered, self._answered = self._answered, None
        if answered is None or answered.done():
            self._transport.close()  # nobody asked
            return
        reply = read_plain(data, self._room)
        if reply is None:
            self._is_ours = False
            self._transport.set_protocol(self._handler)
            self._handler.set_response_params(read_until_eof=True, auto_decompress=False)
            self._handler.data_received(data)
        answered.set_result(reply)

    async def _read_from_handler(self) -> Reply:
        for _ in range(_MOST_INTERIM_REPLIES + 1):
            message, content = await self._handler.read()
            if message.code == 101 or not 100 <= message.code < 200:  # else only an interim reply
                break
        else:
            raise TransportError("connection lost (one interim reply after another)")
        data, broke_off = await read_bounded(content, self._room)
        if broke_off or not content.is_eof():
            self._transport.close()  # whatever else there is to say is not read
        return Reply(message.code, data, message.headers, broke_off)

    def connection_lost(self, error: Exception | None) -> None:
        """Tell aiohttp's protocol, and whoever waits for a reply in the words of that."""
        self._handler.connection_lost(error)
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(self._handler.exception())

    def pause_writing(self) -> None:
        """Tell aiohttp's protocol, which may be there again when writing resumes."""
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        """Tell aiohttp's protocol."""
        self._handler.resume_writing()

    @property
    def has_heard(self) -> bool:
        """Whether anything of a reply has come, but no plain one."""
        return not self._is_ours

    def is_stale(self) -> bool:
        """Return whether it is of no use to another request: closed, or something came unasked."""
        if self._is_over():
            return True
        # The server's end may be there already, and the loop has not looked since.
        return bool(self._has_input())

    def is_done(self) -> bool:
        """Return whether all is said on both sides, so that another request may follow.

        A server may have replied before it read all: the next request would wait. What is closing
        is not asked for its size: TLS lets go of its buffers as it is closed a second time.
        """
        return not self._is_over() and not self._transport.get_write_buffer_size()

    def _is_over(self) -> bool:
        return self._transport.is_closing() or (not self._is_ours and self._handler.should_close)

    def release(self) -> None:
        """Give it back to the connector, which may lend it to others."""
        if self._is_ours and not self._transport.is_closing():
            self._is_ours = False
            self._transport.set_protocol(self._handler)
        self._loan.release()

    def close(self) -> None:
        """Close it."""
        self._loan.close()


class ConnectionPool:
    """Lends connections to requests, one at a time.

    Those of a connector that nobody else uses are kept here while they are idle, the one that was
    used last on top, so that those which are not needed grow old. Those of any other go back to it
    after each request: its bounds are shared, and its owner's idea of how long to keep them holds.

    Args:
        connector: Makes them.
        timeout: Only the time to connect counts.
        patience: Seconds to wait for a place in the connector, a name's address and a connection.
        keeps: Whether nobody else uses the connector.
    """

    def __init__(
        self,
        connector: aiohttp.BaseConnector,
        *,
        timeout: aiohttp.ClientTimeout,
        patience: float,
        keeps: bool,
    ) -> None:
        self._connector = connector
        self._timeout = timeout
        self._patience = patience
        self._keeps = keeps
        self._loop = asyncio.get_running_loop()
        self._idle: deque[Connection] = deque()
        self._cleaning: asyncio.TimerHandle | None = None
        self._used: weakref.WeakSet[Any] = weakref.WeakSet()

    def take_idle(self) -> Connection | None:
        """Return a connection that is kept and open, as far as anyone can tell."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_stale():
                return connection
            connection.close()
        return None

    async def connect(self, request: aiohttp.ClientRequest, *, is_new: bool) -> Connection:
        """Return a connection of the connector's that is open; a new one if it must be.

        Args:
            request: Tells where to connect to, and how.
            is_new: It must not have carried a request.

        Raises:
            TransportError: None came about.
        """
        if self._connector.closed:
            raise TransportError("no connection (the connector is closed)", sent=False)
        until = self._loop.time() + self._patience
        while True:
            loan = await self._borrow(request, until)
            # One with a parser has carried a request of a session that shares the connector.
            has_parser = getattr(loan.protocol, "_parser", None) is not None
            was_used = has_parser or loan.protocol in self._used
            if loan.transport is not None and not loan.transport.is_closing():
                connection = Connection(loan, was_used=was_used)
                if not (was_used and (is_new or connection.is_stale())):
                    self._used.add(loan.protocol)
                    return connection
            loan.close()  # the connector has fewer each time
            if not was_used:
                raise TransportError("no connection (it was closed at once)", sent=False)

    async def _borrow(self, request: aiohttp.ClientRequest, until: float) -> Any:
        try:
            return await self._connector.connect(request, traces=[], timeout=self._timeout)
        except TimeoutError as error:
            if self._loop.time() >= until:
                raise TransportError(_NO_PLACE, sent=False, is_local=True) from error
            raise no_connection(aiohttp.ConnectionTimeoutError()) from error
        except Exception as error:  # a foreign connector may raise anything
            raise no_connection(error) from error

    def give_back(self, connection: Connection) -> None:
        """Have a connection back whose request was answered."""
        if not connection.is_done():
            connection.close()
        elif self._keeps:
            connection.was_used = True
            connection.idle_since = self._loop.time()
            self._idle.append(connection)
            if self._cleaning is None:
                self._cleaning = self._loop.call_later(KEPT_FOR, self._close_old)
        else:
            connection.release()

    def _close_old(self) -> None:
        self._cleaning = None
        now = self._loop.time()
        while self._idle and self._idle[0].idle_since + KEPT_FOR <= now:
            self._idle.popleft().close()
        if self._idle:
            due = self._idle[0].idle_since + KEPT_FOR
            self._cleaning = self._loop.call_at(due, self._close_old)

    def forget(self) -> None:
        """Let go of those that are kept; called when the connector has closed them."""
        if self._cleaning is not None:
            self._cleaning.cancel()
        while self._idle:
            self._idle.pop().close()


def _input_of(descriptor: int) -> Callable[[], list[Any]]:
    """Return what lists an open descriptor if there is anything to be read from it."""
    if not hasattr(select, "poll"):  # Windows, where no descriptor is too large for `select`
        return lambda: select.select([descriptor], [], [], 0)[0]
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return functools.partial(poll.poll, 0)


def no_connection(error: Exception) -> TransportError:
    """Return the error of a request that was never sent."""
    return TransportError(f"no connection ({type(error).__name__})", sent=False)


async def read_bounded(content: aiohttp.StreamReader, room: int) -> tuple[bytes, bool]:
    """Read a body up to its bound; return what came, and whether it broke off."""
    chunks: list[bytes] = []
    try:
        while room > 0 and not content.at_eof():
            chunk = await content.read(room)
            chunks.append(chunk)
            room -= len(chunk)
    except (aiohttp.ClientError, OSError):
        return b"".join(chunks), True
    return b"".join(chunks), False
