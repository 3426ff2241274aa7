"""One request and its reply on a connection of aiohttp's pool: the short way.

`ClientSession` gets each request ready for redirects, cookies, uploads and traces, and writes its
body from a task of its own. Ours go to two URLs, are a few hundred bytes long and known whole. So
the head is made once, head and body leave in one write, and the reply is read by whoever sent the
request: a third of the instructions (docs/performance.md). Pool, TLS, the time to connect and the
HTTP parser are aiohttp's as ever.

Not all that is called of it here is promised by it, so `can_exchange` decides by its version. The
long way, through the session, stays for any newer version, for proxies, and for a connector that
connects by means of its own.
"""

from __future__ import annotations

import asyncio
import select
import types
import weakref
from collections.abc import Callable
from typing import Any, Final

import aiohttp
from aiohttp.http import HttpProcessingError

from alhena_async.transports import CANCELLED_UNSENT, Reply, TransportError

__all__ = [
    "Exchange",
    "FencedExchange",
    "can_exchange",
    "held_back",
    "is_watched",
    "no_connection",
    "read_bounded",
]

_LAST_KNOWN: Final = (3, 14)

_GIVEN_UP: Final = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionError)
"""How a connection is lost before anything of a reply has come."""

_NO_PLACE: Final = (
    "no connection (this machine had no free place in the connector, or no thread to look the "
    "name up)"
)

_MOST_INTERIM_REPLIES: Final = 20
"""Those that come together are all read in one turn of the loop."""


def can_exchange(connector: aiohttp.BaseConnector, version: str = aiohttp.__version__) -> bool:
    """Return whether the short way is known to work: with this aiohttp, over this connector."""
    major, minor, *_ = version.split(".")
    return (
        (int(major), int(minor)) <= _LAST_KNOWN
        and type(connector).connect is aiohttp.BaseConnector.connect
        and not connector.force_close  # the head would have to say so
    )


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
        request: A request to that URL, never sent: it tells the pool where to connect and how,
            and lends its head to all that are sent.
        connector: The pool.
        timeout: Only the time to connect counts.
        used: The connections that have carried a request; of all that share the pool.
        patience: Seconds to wait for a place in the pool, a name's address and a connection.
        max_reply_bytes: Where a reply's body is cut off.
    """

    def __init__(
        self,
        request: aiohttp.ClientRequest,
        connector: aiohttp.BaseConnector,
        *,
        timeout: aiohttp.ClientTimeout,
        used: weakref.WeakSet[Any],
        patience: float,
        max_reply_bytes: int,
    ) -> None:
        self._request = request
        self._head = _head(request)
        self._connector = connector
        self._timeout = timeout
        self._used = used
        self._patience = patience
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
        try:
            connection = await self._connect(is_new=once)
        except asyncio.CancelledError as error:
            error.add_note(CANCELLED_UNSENT)
            raise
        if once or connection.protocol not in self._used:
            return await self._post_on(connection, body)
        try:
            return await self._post_on(connection, body)
        except _GIVEN_UP as lost:
            try:
                reply = await self._post_on(await self._connect(is_new=True), body)
            except TransportError as error:
                raise (error if error.sent else lost) from None  # the first may have been read
        return Reply(reply.status, reply.body, reply.headers, reply.broke_off, was_repeated=True)

    async def _connect(self, *, is_new: bool) -> Any:
        """Return a connection that is open as far as anyone can tell; a new one if it must be."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._patience
        while True:
            try:
                connection = await self._connector.connect(
                    self._request, traces=[], timeout=self._timeout
                )
            except TimeoutError as error:
                if loop.time() >= until:
                    raise TransportError(_NO_PLACE, sent=False, is_local=True) from error
                raise no_connection(aiohttp.ConnectionTimeoutError()) from error
            except Exception as error:  # a foreign connector may raise anything
                raise no_connection(error) from error
            protocol: Any = connection.protocol
            if protocol not in self._used or not (is_new or _is_stale(protocol)):
                return connection
            connection.close()  # the pool has fewer each time

    async def _post_on(self, connection: Any, body: bytes) -> Reply:
        """Send the body on a connection, and give that back to the pool if it may be used again."""
        self._used.add(connection.protocol)
        try:
            message, content = await self._answer(connection.protocol, body)
            data, broke_off = await read_bounded(content, self._max_reply_bytes)
        except HttpProcessingError as error:
            connection.close()
            raise aiohttp.ClientResponseError(
                self._request.request_info, (), status=error.code, message="no HTTP"
            ) from error
        except BaseException:
            connection.close()
            raise
        if content.is_eof() and not broke_off and not _has_unsent(connection.transport):
            connection.release()
        else:
            connection.close()  # whatever else there is to say is neither read nor sent
        return Reply(message.code, data, message.headers, broke_off)

    async def _answer(self, protocol: Any, body: bytes) -> Any:
        """Write the request; return the head of the reply and the stream of its body."""
        transport = protocol.transport
        if transport is None or transport.is_closing():
            raise TransportError("no connection (it was closed at once)", sent=False)
        protocol.set_response_params(read_until_eof=True, auto_decompress=False)
        transport.write(b"%bContent-Length: %d\r\n\r\n%b" % (self._head, len(body), body))
        for _ in range(_MOST_INTERIM_REPLIES + 1):
            message, content = await protocol.read()
            if message.code == 101 or not 100 <= message.code < 200:  # else only an interim reply
                return message, content
        raise TransportError("connection lost (one interim reply after another)")


