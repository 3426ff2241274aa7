"""What is tried again, when, and how an event that is not delivered ends."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from alhena_async import BreakerPolicy, HttpPolicy, OutcomeStatus, QueuePolicy, RetryPolicy
from alhena_async.testing import virtual
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

NOW = QueuePolicy(linger=0.0)
ADDED_UNKNOWN = code("PREVIOUS_ITEM_ADDED_EVENT_NOT_FOUND")


@pytest.mark.parametrize("failure", [NEVER_SENT, RESET, status(500), status(408), status(425)])
@virtual
async def test_transient_failures_are_tried_again(failure: Any) -> None:
    """The event is recorded by the next attempt, and the outcome counts both."""
    async with client_over(Script(failure), queue=NOW) as client:
        outcome = await client.record(cart())
        assert outcome.status is OutcomeStatus.RECORDED
        assert outcome.attempts == 2
        assert client.stats().retries == 1
        assert client.stats().requests == 2


@pytest.mark.parametrize(
    "name",
    ["MISSING_REQUIRED_FIELDS", "COMPANY_NOT_FOUND", "ACTIVE_TICKET_NOT_FOUND"],
)
@pytest.mark.parametrize("number", [200, 400, 500, 503])
@virtual
async def test_documented_codes_are_never_tried_again(name: str, number: int) -> None:
    """A documented code is final at any HTTP status."""
    transport = Script(code(name, number))
    async with client_over(transport, queue=NOW) as client:
        outcome = await client.track_nowait(cart())
    assert outcome.code == name
    assert outcome.http_status == number
    assert len(transport.sent) == 1


@virtual
async def test_an_event_expires_in_line() -> None:
    """Waiting behind another of its lane, it ends at its own deadline, never attempted."""
    transport = Script(HANG)
    retry = RetryPolicy(cart_delivery_timeout=5.0)
    http = HttpPolicy(request_timeout=100.0)
    async with client_over(transport, queue=NOW, retry=retry, http=http) as client:
        head = client.track_nowait(checkout())
        waiting = client.track_nowait(cart())
        outcome = await waiting
        assert outcome.status is OutcomeStatus.EXPIRED
        assert outcome.attempts == 0
        assert outcome.elapsed == pytest.approx(5.0)
        assert "delivery timeout of 5 s" in str(outcome.detail)
        assert not head.done()
        await client.close(timeout=0)


@virtual
async def test_an_event_expires_in_backoff() -> None:
    """It never sleeps past its deadline: where the next attempt would be too late, it ends."""
    transport = Script(otherwise=status(503, retry_after=60))
    retry = RetryPolicy(cart_delivery_timeout=5.0)
    async with client_over(transport, queue=NOW, retry=retry) as client:
        outcome = await client.track_nowait(cart())
        assert outcome.status is OutcomeStatus.EXPIRED
        assert outcome.attempts == 1
        assert outcome.elapsed <= 5.0
        assert "delivery timeout" in str(outcome.detail)
        assert not outcome.ambiguous


@virtual
async def test_an_event_expires_on_the_wire() -> None:
    """The attempt ends at the event's deadline, long before the request's own timeout."""
    retry = RetryPolicy(cart_delivery_timeout=5.0)
    http = HttpPolicy(request_timeout=100.0)
    async with client_over(Script(HANG), queue=NOW, retry=retry, http=http) as client:
        outcome = await client.track_nowait(cart())
        assert outcome.status is OutcomeStatus.EXPIRED
        assert outcome.elapsed == pytest.approx(5.0)
        assert outcome.ambiguous
        assert "delivery timeout of 5 s" in str(outcome.detail)
        balance(client)


@virtual
async def test_a_hanging_request_ends_after_its_own_timeout() -> None:
    """And counts as ambiguous: it may have been recorded."""
    transport = Script(HANG)
    http = HttpPolicy(request_timeout=2.0)
    async with client_over(transport, queue=NOW, http=http) as client:
        outcome = await client.record(cart())
        assert outcome.status is OutcomeStatus.RECORDED
        assert outcome.ambiguous
    assert 2.0 <= transport.times[1] <= 2.25


@virtual
async def test_max_attempts_ends_an_event_and_says_so() -> None:
    """The number, and what the last attempt met."""
    transport = Script(otherwise=status(500))
    retry = RetryPolicy(max_attempts=3)
    async with client_over(transport, queue=NOW, retry=retry) as client:
        outcome = await client.track_nowait(cart())
    assert outcome.status is OutcomeStatus.EXPIRED
    assert outcome.attempts == 3
    assert outcome.detail == "max_attempts=3 reached; the last: HTTP 500"
    assert outcome.http_status == 500


@virtual
async def test_an_event_that_expires_between_attempts_says_what_the_last_one_met() -> None:
    """Else an outage's dead letters would not tell why: a breaker parks nearly all of them."""
    transport = Script(otherwise=code("OUT_OF_ORDER", 500))
    retry = RetryPolicy(cart_delivery_timeout=4.0, breaker=BreakerPolicy(min_calls=1))
    async with client_over(transport, queue=NOW, retry=retry) as client:
        outcome = await client.track_nowait(cart())
    assert outcome.status is OutcomeStatus.EXPIRED
    assert outcome.elapsed == pytest.approx(4.0)
    assert (outcome.code, outcome.http_status) == ("OUT_OF_ORDER", 500)
    assert str(outcome.detail).startswith("its delivery timeout of 4 s is over; the last: ")


