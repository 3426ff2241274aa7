"""One seed: lives of clients, one after the other, until so many events were accepted."""

from __future__ import annotations

import asyncio
import random
import traceback
from collections import Counter
from collections.abc import Sequence

import attrs

from alhena_async import AlhenaClient, CloseReport, Coalescing, Observer, Outcome
from alhena_async.events import CartEvent, Event
from alhena_async.journal import Ending
from alhena_async.observers import BreakerState
from alhena_async.transports import Endpoint
from tests.memory_journal import MemoryJournal
from tests.simulation.api import ModelApi
from tests.simulation.callers import Callers
from tests.simulation.chance import no_chance
from tests.simulation.loop import Deadlock, Livelock, new_loop
from tests.simulation.oracle import Oracle, Violation
from tests.simulation.scenario import Crowd, Disk, Scenario, draw
from tests.simulation.transport import ScriptedTransport

__all__ = ["Broken", "Figures", "run_seed"]


class Broken(AssertionError):  # noqa: N818  a finding
    """A seed found something; the message says what, and how to see it again."""


@attrs.define
class Figures:
    """What one or many seeds amounted to."""

    seeds: int = 0
    lives: int = 0
    events: int = 0
    requests: int = 0
    faults: int = 0
    spilled: int = 0
    """Events that were on disk alone at some time."""
    repeated: int = 0
    """Events that the API recorded more than once, each after an ambiguous fault."""
    steps: int = 0
    recounts: int = 0
    virtual_seconds: float = 0.0
    cpu_seconds: float = attrs.field(default=0.0, eq=False)
    """What it cost; told by whoever ran it."""
    outcomes: Counter[str] = attrs.field(factory=Counter)
    fingerprint: str = ""
    """Equal for equal runs."""

    def add(self, other: Figures) -> None:
        """Add another's counts."""
        for name in attrs.fields_dict(Figures):
            if name not in {"fingerprint", "outcomes"}:
                setattr(self, name, getattr(self, name) + getattr(other, name))
        self.outcomes += other.outcomes


class _Watcher(Observer):
    """Passes the news on to the oracle, whose own failures the client would swallow."""

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle

    def outcome(self, outcome: Outcome) -> None:
        try:
            self._oracle.outcome(outcome)
        except Exception:  # noqa: BLE001  told by the oracle itself, when the loop is idle
            self._oracle.failed(traceback.format_exc())

    def accepted(self, event: Event) -> None:
        self._oracle.accepted_news(event)

    def retry(self, event: Event, delay: float, reason: str) -> None:
        try:
            self._oracle.wire.retry(event, delay)
        except Exception:  # noqa: BLE001  likewise
            self._oracle.failed(traceback.format_exc())

    def breaker_changed(self, endpoint: Endpoint, state: BreakerState) -> None:
        self._oracle.callers.breaker_of(cart=endpoint is Endpoint.CART).changed(state.value)


class _Noisy(Observer):
    def outcome(self, outcome: Outcome) -> None:
        raise ValueError("an observer that raises harms nothing")


def run_seed(seed: int, *, events: int = 1_000, faults: float = 0.08) -> Figures:
    """Live through a seed, and return its figures.

    Raises:
        Broken: A promise was broken; the message reproduces it.
    """
    rng = random.Random(seed)
    figures = Figures(seeds=1)
    while figures.events < events:
        share = rng.choice((0.1, 0.3, 1.0, 1.0))
        budget = max(20, min(events - figures.events, int(events * share)))
        scenario = draw(rng, budget, faults)
        try:
            _live(scenario, rng, figures)
        except (Violation, Deadlock, Livelock, AssertionError) as error:
            again = f"make simulate SEEDS={seed} EVENTS={events} FAULTS={faults:g}"
            raise Broken(
                f"seed {seed}, life {figures.lives}: {error}\n{scenario}\n{again}"
            ) from error
    return figures


def _live(scenario: Scenario, rng: random.Random, figures: Figures) -> None:
    loop = new_loop(rng.getrandbits(32))
    oracle = Oracle(scenario.rules, loop)
    loop.on_idle = oracle.idle
    life = _Life(scenario, oracle, rng)
    with no_chance(loop, rng.getrandbits(32)):
        loop.run_until_complete(life.main())
    oracle.expect(not loop.failures, f"asyncio complains: {loop.failures[:3]}")
    life.judge()
    loop.close()
    figures.lives += 1
    figures.events += oracle.accepted
    figures.requests += oracle.wire.attempts
    figures.faults += life.transport.injected
    figures.spilled += life.journal.spilled if life.journal is not None else 0
    figures.steps += oracle.steps
    figures.recounts += oracle.accounts.recounts
    figures.repeated += sum(1 for entry in oracle.entries.values() if entry.recorded > 1)
    figures.virtual_seconds += loop.time()
    figures.outcomes += Counter({status.value: count for status, count in oracle.counts.items()})
    figures.fingerprint = oracle.fingerprint_after(figures.fingerprint)