class FencedExchange(Exchange):
    """Asks once more with each connection, in the turn in which it writes.

    Between the engine's question and that turn it may have waited for a connection, and the
    process may have stood still meanwhile.

    Args:
        may_send: Whether anything may be sent.
        request, connector, settings: See `Exchange`.
    """

    def __init__(
        self,
        request: aiohttp.ClientRequest,
        connector: aiohttp.BaseConnector,
        *,
        may_send: Callable[[], bool],
        **settings: Any,
    ) -> None:
        super().__init__(request, connector, **settings)
        self._may_send = may_send

    async def _answer(self, protocol: Any, body: bytes) -> Any:
        if not self._may_send():
            raise held_back()
        return await super()._answer(protocol, body)


def held_back() -> TransportError:
    """Return the error of a request that was not sent, as it may not be any more."""
    return TransportError("held back: it is not certain that the event is still ours", sent=False)


def no_connection(error: Exception) -> TransportError:
    """Return the error of a request that was never sent."""
    return TransportError(f"no connection ({type(error).__name__})", sent=False)


def _is_stale(protocol: Any) -> bool:
    """Return whether an idle connection is of no use: closed, or something came unasked."""
    transport = protocol.transport
    if protocol.should_close or transport is None or transport.is_closing():
        return True
    # The server's end may be there already, and the loop has not looked since.
    number = transport.get_extra_info("socket").fileno()
    if not hasattr(select, "poll"):  # Windows, where no descriptor is too large for `select`
        return bool(select.select([number], [], [], 0)[0])
    poll = select.poll()
    poll.register(number, select.POLLIN)
    return bool(poll.poll(0))


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


def _has_unsent(transport: asyncio.Transport | None) -> bool:
    """Return whether the server replied before it read all: the next request would wait."""
    return transport is not None and transport.get_write_buffer_size() > 0


def _head(request: aiohttp.ClientRequest) -> bytes:
    """Return the head that aiohttp would write, but for the body's length and the last line."""
    lines = [f"POST {request.url.raw_path_qs} HTTP/1.1"]
    lines += [
        f"{name}: {text}"
        for name, text in request.headers.items()
        if name.lower() != "content-length"
    ]
    return "".join(f"{line}\r\n" for line in lines).encode()
