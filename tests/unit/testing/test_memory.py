"""`MemoryTransport` is the API, unless it is told otherwise."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from alhena_async import (
    AlhenaClient,
    Endpoint,
    ErrorCode,
    Event,
    HttpPolicy,
    OutcomeStatus,
    QueuePolicy,
    Reply,
    RetryPolicy,
    TransportError,
)
from alhena_async.testing import MemoryTransport, Sent, virtual
from tests.scripted import cart, checkout, visitor

NO_LINGER = QueuePolicy(linger=0.0)


def client_of(transport: MemoryTransport, **arguments: object) -> AlhenaClient:
    arguments = {"queue": NO_LINGER, "coalescing": "off", **arguments}
    return AlhenaClient("shop", transport=transport, **arguments)  # type: ignore[arg-type]


@virtual
async def test_it_records_and_keeps_every_request() -> None:
    """Each with its endpoint, its decoded payload and the loop's time."""
    transport = MemoryTransport(latency=0.25)
    async with client_of(transport) as client:
        await client.record(cart(quantity=2))
        await client.record(checkout(order_id="ORD-1"))
    assert [(sent.at, sent.endpoint) for sent in transport.sent] == [
        (0.0, Endpoint.CART),
        (0.25, Endpoint.CHECKOUT),
    ]
    assert transport.sent[0].payload["quantity"] == 2
    assert transport.sent[1].payload["orderId"] == "ORD-1"
    assert [event.value for event in transport.recorded()] == [Decimal("9.5"), Decimal("9.5")]
    assert (transport.requests, transport.opened, transport.closed) == (2, 1, 1)
    assert transport.revenue == {"EUR": Decimal("9.5")}


@virtual
async def test_an_order_id_counts_once() -> None:
    """The second is a duplicate, as the API says."""
    transport = MemoryTransport()
    async with client_of(transport) as first, client_of(transport) as second:
        assert (await first.record(checkout())).status is OutcomeStatus.RECORDED
        assert (await second.record(checkout())).status is OutcomeStatus.DUPLICATE
    transport.assert_recorded(order_id="order-1")
    assert transport.refusals == {"ORDER_ALREADY_EXISTS": 1}


@virtual
async def test_it_judges_as_the_emulator_does() -> None:
    """Companies, tickets and preconditions."""
    transport = MemoryTransport(companies={"shop", "b"}, tickets="opened", preconditions="lenient")
    transport.open_ticket(visitor("talks"))
    async with client_of(transport) as client:
        codes = [
            (await client.track_nowait(event, company_key=key)).code
            for event, key in (
                (cart("talks"), "nobody"),
                (cart("silent"), None),
                (cart("talks", type="ITEM_REMOVED"), "b"),
            )
        ]
        transport.close_ticket(("talks", "faq-talks"))
        codes.append((await client.track_nowait(cart("talks"))).code)
    assert codes == [
        "COMPANY_NOT_FOUND",
        "ACTIVE_TICKET_NOT_FOUND",
        "PREVIOUS_ITEM_ADDED_EVENT_NOT_FOUND",
        "ACTIVE_TICKET_NOT_FOUND",
    ]


@pytest.mark.parametrize("code", ErrorCode)
@virtual
async def test_it_refuses_with_every_documented_code(code: ErrorCode) -> None:
    """For one request, and then no more."""
    transport = MemoryTransport()
    transport.refuse(code)
    async with client_of(transport, retry=RetryPolicy(precondition_retries=0)) as client:
        assert (await client.track_nowait(cart())).code == code
        assert (await client.track_nowait(cart())).status is OutcomeStatus.RECORDED
    [refused] = transport.refused(code=code)
    assert refused.product_id == "mug"


def test_it_refuses_with_no_other_code() -> None:
    """A misspelled one is found where it stands."""
    with pytest.raises(ValueError, match="COMPANY_NOT_FOUNT"):
        MemoryTransport().refuse("COMPANY_NOT_FOUNT")


@virtual
async def test_a_product_a_visitor_an_order_can_be_told_apart() -> None:
    """Facts choose the requests; `times` counts only those."""
    transport = MemoryTransport()
    transport.refuse(ErrorCode.COMPANY_NOT_FOUND, product_id="cup", times=2)
    transport.refuse(ErrorCode.ACTIVE_TICKET_NOT_FOUND, visitor=visitor("silent"), times=None)
    transport.refuse(ErrorCode.MISSING_REQUIRED_FIELDS, order_id="order-9")
    async with client_of(transport) as client:
        events: list[Event] = [cart(product=name) for name in ("mug", "cup", "mug", "cup", "cup")]
        events += [cart("silent"), checkout("silent"), checkout(), checkout(order_id="order-9")]
        codes = [(await client.track_nowait(event)).code for event in events]
    company, ticket = "COMPANY_NOT_FOUND", "ACTIVE_TICKET_NOT_FOUND"
    fields = "MISSING_REQUIRED_FIELDS"
    assert codes == [None, company, None, company, None, ticket, ticket, None, fields]


