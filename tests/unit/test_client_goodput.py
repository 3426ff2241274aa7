"""No cliff: whatever share of the requests fails, the others are recorded at the full rate."""

import asyncio
import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest

from alhena_async import (
    AlhenaClient,
    BreakerState,
    Endpoint,
    HttpPolicy,
    OutcomeStatus,
    QueuePolicy,
    Stats,
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
    status,
)

LATENCY = 0.1
AT_ONCE = 32
SECONDS = 5.0
HEALTHY = AT_ONCE / LATENCY * SECONDS
TENTHS = range(10)
KINDS = {
    "error": status(500),
    "lost": RESET,
    "refused": NEVER_SENT,
    "throttled": status(429),
    "unavailable": status(503),
}


def by_chance(share: float, failure: Any, seed: int = 1) -> Callable[[Sent], Any]:
    """Fail exactly so many of each hundred requests, in an order that the seed draws."""
    hundred = [failure] * round(100 * share) + [OK] * round(100 * (1 - share))
    chance = random.Random(seed)
    answers = itertools.chain.from_iterable(iter(lambda: chance.sample(hundred, 100), None))
    return lambda _: next(answers)


def of_carts(answer: Callable[[Sent], Any]) -> Callable[[Sent], Any]:
    """Answer carts so, and record every checkout."""
    return lambda sent: answer(sent) if sent.endpoint is Endpoint.CART else OK


async def delivered(
    answer: Callable[[Sent], Any],
    *,
    latency: float = LATENCY,
    at_once: int = AT_ONCE,
    http: HttpPolicy | None = None,
) -> Stats:
    """Return what became of more visitors' events than could be sent within the time."""
    transport = Script(otherwise=answer, latency=latency)
    queue = QueuePolicy(capacity=20_000, linger=0.0, max_in_flight=at_once)
    async with client_over(transport, queue=queue, http=http or HttpPolicy()) as client:
        for number in range(int(at_once / latency * SECONDS) + 1):
            client.track_nowait(cart(f"v{number}"))
        await asyncio.sleep(SECONDS)
        balance(client)
        stats = client.stats()
        await client.close(timeout=0)
        return stats


def assert_in_proportion(stats: Stats, share: float, healthy: float = HEALTHY) -> None:
    assert stats.recorded >= 0.9 * (1 - share) * healthy
    assert stats.requests <= 1.3 / (1 - share) * stats.recorded


@pytest.mark.parametrize("tenth", TENTHS)
@virtual
async def test_goodput_is_in_proportion_to_what_succeeds(tenth: int) -> None:
    """Of the healthy rate, 0.9 times what succeeds; 1.3 times the requests that this takes."""
    stats = await delivered(by_chance(tenth / 10, status(500)))
    assert_in_proportion(stats, tenth / 10)


@pytest.mark.parametrize("failure", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("tenth", [5, 9])
@virtual
async def test_of_whatever_kind_the_failures_are(tenth: int, failure: Any) -> None:
    """Refusals without `Retry-After` too: they are the API's share, not a wish for peace."""
    stats = await delivered(by_chance(tenth / 10, failure, seed=2))
    assert_in_proportion(stats, tenth / 10)


@pytest.mark.parametrize("failure", [KINDS["error"], KINDS["throttled"]], ids=["500", "429"])
@pytest.mark.parametrize("at_once", [1, 4, 100])
@virtual
async def test_however_many_requests_go_at_once(at_once: int, failure: Any) -> None:
    """A few failures in a row mean as little where few go at once."""
    latency = LATENCY * at_once / AT_ONCE  # as many requests a second as ever
    stats = await delivered(by_chance(0.8, failure, seed=3), latency=latency, at_once=at_once)
    assert_in_proportion(stats, 0.8)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@virtual
async def test_requests_that_hang_cost_their_places_and_nothing_more(share: float) -> None:
    """A place is taken until the timeout; as many are recorded as the places allow."""
    timeout = 2 * LATENCY
    http = HttpPolicy(request_timeout=timeout)
    stats = await delivered(by_chance(share, HANG, seed=4), http=http)
    places = HEALTHY * LATENCY / ((1 - share) * LATENCY + share * timeout)
    assert_in_proportion(stats, share, healthy=places)


@pytest.mark.parametrize("failure", [*KINDS.values(), HANG], ids=[*KINDS, "hangs"])
@pytest.mark.parametrize("latency", [0.0, 0.005, LATENCY])
@virtual
async def test_a_dead_api_gets_few_requests(latency: float, failure: Any) -> None:
    """Fewer than 400 within 5 s and with 2,000 waiting, carts and checkouts together."""
    transport = Script(otherwise=failure, latency=latency)
    http = HttpPolicy(request_timeout=0.5)
    async with client_over(transport, queue=QueuePolicy(linger=0.0), http=http) as client:
        for number in range(1_000):
            client.track_nowait(cart(f"v{number}"))
            client.track_nowait(checkout(f"w{number}", order_id=f"order-{number}"))
        await asyncio.sleep(5.0)
        assert len(transport.sent) < 400
        await client.close(timeout=0)


@virtual
async def test_a_slow_api_gets_no_more_requests_for_it() -> None:
    """Ten times the latency: a tenth of the rate, and one request for each event."""
    stats = await delivered(lambda _: OK, latency=10 * LATENCY)
    assert stats.retries == 0
    assert stats.requests == stats.recorded + stats.in_flight
    assert stats.requests >= HEALTHY / 10


@pytest.mark.parametrize("down_for", [1.0, 60.0])
@virtual
async def test_an_api_that_is_back_is_found_within_seconds_and_not_by_all_at_once(
    down_for: float,
) -> None:
    """A probe, then twice as many with each round trip; after 5 s and a little the full rate."""

    def down(sent: Sent) -> Any:
        return status(500) if sent.at < down_for else OK

    transport = Script(otherwise=down, latency=LATENCY)
    queue = QueuePolicy(linger=0.0, capacity=20_000, max_in_flight=AT_ONCE)
    async with client_over(transport, queue=queue) as client:
        for number in range(5_000):
            client.track_nowait(cart(f"v{number}"))
        await asyncio.sleep(down_for + 8.0)
        await client.close(timeout=0)
    after = [at for at in transport.times if at >= down_for]
    found = after[0]
    assert found <= down_for + 5.0 + 1e-6
    rounds = [sum(found + n * LATENCY <= at < found + (n + 1) * LATENCY - 1e-6 for at in after)
              for n in range(7)]  # fmt: skip
    assert rounds[:6] == [1, 2, 4, 8, 16, AT_ONCE]


@pytest.mark.parametrize("share", [0.5, 0.9, 1.0])
@virtual
async def test_carts_that_fail_hold_up_no_checkout(share: float) -> None:
    """The endpoints stay apart: orders go out as if nothing was."""
    answer = of_carts(by_chance(share, status(500), seed=5))
    async with client_over(Script(otherwise=answer, latency=0.01)) as client:
        for number in range(2_000):
            client.track_nowait(cart(f"v{number}"))
        await asyncio.sleep(0.5)
        assert client.stats().checkout_breaker is BreakerState.CLOSED
        await assert_recorded_at_once(client)
        await client.close(timeout=0)


async def assert_recorded_at_once(client: AlhenaClient) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number in range(50):
        outcome = await client.record(checkout(f"buyer-{number}", order_id=f"order-{number}"))
        assert outcome.status is OutcomeStatus.RECORDED
    assert loop.time() - began <= 50 * 0.01 * 3
