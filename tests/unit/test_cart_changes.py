"""`CartEvent.changes`: the events of a shop that knows what is in a cart, and not what was done."""

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from alhena_async import CartEvent, InvalidEventError, LineItem, Visitor

VISITOR = Visitor(
    fingerprint="550e8400-e29b-41d4-a716-446655440000",
    faq_fingerprint="660e8400-e29b-41d4-a716-446655441111",
)
MARK = "Xyzzy"


def row(product_id: Any, quantity: Any, **changed: Any) -> dict[str, Any]:
    """A line of a cart, as a row of the shop's own."""
    return {
        "product_id": product_id,
        "product_name": f"Product {product_id}",
        "value": 9.5,
        "currency": "EUR",
        "quantity": quantity,
        **changed,
    }


def told(before: list[Any], after: list[Any]) -> list[tuple[str, str, Any]]:
    events = CartEvent.changes(VISITOR, before=before, after=after)
    return [(event.type.value, event.product_id, event.quantity) for event in events]


def test_removals_come_first_then_changes_then_additions() -> None:
    """Each in the order of its cart; what is unchanged gives nothing."""
    before = [row("a", 1), row("b", 2), row("c", 3), row("d", 4), row("e", 5)]
    after = [row("x", 1), row("d", 1), row("y", 2), row("c", 3), row("b", 9)]
    assert told(before, after) == [
        ("ITEM_REMOVED", "a", 0),
        ("ITEM_REMOVED", "e", 0),
        ("QUANTITY_DECREASED", "d", 1),
        ("QUANTITY_INCREASED", "b", 9),
        ("ITEM_ADDED", "x", 1),
        ("ITEM_ADDED", "y", 2),
    ]


def test_an_unchanged_cart_gives_nothing() -> None:
    """Nor do two empty ones, nor another order or price of the same products."""
    assert told([], []) == []
    assert told([row("a", 1), row("b", 2)], [row("b", 2, value=3), row("a", 1.0)]) == []
    assert told([row("a", Decimal("0.10"))], [row("a", 0.1)]) == []  # one JSON, two parsers


def test_an_event_has_all_that_its_line_has() -> None:
    """A removal that of the line before, the others that of the line after."""
    [removed, added] = CartEvent.changes(
        VISITOR,
        before=[row("a", 1, value=Decimal("3.50"))],
        after=[row(7, 2, product_name="Tasse", value=4, currency="JPY")],
        source="WOO",
    )
    assert removed == CartEvent.for_change(
        VISITOR, before=1, after=0, product_id="a", product_name="Product a",
        value=Decimal("3.50"), currency="EUR", source="WOO",
    )  # fmt: skip
    assert added == CartEvent.for_change(
        VISITOR, before=0, after=2, product_id="7", product_name="Tasse", value=4, currency="JPY",
        source="WOO",
    )  # fmt: skip


@pytest.mark.parametrize(
    "shape", [dict, lambda fields: SimpleNamespace(**fields), lambda fields: LineItem(**fields)]
)
def test_a_line_is_anything_that_has_the_five_values(shape: Any) -> None:
    """A mapping, an object with attributes, or our `LineItem`."""
    before = [shape(row("a", 1))]
    after = (shape(row(one, 1)) for one in "ab")
    [event] = CartEvent.changes(VISITOR, before=before, after=after)
    assert (event.type, event.product_id, event.value) == ("ITEM_ADDED", "b", 9.5)


@pytest.mark.parametrize(
    ("total", "quantity", "price"),
    [
        (19, 2, Decimal("9.5")),
        (Decimal("19.98"), 2, Decimal("9.99")),
        (0.3, 3, Decimal("0.1")),
        (10, 3, Decimal("3.333333333")),
        (5, Decimal("0.25"), Decimal(20)),
        (7.25, 1, 7.25),
    ],
)
def test_of_a_line_item_the_price_of_one_is_told(total: Any, quantity: Any, price: Any) -> None:
    """Its `value` is the line's total, an event's is a price: no factor slips in."""
    fields = row("a", quantity, value=total)
    [event] = CartEvent.changes(VISITOR, before=[], after=[LineItem(**fields)])
    assert event.value == price


def test_lines_of_one_product_count_together() -> None:
    """A gift-wrapped one and a plain one are two of it; ids are compared as text."""
    before = [row(5, 1), row("6", 2)]
    after = [row("5", 1), row(6, 1), row(5, 1.5, product_name="Last"), row(6, 1)]
    [event] = CartEvent.changes(VISITOR, before=before, after=after)
    assert (event.product_id, event.quantity, event.product_name) == ("5", Decimal("2.5"), "Last")
    assert told([row("a", 0.1), row("a", 0.2)], [row("a", 0.3)]) == []


def test_a_line_of_nothing_is_no_line() -> None:
    """Some shops keep a product at 0."""
    assert told([row("a", 0), row("b", 1)], [row("a", 0), row("b", 0.0)]) == [
        ("ITEM_REMOVED", "b", 0)
    ]


def test_every_bad_line_is_told_with_its_side_and_place() -> None:
    """Of a line that gives no event only id and quantity matter: an odd old one stops nothing."""
    before = [row("same", 1, product_name=""), row("gone", -1, product_name=MARK)]
    after = [row("same", 1, product_name=""), row("new", 1, product_name="", currency="eur"), None]
    with pytest.raises(InvalidEventError) as caught:
        CartEvent.changes(VISITOR, before=before, after=after)
    assert [problem.field for problem in caught.value.problems] == [
        "before[1].quantity",
        "after[2].product_id",
        "after[2].quantity",
        "after[1].product_name",
        "after[1].currency",
    ]
    assert "line 2 of before: quantity -1 must be 0 or more" in str(caught.value)
    assert "line 3 of after: product_id is missing" in str(caught.value)
    assert MARK not in str(caught.value)


def test_the_visitor_is_told_once() -> None:
    """And not for each line."""
    with pytest.raises(InvalidEventError) as caught:
        CartEvent.changes(None, before=[], after=[row("a", 1), row("b", 1)])  # type: ignore[arg-type]
    assert [problem.field for problem in caught.value.problems] == ["visitor"]
