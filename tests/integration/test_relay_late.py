"""What a source is handed too late: long after the server said it, or when it takes no more."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from alhena_async.relay import JetStream, Parcel
from alhena_async.relay._topology import Topology
from tests.nats_process import PROGRAM, NatsServer, make_topology
from tests.patience import PATIENCE

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no nats-server")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """One server, with nothing on it."""
    made = await NatsServer(tmp_path).start()
    yield made
    made.stop()


async def test_what_was_heard_late_is_not_taken_for_fresh(server: NatsServer) -> None:
    """An event handed out while the process stood still may be another's when it is heard."""
    broker = JetStream(server.url)
    await make_topology(broker, Topology(partitions=1, lease=1.0))
    source = broker.source()
    await source.open()
    taking = asyncio.create_task(source.take(1))
    await asyncio.wait({taking}, timeout=0.2)  # its pull waits at the server
    other = threading.Thread(target=asyncio.run, args=(publish(broker, 1),))
    other.start()
    time.sleep(1.8)  # noqa: ASYNC251  as if it was stopped
    async with asyncio.timeout(PATIENCE):
        [lease] = await taking
    other.join()
    assert lease.delivery > 1
    await source.done(lease)
    await source.close()


async def test_who_takes_no_more_keeps_nothing_from_the_others(server: NatsServer) -> None:
    """What it asked for is theirs at once, and not after a lease, long before it is closed."""
    broker = JetStream(server.url)
    await make_topology(broker, Topology(partitions=4, lease=10 * PATIENCE))
    draining, other = broker.source(), broker.source()
    for source in (draining, other):
        await source.open()
    taking = asyncio.create_task(draining.take(100))
    await asyncio.wait({taking}, timeout=0.2)
    taking.cancel()
    await publish(broker, 20)
    got = 0
    async with asyncio.timeout(PATIENCE):
        while got < 20:
            for lease in await other.take(100):
                got += 1
                await other.done(lease)
    await draining.close()
    await other.close()


async def publish(broker: JetStream, count: int) -> None:
    channel = broker.channel()
    await channel.open()
    for number in range(count):
        await channel.publish(Parcel(f"id-{number}", number, b"a"))
    await channel.close()
