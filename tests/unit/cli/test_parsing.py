"""One line -> an event, or every reason why it is none."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alhena_async import CartEvent, CheckoutEvent
from alhena_async._json import dumps
from alhena_async._wire import unstructure_event
from alhena_async.cli._lines import (
    MAX_LINE_BYTES,
    NOT_DERIVED,
    Reading,
    Record,
    Reject,
    read_line,
    too_long,
    visitor_of,
)
from alhena_async.journal._rows import event_of as event_from_journal
from tests.cli_process import cart, checkout

LINE = checkout(1)["line_items"][0]


def read(fields: object, **reading: bool) -> Record | Reject:
    raw = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    read = read_line(7, raw, Reading(**reading))
    assert read is not None
    return read


def event_of(fields: object, **reading: bool) -> Any:
    read_ = read(fields, **reading)
    assert isinstance(read_, Record), read_
    return read_.event


def reason_of(fields: object, **reading: bool) -> str:
    read_ = read(fields, **reading)
    assert isinstance(read_, Reject), read_
    assert read_.number == 7
    return read_.reason


def test_a_cart_line_is_a_cart_event() -> None:
    """Every field of a cart line stands in the event."""
    event = event_of(cart(1, quantity=3, type="QUANTITY_INCREASED", session="s", anomaly=["x"]))
    assert isinstance(event, CartEvent)
    assert (event.type, event.product_id, event.product_name) == (
        "QUANTITY_INCREASED",
        "p1",
        "Mug 1",
    )
    assert (event.value, event.currency, event.quantity) == (Decimal("9.5"), "EUR", 3)


def test_a_checkout_line_is_a_checkout_event() -> None:
    """Every field of a checkout line stands in the event, its lines too."""
    event = event_of(checkout(1, value=12.25))
    assert isinstance(event, CheckoutEvent)
    assert (event.order_id, event.value, event.currency) == ("A1", Decimal("12.25"), "EUR")
    assert [line.product_name for line in event.line_items] == ["Mug 1"]


def test_numbers_keep_their_digits() -> None:
    """12.50 stays 12.50."""
    raw = json.dumps(cart(1)).replace("9.5", "12.50").encode()
    assert str(event_of(raw).value) == "12.50"


def test_a_visitor_has_two_fixed_fingerprints() -> None:
    """A visitor's fingerprints are the same in every run, UUIDs, and not each other."""
    visitor = visitor_of("17850")
    assert visitor.fingerprint == "53ddbc18-fc11-5102-be2e-b26a0b53e94b"
    assert visitor.faq_fingerprint == "4b297730-88e4-5458-9be2-e5edc4527b22"
    assert visitor_of("17851").fingerprint != visitor.fingerprint


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"{", "is no JSON"),
        (b'{"kind": "cart"', "is no JSON"),
        (b"[1]", "no object"),
        (b'"text"', "no object"),
        (b"\xff{}", "is no UTF-8 from byte 1"),
        (b'{"value": NaN}', "no JSON"),
        (b'{"value": -Infinity}', "no JSON"),
        (b'{"value": ' + b"9" * 5000 + b"}", "no JSON"),
        (b"[" * 100_000, "no JSON"),
    ],
)
def test_what_is_no_json_object_is_rejected(raw: bytes, reason: str) -> None:
    """A line that is not one JSON object has that as its reason."""
    assert reason in reason_of(raw)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"kind": "page_view"}, 'kind must be "cart" or "checkout"'),
        ({"kind": ["cart"]}, 'kind must be "cart" or "checkout"'),
        ({"visitor": ""}, "visitor must be text that is not empty, or an int"),
        ({"visitor": True}, "visitor must be text that is not empty, or an int"),
        ({"visitor": 1.5}, "visitor must be text that is not empty, or an int"),
        ({"visitor": "\ud800"}, "visitor holds half of a surrogate pair"),
        ({"type": "item_added"}, "type"),
        ({"type": {}}, "type"),
        ({"product_id": ""}, "product_id is empty"),
        ({"product_id": 5.5}, "product_id must be text or int, not float"),
        ({"product_id": True}, "product_id must be text or int, not bool"),
        ({"product_name": ""}, "product_name is empty"),
        ({"product_name": " "}, "product_name is empty"),
        ({"product_name": 5}, "product_name must be text, not int"),
        ({"value": "9.5"}, "value must be a number"),
        ({"value": -1}, "value must be 0 or more"),
        ({"quantity": True}, "quantity must be a number"),
        ({"quantity": 0}, "quantity"),
        ({"currency": "eur"}, 'currency "eur" must be upper case'),
    ],
)
def test_a_cart_line_that_breaks_a_rule_is_rejected(changed: dict[str, Any], reason: str) -> None:
    """The reason names the field and its rule."""
    assert reason in reason_of(cart(1, **changed))


