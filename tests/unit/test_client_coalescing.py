"""What the coalescing modes make of waiting events, through the whole client."""

import asyncio

import pytest

from alhena_async import (
    AlhenaClient,
    CartEvent,
    CheckoutEvent,
    Coalescing,
    HttpPolicy,
    Outcome,
    OutcomeStatus,
    QueuePolicy,
    Receipt,
    RetryPolicy,
)
from alhena_async.testing import virtual
from tests.scripted import (
    HANG,
    OK,
    Script,
    balance,
    cart,
    checkout,
    client_over,
    code,
    status,
)

FIVE_CLICKS = [("ITEM_ADDED", 1)] * 2 + [("QUANTITY_INCREASED", 2), ("QUANTITY_INCREASED", 3)]
FIVE_CLICKS += [("ITEM_REMOVED", 0)]


def clicks(client: AlhenaClient, who: str = "v") -> list[Receipt]:
    """Added twice by a double click, increased twice, removed."""
    return [
        client.track_nowait(cart(who, type=kind, quantity=quantity))
        for kind, quantity in FIVE_CLICKS
    ]


SENT_BY_MODE = {
    Coalescing.OFF: [0, 1, 2, 3, 4],
    Coalescing.DUPLICATES: [0, 2, 3, 4],
    Coalescing.LATEST: [0, 3, 4],
    Coalescing.NET: [],
}


@pytest.mark.parametrize("mode", Coalescing)
@virtual
async def test_each_mode_sends_of_the_same_five_clicks_what_it_promises(mode: Coalescing) -> None:
    """Double click, two increases, a removal: five, four, three or no requests, all of them ok."""
    transport = Script()
    async with client_over(transport, coalescing=mode) as client:
        receipts = clicks(client)
        await client.flush()
        sent = [FIVE_CLICKS[number] for number in SENT_BY_MODE[mode]]
        assert transport.what == [f"mug:{kind}:{quantity}" for kind, quantity in sent]
        outcomes = [await receipt for receipt in receipts]
        assert all(outcome.ok for outcome in outcomes)
        balance(client)


@virtual
async def test_a_folded_event_ends_as_its_survivor_and_names_it() -> None:
    """`detail` names the receipt's id of the event that spoke for it in the end."""
    transport = Script(code("COMPANY_NOT_FOUND"))
    async with client_over(transport) as client:
        first, second, third = (client.track_nowait(cart(quantity=n)) for n in (1, 2, 3))
        outcomes: list[Outcome] = [await receipt for receipt in (first, second, third)]
        assert len({first.id, second.id, third.id}) == 3
    assert [outcome.status for outcome in outcomes[:2]] == [OutcomeStatus.COALESCED] * 2
    assert [outcome.detail for outcome in outcomes[:2]] == [f"folded into {third.id}"] * 2
    assert [outcome.survivor for outcome in outcomes[:2]] == [outcomes[2]] * 2
    assert not any(outcome.ok for outcome in outcomes)


@virtual
async def test_events_that_cancel_each_other_out_settle_at_once_and_name_each_other() -> None:
    """NET: added and removed again is ok without a request, at the moment of the removal."""
    transport = Script()
    async with client_over(transport, coalescing="net") as client:
        added = client.track_nowait(cart())
        removed = client.track_nowait(cart(type="ITEM_REMOVED", quantity=0))
        assert removed.done()
        assert added.done()
        assert (await added).detail == f"cancelled out with {removed.id}"
        assert (await removed).detail == f"cancelled out with {added.id}"
        assert (await added).ok
        assert client.stats().coalesced == 2
        balance(client)
    assert transport.sent == []


@pytest.mark.parametrize(
    "between",
    [
        cart(type="ITEM_REMOVED", quantity=0),
        checkout(),
        cart(quantity=2, currency="USD"),
        cart(quantity=2, source="app"),
    ],
    ids=["same product", "checkout", "currency", "source"],
)
@virtual
async def test_nothing_folds_across(between: CartEvent | CheckoutEvent) -> None:
    """A checkout, or another event of the product, parts the two; so do currency and source."""
    transport = Script()
    async with client_over(transport) as client:
        client.track_nowait(cart())
        client.track_nowait(between)
        client.track_nowait(cart())
        await client.flush()
    assert len(transport.sent) == 3


