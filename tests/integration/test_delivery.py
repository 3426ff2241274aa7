"""The real client, the real emulator, real sockets: delivery under faults, outages and hangs."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

import pytest
from blockbuster import blockbuster_ctx

from alhena_async import (
    AlhenaClient,
    BreakerPolicy,
    BreakerState,
    Event,
    HttpPolicy,
    OutcomeStatus,
    QueuePolicy,
    RetryPolicy,
)
from alhena_async.emulator import Emulator, Fault, FaultKind, FaultPlan
from tests.patience import PATIENCE
from tests.scripted import balance, cart, checkout

FAULTS = ["error=0.04", "throttle=0.02:0", "unavailable=0.02:0", "error-after=0.03"]
FAULTS += ["reset=0.04", "truncated=0.03", "html=0.02"]  # 20% in all
QUICK = RetryPolicy(base=0.01, throttle_base=0.01, cap=0.2, breaker=BreakerPolicy(open_for=0.2))


def shop(visitors: int, events: int) -> list[Event]:
    """Events of visitors in turns, each with a number of its own."""
    made: list[Event] = []
    for number in range(events):
        who = f"v{number % visitors}"
        if number % 25 == 24:
            made.append(checkout(who, order_id=f"order-{number}"))
        else:
            made.append(cart(who, product=f"p{number}", quantity=1 + number % 3))
    return made


def client_of(emulator: Emulator, **arguments: Any) -> AlhenaClient:
    return AlhenaClient("shop", base_url=emulator.url, **arguments)


def order_of(emulator: Emulator) -> dict[str, list[str]]:
    """What was recorded first of each visitor's events, in the order of the recording."""
    seen: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for recorded in emulator.recorded():
        seen[recorded.fingerprint].setdefault(str(recorded.product_id or recorded.order_id))
    return {who: list(what) for who, what in seen.items()}


def order_wanted(events: list[Event]) -> dict[str, list[str]]:
    wanted: defaultdict[str, list[str]] = defaultdict(list)
    for event in events:
        name = getattr(event, "product_id", None) or getattr(event, "order_id", None)
        wanted[event.visitor.fingerprint].append(str(name))
    return dict(wanted)


async def test_with_20_percent_faults_all_is_recorded_in_order_and_nothing_overlaps() -> None:
    """1,500 events of 100 visitors: 0 lost, 0 reordered, 0 of a visitor side by side."""
    events = shop(100, 1_500)
    async with Emulator(faults=FaultPlan.parse(FAULTS, seed=7)) as emulator:
        async with client_of(emulator, retry=QUICK, queue=QueuePolicy(linger=0.05)) as client:
            receipts = [client.track_nowait(event) for event in events]
            await client.flush(PATIENCE)
            stats = client.stats()
            balance(client)
        assert stats.recorded == 1_500
        assert {(await receipt).status for receipt in receipts} == {OutcomeStatus.RECORDED}
        assert order_of(emulator) == order_wanted(events)
        assert emulator.max_in_flight_per_visitor == 1
        assert len(emulator.faulted) >= 6
        orders = [recorded.order_id for recorded in emulator.recorded(kind="checkout")]
        assert len(orders) == len(set(orders)) == 60


async def test_a_dead_api_meets_few_requests_and_everything_is_recorded_afterwards() -> None:
    """5 s without an API and 2,000 events waiting: fewer than 400 requests, 0 lost."""
    events = shop(100, 2_000)
    async with Emulator() as emulator:
        emulator.plan(FaultPlan.parse(["error=1"]))
        async with client_of(emulator) as client:
            for event in events:
                client.track_nowait(event)
            await asyncio.sleep(5.0)
            assert emulator.requests < 400
            assert client.stats().cart_breaker is not BreakerState.CLOSED
            emulator.plan(FaultPlan())
            await client.flush(PATIENCE)
            assert client.stats().recorded == 2_000
        assert order_of(emulator) == order_wanted(events)


