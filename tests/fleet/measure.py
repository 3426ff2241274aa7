"""How soon a fleet goes on, and how evenly it shares: `python -m tests.fleet.measure`."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import attrs

from alhena_async.emulator import Emulator, FaultPlan
from tests.fleet.life import Fleet, Settings, running
from tests.patience import PATIENCE

__all__ = ["main"]


async def _until(is_so: Callable[[], bool]) -> float:
    """Return how long it takes until something is so."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.timeout(PATIENCE):
        while not is_so():  # noqa: ASYNC110  other processes
            await asyncio.sleep(0.01)
    return loop.time() - began


async def _flows(api: Emulator, fleet: Fleet, visitors: int, name: str) -> float:
    """Return how long it takes until an event of each of so many visitors is recorded."""
    names = {f"{name}.{number}" for number in range(visitors)}
    tracked = [
        asyncio.create_task(fleet.shops[0].track(f"m{number}", f"{name}.{number}"))
        for number in range(visitors)
    ]
    seconds = await _until(lambda: names <= {str(one.product_id) for one in api.recorded()})
    await asyncio.gather(*tracked)
    return seconds


async def _shares(directory: Path, settings: Settings, events: int) -> str:
    async with (
        Emulator(history=2 * events) as api,
        running(directory, settings, api) as fleet,
    ):
        async with fleet.visited():
            seconds = await _until(lambda: len(api.recorded()) >= events)
        await fleet.emptied()
        done = [(await worker.stats())["done"] for worker in fleet.workers]
    mean = sum(done) / len(done)
    off = max(abs(one - mean) for one in done) / mean
    return f"shares of {len(done)} workers: {done}, within {off:.0%} ({events / seconds:.0f}/s)"


async def _broker_restart(directory: Path, settings: Settings) -> str:
    async with Emulator() as api, running(directory, settings, api) as fleet:
        await _flows(api, fleet, 20, "before")
        fleet.cluster.nodes[0].kill()
        await asyncio.sleep(2.0)
        await fleet.cluster.nodes[0].start()
        seconds = await _flows(api, fleet, 20, "after")
    return f"broker killed, back after 2 s; until 20 visitors' events are recorded: {seconds:.1f} s"


async def _node_lost(directory: Path, settings: Settings) -> str:
    async with Emulator() as api, running(directory, settings, api) as fleet:
        await _flows(api, fleet, 20, "before")
        fleet.cluster.nodes[0].kill()
        seconds = await _flows(api, fleet, 20, "after")
    return f"a node of three killed; until 20 visitors' events are recorded: {seconds:.1f} s"


async def _takeover(directory: Path, settings: Settings, signal: str) -> str:
    """Two workers, each with events on the wire; one goes."""
    slow = FaultPlan.parse(["latency=100%:100ms"])
    async with Emulator(faults=slow) as api, running(directory, settings, api) as fleet:
        usual = await _flows(api, fleet, 20, "before")
        held = asyncio.create_task(_flows(api, fleet, 20, "held"))
        await asyncio.sleep(0.05)
        worker = fleet.workers[0]
        gone = worker.kill() if signal == "SIGKILL" else worker.terminate()
        going = asyncio.ensure_future(gone)
        seconds = await _flows(api, fleet, 20, "after")
        await asyncio.gather(held, going)
    return (
        f"{signal} of one of {settings.workers} workers, until the events of 20 visitors after it "
        f"are recorded: {seconds:.1f} s (without it, half as many in {usual:.1f} s)"
    )


async def _measure(base: Path, events: int) -> None:
    settings = Settings(partitions=16)
    one = attrs.evolve(settings, workers=2)
    work = [
        _broker_restart(base / "restart", one),
        _broker_restart(base / "restart-64", attrs.evolve(one, partitions=64)),
        _node_lost(base / "node", attrs.evolve(one, nodes=3)),
        _node_lost(base / "node-64", attrs.evolve(one, nodes=3, partitions=64)),
        _takeover(base / "term", one, "SIGTERM"),
        _takeover(base / "kill", one, "SIGKILL"),
        _shares(base / "shares", attrs.evolve(settings, rate=600.0, partitions=64), events),
    ]
    for one_of_them in work:
        sys.stdout.write(await one_of_them + "\n")
        sys.stdout.flush()


def main() -> int:
    """Run the command; it judges nothing."""
    parser = argparse.ArgumentParser(description="Measure how soon a fleet goes on.")
    parser.add_argument("--events", type=int, default=50_000, help="of the shares (50000)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as base:
        asyncio.run(_measure(Path(base), given.events))
    return 0


if __name__ == "__main__":
    sys.exit(main())