@virtual
async def test_an_event_that_is_left_in_backoff_says_what_the_last_attempt_met() -> None:
    """The client closed first, but the reply that kept the event back is known."""
    transport = Script(status(503, retry_after=60))
    async with client_over(transport, queue=NOW) as client:
        receipt = client.track_nowait(cart())
        await asyncio.sleep(1.0)
        await client.close(timeout=0)
    outcome = await receipt
    assert outcome.status is OutcomeStatus.ABANDONED
    assert outcome.http_status == 503


@virtual
async def test_delays_grow_to_their_cap_and_not_past_it() -> None:
    """Each delay is within the bound of its attempt: base, doubled, capped."""
    transport = Script(*[status(500)] * 12)
    retry = RetryPolicy(base=1.0, cap=8.0)
    async with client_over(transport, queue=NOW, retry=retry) as client:
        await client.track_nowait(cart())
    delays = [later - sooner for sooner, later in pairwise(transport.times)]
    bounds = [1.0, 2.0, 4.0] + [8.0] * 9
    assert all(0 <= delay <= bound for delay, bound in zip(delays, bounds, strict=True))
    assert max(delays) > 2.0  # it does grow


@pytest.mark.parametrize("number", [429, 503])
@virtual
async def test_retry_after_pauses_the_whole_client(number: int) -> None:
    """Nobody else is asked for a request before the time is over, and nothing is lost."""
    transport = Script(status(number, retry_after=10))
    async with client_over(transport, queue=NOW) as client:
        client.track_nowait(cart("met"))
        await asyncio.sleep(1)
        client.track_nowait(cart("later"))
        client.track_nowait(checkout("shopper"))
        await client.flush()
    assert transport.times[0] == 0.0
    assert min(transport.times[1:]) >= 10.0
    assert len(transport.sent) == 4


@virtual
async def test_retry_after_is_capped() -> None:
    """An API that asks for a day gets `retry_after_cap`."""
    transport = Script(status(429, retry_after=86_400))
    retry = RetryPolicy(retry_after_cap=20.0)
    async with client_over(transport, queue=NOW, retry=retry) as client:
        outcome = await client.track_nowait(cart())
    assert 20.0 <= outcome.elapsed <= 21.0


@virtual
async def test_an_ambiguous_cart_is_repeated_unless_the_policy_forbids_it() -> None:
    """With `retry_ambiguous_carts=False` it ends `UNKNOWN`; what never left is repeated."""
    retry = RetryPolicy(retry_ambiguous_carts=False)
    for failure in (RESET, HANG, status(500)):
        async with client_over(Script(failure), queue=NOW, retry=retry) as client:
            outcome = await client.track_nowait(cart())
            assert outcome.status is OutcomeStatus.UNKNOWN
            assert outcome.ambiguous or outcome.attempts == 1
    for failure in (NEVER_SENT, status(429), status(408)):
        async with client_over(Script(failure), queue=NOW, retry=retry) as client:
            assert (await client.track_nowait(cart())).status is OutcomeStatus.RECORDED


@virtual
async def test_a_checkout_without_any_order_id_is_not_repeated_when_ambiguous() -> None:
    """`assign_order_ids=False`: the API could not tell the two apart."""
    retry = RetryPolicy(assign_order_ids=False)
    transport = Script(RESET)
    async with client_over(transport, queue=NOW, retry=retry) as client:
        outcome = await client.track_nowait(checkout(order_id=None))
        assert outcome.status is OutcomeStatus.UNKNOWN
        assert outcome.ambiguous
        assert (await client.track_nowait(checkout(order_id="o"))).ok
    assert "orderId" not in transport.sent[0].payload


