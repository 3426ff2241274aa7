"""Whatever event can be built: both engines write the same JSON, and it comes back the same."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from alhena_async import _json, _wire
from alhena_async._stored import json_schema
from alhena_async.errors import InvalidEventError
from alhena_async.events import (
    CartEvent,
    CartEventType,
    CheckoutEvent,
    Event,
    LineItem,
    Visitor,
    event_from_json,
)
from alhena_async.policies import OrderIdField

HOSTILE = ['","value":0,"x":"', "\\", '\\"', "\\u0000", "\x00", "\u2028", '"}', "\udbff\udfff"]

letters = st.characters(codec="utf-8")
texts = (
    st.text(letters, min_size=1, max_size=30)
    | st.lists(st.sampled_from(HOSTILE[:-1]), min_size=1, max_size=4).map("".join)
).filter(str.strip)
fingerprints = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=256
).filter(str.strip)
currencies = st.text("ABCXYZ", min_size=3, max_size=3)
decimals = st.decimals(
    min_value=0, max_value=Decimal("999999999999999.999999999"), allow_nan=False, places=9
).map(Decimal.normalize) | st.decimals(min_value=0, max_value=10**14, allow_nan=False, places=2)
exact = st.integers(0, 10**15 - 1) | decimals.filter(
    lambda number: -int(number.as_tuple().exponent) <= 9
)
numbers = exact | st.floats(0, 1e15, exclude_max=True, allow_subnormal=True)
visitors = st.builds(Visitor, fingerprint=fingerprints, faq_fingerprint=fingerprints)


SCHEMA = Draft202012Validator(json_schema("Event"))


def positive(kind: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return kind.filter(lambda number: number > 0)


def carts(kind: st.SearchStrategy[Any]) -> st.SearchStrategy[CartEvent]:
    return st.builds(
        CartEvent,
        visitor=visitors,
        type=st.sampled_from(CartEventType),
        product_id=texts,
        product_name=texts,
        value=kind,
        currency=currencies,
        quantity=positive(kind),
        source=st.none() | texts,
    )


def checkouts(kind: st.SearchStrategy[Any]) -> st.SearchStrategy[CheckoutEvent]:
    lines = st.builds(
        LineItem,
        product_id=texts,
        product_name=texts,
        quantity=positive(kind),
        value=kind,
        currency=currencies,
    )
    return st.builds(
        CheckoutEvent,
        visitor=visitors,
        value=kind,
        currency=currencies,
        line_items=st.lists(lines, min_size=1, max_size=3),
        order_id=st.none() | texts,
    )


exact_events = carts(exact) | checkouts(exact)
events = carts(numbers) | checkouts(numbers)


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    assert len(found) == len(pairs), "a name stands twice in one object"
    return found


def loads(raw: bytes) -> Any:
    return json.loads(raw.decode(), parse_float=Decimal, object_pairs_hook=unique)


def digits(raw: bytes) -> Any:
    """The document with each number as the text that it is written in."""
    return json.loads(raw, parse_float=str, parse_int=str)


@settings(max_examples=100)
@given(event=exact_events)
def test_both_engines_write_the_same_bytes(event: Event) -> None:
    """For whole numbers and decimals, byte for byte."""
    stored = _wire.unstructure_event(event)
    assert _json._dumps_orjson(stored) == _json._dumps_stdlib(stored)


@settings(max_examples=100)
@given(event=events)
def test_both_engines_write_the_same_values(event: Event) -> None:
    """For floats, which have more than one spelling, value for value."""
    stored = _wire.unstructure_event(event)
    assert loads(_json._dumps_orjson(stored)) == loads(_json._dumps_stdlib(stored))


@pytest.mark.parametrize("dumps", [_json._dumps_orjson, _json._dumps_stdlib])
@settings(max_examples=100)
@given(event=exact_events)
def test_a_stored_event_comes_back_the_same(dumps: Any, event: Event) -> None:
    """Equal, and through a second turn byte for byte: no digit is lost or made up."""
    raw = dumps(_wire.unstructure_event(event))
    back = _wire.structure_event(loads(raw))
    assert back == event
    assert dumps(_wire.unstructure_event(back)) == raw


@pytest.mark.parametrize("dumps", [_json._dumps_orjson, _json._dumps_stdlib])
@settings(max_examples=100)
@given(event=carts(st.floats(0, 1e15, exclude_max=True)))
def test_a_float_comes_back_the_same(dumps: Any, event: CartEvent) -> None:
    """Written short, and read to the very same float."""
    sent = json.loads(dumps(_wire.unstructure_event(event)))
    assert (sent["value"], sent["quantity"]) == (event.value, event.quantity)


@pytest.mark.parametrize("dumps", [_json._dumps_orjson, _json._dumps_stdlib])
@settings(max_examples=100)
@given(number=decimals)
def test_a_decimal_keeps_its_digits(dumps: Any, number: Decimal) -> None:
    """As it prints without exponent: 199.970 stays 199.970, 1E+2 becomes 100."""
    [written] = digits(dumps([number]))
    assert written == format(number, "f")
    assert Decimal(written) == number
    assert "e" not in written.lower()


def expected_names(event: Event, field: OrderIdField, *, has_order_id: bool) -> set[str]:
    names = {"company_key", "user_fingerprint", "user_faq_fingerprint", "value", "currency"}
    if isinstance(event, CartEvent):
        names |= {"type", "product_id", "product_name", "quantity"}
        return names | ({"source"} if event.source is not None else set())
    names |= {"line_items"}
    chosen = {"orderId", "order_id"} if field is OrderIdField.BOTH else {field.value}
    return names | (chosen if has_order_id else set())


@pytest.mark.parametrize("dumps", [_json._dumps_orjson, _json._dumps_stdlib])
@settings(max_examples=100)
@given(
    event=events,
    company_key=texts,
    order_id=st.none() | texts,
    field=st.sampled_from(OrderIdField),
)
def test_no_text_breaks_out_of_its_field(
    dumps: Any, event: Event, company_key: str, order_id: str | None, field: OrderIdField
) -> None:
    """Exactly the documented names, each once, each text as it was, unescaped where JSON lets."""
    if isinstance(event, CartEvent):
        order_id = None
    own = getattr(event, "order_id", None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_wire, "dumps", dumps)
        raw = _wire.request_body(
            event, company_key=company_key, order_id=order_id, order_id_field=field
        )
    sent = loads(raw)
    has_order_id = order_id is not None or own is not None
    assert set(sent) == expected_names(event, field, has_order_id=has_order_id)
    assert sent["company_key"] == company_key
    assert sent["user_fingerprint"] == event.visitor.fingerprint
    assert sent["user_faq_fingerprint"] == event.visitor.faq_fingerprint
    for name in ("orderId", "order_id"):
        assert sent.get(name) in {None, own if order_id is None else order_id}
    items: list[Any] = [event] if isinstance(event, CartEvent) else list(event.line_items)
    parts = [sent] if isinstance(event, CartEvent) else sent["line_items"]
    for item, part in zip(items, parts, strict=True):
        assert (part["product_id"], part["product_name"]) == (item.product_id, item.product_name)
        assert float(part["quantity"]) == float(item.quantity)
        assert float(part["value"]) == float(item.value)
    assert b"\\u" not in raw or any(ord(letter) < 0x20 or letter == "\\" for letter in str(sent))


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.decimals(),
    st.fractions(),
    st.complex_numbers(),
    st.text(max_size=5),
    st.binary(max_size=3),
    st.lists(st.integers(), max_size=2),
    st.builds("Xyzzy{}".format, st.characters()),
)


@settings(max_examples=300)
@given(
    field=st.sampled_from(["type", "product_id", "product_name", "value", "currency", "quantity"]),
    value=values,
)
def test_any_value_is_either_refused_or_can_be_sent(field: str, value: Any) -> None:
    """An event that could be built can be encoded by both engines: no late surprise."""
    fields: dict[str, Any] = {
        "visitor": Visitor(fingerprint="a", faq_fingerprint="b"),
        "type": "ITEM_ADDED",
        "product_id": "1",
        "product_name": "Mug",
        "value": 1,
        "currency": "EUR",
        "quantity": 1,
    }
    try:
        event = CartEvent(**{**fields, field: value})
    except InvalidEventError as error:
        told = error
    else:
        stored = _wire.unstructure_event(event)
        assert loads(_json._dumps_orjson(stored)) == loads(_json._dumps_stdlib(stored))
        assert len(_json.dumps(stored)) < 1_000
        return
    assert told.field == field
    assert "Xyzzy" not in str(told)


@settings(max_examples=100)
@given(
    before=numbers,
    after=numbers,
)
def test_a_change_tells_the_truth(before: Any, after: Any) -> None:
    """The type says which way the quantity went, and the event says where it is now."""
    assume(before != after)
    event = CartEvent.for_change(
        Visitor(fingerprint="a", faq_fingerprint="b"),
        before=before,
        after=after,
        product_id="1",
        product_name="Mug",
        value=1,
        currency="EUR",
    )
    assert event.quantity is after
    assert (event.type is CartEventType.ITEM_ADDED) is (before == 0)
    assert (event.type is CartEventType.ITEM_REMOVED) is (after == 0)
    assert (event.type is CartEventType.QUANTITY_INCREASED) is (0 < before < after)
    assert (event.type is CartEventType.QUANTITY_DECREASED) is (before > after > 0)


@settings(max_examples=100)
@given(event=events)
def test_an_event_and_its_json_are_one(event: Event) -> None:
    """Read back and written again it is the same text, and the schema allows it."""
    text = event.to_json()
    assert event_from_json(text).to_json() == text
    SCHEMA.validate(json.loads(text, parse_float=Decimal))  # a float may round up to a bound
