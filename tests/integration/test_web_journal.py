"""A shop of four workers with a journal: replaced, killed, the API away, and nothing is lost."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from alhena_async import AlhenaClient
from alhena_async.emulator import Emulator, FaultKind, FaultPlan, Recorded
from alhena_async.policies import QueuePolicy
from tests.patience import PATIENCE
from tests.web.customers import Clientele, Stamped, stamped
from tests.web.serving import Server, served

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="uvicorn needs SIGHUP for it")

log = logging.getLogger(__name__)  # the figures: --log-level=INFO -rP

WORKERS = 4
STARTED, ENDED = "startup complete", "Finished server process"
UVICORN = ("uvicorn", "tests.web.durable_shop:app", "--port", "0", "--no-access-log")
# A busy machine is no reason to kill a worker, so uvicorn waits long for a sign of life. One that
# is killed while it waits is replaced only after that time, which is far below PATIENCE therefore.
COMMAND = (*UVICORN, "--workers", str(WORKERS), "--timeout-worker-healthcheck", "60")
FAULTS = ["error=0.03", "unavailable=0.03:0", "reset-before=0.03", "reset-after=0.03"]
AMBIGUOUS = FaultKind.RESET_AFTER
ON_THE_WIRE = QueuePolicy().max_in_flight


class Killed(NamedTuple):
    """A worker that was killed."""

    worker: str
    recorded: int
    """How many events the API had recorded by then."""


async def replace_all(server: Server, customers: Clientele, *, clicks: int) -> None:
    """Replace each worker, under a share of the load; return when the old ones have ended."""
    server.send(signal.SIGHUP)
    for replaced in range(1, WORKERS + 1):
        await customers.shop(server.port, clicks=clicks // (WORKERS + 1))
        await server.written(STARTED, times=WORKERS + replaced)
    await customers.shop(server.port, clicks=clicks // (WORKERS + 1))
    await server.written(ENDED, times=WORKERS)


async def kill_one(
    server: Server, customers: Clientele, emulator: Emulator, *, clicks: int, started: int
) -> Killed:
    """Kill a worker in the middle of that load, and see another take its place."""
    until = customers.clicks + clicks // 2
    async with asyncio.TaskGroup() as group:
        group.create_task(customers.shop(server.port, clicks=clicks), name="customers")
        await customers.answered(until)
        killed = Killed(customers.workers[-1], emulator.recorded_count)
        os.kill(int(killed.worker), signal.SIGKILL)
    await server.written(STARTED, times=started)
    return killed


def doubled(recorded: Sequence[Recorded]) -> dict[Stamped, list[int]]:
    """Return what came more than once, and at which places."""
    places: defaultdict[Stamped, list[int]] = defaultdict(list)
    for place, record in enumerate(recorded):
        places[stamped(record)].append(place)
    return {one: found for one, found in places.items() if len(found) > 1}


# The API goes away under load: what asyncio accepts in the moment in which a server is closed, it
# leaves open for the garbage collector.
@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
async def test_a_day_of_deploys_and_kills(tmp_path: Path) -> None:
    """2,000 requests of 200 customers, each answered once its event is on disk: all is recorded.

    Faults at first; then the API is away while every worker is replaced and one is killed; it is
    back as another is killed. Orders once, each customer's events in order within each worker, and
    a cart event twice only where an ambiguous fault or a kill left it open whether it had come in.
    """
    customers = Clientele(200)
    journal = str(tmp_path / "journal")
    async with Emulator(faults=FaultPlan.parse(FAULTS, seed=5)) as emulator:
        address = emulator.url
        settings = {"ALHENA_BASE_URL": address, "ALHENA_JOURNAL": journal, "DRAIN": "0.5"}
        async with served(*COMMAND, settings=settings) as server:
            await server.written(r"127\.0\.0\.1:[1-9]")
            await server.written(STARTED, times=WORKERS)
            await customers.shop(server.port, clicks=600)
            first = set(customers.workers)
            await emulator.wait_until(lambda: emulator.recorded_count >= 400, timeout=PATIENCE)
            emulator.recover()
            await emulator.stop()
            gc.collect()
            before = emulator.recorded_count
            await replace_all(server, customers, clicks=600)
            one = await kill_one(server, customers, emulator, clicks=400, started=2 * WORKERS + 1)
            assert emulator.recorded_count == before
            await emulator.start()
            two = await kill_one(server, customers, emulator, clicks=400, started=2 * WORKERS + 2)
            await emulator.wait_until(lambda: not customers.misses(emulator), timeout=PATIENCE)
            server.send(signal.SIGTERM)
            assert await server.ended() in {0, -signal.SIGTERM}, server.log
        assert "and are gone" not in server.log
        async with AlhenaClient("shop", base_url=address, journal=journal) as client:
            await client.flush(PATIENCE)
            left = client.stats().replayed
    recorded = emulator.recorded()
    assert customers.clicks == 2_000
    assert not customers.misses(emulator)
    assert not customers.misplaced(emulator)
    orders = Counter(record.order_id for record in recorded if record.order_id is not None)
    assert len(orders) == 400
    assert set(orders.values()) == {1}
    accepted = Counter(event.name for event in {stamped(record) for record in recorded})
    assert {name for name, times in accepted.items() if times > 1} <= customers.repeated
    from_disk = [record for record in recorded[before:] if stamped(record).worker in first]
    assert from_disk
    twice = doubled(recorded)
    by_fault = {event: places for event, places in twice.items() if places[0] < before}
    by_kill = {event: places for event, places in twice.items() if event not in by_fault}
    again = [place for places in by_fault.values() for place in places[1:]]
    assert sum(place < two.recorded for place in again) <= emulator.faulted[AMBIGUOUS]
    assert all(len(places) == 2 and places[1] >= two.recorded for places in by_kill.values())
    on_the_wire = [places for places in by_kill.values() if places[0] >= two.recorded]
    assert len(on_the_wire) <= ON_THE_WIRE
    log.info(
        "%d recorded, %d of them accepted by workers that a deploy ended; %d doubled by a fault "
        "(of %d), %d by a kill; %d requests asked again, after kills of %s and %s; %d left",
        len(recorded),
        len(from_disk),
        len(by_fault),
        emulator.faulted[AMBIGUOUS],
        len(by_kill),
        len(customers.repeated),
        one.worker,
        two.worker,
        left,
    )
