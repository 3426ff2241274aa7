"""Linger, full batches and flush: when a waiting event is sent."""

import asyncio

import pytest

from alhena_async import (
    OutcomeStatus,
    QueuePolicy,
)
from alhena_async.testing import virtual
from tests.scripted import (
    NEVER_SENT,
    Script,
    balance,
    cart,
    checkout,
    client_over,
    status,
)


@virtual
async def test_a_cart_event_lingers_for_company() -> None:
    """It is sent when its linger is over, not sooner, not later."""
    transport = Script()
    async with client_over(transport, queue=QueuePolicy(linger=0.5)) as client:
        await client.track_nowait(cart())
    assert transport.times == [pytest.approx(0.5)]


@virtual
async def test_linger_runs_from_the_oldest_waiting_event() -> None:
    """A survivor waits no longer than the event that was folded into it would have."""
    transport = Script()
    async with client_over(transport, queue=QueuePolicy(linger=0.5)) as client:
        client.track_nowait(cart(quantity=1))
        for quantity in (2, 3, 4):
            await asyncio.sleep(0.12)
            client.track_nowait(cart(quantity=quantity))
        await asyncio.sleep(0.2)
        assert transport.times == [pytest.approx(0.5)]
        assert transport.what == ["mug:ITEM_ADDED:4"]


@virtual
async def test_linger_runs_from_the_oldest_waiting_event_after_a_delivery_too() -> None:
    """What arrives while an attempt runs lingers from its own arrival."""
    transport = Script(latency=0.3)
    async with client_over(transport, queue=QueuePolicy(linger=0.5)) as client:
        client.track_nowait(cart(product="a"))
        await asyncio.sleep(0.6)
        client.track_nowait(cart(product="b"))
        await asyncio.sleep(0.3)
        client.track_nowait(cart(product="c"))
        await asyncio.sleep(2.0)
    assert transport.times == [pytest.approx(0.5), pytest.approx(1.1), pytest.approx(1.4)]


@pytest.mark.parametrize("hurrying", ["checkout", "record", "flush", "close"])
@virtual
async def test_some_calls_make_a_lane_ready_at_once(hurrying: str) -> None:
    """A checkout, `record`, `flush` and `close` wait for no linger, and for nothing before them."""
    transport = Script()
    async with client_over(transport, queue=QueuePolicy(linger=100.0)) as client:
        client.track_nowait(cart())
        if hurrying == "checkout":
            await client.track_nowait(checkout())
        elif hurrying == "record":
            await client.record(cart(product="other"))
        elif hurrying == "flush":
            await client.flush()
        else:
            await client.close()
        assert asyncio.get_running_loop().time() == 0.0
        assert transport.what[0] == "mug:ITEM_ADDED:1"


@virtual
async def test_record_does_not_linger_even_behind_nothing() -> None:
    """An event under `record` or `record_all` goes out at once."""
    transport = Script()
    async with client_over(transport, queue=QueuePolicy(linger=100.0)) as client:
        await client.record(cart("a"))
        async for _ in client.record_all([cart("b")]):
            pass
    assert transport.times == [0.0, 0.0]


@virtual
async def test_a_full_batch_ends_every_linger() -> None:
    """At `flush_at` waiting events all lanes are ready; one event fewer, and they linger."""
    transport = Script()
    policy = QueuePolicy(linger=100.0, flush_at=10)
    async with client_over(transport, queue=policy) as client:
        for number in range(9):
            client.track_nowait(cart(f"v{number}"))
        await asyncio.sleep(50.0)
        assert transport.sent == []
        client.track_nowait(cart("v9"))
        await asyncio.sleep(0.001)
        assert transport.times == [50.0] * 10
        client.track_nowait(cart("v10"))
        await asyncio.sleep(1.0)
        assert len(transport.sent) == 10  # the batch is over: the next one lingers again


@virtual
async def test_without_flush_at_a_batch_is_never_full() -> None:
    """None: however many wait, they linger."""
    transport = Script()
    policy = QueuePolicy(linger=100.0, flush_at=None)
    async with client_over(transport, queue=policy) as client:
        for number in range(3_000):
            client.track_nowait(cart(f"v{number}"))
        await asyncio.sleep(99.0)
        assert transport.sent == []
        await client.close(timeout=0)


@virtual
async def test_flush_waits_for_lanes_in_backoff_and_for_nothing_that_came_later() -> None:
    """Everything accepted before the call is settled, whatever is accepted meanwhile."""
    transport = Script(NEVER_SENT, NEVER_SENT, NEVER_SENT, latency=0.1)
    async with client_over(transport, queue=QueuePolicy(linger=1.0)) as client:
        first = client.track_nowait(cart("a"))
        flush = asyncio.create_task(client.flush())
        for number in range(50):
            await asyncio.sleep(0.05)
            client.track_nowait(cart("a", quantity=number + 2))
            if flush.done():
                break
        await flush
        assert first.done()
        assert client.stats().queued > 0
        balance(client)


@virtual
async def test_flush_that_takes_too_long_says_so_and_leaves_the_events_queued() -> None:
    """`TimeoutError` names the number; the events are delivered all the same."""
    transport = Script(status(503, retry_after=60))
    async with client_over(transport, queue=QueuePolicy(linger=0.0)) as client:
        receipt = client.track_nowait(cart())
        with pytest.raises(TimeoutError, match=r"flush: 1 events .* 5 s; they stay queued"):
            await client.flush(timeout=5)
        assert (await receipt).status is OutcomeStatus.RECORDED


@virtual
async def test_several_flushes_end_each_at_its_own_time() -> None:
    """A flush does not wait for what was accepted after it, nor end before what came before."""
    transport = Script(latency=1.0)
    async with client_over(transport, queue=QueuePolicy(linger=100.0, max_in_flight=1)) as client:
        ended: list[int] = []

        async def flush(number: int) -> None:
            await client.flush()
            ended.append(number)

        async with asyncio.TaskGroup() as group:
            for number in range(3):
                client.track_nowait(cart(f"v{number}"))
                group.create_task(flush(number))
                await asyncio.sleep(0.1)
        assert ended == [0, 1, 2]
        await client.flush()  # with nothing to wait for


@virtual
async def test_what_a_flush_waits_for_folds_into_nothing_that_came_after_it() -> None:
    """Else a visitor who keeps clicking would put the flush off for ever."""
    transport = Script(latency=1.0)
    async with client_over(transport, queue=QueuePolicy(linger=0.0)) as client:
        client.track_nowait(checkout())  # keeps the lane for a second
        await asyncio.sleep(0.5)
        before = client.track_nowait(cart(quantity=1))
        flush = asyncio.create_task(client.flush())
        await asyncio.sleep(0)
        after = client.track_nowait(cart(quantity=2))
        await flush
        assert (await before).status is OutcomeStatus.RECORDED
        assert not after.done()


@virtual
async def test_who_folds_a_due_event_away_is_due_itself() -> None:
    """A late click does not make the visitor's lane linger anew."""
    transport = Script(latency=3.0)
    async with client_over(transport, queue=QueuePolicy(linger=0.5)) as client:
        client.track_nowait(checkout())  # keeps the lane for three seconds
        await asyncio.sleep(0.1)
        client.track_nowait(cart(quantity=1))
        await asyncio.sleep(2.8)
        client.track_nowait(cart(quantity=2))
        await asyncio.sleep(1.0)
        assert transport.times == [0.0, pytest.approx(3.0)]
