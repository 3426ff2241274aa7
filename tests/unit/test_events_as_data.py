"""An event as data: to a dict or JSON and back, with every digit and every rule."""

import copy
import json
import pickle
from decimal import Decimal
from typing import Any

import attrs
import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from alhena_async._json import dumps
from alhena_async._stored import json_schema
from alhena_async.errors import InvalidEventError
from alhena_async.events import (
    CartEvent,
    CheckoutEvent,
    LineItem,
    Visitor,
    event_from_dict,
    event_from_json,
)
from alhena_async.relay._message import Message, encode

VISITOR = Visitor(
    fingerprint="550e8400-e29b-41d4-a716-446655440000",
    faq_fingerprint="660e8400-e29b-41d4-a716-446655441111",
)
CART = CartEvent(
    visitor=VISITOR,
    type="ITEM_ADDED",
    product_id=7,
    product_name="Mug",
    value=Decimal("19.90"),
    currency="EUR",
    quantity=2,
)
LINE = LineItem(
    product_id="7", product_name="Mug", value=Decimal("39.80"), currency="EUR", quantity=2
)
ORDER = CheckoutEvent(
    visitor=VISITOR, value=Decimal("39.80"), currency="EUR", line_items=[LINE], order_id="A-1"
)
EVENTS = [CART, ORDER]
ALL = [*EVENTS, LINE, VISITOR]


def changed(sample: Any, **fields: Any) -> dict[str, Any]:
    """Its stored form with other values; None takes a field out."""
    form = {**sample.to_dict(), **fields}
    return {name: value for name, value in form.items() if value is not None}


def refusal(kind: Any, form: Any) -> InvalidEventError:
    with pytest.raises(InvalidEventError) as caught:
        kind.from_dict(form)
    return caught.value


@pytest.mark.parametrize("sample", ALL, ids=lambda sample: type(sample).__name__)
def test_what_is_written_is_read_back(sample: Any) -> None:
    """As a dict, as JSON text and bytes, as a pickle and as a copy."""
    kind = type(sample)
    text = sample.to_json()
    assert kind.from_dict(sample.to_dict()) == sample
    assert kind.from_json(text) == sample
    assert kind.from_json(text.encode()) == sample
    assert pickle.loads(pickle.dumps(sample)) == sample
    assert copy.deepcopy(sample) == sample
    assert kind.from_json(text).to_json() == text


def test_the_dict_is_what_a_request_carries() -> None:
    """The API's own names, flat, without the company key; what is None is left out."""
    assert CART.to_dict() == {
        "user_fingerprint": "550e8400-e29b-41d4-a716-446655440000",
        "user_faq_fingerprint": "660e8400-e29b-41d4-a716-446655441111",
        "type": "ITEM_ADDED",
        "product_id": "7",
        "product_name": "Mug",
        "value": Decimal("19.90"),
        "currency": "EUR",
        "quantity": 2,
    }


@pytest.mark.parametrize("number", ["19.90", "0.1", "999999999999999.123456789", "7", "0.30"])
def test_json_keeps_the_digits(number: str) -> None:
    """Also those that no float has."""
    text = ORDER.to_json().replace("39.80", number, 1)
    assert f'"value":{number}' in CheckoutEvent.from_json(text).to_json()


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_either_kind_is_known_by_its_form(event: CartEvent | CheckoutEvent) -> None:
    """Who has one event of some kind need not know which."""
    assert event_from_dict(event.to_dict()) == event
    assert event_from_json(event.to_json()) == event


@pytest.mark.parametrize("sample", ALL, ids=lambda sample: type(sample).__name__)
def test_all_that_is_missing_is_told(sample: Any) -> None:
    """Each field by its name in the stored form."""
    error = refusal(type(sample), {})
    assert {problem.field for problem in error.problems} == {
        name for name in sample.to_dict() if name != "order_id"
    }
    assert all(problem.rule == "is missing" for problem in error.problems)
    assert type(sample).__name__ in str(error)


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("orderId", "it is called order_id here"),
        ("company_key", "the client has it"),
        ("visitor", "give user_fingerprint"),
        ("fingerprint", "user_fingerprint"),
        ("valeu", ""),
    ],
)
def test_an_unknown_field_is_told_and_not_passed_over(name: str, cure: str) -> None:
    """A misspelt order id would cost what makes a retry safe."""
    error = refusal(CheckoutEvent, changed(ORDER, **{name: "x"}))
    assert error.field == name
    assert "is no field of a CheckoutEvent" in str(error)
    assert cure in str(error)


def test_everything_wrong_is_told_at_once() -> None:
    """Unknown, missing and broken, of the event, its visitor and its lines."""
    form = changed(
        ORDER,
        user_fingerprint="",
        currency=None,
        value=-1,
        note="x",
        line_items=[LINE.to_dict(), changed(LINE, value=-1, product_name=None), 3],
    )
    assert [problem.field for problem in refusal(CheckoutEvent, form).problems] == [
        "note",
        "user_fingerprint",
        "value",
        "currency",
        "line_items[1].product_name",
        "line_items[1].value",
    ]


def test_unknown_fields_of_a_line_are_told_with_their_place() -> None:
    """As those of the event."""
    form = changed(ORDER, line_items=[LINE.to_dict(), changed(LINE, valeu=1)])
    assert [problem.field for problem in refusal(CheckoutEvent, form).problems] == [
        "line_items[1].valeu"
    ]


@pytest.mark.parametrize("form", [None, 3, "x", [], [CART], b"{}"])
@pytest.mark.parametrize("kind", [CartEvent, CheckoutEvent, LineItem, Visitor])
def test_what_is_no_dict_is_refused(kind: Any, form: Any) -> None:
    """In words, whatever it is."""
    assert "must be an object" in str(refusal(kind, form))


