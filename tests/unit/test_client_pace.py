"""Breaker and throttle through the whole client: an outage never becomes a storm."""

import asyncio
import itertools
from typing import Any

import pytest

from alhena_async import (
    BreakerPolicy,
    BreakerState,
    HttpPolicy,
    OutcomeStatus,
    QueuePolicy,
    RetryPolicy,
)
from alhena_async.testing import Sent, virtual
from tests.scripted import (
    HANG,
    NEVER_SENT,
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


class Outage:
    """Answers `failure` until a time, and OK from then on."""

    def __init__(self, failure: Any, until: float) -> None:
        self.failure, self.until = failure, until

    def __call__(self, sent: Sent) -> Any:
        return self.failure if sent.at < self.until else OK


@pytest.mark.parametrize("failure", [NEVER_SENT, RESET, HANG, status(500), status(429)])
@virtual
async def test_a_dead_api_meets_few_requests_and_loses_nothing(failure: Any) -> None:
    """2,000 events of 100 visitors wait out five minutes with fewer than 400 requests."""
    transport = Script(otherwise=Outage(failure, until=300.0), latency=0.005)
    async with client_over(transport, http=HttpPolicy(request_timeout=2.0)) as client:
        for number in range(2_000):
            client.track_nowait(cart(f"v{number % 100}", product=f"p{number}"))
        await asyncio.sleep(299.9)
        assert len(transport.sent) < 400
        assert client.stats().cart_breaker is not BreakerState.CLOSED
        assert client.stats().queued + client.stats().in_flight == 2_000
        await client.flush()
        assert client.stats().recorded == 2_000
        assert client.stats().cart_breaker is BreakerState.CLOSED
        balance(client)


@virtual
async def test_parked_events_expire_at_their_own_deadline() -> None:
    """The breaker decides when, never whether, and holds nobody past the end."""
    retry = RetryPolicy(cart_delivery_timeout=60.0)
    async with client_over(Script(otherwise=status(500)), retry=retry) as client:
        receipts = []
        for number in range(50):
            receipts.append(client.track_nowait(cart(f"v{number}")))
            await asyncio.sleep(1.0)
        for receipt in receipts:
            outcome = await receipt
            assert outcome.status is OutcomeStatus.EXPIRED
            assert outcome.elapsed <= 60.0 + 1e-6
        balance(client)


@virtual
async def test_one_endpoint_down_leaves_the_other_alone() -> None:
    """A breaker per endpoint: orders go through while carts are refused."""

    def carts_fail(sent: Sent) -> Any:
        return status(500) if "cart" in sent.endpoint else OK

    async with client_over(Script(otherwise=carts_fail)) as client:
        for number in range(100):
            client.track_nowait(cart(f"v{number}"))
        await asyncio.sleep(10.0)
        assert client.stats().cart_breaker is not BreakerState.CLOSED
        assert client.stats().checkout_breaker is BreakerState.CLOSED
        assert (await client.record(checkout("buyer"))).status is OutcomeStatus.RECORDED
        await client.close(timeout=0)


@virtual
async def test_half_open_lets_one_request_through() -> None:
    """Hundreds of ready lanes, one probe; the times between probes double up to the cap."""
    transport = Script(otherwise=status(500), latency=0.5)
    policy = BreakerPolicy(min_calls=5, open_for=10.0, open_cap=35.0)
    queue = QueuePolicy(linger=0.0, max_in_flight=5)
    async with client_over(transport, retry=RetryPolicy(breaker=policy), queue=queue) as client:
        for number in range(300):
            client.track_nowait(cart(f"v{number}"))
        await asyncio.sleep(130.0)
        probes = [at for at in transport.times if at > 0.6]
        gaps = [later - sooner for sooner, later in itertools.pairwise(probes)]
        assert probes[0] == pytest.approx(10.5)
        assert gaps == pytest.approx([20.5, 35.5, 35.5])
        await client.close(timeout=0)


@virtual
async def test_refusals_are_no_failures() -> None:
    """A terminal reply shows that the API is there: the breaker stays closed."""
    async with client_over(Script(otherwise=code("ACTIVE_TICKET_NOT_FOUND"))) as client:
        for number in range(200):
            client.track_nowait(cart(f"v{number}"))
        await client.flush()
        assert client.stats().unattributed == 200
        assert client.stats().breaker is BreakerState.CLOSED


@virtual
async def test_concurrency_shrinks_when_throttled_and_grows_back() -> None:
    """A round of nothing but 429 means fewer at once; each success brings one back."""
    counts: list[int] = []
    flying = 0

    class Counting(Script):
        async def send(self, endpoint: Any, body: bytes) -> Any:
            nonlocal flying
            flying += 1
            counts.append(flying)
            try:
                return await super().send(endpoint, body)
            finally:
                flying -= 1

    refuse = [status(429)] * 100
    transport = Counting(*refuse, latency=1.0)
    retry = RetryPolicy(throttle_base=0.01, cap=0.01, breaker=BreakerPolicy(min_calls=10_000))
    queue = QueuePolicy(linger=0.0, max_in_flight=50)
    async with client_over(transport, retry=retry, queue=queue, coalescing="off") as client:
        for number in range(2_000):
            client.track_nowait(cart(f"v{number % 200}"))
        await client.flush()
    assert max(counts[:50]) == 50
    assert max(counts[100:120]) == 35  # the last of the first round shrinks it, with the next out
    assert max(counts) == 50
    assert counts[-100:].count(50) > 0  # grown back


@virtual
async def test_the_pause_is_over_for_everyone_at_once() -> None:
    """After `Retry-After` the waiting lanes go, not more than the shrunk limit at a time."""
    transport = Script(status(429, retry_after=5), latency=0.1)
    queue = QueuePolicy(linger=0.0, max_in_flight=10)
    async with client_over(transport, queue=queue) as client:
        client.track_nowait(cart("first"))
        await asyncio.sleep(1.0)
        for number in range(50):
            client.track_nowait(cart(f"v{number}"))
        await client.flush()
    resumed = [at for at in transport.times if at > 0]
    assert resumed[0] == pytest.approx(5.1)
    assert resumed.count(resumed[0]) == 7