@pytest.mark.parametrize("name", ["visitor", "kind", "type", "product_id", "value", "quantity"])
def test_a_missing_field_is_named(name: str) -> None:
    """The reason of a line that lacks a field says which."""
    fields = cart(1)
    del fields[name]
    assert reason_of(fields) == f"{name} is missing"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"line_items": []}, "line_items must hold at least one"),
        ({"line_items": None}, "line_items must be a list"),
        ({"line_items": [5]}, "line_items[0] must be an object"),
        ({"line_items": [{}]}, "line_items[0].product_id is missing"),
        ({"value": -3}, "value must be 0 or more"),
        ({"order_id": ""}, "order_id is empty"),
        ({"currency": "£"}, "currency must be three letters A-Z"),
    ],
)
def test_a_checkout_line_that_breaks_a_rule_is_rejected(
    changed: dict[str, Any], reason: str
) -> None:
    """The reason names the field, with its place for line items."""
    assert reason in reason_of(checkout(1, **changed))


def test_every_reason_is_told() -> None:
    """A line with several faults tells of all of them, like ones of many line items once."""
    good = checkout(1)["line_items"][0]
    bad = {**good, "product_name": "", "quantity": -2}
    reject = read(checkout(1, currency="usd", line_items=[good, bad, bad, bad]))
    assert isinstance(reject, Reject)
    assert 'currency "usd" must be upper case' in reject.reason
    told = "line_items[1].product_name is empty: pass the product's id where it has no name"
    assert f"{told} (and 2 line items more)" in reject.reason
    assert "line_items[1].quantity" in reject.reason
    assert len(reject.causes) == 3
    assert all("[1]" not in cause for cause in reject.causes)


def test_every_missing_field_is_told() -> None:
    """A line that lacks several fields tells of all of them, and of what else is wrong."""
    reject = read({"kind": "cart", "quantity": "x"})
    assert isinstance(reject, Reject)
    missing = ("visitor", "type", "product_id", "product_name", "value", "currency")
    assert set(reject.causes) == {
        *(f"{name} is missing" for name in missing),
        "quantity must be a number, not text: 2 without quotes",
    }
    reject = read({"kind": "checkout", "value": -1, "line_items": [{}, {}]}, name_from_id=True)
    assert isinstance(reject, Reject)
    line = ("product_id", "quantity", "value", "currency")
    assert set(reject.causes) == {
        "value must be 0 or more: refunds cannot be recorded",
        "visitor is missing",
        "currency is missing",
        *(f"line_items[].{name} is missing" for name in line),
    }
    assert "line_items[0].product_id is missing (and 1 line item more)" in reject.reason


def test_a_line_that_breaks_every_rule_is_rejected() -> None:
    """The search for all reasons ends, whatever is wrong."""
    nothing = dict.fromkeys(cart(1)) | {"kind": "cart", "visitor": "v", "source": 5}
    reject = read(nothing)
    assert isinstance(reject, Reject)
    assert len(reject.causes) == 7


@pytest.mark.parametrize("name", ["", "  ", None])
def test_a_name_comes_from_the_id_where_asked(name: str | None) -> None:
    """With name_from_id the product id stands where a name is empty, in carts and orders."""
    line = {**checkout(1)["line_items"][0], "product_name": name}
    assert event_of(cart(1, product_name=name), name_from_id=True).product_name == "p1"
    order = event_of(checkout(1, line_items=[line]), name_from_id=True)
    assert order.line_items[0].product_name == "p1"


def test_a_name_that_is_there_stays() -> None:
    """With name_from_id a name that is not empty is sent as it is."""
    assert (
        event_of(cart(1, product_name=" £5  Mug "), name_from_id=True).product_name == " £5  Mug "
    )


@pytest.mark.parametrize("raw", [b"", b"\n", b"  \t\r\n"])
def test_a_blank_line_is_nothing(raw: bytes) -> None:
    """A blank line is neither an event nor a reject."""
    assert read_line(1, raw, Reading()) is None