class _Journal(MemoryJournal):
    """A journal with a script of its own."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(latency=disk.latency)
        self.max_rows = disk.max_rows
        self._troubles = disk.troubles

    @property
    def spilled(self) -> int:
        return len(self._own)

    def play(self) -> None:
        """Get into trouble and out of it again, each in its time."""
        loop = asyncio.get_running_loop()
        for began, ended, what in self._troubles:
            loop.call_at(began, self._begin, what)
            loop.call_at(ended, self._end)

    was_in_trouble = False

    def _begin(self, what: str) -> None:
        self.was_in_trouble = True
        if what == "full":
            self.is_full = True
        else:
            self.stall()

    def _end(self) -> None:
        self.is_full = False
        self.go_on()

    def settle(self, endings: Sequence[Ending]) -> None:
        super().settle(endings)
        self.groups.clear()


class _Life:
    """One client from its start to its end."""

    def __init__(self, scenario: Scenario, oracle: Oracle, rng: random.Random) -> None:
        self._scenario = scenario
        self._oracle = oracle
        self._rng = rng
        self._api = ModelApi(scenario.preconditions)
        self.journal: _Journal | None = None
        self.transport: ScriptedTransport
        self._callers: Callers
        self._client: AlhenaClient

    async def main(self) -> None:
        scenario, oracle, rng = self._scenario, self._oracle, self._rng
        self.transport = ScriptedTransport(scenario.network, self._api, oracle, rng)
        self.transport.close_hangs = scenario.transport_hangs
        watchers = [_Noisy()] if scenario.noisy else []
        if scenario.disk is not None:
            self.journal = oracle.journal = _Journal(scenario.disk)
            self.journal.play()
        self._client = oracle.client = AlhenaClient(
            "ours",
            queue=scenario.queue,
            retry=scenario.retry,
            http=scenario.http,
            coalescing=Coalescing(scenario.coalescing),
            observers=[*watchers, _Watcher(oracle)],
            before_send=self._before_send if scenario.filters else None,
            transport=self.transport,
            journal=self.journal,
        )
        self._callers = Callers(scenario, Crowd(scenario, rng), self._client, oracle, rng)
        await (self._run() if scenario.style == "run" else self._start_and_close())
        await self._callers.finish()
        await asyncio.sleep(1.0)  # whatever still moves, moves now

    def _before_send(self, event: Event) -> Event | None:
        return self._callers.before_send(event)

    async def _start_and_close(self) -> None:
        await self._client.start()
        await self._work_until_the_end()
        closing = asyncio.get_running_loop().create_task(self._close())
        if self._scenario.ending == "twice":
            await self._close()
        elif self._scenario.ending == "cancelled":
            await self._cancel_at_some_time(closing)
        await asyncio.wait({closing})
        if closing.cancelled():
            self._oracle.callers.closed((await self._client.close()).undelivered)
        else:
            self._oracle.callers.closed(closing.result().undelivered)

    async def _close(self) -> CloseReport:
        timeout = self._scenario.drain
        self._oracle.callers.close_by(asyncio.get_running_loop().time() + timeout)
        return await self._client.close(timeout)

    async def _cancel_at_some_time(self, task: asyncio.Task[object]) -> None:
        await asyncio.sleep(self._rng.choice((0.0, 0.01, 0.3)))
        if not task.done():
            self._oracle.callers.close_by(asyncio.get_running_loop().time())
            task.cancel()

    async def _run(self) -> None:
        """An async worker: `run` in a task of its own, cancelled in the end, perhaps twice."""
        loop, drain = asyncio.get_running_loop(), self._scenario.drain
        running = loop.create_task(self._client.run(drain_timeout=drain))
        await self.transport.opened.wait()
        await asyncio.sleep(1.0)
        await self._work_until_the_end()
        if self._scenario.ending == "closed":
            await self._close()
        else:
            self._oracle.callers.close_by(loop.time() + drain)
            running.cancel()
            if self._scenario.ending != "flushed":
                await asyncio.sleep(0)
                await self._cancel_at_some_time(running)
        await asyncio.wait({running})
        self._oracle.expect(
            running.cancelled() or self._scenario.ending == "closed", "run did not re-raise"
        )
        self._oracle.callers.closed((await self._client.close()).undelivered)

    async def _work_until_the_end(self) -> None:
        working = asyncio.get_running_loop().create_task(self._callers.work())
        if self._scenario.ending == "flushed":
            await working
            flush = self._oracle.callers.flush(asyncio.get_running_loop().time(), None)
            await self._client.flush()
            flush.returned = True
            return
        # Close in the middle: the callers learn of it by being refused.
        length = self._scenario.budget * self._scenario.gap / (self._scenario.burst / 2 + 1)
        timeout = self._rng.random() * 1.5 * length
        await asyncio.wait({working}, timeout=timeout)
        if working.done():
            working.result()
        elif self._rng.random() < 0.3:
            working.cancel()
            self._callers.stop()
        self._working = working

    def judge(self) -> None:
        """Judge what only the end can show.

        Raises:
            Violation: A promise was broken.
        """
        oracle = self._oracle
        oracle.accounts.recount()
        lost = [entry for entry in oracle.entries.values() if entry.outcome is None]
        unseen = oracle.accounts.unseen()
        known = [entry for entry in lost if entry.receipt is not None or entry.attempts]
        oracle.expect(len(lost) == unseen and not known, f"{len(lost)} lost:", unseen, *lost[:3])
        for entry in lost:
            if entry.product is not None:
                entry.lane.product(entry.product).spoilt = True
        oracle.expect(not oracle.wire.under_way, "a request outlived its client")
        oracle.folds.finish()
        self._judge_carts()
        if oracle.findings:
            raise Violation("\n".join(oracle.findings[:20]))

    def _judge_carts(self) -> None:
        """Each cart at the API is what it would be if nothing had been folded."""
        for (company, visitor), lane in self._oracle.lanes.items():
            for product_id, product in lane.products.items():
                if product.spoilt or not product.entries:
                    continue
                last = product.entries[-1]
                assert isinstance(last.event, CartEvent)
                there = self._api.carts.get((company, visitor, product_id), 0)
                meant = last.event.quantity
                self._oracle.expect(there == meant, f"the API has {there}, not {meant}:", last)
