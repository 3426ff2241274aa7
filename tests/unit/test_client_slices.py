"""Nothing that many events cause at once holds the event loop: others get their turns."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from alhena_async import (
    AlhenaClient,
    Endpoint,
    OutcomeStatus,
    QueuePolicy,
    Receipt,
    Reply,
    RetryPolicy,
)
from alhena_async.testing import virtual
from tests.memory_journal import MemoryJournal
from tests.scripted import HANG, OK, Script, balance, cart, checkout, client_over, status

MANY = 5_000
ROOM = QueuePolicy(capacity=2 * MANY, lane_capacity=2 * MANY, linger=0.0, flush_at=None)


class LaneScheduler:
    """Counts the loop's turns."""

    count = 0


@asynccontextmanager
async def counted() -> AsyncIterator[LaneScheduler]:
    turns = LaneScheduler()

    async def count() -> None:
        while True:
            await asyncio.sleep(0)
            turns.count += 1

    counting = asyncio.create_task(count())
    try:
        yield turns
    finally:
        counting.cancel()
        await asyncio.wait({counting})


@virtual
async def test_closing_with_many_leftovers() -> None:
    """They are settled in slices."""
    async with client_over(Script(otherwise=HANG), queue=ROOM) as client:
        for number in range(MANY):
            client.track_nowait(cart(f"v{number}"))
        async with counted() as turns:
            report = await client.close(timeout=0)
        assert len(report.undelivered) == MANY
        assert turns.count >= MANY // 500


@virtual
async def test_many_that_expire_at_once() -> None:
    """As after an outage that was longer than their deadline."""
    retry = RetryPolicy(cart_delivery_timeout=10.0)
    async with client_over(Script(otherwise=status(500)), queue=ROOM, retry=retry) as client:
        for number in range(MANY):
            client.track_nowait(cart(f"v{number}"))
        await asyncio.sleep(9.9)
        asyncio.get_running_loop().call_later(0.2, lambda: None)
        at_once = 0
        while (before := client.stats().expired) < MANY:
            await asyncio.sleep(0.05 if not before else 0)
            at_once = max(at_once, client.stats().expired - before)
        assert at_once <= 1_000
        balance(client)


@virtual
async def test_many_that_need_no_request() -> None:
    """A thousand repeats of an order that is recorded."""
    transport = Script()
    async with client_over(transport, queue=ROOM, coalescing="off") as client:
        await client.record(checkout())
        receipts = [client.track_nowait(checkout()) for _ in range(MANY)]
        async with counted() as turns:
            await client.flush()
        assert (await receipts[-1]).status is OutcomeStatus.DUPLICATE
        assert turns.count >= MANY // 500
    assert len(transport.sent) == 1


class Instant(Script):
    """A transport that never gives the loop a turn."""

    async def send(self, endpoint: Endpoint, body: bytes) -> Reply:
        reply: Any = OK
        return Reply(reply.status, reply.body)


@virtual
async def test_a_transport_that_never_waits() -> None:
    """A stand-in in a shop's own tests answers at once; the shop still gets its turns."""
    async with client_over(Instant(), queue=ROOM) as client:
        for number in range(MANY):
            client.track_nowait(cart(f"v{number}"))
        async with counted() as turns:
            await client.flush()
        assert client.stats().recorded == MANY
        assert turns.count >= MANY // 500


def clicks(client: AlhenaClient, count: int) -> list[Receipt]:
    """Change one product again and again: all of it is one event in the end."""
    kind = "QUANTITY_INCREASED"
    return [client.track_nowait(cart(type=kind, quantity=number + 1)) for number in range(count)]


@pytest.mark.parametrize("end", ["flush", "close", "close at once", "expiry"])
@virtual
async def test_a_large_group_ends_in_slices(end: str) -> None:
    """Ten thousand clicks that were folded into one event end with it, some at a time."""
    policy = QueuePolicy(capacity=2 * MANY, lane_capacity=2 * MANY, linger=5.0, flush_at=None)
    retry = RetryPolicy(cart_delivery_timeout=30.0)
    transport = Script(HANG if end in {"expiry", "close at once"} else OK)
    client = client_over(transport, queue=policy, retry=retry)
    await client.start()
    receipts = clicks(client, MANY)
    if end == "expiry":
        await receipts[-1]
    async with counted() as turns:
        if end in {"flush", "expiry"}:
            await client.flush()
        else:
            await client.close(0 if end == "close at once" else 10)
    assert turns.count >= MANY // 500
    assert all(receipt.done() for receipt in receipts)
    assert {(await receipt).survivor for receipt in receipts[:-1]} == {await receipts[-1]}
    balance(client)
    await client.close()
    assert client._queue.admission.taken == 0
    assert not client._queue.scheduler.lanes


@virtual
async def test_the_rows_of_a_large_group_go_together() -> None:
    """Once all of them have ended: not before, and all in one."""
    journal = MemoryJournal()
    policy = QueuePolicy(capacity=2 * MANY, lane_capacity=2 * MANY, linger=5.0, flush_at=None)
    async with client_over(Script(), queue=policy, journal=journal) as client:
        receipts = clicks(client, 1_000)
        await receipts[-1]
        assert not receipts[-2].done()
        assert len(journal.rows) == 1_000
        await client.flush()
        assert not journal.rows
    assert [len(group) for group in journal.groups] == [1_000]


@virtual
async def test_a_large_group_of_a_client_that_fails_ends_at_once() -> None:
    """Nobody waits for an engine that is gone."""
    policy = QueuePolicy(capacity=2 * MANY, lane_capacity=2 * MANY, linger=5.0, flush_at=None)
    async with client_over(Script(), queue=policy) as client:
        receipts = clicks(client, 1_000)
        client._engine._fail(RuntimeError("by hand"))
        assert all(receipt.done() for receipt in receipts)
        balance(client)
