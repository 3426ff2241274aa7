"""The short way and the long way to send a request: the same promises, to the byte.

The short way is taken wherever aiohttp is known to be fit for it. A connector that connects by a
method of its own forces the long one, which proxies and unknown versions get as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest

from alhena_async import AlhenaClient, HttpPolicy, Reply, Stats, TransportError
from alhena_async._http import exchange as _exchange
from alhena_async._http.exchange import can_exchange, is_known
from alhena_async._http.transport import HttpTransport
from alhena_async.emulator import Emulator
from alhena_async.transports import CANCELLED_UNSENT, Endpoint
from tests.patience import PATIENCE
from tests.raw_server import PEM, SUCCESS, Serve, answer, server, tls_of_nobody
from tests.scripted import cart


class LongWay(aiohttp.TCPConnector):
    """A connector with a `connect` of its own."""

    async def connect(self, *args: Any, **kwargs: Any) -> Any:
        return await super().connect(*args, **kwargs)


WAYS: dict[str, Callable[[], aiohttp.BaseConnector]] = {
    "short": aiohttp.TCPConnector,
    "long": LongWay,
}
BODY = b'{"company_key":"shop"}'


@pytest.fixture(params=list(WAYS))
def way(request: pytest.FixtureRequest) -> Callable[[], aiohttp.BaseConnector]:
    return WAYS[request.param]


@contextlib.asynccontextmanager
async def transport_to(
    url: str, *, may_send: Callable[[], bool] | None = None, **http: Any
) -> AsyncIterator[HttpTransport]:
    transport = HttpTransport(url, HttpPolicy(**http), may_send=may_send)
    await transport.open()
    try:
        yield transport
    finally:
        await transport.close()


async def read_request(head: bytes, reader: asyncio.StreamReader) -> bytes:
    """Return the request's body."""
    lengths = [
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    ]
    assert len(lengths) == 1
    return await reader.readexactly(lengths[0])


