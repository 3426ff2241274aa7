"""What the emulator reads as an event, and what it refuses."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alhena_async.emulator._contract import (
    Cart,
    CartType,
    Checkout,
    EventKind,
    Refusal,
    RefusalCode,
    read_event,
)

CART: dict[str, Any] = {
    "company_key": "gleen",
    "user_fingerprint": "fp",
    "user_faq_fingerprint": "faq",
    "type": "ITEM_ADDED",
    "product_id": "123",
    "product_name": "Product 1",
    "value": 100,
    "currency": "USD",
    "quantity": 1,
}
LINE: dict[str, Any] = {
    "product_id": "123",
    "product_name": "Product 1",
    "quantity": 2,
    "value": 199.97,
    "currency": "USD",
}
CHECKOUT: dict[str, Any] = {
    "company_key": "gleen",
    "user_fingerprint": "fp",
    "user_faq_fingerprint": "faq",
    "value": 199.97,
    "currency": "USD",
    "line_items": [LINE],
}
WRONG: list[tuple[Any, str]] = [
    (None, "null"),
    (True, "a boolean"),
    ([], "an array"),
    ({}, "an object"),
]


def read(kind: EventKind, body: object) -> Cart | Checkout | Refusal:
    return read_event(kind, json.dumps(body).encode())


def message(kind: EventKind, body: object) -> str:
    refusal = read(kind, body)
    assert isinstance(refusal, Refusal)
    assert refusal.code is RefusalCode.MISSING_REQUIRED_FIELDS
    return refusal.message


def test_cart_event_is_read_with_every_field() -> None:
    """A documented cart body becomes an event that holds what was sent."""
    event = read(EventKind.CART, {**CART, "source": "CUSTOM"})
    assert event == Cart(
        company_key="gleen",
        visitor=("fp", "faq"),  # type: ignore[arg-type]  # a Visitor equals a plain pair
        type=CartType.ITEM_ADDED,
        product_id="123",
        product_name="Product 1",
        value=Decimal(100),
        currency="USD",
        quantity=Decimal(1),
        source="CUSTOM",
    )


@pytest.mark.parametrize("field", [*CART])
@pytest.mark.parametrize(("wrong", "named"), WRONG)
def test_cart_field_of_a_wrong_type_is_named(field: str, wrong: object, named: str) -> None:
    """Every cart field is required to have its JSON type, and the message names it."""
    text = message(EventKind.CART, {**CART, field: wrong})
    assert text.startswith(f"{field} must be a ")
    assert text.endswith(f"not {named}")


@pytest.mark.parametrize("field", [*CART])
def test_missing_cart_field_is_named(field: str) -> None:
    """Every cart field is required to be present."""
    body = {name: value for name, value in CART.items() if name != field}
    assert message(EventKind.CART, body) == f"{field} is missing"


@pytest.mark.parametrize("field", [*CHECKOUT])
def test_missing_checkout_field_is_named(field: str) -> None:
    """Every checkout field but the order id is required to be present."""
    body = {name: value for name, value in CHECKOUT.items() if name != field}
    assert message(EventKind.CHECKOUT, body) == f"{field} is missing"


@pytest.mark.parametrize("field", [*LINE])
def test_missing_line_field_is_named_with_its_line(field: str) -> None:
    """A line's field is required too, and the message says which line."""
    bad = {name: value for name, value in LINE.items() if name != field}
    body = {**CHECKOUT, "line_items": [LINE, bad]}
    assert message(EventKind.CHECKOUT, body) == f"line_items[1].{field} is missing"


@pytest.mark.parametrize(
    "field", ["company_key", "user_fingerprint", "product_id", "product_name", "currency"]
)
def test_empty_string_is_refused(field: str) -> None:
    """A required string may not be empty."""
    assert message(EventKind.CART, {**CART, field: ""}) == f"{field} is empty"


