"""What an event passes before it is let in: `before_send`, `enabled`, order ids, its type."""

import functools
import logging
from decimal import Decimal
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
from tests.scripted import (
    HANG,
    OK,
    RESET,
    Script,
    balance,
    cart,
    checkout,
    client_over,
    code,
)

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


def _returns_a_coroutine(event: Event) -> Any:
    """No coroutine function, so that nobody can tell before it is called."""
    return _coroutine(event)


DROPPING: dict[str, Any] = {
    "before_send returned None": lambda _: None,
    "before_send raised LookupError: no consent": _raises,
    "before_send returned coroutine, no event": _returns_a_coroutine,
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


def said(caplog: pytest.LogCaptureFixture) -> int:
    """How often the log told of another total."""
    return sum("another total" in line for line in caplog.messages)


OTHER_TOTALS = [{"value": 10}, {"currency": "USD"}, {"value": Decimal("9.51")}]


@pytest.mark.parametrize("changed", OTHER_TOTALS, ids=str)
@virtual
async def test_a_recorded_order_with_another_total_is_told_apart(
    changed: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """An edited order, or another shop's under the same key: still no second order, but said."""
    caplog.set_level(logging.WARNING, logger="alhena_async")
    transport = Script()
    async with client_over(transport, queue=NOW) as client:
        first = checkout("one", order_id="1001")
        await client.record(first)
        again = await client.record(attrs.evolve(first, **changed))
        assert again.status is OutcomeStatus.DUPLICATE
        assert again.ok
        assert str(again.detail).endswith(", with another total")
    assert len(transport.sent) == 1
    assert said(caplog) == 1
    assert "1001" not in caplog.text


@virtual
async def test_the_same_total_in_other_digits_is_no_other_total(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """19.9 from JSON and NUMERIC 19.90 from a database are the same money."""
    caplog.set_level(logging.WARNING, logger="alhena_async")
    async with client_over(Script(), queue=NOW) as client:
        first = attrs.evolve(checkout("one", order_id="o"), value=19.9)
        await client.record(first)
        again = await client.record(attrs.evolve(first, value=Decimal("19.90")))
        assert "total" not in str(again.detail)
        assert again.status is OutcomeStatus.DUPLICATE
    assert said(caplog) == 0


@virtual
async def test_an_order_that_the_api_had_first_is_told_apart_where_it_can_be(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Two visitors' lanes race for one order id: the second reply comes when the first is known."""
    caplog.set_level(logging.WARNING, logger="alhena_async")
    answers = {"one": OK, "two": code("ORDER_ALREADY_EXISTS")}
    transport = Script(otherwise=lambda sent: answers[sent.fingerprint], latency=1.0)
    async with client_over(transport, queue=NOW) as client:
        first = client.track_nowait(checkout("one", order_id="o"))
        other = client.track_nowait(attrs.evolve(checkout("two", order_id="o"), value=99))
        assert (await first).status is OutcomeStatus.RECORDED
        outcome = await other
        assert outcome.status is OutcomeStatus.DUPLICATE
        assert outcome.attempts == 1
        assert str(outcome.detail).endswith("with another total")
    assert said(caplog) == 1


@pytest.mark.parametrize("changed", [*OTHER_TOTALS, {}], ids=str)
@virtual
async def test_a_repeated_checkout_that_folds_is_told_apart_too(
    changed: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """It joins the one that waits; where its total differs, detail and log say so."""
    caplog.set_level(logging.WARNING, logger="alhena_async")
    transport = Script(HANG)
    async with client_over(transport, queue=NOW) as client:
        client.track_nowait(checkout("one", order_id="before"))  # keeps the lane taken
        first = client.track_nowait(checkout("one", order_id="o"))
        again = client.track_nowait(attrs.evolve(checkout("one", order_id="o"), **changed))
        outcome = await again
        assert outcome.status is OutcomeStatus.COALESCED
        assert outcome.ok
        told = f"folded into {first.id}" + (", with another total" if changed else "")
        assert outcome.detail == told
    assert said(caplog) == bool(changed)


async def _plain(event: Event) -> Event:
    return event


class AsyncFilter:
    async def __call__(self, event: Event) -> Event:
        return event


class StepwiseFilter:
    async def __call__(self, event: Event) -> Any:
        yield event


@pytest.mark.parametrize(
    "before_send",
    [_plain, functools.partial(_plain), AsyncFilter(), AsyncFilter().__call__, StepwiseFilter()],
    ids=["function", "partial", "object", "method", "generator"],
)
def test_a_filter_that_is_a_coroutine_function_is_refused(before_send: Any) -> None:
    """It would drop every event, as what it returns is none: said where the client is made."""
    with pytest.raises(TypeError, match=r"before_send must be a plain function, not a coroutine"):
        client_over(Script(), before_send=before_send)


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
