"""Order, fairness and the bounds on what is on the wire, through the whole client."""

import asyncio

import pytest

from alhena_async import (
    BreakerState,
    Coalescing,
    CompanyNotFoundError,
    OutcomeStatus,
    QueuePolicy,
    Reply,
    RetryPolicy,
)
from alhena_async.testing import Sent, virtual
from tests.scripted import (
    OK,
    RESET,
    Script,
    balance,
    cart,
    checkout,
    client_over,
    code,
    status,
)

NO_LINGER = QueuePolicy(linger=0.0)


def flaky(sent: Sent) -> Reply | Exception:
    """Fail every third request, in each of the ways that are tried again."""
    flaky.count += 1  # type: ignore[attr-defined]
    kind = flaky.count % 9  # type: ignore[attr-defined]
    return {0: RESET, 3: status(500), 6: status(429)}.get(kind, OK)  # type: ignore[return-value]


@virtual
async def test_a_lane_keeps_its_order_through_retries() -> None:
    """Whatever fails and is tried again, no later event of the visitor passes it."""
    flaky.count = 0  # type: ignore[attr-defined]
    transport = Script(otherwise=flaky, latency=0.05)
    async with client_over(transport, queue=NO_LINGER, coalescing="off") as client:
        for number in range(1, 41):
            client.track_nowait(cart(f"v{number % 4}", quantity=number))
        await client.flush()
        balance(client)
    for who in range(4):
        firsts = list(dict.fromkeys(transport.of(f"v{who}")))
        wanted = [f"mug:ITEM_ADDED:{n}" for n in range(1, 41) if n % 4 == who]
        assert firsts == wanted
    assert transport.max_in_flight_per_visitor == 1
    assert transport.max_in_flight == 4


@virtual
async def test_a_retry_is_repeated_before_anything_else_of_its_lane() -> None:
    """The lane stays taken through backoff: the wire shows a, a, a, b."""
    transport = Script(status(500), RESET, OK, OK)
    async with client_over(transport, queue=NO_LINGER) as client:
        client.track_nowait(cart(product="a"))
        client.track_nowait(checkout(order_id="b"))
        await client.flush()
    assert transport.what == ["a:ITEM_ADDED:1"] * 3 + ["b"]


@virtual
async def test_a_lane_in_backoff_holds_no_slot() -> None:
    """With room for one request, a visitor in backoff does not keep the others waiting."""
    transport = Script(status(500), otherwise=OK)
    retry = RetryPolicy(base=1000.0, cap=1000.0)
    policy = QueuePolicy(linger=0.0, max_in_flight=1)
    async with client_over(transport, queue=policy, retry=retry) as client:
        slow = client.track_nowait(cart("slow"))
        await asyncio.sleep(0.001)
        assert client.stats().in_flight == 1
        quick = client.track_nowait(cart("quick"))
        assert (await quick).status is OutcomeStatus.RECORDED
        assert (await quick).elapsed < 0.001
        assert not slow.done()
        await client.flush()


@virtual
async def test_after_a_terminal_refusal_the_lane_goes_on() -> None:
    """A refused event costs only itself."""
    transport = Script(code("COMPANY_NOT_FOUND"), OK)
    async with client_over(transport, queue=NO_LINGER) as client:
        refused = client.track_nowait(cart(product="a"))
        recorded = client.track_nowait(cart(product="b"))
        assert (await refused).status is OutcomeStatus.REJECTED
        assert (await recorded).status is OutcomeStatus.RECORDED


@virtual
async def test_max_in_flight_bounds_the_requests_on_the_wire() -> None:
    """A hundred visitors, five requests at once, and all five are used."""
    transport = Script(latency=0.1)
    policy = QueuePolicy(linger=0.0, max_in_flight=5)
    async with client_over(transport, queue=policy) as client:
        for number in range(100):
            client.track_nowait(cart(f"v{number}"))
        await client.flush()
    assert transport.max_in_flight == 5
    assert transport.times[-1] == pytest.approx(1.9)


@virtual
async def test_a_visitor_with_10_000_events_does_not_starve_the_others() -> None:
    """One who comes last waits for one turn, not for 10,000."""
    transport = Script(latency=0.01)
    policy = QueuePolicy(linger=0.0, max_in_flight=1, capacity=20_000, lane_capacity=20_000)
    async with client_over(transport, queue=policy, coalescing=Coalescing.OFF) as client:
        for number in range(10_000):
            client.track_nowait(cart("greedy", quantity=number + 1))
        latecomers = [client.track_nowait(cart(f"late{number}")) for number in range(20)]
        for receipt in latecomers:
            await receipt
        assert len(transport.of("greedy")) <= 2
        assert client.stats().recorded <= 22
        await client.close(timeout=0)


@virtual
async def test_lanes_take_turns() -> None:
    """Visitors with many events each are served round by round."""
    transport = Script(latency=0.01)
    policy = QueuePolicy(linger=0.0, max_in_flight=1)
    async with client_over(transport, queue=policy, coalescing="off") as client:
        for who in "abc":
            for number in range(1, 5):
                client.track_nowait(cart(who, quantity=number))
        await client.flush()
    assert [sent.fingerprint for sent in transport.sent] == list("abc") * 4