def test_a_byte_order_mark_and_windows_line_ends_are_read_over() -> None:
    """A file saved by Windows is read like any other."""
    raw = b"\xef\xbb\xbf" + json.dumps(cart(1)).encode() + b"\r\n"
    assert isinstance(read_line(1, raw, Reading()), Record)


def test_timestamps_are_read_when_asked_for() -> None:
    """With `timed` a line has its time, UTC where it names no zone, and must have one."""
    assert read(cart(1, ts="nonsense")) == read(cart(1))
    in_utc, in_berlin, bare = (
        read(cart(1, ts=ts), timed=True)
        for ts in ("2024-03-14T09:00:00Z", "2024-03-14T10:00:00+01:00", "2024-03-14 09:00:00")
    )
    assert in_utc == in_berlin == bare
    assert isinstance(in_utc, Record)
    assert in_utc.at == 1_710_406_800
    wrong: list[Any] = ["nonsense", 5, None, []]
    for ts in wrong:
        assert "ts must be an ISO 8601 time" in reason_of(cart(1, ts=ts), timed=True)


def test_a_line_over_the_bound_keeps_its_beginning() -> None:
    """The reject of a line that is too long says so and marks what is kept as cut."""
    reject = too_long(3, b"{")
    assert f"{MAX_LINE_BYTES:,}" in reject.reason
    assert reject.cut


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@given(st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_read(raw: bytes) -> None:
    """No bytes make the reading of a line raise."""
    assert isinstance(read_line(1, raw, Reading(timed=True)), Record | Reject | None)


@given(st.booleans(), st.dictionaries(st.sampled_from([*cart(1), *checkout(1)]), _values))
def test_any_values_are_read(is_cart: bool, changed: dict[str, Any]) -> None:
    """No values of the known fields make the reading of a line raise; a reject has a reason."""
    fields = {**(cart(1) if is_cart else checkout(1)), **changed}
    read_ = read(fields, timed=True)
    assert isinstance(read_, Record) or read_.reason


def test_fingerprints_may_stand_in_for_a_visitor() -> None:
    """Exported dead letters have them; they come before ones that would have to be invented."""
    own = {"user_fingerprint": "a", "user_faq_fingerprint": "b"}
    bare = {name: value for name, value in cart(1).items() if name != "visitor"}
    for line in (bare | own, cart(1, **own)):
        record = read(line)
        assert isinstance(record, Record)
        visitor = record.event.visitor
        assert (visitor.fingerprint, visitor.faq_fingerprint, record.derived) == ("a", "b", False)
    assert reason_of(bare | {"user_fingerprint": "a"}) == "user_faq_fingerprint is missing"
    bad = reason_of(bare | {"user_fingerprint": "a\n", "user_faq_fingerprint": "b"})
    assert bad == "user_fingerprint must hold no control character"


def test_fingerprints_are_invented_where_that_is_wanted() -> None:
    """Else a line with nothing but a shop's own visitor id is no event, and says what to do."""
    record = read(cart(1))
    assert isinstance(record, Record)
    assert record.derived
    reject = read(checkout(1), derive_visitors=False)
    assert isinstance(reject, Reject)
    assert reject.reasons == (NOT_DERIVED,)
    assert reject.worth == (Decimal("9.5"), "EUR")
    own = {"user_fingerprint": "a", "user_faq_fingerprint": "b"}
    assert isinstance(read(cart(1, **own), derive_visitors=False), Record)
    assert "quantity" in reason_of(cart(1, quantity=-1), derive_visitors=False)


def test_a_visitor_may_be_a_number() -> None:
    """17 and "17" are the same visitor, as a shop's table and its JSON have it."""
    assert event_of(cart(1, visitor=17)).visitor == visitor_of("17")
    assert event_of(cart(1, visitor="17")).visitor == visitor_of("17")


def test_ids_may_be_numbers() -> None:
    """As the library has it: whole numbers are sent as text, in place of a name too."""
    order = event_of(
        checkout(1, order_id=1001, line_items=[{**LINE, "product_id": 7, "product_name": ""}]),
        name_from_id=True,
    )
    assert (order.order_id, order.line_items[0].product_id) == ("1001", "7")
    assert order.line_items[0].product_name == "7"


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("43.089999999999996", "43.089999999999996"),
        ("0.30000000000000004", "0.30000000000000004"),
        ("19.9900000000", "19.99"),
        ("12.50", "12.50"),
        ("0.1", "0.1"),
        ("1e2", "100.0"),
        ("1234567890.123456789", "1234567890.123456789"),
        ("0e-12", "0.0"),
        ("7", "7"),
    ],
)
def test_numbers_are_read_as_by_every_other_door(text: str, sent: str) -> None:
    """What a float of some program printed is that float; other digits are kept as they stand."""
    raw = json.dumps(checkout(1)).replace("9.5", text).encode()
    event = event_of(raw)
    assert isinstance(event, CheckoutEvent)
    assert str(event.value) == str(event.line_items[0].value) == sent
    stored = dumps(unstructure_event(event)).decode()
    assert event_from_journal(stored) == event