@virtual
async def test_other_products_may_stand_between_and_the_survivor_keeps_the_later_place() -> None:
    """a, b, a become b, a."""
    transport = Script()
    async with client_over(transport) as client:
        for product, quantity in (("a", 1), ("b", 1), ("a", 2)):
            client.track_nowait(cart(product=product, quantity=quantity))
        await client.flush()
    assert transport.what == ["b:ITEM_ADDED:1", "a:ITEM_ADDED:2"]


@pytest.mark.parametrize("first", [OK, status(500), HANG])
@virtual
async def test_nothing_folds_into_an_event_that_an_attempt_has_touched(first: object) -> None:
    """On the wire, or in backoff: both events are sent."""
    transport = Script(first, latency=0.1)  # type: ignore[arg-type]
    async with client_over(transport, queue=QueuePolicy(linger=0.05)) as client:
        client.track_nowait(cart())
        await asyncio.sleep(0.1)
        client.track_nowait(cart())
        await client.flush()
    assert transport.what[-1] == "mug:ITEM_ADDED:1"
    assert client.stats().recorded == 2


@virtual
async def test_an_event_under_record_is_never_folded_away() -> None:
    """Others fold into it, it folds into none."""
    transport = Script()
    async with client_over(transport, coalescing="net") as client:
        client.track_nowait(cart(quantity=1))
        recorded = asyncio.create_task(client.record(cart(quantity=2)))
        await asyncio.sleep(0)
        client.track_nowait(cart(quantity=3))
        client.track_nowait(cart(quantity=0, type="ITEM_REMOVED"))
        assert (await recorded).status is OutcomeStatus.RECORDED
        await client.flush()
    assert transport.what == ["mug:ITEM_ADDED:2"]


@virtual
async def test_a_removal_under_record_is_sent_though_it_would_cancel_out() -> None:
    """NET folds nothing away that somebody waits for, on either side."""
    transport = Script()
    async with client_over(transport, coalescing="net") as client:
        client.track_nowait(cart())
        outcome = await client.record(cart(type="ITEM_REMOVED", quantity=0))
        assert outcome.status is OutcomeStatus.RECORDED
    assert transport.what == ["mug:ITEM_ADDED:1", "mug:ITEM_REMOVED:0"]


@virtual
async def test_a_repeated_checkout_folds_into_the_earlier_waiting_one() -> None:
    """Same lane, same caller's order id: the earlier keeps its place, the later names it."""
    transport = Script(latency=0.1)
    async with client_over(transport, queue=QueuePolicy(linger=0.0)) as client:
        client.track_nowait(cart())
        await asyncio.sleep(0.05)  # the lane is taken
        early = client.track_nowait(checkout(order_id="o"))
        client.track_nowait(cart(product="tea"))
        late = client.track_nowait(checkout(order_id="o"))
        other = client.track_nowait(checkout(order_id="p"))
        assert (await late).detail == f"folded into {early.id}"
        assert (await early).status is OutcomeStatus.RECORDED
        assert (await other).status is OutcomeStatus.RECORDED
    assert transport.what == ["mug:ITEM_ADDED:1", "o", "tea:ITEM_ADDED:1", "p"]


@virtual
async def test_the_survivor_keeps_its_own_deadline() -> None:
    """The folded one ends with it, past the time that it had for itself."""
    transport = Script(HANG)
    retry = RetryPolicy(cart_delivery_timeout=10.0)
    http = HttpPolicy(request_timeout=1_000.0)
    policy = QueuePolicy(linger=0.0)
    async with client_over(transport, queue=policy, retry=retry, http=http) as client:
        client.track_nowait(checkout())
        await asyncio.sleep(1.0)
        early = client.track_nowait(cart(quantity=1))
        await asyncio.sleep(5.0)
        late = client.track_nowait(cart(quantity=2))
        outcome = await late
        assert outcome.status is OutcomeStatus.EXPIRED
        assert outcome.elapsed == pytest.approx(10.0)
        assert (await early).elapsed == pytest.approx(15.0)
        assert (await early).survivor == outcome
        balance(client)
        await client.close(timeout=0)
