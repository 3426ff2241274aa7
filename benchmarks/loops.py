"""The same events sent without us: what a service could do with an HTTP client and nothing else.

Each connects to a sink, and gives what sends so many events, so many requests at once, and returns
when all are answered. No queue, no order, no retry, no outcome.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, cast

from benchmarks.shop import fields
from benchmarks.sink import Sink

__all__ = ["LOOPS", "PATH", "Loop", "Send", "post_all", "raw_post", "request_head"]

PATH = "analytics/cart_events"
Send = Callable[[int], Awaitable[None]]
"""Sends so many events."""
Loop = Callable[[Sink, list[str], int], AbstractAsyncContextManager[Send]]
"""Takes a sink, the visitors, and how many requests go at once."""
Post = Callable[[dict[str, Any]], Awaitable[None]]


def _payloads(count: int, people: list[str]) -> Iterator[dict[str, Any]]:
    for number in range(count):
        visitor = people[number % len(people)]
        own = fields(visitor, f"sku-{number % 997}")
        yield {"company_key": "bench", "user_fingerprint": visitor, "type": "ITEM_ADDED", **own}


async def _side_by_side(post: Post, people: list[str], at_once: int, count: int) -> None:
    payloads = _payloads(count, people)

    async def work() -> None:
        for payload in payloads:
            await post(payload)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(work())


@contextlib.asynccontextmanager
async def _bare(sink: Sink, people: list[str], at_once: int) -> AsyncIterator[Send]:
    """Send with aiohttp as its first page shows it."""
    import aiohttp

    connector = aiohttp.TCPConnector(ssl=sink.trust or True)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def post(payload: dict[str, Any]) -> None:
            async with session.post(sink.url + PATH, json=payload) as response:
                response.raise_for_status()
                await response.json()

        yield partial(_side_by_side, post, people, at_once)


@contextlib.asynccontextmanager
async def _tuned(sink: Sink, people: list[str], at_once: int) -> AsyncIterator[Send]:
    """Send with aiohttp, and everything that its public API offers to be quick about it."""
    import aiohttp
    import yarl
    from orjson import dumps

    target = yarl.URL(sink.url + PATH)
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=sink.trust or True),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Content-Type": "application/json", "Accept-Encoding": "identity"},
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None),
    )
    async with session:

        async def post(payload: dict[str, Any]) -> None:
            async with session.post(target, data=dumps(payload), allow_redirects=False) as response:
                await response.read()
                if response.status >= 300:
                    raise RuntimeError(response.status)

        yield partial(_side_by_side, post, people, at_once)


@contextlib.asynccontextmanager
async def _httpx(sink: Sink, people: list[str], at_once: int) -> AsyncIterator[Send]:
    """Send with httpx."""
    import httpx

    limits = httpx.Limits(max_connections=at_once, max_keepalive_connections=at_once)
    async with httpx.AsyncClient(limits=limits, verify=sink.trust or True) as client:

        async def post(payload: dict[str, Any]) -> None:
            response = await client.post(sink.url + PATH, json=payload)
            response.raise_for_status()

        yield partial(_side_by_side, post, people, at_once)


class _Raw(asyncio.Protocol):
    """One connection that knows the one reply it will ever get."""

    def __init__(self) -> None:
        self.answered: asyncio.Future[None] | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no child of it

    def data_received(self, data: bytes) -> None:
        assert data.startswith(b"HTTP/1.1 200")
        if self.answered is not None:
            self.answered.set_result(None)
            self.answered = None


def request_head(sink: Sink) -> bytes:
    """Return what stands before each body, up to its length."""
    return (
        f"POST /{PATH} HTTP/1.1\r\nHost: {sink.address}\r\nContent-Type: application/json\r\n"
    ).encode()


@contextlib.asynccontextmanager
async def raw_post(sink: Sink, at_once: int) -> AsyncIterator[Callable[[bytes], Awaitable[None]]]:
    """Connect; give what writes a body and takes any reply for granted: the floor, not a client."""
    loop = asyncio.get_running_loop()
    head = request_head(sink)
    idle = [
        (await loop.create_connection(_Raw, "127.0.0.1", sink.port, ssl=sink.trust))[1]
        for _ in range(at_once)
    ]

    async def post(body: bytes) -> None:
        protocol = idle.pop()
        assert protocol.transport is not None
        protocol.answered = loop.create_future()
        protocol.transport.write(b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body))
        await protocol.answered
        idle.append(protocol)

    yield post
    for protocol in idle:
        if protocol.transport is not None:
            protocol.transport.close()


async def post_all(
    post: Callable[[bytes], Awaitable[object]], body: bytes, at_once: int, count: int
) -> None:
    """Send one body so many times, each of the tasks its share."""

    async def work() -> None:
        for _ in range(count // at_once):
            await post(body)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(work())


@contextlib.asynccontextmanager
async def _raw(sink: Sink, people: list[str], at_once: int) -> AsyncIterator[Send]:
    """Write to sockets, and parse nothing."""
    from orjson import dumps

    async with raw_post(sink, at_once) as post:
        yield partial(_side_by_side, lambda payload: post(dumps(payload)), people, at_once)


LOOPS: dict[str, Loop] = {
    "bare aiohttp": _bare,
    "tuned aiohttp": _tuned,
    "raw sockets": _raw,
    "httpx": _httpx,
}
