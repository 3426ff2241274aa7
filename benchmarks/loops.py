"""The same events sent without us: what a service could do with an HTTP client and nothing else.

Each takes a sink's URL and the events' fields, keeps so many requests going, and returns when all
are answered. No queue, no order, no retry, no outcome.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, cast

from benchmarks.shop import fields

__all__ = ["LOOPS", "bare", "httpx_loop", "post_all", "raw", "raw_post", "tuned"]

_PATH = "analytics/cart_events"
Post = Callable[[dict[str, Any]], Awaitable[None]]


def _payloads(count: int, people: list[str]) -> Iterator[dict[str, Any]]:
    for number in range(count):
        visitor = people[number % len(people)]
        own = fields(visitor, f"sku-{number % 997}")
        yield {"company_key": "bench", "user_fingerprint": visitor, "type": "ITEM_ADDED", **own}


async def _side_by_side(post: Post, count: int, people: list[str], at_once: int) -> None:
    payloads = _payloads(count, people)

    async def work() -> None:
        for payload in payloads:
            await post(payload)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(work())


async def bare(url: str, count: int, people: list[str], at_once: int) -> None:
    """Send with aiohttp as its first page shows it."""
    import aiohttp

    async with aiohttp.ClientSession() as session:

        async def post(payload: dict[str, Any]) -> None:
            async with session.post(url + _PATH, json=payload) as response:
                response.raise_for_status()
                await response.json()

        await _side_by_side(post, count, people, at_once)


async def tuned(url: str, count: int, people: list[str], at_once: int) -> None:
    """Send with aiohttp, and everything that its public API offers to be quick about it."""
    import aiohttp
    import yarl
    from orjson import dumps

    target = yarl.URL(url + _PATH)
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
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

        await _side_by_side(post, count, people, at_once)


async def httpx_loop(url: str, count: int, people: list[str], at_once: int) -> None:
    """Send with httpx."""
    import httpx

    limits = httpx.Limits(max_connections=at_once, max_keepalive_connections=at_once)
    async with httpx.AsyncClient(limits=limits) as client:

        async def post(payload: dict[str, Any]) -> None:
            response = await client.post(url + _PATH, json=payload)
            response.raise_for_status()

        await _side_by_side(post, count, people, at_once)


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


@contextlib.asynccontextmanager
async def raw_post(url: str, at_once: int) -> AsyncIterator[Callable[[bytes], Awaitable[None]]]:
    """Connect; give what writes a body and takes any reply for granted: the floor, not a client."""
    loop = asyncio.get_running_loop()
    host, _, port = url.removeprefix("http://").rstrip("/").partition(":")
    head = f"POST /{_PATH} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n".encode()
    idle = [(await loop.create_connection(_Raw, host, int(port)))[1] for _ in range(at_once)]

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


async def raw(url: str, count: int, people: list[str], at_once: int) -> None:
    """Write to sockets, and parse nothing."""
    from orjson import dumps

    async with raw_post(url, at_once) as post:
        await _side_by_side(lambda payload: post(dumps(payload)), count, people, at_once)


LOOPS = {"bare aiohttp": bare, "tuned aiohttp": tuned, "httpx": httpx_loop, "raw sockets": raw}
