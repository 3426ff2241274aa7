"""The shop's code: everything that calls the client, and tells the oracle what it did."""

from __future__ import annotations

import asyncio
import random
import types
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import aclosing
from math import ceil
from typing import Any, TypeVar

from alhena_async import (
    AlhenaClient,
    AlhenaTimeoutError,
    ClientClosedError,
    DeliveryError,
    JournalError,
    QueueFullError,
)
from alhena_async.events import Event
from tests.simulation.book import Entry
from tests.simulation.oracle import Oracle
from tests.simulation.scenario import Crowd, Scenario

__all__ = ["Callers"]

_T = TypeVar("_T")
_MOST_AT_ONCE = 50
_OWN = "ours"


@types.coroutine
def _stepwise(awaitable: Awaitable[_T], after: Callable[[], None]) -> Generator[Any, Any, _T]:
    """Await, and call `after` whenever the awaited has run: what it did, it did just then."""
    steps = awaitable.__await__()
    error: BaseException | None = None
    while True:
        try:
            future = steps.send(None) if error is None else steps.throw(error)
        except StopIteration as stop:
            after()
            result: _T = stop.value
            return result
        except BaseException:
            after()
            raise
        after()
        try:
            error = None
            yield future
        except BaseException as thrown:  # noqa: BLE001  handed on to whom it is meant for
            error = thrown


