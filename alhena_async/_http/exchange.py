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
from typing import Any, Final

import aiohttp
from aiohttp.http import HttpProcessingError

from alhena_async.transports import CANCELLED_UNSENT, Reply, TransportError

__all__ = ["Exchange", "can_exchange", "read_bounded"]

_LAST_KNOWN: Final = (3, 14)

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


class Exchange:
    """Posts to one URL.

    Args:
        request: A request to that URL, never sent: it tells the pool where to connect and how,
            and lends its head to all that are sent.
        connector: The pool.
        timeout: Only the time to connect counts.
        max_reply_bytes: Where a reply's body is cut off.
    """

    def __init__(
        self,
        request: aiohttp.ClientRequest,
        connector: aiohttp.BaseConnector,
        *,
        timeout: aiohttp.ClientTimeout,
        max_reply_bytes: int,
    ) -> None:
        self._request = request
        self._head = _head(request)
        self._connector = connector
        self._timeout = timeout
        self._max_reply_bytes = max_reply_bytes

    async def post(self, body: bytes) -> Reply:
        """Send the body and return the reply.

        Cancelled, it closes the connection: what was on its way there is of no use to anyone.

        Raises:
            aiohttp.ClientError, OSError: There was none.
            TransportError: The connection was of no use any more, and nothing was sent.
        """
        try:
            connection = await self._connector.connect(
                self._request, traces=[], timeout=self._timeout
            )
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError from error
        except asyncio.CancelledError as error:
            error.add_note(CANCELLED_UNSENT)
            raise
        try:
            message, content = await self._answer(connection.protocol, body)
            data, broke_off = await read_bounded(content, self._max_reply_bytes)
        except HttpProcessingError as error:
            connection.close()
            raise aiohttp.ClientResponseError(
                self._request.request_info, (), status=error.code, message=error.message
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
        # The pool hands out what is open. But what came while nobody had asked is no reply to us.
        if protocol.should_close or transport is None or transport.is_closing():
            raise TransportError("no connection (the idle one was of no use)", sent=False)
        protocol.set_response_params(read_until_eof=True, auto_decompress=False)
        transport.write(b"%bContent-Length: %d\r\n\r\n%b" % (self._head, len(body), body))
        for _ in range(_MOST_INTERIM_REPLIES + 1):
            message, content = await protocol.read()
            if message.code == 101 or not 100 <= message.code < 200:  # else only an interim reply
                return message, content
        raise TransportError("connection lost (one interim reply after another)")


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
