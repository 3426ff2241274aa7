"""Room: capacity, who waits for it, and what the overflow policies do without it."""

import asyncio
import contextlib
import logging
import math
from typing import Any

import pytest

from alhena_async import (
    AlhenaClient,
    AlhenaTimeoutError,
    DeliveryDroppedError,
    OutcomeStatus,
    Overflow,
    QueueFullError,
    QueuePolicy,
    Receipt,
)
from alhena_async.testing import virtual
from tests.scripted import HANG, Script, balance, cart, checkout, client_over


def small(overflow: Overflow | str = "reject", capacity: int = 3, **more: float) -> QueuePolicy:
    policy = {"linger": 100.0, **more}
    return QueuePolicy(capacity=capacity, overflow=overflow, **policy)  # type: ignore[arg-type]


def fill(client: AlhenaClient, *products: str) -> list[Receipt]:
    return [client.track_nowait(cart(product=product)) for product in products]


@virtual
async def test_reject_raises_and_keeps_nothing() -> None:
    """`QueueFullError` names the capacity, and nothing is counted."""
    async with client_over(Script(), queue=small()) as client:
        fill(client, "a", "b", "c")
        with pytest.raises(QueueFullError) as caught:
            client.track_nowait(cart())
        assert caught.value.capacity == 3
        assert client.stats().accepted == 3
        balance(client)


@virtual
async def test_drop_never_raises() -> None:
    """The new event's receipt settles as `DROPPED` at once; it counts as accepted."""
    async with client_over(Script(), queue=small("drop")) as client:
        fill(client, "a", "b", "c")
        receipt = client.track_nowait(cart())
        assert receipt.done()
        assert (await receipt).status is OutcomeStatus.DROPPED
        assert "no room" in str((await receipt).detail)
        assert client.stats().accepted == 4
        balance(client)
        with pytest.raises(DeliveryDroppedError):
            (await receipt).raise_for_status()


