"""Room for everyone: what one visitor can take, what is kept for orders, who waits behind whom."""

import asyncio
import contextlib
import logging
import statistics
from typing import Any

import attrs
import pytest

from alhena_async import (
    AlhenaClient,
    CheckoutEvent,
    LineItem,
    OutcomeStatus,
    Overflow,
    QueueFullError,
    QueuePolicy,
    Receipt,
)
from alhena_async.policies import OverflowName
from alhena_async.testing import virtual
from tests.scripted import HANG, Script, balance, cart, checkout, client_over, visitor


def narrow(
    overflow: Overflow | OverflowName = "reject", lane_capacity: int = 3, **more: Any
) -> QueuePolicy:
    return QueuePolicy(
        overflow=overflow,
        **{"lane_capacity": lane_capacity, "linger": 100.0, **more},
    )


def add(client: AlhenaClient, who: str, *products: str) -> list[Receipt]:
    return [client.track_nowait(cart(who, product=product)) for product in products]


def said(caplog: pytest.LogCaptureFixture, text: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if text in record.getMessage()]


# --- a full lane ---------------------------------------------------------------------------------


@virtual
async def test_a_full_lane_rejects_in_words_of_its_own() -> None:
    """And nobody else's."""
    async with client_over(Script(), queue=narrow()) as client:
        add(client, "greedy", "a", "b", "c")
        for event in (cart("greedy", product="d"), checkout("greedy")):
            with pytest.raises(QueueFullError, match="the visitor's lane is full") as caught:
                client.track_nowait(event)
            assert caught.value.lane
            assert caught.value.capacity == 3
            assert "lane_capacity" in str(caught.value)
        add(client, "honest", "a")
        assert client.stats().accepted == 4
        balance(client)


@virtual
async def test_a_full_queue_is_not_called_a_full_lane() -> None:
    """Each has a setting of its own."""
    async with client_over(Script(), queue=narrow(capacity=2)) as client:
        add(client, "v", "a", "b")
        with pytest.raises(QueueFullError, match="the queue is full") as caught:
            add(client, "v", "c")
        assert not caught.value.lane
        assert caught.value.capacity == 2


@virtual
async def test_a_full_lane_drops_what_comes() -> None:
    """The receipt says where there was no room; everybody else has it."""
    async with client_over(Script(), queue=narrow("drop")) as client:
        kept = add(client, "greedy", "a", "b", "c")
        (dropped,) = add(client, "greedy", "d")
        outcome = await dropped
        assert outcome.status is OutcomeStatus.DROPPED
        assert outcome.detail == "no room in the visitor's lane: the overflow policy drops"
        assert not any(receipt.done() for receipt in [*kept, *add(client, "honest", "a")])
        balance(client)


@virtual
async def test_a_full_lane_sheds_its_own_oldest_cart_event() -> None:
    """Not the oldest of all, and with it the later ones of its product."""
    async with client_over(Script(), queue=narrow("shed", 4), coalescing="off") as client:
        others = add(client, "honest", "a")
        first, second, again, other = add(client, "greedy", "a", "b", "a", "c")
        late = add(client, "greedy", "d")
        assert [(await receipt).status for receipt in (first, again)] == [OutcomeStatus.DROPPED] * 2
        assert not any(receipt.done() for receipt in [*others, second, other, *late])
        balance(client)


@virtual
async def test_a_full_lane_of_orders_sheds_nothing() -> None:
    """Its own orders stay, and so does everything of others."""
    async with client_over(Script(HANG), queue=narrow("shed")) as client:
        others = add(client, "honest", "a")
        orders = [client.track_nowait(checkout("greedy", order_id=f"o{n}")) for n in range(3)]
        await asyncio.sleep(1)
        orders.append(client.track_nowait(checkout("greedy", order_id="o3")))
        with pytest.raises(QueueFullError, match="lane is full"):
            add(client, "greedy", "a")
        assert not any(receipt.done() for receipt in [*others, *orders])
        await client.close(timeout=0)


@virtual
async def test_a_full_lane_lets_track_wait_for_its_own_room() -> None:
    """Until an event of it is under way; others come and go meanwhile."""
    transport = Script(latency=1.0)
    policy = narrow(linger=0.0)
    async with client_over(transport, queue=policy, coalescing="off") as client:
        tracking = [
            asyncio.create_task(client.track(cart("greedy", quantity=n))) for n in range(1, 9)
        ]
        await asyncio.sleep(0.5)
        assert [task.done() for task in tracking] == [True] * 4 + [False] * 4
        await asyncio.wait_for(client.track(cart("honest")), 0.01)
        await asyncio.sleep(1.0)
        assert [task.done() for task in tracking] == [True] * 5 + [False] * 3
        await asyncio.gather(*tracking)
        await client.flush()
    assert transport.of("greedy") == [f"mug:ITEM_ADDED:{n}" for n in range(1, 9)]