class Callers:
    """Calls the client in every way that it offers, until so many events are accepted."""

    def __init__(
        self,
        scenario: Scenario,
        crowd: Crowd,
        client: AlhenaClient,
        oracle: Oracle,
        rng: random.Random,
    ) -> None:
        self._scenario = scenario
        self._crowd = crowd
        self._client = client
        self._oracle = oracle
        self._rng = rng
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._giving = 0
        once, often = (self._record_all, self._flush), (self._track, self._record)
        self._ways = (*once, *often, *often, *often)

    async def work(self) -> None:
        """Call until the budget is spent or the client is closed."""
        scenario, rng, oracle = self._scenario, self._rng, self._oracle
        while oracle.accepted < scenario.budget and oracle.closing_at is None:
            for _ in range(1 + int(rng.random() * scenario.burst)):
                if oracle.accepted >= scenario.budget:
                    break
                if rng.random() < scenario.waits:
                    self._call(rng.choice(self._ways))
                elif not self._track_nowait():
                    await asyncio.sleep(
                        ceil(10.0 * rng.random()) * (scenario.grain or scenario.network.latency)
                    )
                    break
            pause = 0.0 if rng.random() < 0.1 else rng.expovariate(1.0) * scenario.gap
            await asyncio.sleep(
                ceil(pause / scenario.grain) * scenario.grain if scenario.grain else pause
            )
            while len(self._tasks) > _MOST_AT_ONCE:
                await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)

    async def finish(self) -> None:
        """Wait for those who still wait; the client's end has set them free."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    def stop(self) -> None:
        """Cancel those who wait, as a web server does when it stops."""
        for task in sorted(self._tasks, key=asyncio.Task.get_name):
            task.cancel()

    def before_send(self, event: Event) -> Event | None:
        """Drop, choke on or pass an event, as the seed says."""
        way = self._rng.random() / self._scenario.filters
        if way >= 1.0:
            return event
        self._oracle.filtered.add(self._giving)
        if way < 0.5:
            raise ValueError("a privacy filter chokes")
        return None

    # --- one call each -------------------------------------------------------------------------

    def _give(self, *, pinned: bool) -> tuple[Entry, Event, str | None]:
        shopper, event = self._crowd.next()
        entry = self._oracle.entry(event, shopper.company, pinned=pinned)
        self._giving = entry.key
        return entry, event, None if shopper.company == _OWN else shopper.company

    def _track_nowait(self) -> bool:
        entry, event, company = self._give(pinned=False)
        oracle = self._oracle
        oracle.room.note_full(entry.lane)
        try:
            receipt = self._client.track_nowait(event, company_key=company)
        except QueueFullError:
            oracle.expect(self._scenario.rules.overflow != "drop", "DROP never raises")
            oracle.room.no_room(entry)
            oracle.never_accepted(entry)
            return False
        entry.receipt = receipt
        if receipt.done() and entry.key not in oracle.filtered:
            detail = receipt.outcome.detail if receipt.outcome else None
            entry.doomed = str(detail).startswith("no room")
            if entry.doomed:
                oracle.expect(self._scenario.rules.overflow == "drop", "dropped by whom", entry)
                oracle.room.no_room(entry)
        oracle.accept(entry)
        if not entry.doomed:
            oracle.room.nowait(entry, self._loop.time())
        if self._rng.random() < self._scenario.forgets:
            entry.receipt = None
        return True

    def _call(self, way: Callable[[], Any]) -> None:
        task = self._loop.create_task(self._guarded(way), name=f"{self._rng.random():.12f}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._rng.random() < self._scenario.cancels:
            delay = self._rng.expovariate(1.0) * self._rng.choice((0.0, 0.05, 1.0))
            self._loop.call_later(delay, task.cancel)

    async def _guarded(self, way: Callable[[], Any]) -> None:
        try:
            await way()
        except ClientClosedError:
            self._oracle.expect(self._oracle.closing_at is not None, "closed by whom?")

    def _timeout(self) -> float | None:
        return self._rng.choice((None, None, 0.0, 0.05, 1.0, 10.0))

    def _seen(self, given: list[Entry], timeout: float | None = None) -> Callable[[], None]:
        """Return what finds out, after each step, which of the given were accepted or wait."""
        oracle, client, task = self._oracle, self._client, asyncio.current_task()
        until = float("inf") if timeout is None else self._loop.time() + timeout
        assert task is not None

        def look() -> None:
            if not given:
                return
            for _ in range(client.stats().accepted - oracle.accepted):
                entry = given.pop(0)
                if entry.key not in oracle.filtered:  # what is dropped needs no room
                    oracle.room.in_turn(entry, self._loop.time())
                oracle.accept(entry)
            if given:
                oracle.room.wait(given[0], task, until)

        return look

    async def _track(self) -> None:
        timeout = self._timeout()
        entry, event, company = self._give(pinned=False)
        look = self._seen([entry], timeout)
        try:
            tracked = self._client.track(event, timeout=timeout, company_key=company)
            entry.receipt = await _stepwise(tracked, look)
        except AlhenaTimeoutError as error:
            same = error.accepted == (entry.order >= 0)
            self._oracle.expect(same, f"track says that it took it: {error.accepted}", entry)
        except JournalError:
            journal, closing = self._oracle.journal, self._oracle.closing_at is not None
            in_trouble = journal is not None and (journal.was_in_trouble or closing)
            self._oracle.expect(in_trouble and entry.order >= 0, "track failed for the disk", entry)
        finally:
            self._gone(entry)
        if entry.receipt is not None and self._rng.random() < 0.5:
            self._oracle.callers.told(entry, await entry.receipt)

    async def _record(self) -> None:
        timeout = self._timeout()
        entry, event, company = self._give(pinned=True)
        look = self._seen([entry], timeout)
        try:
            recording = self._client.record(event, timeout=timeout, company_key=company)
            outcome = await _stepwise(recording, look)
        except DeliveryError as error:
            outcome = error.outcome
        except TimeoutError as error:
            stays = "stays queued" in str(error)
            self._oracle.expect(stays == (entry.order >= 0), f"record: {error}", entry)
            return
        finally:
            self._gone(entry)
        if not entry.doomed:
            self._oracle.callers.told(entry, outcome)

    async def _record_all(self) -> None:
        """A slow consumer: it takes its time between two outcomes, and may stop early."""
        given: list[Entry] = []
        all_given: list[Entry] = []
        company = self._rng.choice((None, "theirs"))
        look = self._seen(given)
        count = self._rng.randint(1, 30)
        slowness = self._rng.choice((0.0, 0.0, 0.1, 2.0))
        patience = self._rng.choice((count, count, 3))
        told = 0

        def events() -> Iterator[Event]:
            for _ in range(count):
                look()  # what came before has been let in by now
                _, event = self._crowd.next()
                entry = self._oracle.entry(event, company or _OWN, pinned=True)
                given.append(entry)
                all_given.append(entry)
                self._giving = entry.key
                yield event

        window = self._rng.choice((1, 4, 256))
        recording: Any = self._client.record_all(events(), window=window, company_key=company)
        try:
            async with aclosing(recording) as outcomes:
                while told < patience:
                    outcome = await _stepwise(anext(outcomes), look)
                    if not all_given[told].doomed:
                        self._oracle.callers.told(all_given[told], outcome)
                    told += 1
                    await asyncio.sleep(slowness)
        except StopAsyncIteration:
            self._oracle.expect(told == count, "record_all ended early")
        finally:
            for entry in all_given:
                self._gone(entry)

    async def _flush(self) -> None:
        timeout = self._timeout()
        flush = self._oracle.callers.flush(self._loop.time(), timeout)
        try:
            await self._client.flush(timeout)
            flush.returned = True
        except BaseException as error:
            self._oracle.callers.flushes.remove(flush)
            if not isinstance(error, TimeoutError):
                raise
            in_time = abs(self._loop.time() - flush.until) < 1e-6
            self._oracle.expect(in_time, "flush timed out at another time", flush)

    def _gone(self, entry: Entry) -> None:
        """A caller is done with an event; if it was not accepted, it never will be."""
        self._oracle.room.leave(entry)
        if self._oracle.journal is not None:
            entry.pinned = False  # on disk, only somebody who waits for it keeps it from folding
        if entry.order < 0:
            self._oracle.never_accepted(entry)
