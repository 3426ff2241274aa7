"""What a source hears long after the server said it."""

import asyncio
import contextlib
import threading
import time
from pathlib import Path

import pytest

from alhena_async.relay import JetStream, Parcel
from alhena_async.relay._topology import Topology
from tests.nats_process import PROGRAM, NatsServer, make_topology
from tests.patience import PATIENCE

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no nats-server")


async def test_what_was_heard_late_is_not_taken_for_fresh(tmp_path: Path) -> None:
    """An event handed out while the process stood still may be another's when it is heard."""
    server = await NatsServer(tmp_path).start()
    broker = JetStream(server.url)
    await make_topology(broker, Topology(partitions=1, lease=1.0))
    source = broker.source()
    await source.open()
    taking = asyncio.create_task(source.take(1))
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(taking), 0.2)  # its pull waits at the server
    other = threading.Thread(target=asyncio.run, args=(publish_one(broker),))
    other.start()
    time.sleep(1.8)  # noqa: ASYNC251  as if it was stopped
    async with asyncio.timeout(PATIENCE):
        [lease] = await taking
    other.join()
    assert lease.delivery > 1
    await source.done(lease)
    await source.close()
    server.stop()


async def publish_one(broker: JetStream) -> None:
    channel = broker.channel()
    await channel.open()
    await channel.publish(Parcel("a", 0, b"a"))
    await channel.close()
