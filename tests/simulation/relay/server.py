"""A `MemoryBroker` at a distance: what is asked of it travels, and can be lost on both ways.

What the server does goes on whoever is stopped: it hands events to a taker that stands still, and
does what one asked for that has died since.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

import attrs

from alhena_async.relay import Lease, LeaseLost, Parcel
from alhena_async.relay._seam import Source
from alhena_async.testing import MemoryBroker
from alhena_async.transports import TransportError
from tests.simulation.relay.processes import outside

__all__ = ["ForgetfulBroker", "RemoteBroker", "Server"]

_T = TypeVar("_T")

_FRESH: Final = 0.85
"""The share of a lease that is to go, of what is handed out."""

_LOST: Final = TransportError("the connection to the broker was lost")


class ForgetfulBroker(MemoryBroker):
    """One that can forget who has what, as a single NATS server does when it restarts."""

    def forget(self) -> None:
        """End every lease."""
        for lane in self._lanes.values():
            self.free(lane[0])


class Server:
    """The broker and the network to it.

    Args:
        broker: What stands on it.
        latency: Seconds that a message travels, at most.
        rng: Decides how long each does.
    """

    def __init__(self, broker: ForgetfulBroker, *, latency: float, rng: random.Random) -> None:
        self.broker = broker
        self._latency = latency
        self._rng = rng
        self._context = outside()
        self._connections: dict[Connection, None] = {}
        self._downs = 0
        self._losses: dict[str, deque[str]] = {}
        self.done: Counter[str] = Counter()
        """What it did, by verb."""
        self.redelivered = 0
        """Events that it handed out again."""

    def lose(self, verb: str, what: str) -> None:
        """Lose the next call of a kind.

        Args:
            verb: The kind.
            what: `request`: it never arrives. `answer`: nobody is told. `connection`: the answer is
                lost with it, and both ends hear of that.
        """
        self._losses.setdefault(verb, deque()).append(what)

    def go_down(self) -> None:
        """Break every connection; nobody connects until it has come back as often."""
        self._downs += 1
        self.broker.go_down()
        for connection in list(self._connections):
            self.spawn(self._break(connection))

    def hang_up(self, line: Line) -> None:
        """Break the connections of one process."""
        for connection in list(self._connections):
            if connection.line is line:
                self.spawn(self._break(connection))

    def come_back(self, *, forgets: bool) -> None:
        """Let everybody connect again; it may have forgotten who has what."""
        self._downs -= 1
        if self._downs:
            return
        if forgets:
            self.broker.forget()
        self.broker.come_back()

    def heal(self) -> None:
        """Lose nothing any more."""
        self._losses.clear()

    async def _break(self, connection: Connection) -> None:
        await self.travel()
        connection.fail()

    def spawn(self, work: Awaitable[Any]) -> asyncio.Task[Any]:
        """Run something here."""
        return asyncio.get_running_loop().create_task(work, context=self._context)  # type: ignore[arg-type]

    async def travel(self) -> None:
        """Wait as long as a message takes."""
        await asyncio.sleep(self._rng.random() * self._latency)

    def loss_of(self, verb: str) -> str | None:
        """Return what is lost of a call of this kind."""
        losses = self._losses.get(verb)
        return losses.popleft() if losses else None

    def join(self, connection: Connection) -> None:
        """Know of a connection, to break it."""
        self._connections[connection] = None

    def leave(self, connection: Connection) -> None:
        """Forget one."""
        self._connections.pop(connection, None)


class Line:
    """The cable of one process: cut, nothing goes either way, and nobody is told."""

    def __init__(self) -> None:
        self.is_cut = False
        self.is_dead = False
        """The process died: the other end hears of it, and what it asks for fails at once."""


class Connection:
    """One connection of a process to the server; lost, it stays lost."""

    def __init__(self, server: Server, line: Line) -> None:
        self._server = server
        self.line = line
        self._waiting: dict[asyncio.Future[Any], None] = {}
        self.is_lost = False
        self.on_lost: Callable[[], object] = _nothing
        server.join(self)

    async def ask(self, verb: str, work: Callable[[], Awaitable[_T]]) -> _T:
        """Have something done at the server, and return what came of it.

        Raises:
            TransportError: The connection is lost.
        """
        if self.is_lost or self.line.is_dead:
            raise TransportError("no connection to the broker", sent=False)
        answer: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        self._waiting[answer] = None
        if not self.line.is_cut:
            self._server.spawn(self._carry(verb, work, answer))
        try:
            return await answer
        finally:
            self._waiting.pop(answer, None)

    async def _carry(
        self, verb: str, work: Callable[[], Awaitable[_T]], answer: asyncio.Future[_T]
    ) -> None:
        server = self._server
        loss = server.loss_of(verb)
        await server.travel()
        if loss == "request" or self.line.is_cut:
            return
        result: _T | Exception
        try:
            result = await work()
            server.done[verb] += 1
        except (TransportError, LeaseLost) as error:
            result = error
        if loss == "answer":
            return
        await server.travel()
        if loss == "connection":
            self.fail()
        elif not self.line.is_cut:
            _answer(answer, result)

    def fail(self) -> None:
        """Lose it, and fail all that waits for an answer."""
        self.is_lost = True
        self._server.leave(self)
        for answer in self._waiting:
            if not answer.done():
                answer.set_exception(_LOST)
        self._waiting.clear()
        self.on_lost()


def _answer(answer: asyncio.Future[_T], result: _T | Exception) -> None:
    if answer.done():
        return
    if isinstance(result, Exception):
        answer.set_exception(result)
    else:
        answer.set_result(result)


def _nothing() -> None:
    pass


@attrs.frozen(eq=False)
class RemoteBroker:
    """A `Broker`: the server, as one process reaches it."""

    server: Server
    line: Line = attrs.field(factory=Line)
    sources: list[RemoteSource] = attrs.field(factory=list)
    """All that it made."""

    @property
    def name(self) -> str:
        return "memory"

    def channel(self) -> RemoteChannel:
        return RemoteChannel(self.server, self.line)

    def source(self) -> RemoteSource:
        source = RemoteSource(self.server, self.line)
        self.sources.append(source)
        return source


class _Remote:
    """What channel and source have in common: a connection."""

    def __init__(self, server: Server, line: Line) -> None:
        self._server = server
        self._line = line
        self._broker = server.broker
        self._connection: Connection | None = None

    async def open(self) -> None:
        if self._connection is None or self._connection.is_lost:
            connection = Connection(self._server, self._line)
            await connection.ask("open", self._broker.connect)
            self._connection = connection

    async def _ask(self, verb: str, work: Callable[[], Awaitable[_T]]) -> _T:
        if self._connection is None:
            raise TransportError("no connection to the broker", sent=False)
        return await self._connection.ask(verb, work)

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.fail()


class RemoteChannel(_Remote):
    """Publishes."""

    async def publish(self, parcel: Parcel) -> None:
        await self._ask("publish", lambda: self._broker.publish(parcel))


@attrs.define(eq=False)
class _Token:
    lease: Lease
    """As the server knows it."""
    until: float
    """When it ends at the earliest."""


class RemoteSource(_Remote):
    """Takes: one pull stands at the server, and what comes is kept for the next `take`.

    Confirmations are waited for until the lease is over, as those of a real server are.
    """

    def __init__(self, server: Server, line: Line) -> None:
        super().__init__(server, line)
        self._source: Source = self._broker.source()
        self._arrived: deque[Lease] = deque()
        self._news = asyncio.Event()
        self._pull: asyncio.Task[None] | None = None
        self.leases: dict[int, Lease] = {}
        """What the server counts as this one's."""

    @property
    def lease(self) -> float:
        return self._broker.lease

    @property
    def destination(self) -> str:
        return self._broker.destination

    async def open(self) -> None:
        await super().open()
        assert self._connection is not None
        self._connection.on_lost = self._on_lost

    def _on_lost(self) -> None:
        if self._pull is not None:
            self._pull.cancel()
        self._news.set()

    async def take(self, room: int) -> list[Lease]:
        while True:
            connection = self._connection
            if connection is None or connection.is_lost or self._line.is_dead:
                raise TransportError("no connection to the broker")
            taken = [lease for lease in self._taken(room) if await self._is_fresh(lease)]
            if taken:
                return taken
            if self._pull is None or self._pull.done():
                self._pull = self._server.spawn(self._stand(connection, room))
            self._news.clear()
            await self._news.wait()

    def _taken(self, room: int) -> list[Lease]:
        return [self._arrived.popleft() for _ in range(min(room, len(self._arrived)))]

    async def _is_fresh(self, lease: Lease) -> bool:
        now = asyncio.get_running_loop().time()
        if _token(lease).until - now > _FRESH * self.lease:
            return True
        try:
            await self.extend([lease])
        except LeaseLost:
            return False
        return True

    async def _stand(self, connection: Connection, room: int) -> None:
        """Wait at the server for events, and bring them."""
        server = self._server
        await server.travel()
        try:
            leases = await self._source.take(room)
        except TransportError:
            return  # the connection is lost, and that is heard of elsewhere
        began = asyncio.get_running_loop().time()
        server.redelivered += sum(lease.delivery > 1 for lease in leases)
        await server.travel()
        if connection.is_lost or self._line.is_cut:
            return
        for lease in leases:
            token = _Token(lease, began + self.lease)
            self._arrived.append(Lease(lease.body, lease.delivery, token))
            self.leases[id(lease)] = lease
        self._news.set()

    async def extend(self, leases: Sequence[Lease]) -> None:
        asked = asyncio.get_running_loop().time()
        there = [_token(lease).lease for lease in leases]
        await self._confirmed("extend", leases, lambda: self._source.extend(there))
        for lease in leases:
            _token(lease).until = asked + self.lease

    async def done(self, lease: Lease) -> None:
        await self._confirmed("done", [lease], lambda: self._end(lease, self._source.done))

    async def bury(self, lease: Lease, letter: bytes) -> None:
        def work(there: Lease) -> Awaitable[None]:
            return self._source.bury(there, letter)

        await self._confirmed("bury", [lease], lambda: self._end(lease, work))

    async def give_back(self, lease: Lease) -> None:
        try:
            async with asyncio.timeout(1.0):
                await self._ask("give_back", lambda: self._end(lease, self._source.give_back))
        except (TransportError, TimeoutError):
            return

    async def _end(self, lease: Lease, work: Callable[[Lease], Awaitable[None]]) -> None:
        there = _token(lease).lease
        await work(there)
        self.leases.pop(id(there), None)

    async def _confirmed(
        self, verb: str, leases: Sequence[Lease], work: Callable[[], Awaitable[None]]
    ) -> None:
        """Have it done while all these leases hold.

        Raises:
            LeaseLost: It was not confirmed.
        """
        until = min(_token(lease).until for lease in leases)
        try:
            async with asyncio.timeout_at(until):
                await self._ask(verb, work)
        except TimeoutError:
            raise LeaseLost("the broker did not confirm it in time") from None
        except TransportError as error:
            raise LeaseLost(str(error)) from error

    async def close(self) -> None:
        for lease in self._arrived:
            await self.give_back(lease)
        self._arrived.clear()
        await super().close()


def _token(lease: Lease) -> _Token:
    assert isinstance(lease.token, _Token)
    return lease.token
