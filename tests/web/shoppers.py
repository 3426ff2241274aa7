"""Visitors of a shop, each over one kept-alive connection, who know what they were answered."""

from __future__ import annotations

import asyncio
import uuid

from alhena_async import Visitor
from alhena_async.browser import encode_visitor
from alhena_async.emulator import Emulator
from tests.patience import PATIENCE

_PAUSE = 0.004  # seconds between two clicks of a shopper: the load has an upper bound
_MANY = 4_000
"""Events of a crowd after which all take their time: a worker may be long in starting."""
_LONG_PAUSE = 1.0
_MANY_SHOPPERS = 40
_MOST_SHOPPERS = 200


class Shopper:
    """Adds one product after the other, until the server closes the connection.

    One connection, because a visitor's order holds within a worker process.

    Args:
        number: Its products are named by it.
        path: `/cart`, or `/thread` where the handler runs in a thread.
        crowd: Told of each answer.
    """

    def __init__(self, number: int, path: str, crowd: Crowd) -> None:
        self.number = number
        self._crowd = crowd
        self.visitor = Visitor(fingerprint=str(uuid.uuid4()), faq_fingerprint=str(uuid.uuid4()))
        self._path = path
        self.added: list[str] = []
        """Products for which the handler answered 200, in order."""
        self.unanswered: list[str] = []
        """The last one, if its request was cut off: nobody knows."""
        self.worker = ""
        """The process that serves the connection."""

    async def shop(self, port: int) -> None:
        """Add products until the connection is closed."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionError:
            return
        try:
            while True:
                sku = f"p{self.number}-{len(self.added)}"
                self.unanswered = [sku]
                await self._add(sku, reader, writer)
                self.added.append(sku)
                self.unanswered = []
                await asyncio.sleep(self._crowd.answered())
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    async def _add(
        self, sku: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        cookie = f"theme=dark; alhena_visitor={encode_visitor(self.visitor)}; cart=1"
        head = f"POST {self._path}/{sku} HTTP/1.1\r\nHost: shop\r\nCookie: {cookie}\r\n"
        writer.write(f"{head}Content-Length: 0\r\n\r\n".encode())
        reply = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(reply.partition("content-length:")[2].partition("\r\n")[0])
        self.worker = (await reader.readexactly(length)).decode()
        assert reply.startswith("http/1.1 200"), reply


class Crowd:
    """Shoppers who come until every worker is busy, and shop until the server is gone."""

    def __init__(self) -> None:
        self._shoppers: list[Shopper] = []
        self._news = asyncio.Event()
        self.added = 0
        """How many events the shop has accepted."""

    def answered(self) -> float:
        """Count an event that was accepted, and return the seconds until its shopper's next."""
        self.added += 1
        self._news.set()
        return _PAUSE if self.added < _MANY else _LONG_PAUSE

    @property
    def workers(self) -> set[str]:
        """The processes that have answered."""
        return {shopper.worker for shopper in self._shoppers} - {""}

    async def shop(self, port: int, *, workers: int, old: frozenset[str] = frozenset()) -> None:
        """Shop until every connection was closed.

        Args:
            port: The shop's.
            workers: How many processes are to have work.
            old: Processes that do not count.
        """
        async with asyncio.TaskGroup() as group:
            while len(self.workers - old) < workers:
                assert len(self._shoppers) < _MOST_SHOPPERS, "a worker never got any work"
                is_early = len(self._shoppers) < _MANY_SHOPPERS
                for _ in range(8 if is_early else 1):
                    shopper = self._newcomer()
                    group.create_task(shopper.shop(port), name=f"shopper {shopper.number}")
                # A worker may be long in starting, and takes nobody's connection before.
                await asyncio.sleep(0.05 if is_early else 0.3)

    async def busy(self, events: int, *, workers: int, old: frozenset[str] = frozenset()) -> None:
        """Wait until that many events were accepted, and that many processes have work."""
        async with asyncio.timeout(PATIENCE):
            while self.added < events or len(self.workers - old) < workers:
                self._news.clear()
                await self._news.wait()

    def check(self, emulator: Emulator) -> None:
        """All that was answered was recorded, once, in its visitor's order."""
        assert self.added
        for shopper in self._shoppers:
            found = emulator.recorded(fingerprint=shopper.visitor.fingerprint)
            products = [event.product_id for event in found]
            assert products[: len(shopper.added)] == shopper.added
            assert products[len(shopper.added) :] in ([], shopper.unanswered)

    def _newcomer(self) -> Shopper:
        number = len(self._shoppers)
        shopper = Shopper(number, "/thread" if number % 2 else "/cart", self)
        self._shoppers.append(shopper)
        return shopper
