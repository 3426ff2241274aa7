"""Ways to bring a change of a cart to a host: a request, a job, a message, a line."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import itertools
import json
import re
import signal
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import aiohttp

from alhena_async import Visitor
from alhena_async.browser import encode_visitor
from tests.nats_process import NatsServer
from tests.redis_process import redis_server
from tests.web.serving import Server

TRACKED = re.compile(r"tracked (\S+) in (\d+)")


class Tracked(NamedTuple):
    """What a host said once it had accepted an event."""

    sku: str
    worker: str


class Sender(Protocol):
    """Brings events to a host that runs."""

    async def ready(self) -> None:
        """Wait until the host takes them."""

    async def send(self, visitor: Visitor, sku: str) -> Tracked | None:
        """Send one, and wait for what the host says; None: it did not say that it accepted it."""


Connect = Callable[[Server, Path, str], contextlib.AbstractAsyncContextManager[Sender]]


def change(visitor: Visitor, sku: str) -> dict[str, Any]:
    """A change of a cart, as a shop writes it into a queue."""
    who = {"fingerprint": visitor.fingerprint, "faq_fingerprint": visitor.faq_fingerprint}
    facts = {"product_id": sku, "product_name": "Mug", "value": 9.5, "currency": "EUR"}
    return {"visitor": who, "before": 0, "after": 1, **facts}


class Requests:
    """Sends HTTP requests over a socket in a directory.

    Args:
        server: The host.
        session: Its connections go to the host's socket.
    """

    def __init__(self, server: Server, session: aiohttp.ClientSession) -> None:
        self._server = server
        self._session = session

    async def ready(self) -> None:
        """Ask for the script until it comes: what connects while Sanic starts is never heard."""
        soon = aiohttp.ClientTimeout(total=1)
        while True:
            assert self._server.is_running, self._server.log
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with self._session.get(
                    "http://shop/alhena-visitor.js", timeout=soon
                ) as reply:
                    assert reply.status == 200, self._server.log
                    return
            await asyncio.sleep(0.05)

    async def send(self, visitor: Visitor, sku: str) -> Tracked | None:
        """Post to the cart."""
        cookies = {"Cookie": f"alhena_visitor={encode_visitor(visitor)}"}
        try:
            async with self._session.post(f"http://shop/cart/{sku}", headers=cookies) as reply:
                return _tracked(await reply.text(), sku)
        except aiohttp.ClientError:
            return None


@contextlib.asynccontextmanager
async def requests(server: Server, home: Path, broker: str) -> AsyncIterator[Sender]:
    """Requests to `home/socket`."""
    connector = aiohttp.UnixConnector(str(home / "socket"))
    async with aiohttp.ClientSession(connector=connector) as session:
        yield Requests(server, session)


class Messages:
    """Puts jobs into a queue, and reads in the host's log that they are done.

    Args:
        server: The host.
        put: Puts one there.
    """

    def __init__(self, server: Server, put: Callable[[dict[str, Any]], Any]) -> None:
        self._server = server
        self._put = put

    async def ready(self) -> None:
        """Jobs wait for a worker."""

    async def send(self, visitor: Visitor, sku: str) -> Tracked | None:
        """Put one there, and wait for the worker's word."""
        await self._put(change(visitor, sku))
        return await said(self._server, sku)


async def said(server: Server, sku: str) -> Tracked | None:
    """Wait until the host's log says that an event is accepted; None: the host has ended."""
    async for _ in server.news():
        if found := _tracked(server.log, sku):
            return found
    return _tracked(server.log, sku)


def _tracked(text: str, sku: str) -> Tracked | None:
    return next((one for one in map(Tracked._make, TRACKED.findall(text)) if one.sku == sku), None)


@contextlib.asynccontextmanager
async def celery_jobs(server: Server, home: Path, broker: str) -> AsyncIterator[Sender]:
    """Jobs of Celery's."""
    app = importlib.import_module("celery").Celery(broker=broker)

    async def put(job: dict[str, Any]) -> None:
        app.send_task("examples.hosts.celery_app.cart_changed", [job], ignore_result=True)

    with app:
        yield Messages(server, put)


