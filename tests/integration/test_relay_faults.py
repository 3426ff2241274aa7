"""Relays as processes, killed and stopped under load: nothing is lost, nothing comes late."""

import asyncio
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import attrs
import pytest

from alhena_async.emulator import Emulator, FaultPlan, Recorded
from alhena_async.relay import JetStream, Publisher
from alhena_async.relay._topology import Topology
from tests.nats_process import PROGRAM, NatsServer, make_topology
from tests.patience import PATIENCE
from tests.scripted import cart

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no nats-server")

LEASE = 2.0
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


@attrs.define
class Verdict:
    """What came of a run."""

    lost: int = 0
    reordered: int = 0
    stale: int = 0
    repeats: int = 0


def judge(recorded: Iterable[Recorded], count: int) -> Verdict:
    """Hold what the API recorded against what was published, in increasing numbers."""
    verdict = Verdict()
    seen: set[str] = set()
    latest: dict[str, str] = {}
    for one in recorded:
        name = str(one.product_id)
        is_behind = name < latest.get(one.fingerprint, "")
        if name in seen:
            verdict.repeats += 1
            verdict.stale += is_behind
        else:
            verdict.reordered += is_behind
        seen.add(name)
        latest[one.fingerprint] = max(name, latest.get(one.fingerprint, ""))
    verdict.lost = count - len(seen)
    return verdict


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for what other processes do."""
    async with asyncio.timeout(PATIENCE):
        while not is_so():  # noqa: ASYNC110  they say so to nobody here
            await asyncio.sleep(0.05)


async def test_workers_that_are_killed_and_stopped_under_load(server: NatsServer) -> None:
    """By SIGKILL, and by SIGSTOP for longer than the lease: the others go on where they were."""
    rng = random.Random(7)
    async with Emulator() as api:
        broker = JetStream(server.url)
        topology = Topology(partitions=PARTITIONS, lease=LEASE, destination=str(api.url))
        await make_topology(broker, topology)
        workers = [worker(server) for _ in range(3)]
        try:
            faults = 0
            count = 0
            async with Publisher("shop", broker=broker, coalescing="off") as shop:
                for round_ in range(4):
                    for _ in range(300):
                        shop.track_nowait(cart(f"v{count % 30}", product=f"{count:06}"))
                        count += 1
                        await asyncio.sleep(0.002)
                    which = rng.randrange(3)
                    if round_ % 2:
                        workers[which].kill()
                        workers[which].wait()
                        workers[which] = worker(server)
                    else:
                        workers[which].send_signal(signal.SIGSTOP)
                        await asyncio.sleep(LEASE * rng.uniform(1.2, 2))
                        workers[which].send_signal(signal.SIGCONT)
                    faults += 1
                await shop.flush()
            await until(lambda: not judge(api.recorded(), count).lost)
        finally:
            for one in workers:
                one.kill()
                one.wait()
        verdict = judge(api.recorded(), count)
        assert (verdict.lost, verdict.reordered, verdict.stale) == (0, 0, 0)
        assert verdict.repeats <= faults * PARTITIONS


async def test_a_worker_that_is_told_to_end_leaves_nothing_to_wait_for(server: NatsServer) -> None:
    """Cancelled by SIGINT, it finishes what it holds."""
    slow = FaultPlan.parse(["latency=1.0:50ms"])  # nobody is done before it is told to end
    async with Emulator(faults=slow) as api:
        broker = JetStream(server.url)
        topology = Topology(partitions=PARTITIONS, lease=600.0, destination=str(api.url))
        await make_topology(broker, topology)
        async with Publisher("shop", broker=broker, coalescing="off") as shop:
            for number in range(200):
                await shop.track(cart(f"v{number % 20}", product=f"{number:06}"))
        for _ in range(2):
            one = worker(server)
            before = len(api.recorded())
            wanted = min(200, before + 20)
            await until(lambda: len(api.recorded()) >= wanted)  # noqa: B023  awaited here
            one.send_signal(signal.SIGINT)
            await asyncio.to_thread(one.wait, PATIENCE)
        last = worker(server)
        await until(lambda: not judge(api.recorded(), 200).lost)
        last.kill()
        last.wait()
        verdict = judge(api.recorded(), 200)
        assert (verdict.reordered, verdict.stale) == (0, 0)