@virtual
async def test_what_is_folded_takes_room_in_its_lane() -> None:
    """A thousand clicks on one product are a thousand events until they are delivered."""
    async with client_over(Script(), queue=narrow()) as client:
        add(client, "greedy", "a", "a", "a")
        with pytest.raises(QueueFullError):
            add(client, "greedy", "a")
        await client.flush()
        add(client, "greedy", "a", "a", "a")


@virtual
async def test_what_fills_its_lane_does_not_linger() -> None:
    """Else the next would be turned away while the API has nothing to do."""
    transport = Script()
    async with client_over(transport, queue=narrow(), coalescing="off") as client:
        add(client, "greedy", "a", "b")
        await asyncio.sleep(1)
        assert not transport.sent
        add(client, "greedy", "c")
        await asyncio.sleep(1)
        assert len(transport.sent) == 3


@virtual
async def test_company_keys_have_lanes_of_their_own() -> None:
    """Two organisations know nothing of each other's visitors."""
    async with client_over(Script(), queue=narrow()) as client:
        add(client, "v", "a", "b", "c")
        client.track_nowait(cart("v"), company_key="other")
        with pytest.raises(QueueFullError):
            client.track_nowait(cart("v"), company_key="shop")  # the client's own


@virtual
async def test_a_refused_visitor_costs_no_memory() -> None:
    """Neither one that was turned away, nor one that went away."""
    policy = QueuePolicy(capacity=1, linger=100.0)
    for overflow in Overflow:
        async with client_over(
            Script(), queue=attrs.evolve(policy, overflow=overflow, checkout_reserve=0.0)
        ) as client:
            client.track_nowait(checkout("first"))
            for number in range(20):
                try:
                    client.track_nowait(cart(f"v{number}"))
                except QueueFullError:
                    assert overflow is not Overflow.DROP
            gone = asyncio.create_task(client.track(cart("gone")))
            await asyncio.sleep(0)
            gone.cancel()
            await asyncio.wait({gone})
            assert len(client._queue.scheduler.lanes) <= 1
            await client.close(timeout=0)


# --- the log -------------------------------------------------------------------------------------


@pytest.mark.parametrize("overflow", Overflow)
@virtual
async def test_the_log_tells_of_a_full_lane(
    overflow: Overflow, caplog: pytest.LogCaptureFixture
) -> None:
    """As it begins, without a word on whose it is."""
    caplog.set_level(logging.WARNING, logger="alhena_async")
    async with client_over(Script(), queue=narrow(overflow)) as client:
        for number in range(13):
            try:
                add(client, "fingerprint-of-greedy", f"p{number}")
            except QueueFullError:
                assert overflow is Overflow.REJECT
        (line,) = said(caplog, "one visitor's events")
        assert "lane_capacity" in line
        assert not said(caplog, "greedy")
        await client.close(timeout=0)


