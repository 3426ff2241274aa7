"""Whole lives with a journal: closed in peace or killed at any moment, and what the API saw."""

from __future__ import annotations

import asyncio
import copy
import itertools
import random
from collections import defaultdict
from typing import Any
from unittest import mock

import pytest

from alhena_async import (
    AlhenaClient,
    AlhenaError,
    BreakerPolicy,
    Event,
    Observer,
    OutcomeStatus,
    QueuePolicy,
    RetryPolicy,
)
from alhena_async._delivery import replay
from alhena_async.journal import SendMark
from alhena_async.testing import Sent, run_virtually
from tests.memory_journal import Kept, MemoryJournal, kept
from tests.scripted import (
    NEVER_SENT,
    OK,
    RESET,
    Script,
    balance,
    cart,
    checkout,
    client_over,
    status,
)

STEPS = [OK, OK, OK, OK, RESET, NEVER_SENT, status(503), status(500)]
NOT_PROCESSED = (NEVER_SENT, STEPS[6])


class Ends(Observer):
    """The products of events that were settled for good, in any life."""

    def __init__(self) -> None:
        self.settled: set[str] = set()

    def outcome(self, outcome: Any) -> None:
        if outcome.status is not OutcomeStatus.KEPT:
            self.settled.add(getattr(outcome.event, "product_id", ""))