class Book:
    """Answers every request of a connection, and remembers which came on which.

    Args:
        *replies: In order; the last one again and again.
        hang_up: Close the connection after each.
    """

    def __init__(self, *replies: bytes, hang_up: bool = False) -> None:
        self.replies = list(replies)
        self.hang_up = hang_up
        self.requests: list[list[bytes]] = []

    async def __call__(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        mine: list[bytes] = []
        self.requests.append(mine)
        while True:
            mine.append(head + await read_request(head, reader))
            writer.write(self.replies.pop(0) if len(self.replies) > 1 else self.replies[0])
            await writer.drain()
            if self.hang_up:
                return
            head = await reader.readuntil(b"\r\n\r\n")


async def test_the_ways_send_the_same_bytes() -> None:
    """Nobody can tell from a request which way it went."""
    book = Book(answer(SUCCESS))
    async with server(book) as url:
        for connector in WAYS.values():
            async with transport_to(url, connector=connector) as transport:
                await transport.send(Endpoint.CART, BODY)
                await transport.send(Endpoint.CHECKOUT, BODY * 9_000)
    short, long = book.requests
    assert short == long
    assert short[0].startswith(b"POST /analytics/cart_events HTTP/1.1\r\nHost: 127.0.0.1:")
    assert short[1].startswith(b"POST /analytics/checkout_events HTTP/1.1\r\n")
    assert short[1].endswith(b"\r\n\r\n" + BODY * 9_000)


async def test_headers_for_a_gateway_go_with_each_request_on_both_ways() -> None:
    """Beside our own, of which no policy may set one."""
    book = Book(answer(SUCCESS))
    async with server(book) as url:
        for connector in WAYS.values():
            headers = {"X-Gateway-Key": "abc", "Authorization": "Bearer x"}
            async with transport_to(url, connector=connector, headers=headers) as transport:
                for endpoint in Endpoint:
                    await transport.send(endpoint, BODY)
    short, long = book.requests
    assert short == long
    for request in short:
        lines = request.split(b"\r\n\r\n")[0].split(b"\r\n")[1:]
        assert lines.count(b"X-Gateway-Key: abc") == 1
        assert lines.count(b"Authorization: Bearer x") == 1
        ours = [line.split(b":")[0].decode() for line in lines]
        for name in set(ours) - {"X-Gateway-Key", "Authorization"}:
            with pytest.raises(ValueError, match="must not set"):
                HttpPolicy(headers={name: "1"})


async def test_a_reply_is_the_same_on_both_ways() -> None:
    """Status, body and headers, which are looked up in any spelling."""
    replies: list[Reply] = []
    book = Book(answer(b"slow down", "retry-AFTER: 7", status="429 Too Many Requests"))
    async with server(book) as url:
        for connector in WAYS.values():
            async with transport_to(url, connector=connector) as transport:
                replies.append(await transport.send(Endpoint.CART, BODY))
    assert [(one.status, one.body, one.headers["Retry-After"]) for one in replies] == [
        (429, b"slow down", "7")
    ] * 2


async def test_a_connection_is_used_again(way: Callable[[], aiohttp.BaseConnector]) -> None:
    """Kept alive for both endpoints, also after a reply in chunks, or without a body."""
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    empty = b"HTTP/1.1 204 No Content\r\n\r\n"
    book = Book(answer(SUCCESS), chunked, empty, answer(SUCCESS))
    async with server(book) as url, transport_to(url, connector=way) as transport:
        replies = [await transport.send(endpoint, BODY) for endpoint in [*Endpoint, *Endpoint]]
    assert [len(requests) for requests in book.requests] == [4]
    assert [reply.body for reply in replies] == [SUCCESS, b"{}", b"", SUCCESS]


async def test_a_connection_that_the_server_gives_up_is_not_used_again(
    way: Callable[[], aiohttp.BaseConnector],
) -> None:
    """Whether it said so, sent more than was asked for, or just hung up while it was idle."""
    for book in (
        Book(answer(SUCCESS, "Connection: close")),
        Book(answer(SUCCESS) * 2),
        Book(answer(SUCCESS), hang_up=True),
    ):
        async with server(book) as url, transport_to(url, connector=way) as transport:
            for _ in range(3):
                assert (await transport.send(Endpoint.CART, BODY)).status == 200
                for _ in range(5):  # the server's end is heard of by the loop
                    await asyncio.sleep(0.002)
        assert [len(requests) for requests in book.requests] == [1, 1, 1]


async def test_a_connection_lost_before_the_reply_may_have_reached_the_api(
    way: Callable[[], aiohttp.BaseConnector],
) -> None:
    """At once, or in the middle of the reply's head: sent, and nobody knows with what success."""

    def cut(reply: bytes) -> Serve:
        async def serve(
            head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            await read_request(head, reader)
            writer.write(reply)

        return serve

    for reply in (b"", b"HTTP/1.1 200 OK\r\nContent-Le"):
        async with server(cut(reply)) as url, transport_to(url, connector=way) as transport:
            with pytest.raises(TransportError, match="connection lost") as caught:
                await transport.send(Endpoint.CART, BODY)
            assert caught.value.sent


async def test_a_reply_that_is_no_http_is_a_lost_connection(
    way: Callable[[], aiohttp.BaseConnector],
) -> None:
    """The same words on both ways, and the connection is gone."""
    book = Book(b"SSH-2.0-OpenSSH_9.7\r\n\r\n")
    async with server(book) as url, transport_to(url, connector=way) as transport:
        for _ in range(2):
            with pytest.raises(TransportError, match=r"connection lost \(ClientResponseError\)"):
                await transport.send(Endpoint.CART, BODY)
    assert len(book.requests) == 2


async def test_what_came_of_a_body_that_breaks_off_is_returned(
    way: Callable[[], aiohttp.BaseConnector],
) -> None:
    """It may hold the code that ends the event."""
    book = Book(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 500\r\n\r\n" + SUCCESS, hang_up=True)
    async with server(book) as url, transport_to(url, connector=way) as transport:
        for _ in range(2):
            reply = await transport.send(Endpoint.CART, BODY)
            assert (reply.status, reply.body, reply.broke_off) == (400, SUCCESS, True)
    assert len(book.requests) == 2


async def test_an_interim_reply_is_not_the_reply(
    way: Callable[[], aiohttp.BaseConnector],
) -> None:
    """Early hints come first; the reply is the one behind them."""
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"
    book = Book(hints + hints + answer(SUCCESS))
    async with server(book) as url, transport_to(url, connector=way) as transport:
        for _ in range(2):
            assert (await transport.send(Endpoint.CART, BODY)).body == SUCCESS


async def test_interim_replies_without_end_are_a_lost_connection() -> None:
    """They are read in one turn of the loop: nobody's handler waits for thousands of them."""
    flood = Book(b"HTTP/1.1 102 Processing\r\n\r\n" * 5_000)
    async with server(flood) as url, transport_to(url) as transport:
        with pytest.raises(TransportError, match="interim") as caught:
            await transport.send(Endpoint.CART, BODY)
    assert caught.value.sent


async def test_a_head_without_end_is_a_lost_connection(
    way: Callable[[], aiohttp.BaseConnector],
) -> None:
    """It is bounded by aiohttp: nobody's memory is filled by headers."""
    gone = asyncio.Event()

    async def endless(
        head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        try:
            while True:
                writer.write(b"X-Filling: " + b"x" * 4_000 + b"\r\n")
                await writer.drain()
        except ConnectionError:
            gone.set()

    async with server(endless) as url, transport_to(url, connector=way) as transport:
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(TransportError, match="connection lost"):
                await transport.send(Endpoint.CART, BODY)
            await gone.wait()


async def test_a_cancelled_request_takes_its_connection_with_it(
    way: Callable[[], aiohttp.BaseConnector],
) -> None:
    """A reply that comes too late is never taken for the next one's."""
    arrived, gone = asyncio.Event(), asyncio.Event()

    async def serve(
        head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await read_request(head, reader)
        if arrived.is_set():
            writer.write(answer(SUCCESS))
            await writer.drain()
            return
        arrived.set()
        assert await reader.read() == b""
        gone.set()

    async with server(serve) as url, transport_to(url, connector=way) as transport:
        request = asyncio.create_task(transport.send(Endpoint.CART, BODY))
        await arrived.wait()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        async with asyncio.timeout(PATIENCE):
            await gone.wait()
        assert (await transport.send(Endpoint.CART, BODY)).body == SUCCESS


async def test_what_may_no_longer_be_sent_once_there_is_a_connection_is_not(
    way: Callable[[], aiohttp.BaseConnector],
) -> None:
    """On a new connection and on one that was kept: a relay may have stood still as it waited."""
    book = Book(answer(SUCCESS))
    answers = [False, True, False, True]
    async with (
        server(book) as url,
        transport_to(url, connector=way, may_send=lambda: answers.pop(0)) as transport,
    ):
        for may in (False, True, False, True):
            if may:
                assert (await transport.send(Endpoint.CART, BODY)).body == SUCCESS
                continue
            with pytest.raises(TransportError, match="held back") as caught:
                await transport.send(Endpoint.CART, BODY)
            assert not caught.value.sent
    assert sum(map(len, book.requests)) == 2


async def test_what_a_server_gave_up_is_not_sent_again_when_it_may_not_be() -> None:
    """The first may have been read, so that nothing certain is said of it."""
    seen = 0

    async def serve(
        head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        nonlocal seen
        seen += 1
        await read_request(head, reader)
        writer.write(answer(SUCCESS))
        await writer.drain()
        await reader.readuntil(b"\r\n\r\n")  # the second is read, and not answered
        seen += 1

    answers = [True, True, False]
    async with (
        server(serve) as url,
        transport_to(url, may_send=lambda: answers.pop(0)) as transport,
    ):
        await transport.send(Endpoint.CART, BODY)
        with pytest.raises(TransportError, match="connection lost") as caught:
            await transport.send(Endpoint.CART, BODY)
    assert caught.value.sent
    assert (seen, answers) == (2, [])


async def test_tls_is_kept_alive_and_checked(way: Callable[[], aiohttp.BaseConnector]) -> None:
    """One handshake for many requests, and none where the certificate is nobody's."""
    book = Book(answer(SUCCESS))
    async with server(book, tls_of_nobody()) as url:
        trusting = ssl.create_default_context(cafile=str(PEM))
        async with transport_to(url, connector=way, ssl=trusting) as transport:
            for _ in range(3):
                assert (await transport.send(Endpoint.CART, BODY * 5_000)).body == SUCCESS
        async with transport_to(url, connector=way) as transport:
            with pytest.raises(TransportError, match="Certificate") as caught:
                await transport.send(Endpoint.CART, BODY)
            assert not caught.value.sent
    assert [len(requests) for requests in book.requests] == [3]


async def test_a_handshake_that_takes_too_long_sent_nothing(
    way: Callable[[], aiohttp.BaseConnector],
) -> None:
    """The time to connect is over before a byte of the event was under way."""
    async with server(Book(answer(SUCCESS))) as url:  # speaks no TLS, and waits for a head
        tls = url.replace("http:", "https:")
        async with transport_to(tls, connector=way, connect_timeout=0.05) as transport:
            with pytest.raises(TransportError, match="no connection") as caught:
                await transport.send(Endpoint.CART, BODY)
    assert not caught.value.sent


def test_this_aiohttp_is_known() -> None:
    """A newer one is to be tried, and `_LAST_KNOWN` raised: `make test-newest` says so first."""
    assert is_known()


async def wire_of(url: str, **http: Any) -> str | None:
    async with AlhenaClient("shop", base_url=url, http=HttpPolicy(**http)) as client:
        assert (await client.record(cart())).ok
        return client.stats().wire


async def test_stats_say_how_requests_travel(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Over connections, or through the session where they are not known to work; said in words."""
    caplog.set_level(logging.INFO, "alhena_async")
    assert AlhenaClient("shop", base_url="http://127.0.0.1:9/").stats().wire is None
    assert Stats(wire="short") + Stats() == Stats(wire="short")
    assert Stats(wire="short") + Stats(wire="session") == Stats(wire="session")
    async with Emulator() as emulator:
        assert await wire_of(emulator.url) == "short"
        assert await wire_of(emulator.url, connector=LongWay) == "session"
        assert "newer" not in caplog.text
        monkeypatch.setattr(_exchange, "_LAST_KNOWN", (3, 12))
        assert await wire_of(emulator.url) == "session"
    assert caplog.text.count("is newer than this version knows") == 1
    assert "update alhena-async" in caplog.text


async def test_only_a_known_aiohttp_and_a_plain_connector_go_the_short_way() -> None:
    """Anything else is sent through aiohttp's session, which is promised to work."""
    async with aiohttp.TCPConnector() as plain, LongWay() as own:
        assert can_exchange(plain)
        assert not can_exchange(own)
        assert all(can_exchange(plain, version) for version in ("3.13.4", "3.14.5", "3.14.0rc1"))
        assert not any(can_exchange(plain, version) for version in ("3.15.0", "4.0.0a1", "4.11.0"))
        async with aiohttp.TCPConnector(force_close=True) as closing:
            assert not can_exchange(closing)


@pytest.mark.parametrize("name", ["_request", "post"])
async def test_who_patches_the_session_sees_our_requests(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mocks and recorders do so; a shop's tests send nothing past them."""
    seen: list[Any] = []

    @functools.wraps(getattr(aiohttp.ClientSession, name))
    def forbidden(*args: Any, **kwargs: Any) -> Any:
        seen.append(args)
        raise aiohttp.ClientConnectionError("no network in tests")

    monkeypatch.setattr(aiohttp.ClientSession, name, forbidden)
    book = Book(answer(SUCCESS))
    async with server(book) as url, transport_to(url) as transport:
        with pytest.raises(TransportError):
            await transport.send(Endpoint.CART, BODY)
    assert len(seen) == 1
    assert book.requests == []


async def test_who_traces_sessions_sees_our_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tracers add a trace to each session as it is made."""
    began: list[str] = []

    async def begin(_: object, __: object, parameters: aiohttp.TraceRequestStartParams) -> None:
        began.append(parameters.url.path)

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(begin)
    make = aiohttp.ClientSession.__init__

    def traced(self: aiohttp.ClientSession, *args: Any, **kwargs: Any) -> None:
        make(self, *args, trace_configs=[trace], **kwargs)

    monkeypatch.setattr(aiohttp.ClientSession, "__init__", traced)
    async with server(Book(answer(SUCCESS))) as url, transport_to(url) as transport:
        assert (await transport.send(Endpoint.CART, BODY)).body == SUCCESS
    assert began == ["/analytics/cart_events"]


class BehindAProxy(aiohttp.TCPConnector):
    """A connector whose proxy is down, as those of other packages put it."""

    async def _create_connection(self, *args: Any, **kwargs: Any) -> Any:
        raise ConnectionResetError("the proxy is down")


class BehindAProxyOfItsOwn(BehindAProxy, LongWay):
    pass


@pytest.mark.parametrize("connector", [BehindAProxy, BehindAProxyOfItsOwn])
async def test_a_connectors_own_proxy_that_is_down_sent_nothing(
    connector: Callable[[], aiohttp.BaseConnector],
) -> None:
    """Whatever it raises before there is a connection: the event is not ambiguous."""
    async with transport_to("http://127.0.0.1:9/", connector=connector) as transport:
        with pytest.raises(TransportError, match="no connection") as caught:
            await transport.send(Endpoint.CART, BODY)
    assert not caught.value.sent


async def test_a_closing_connector_keeps_none() -> None:
    """`force_close` is the caller's wish."""
    book = Book(answer(SUCCESS))
    closing = lambda: aiohttp.TCPConnector(force_close=True)  # noqa: E731
    async with server(book) as url, transport_to(url, connector=closing) as transport:
        for _ in range(2):
            await transport.send(Endpoint.CART, BODY)
    assert [len(requests) for requests in book.requests] == [1, 1]


async def test_a_closed_connector_sent_nothing(way: Callable[[], aiohttp.BaseConnector]) -> None:
    """Its owner closed it too early: the event is not ambiguous, and nobody is connected to."""
    book = Book(answer(SUCCESS))
    connector = way()
    async with server(book) as url, transport_to(url, connector=connector) as transport:
        await connector.close()
        with pytest.raises(TransportError, match="the connector is closed") as caught:
            await transport.send(Endpoint.CART, BODY)
    assert not caught.value.sent
    assert book.requests == []


async def test_what_comes_between_two_requests_answers_neither() -> None:
    """A second reply that comes late is not the next event's; it ends the connection."""
    said_more = asyncio.Event()

    async def serve(
        head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await read_request(head, reader)
        writer.write(answer(SUCCESS))
        await writer.drain()
        await asyncio.sleep(0.01)
        writer.write(answer(b"late", status="408 Request Timeout"))
        await writer.drain()
        said_more.set()
        await reader.read()

    async with server(serve) as url, transport_to(url) as transport:
        assert (await transport.send(Endpoint.CART, BODY)).body == SUCCESS
        await said_more.wait()
        for _ in range(5):  # it is heard of by the loop
            await asyncio.sleep(0.002)
        reply = await transport.send(Endpoint.CART, BODY)
        assert (reply.body, reply.was_repeated) == (SUCCESS, False)


class GivesUp:
    """Answers the first request of each connection, and hangs up when it has read the second.

    Args:
        begins: What it says of the second reply before that.
    """

    def __init__(self, begins: bytes = b"") -> None:
        self.begins = begins
        self.connections = 0
        self.requests = 0

    async def __call__(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        await read_request(head, reader)
        self.requests += 1
        writer.write(answer(SUCCESS))
        head = await reader.readuntil(b"\r\n\r\n")
        await read_request(head, reader)
        self.requests += 1
        writer.write(self.begins)


async def test_an_idle_connection_that_is_lost_unheard_is_replaced_at_once() -> None:
    """The request goes out again on a new one, once, and the reply says so."""
    api = GivesUp()
    async with server(api) as url, transport_to(url) as transport:
        replies = [await transport.send(Endpoint.CART, BODY) for _ in range(3)]
    assert [(one.body, one.was_repeated) for one in replies] == [
        (SUCCESS, False),
        (SUCCESS, True),
        (SUCCESS, True),
    ]
    assert (api.connections, api.requests) == (3, 5)


async def test_what_may_not_be_repeated_goes_out_on_a_new_connection() -> None:
    """No server has given that up, and nothing is sent twice."""
    api = GivesUp()
    async with server(api) as url, transport_to(url) as transport:
        for _ in range(3):
            reply = await transport.send_once(Endpoint.CHECKOUT, BODY)
            assert (reply.body, reply.was_repeated) == (SUCCESS, False)
    assert (api.connections, api.requests) == (3, 3)


async def test_a_new_connection_that_is_lost_is_not_replaced() -> None:
    """Nor is the one that replaced another: a server that is down is not stormed."""
    asked = 0

    async def hang_up(
        head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        nonlocal asked
        asked += 1
        await read_request(head, reader)
        if asked == 1:
            writer.write(answer(SUCCESS))
            await read_request(await reader.readuntil(b"\r\n\r\n"), reader)

    async with server(hang_up) as url, transport_to(url) as transport:
        await transport.send(Endpoint.CART, BODY)
        for connections in (2, 3):
            with pytest.raises(TransportError, match="connection lost") as caught:
                await transport.send(Endpoint.CART, BODY)
            assert caught.value.sent
            assert asked == connections


async def test_a_lost_request_whose_repetition_finds_no_server_may_have_been_read() -> None:
    """That the second was never sent says nothing of the first."""
    listening: list[asyncio.Server] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(await reader.readuntil(b"\r\n\r\n"), reader)
        writer.write(answer(SUCCESS))
        await read_request(await reader.readuntil(b"\r\n\r\n"), reader)
        listening[0].close()
        writer.close()

    listening.append(await asyncio.start_server(serve, "127.0.0.1", 0))
    port = listening[0].sockets[0].getsockname()[1]
    async with transport_to(f"http://127.0.0.1:{port}/") as transport:
        await transport.send(Endpoint.CART, BODY)
        with pytest.raises(TransportError, match="connection lost") as caught:
            await transport.send(Endpoint.CART, BODY)
    assert caught.value.sent


async def test_a_connector_without_a_free_place_is_this_machines_doing() -> None:
    """It shows nothing of the API: no breaker counts it, and nothing was sent."""
    taken = asyncio.Event()

    async def silent(
        head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        taken.set()
        await reader.read()
        await reader.read()

    narrow = aiohttp.TCPConnector(limit=1)
    async with server(silent) as url:
        async with transport_to(
            url, connector=narrow, connect_timeout=0.05, request_timeout=0.2
        ) as transport:
            assert transport.max_requests == 1
            first = asyncio.create_task(transport.send(Endpoint.CART, BODY))
            await taken.wait()
            with pytest.raises(TransportError, match="no free place") as caught:
                await transport.send(Endpoint.CART, BODY)
            assert (caught.value.sent, caught.value.is_local) == (False, True)
            first.cancel()
            await asyncio.wait({first})
        await narrow.close()


async def test_a_reply_to_half_a_request_ends_the_connection() -> None:
    """The server will not read the rest, and the next request must not wait behind it."""
    asked = 0

    async def serve(_: bytes, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        writer.write(answer(SUCCESS, status="413 Content Too Large"))
        await writer.drain()
        await asyncio.sleep(60)

    async with server(serve) as url, transport_to(url) as transport:
        for _ in range(2):
            async with asyncio.timeout(PATIENCE):
                reply = await transport.send(Endpoint.CHECKOUT, b" " * 20_000_000)
            assert reply.status == 413
    assert asked == 2


async def test_a_request_that_is_cancelled_before_it_is_connected_says_that_nothing_was_sent() -> (
    None
):
    """A listener whose line is full lets every further connect hang."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        async with transport_to(url) as transport:
            sending = asyncio.ensure_future(transport.send(Endpoint.CART, BODY))
            await asyncio.sleep(0)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await sending
    assert CANCELLED_UNSENT in caught.value.__notes__


async def test_a_request_that_is_cancelled_on_the_wire_leaves_it_open() -> None:
    """It may have been read."""
    heard = asyncio.Event()

    async def serve(_head: bytes, reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        heard.set()
        await reader.read()

    async with server(serve) as url, transport_to(url) as transport:
        sending = asyncio.ensure_future(transport.send(Endpoint.CART, BODY))
        async with asyncio.timeout(PATIENCE):
            await heard.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await sending
    assert CANCELLED_UNSENT not in getattr(caught.value, "__notes__", [])