@virtual
async def test_the_endpoints_take_turns() -> None:
    """A thousand visitors with cart events keep no order waiting."""
    transport = Script(latency=0.01)
    policy = QueuePolicy(linger=0.0, max_in_flight=1)
    async with client_over(transport, queue=policy) as client:
        for number in range(1_000):
            client.track_nowait(cart(f"v{number}"))
        order = await client.record(checkout("buyer"))
        assert order.elapsed < 0.05
        await client.close(timeout=0)


@virtual
async def test_the_company_key_of_an_event_is_part_of_its_lane() -> None:
    """Two organisations' events of one visitor do not wait for each other, nor fold."""
    transport = Script(latency=1.0)
    async with client_over(transport, queue=NO_LINGER) as client:
        receipts = [
            client.track_nowait(cart()),
            client.track_nowait(cart(), company_key="other"),
            client.track_nowait(cart(), company_key="shop"),
        ]
        outcomes = [await receipt for receipt in receipts]
    assert [sent.payload["company_key"] for sent in transport.sent] == ["shop", "other"]
    assert [sent.at for sent in transport.sent] == [0.0, 0.0]
    assert outcomes[0].status is OutcomeStatus.COALESCED  # "shop" is the client's own key


@virtual
async def test_every_call_takes_a_company_key() -> None:
    """`track`, `record`, `record_all` and `track_threadsafe` send under the key they are given."""
    transport = Script()
    async with client_over(transport, queue=NO_LINGER) as client:
        await (await client.track(cart("a"), company_key="one"))
        await client.record(cart("b"), company_key="two")
        async for _ in client.record_all([cart("c")], company_key="three"):
            pass
        future = client.track_threadsafe(cart("d"), company_key="four")
        await asyncio.wrap_future(future)
    assert [sent.payload["company_key"] for sent in transport.sent] == [
        "one",
        "two",
        "three",
        "four",
    ]


@virtual
async def test_an_empty_company_key_is_refused_before_anything_is_accepted() -> None:
    """A key that is no text is the caller's mistake, and leaves no trace."""
    async with client_over(Script()) as client:
        for wrong in ("", "  ", 7):
            with pytest.raises(ValueError, match="company_key"):
                client.track_nowait(cart(), company_key=wrong)  # type: ignore[arg-type]
        assert client.stats().accepted == 0


@virtual
async def test_a_checkout_that_stood_behind_an_expired_cart_event_is_sent_at_once() -> None:
    """The cart endpoint's breaker holds up no checkout, and nothing is forgotten in its line."""

    def carts_are_down(sent: Sent) -> Reply:
        return status(500) if sent.endpoint.value.endswith("cart_events") else OK

    transport = Script(otherwise=carts_are_down)
    retry = RetryPolicy(cart_delivery_timeout=30.0)
    async with client_over(transport, queue=NO_LINGER, retry=retry) as client:
        others = [client.track_nowait(cart(f"v{number}")) for number in range(60)]
        await asyncio.sleep(20.0)
        assert client.stats().cart_breaker is not BreakerState.CLOSED
        parked = client.track_nowait(cart("parked"))
        behind = client.track_nowait(checkout("parked"))
        await parked
        assert client.stats().cart_breaker is not BreakerState.CLOSED
        assert (await behind).elapsed == pytest.approx(30.0)
        for receipt in others:
            assert (await receipt).status is OutcomeStatus.EXPIRED


@virtual
async def test_a_cart_event_that_stood_behind_an_expired_checkout_is_sent_at_once() -> None:
    """The same the other way round."""

    def checkouts_are_down(sent: Sent) -> Reply:
        return OK if sent.endpoint.value.endswith("cart_events") else status(500)

    transport = Script(otherwise=checkouts_are_down)
    retry = RetryPolicy(checkout_delivery_timeout=30.0)
    async with client_over(transport, queue=NO_LINGER, retry=retry) as client:
        for number in range(60):
            client.track_nowait(checkout(f"v{number}", order_id=f"o{number}"))
        await asyncio.sleep(20.0)
        parked = client.track_nowait(checkout("parked", order_id="o"))
        behind = client.track_nowait(cart("parked"))
        assert (await parked).status is OutcomeStatus.EXPIRED
        assert (await behind).elapsed == pytest.approx(30.0)


@virtual
async def test_empty_lanes_vanish() -> None:
    """What is settled leaves nothing behind, however it ended."""
    transport = Script(code("COMPANY_NOT_FOUND"), status(500))
    async with client_over(transport, queue=NO_LINGER) as client:
        for number in range(50):
            client.track_nowait(cart(f"v{number}"))
        await client.flush()
        transport.answer(code("COMPANY_NOT_FOUND"))
        with pytest.raises(CompanyNotFoundError):
            await client.record(checkout("x"))
        assert client._queue.scheduler.lanes == {}