@pytest.mark.parametrize("text", ["1e400", "1e15", "-0.5", "999999999999999999999999"])
def test_numbers_out_of_bounds_are_refused(text: str) -> None:
    """By the library's rule, with its field."""
    raw = json.dumps(cart(1)).replace("9.5", text).encode()
    assert reason_of(raw).startswith("value ")


@pytest.mark.parametrize(
    "raw",
    [
        b'{"kind": "cart", "kind": "cart"}',
        b'{"value": 10, "value": 1000}',
        b'{"kind": "checkout", "line_items": [{"value": 1, "value": 2}]}',
        b'{"note": {"a": 1, "b": 2, "a": 3}}',
    ],
)
def test_two_values_for_one_name_are_refused(raw: bytes) -> None:
    """Anywhere in the line: nobody knows which one counts."""
    assert "more than one" in reason_of(raw)


def test_one_name_of_a_hundred_thousand_is_found_to_be_twice_there() -> None:
    """Looked at once each, or it would take minutes; and a name as long as a book is cut."""
    names = [f'"{number}":1' for number in range(100_000)]
    assert 'more than one "99999"' in reason_of(f"{{{','.join([*names, names[-1]])}}}".encode())
    assert len(reason_of(f'{{"{"x" * 100_000}":1,"{"x" * 100_000}":1}}'.encode())) < 200


@pytest.mark.parametrize("number", [1, 2, 900])
@pytest.mark.parametrize("before", [b"", b" ", b"\r"])
def test_a_byte_order_mark_may_stand_before_any_line(number: int, before: bytes) -> None:
    """`cat` of several files puts them in the middle."""
    raw = before + b"\xef\xbb\xbf" + json.dumps(cart(1)).encode() + b"\r\n"
    assert isinstance(read_line(number, raw, Reading()), Record)
    assert read_line(number, before + b"\xef\xbb\xbf\n", Reading()) is None


@pytest.mark.parametrize("ts", ["1710406800000", "1710406800", "1710406800.5", "16120101", ""])
def test_a_timestamp_in_digits_alone_is_refused(ts: str) -> None:
    """Milliseconds since the epoch are no date of the year 1612."""
    assert "ts must be an ISO 8601 time" in reason_of(cart(1, ts=ts), timed=True)


def test_an_order_of_thousands_of_bad_items_stops_after_some() -> None:
    """What is told is bounded, says so, and takes as long for ten thousand as for a hundred."""
    for count in (20, 100, 10_000):
        reject = read(checkout(1, line_items=[{}] * count))
        assert isinstance(reject, Reject)
        assert len(reject.reasons) == 20 * 5 + 1
        assert "are not looked at behind the first 20 that are wrong" in reject.reason
    few = read(checkout(1, line_items=[{}] * 19))
    assert isinstance(few, Reject)
    assert len(few.reasons) == 19 * 5


@pytest.mark.parametrize(
    ("changed", "worth"),
    [
        ({}, (Decimal("9.5"), "EUR")),
        ({"value": 43.089999999999996}, (Decimal("43.089999999999996"), "EUR")),
        ({"value": "10.00"}, (Decimal("10.00"), "EUR")),
        ({"currency": "eur"}, (Decimal("9.5"), "EUR")),
        ({"value": -3}, None),
        ({"value": "ten"}, None),
        ({"value": "NaN"}, None),
        ({"value": True}, None),
        ({"value": [1]}, None),
        ({"value": 1e300}, None),
        ({"currency": "€"}, None),
        ({"currency": None}, None),
    ],
)
def test_the_worth_of_a_rejected_order_is_known_where_it_can_be_read(
    changed: dict[str, Any], worth: object
) -> None:
    """So that what is missing can be told in money; nothing is guessed."""
    reject = read(checkout(1, line_items=[], **changed))
    assert isinstance(reject, Reject)
    assert (reject.kind, reject.worth) == ("checkout", worth)