@pytest.mark.parametrize("wrong", ["item_added", "ADDED", "ITEM_ADDED "])
def test_types_are_case_sensitive_and_exact(wrong: str) -> None:
    """Only the four documented types are types."""
    assert "must be one of ITEM_ADDED" in message(EventKind.CART, {**CART, "type": wrong})


@pytest.mark.parametrize("names", [("orderId",), ("order_id",), ("orderId", "order_id")])
def test_order_id_is_taken_under_either_name(names: tuple[str, ...]) -> None:
    """The table says orderId, the example order_id; both with one value are fine."""
    event = read(EventKind.CHECKOUT, {**CHECKOUT, **dict.fromkeys(names, "ORD-1")})
    assert isinstance(event, Checkout)
    assert event.order_id == "ORD-1"


def test_order_ids_that_differ_are_refused() -> None:
    """Two order ids in one checkout are a mistake of the sender."""
    body = {**CHECKOUT, "orderId": "1", "order_id": "2"}
    assert message(EventKind.CHECKOUT, body) == "orderId and order_id are both given and differ"


def test_checkout_needs_no_order_id() -> None:
    """The order id is optional; null is none."""
    event = read(EventKind.CHECKOUT, {**CHECKOUT, "orderId": None})
    assert isinstance(event, Checkout)
    assert event.order_id is None


def test_checkout_needs_a_line() -> None:
    """line_items is an array with at least one item."""
    body = {**CHECKOUT, "line_items": []}
    assert message(EventKind.CHECKOUT, body) == "line_items must have at least one item"


@pytest.mark.parametrize("digits", ["199.97", "0.1", "19.990", "1E+2", "12345678901234.123456789"])
def test_numbers_keep_their_digits(digits: str) -> None:
    """A number is read as it was written, never through a float."""
    raw = json.dumps({**CART, "value": 0}).replace('"value": 0', f'"value": {digits}')
    event = read_event(EventKind.CART, raw.encode())
    assert isinstance(event, Cart)
    assert str(event.value) == digits


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b"[" * 500_000,
        b'{"a":' * 150_000,
        b'{"value": NaN}',
        b'{"value": -Infinity}',
        b'{"value": 1e999999}',
        b'{"value": 0e-999999}',
        b'{"value": 1e99999999999999999999}',
        b'{"value": -1e-99999999999999999999}',
        b'{"value": 0e1000000000000000000}',
        b'{"value": ' + b"9" * 900_000 + b"}",
    ],
    ids=lambda raw: raw[:12].decode("latin-1"),
)
def test_hostile_body_is_refused_and_never_raises(raw: bytes) -> None:
    """Deep nesting, bad UTF-8 and absurd numbers are refusals like any other."""
    refusal = read_event(EventKind.CART, raw)
    assert isinstance(refusal, Refusal)
    assert refusal.code is RefusalCode.MISSING_REQUIRED_FIELDS


ATOMS: list[Any] = [None, True, 0, -1, 1.5, 10**30, "", "x", "ITEM_ADDED", "\ud800", [], {}, [LINE]]
VALUES = st.sampled_from(ATOMS) | st.lists(st.sampled_from(ATOMS), max_size=2)


@given(
    kind=st.sampled_from(EventKind),
    body=st.dictionaries(
        st.sampled_from([*CART, *CHECKOUT, "orderId", "order_id"]), VALUES, max_size=4
    ),
)
def test_any_object_gives_an_event_or_a_refusal(kind: EventKind, body: dict[str, Any]) -> None:
    """Whatever stands under the documented names, reading ends in a verdict."""
    base = CART if kind is EventKind.CART else CHECKOUT
    assert isinstance(read(kind, {**base, **body}), Cart | Checkout | Refusal)


@given(kind=st.sampled_from(EventKind), raw=st.binary(max_size=200))
def test_any_bytes_give_a_verdict(kind: EventKind, raw: bytes) -> None:
    """Reading never raises, whatever the bytes."""
    assert isinstance(read_event(kind, raw), Cart | Checkout | Refusal)