@pytest.mark.parametrize("overflow", ["drop", "shed"])
@virtual
async def test_a_full_queue_that_drops_is_warned_of(
    overflow: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As it begins: nobody else is told, since no call raises."""
    caplog.set_level(logging.WARNING, logger="alhena_async")
    async with client_over(Script(), queue=small(overflow), coalescing="off") as client:
        fill(client, *"abcdefghijklm")
    [said] = [one.message for one in caplog.records if "events are dropped" in one.message]
    assert "3 events are waiting: is Alhena out of reach" in said


@virtual
async def test_what_is_in_flight_and_what_is_folded_take_room() -> None:
    """Capacity bounds queued + in flight, and a folded event counts as queued."""
    transport = Script(HANG)
    async with client_over(transport, queue=small(linger=0.1)) as client:
        fill(client, "a")
        await asyncio.sleep(1)
        fill(client, "b", "b")
        assert client.stats().in_flight == 1
        assert client.stats().queued == 2
        with pytest.raises(QueueFullError):
            fill(client, "c")
        await client.close(timeout=0)


@virtual
async def test_shed_drops_the_oldest_cart_event_with_the_later_ones_of_its_product() -> None:
    """A later change of a product whose addition was shed would only be refused."""
    transport = Script()
    async with client_over(transport, queue=small("shed", 5), coalescing="off") as client:
        oldest = client.track_nowait(cart("other", product="a"))
        a, b, a2, c = fill(client, "a", "b", "a", "c")
        newest = client.track_nowait(cart("new"))
        assert (await oldest).status is OutcomeStatus.DROPPED
        assert "shed" in str((await oldest).detail)
        assert not any(receipt.done() for receipt in (a, b, a2, c, newest))
        newer = client.track_nowait(cart("newer"))
        assert [(await receipt).status for receipt in (a, a2)] == [OutcomeStatus.DROPPED] * 2
        assert not any(receipt.done() for receipt in (b, c, newest, newer))
        balance(client)
        await client.flush()
    assert transport.of("v") == ["b:ITEM_ADDED:1", "c:ITEM_ADDED:1"]


@virtual
async def test_shed_never_drops_a_checkout_nor_what_is_in_flight() -> None:
    """With nothing else to drop it rejects."""
    transport = Script(HANG)
    async with client_over(transport, queue=small("shed", linger=0.1)) as client:
        flying = client.track_nowait(cart())
        await asyncio.sleep(1)
        assert client.stats().in_flight == 1
        orders = [client.track_nowait(checkout(order_id=name)) for name in ("x", "y")]
        with pytest.raises(QueueFullError):
            client.track_nowait(cart(product="b"))
        with pytest.raises(QueueFullError):
            client.track_nowait(checkout(order_id="z"))
        assert not any(receipt.done() for receipt in (flying, *orders))
        balance(client)
        await client.close(timeout=0)


@virtual
async def test_a_checkout_sheds_a_cart_event() -> None:
    """Carts make room for orders."""
    async with client_over(Script(), queue=small("shed")) as client:
        a, b, c = fill(client, "a", "b", "c")
        order = client.track_nowait(checkout("w"))
        assert (await a).status is OutcomeStatus.DROPPED
        await client.flush()
        for receipt in (b, c, order):
            assert (await receipt).ok


@virtual
async def test_an_event_that_was_folded_is_shed_with_its_survivor() -> None:
    """The oldest waiting event is what speaks for it now; nothing of both stays."""
    async with client_over(Script(), queue=small("shed", 4)) as client:
        first, survivor, b, c = fill(client, "a", "a", "b", "c")
        fill(client, "d")
        assert (await survivor).status is OutcomeStatus.DROPPED
        assert (await first).status is OutcomeStatus.COALESCED
        assert not (await first).ok
        assert not b.done()
        assert not c.done()
        balance(client)


@virtual
async def test_track_waits_first_come_first_served() -> None:
    """Those who wait are let in, in the order of their calls, as room comes free."""
    transport = Script(latency=1.0)
    policy = QueuePolicy(capacity=1, linger=0.0)
    async with client_over(transport, queue=policy) as client:
        async with asyncio.TaskGroup() as group:
            for number in range(8):
                group.create_task(client.track(cart(f"v{number}")))
                await asyncio.sleep(0.01)
        await client.flush()
    assert [sent.fingerprint for sent in transport.sent] == [f"v{n}" for n in range(8)]


@virtual
async def test_while_track_callers_wait_track_nowait_finds_no_room() -> None:
    """No barging: not even in the moment between a settled event and the waiter's turn."""
    transport = Script(latency=1.0)
    policy = QueuePolicy(capacity=1, linger=0.0)
    async with client_over(transport, queue=policy) as client:
        first = client.track_nowait(cart("first"))
        waiting = asyncio.create_task(client.track(cart("second")))
        await asyncio.sleep(0.5)
        barged: list[object] = []

        def barge(_: Receipt) -> None:
            try:
                barged.append(client.track_nowait(cart("barger")))
            except QueueFullError as error:
                barged.append(error)

        first.add_done_callback(barge)
        await first
        barge(first)
        await (await waiting)
        assert [type(result) for result in barged] == [QueueFullError] * 2
        assert transport.what == ["mug:ITEM_ADDED:1"] * 2


@virtual
async def test_track_cancelled_while_it_waits_leaves_no_trace() -> None:
    """Neither the event nor its place in the queue for room."""
    transport = Script(latency=1.0)
    policy = QueuePolicy(capacity=1, linger=0.0)
    async with client_over(transport, queue=policy) as client:
        client.track_nowait(cart("first"))
        gone = asyncio.create_task(client.track(cart("gone")))
        stays = asyncio.create_task(client.track(cart("stays")))
        await asyncio.sleep(0.5)
        gone.cancel()
        await asyncio.sleep(0)
        assert gone.cancelled()
        await (await stays)
        assert client.stats().accepted == 2
    assert [sent.fingerprint for sent in transport.sent] == ["first", "stays"]


@virtual
async def test_track_cancelled_after_its_place_was_granted_passes_it_on() -> None:
    """Room is not leaked by a caller that is cancelled in the very moment it gets it."""
    transport = Script(latency=1.0)
    policy = QueuePolicy(capacity=1, linger=0.0)
    async with client_over(transport, queue=policy) as client:
        first = client.track_nowait(cart("first"))
        gone = asyncio.create_task(client.track(cart("gone")))
        stays = asyncio.create_task(client.track(cart("stays")))
        await asyncio.sleep(0.5)
        first.add_done_callback(lambda _: gone.cancel())
        await (await stays)
        assert gone.cancelled()
        assert client._queue.admission.outstanding == 0
        client.track_nowait(cart("last"))
    assert [sent.fingerprint for sent in transport.sent] == ["first", "stays", "last"]


@virtual
async def test_track_that_finds_no_room_in_time_accepted_nothing() -> None:
    """`TimeoutError` says so, and the place in line is given up."""
    async with client_over(Script(HANG), queue=QueuePolicy(capacity=1, linger=0.0)) as client:
        client.track_nowait(cart())
        with pytest.raises(TimeoutError, match=r"no room within 2 s; not accepted"):
            await client.track(cart(), timeout=2)
        assert client.stats().accepted == 1
        (lane,) = client._queue.scheduler.lanes.values()
        assert not lane.callers
        await client.close(timeout=0)


@virtual
async def test_the_clients_track_timeout_holds_where_a_call_names_none() -> None:
    """What a call names wins, and infinity waits as long as it takes."""
    loop = asyncio.get_running_loop()
    async with client_over(
        Script(HANG), queue=QueuePolicy(capacity=1, linger=0.0, track_timeout=0.5)
    ) as client:
        client.track_nowait(cart())
        with pytest.raises(AlhenaTimeoutError) as caught:
            await client.track(cart())
        assert (loop.time(), caught.value.accepted) == (0.5, False)
        with pytest.raises(AlhenaTimeoutError, match="within 2 s"):
            await client.track(cart(), timeout=2)
        assert loop.time() == 2.5
        waiting = asyncio.create_task(client.track(cart(), timeout=math.inf))
        await asyncio.sleep(5)
        assert not waiting.done()
        waiting.cancel()
        await client.close(timeout=0)


@pytest.mark.parametrize("timeout", [-1, math.nan, True, "0.5"])
def test_a_track_timeout_that_cannot_work_is_refused(timeout: Any) -> None:
    """When the client is made, not at the first order."""
    with pytest.raises((ValueError, TypeError), match=r"QueuePolicy\.track_timeout must"):
        QueuePolicy(track_timeout=timeout)


@virtual
async def test_capacity_is_never_exceeded() -> None:
    """With callers of every kind pressing, outstanding stays within the bound."""
    transport = Script(latency=0.01)
    policy = QueuePolicy(capacity=7, linger=0.0, max_in_flight=3, overflow="shed")
    async with client_over(transport, queue=policy) as client:
        seen: list[int] = []

        async def press(number: int) -> None:
            await client.track(cart(f"t{number}"))
            seen.append(client._queue.outstanding)
            with contextlib.suppress(QueueFullError):
                client.track_nowait(cart(f"n{number}"))
            seen.append(client._queue.outstanding)
            await client.record(checkout(f"r{number}", order_id=f"o{number}"))
            seen.append(client._queue.outstanding)
            balance(client)

        async with asyncio.TaskGroup() as group:
            for number in range(60):
                group.create_task(press(number))
        assert max(seen) == 7
        balance(client)


@virtual
async def test_shed_does_not_pass_those_who_wait() -> None:
    """While `track` callers wait, shedding makes no room for who comes later."""
    transport = Script(latency=1.0)
    policy = QueuePolicy(capacity=2, linger=100.0, overflow="shed")
    async with client_over(transport, queue=policy) as client:
        waits_in_lane = fill(client, "a", "b")
        waiting = asyncio.create_task(client.track(cart("first")))
        await asyncio.sleep(0)
        with pytest.raises(QueueFullError):
            client.track_nowait(cart("barger"))
        assert not any(receipt.done() for receipt in waits_in_lane)
        await client.flush()
        assert not (await waiting).done()