@virtual
async def test_counted_ones_come_first_and_then_the_latest() -> None:
    """A passing fault passes through what holds until `recover`."""
    transport = MemoryTransport()
    transport.refuse(ErrorCode.COMPANY_NOT_FOUND, times=None)
    transport.refuse(ErrorCode.ACTIVE_TICKET_NOT_FOUND, times=None)
    transport.answer(Reply(418, b"{}"))
    transport.answer(Reply(404, b"{}"))
    async with client_of(transport) as client:
        ends = [await client.track_nowait(cart()) for _ in range(4)]
        transport.recover()
        ends.append(await client.track_nowait(cart()))
    assert [end.http_status for end in ends[:2]] == [418, 404]
    assert [end.code for end in ends[2:]] == ["ACTIVE_TICKET_NOT_FOUND"] * 2 + [None]


@virtual
async def test_a_lost_connection_is_ambiguous_and_none_is_not() -> None:
    """Recorded or not, sent or not: the client's outcome knows what it may know."""
    transport = MemoryTransport()
    async with client_of(transport) as client:
        transport.fail(recorded=True)
        lost = await client.record(checkout(order_id="lost"))
        transport.fail(sent=False, times=3)
        late = await client.record(checkout(order_id="late"))
    assert (lost.status, lost.ambiguous, lost.attempts) == (OutcomeStatus.RECORDED, True, 2)
    assert (late.status, late.ambiguous, late.attempts) == (OutcomeStatus.RECORDED, False, 4)
    transport.assert_recorded(order_id="lost")
    assert transport.faulted == {"reset-after": 1, "reset-before": 3}


def test_what_was_never_sent_was_not_recorded() -> None:
    """A contradiction is refused."""
    with pytest.raises(ValueError, match="never sent"):
        MemoryTransport().fail(sent=False, recorded=True)
    with pytest.raises(ValueError, match="times"):
        MemoryTransport().hang(times=0)


@virtual
async def test_it_throttles() -> None:
    """The client waits as long as `Retry-After` says; not a moment of it is real."""
    transport = MemoryTransport()
    transport.throttle(120)
    transport.throttle()
    async with client_of(transport) as client:
        outcome = await client.record(checkout(), timeout=None)
    assert outcome.attempts == 3
    assert outcome.elapsed >= 120
    assert transport.sent[1].at - transport.sent[0].at >= 120


@pytest.mark.parametrize("recorded", [True, False])
@virtual
async def test_it_hangs(recorded: bool) -> None:
    """Until the client's own timeout; the event may have been recorded all the same."""
    transport = MemoryTransport()
    transport.hang(recorded=recorded)
    async with client_of(transport, http=HttpPolicy(request_timeout=7.0)) as client:
        receipt = client.track_nowait(checkout())
        await asyncio.sleep(6.9)
        assert transport.in_flight == 1
        assert len(transport.recorded()) == recorded
        assert (await receipt).ok
    assert transport.in_flight == 0
    transport.assert_recorded(order_id="order-1")


@virtual
async def test_it_answers_by_a_function() -> None:
    """Of the request; with a reply, an error or nothing."""

    def answer(sent: Sent) -> Reply | Exception:
        if sent.fingerprint == "one":
            return Reply(200, b'{"status": "success"}')
        return TransportError("never", sent=False) if len(transport.sent) < 4 else Reply(410)

    transport = MemoryTransport()
    transport.answer(answer, times=None)
    async with client_of(transport) as client:
        assert (await client.track_nowait(cart("one"))).ok
        assert (await client.track_nowait(cart("two"))).http_status == 410
    transport.assert_nothing_recorded()


@virtual
async def test_it_counts_what_is_on_the_wire() -> None:
    """In all, and of one visitor."""
    transport = MemoryTransport(latency=1.0)
    async with client_of(transport) as client:
        for number in range(12):
            client.track_nowait(cart(f"v{number % 3}"))
        await client.flush()
    assert (transport.max_in_flight, transport.max_in_flight_per_visitor) == (3, 1)


@virtual
async def test_a_reset_forgets_everything_but_tickets() -> None:
    """As good as new, also for a client that is open."""
    transport = MemoryTransport(tickets="opened")
    transport.open_ticket(visitor())
    async with client_of(transport) as client:
        await client.record(checkout(order_id="1"))
        transport.refuse(ErrorCode.COMPANY_NOT_FOUND, times=None)
        transport.reset()
        assert (transport.requests, transport.sent, transport.recorded()) == (0, [], [])
        assert (await client.record(checkout(order_id="2"))).ok
    assert repr(transport) == "<MemoryTransport requests=1 recorded=1>"
