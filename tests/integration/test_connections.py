"""Connections that are kept, and replies that come in pieces, over plain HTTP and over TLS."""

from __future__ import annotations

import asyncio
import gc
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from alhena_async import TransportError
from alhena_async._http import connections
from alhena_async._http.transport import HttpTransport
from alhena_async.transports import Endpoint
from tests.integration.test_exchange import BODY, Book, read_request, transport_to
from tests.patience import PATIENCE
from tests.raw_server import PEM, SUCCESS, Serve, always, answer, server, tls_of_nobody


@pytest.fixture(params=["http", "https"])
def tls(request: pytest.FixtureRequest) -> ssl.SSLContext | None:
    return tls_of_nobody() if request.param == "https" else None


@asynccontextmanager
async def transport_over(
    tls: ssl.SSLContext | None, serve: Serve, connector: aiohttp.BaseConnector | None = None
) -> AsyncIterator[HttpTransport]:
    async with server(serve, tls) as url:
        trusting = ssl.create_default_context(cafile=str(PEM)) if tls else None
        async with transport_to(url, ssl=trusting, connector=connector) as transport:
            yield transport


class InPieces:
    """Answers in pieces that arrive one by one.

    Args:
        *pieces: Of the reply.
    """

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.connections = 0

    async def __call__(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        while True:
            await read_request(head, reader)
            for piece in self.pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.001)
            head = await reader.readuntil(b"\r\n\r\n")


REPLY = answer(SUCCESS, "Server: slow")


@pytest.mark.parametrize("cut", [1, 9, 20, len(REPLY) - len(SUCCESS), len(REPLY) - 1])
async def test_a_reply_in_pieces_is_one_reply(tls: ssl.SSLContext | None, cut: int) -> None:
    """Wherever it was cut, and the connection is used again."""
    api = InPieces(REPLY[:cut], REPLY[cut:])
    async with transport_over(tls, api) as transport:
        for _ in range(3):
            reply = await transport.send(Endpoint.CART, BODY)
            assert (reply.status, reply.body, reply.headers["server"]) == (200, SUCCESS, "slow")
    assert api.connections == 1


async def test_a_connection_reads_plain_and_other_replies_by_turns(
    tls: ssl.SSLContext | None,
) -> None:
    """One protocol gives way to the other, and back."""
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    book = Book(*[REPLY, chunked] * 3, REPLY)
    async with transport_over(tls, book) as transport:
        bodies = [(await transport.send(Endpoint.CART, BODY)).body for _ in range(6)]
    assert bodies == [SUCCESS, b"{}"] * 3
    assert [len(requests) for requests in book.requests] == [6]


async def test_a_large_request_pauses_and_resumes_whoever_reads(
    tls: ssl.SSLContext | None,
) -> None:
    """It does not fit into the buffers; the reply is one that aiohttp's parser reads."""
    large = b" " * 5_000_000
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    book = Book(chunked, REPLY, chunked)
    async with transport_over(tls, book) as transport:
        bodies = [(await transport.send(Endpoint.CHECKOUT, large)).body for _ in range(3)]
    assert bodies == [b"{}", SUCCESS, b"{}"]
    assert [len(requests) for requests in book.requests] == [3]


async def test_a_reply_that_breaks_off_is_told_as_one(tls: ssl.SSLContext | None) -> None:
    """Its status came: the server's end of the connection takes nothing of that away."""
    async with transport_over(tls, always(REPLY[:-5])) as transport:
        reply = await transport.send(Endpoint.CART, BODY)
    assert (reply.status, reply.body, reply.broke_off) == (200, SUCCESS[:-5], True)


async def test_a_reply_stands_though_its_connection_is_closed_with_it(
    tls: ssl.SSLContext | None,
) -> None:
    """By what comes unasked behind it, before the task that waits has had its turn."""
    async with transport_over(tls, InPieces(REPLY)) as transport:
        pool = transport._pool
        assert pool is not None
        assert (await transport.send(Endpoint.CART, BODY)).status == 200
        connection = pool._idle[-1]
        sending = asyncio.create_task(transport.send(Endpoint.CART, BODY))
        await asyncio.sleep(0)
        for piece in (REPLY, b"H", b"T"):
            connection.data_received(piece)
        assert (await sending).body == SUCCESS
        assert not pool._idle