@pytest.mark.parametrize(("of_one", "says_so"), [(6, True), (5, False)])
@virtual
async def test_the_log_tells_if_most_of_a_full_queue_is_one_visitor(
    of_one: int, says_so: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever is turned away then; a script looks different from an API that is down."""
    caplog.set_level(logging.WARNING, logger="alhena_async")
    async with client_over(Script(), queue=narrow("drop", 9, capacity=10)) as client:
        add(client, "greedy", *map(str, range(of_one)))
        for number in range(11 - of_one):
            add(client, f"honest-{number}", "a")
    (line,) = said(caplog, "events are dropped")
    assert ("Most of it is one visitor" in line) == says_so
    assert "greedy" not in line


@virtual
async def test_the_log_tells_of_callers_that_are_kept_waiting(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """`await track` loses nothing, and a slow page has a reason that somebody should know."""
    caplog.set_level(logging.WARNING, logger="alhena_async")
    async with client_over(Script(latency=1.0), queue=QueuePolicy(capacity=1, linger=0)) as client:
        await asyncio.gather(*(client.track(cart(f"v{number}")) for number in range(3)))
    assert len(said(caplog, "events wait for room")) == 1


# --- orders --------------------------------------------------------------------------------------


@virtual
async def test_orders_find_room_when_carts_have_taken_all_of_theirs() -> None:
    """A share of it is kept back for them, by default a twentieth."""
    async with client_over(Script(HANG), queue=QueuePolicy(capacity=40, linger=100.0)) as client:
        for number in range(38):
            client.track_nowait(cart(f"v{number}"))
        with pytest.raises(QueueFullError, match=r"40 events, 2 of them kept for checkouts"):
            client.track_nowait(cart("late"))
        client.track_nowait(checkout("a"))
        await client.track(checkout("b"), timeout=0.1)
        with pytest.raises(QueueFullError, match=r"40 events\)"):
            client.track_nowait(checkout("c"))
        await client.close(timeout=0)


@virtual
async def test_an_order_sheds_a_cart_event_only_when_its_share_is_used_up() -> None:
    """There is room for it."""
    policy = QueuePolicy(capacity=10, checkout_reserve=0.1, linger=100.0, overflow="shed")
    async with client_over(Script(HANG), queue=policy) as client:
        oldest, *others = [client.track_nowait(cart(f"v{number}")) for number in range(9)]
        client.track_nowait(checkout("a"))
        assert not oldest.done()
        client.track_nowait(checkout("b"))
        assert (await oldest).status is OutcomeStatus.DROPPED
        assert not any(receipt.done() for receipt in others)
        await client.close(timeout=0)


@virtual
async def test_a_large_order_sheds_as_much_as_it_takes() -> None:
    """Bytes are bounded under every policy, however often it happens."""
    line = LineItem(product_id="p", product_name="n" * 1_000, quantity=1, value=1, currency="EUR")
    policy = QueuePolicy(
        capacity=100,
        capacity_bytes=200_000,
        checkout_reserve=0.0,
        linger=100.0,
        overflow="shed",
    )
    async with client_over(Script(HANG), queue=policy) as client:
        for number in range(100):
            client.track_nowait(cart(f"v{number}"))
        admission = client._queue.admission
        for number in range(5):
            order = CheckoutEvent(
                visitor=visitor(f"o{number}"),
                value=1,
                currency="EUR",
                line_items=[line] * 10,
                order_id=f"o{number}",
            )
            client.track_nowait(order)
            assert admission.taken + admission.large <= 100 + admission.slots_of(order)
        assert admission.taken + admission.large == 100
        balance(client)
        await client.close(timeout=0)


# --- one greedy visitor --------------------------------------------------------------------------


async def _shop_day(*, greedy: int, durable: bool) -> tuple[list[float], int]:
    """Return how long 25 honest orders waited for room, and how many honest events were lost."""
    waits: list[float] = []
    lost: list[Receipt] = []
    loop = asyncio.get_running_loop()

    async def shop(number: int, client: AlhenaClient) -> None:
        await asyncio.sleep(number * 0.37)
        lost.append(client.track_nowait(cart(f"honest-{number}")))
        began = loop.time()
        lost.append(await client.track(checkout(f"honest-{number}", order_id=f"o{number}")))
        waits.append(loop.time() - began)

    async def attack(client: AlhenaClient) -> None:
        waiting = []
        for number in range(greedy):
            await asyncio.sleep(0.004)
            event = cart("greedy", product=f"p{number}")
            if durable:
                waiting.append(asyncio.create_task(client.track(event)))
                continue
            with contextlib.suppress(QueueFullError):
                client.track_nowait(event)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    async with client_over(Script(latency=0.05)) as client:
        shopping = [asyncio.create_task(shop(number, client)) for number in range(25)]
        await attack(client)
        await asyncio.gather(*shopping)
        outcomes = [await receipt for receipt in lost]
        balance(client)
        await client.close(timeout=0)
    return waits, sum(not outcome.ok for outcome in outcomes)


@pytest.mark.parametrize("durable", [False, True], ids=["track_nowait", "track"])
@virtual
async def test_one_visitor_sending_250_events_a_second_costs_nobody_else_anything(
    durable: bool,
) -> None:
    """With every default, and an API at 50 ms: nothing lost, and no order waits longer."""
    calm, _ = await _shop_day(greedy=0, durable=durable)
    waits, lost = await _shop_day(greedy=2_250, durable=durable)
    assert lost == 0
    assert len(waits) == 25
    assert statistics.quantiles(waits, n=100)[-1] <= 2 * statistics.quantiles(calm, n=100)[-1]


# --- bytes ---------------------------------------------------------------------------------------


@virtual
async def test_a_queue_full_of_large_events_says_so() -> None:
    """More of `capacity` would be more of them."""
    policy = QueuePolicy(capacity=100, capacity_bytes=200_000, checkout_reserve=0, linger=100.0)
    async with client_over(Script(HANG), queue=policy) as client:
        full = None
        while full is None:
            count = client.stats().accepted
            try:
                client.track_nowait(cart(f"v{count}", product="x" * 5_000))
            except QueueFullError as error:
                full = error
        assert count < 20
        assert f"the room of {full.large} more" in str(full)
        assert "raise QueuePolicy.capacity_bytes" in str(full)
        await client.close(timeout=0)
