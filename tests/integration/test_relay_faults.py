"""Relays as processes that are told to end. Killed and stopped ones: `tests/fleet`."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from alhena_async.emulator import Emulator, FaultPlan
from alhena_async.relay import JetStream, Publisher
from alhena_async.relay._topology import Topology
from tests.nats_process import PROGRAM, NatsServer, make_topology
from tests.patience import PATIENCE
from tests.scripted import cart
from tests.simulation.relay.oracle import Arrival, History, Verdict, judge

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no nats-server")

PARTITIONS = 8

WORKER = """
import asyncio, signal, sys
from alhena_async.relay import Relay
signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell's background job ignores
asyncio.run(Relay(broker=sys.argv[1]).run())
"""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """One server, with nothing on it."""
    made = await NatsServer(tmp_path).start()
    yield made
    made.stop()


def worker(server: NatsServer) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WORKER, server.url], stderr=subprocess.DEVNULL)


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for what other processes do."""
    async with asyncio.timeout(PATIENCE):
        while not is_so():  # noqa: ASYNC110  they say so to nobody here
            await asyncio.sleep(0.05)


async def test_a_worker_that_is_told_to_end_leaves_nothing_to_wait_for(server: NatsServer) -> None:
    """Cancelled by SIGINT, it finishes what it holds."""
    slow = FaultPlan.parse(["latency=1.0:50ms"])  # nobody is done before it is told to end
    async with Emulator(faults=slow) as api:
        broker = JetStream(server.url)
        topology = Topology(partitions=PARTITIONS, lease=600.0, destination=str(api.url))
        await make_topology(broker, topology)
        promised: dict[str, list[str]] = {}
        async with Publisher("shop", broker=broker, coalescing="off") as shop:
            for number in range(200):
                await shop.track(cart(f"v{number % 20}", product=f"{number:06}"))
                promised.setdefault(f"v{number % 20}", []).append(f"{number:06}")
        for _ in range(2):
            one = worker(server)
            before = len(api.recorded())
            wanted = min(200, before + 20)
            await until(lambda: len(api.recorded()) >= wanted)  # noqa: B023  awaited here
            one.send_signal(signal.SIGINT)
            await asyncio.to_thread(one.wait, PATIENCE)
        last = worker(server)
        await until(lambda: not came_of(api, promised).lost)
        last.kill()
        last.wait()
        verdict = came_of(api, promised)
        assert (verdict.reordered, verdict.stale, verdict.twice) == (0, 0, 0)


def came_of(api: Emulator, promised: dict[str, list[str]]) -> Verdict:
    """Hold what the API recorded against what was promised."""
    arrivals = [Arrival(str(one.product_id)) for one in api.recorded()]
    return judge(History(promised=promised, arrivals=arrivals))
