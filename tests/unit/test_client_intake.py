"""What an event passes before it is let in: `before_send`, `enabled`, order ids, its type."""

import logging
from typing import Any

import attrs
import pytest

from alhena_async import (
    CartEvent,
    CheckoutEvent,
    DeliveryDroppedError,
    Event,
    OutcomeStatus,
    QueuePolicy,
)
from alhena_async.testing import virtual
from tests.scripted import OK, RESET, Script, balance, cart, checkout, client_over, code

NOW = QueuePolicy(linger=0.0)


@virtual
async def test_before_send_may_amend() -> None:
    """What it returns is what is sent, in the lane of what it returns."""

    def rename(event: Event) -> Event:
        return attrs.evolve(event, product_name="?") if isinstance(event, CartEvent) else event

    transport = Script()
    async with client_over(transport, queue=NOW, before_send=rename) as client:
        outcome = await client.record(cart())
        await client.record(checkout())
    assert transport.sent[0].payload["product_name"] == "?"
    assert isinstance(outcome.event, CartEvent)
    assert outcome.event.product_name == "?"


def _raises(_: Event) -> Event:
    raise LookupError("no consent")


async def _coroutine(event: Event) -> Event:
    return event


DROPPING: dict[str, Any] = {
    "before_send returned None": lambda _: None,
    "before_send raised LookupError: no consent": _raises,
    "before_send returned coroutine, no event": _coroutine,
    "before_send returned dict, no event": lambda _: {},
}


@pytest.mark.parametrize("detail", DROPPING)
@virtual
async def test_a_filter_that_fails_is_warned_of(
    detail: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It drops every event, and nobody would know; None is meant. Its text may quote the event."""
    caplog.set_level(logging.WARNING, logger="alhena_async")
    event = cart()
    caplog.clear()  # that a fingerprint is no UUID is said once
    async with client_over(Script(), before_send=DROPPING[detail]) as client:
        for _ in range(12):
            client.track_nowait(event)
    meant = detail.endswith("None")
    assert len(caplog.records) == (0 if meant else 2)
    assert "no consent" not in caplog.text


@pytest.mark.parametrize("detail", DROPPING)
@virtual
async def test_before_send_may_drop(detail: str) -> None:
    """None drops; so does one that raises or returns no event: it may be a privacy filter."""
    transport = Script()
    async with client_over(transport, before_send=DROPPING[detail]) as client:
        for event in (cart(), checkout()):
            outcome = await client.track_nowait(event)
            assert outcome.status is OutcomeStatus.DROPPED
            assert outcome.detail == detail
            assert (await (await client.track(event))).status is OutcomeStatus.DROPPED
        with pytest.raises(DeliveryDroppedError):
            await client.record(cart())
        assert client.stats().dropped == 5
        balance(client)
    assert transport.sent == []


@virtual
async def test_a_dropped_event_needs_no_room() -> None:
    """A full queue does not make the filter's work fail."""
    policy = QueuePolicy(capacity=1)

    def only_checkouts(event: Event) -> Event | None:
        return event if isinstance(event, CheckoutEvent) else None

    async with client_over(Script(RESET), queue=policy, before_send=only_checkouts) as client:
        client.track_nowait(checkout())
        assert client.track_nowait(cart()).done()
        assert (await client.track(cart())).done()


@virtual
async def test_a_disabled_client_accepts_everything_and_sends_nothing() -> None:
    """For tests and staging: `DROPPED`, whatever the call, and it asks no filter."""
    transport = Script()
    refuse = QueuePolicy(capacity=1)
    async with client_over(transport, enabled=False, queue=refuse, before_send=_raises) as client:
        for _ in range(5):
            outcome = await client.track_nowait(cart())
            assert outcome.status is OutcomeStatus.DROPPED
            assert outcome.detail == "enabled=False"
        outcomes = [outcome async for outcome in client.record_all([cart(), checkout()])]
        assert [outcome.status for outcome in outcomes] == [OutcomeStatus.DROPPED] * 2
        assert client.stats().dropped == 7
        balance(client)
    assert transport.sent == []


@virtual
async def test_a_recorded_order_is_a_duplicate_without_a_request() -> None:
    """This client remembers the caller's order ids that it recorded, whoever the visitor is."""
    transport = Script()
    async with client_over(transport, queue=NOW) as client:
        await client.record(checkout("one", order_id="o"))
        again = await client.record(checkout("two", order_id="o"))
        assert again.status is OutcomeStatus.DUPLICATE
        assert again.attempts == 0
        assert "lately" in str(again.detail)
        other = await client.record(checkout("two", order_id="o"), company_key="other")
        assert other.status is OutcomeStatus.RECORDED
    assert len(transport.sent) == 2


@virtual
async def test_a_refused_order_is_not_remembered() -> None:
    """The visitor had no ticket then; now there is one."""
    transport = Script(code("ACTIVE_TICKET_NOT_FOUND"), OK)
    async with client_over(transport, queue=NOW) as client:
        assert (await client.record(checkout())).status is OutcomeStatus.UNATTRIBUTED
        assert (await client.record(checkout())).status is OutcomeStatus.RECORDED


@virtual
async def test_orders_without_an_id_are_never_duplicates_of_each_other() -> None:
    """Each gets an id of its own."""
    transport = Script()
    async with client_over(transport, queue=NOW) as client:
        for _ in range(3):
            outcome = await client.record(checkout(order_id=None))
            assert outcome.status is OutcomeStatus.RECORDED
            assert isinstance(outcome.event, CheckoutEvent)
            assert outcome.event.order_id is None  # the caller's event stays the caller's
    assert len({sent.payload["orderId"] for sent in transport.sent}) == 3


class SpecialCart(CartEvent):
    """A shop's own child of the event."""


@pytest.mark.parametrize("wrong", [None, {}, "cart", CartEvent, SpecialCart])
@virtual
async def test_what_is_no_event_is_refused_before_anything_is_accepted(wrong: Any) -> None:
    """`TypeError`, from every call, and no place is taken."""
    if wrong is SpecialCart:
        plain = cart()
        wrong = SpecialCart(**attrs.asdict(plain, recurse=False))
    async with client_over(Script()) as client:
        with pytest.raises(TypeError, match="CartEvent or CheckoutEvent"):
            client.track_nowait(wrong)
        with pytest.raises(TypeError, match="CartEvent or CheckoutEvent"):
            await client.track(wrong)
        with pytest.raises(TypeError, match="CartEvent or CheckoutEvent"):
            await client.record(wrong)
        assert client.stats().accepted == 0
        assert client._queue.outstanding == 0


def test_before_send_must_be_callable() -> None:
    """Said at construction, not at the first event."""
    with pytest.raises(TypeError, match="before_send"):
        client_over(Script(), before_send="filter")
