"""One request and its reply on a connection that aiohttp made: the short way.

`ClientSession` gets each request ready for redirects, cookies, uploads and traces, and writes its
body from a task of its own. Ours go to two URLs, are a few hundred bytes long and known whole. So
the head is made once, head and body leave in one write, and a plain reply is read as it comes in
(docs/performance.md). Connecting, TLS, and the parser of all other replies are aiohttp's as ever.

Not all that is called of it here is promised by it, so `can_exchange` decides by its version. The
long way, through the session, stays for any newer version, for proxies, and for a connector that
connects by means of its own.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable
from typing import Final

import aiohttp
from aiohttp.http import HttpProcessingError

from alhena_async._http.connections import Connection, ConnectionPool
from alhena_async.transports import CANCELLED_UNSENT, Reply, TransportError

__all__ = [
    "Exchange",
    "FencedExchange",
    "can_exchange",
    "held_back",
    "is_known",
    "is_watched",
]

_LAST_KNOWN: Final = (3, 14)

_GIVEN_UP: Final = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionError)
"""How a connection is lost before anything of a reply has come."""


def can_exchange(connector: aiohttp.BaseConnector, version: str = aiohttp.__version__) -> bool:
    """Return whether the short way is known to work: with this aiohttp, over this connector."""
    return (
        is_known(version)
        and type(connector).connect is aiohttp.BaseConnector.connect
        and not connector.force_close  # the head would have to say so
    )


def is_known(version: str = aiohttp.__version__) -> bool:
    """Return whether the short way was tried with this aiohttp."""
    major, minor, *_ = version.split(".")
    return (int(major), int(minor)) <= _LAST_KNOWN


def is_watched(session: aiohttp.ClientSession) -> bool:
    """Return whether somebody looks into sessions, as mocks, recorders and tracers do.

    They replace methods of the class, or add traces to each session as it is made.
    """
    methods = (vars(aiohttp.ClientSession).get(name) for name in ("post", "_request"))
    return bool(session.trace_configs) or not all(
        type(method) is types.FunctionType and method.__globals__ is vars(aiohttp.client)
        for method in methods
    )


class Exchange:
    """Posts to one URL.

    Args:
        request: A request to that URL, never sent: it tells the connector where to connect and
            how, and lends its head to all that are sent.
        pool: The connections.
        max_reply_bytes: Where a reply's body is cut off.
    """

    def __init__(
        self, request: aiohttp.ClientRequest, pool: ConnectionPool, *, max_reply_bytes: int
    ) -> None:
        self._request = request
        self._head = _head(request)
        self._pool = pool
        self._max_reply_bytes = max_reply_bytes

    async def post(self, body: bytes, *, once: bool = False) -> Reply:
        """Send the body and return the reply.

        A server may give up an idle connection while a request is on its way there: where one that
        was used before is lost without a word, the request is sent again at once, on a new one.

        Cancelled, it closes the connection: what was on its way there is of no use to anyone.

        Args:
            body: What to send.
            once: Never send it twice: on a new connection, which no server has given up.

        Raises:
            aiohttp.ClientError, OSError: There was none.
            TransportError: No connection came about.
        """
        connection = None if once else self._pool.take_idle()
        if connection is None:
            try:
                connection = await self._pool.connect(self._request, is_new=once)
            except asyncio.CancelledError as error:
                error.add_note(CANCELLED_UNSENT)
                raise
        if not connection.was_used:
            return await self._post_on(connection, body)
        try:
            return await self._post_on(connection, body)
        except _GIVEN_UP as lost:
            if connection.has_heard:
                raise  # the server has read the request
            return await self._post_again(body, lost)

    async def _post_again(self, body: bytes, lost: Exception) -> Reply:
        try:
            connection = await self._pool.connect(self._request, is_new=True)
            reply = await self._post_on(connection, body)
        except TransportError as error:
            raise (error if error.sent else lost) from None  # the first may have been read
        return Reply(reply.status, reply.body, reply.headers, reply.broke_off, was_repeated=True)

    async def _post_on(self, connection: Connection, body: bytes) -> Reply:
        """Send the body on a connection, and give that back to the pool."""
        try:
            reply = await connection.post(
                b"%bContent-Length: %d\r\n\r\n%b" % (self._head, len(body), body),
                self._max_reply_bytes,
            )
        except HttpProcessingError as error:
            connection.close()
            raise aiohttp.ClientResponseError(
                self._request.request_info, (), status=error.code, message="no HTTP"
            ) from error
        except BaseException:
            connection.close()
            raise
        self._pool.give_back(connection)
        return reply


class FencedExchange(Exchange):
    """Asks once more with each connection, in the turn in which it writes.

    Between the engine's question and that turn it may have waited for a connection, and the
    process may have stood still meanwhile.

    Args:
        may_send: Whether anything may be sent.
        request, pool, max_reply_bytes: See `Exchange`.
    """

    def __init__(
        self,
        request: aiohttp.ClientRequest,
        pool: ConnectionPool,
        *,
        max_reply_bytes: int,
        may_send: Callable[[], bool],
    ) -> None:
        super().__init__(request, pool, max_reply_bytes=max_reply_bytes)
        self._may_send = may_send

    async def _post_on(self, connection: Connection, body: bytes) -> Reply:
        if not self._may_send():
            connection.close()
            raise held_back()
        return await super()._post_on(connection, body)


def held_back() -> TransportError:
    """Return the error of a request that was not sent, as it may not be any more."""
    return TransportError("held back: it is not certain that the event is still ours", sent=False)


def _head(request: aiohttp.ClientRequest) -> bytes:
    """Return the head that aiohttp would write, but for the body's length and the last line."""
    lines = [f"POST {request.url.raw_path_qs} HTTP/1.1"]
    lines += [
        f"{name}: {text}"
        for name, text in request.headers.items()
        if name.lower() != "content-length"
    ]
    return "".join(f"{line}\r\n" for line in lines).encode()