async def test_idle_connections_are_closed_after_a_while(
    tls: ssl.SSLContext | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server hears of it, and the next request finds a new one."""
    monkeypatch.setattr(connections, "KEPT_FOR", 0.05)
    gone = asyncio.Event()

    async def serve(
        head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await read_request(head, reader)
        writer.write(REPLY)
        assert await reader.read() == b""
        gone.set()

    async with transport_over(tls, serve) as transport:
        for _ in range(2):
            gone.clear()
            assert (await transport.send(Endpoint.CART, BODY)).body == SUCCESS
            async with asyncio.timeout(PATIENCE):
                await gone.wait()


async def test_the_connection_that_was_used_last_is_used_next() -> None:
    """So that those which a rush has left behind grow old."""
    book = Book(REPLY)
    async with server(book) as url, transport_to(url) as transport:
        await asyncio.gather(*(transport.send(Endpoint.CART, BODY) for _ in range(4)))
        for _ in range(6):
            await transport.send(Endpoint.CART, BODY)
    assert sorted(len(requests) for requests in book.requests) == [1, 1, 1, 7]


async def test_a_connector_of_ones_own_has_its_connections_back(
    tls: ssl.SSLContext | None,
) -> None:
    """Its one place is free for others between two requests, and its connection is used again."""
    book = Book(REPLY)
    async with (
        aiohttp.TCPConnector(limit=1) as shared,
        transport_over(tls, book, shared) as transport,
        asyncio.timeout(PATIENCE),
    ):
        for _ in range(3):
            await asyncio.gather(*(transport.send(endpoint, BODY) for endpoint in Endpoint))
    assert [len(requests) for requests in book.requests] == [6]


@pytest.mark.parametrize("once", [True, False])
async def test_a_connection_that_another_session_has_used_is_not_new(
    tls: ssl.SSLContext | None, once: bool
) -> None:
    """Its server may have given it up: it is passed by, or the request goes again on a new one."""

    async def serve(
        head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await read_request(head, reader)
        writer.write(REPLY)
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    async with (
        aiohttp.TCPConnector() as shared,
        aiohttp.ClientSession(connector=shared) as session,
        transport_over(tls, serve, shared) as transport,
    ):
        url = transport._urls[Endpoint.CART]
        async with session.post(url, data=BODY, ssl=transport._ssl) as response:
            assert await response.read() == SUCCESS
        send = transport.send_once if once else transport.send
        reply = await send(Endpoint.CART, BODY)
    assert (reply.status, reply.was_repeated) == (200, not once)


@pytest.mark.parametrize("begun", [b"H", REPLY[:30], b"HTTP/1.1 103 Early\r\nA: b\r\n\r\n"])
async def test_a_reply_that_has_begun_is_no_reason_to_send_again(
    tls: ssl.SSLContext | None, begun: bytes
) -> None:
    """The server has not given the connection up: it has read the request, and perhaps done it."""
    requests = 0

    async def serve(
        head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        nonlocal requests
        for reply in (REPLY, begun):
            await read_request(head, reader)
            requests += 1
            writer.write(reply)
            await writer.drain()
            if reply is REPLY:
                head = await reader.readuntil(b"\r\n\r\n")

    async with transport_over(tls, serve) as transport:
        await transport.send(Endpoint.CART, BODY)
        with pytest.raises(TransportError, match="connection lost"):
            await transport.send(Endpoint.CART, BODY)
    assert requests == 2


async def test_a_closed_transport_leaves_nothing_open(tls: ssl.SSLContext | None) -> None:
    """No connection is left behind, to be complained of by whoever finds it."""
    book = Book(REPLY)
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    async with transport_over(tls, book) as transport:
        await asyncio.gather(*(transport.send(Endpoint.CART, BODY) for _ in range(3)))
    with pytest.raises(TransportError):
        await transport.send(Endpoint.CART, BODY)
    gc.collect()
    assert complaints == []
