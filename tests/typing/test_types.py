"""What a type checker sees.

mypy reads this file: an unused ignore is an error, so each one that stands here is a promise
that the line is refused. The lines run as well.
"""

import asyncio
import concurrent.futures
from collections.abc import AsyncIterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import assert_type

import pytest

from alhena_async import (
    AlhenaClient,
    BreakerState,
    CartEvent,
    CartEventType,
    CheckoutEvent,
    CloseReport,
    DeliveryError,
    Endpoint,
    Event,
    HttpPolicy,
    InvalidEventError,
    LineItem,
    Observer,
    OrderIdField,
    Outcome,
    OutcomeStatus,
    Overflow,
    QueuePolicy,
    Receipt,
    Reply,
    RetryPolicy,
    Stats,
    Transport,
    Visitor,
)
from alhena_async._replies import Verdict, classify
from alhena_async.emulator import Recorded
from alhena_async.journal import SQLiteJournal
from alhena_async.testing import MemoryTransport, run_virtually

VISITOR = Visitor(
    fingerprint="550e8400-e29b-41d4-a716-446655440000",
    faq_fingerprint="660e8400-e29b-41d4-a716-446655441111",
)
LINE = LineItem(
    product_id="1", product_name="Mug", quantity=1, value=Decimal("9.50"), currency="EUR"
)
CART = CartEvent(
    visitor=VISITOR,
    type="ITEM_ADDED",
    product_id="1",
    product_name="Mug",
    value=9.5,
    currency="EUR",
    quantity=1,
)


def test_a_type_may_be_given_as_text_and_is_read_as_the_enum() -> None:
    """`type="ITEM_ADDED"` type-checks; what comes out is the enum."""
    assert_type(CART, CartEvent)
    assert_type(CART.type, CartEventType)
    same = CartEvent(
        visitor=VISITOR,
        type=CartEventType.ITEM_ADDED,
        product_id="1",
        product_name="Mug",
        value=Decimal("9.5"),
        currency="EUR",
        quantity=1.0,
        source=None,
    )
    assert_type(same.source, str | None)
    assert same == CART


def test_numbers_are_the_three_kinds() -> None:
    """int, float and Decimal, in and out."""
    assert_type(CART.value, int | float | Decimal)
    assert_type(CART.quantity, int | float | Decimal)
    assert_type(LINE.value, int | float | Decimal)


def test_lines_may_be_any_iterable_and_are_read_as_a_tuple() -> None:
    """A list, a tuple or a generator goes in."""
    order = CheckoutEvent(visitor=VISITOR, value=9.5, currency="EUR", line_items=[LINE])
    assert_type(order, CheckoutEvent)
    assert_type(order.line_items, tuple[LineItem, ...])
    assert_type(order.order_id, str | None)
    CheckoutEvent(visitor=VISITOR, value=9.5, currency="EUR", line_items=(LINE, LINE))
    CheckoutEvent(visitor=VISITOR, value=9.5, currency="EUR", line_items=(one for one in [LINE]))


def test_a_change_is_a_cart_event() -> None:
    """The visitor comes first, the rest by name."""
    event = CartEvent.for_change(
        VISITOR,
        before=0,
        after=Decimal("1.5"),
        product_id="1",
        product_name="Mug",
        value=9.5,
        currency="EUR",
    )
    assert_type(event, CartEvent)


def test_wrong_values_are_seen_by_the_checker_before_they_are_refused() -> None:
    """What the rules refuse by type, mypy refuses too."""
    with pytest.raises(InvalidEventError):
        Visitor(fingerprint="x", faq_fingerprint=None)  # type: ignore[arg-type]
    with pytest.raises(InvalidEventError):
        LineItem(product_id=1.5, product_name="Mug", quantity=1, value=1, currency="EUR")  # type: ignore[arg-type]
    with pytest.raises(InvalidEventError):
        LineItem(product_id="1", product_name="Mug", quantity=1, value="1", currency="EUR")  # type: ignore[arg-type]
    with pytest.raises(InvalidEventError):
        CheckoutEvent(visitor="x", value=1, currency="EUR", line_items=[LINE])  # type: ignore[arg-type]
    with pytest.raises(InvalidEventError):
        CheckoutEvent(visitor=VISITOR, value=1, currency="EUR", line_items=[CART])  # type: ignore[list-item]
    with pytest.raises(TypeError):
        CheckoutEvent(VISITOR, 1, "EUR", [LINE])  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        CART.value = 1  # type: ignore[misc]


def test_an_id_may_be_an_int_and_is_text_then() -> None:
    """What is taken is wider than what is kept."""
    line = LineItem(
        product_id=1, product_name="Mug", quantity=1, value=Fraction(19, 2), currency="EUR"
    )
    order = CheckoutEvent(
        visitor=VISITOR, value=1, currency="EUR", line_items=[line], order_id=1001
    )
    assert_type(line.product_id, str)
    assert_type(line.value, int | float | Decimal)
    assert_type(order.order_id, str | None)
    assert (line.product_id, line.value, order.order_id) == ("1", 9.5, "1001")


