"""`QueuePolicy.max_rate`: so many requests a second, evenly, for everybody."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from math import inf

import pytest

from alhena_async import Endpoint, OutcomeStatus, QueuePolicy, RetryPolicy
from alhena_async._delivery.throttling import next_request_at
from alhena_async.testing import Sent, virtual
from tests.memory_journal import MemoryJournal
from tests.scripted import OK, Script, balance, cart, checkout, client_over, status


def rated(max_rate: float, **fields: float) -> QueuePolicy:
    return QueuePolicy(linger=0.0, max_rate=max_rate, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("planned", "now", "then"),
    [
        (-inf, 5.0, 5.25),  # the first
        (5.0, 5.0, 5.25),  # on time
        (5.0, 5.03, 5.25),  # a busy loop was late: the next is on time again
        (5.0, 5.2, 5.45),  # nobody sent: nothing is saved up
        (5.0, 500.0, 500.25),
        (7.0, 5.0, 5.25),  # a clock that was set back holds nobody for longer
    ],
)
def test_when_the_next_may_go(planned: float, now: float, then: float) -> None:
    """One token, no savings."""
    assert next_request_at(planned, now, 0.25) == pytest.approx(then)


@pytest.mark.parametrize("max_rate", [0.5, 10.0, 400.0])
@virtual
async def test_requests_go_at_the_rate_and_no_faster(max_rate: float) -> None:
    """However much waits, and however fast the API is."""
    transport = Script(latency=0.001)
    retry = RetryPolicy(cart_delivery_timeout=10_000.0)
    async with client_over(transport, queue=rated(max_rate), retry=retry) as client:
        for number in range(60):
            client.track_nowait(cart(f"v{number}"))
        await client.flush()
        gaps = [later - earlier for earlier, later in pairwise(transport.times)]
        assert len(gaps) == 59
        assert min(gaps) == pytest.approx(1 / max_rate)
        assert max(gaps) == pytest.approx(1 / max_rate)
        balance(client)


@virtual
async def test_quiet_times_are_not_saved_up() -> None:
    """A gateway counts a second at a time, not an hour."""
    transport = Script()
    async with client_over(transport, queue=rated(5.0)) as client:
        await client.record(cart("a"))
        await asyncio.sleep(3_600.0)
        for number in range(6):
            client.track_nowait(cart(f"v{number}"))
        await client.flush()
        assert transport.times[-1] - transport.times[1] == pytest.approx(1.0)


@virtual
async def test_orders_and_carts_take_turns() -> None:
    """A backlog of one endpoint does not keep the other away."""
    transport = Script()
    async with client_over(transport, queue=rated(10.0)) as client:
        for number in range(100):
            client.track_nowait(cart(f"v{number}"))
        await asyncio.sleep(1.0)
        receipt = client.track_nowait(checkout("w", order_id="o-1"))
        began = asyncio.get_running_loop().time()
        assert (await receipt).status is OutcomeStatus.RECORDED
        assert asyncio.get_running_loop().time() - began <= 0.2 + 1e-6


@virtual
async def test_every_visitor_gets_a_turn() -> None:
    """One visitor's hundred events do not keep another's single one away."""
    transport = Script()
    async with client_over(transport, queue=rated(10.0), coalescing="off") as client:
        for number in range(100):
            client.track_nowait(cart("busy", product=f"p{number}"))
        await asyncio.sleep(1.0)
        began = asyncio.get_running_loop().time()
        await client.track_nowait(cart("quiet"))
        assert asyncio.get_running_loop().time() - began <= 0.3


@virtual
async def test_a_retry_counts_as_a_request() -> None:
    """What the API sees is what the rate is about."""
    transport = Script(*[status(500)] * 10)
    retry = RetryPolicy(base=0.01)
    async with client_over(transport, queue=rated(20.0), retry=retry) as client:
        for number in range(10):
            client.track_nowait(cart(f"v{number}"))
        await client.flush()
        assert len(transport.sent) == 20
        gaps = [later - earlier for earlier, later in pairwise(transport.times)]
        assert min(gaps) >= 0.05 - 1e-9


@virtual
async def test_a_pause_that_the_api_asks_for_holds_beyond_the_rate() -> None:
    """What is slower decides."""
    transport = Script(status(429, retry_after=7.0))
    async with client_over(transport, queue=rated(2.0)) as client:
        client.track_nowait(cart("a"))
        await asyncio.sleep(0.6)
        client.track_nowait(cart("b"))
        await client.flush()
        assert transport.times[1] >= 7.0


@virtual
async def test_a_slow_api_decides_where_it_is_slower_than_the_rate() -> None:
    """The rate opens no more places than `max_in_flight` has."""
    transport = Script(latency=1.0)
    async with client_over(transport, queue=rated(100.0, max_in_flight=2)) as client:
        for number in range(10):
            client.track_nowait(cart(f"v{number}"))
        await client.flush()
        assert asyncio.get_running_loop().time() == pytest.approx(5.0, abs=0.1)


@virtual
async def test_an_outage_is_noticed_and_left_behind_below_the_rate() -> None:
    """Breaker and concurrency do their work in the times that the rate leaves them."""

    def answer(sent: Sent) -> object:
        return status(500) if sent.at < 60.0 else OK

    transport = Script(otherwise=answer)  # type: ignore[arg-type]
    async with client_over(transport, queue=rated(20.0)) as client:
        for number in range(100):
            client.track_nowait(cart(f"v{number}"))
        await client.flush()
        assert client.stats().recorded == 100
        assert min(b - a for a, b in pairwise(transport.times)) >= 0.05 - 1e-9
        balance(client)


@virtual
async def test_what_may_not_be_repeated_keeps_to_it_as_well() -> None:
    """Its intent is written first; then it waits its time like all others."""
    transport = Script()
    retry = RetryPolicy(assign_order_ids=False)
    journal = MemoryJournal()
    async with client_over(transport, queue=rated(10.0), retry=retry, journal=journal) as client:
        for number in range(40):
            client.track_nowait(checkout(f"v{number}", order_id=None))
        await client.flush()
        assert client.stats().recorded == 40
        assert min(b - a for a, b in pairwise(transport.times)) >= 0.1 - 1e-9
        assert transport.times[-1] - transport.times[0] == pytest.approx(3.9, abs=0.2)


@virtual
async def test_resumed_it_keeps_to_the_rate() -> None:
    """What waited meanwhile is no reason to hurry."""
    transport = Script()
    async with client_over(transport, queue=rated(10.0)) as client:
        client.pause()
        for number in range(10):
            client.track_nowait(cart(f"v{number}"))
        await asyncio.sleep(60.0)
        client.resume()
        await client.flush()
        assert transport.times[-1] - transport.times[0] == pytest.approx(0.9)
        assert {sent.endpoint for sent in transport.sent} == {Endpoint.CART}