@virtual
async def test_an_assigned_order_id_stays_the_same_for_all_attempts() -> None:
    """`auto-` and a UUID, so that the API may dedupe what was recorded unheard."""
    transport = Script(RESET, status(500), code("ORDER_ALREADY_EXISTS"))
    async with client_over(transport, queue=NOW) as client:
        outcome = await client.track_nowait(checkout(order_id=None))
    assert outcome.status is OutcomeStatus.RECORDED
    assert outcome.ambiguous
    [order_id] = {sent.payload["orderId"] for sent in transport.sent}
    assert order_id.startswith("auto-")
    assert len(order_id) == len("auto-") + 36


@virtual
async def test_an_order_that_exists_without_any_ambiguous_attempt_is_a_duplicate() -> None:
    """A 429 does not make it ambiguous: that attempt recorded nothing."""
    transport = Script(status(429), code("ORDER_ALREADY_EXISTS"))
    async with client_over(transport, queue=NOW) as client:
        outcome = await client.record(checkout())
    assert outcome.status is OutcomeStatus.DUPLICATE


@virtual
async def test_a_precondition_refusal_is_tried_once_more_after_its_delay() -> None:
    """Another process may still hold the earlier event."""
    transport = Script(ADDED_UNKNOWN)
    async with client_over(transport, queue=NOW) as client:
        outcome = await client.record(cart(type="QUANTITY_INCREASED", quantity=2))
    assert outcome.status is OutcomeStatus.RECORDED
    assert transport.times == [0.0, 2.0]


@virtual
async def test_what_waited_when_a_precondition_retry_began_gets_none_of_its_own() -> None:
    """One pause for a lane, not one for each event in it; who comes later has the right again."""
    transport = Script(otherwise=ADDED_UNKNOWN)
    async with client_over(transport, queue=NOW) as client:
        waiting = [
            client.track_nowait(cart(product=name, type="QUANTITY_INCREASED", quantity=2))
            for name in "abc"
        ]
        await asyncio.sleep(1.0)
        later = client.track_nowait(cart(product="d", type="QUANTITY_INCREASED", quantity=2))
        attempts = [(await receipt).attempts for receipt in (*waiting, later)]
    assert attempts == [2, 1, 1, 2]
    assert transport.times == [0.0, 2.0, 2.0, 2.0, 2.0, 4.0]


@virtual
async def test_no_precondition_retry_while_a_checkout_waits_behind() -> None:
    """An order is worth more than a cart event's second chance."""
    transport = Script(ADDED_UNKNOWN)
    async with client_over(transport, queue=NOW) as client:
        refused = client.track_nowait(cart(type="QUANTITY_INCREASED", quantity=2))
        order = client.track_nowait(checkout())
        assert (await refused).status is OutcomeStatus.REJECTED
        assert (await order).elapsed == 0.0


@virtual
async def test_precondition_retries_can_be_turned_off() -> None:
    """0: the refusal is final at once."""
    retry = RetryPolicy(precondition_retries=0)
    async with client_over(Script(ADDED_UNKNOWN), queue=NOW, retry=retry) as client:
        outcome = await client.track_nowait(cart(type="QUANTITY_INCREASED", quantity=2))
        assert outcome.status is OutcomeStatus.REJECTED
        assert outcome.attempts == 1


@pytest.mark.parametrize("count", [2, 3])
@virtual
async def test_there_may_be_several_precondition_retries(count: int) -> None:
    """As many as were asked for, each after its delay."""
    transport = Script(otherwise=ADDED_UNKNOWN)
    retry = RetryPolicy(precondition_retries=count)
    async with client_over(transport, queue=NOW, retry=retry) as client:
        outcome = await client.track_nowait(cart(type="QUANTITY_INCREASED", quantity=2))
    assert outcome.status is OutcomeStatus.REJECTED
    assert transport.times == [2.0 * number for number in range(count + 1)]


@virtual
async def test_an_event_that_cannot_be_encoded_ends_alone() -> None:
    """The bug is logged, the event rejected, and its lane goes on."""
    async with client_over(Script(), queue=NOW) as client:
        broken = cart()
        object.__setattr__(broken, "value", object())
        receipts = [client.track_nowait(broken), client.track_nowait(checkout())]
        outcome = await receipts[0]
        assert outcome.status is OutcomeStatus.REJECTED
        assert "could not be encoded" in str(outcome.detail)
        assert (await receipts[1]).ok


@virtual
async def test_a_transport_that_raises_anything_counts_as_ambiguous() -> None:
    """A foreign transport's bug ends no worker, and the event is tried again."""
    transport = Script(ZeroDivisionError("not a transport error"), OK)
    async with client_over(transport, queue=NOW) as client:
        outcome = await client.track_nowait(cart())
    assert outcome.status is OutcomeStatus.RECORDED
    assert outcome.ambiguous
