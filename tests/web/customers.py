"""Customers of a shop whose workers come and go: a connection a request, asked until answered."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

from alhena_async import Visitor
from alhena_async.browser import encode_visitor
from alhena_async.emulator import Emulator, Recorded
from tests.patience import PATIENCE

_MOST_TRIES = 50
_BETWEEN_TRIES = 0.02  # seconds
_ORDER_EVERY = 5  # a customer's every fifth click is an order


class Stamped(NamedTuple):
    """An event, and the process whose handler made it."""

    name: str
    """A product's or an order's number: `p12-3` is the 12th customer's click 3."""
    worker: str

    @property
    def click(self) -> int:
        """The customer's how manieth click it was."""
        return int(self.name.partition("-")[2])


def stamped(record: Recorded) -> Stamped:
    """Read name and worker of a recorded event."""
    if record.order_id is not None:
        return Stamped(record.order_id, record.line_items[0].product_id)
    assert record.product_id is not None
    assert record.source is not None
    return Stamped(record.product_id, record.source)


class Customer:
    """Clicks one thing after the other, each on a connection of its own, so at any worker."""

    def __init__(self, number: int, told: Callable[[str], None]) -> None:
        self.visitor = Visitor(fingerprint=str(uuid.uuid4()), faq_fingerprint=str(uuid.uuid4()))
        self.answered: list[Stamped] = []
        """What was answered 200, in order, and by whom."""
        self.repeated: set[str] = set()
        """Names of what was asked again, since nobody answered at first."""
        self._number = number
        self._told = told

    async def click(self, port: int) -> None:
        """Ask until there is an answer."""
        click = len(self.answered)
        ordering = click % _ORDER_EVERY == _ORDER_EVERY - 1
        name = f"{'o' if ordering else 'p'}{self._number}-{click}"
        path = f"/orders/{name}" if ordering else f"/cart/{name}"
        for _ in range(_MOST_TRIES):
            try:
                worker = await self._ask(path, port)
            except (ConnectionError, asyncio.IncompleteReadError):
                self.repeated.add(name)
                await asyncio.sleep(_BETWEEN_TRIES)
            else:
                self.answered.append(Stamped(name, worker))
                self._told(worker)
                return
        raise AssertionError(f"{path}: nobody answered")

    async def _ask(self, path: str, port: int) -> str:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                cookie = f"theme=dark; alhena_visitor={encode_visitor(self.visitor)}; cart=1"
                head = f"POST {path} HTTP/1.1\r\nHost: shop\r\nCookie: {cookie}\r\n"
                writer.write(f"{head}Content-Length: 0\r\nConnection: close\r\n\r\n".encode())
                reply = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(reply.partition("content-length:")[2].partition("\r\n")[0])
                body = (await reader.readexactly(length)).decode()
            finally:
                writer.close()
        assert reply.startswith("http/1.1 200"), reply
        return body


class Clientele:
    """All customers of the shop. They click in turns, so that each has its share of every phase.

    Args:
        customers: How many there are.
    """

    def __init__(self, customers: int) -> None:
        self._news = asyncio.Event()
        self._customers = [Customer(number, self._on_answer) for number in range(customers)]
        self._next = 0
        self.clicks = 0
        """How many requests were answered."""
        self.workers: list[str] = []
        """The processes that answered, the latest one last."""

    @property
    def repeated(self) -> set[str]:
        """Names of what was asked more than once."""
        return {name for customer in self._customers for name in customer.repeated}

    async def shop(self, port: int, *, clicks: int) -> None:
        """Click so many times in all, everybody side by side, each one thing after the other."""
        shares = Counter((self._next + turn) % len(self._customers) for turn in range(clicks))
        self._next = (self._next + clicks) % len(self._customers)
        async with asyncio.TaskGroup() as group:
            for number, share in shares.items():
                group.create_task(self._click(self._customers[number], port, share))

    async def answered(self, clicks: int) -> None:
        """Wait until so many requests were answered."""
        async with asyncio.timeout(PATIENCE):
            while self.clicks < clicks:
                self._news.clear()
                await self._news.wait()

    def misses(self, emulator: Emulator) -> list[Stamped]:
        """Return what was answered and is not recorded.

        An order that was asked twice may have come in by either of two workers.
        """
        if emulator.recorded_count < self.clicks:
            return [one for customer in self._customers for one in customer.answered]
        found = {stamped(record) for record in emulator.recorded()}
        orders = {one.name for one in found if one.name in self.repeated}
        return [
            one
            for customer in self._customers
            for one in customer.answered
            if one not in found and not (one.name.startswith("o") and one.name in orders)
        ]

    def misplaced(self, emulator: Emulator) -> list[tuple[Stamped, Stamped]]:
        """Return what is not in its customer's order, of what one worker accepted."""
        return [
            (before, after)
            for found in self._by_lane_and_worker(emulator)
            # An event that came twice stands where it stood first, and also where it stood last.
            for order in (list(dict.fromkeys(found)), list(dict.fromkeys(reversed(found)))[::-1])
            for before, after in pairwise(order)
            if before.click >= after.click
        ]

    def _by_lane_and_worker(self, emulator: Emulator) -> Iterator[list[Stamped]]:
        for customer in self._customers:
            found: dict[str, list[Stamped]] = {}
            for record in emulator.recorded(fingerprint=customer.visitor.fingerprint):
                one = stamped(record)
                found.setdefault(one.worker, []).append(one)
            yield from found.values()

    def _on_answer(self, worker: str) -> None:
        self.clicks += 1
        if worker in self.workers:
            self.workers.remove(worker)
        self.workers.append(worker)
        self._news.set()

    @staticmethod
    async def _click(customer: Customer, port: int, times: int) -> None:
        for _ in range(times):
            await customer.click(port)