@pytest.mark.parametrize("lines", [None, 3, "lines", {}, [3], [[LINE]], []])
def test_what_is_no_list_of_lines_is_refused(lines: Any) -> None:
    """As where an order is built."""
    form = {**ORDER.to_dict(), "line_items": lines}
    assert refusal(CheckoutEvent, form).field.startswith("line_items")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "JSON cannot be read"),
        ("{", "JSON cannot be read"),
        (b"\xff", "must be UTF-8"),
        ('{"value": NaN}', "JSON cannot be read"),
        ("[" * 100_000, "JSON cannot be read"),
        ('{"value": ' + "9" * 5_000 + "}", "JSON cannot be read"),
        ('{"value": 1, "value": 2}', "value is there twice"),
        ("[]", "must be an object"),
        (None, "JSON must be in text or bytes, not NoneType"),
        ({}, "must be in text or bytes, not dict"),
    ],
)
def test_what_is_no_json_object_is_refused(text: Any, rule: str) -> None:
    """Never with another error than the one that is promised."""
    with pytest.raises(InvalidEventError, match=rule):
        event_from_json(text)


def test_a_child_of_an_event_is_told_that_it_has_no_form() -> None:
    """As it is no event for a client either."""

    class Own(CartEvent):
        pass

    own = Own(**{field.name: getattr(CART, field.name) for field in attrs.fields(CartEvent)})
    with pytest.raises(TypeError, match="Own has no stored form"):
        own.to_dict()
    with pytest.raises(TypeError, match="Own has no stored form"):
        Own.from_dict(CART.to_dict())


def test_names_that_nobody_foresaw_are_cut_and_quoted() -> None:
    """A name is shown as far as it helps, and breaks no line of a log."""
    error = refusal(CartEvent, {**CART.to_dict(), "a\nb" + "x" * 10_000: 1, 7: 2})
    assert "\n" not in str(error)
    assert len(str(error)) < 500
    many = {f"f{number}": 1 for number in range(10_000)}
    assert len(refusal(CartEvent, {**CART.to_dict(), **many}).problems) == 20


# --- the schema -----------------------------------------------------------------------------------


def is_valid(kind: str, form: Any) -> bool:
    try:
        Draft202012Validator(json_schema(kind)).validate(json.loads(dumps(form)))
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    "kind",
    ["Event", "CartEvent", "CheckoutEvent", "LineItem", "Visitor", "ReplayLine", "RelayMessage"],
)
def test_the_schema_is_one(kind: str) -> None:
    """It is itself valid, and complete without another."""
    Draft202012Validator.check_schema(json_schema(kind))
    assert "$ref" not in json.dumps(json_schema(kind))


@pytest.mark.parametrize("sample", ALL, ids=lambda sample: type(sample).__name__)
def test_what_is_written_is_valid(sample: Any) -> None:
    """By the schema of its own kind."""
    assert is_valid(type(sample).__name__, sample.to_dict())


BROKEN: dict[str, list[Any]] = {
    "user_fingerprint": ["", " ", "x" * 257, 3, "a\x00"],
    "user_faq_fingerprint": ["", "\x9f"],
    "type": ["item_added", 3],
    "product_id": ["", "x" * 20_001],
    "product_name": ["", " ", "x" * 20_001, 3],
    "value": [-1, "1", 10**15, True],
    "currency": ["eur", "EURO", 3],
    "quantity": [0, -1, "2"],
    "source": ["", "x" * 257],
    "line_items": [[], {}, [3], [{}], [changed(LINE, quantity=0)]],
    "order_id": ["", " ", "x" * 20_001],
    "orderId": ["A-1"],
    "company_key": ["k"],
}
WRONG = [
    pytest.param(sample, {name: value}, id=f"{type(sample).__name__}-{name}-{str(value)[:20]}")
    for sample in (CART, ORDER)
    for name, values in BROKEN.items()
    for value in values
    if name in {*sample.to_dict(), "source", "company_key", "orderId"}
]


@pytest.mark.parametrize(("sample", "fields"), WRONG)
def test_schema_and_rules_refuse_the_same(sample: Any, fields: dict[str, Any]) -> None:
    """Who checks with the schema elsewhere is told what would be told here."""
    form = changed(sample, **fields)
    refusal(type(sample), form)
    assert not is_valid(type(sample).__name__, form)
    assert not is_valid("Event", form)


def test_a_product_is_removed_with_a_quantity_of_nothing() -> None:
    """The one type that has none."""
    form = changed(CART, type="ITEM_REMOVED", quantity=0)
    assert is_valid("CartEvent", form)
    assert CartEvent.from_dict(form).quantity == 0


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_a_relays_message_is_valid(event: CartEvent | CheckoutEvent) -> None:
    """As it is published."""
    message = Message(company_key="k", order_id=None, accepted_at=1_790_000_000.123, event=event)
    assert is_valid("RelayMessage", json.loads(encode(message)))
    assert not is_valid("RelayMessage", {**json.loads(encode(message)), "v": 2})


@pytest.mark.parametrize(("kind", "event"), [("cart", CART), ("checkout", ORDER)])
def test_a_line_for_the_replay_is_valid(kind: str, event: CartEvent | CheckoutEvent) -> None:
    """With the fingerprints, or with the shop's own visitor id in their place."""
    line = {"kind": kind, "ts": "2024-03-14T09:30:00Z", **event.to_dict()}
    assert is_valid("ReplayLine", {**line, "note": "passed over"})
    shops = {name: value for name, value in line.items() if not name.startswith("user_")}
    assert is_valid("ReplayLine", {**shops, "visitor": 7})
    assert not is_valid("ReplayLine", shops)
    assert not is_valid("ReplayLine", {**line, "kind": "other"})