def test_policies_take_an_enum_or_its_value() -> None:
    """`order_id_field="both"` type-checks, as the documentation writes it."""
    assert_type(HttpPolicy(order_id_field="both").order_id_field, OrderIdField)
    assert_type(QueuePolicy(overflow="drop").overflow, Overflow)
    assert HttpPolicy(order_id_field="both") == HttpPolicy(order_id_field=OrderIdField.BOTH)
    assert QueuePolicy(overflow="drop") == QueuePolicy(overflow=Overflow.DROP)
    assert_type(RetryPolicy(max_attempts=None).max_attempts, int | None)


class Memory:
    """A transport of one's own: `Transport` is a protocol, there is nothing to inherit."""

    async def open(self) -> None:
        return None

    async def send(self, endpoint: Endpoint, body: bytes) -> Reply:
        return Reply(200, b'{"status":"success"}')

    async def close(self) -> None:
        return None


class Watch(Observer):
    """Overriding one method is enough."""

    def outcome(self, outcome: Outcome) -> None:
        assert_type(outcome.status, OutcomeStatus)


def scrub(event: Event) -> Event | None:
    return event if isinstance(event, CartEvent) else None


async def test_every_call_of_the_client_is_typed() -> None:
    """Receipts, futures, outcomes, reports: nothing is Any."""
    transport: Transport = Memory()
    client = AlhenaClient(
        "my-company",
        region="eu",
        coalescing="latest",
        observers=[Watch()],
        before_send=scrub,
        transport=transport,
    )
    async with client as alhena:
        assert_type(alhena, AlhenaClient)
        receipt = alhena.track_nowait(CART)
        assert_type(receipt, Receipt)
        assert_type(receipt.done(), bool)
        assert_type(await alhena.track(CART, timeout=1, company_key="other"), Receipt)
        future = await asyncio.to_thread(alhena.track_threadsafe, CART)
        assert_type(future, concurrent.futures.Future[Outcome])
        outcome = await alhena.record(CART, timeout=None)
        assert_type(outcome, Outcome)
        assert_type(outcome.ok, bool)
        assert_type(outcome.event, CartEvent | CheckoutEvent)
        assert_type(outcome.code, str | None)
        assert_type(outcome.http_status, int | None)
        assert_type(outcome.detail, str | None)
        async for one in alhena.record_all([CART]):
            assert_type(one, Outcome)
        async for one in alhena.record_all(two()):
            assert_type(one, Outcome)
        await alhena.flush(timeout=5)
        assert_type(await receipt, Outcome)
        assert_type(alhena.stats(), Stats)
        assert_type(alhena.stats().breaker, BreakerState)
        report = await alhena.close(timeout=1)
    assert_type(report, CloseReport)
    assert_type(report.undelivered, tuple[Event, ...])
    assert_type(report.stats, Stats)


async def two() -> AsyncIterator[Event]:
    yield CART
    yield CART


def test_a_journal_is_a_directory_or_a_journal() -> None:
    """A path of either kind, a `SQLiteJournal`, or none."""
    for journal in ("var/alhena", Path("var/alhena"), SQLiteJournal("var/alhena"), None):
        assert_type(AlhenaClient("shop", journal=journal), AlhenaClient)
    with pytest.raises(TypeError):
        AlhenaClient("shop", journal=7)  # type: ignore[arg-type]


def test_an_error_carries_a_typed_outcome() -> None:
    """`except DeliveryError as error: error.outcome.detail` needs no cast."""
    outcome = Outcome(status=OutcomeStatus.EXPIRED, event=CART)
    with pytest.raises(DeliveryError) as caught:
        outcome.raise_for_status()
    assert_type(caught.value.outcome, Outcome)


def test_a_reply_is_judged_into_a_verdict() -> None:
    """The seam for other transports and the relay."""
    assert_type(classify(Reply(200)), Verdict)
    assert_type(classify(Reply(429)).retry_after, float | None)


def test_a_fake_is_a_transport_and_its_questions_have_types() -> None:
    """Facts are checked by name and by type; what comes back is known."""
    fake = MemoryTransport()
    transport: Transport = fake
    assert transport is fake
    assert_type(fake.recorded(product_id="1", visitor=VISITOR, value=Decimal(1)), list[Recorded])
    assert_type(fake.assert_recorded(times=0, visitor=("a", "b")), list[Recorded])
    with pytest.raises(TypeError):
        fake.recorded(product="1")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        fake.assert_nothing_recorded(quantity="1")  # type: ignore[arg-type]


def test_virtual_time_hands_the_result_through() -> None:
    """With its type."""

    async def main() -> int:
        return 7

    assert_type(run_virtually(main), int)