async def test_an_api_that_is_gone_and_comes_back() -> None:
    """Refused connections are no requests at all, and the client finds the way back."""
    events = shop(40, 400)
    async with Emulator() as emulator:
        client = client_of(emulator, retry=QUICK, queue=QueuePolicy(linger=0.0))
        await emulator.stop()
        async with client:
            receipts = [client.track_nowait(event) for event in events]
            await asyncio.sleep(1.0)
            assert client.stats().requests < 250
            await emulator.start()
            await client.flush(PATIENCE)
            assert {(await receipt).ambiguous for receipt in receipts} == {False}
        assert order_of(emulator) == order_wanted(events)
        assert emulator.recorded_count == 400


async def test_close_against_a_hanging_api_lists_exactly_what_was_not_delivered() -> None:
    """`close(timeout=0.5)` waits for no answer, and its report is the truth."""
    events = shop(20, 100)
    async with Emulator() as emulator:
        async with client_of(emulator, queue=QueuePolicy(linger=0.0)) as client:
            for event in events[:40]:
                client.track_nowait(event)
            await client.flush(PATIENCE)
            emulator.plan(FaultPlan.parse(["hang=1"]))
            for event in events[40:]:
                client.track_nowait(event)
            await asyncio.sleep(0.1)
            report = await client.close(timeout=0.5)  # to the millisecond: see the virtual clock's
        assert emulator.recorded_count == 40
        assert order_wanted(list(report.undelivered)) == order_wanted(events[40:])
        assert report.stats.abandoned == 60


async def test_nothing_blocks_the_event_loop() -> None:
    """Asyncio's debug mode and blockbuster on, for a whole run with faults and a close."""
    asyncio.get_running_loop().set_debug(True)
    async with Emulator(faults=FaultPlan.parse(FAULTS, seed=3)) as emulator:
        with blockbuster_ctx("alhena_async", excluded_modules=["alhena_async.emulator"]):
            async with client_of(emulator, retry=QUICK) as client:
                for event in shop(20, 300):
                    client.track_nowait(event)
                future = await asyncio.to_thread(client.track_threadsafe, cart("thread"))
                await asyncio.wrap_future(future)
                await client.flush(PATIENCE)
                assert client.stats().recorded == 301


async def test_after_close_no_task_and_no_connection_is_left() -> None:
    """What the client opened, it ended."""
    async with Emulator() as emulator:
        before = asyncio.all_tasks()
        async with client_of(emulator) as client:
            await client.record(cart())
        ours = [task for task in asyncio.all_tasks() - before if "alhena" in task.get_name()]
        assert ours == []
        assert client._engine._transport._session is None  # type: ignore[attr-defined]


async def test_retry_after_of_a_real_server_pauses_the_client() -> None:
    """As seconds and as a date, in any spelling of the header."""
    async with Emulator() as emulator:
        emulator.script(Fault(FaultKind.STATUS, status=429, retry_after=1))
        async with client_of(emulator, queue=QueuePolicy(linger=0.0)) as client:
            outcome = await client.record(cart())
            assert outcome.status is OutcomeStatus.RECORDED
            assert outcome.elapsed >= 1.0


async def test_an_attempt_that_hangs_is_repeated() -> None:
    """And the order that was recorded unheard is counted as recorded, once."""
    http = HttpPolicy(request_timeout=0.2)
    async with Emulator() as emulator:
        emulator.script(Fault(FaultKind.HANG_AFTER))
        async with client_of(emulator, http=http, retry=QUICK) as client:
            outcome = await client.record(checkout())
        assert outcome.status is OutcomeStatus.RECORDED
        assert outcome.ambiguous
        assert emulator.recorded_count == 1


def test_delivery_on_uvloop() -> None:
    """The other event loop that is found in production."""
    uvloop = pytest.importorskip("uvloop")
    events = shop(20, 300)

    async def deliver() -> None:
        async with Emulator(faults=FaultPlan.parse(FAULTS, seed=5)) as emulator:
            async with client_of(emulator, retry=QUICK, queue=QueuePolicy(linger=0.02)) as client:
                for event in events:
                    client.track_nowait(event)
                await client.flush(PATIENCE)
                assert client.stats().recorded == 300
            assert order_of(emulator) == order_wanted(events)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(deliver())