@contextlib.asynccontextmanager
async def arq_jobs(server: Server, home: Path, broker: str) -> AsyncIterator[Sender]:
    """Jobs of arq's."""
    arq = importlib.import_module("arq")
    settings = arq.connections.RedisSettings.from_dsn(broker)
    pool = await arq.create_pool(settings)
    try:
        yield Messages(server, lambda job: pool.enqueue_job("cart_changed", job))
    finally:
        await pool.aclose()


@contextlib.asynccontextmanager
async def taskiq_jobs(server: Server, home: Path, broker: str) -> AsyncIterator[Sender]:
    """Jobs of taskiq's."""
    queue = importlib.import_module("taskiq_redis").ListQueueBroker(broker)
    kicker = importlib.import_module("taskiq.kicker").AsyncKicker
    await queue.startup()
    try:
        task = kicker("examples.hosts.taskiq_app:cart_changed", queue, {})
        yield Messages(server, task.kiq)
    finally:
        await queue.shutdown()


class Published(Messages):
    """Publishes messages, which nobody keeps for a host that does not listen yet."""

    async def ready(self) -> None:
        """Publish one after the other, until one is heard."""
        nobody = Visitor(fingerprint=str(uuid.uuid4()), faq_fingerprint=str(uuid.uuid4()))
        for number in itertools.count():
            await self._put(change(nobody, f"probe-{number}"))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.3):
                    await self._server.written("tracked probe-")
                    return


@contextlib.asynccontextmanager
async def nats_messages(server: Server, home: Path, broker: str) -> AsyncIterator[Sender]:
    """Messages over NATS."""
    connection = await importlib.import_module("nats").connect(broker)

    async def put(message: dict[str, Any]) -> None:
        await connection.publish("cart", json.dumps(message).encode())

    try:
        yield Published(server, put)
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def lines(server: Server, home: Path, broker: str) -> AsyncIterator[Sender]:
    """Lines on the host's standard input."""

    async def put(job: dict[str, Any]) -> None:
        server.write(json.dumps(job).encode() + b"\n")

    yield Messages(server, put)


class Invocations(Messages):
    """Invokes a function, one call at a time; in between, its process is frozen."""

    def __init__(self, server: Server) -> None:
        super().__init__(server, self._invoke)
        self._one_at_a_time = asyncio.Lock()

    async def send(self, visitor: Visitor, sku: str) -> Tracked | None:
        """Thaw the process, invoke, and freeze it as soon as it has answered."""
        async with self._one_at_a_time:
            if not self._server.is_running:
                return None
            self._server.send(signal.SIGCONT)
            tracked = await super().send(visitor, sku)
            if tracked is not None and self._server.is_running:
                self._server.send(signal.SIGSTOP)
        return tracked

    async def _invoke(self, job: dict[str, Any]) -> None:
        self._server.write(json.dumps(job).encode() + b"\n")


@contextlib.asynccontextmanager
async def invocations(server: Server, home: Path, broker: str) -> AsyncIterator[Sender]:
    """Invocations of a function."""
    yield Invocations(server)


# --- brokers: what runs beside a host -------------------------------------------------------------

Broker = Callable[[Path], contextlib.AbstractAsyncContextManager[str]]
"""Runs one, with what it keeps in a directory; yields its URL."""


@contextlib.asynccontextmanager
async def no_broker(home: Path) -> AsyncIterator[str]:
    """Nothing."""
    yield ""


@contextlib.asynccontextmanager
async def redis(home: Path) -> AsyncIterator[str]:
    """A Redis."""
    with redis_server() as url:
        yield url


@contextlib.asynccontextmanager
async def redis_of_celery(home: Path) -> AsyncIterator[str]:
    """A Redis, as Celery names it."""
    with redis_server() as url:
        yield url.replace("unix:", "redis+socket:")


@contextlib.asynccontextmanager
async def nats(home: Path) -> AsyncIterator[str]:
    """A NATS server."""
    (home / "nats").mkdir()
    server = await NatsServer(home / "nats").start()
    try:
        yield server.url
    finally:
        server.stop()
