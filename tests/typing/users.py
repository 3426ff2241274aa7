"""What users write, as a type checker sees it: each line is right, or says that it is refused.

mypy checks it with all the rest (an `ignore` that nothing needs is an error), pyright in
`tests/integration/test_types.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable
from decimal import Decimal
from typing import Any, assert_type

from alhena_async import (
    AlhenaClient,
    CartEvent,
    CartEventType,
    CheckoutEvent,
    Coalescing,
    HttpPolicy,
    LineItem,
    Outcome,
    OutcomeStatus,
    QueuePolicy,
    Receipt,
    Region,
    Stats,
    Visitor,
    current_client,
    current_visitor,
)
from alhena_async.events import Event, event_from_json
from alhena_async.journal import DeadLetter, DeadLetters
from alhena_async.sync import SyncAlhenaClient, SyncReceipt

VISITOR = Visitor(fingerprint="a", faq_fingerprint="b")


def events() -> None:
    """Fixed words are words, numbers are numbers, and what is built says what it is."""
    cart = CartEvent.for_change(
        VISITOR, before=0, after=1, product_id=7, product_name="Mug", value=9.5, currency="EUR"
    )
    assert_type(cart, CartEvent)
    assert_type(cart.type, CartEventType)
    assert_type(cart.product_id, str)
    assert_type(cart.value, int | float | Decimal)
    assert_type(cart.to_json(), str)
    assert_type(CartEvent.from_dict(cart.to_dict()), CartEvent)
    assert_type(event_from_json(b""), Event)
    line = LineItem(
        product_id="7", product_name="Mug", quantity=1, value=Decimal(1), currency="EUR"
    )
    order = CheckoutEvent(visitor=VISITOR, value=1, currency="EUR", line_items=[line])
    assert_type(order.order_id, str | None)
    assert_type(order.line_items, tuple[LineItem, ...])
    fields: dict[str, Any] = cart.to_dict()
    CartEvent(**fields)
    CartEvent(
        visitor=VISITOR,
        type="ADDED",  # type: ignore[arg-type]
        product_id="7",
        product_name="Mug",
        value=1,
        currency="EUR",
        quantity=1,
    )
    order.value = 2  # type: ignore[misc]


async def calls(client: AlhenaClient) -> None:
    """Every call says what comes back, and whether it is to be awaited."""
    event = event_from_json("")
    assert_type(client.track_nowait(event), Receipt)
    assert_type(await client.track(event), Receipt)
    outcome = await client.record(event)
    assert_type(outcome, Outcome)
    assert_type(await client.track_nowait(event), Outcome)
    assert_type(outcome.status, OutcomeStatus)
    assert_type(outcome.ok, bool)
    assert_type(outcome.code, str | None)
    assert_type(client.stats(), Stats)
    await client.flush(timeout=1.0)
    assert_type(current_client(), AlhenaClient | SyncAlhenaClient | None)
    assert_type(current_visitor(), Visitor | None)
    waiting: Awaitable[Outcome] = client.track_nowait(event)
    await waiting


def settings() -> None:
    """A word that is none is refused before anything runs."""
    AlhenaClient("k", region="eu", coalescing="off")
    AlhenaClient("k", region=Region.EU, coalescing=Coalescing.NET)
    AlhenaClient("k", queue=QueuePolicy(overflow="shed"), http=HttpPolicy(order_id_field="both"))
    AlhenaClient("k", region="uk")  # type: ignore[arg-type]
    AlhenaClient("k", coalescing="all")  # type: ignore[arg-type]
    QueuePolicy(overflow="block")  # type: ignore[arg-type]
    HttpPolicy(order_id_field="orderID")  # type: ignore[arg-type]
    SyncAlhenaClient("k", region="uk")  # type: ignore[arg-type]


def without_a_loop(client: SyncAlhenaClient) -> None:
    """The same words, nothing to await."""
    assert_type(client.track(event_from_json("")), SyncReceipt)
    assert_type(client.record(event_from_json(""), timeout=1.0), Outcome)
    with client as same:
        assert_type(same, SyncAlhenaClient)


def letters() -> None:
    """Dead letters are objects, not rows."""
    with DeadLetters("var/alhena") as box:
        assert_type([*box.list()], list[DeadLetter])
