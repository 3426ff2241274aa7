"""A fleet under load: what befalls its workers and its broker, and what came of the events."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import attrs

from alhena_async.emulator import Emulator, FaultPlan, Recorded
from alhena_async.relay._topology import Topology
from tests.fleet.cluster import Cluster
from tests.fleet.processes import Shop, Worker
from tests.patience import PATIENCE
from tests.simulation.relay.oracle import Arrival, History, Verdict, judge

__all__ = ["Broken", "Figures", "Fleet", "Settings", "live", "running"]

LEASE: Final = 3.0


class Broken(AssertionError):  # noqa: N818  not an error of this program
    """A promise was broken; the message says which, and how to see it again."""


@attrs.frozen(kw_only=True)
class Settings:
    """How large a fleet is, and what befalls it.

    Args:
        seed: Decides what befalls whom, and when.
        workers: Relays.
        shops: Publishers.
        visitors: Each makes one request after the other, to any of the shops.
        rate: Events a second, over all.
        partitions: Of the stream.
        nodes: NATS servers: 1 or 3.
        sync: When they sync to disk: `default`, or `always`.
        lease: Seconds.
        pause: Seconds between two faults, at least; up to twice as many.
        kinds: What befalls it: `kill`, `stop`, `term` of a worker, `broker`.
    """

    seed: int = 1
    workers: int = 4
    shops: int = 2
    visitors: int = 1_000
    rate: float = 150.0
    partitions: int = 16
    nodes: int = 1
    sync: str = "default"
    lease: float = LEASE
    pause: float = 1.0
    kinds: tuple[str, ...] = ("kill", "kill", "stop", "stop", "term", "broker")


@attrs.define(kw_only=True)
class Figures:
    """What a fleet lived through."""

    faults: dict[str, int] = attrs.Factory(dict)
    verdict: Verdict = attrs.Factory(Verdict)
    letters: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        befell = ", ".join(f"{count} {kind}" for kind, count in sorted(self.faults.items()))
        found, count = self.verdict, sum(self.faults.values())
        return (
            f"{found.events:,} events published in {self.seconds:.0f} s; {befell or 'no faults'}: "
            f"{found.lost} lost, {found.reordered} out of order, {found.stale} behind a later one, "
            f"{found.repeats} repeats ({found.repeats / max(1, count):.1f} a fault)"
        )


@asynccontextmanager
async def running(directory: Path, settings: Settings, api: Emulator) -> AsyncIterator[Fleet]:
    """Run a fleet while the block does; its workers are ready."""
    cluster = Cluster(directory, nodes=settings.nodes, sync=settings.sync)
    fleet = Fleet(settings, cluster)
    topology = Topology(
        partitions=settings.partitions,
        lease=settings.lease,
        destination=str(api.url),
        replicas=settings.nodes,
    )
    try:
        await cluster.start(topology)
        await fleet.start()
        yield fleet
    finally:
        await fleet.end()
        cluster.stop()


async def live(directory: Path, settings: Settings, *, faults: int) -> Figures:
    """Let a fleet live until so many faults have befallen it, and judge.

    Raises:
        Broken: A promise was broken.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    figures = Figures()
    plan = FaultPlan.parse(["error=3%", "latency=97%:5ms"], seed=settings.seed)
    async with (
        Emulator(faults=plan, history=1_000_000) as api,
        running(directory, settings, api) as fleet,
    ):
        async with fleet.visited():
            for kind in fleet.fates(faults):
                await fleet.befall(kind)
                figures.faults[kind] = figures.faults.get(kind, 0) + 1
        await fleet.healed()
        await fleet.emptied()
        figures.letters = (await fleet.cluster.standing()).dead_letters
        figures.verdict = judge(
            History(
                promised=fleet.promised,
                arrivals=[_arrival(one) for one in api.recorded()],
                faults=fleet.sessions_lost,
                held=settings.partitions,
            )
        )
    figures.seconds = loop.time() - began
    sins = [*figures.verdict.sins, *fleet.sins]
    if figures.letters:
        sins.append(f"{figures.letters} events are among the letters")
    if sins:
        told = "\n  ".join(sins)
        raise Broken(f"{settings}\n{figures}\n  {told}")
    return figures


def _arrival(one: Recorded) -> Arrival:
    if one.product_id is not None:
        return Arrival(one.product_id)
    return Arrival(one.line_items[0].product_id, one.order_id)


