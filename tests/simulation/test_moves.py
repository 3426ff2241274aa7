"""State machines held to their word: the moves of a hundred lives are those of the tables."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from enum import Enum
from typing import Any
from unittest import mock

from alhena_async import (
    AlhenaClient,
    Coalescing,
    Overflow,
    QueueFullError,
    QueuePolicy,
    RetryPolicy,
    observers,
)
from alhena_async._delivery import lifecycle, replay
from alhena_async._delivery.lifecycle import Lifecycle
from alhena_async._delivery.throttling import Breaker
from alhena_async._queue import envelope, lane
from alhena_async._queue.envelope import Envelope
from alhena_async._queue.lane import Lane
from alhena_async.testing import Sent, run_virtually
from tests.memory_journal import MemoryJournal, kept
from tests.scripted import (
    HANG,
    OK,
    RESET,
    Script,
    cart,
    checkout,
    client_over,
    status,
    task_of,
)
from tests.simulation.life import run_seed

MACHINES: dict[type, tuple[str, Mapping[Any, frozenset[Any]]]] = {
    Envelope: ("state", envelope.MOVES),
    Lane: ("state", lane.MOVES),
    Lifecycle: ("state", lifecycle.MOVES),
    Breaker: ("state", observers.MOVES),
}
SEEDS = range(1, 31)
LIVES_WITH_A_JOURNAL = range(120)
Seen = dict[type, set[tuple[Enum, Enum]]]


@contextmanager
def watched() -> Iterator[Seen]:
    """Collect every move of each machine, the first state not counted."""
    seen: Seen = {kind: set() for kind in MACHINES}
    with ExitStack() as stack:
        for kind, (name, _) in MACHINES.items():
            slot = kind.__dict__.get(name, _Attribute())
            watching = _watching(slot, seen[kind])
            stack.enter_context(mock.patch.object(kind, name, watching, create=True))
        yield seen


class _Attribute:
    """Keeps what a class without slots keeps."""

    def __get__(self, machine: Any, _kind: type | None = None) -> Any:
        return machine.__dict__["watched"]

    def __set__(self, machine: Any, state: Enum) -> None:
        machine.__dict__["watched"] = state


def _watching(slot: Any, moves: set[tuple[Enum, Enum]]) -> property:
    def write(self: object, state: Enum) -> None:
        try:
            before = slot.__get__(self)
        except (AttributeError, KeyError):
            pass  # it is being made
        else:
            moves.add((before, state))
        slot.__set__(self, state)

    return property(slot.__get__, write)


def test_every_move_is_in_its_table_and_every_move_of_the_table_is_made() -> None:
    """Over simulated lives without a journal, and short ones with one that is often slow."""
    lives, state = 0, random.getstate()
    with watched() as seen:
        for seed in SEEDS:
            lives += run_seed(seed, events=120, faults=0.15).lives
        with mock.patch.object(replay, "_SECONDS_BETWEEN_LOOKS", 3.0):
            for seed in LIVES_WITH_A_JOURNAL:
                random.seed(seed)  # the engine's jitter
                lives += run_virtually(_Shop(seed).live)
    random.setstate(state)
    assert lives >= 100
    for kind, (_, table) in MACHINES.items():
        possible = {(before, after) for before, next_ones in table.items() for after in next_ones}
        assert seen[kind] - possible == set(), f"{kind.__name__} moved against its table"
        assert possible - seen[kind] == set(), f"{kind.__name__} never moved like that"


class _Shop:
    """One client after the other on one journal, with an end of any kind."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._journal = MemoryJournal(latency=self._random.choice([0.0, 0.5, 30.0]))

    async def live(self) -> int:
        """Live twice, the second time on what the first has left; return the number of lives."""
        for _ in range(2):
            await self._life()
            self._journal = MemoryJournal(*self._journal.left(), latency=self._journal.latency)
        return 2

    async def _life(self) -> None:
        client = self._client()
        if self._random.random() < 0.1:
            await client.close()
            return
        await client.start()
        for _ in range(self._random.randint(1, 12)):
            self._journal.is_full = self._random.random() < 0.1
            with suppress(QueueFullError):
                self._track(client)
            if self._random.random() < 0.1:  # another process has died
                who, since = self._random.choice("ab"), asyncio.get_running_loop().time() - 1.0
                self._journal.dead.append(kept(cart(who), cart(who, quantity=2), since=since))
            await asyncio.sleep(self._random.choice([0.0, 0.1, 1.0, 7.0]))
        await self._end(client)

    def _client(self) -> AlhenaClient:
        chance = self._random
        policy = QueuePolicy(
            capacity=chance.choice([4, 100]),
            linger=chance.choice([0.0, 0.3, 2.0]),
            overflow=chance.choice([Overflow.SHED, Overflow.DROP]),
        )
        retry = RetryPolicy(
            assign_order_ids=chance.random() < 0.5,
            retry_ambiguous_carts=chance.random() < 0.5,
            cart_delivery_timeout=chance.choice([5.0, 900.0]),
            checkout_delivery_timeout=chance.choice([5.0, 900.0]),
            base=chance.choice([0.1, 20.0]),
        )
        return client_over(
            Script(otherwise=self._answer, latency=chance.choice([0.0, 0.2, 2.0])),
            journal=self._journal,
            queue=policy,
            retry=retry,
            coalescing=chance.choice(list(Coalescing)),
        )

    def _answer(self, _sent: Sent) -> Any:
        return self._random.choice([OK, OK, OK, RESET, status(503), HANG])

    def _track(self, client: AlhenaClient) -> None:
        who = self._random.choice("ab")
        if self._random.random() < 0.3:
            order_id = self._random.choice([None, "one", "two"])
            client.track_nowait(checkout(who, order_id=order_id))
            return
        for _ in range(self._random.randint(1, 3)):
            kind = self._random.choice(["ITEM_ADDED", "QUANTITY_INCREASED", "ITEM_REMOVED"])
            quantity = 0 if kind == "ITEM_REMOVED" else self._random.randint(1, 2)
            product = self._random.choice(["mug", "cup"])
            client.track_nowait(cart(who, product=product, type=kind, quantity=quantity))

    async def _end(self, client: AlhenaClient) -> None:
        timeout = self._random.choice([0.0, 1.0, 200.0])
        how = self._random.choice(["close", "close", "fail", "fail while it drains"])
        if how == "fail":
            _fail()
            await asyncio.sleep(0)
        closing = asyncio.ensure_future(client.close(timeout))
        if how == "fail while it drains":
            await asyncio.sleep(0)
            _fail()
        await closing


def _fail() -> None:
    """Cancel a worker, if there is one by now."""
    if any(task.get_name() == "alhena-worker-1" for task in asyncio.all_tasks()):
        task_of("alhena-worker-1").cancel()
