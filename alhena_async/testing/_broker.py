"""A broker in memory: what publishers hand over, for relays in the same process to take."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Sequence
from math import inf
from typing import Final

import attrs

from alhena_async.relay._seam import Lease, LeaseLost, Parcel
from alhena_async.transports import TransportError

__all__ = ["MemoryBroker"]

_DUPLICATE_WINDOW: Final = 600.0


@attrs.define(eq=False)
class _Entry:
    """A parcel that is not done."""

    parcel: Parcel
    delivery: int = 0
    until: float = -inf
    """When its lease ends, by the loop's clock."""
    taken_by: object = None


@attrs.frozen(eq=False)
class _Token:
    entry: _Entry
    delivery: int


class MemoryBroker:
    """A broker without a server: `Publisher("shop", broker=MemoryBroker())`.

    It lives on the running loop's clock, so that leases end at once on a `VirtualLoop`. It keeps
    what was published until a relay has delivered it, and nothing of it outlives the process.

    Args:
        destination: The API's base URL that a relay sends to.
        lease: Seconds until what was taken and not done is handed out again.
    """

    def __init__(self, *, destination: str = "https://app.alhena.ai/", lease: float = 60.0) -> None:
        if not lease > 0:
            raise ValueError("MemoryBroker.lease must be more than 0 seconds")
        self.destination = destination
        self.lease = lease
        self.published: list[Parcel] = []
        """All that was taken in, in order; what was published twice stands here once."""
        self.letters: list[bytes] = []
        """What was buried, in order."""
        self.is_full = False
        """Set it, and nothing more is taken in, as by a stream that is full."""
        self._lanes: OrderedDict[int, deque[_Entry]] = OrderedDict()
        self._seen: OrderedDict[str, float] = OrderedDict()
        self._waiters: list[asyncio.Future[None]] = []
        self._lost_answers = 0
        self._is_down = False

    @property
    def name(self) -> str:
        """What names the queue."""
        return "memory"

    def channel(self) -> MemoryChannel:
        """See `Broker`."""
        return MemoryChannel(self)

    def source(self) -> MemorySource:
        """See `Broker`."""
        return MemorySource(self)

    def __str__(self) -> str:
        return "MemoryBroker"

    def __repr__(self) -> str:
        return f"<MemoryBroker waiting={self.waiting} published={len(self.published)}>"

    # --- what to do ----------------------------------------------------------------------------

    def go_down(self) -> None:
        """Break every connection, and let nobody connect until `come_back`. It forgets nothing."""
        self._is_down = True
        self._wake()

    def come_back(self) -> None:
        """Let everybody connect again."""
        self._is_down = False
        self._wake()

    def lose_answers(self, times: int = 1) -> None:
        """Take the next parcels in, and break the connection before their publishers hear of it."""
        self._lost_answers += times

    # --- what to see ---------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Parcels that are not done, leased ones included."""
        return sum(map(len, self._lanes.values()))

    # --- inside --------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Return once it is up."""
        await asyncio.sleep(0)
        if self._is_down:
            raise TransportError("no connection to the broker", sent=False)

    async def publish(self, parcel: Parcel) -> None:
        """Take a parcel in."""
        await self.connect()
        if self.is_full:
            raise TransportError("the broker is full")
        self._take_in(parcel)
        if self._lost_answers:
            self._lost_answers -= 1
            raise TransportError("the connection to the broker was lost")

    def _take_in(self, parcel: Parcel) -> None:
        now = asyncio.get_running_loop().time()
        while self._seen and next(iter(self._seen.values())) <= now - _DUPLICATE_WINDOW:
            self._seen.popitem(last=False)
        if parcel.id in self._seen:
            return
        self._seen[parcel.id] = now
        self.published.append(parcel)
        self._lanes.setdefault(parcel.lane, deque()).append(_Entry(parcel))
        self._wake()

    async def lease_some(self, room: int, taker: object) -> list[Lease]:
        """Wait until a parcel can be leased, and lease as many as there is room for."""
        loop = asyncio.get_running_loop()
        while True:
            await self.connect()
            now = loop.time()
            free = [lane[0] for lane in self._lanes.values() if lane[0].until <= now][:room]
            if free:
                return [self._leased(entry, now, taker) for entry in free]
            ends = min((lane[0].until for lane in self._lanes.values()), default=inf)
            await self._wait(loop, ends)

    def _leased(self, entry: _Entry, now: float, taker: object) -> Lease:
        entry.delivery += 1
        entry.until, entry.taken_by = now + self.lease, taker
        self._lanes.move_to_end(entry.parcel.lane)  # the others come first the next time
        return Lease(entry.parcel.body, entry.delivery, _Token(entry, entry.delivery))

    async def _wait(self, loop: asyncio.AbstractEventLoop, until: float) -> None:
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout_at(None if until == inf else until):
                await waiter
        except TimeoutError:
            pass
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def entry_of(self, lease: Lease, taker: object) -> _Entry:
        """Return the entry of a lease that holds.

        Raises:
            LeaseLost: It does not, or nothing can be confirmed.
        """
        try:
            await self.connect()
        except TransportError as error:
            raise LeaseLost(str(error)) from error
        token = lease.token
        assert isinstance(token, _Token)  # noqa: S101  made here
        entry = token.entry
        now = asyncio.get_running_loop().time()
        if entry.taken_by is not taker or entry.delivery != token.delivery or entry.until <= now:
            raise LeaseLost("the lease is over")
        return entry

    def remove(self, entry: _Entry) -> None:
        """Let go of a parcel that is done."""
        lane = self._lanes[entry.parcel.lane]
        lane.popleft()
        if not lane:
            del self._lanes[entry.parcel.lane]
        entry.taken_by = None
        self._wake()

    def free(self, entry: _Entry) -> None:
        """End a lease."""
        entry.until, entry.taken_by = -inf, None
        self._wake()


class MemoryChannel:
    """Publishes to a `MemoryBroker`."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    async def open(self) -> None:
        """See `Channel`."""
        await self._broker.connect()

    async def publish(self, parcel: Parcel) -> None:
        """See `Channel`."""
        await self._broker.publish(parcel)

    async def close(self) -> None:
        """See `Channel`."""


class MemorySource:
    """Takes from a `MemoryBroker`."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    @property
    def lease(self) -> float:
        """See `Source`."""
        return self._broker.lease

    @property
    def destination(self) -> str:
        """See `Source`."""
        return self._broker.destination

    async def open(self) -> None:
        """See `Source`."""
        await self._broker.connect()

    async def take(self, room: int) -> list[Lease]:
        """See `Source`."""
        return await self._broker.lease_some(room, self)

    async def extend(self, leases: Sequence[Lease]) -> None:
        """See `Source`."""
        for lease in leases:
            entry = await self._broker.entry_of(lease, self)
            entry.until = asyncio.get_running_loop().time() + self._broker.lease

    async def done(self, lease: Lease) -> None:
        """See `Source`."""
        self._broker.remove(await self._broker.entry_of(lease, self))

    async def bury(self, lease: Lease, letter: bytes) -> None:
        """See `Source`."""
        entry = await self._broker.entry_of(lease, self)
        self._broker.letters.append(letter)
        self._broker.remove(entry)

    async def give_back(self, lease: Lease) -> None:
        """See `Source`."""
        try:
            self._broker.free(await self._broker.entry_of(lease, self))
        except LeaseLost:
            return

    async def close(self) -> None:
        """See `Source`."""