class Fleet:
    """Publishers, workers and visitors around a broker.

    Args:
        settings: How many.
        cluster: The broker; started by whoever made it.
    """

    def __init__(self, settings: Settings, cluster: Cluster) -> None:
        self._settings = settings
        self.cluster = cluster
        self._rng = random.Random(settings.seed)
        self.shops: list[Shop] = []
        self.workers: list[Worker] = []
        self._frozen: set[asyncio.Task[None]] = set()
        self._numbers = itertools.count(1)
        self.promised: dict[str, list[str]] = {}
        self.sins: list[str] = []
        self.sessions_lost = 0
        """Sessions of workers that ended with the faults: each may repeat what it held."""

    async def start(self) -> None:
        """Start publishers and workers, and wait until these take events."""
        servers = self.cluster.servers
        self.shops = [await Shop.start(servers) for _ in range(self._settings.shops)]
        self.workers = [await Worker.start(servers) for _ in range(self._settings.workers)]
        for worker in self.workers:
            await worker.ready()

    async def end(self) -> None:
        """End them all."""
        for task in self._frozen:
            task.cancel()
        for one in self.workers:
            await one.kill()
        for shop in self.shops:
            await shop.end()

    # --- visitors ------------------------------------------------------------------------------

    @asynccontextmanager
    async def visited(self) -> AsyncIterator[None]:
        """Let visitors make requests while the block runs; each ends with an answer."""
        closing = asyncio.Event()
        visits = [
            asyncio.create_task(self.visit(f"v{number}", closing.is_set))
            for number in range(self._settings.visitors)
        ]
        try:
            yield
        finally:
            closing.set()
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(*visits)

    async def visit(self, visitor: str, is_over: Callable[[], bool]) -> None:
        """One request after the other, each to any of the shops."""
        pause = self._settings.visitors / self._settings.rate
        while True:
            await asyncio.sleep(self._rng.uniform(0.0, 2 * pause))
            if is_over():
                return
            number = next(self._numbers)
            name = f"{visitor}.{number:07}"
            order_id = f"o{number}" if number % 10 == 0 else None
            status = await self._rng.choice(self.shops).track(visitor, name, order_id)
            if status == "published":
                self.promised.setdefault(visitor, []).append(name)
            else:
                self.sins.append(f"{name} ended {status}")

    # --- what befalls it -----------------------------------------------------------------------

    def fates(self, count: int) -> list[str]:
        """Return what befalls it, in its order: each kind at least once, if there is room."""
        kinds = list(self._settings.kinds)
        some = kinds * (count // len(kinds)) + self._rng.sample(kinds, count % len(kinds))
        self._rng.shuffle(some)
        return some

    async def befall(self, kind: str) -> None:
        """Let something happen, after a while of peace."""
        pause = self._settings.pause
        await asyncio.sleep(self._rng.uniform(pause, 2 * pause))
        await _FATES[kind](self)

    def _victim(self) -> int:
        self.sessions_lost += 1
        return self._rng.randrange(len(self.workers))

    async def _kill(self) -> None:
        place = self._victim()
        await self.workers[place].kill()
        self.workers[place] = await Worker.start(self.cluster.servers)

    async def _terminate(self) -> None:
        place = self._victim()
        worker = self.workers[place]
        worker.go_on()
        await worker.ready()
        status = await worker.terminate()
        if status:
            self.sins.append(f"a worker that was told to end ended with {status}")
        self.workers[place] = await Worker.start(self.cluster.servers)

    async def _stop(self) -> None:
        worker = self.workers[self._victim()]
        worker.freeze()
        seconds = self._settings.lease * self._rng.uniform(1.2, 2.0)
        task = asyncio.create_task(_thaw(worker, seconds))
        self._frozen.add(task)
        task.add_done_callback(self._frozen.discard)

    async def _kill_broker(self) -> None:
        """Kill a server, and start it again; the next one only once it is well."""
        self.sessions_lost += len(self.workers)
        node = self._rng.choice(self.cluster.nodes)
        node.kill()
        await asyncio.sleep(self._rng.uniform(0.0, 2.0))
        await node.start()
        if len(self.cluster.nodes) > 1:
            await self.cluster.synced()

    async def healed(self) -> None:
        """Let every worker go on."""
        if self._frozen:
            await asyncio.wait(self._frozen)

    async def emptied(self) -> None:
        """Wait until nothing is left at the broker."""
        async with asyncio.timeout(PATIENCE):
            while (await self.cluster.standing()).waiting:  # noqa: ASYNC110  other processes
                await asyncio.sleep(0.2)


async def _thaw(worker: Worker, seconds: float) -> None:
    try:
        await asyncio.sleep(seconds)
    finally:
        worker.go_on()


_FATES: Final[dict[str, Callable[[Fleet], Awaitable[None]]]] = {
    "kill": Fleet._kill,
    "stop": Fleet._stop,
    "term": Fleet._terminate,
    "broker": Fleet._kill_broker,
}