class World:
    """What lasts from life to life: the API, and what the shop was promised."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.ends = Ends()
        self.calls: defaultdict[str, list[str]] = defaultdict(list)
        self.promised: set[str] = set()
        """Events that `track` said were on disk."""
        self.neighbours = 0
        """Processes that have died beside one that lived."""
        self.arrivals: list[tuple[str, str]] = []
        """Visitor and product of each request that was perhaps recorded."""
        self.may_repeat = self.random.random() < 0.7
        self.coalescing = self.random.choice(["off", "off", "latest", "net"])
        """Unless it is off, the same products come again and again, and fold."""

    def answer(self, sent: Sent) -> Any:
        step = self.random.choice(STEPS)
        if step not in NOT_PROCESSED:
            self.arrivals.append((sent.fingerprint, sent.payload.get("product_id", "")))
        return step

    # --- a life --------------------------------------------------------------------------------

    async def live(self, journal: MemoryJournal, *, last: bool) -> list[list[Kept]]:
        """Return what the disk has when it is over."""
        transport = Script(otherwise=self.answer, latency=self.random.choice([0.0, 0.2, 1.0]))
        client = self._client(journal, transport)
        await client.start()
        if last:
            await client.flush()
            balance(client)
            assert client._queue.scheduler.lanes == {}
            assert client._queue.outstanding == 0
            await client.close()
            return journal.left()
        callers = [
            asyncio.create_task(self._call(client)) for _ in range(self.random.randint(1, 4))
        ]
        for _ in range(self.random.randint(1, 12)):
            await asyncio.sleep(self.random.choice([0.0, 0.05, 0.7, 3.0]))
            self._disturb(journal)
            if self.random.random() < 0.1:
                journal.dead.append(self._neighbour())
            balance(client)
            beyond = bool(self.neighbours)  # a row, where all that has room waits behind it
            assert client._queue.outstanding <= client._queue.admission.capacity + beyond
        client._telemetry.deliver()  # what has ended by now is known
        killed = copy.deepcopy(journal.left()) if self.random.random() < 0.5 else None
        seen = copy.deepcopy((self.ends.settled, self.promised, self.arrivals))
        spilled = client.stats().spilled
        report = await client.close(timeout=self.random.choice([0.0, 0.5, 20.0]))
        for caller in callers:
            caller.cancel()
        await asyncio.wait(callers)
        balance(client)
        stats = report.stats
        # What the disk alone had is counted, and not listed.
        assert 0 <= stats.kept + stats.abandoned - len(report.undelivered) <= spilled
        assert stats.queued == stats.in_flight == 0
        if killed is None:
            return journal.left()
        self.ends.settled, self.promised, self.arrivals = seen  # what came after it never was
        return killed

    def _client(self, journal: MemoryJournal, transport: Script) -> AlhenaClient:
        policy = QueuePolicy(
            capacity=self.random.choice([1, 2, 5, 40]),
            linger=self.random.choice([0.0, 0.3]),
            overflow=self.random.choice(["reject", "reject", "shed"]),
            max_in_flight=self.random.choice([1, 3, 32]),
        )
        retry = RetryPolicy(
            retry_ambiguous_carts=self.may_repeat,
            base=0.05,
            throttle_base=0.05,
            cap=1.0,
            breaker=BreakerPolicy(min_calls=10_000),
        )
        return client_over(
            transport,
            journal=journal,
            queue=policy,
            retry=retry,
            coalescing=self.coalescing,
            observers=[self.ends],
        )

    async def _call(self, client: AlhenaClient) -> None:
        """Track events of one visitor, until it is told to stop."""
        who = f"v{self.random.randrange(4)}"
        for _ in range(self.random.randint(1, 15)):
            event = self._event(who)
            product = getattr(event, "product_id", "")
            self.calls[who].append(product)
            try:
                if self.random.random() < 0.5:
                    await client.track(event)
                    self.promised.add(product)
                else:
                    client.track_nowait(event)
            except AlhenaError:
                pass
            await asyncio.sleep(self.random.choice([0.0, 0.0, 0.4]))

    def _event(self, who: str) -> Event:
        number = sum(map(len, self.calls.values()))
        if self.coalescing == "off":
            return cart(who, product=f"p{number}")
        if self.random.random() < 0.2:
            return checkout(who, order_id=f"o{number // 3}")
        kind = self.random.choice(["ITEM_ADDED", "QUANTITY_INCREASED", "ITEM_REMOVED"])
        left = 0 if kind == "ITEM_REMOVED" else self.random.randint(1, 2)
        return cart(who, product=self.random.choice("ab"), type=kind, quantity=left)

    def _neighbour(self) -> list[Kept]:
        """Return the file of a process that has died just now: each visitor's clicks there."""
        self.neighbours += 1
        rows: list[Kept] = []
        for number in range(self.random.randint(1, 6)):
            who, product = f"v{self.random.randrange(4)}", f"n{self.neighbours}.{number}"
            self.calls[f"{who} at {self.neighbours}"].append(product)
            self.promised.add(product)
            since = asyncio.get_running_loop().time() - 2.0 + number / 10
            guard = SendMark.NONE if self.may_repeat else SendMark.UNSENT
            rows += kept(cart(who, product=product), since=since, guard=guard)
        return rows

    def _disturb(self, journal: MemoryJournal) -> None:
        event = self.random.random()
        if event < 0.1:
            journal.stall()
        elif event < 0.2:
            journal.go_on()
        elif event < 0.3 and self.may_repeat:  # else a mark fails, and it is sent unmarked
            journal.is_full = not journal.is_full

    # --- what must hold ------------------------------------------------------------------------

    def judge(self) -> None:
        if self.coalescing != "off":
            return  # the accounts were judged in each life
        arrived = {product for _, product in self.arrivals}
        assert self.promised <= arrived | self.ends.settled
        for caller, products in self.calls.items():
            who = caller.partition(" ")[0]
            heard = dict.fromkeys(product for name, product in self.arrivals if name == who)
            firsts = [product for product in heard if product in set(products)]
            assert firsts == [product for product in products if product in set(firsts)], caller
        if not self.may_repeat:
            assert len(arrived) == len(self.arrivals)


@pytest.mark.parametrize("seed", range(200))
def test_what_was_promised_arrives_in_order_however_processes_end(seed: int) -> None:
    """At least once; at most once where an event may not be repeated; nothing is left over."""
    world = World(seed)
    left: list[list[list[Kept]]] = [[]]
    ended: list[float] = []
    lives = world.random.randint(1, 4)
    for life in range(lives + 1):

        async def live(last: bool = life == lives) -> None:
            latency = world.random.choice([0.0, 0.1, 1.0])
            journal = MemoryJournal(*left[-1], latency=latency)
            left.append(await world.live(journal, last=last))

            ended.append(asyncio.get_running_loop().time())

        with mock.patch.object(replay, "_SECONDS_BETWEEN_LOOKS", 2.0):
            run_virtually(live, debug=False)
        for row in itertools.chain(*left[-1]):
            row.since -= ended[-1]  # the next life's clock begins at 0
    assert left[-1] == []
    world.judge()
