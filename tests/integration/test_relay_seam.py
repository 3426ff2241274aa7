"""What any broker must guarantee, held against each that there is."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from alhena_async.relay import (
    Broker,
    Channel,
    JetStream,
    Lease,
    LeaseLost,
    Parcel,
    ParcelTooLargeError,
    Source,
)
from alhena_async.relay._topology import Topology
from alhena_async.testing import MemoryBroker
from alhena_async.transports import TransportError
from tests.nats_process import PROGRAM, NatsServer, make_topology
from tests.patience import PATIENCE
from tests.postgres_outbox import make_outbox
from tests.postgres_process import PostgresServer

LEASE = 1.0


class Kind:
    """A broker, and what can be done to it."""

    def __init__(
        self, broker: Broker, down: Callable[[], object], up: Callable[[], object]
    ) -> None:
        self.broker = broker
        self.down = down
        self.up = up


@pytest.fixture(params=["memory", "jetstream", "postgres"])
async def kind(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Kind]:
    """Each broker in its turn."""
    if request.param == "memory":
        memory = MemoryBroker(lease=LEASE)
        yield Kind(memory, memory.go_down, memory.come_back)
        return
    if request.param == "postgres":
        database: PostgresServer = request.getfixturevalue("postgres")
        broker = await make_outbox(database.new_database(), lease=LEASE)
        yield Kind(broker, database.kill, database.start)
        return
    if PROGRAM is None:
        pytest.skip("there is no nats-server")
    server = await NatsServer(tmp_path).start()
    try:
        stream = JetStream(server.url)
        await make_topology(stream, Topology(partitions=4, lease=LEASE))
        yield Kind(stream, server.kill, server.start)
    finally:
        server.stop()


class Both:
    """A channel and sources that are closed in the end."""

    def __init__(self, kind: Kind, stack: AsyncExitStack) -> None:
        self._kind = kind
        self._stack = stack

    async def channel(self) -> Channel:
        channel = self._kind.broker.channel()
        self._stack.push_async_callback(channel.close)
        await channel.open()
        return channel

    async def source(self) -> Source:
        source = self._kind.broker.source()
        self._stack.push_async_callback(source.close)
        await source.open()
        return source


@pytest.fixture
async def both(kind: Kind) -> AsyncIterator[Both]:
    """What the tests speak to."""
    async with AsyncExitStack() as stack:
        yield Both(kind, stack)


def parcel(name: str, lane: int = 0) -> Parcel:
    return Parcel(id=f"id-{name}", lane=lane, body=name.encode())


async def taken(source: Source, room: int = 100) -> list[Lease]:
    async with asyncio.timeout(PATIENCE):
        return await source.take(room)


async def drained(source: Source, count: int) -> list[bytes]:
    bodies: list[bytes] = []
    while len(bodies) < count:
        for lease in await taken(source):
            bodies.append(lease.body)
            await source.done(lease)
    return bodies


async def test_a_lane_comes_in_the_order_of_its_publishing(both: Both) -> None:
    """Whatever comes in between, and over several sources."""
    channel, one, two = await both.channel(), await both.source(), await both.source()
    for number in range(10):
        for lane in range(6):
            await channel.publish(parcel(f"{lane}-{number}", lane))
    seen: dict[bytes, list[bytes]] = {}
    sources = [one, two]
    for turn in range(1_000):
        if sum(map(len, seen.values())) == 60:
            break
        source = sources[turn % 2]
        try:
            leases = await asyncio.wait_for(source.take(100), 0.2)
        except TimeoutError:
            continue
        for lease in leases:
            name, _, place = lease.body.partition(b"-")
            seen.setdefault(name, []).append(place)
            await source.done(lease)
    assert set(seen) == {b"%d" % lane for lane in range(6)}
    assert all(numbers == [b"%d" % number for number in range(10)] for numbers in seen.values())


async def test_one_of_a_lane_is_out_at_a_time(both: Both) -> None:
    """The next comes after the one before was done."""
    channel, source = await both.channel(), await both.source()
    for name in ("a", "b"):
        await channel.publish(parcel(name))
    [lease] = await taken(source)
    assert (lease.body, lease.delivery) == (b"a", 1)
    other = await both.source()
    waiting = asyncio.create_task(other.take(100))
    await source.extend([lease])
    assert not waiting.done()
    await source.done(lease)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await other.close()
    assert await drained(source, 1) == [b"b"]


async def test_an_id_is_taken_once(both: Both) -> None:
    """What was published twice is there once, and the second call returns all the same."""
    channel, source = await both.channel(), await both.source()
    for _ in range(3):
        await channel.publish(parcel("a"))
    await channel.publish(parcel("b"))
    assert await drained(source, 2) == [b"a", b"b"]


async def test_what_is_not_done_comes_again_after_its_lease(both: Both) -> None:
    """Before all later ones of its lane, and it says that it was out before."""
    channel, dead = await both.channel(), await both.source()
    for name in ("a", "b"):
        await channel.publish(parcel(name))
    await taken(dead)
    await dead.close()
    source = await both.source()
    [again] = await taken(source)
    assert (again.body, again.delivery) == (b"a", 2)
    await source.done(again)
    [last] = await taken(source)
    assert (last.body, last.delivery) == (b"b", 1)


async def test_a_lease_that_is_over_confirms_nothing(both: Both) -> None:
    """Another may have it: neither is it extended, nor does it end for the other."""
    channel, slow = await both.channel(), await both.source()
    await channel.publish(parcel("a"))
    [lease] = await taken(slow)
    source = await both.source()
    [again] = await taken(source)
    assert again.delivery == 2
    for call in (slow.extend([lease]), slow.done(lease), slow.bury(lease, b"letter")):
        with pytest.raises(LeaseLost):
            await call
    await source.done(again)


async def test_a_lease_holds_as_long_as_it_is_extended(both: Both) -> None:
    """Longer than any lease, and nobody else gets it."""
    channel, holder, other = await both.channel(), await both.source(), await both.source()
    await channel.publish(parcel("a"))
    [lease] = await taken(holder)
    waiting = asyncio.create_task(other.take(100))
    for _ in range(6):
        await asyncio.wait({waiting}, timeout=LEASE / 3)
        await holder.extend([lease])
    assert not waiting.done()
    await holder.done(lease)
    await channel.publish(parcel("b"))
    [next_one] = await waiting
    assert (next_one.body, next_one.delivery) == (b"b", 1)


async def test_what_is_given_back_comes_again_at_once(both: Both) -> None:
    """To whoever asks, and not after the lease; ahead of its lane."""
    channel, first = await both.channel(), await both.source()
    for name in ("a", "b"):
        await channel.publish(parcel(name))
    [lease] = await taken(first)
    await first.give_back(lease)
    await first.close()
    source = await both.source()
    async with asyncio.timeout(PATIENCE):
        [again] = await source.take(1)
    assert (again.body, again.delivery) == (b"a", 2)


async def test_other_lanes_go_on(both: Both) -> None:
    """One that is held holds nobody of another lane that the engine keeps apart."""
    channel, source = await both.channel(), await both.source()
    await channel.publish(parcel("held", 0))
    [held] = await taken(source)
    for number in range(3):
        await channel.publish(parcel(f"{number}", 1))
    assert await drained(source, 3) == [b"0", b"1", b"2"]
    await source.done(held)


async def test_what_is_buried_is_gone(both: Both) -> None:
    """Its letter is kept, and its lane goes on."""
    channel, source = await both.channel(), await both.source()
    for name in ("a", "b"):
        await channel.publish(parcel(name))
    [lease] = await taken(source)
    await source.bury(lease, b'{"why":"unreadable"}')
    assert await drained(source, 1) == [b"b"]


async def test_a_cancelled_take_takes_nothing(both: Both) -> None:
    """What comes after it is for the next one."""
    channel, source = await both.channel(), await both.source()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(source.take(1), 0.05)
    await channel.publish(parcel("a"))
    assert await drained(source, 1) == [b"a"]


async def test_a_broker_that_goes_and_comes_forgets_nothing(both: Both, kind: Kind) -> None:
    """Both find that it is gone, and go on once they have opened again; ids are remembered."""
    channel, source = await both.channel(), await both.source()
    await channel.publish(parcel("a"))
    [lease] = await taken(source)
    kind.down()
    with pytest.raises(LeaseLost):
        await source.done(lease)
    with pytest.raises(TransportError):
        await taken(source)
    with pytest.raises(TransportError):
        await channel.publish(parcel("b"))
    with pytest.raises(TransportError) as caught:
        await channel.open()
    assert not caught.value.sent
    up = kind.up()
    if asyncio.iscoroutine(up):
        await up
    await channel.open()
    for name in ("a", "b"):
        await channel.publish(parcel(name))
    await source.close()
    again = await both.source()
    assert await drained(again, 2) == [b"a", b"b"]


async def test_a_source_says_where_events_go_and_how_long_a_lease_is(both: Both) -> None:
    """The topology decides, so that no two relays differ."""
    source = await both.source()
    assert (source.destination, source.lease) == ("https://app.alhena.ai/", LEASE)


async def test_what_never_fits_is_said(both: Both, kind: Kind) -> None:
    """With its size and the bound; an engine without a bound takes it."""
    channel = await both.channel()
    huge = Parcel(id="huge", lane=0, body=b"x" * (2 << 20))
    if not isinstance(kind.broker, JetStream):
        await channel.publish(huge)
        return
    with pytest.raises(ParcelTooLargeError, match=r"2,097,\d+ bytes"):
        await channel.publish(huge)


async def test_closing_twice_is_closing_once(both: Both) -> None:
    """Whoever ends it, and in whatever order."""
    for one in (await both.channel(), await both.source()):
        await one.close()
        await one.close()
