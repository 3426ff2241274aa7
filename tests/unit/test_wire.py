"""Event <-> bytes: the documented payloads, digit for digit, whichever engine writes them."""

import enum
import json
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Any

import pytest

from alhena_async import _json, _wire
from alhena_async._wire import (
    endpoint_of,
    lane_digest,
    request_body,
    structure_event,
    unstructure_event,
)
from alhena_async.errors import InvalidEventError
from alhena_async.events import CartEvent, CartEventType, CheckoutEvent, Event, LineItem, Visitor
from alhena_async.policies import OrderIdField
from alhena_async.transports import Endpoint

MARK = "Xyzzy"
VISITOR = Visitor(
    fingerprint="550e8400-e29b-41d4-a716-446655440000",
    faq_fingerprint="660e8400-e29b-41d4-a716-446655441111",
)
ENGINES = [
    pytest.param(_json._dumps_orjson, id="orjson"),
    pytest.param(_json._dumps_stdlib, id="stdlib"),
]
Dumps = Callable[[Any], bytes]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Dumps:
    """Each JSON engine in its turn, also behind `request_body`."""
    dumps: Dumps = request.param
    monkeypatch.setattr(_wire, "dumps", dumps)
    return dumps


def cart(**changed: Any) -> CartEvent:
    fields: dict[str, Any] = {
        "visitor": VISITOR,
        "type": "ITEM_ADDED",
        "product_id": "123",
        "product_name": "Product 1",
        "value": 100,
        "currency": "USD",
        "quantity": 1,
    }
    return CartEvent(**(fields | changed))


def line(**changed: Any) -> LineItem:
    fields: dict[str, Any] = {
        "product_id": "123",
        "product_name": "Product 1",
        "quantity": 2,
        "value": Decimal("199.97"),
        "currency": "USD",
    }
    return LineItem(**(fields | changed))


def checkout(**changed: Any) -> CheckoutEvent:
    fields: dict[str, Any] = {
        "visitor": VISITOR,
        "value": Decimal("199.97"),
        "currency": "USD",
        "line_items": [line()],
    }
    return CheckoutEvent(**(fields | changed))


def body(event: Event, order_id: str | None = None, field: OrderIdField = OrderIdField.BOTH) -> str:
    raw = request_body(event, company_key="gleen", order_id=order_id, order_id_field=field)
    return raw.decode()


def test_the_documented_cart_example(engine: Dumps) -> None:
    """The vendor's example, compact, key first, `source` last."""
    assert body(cart(source="CUSTOM")) == (
        '{"company_key":"gleen","user_fingerprint":"550e8400-e29b-41d4-a716-446655440000",'
        '"user_faq_fingerprint":"660e8400-e29b-41d4-a716-446655441111","type":"ITEM_ADDED",'
        '"product_id":"123","product_name":"Product 1","value":100,"currency":"USD",'
        '"quantity":1,"source":"CUSTOM"}'
    )


def test_the_documented_checkout_example(engine: Dumps) -> None:
    """The vendor's example, with the order id under both of its names."""
    assert body(checkout(order_id="ORD-7890")) == (
        '{"company_key":"gleen","user_fingerprint":"550e8400-e29b-41d4-a716-446655440000",'
        '"user_faq_fingerprint":"660e8400-e29b-41d4-a716-446655441111","value":199.97,'
        '"currency":"USD","line_items":[{"product_id":"123","product_name":"Product 1",'
        '"quantity":2,"value":199.97,"currency":"USD"}],"orderId":"ORD-7890",'
        '"order_id":"ORD-7890"}'
    )


def test_an_event_knows_its_endpoint() -> None:
    """Two kinds, two paths, as the vendor's page has them."""
    assert endpoint_of(cart()) is Endpoint.CART
    assert endpoint_of(checkout()) is Endpoint.CHECKOUT
    assert Endpoint.CART.value == "analytics/cart_events"
    assert Endpoint.CHECKOUT.value == "analytics/checkout_events"


@pytest.mark.parametrize("kind", CartEventType)
def test_every_type_is_sent_by_its_name(engine: Dumps, kind: CartEventType) -> None:
    """As plain text, also when it was given as text."""
    assert f'"type":"{kind.name}"' in body(cart(type=kind))
    assert body(cart(type=kind)) == body(cart(type=kind.name))


def test_what_was_not_given_is_not_sent(engine: Dumps) -> None:
    """No null goes out: no `source`, no order id."""
    assert "source" not in body(cart())
    assert "order" not in body(checkout())
    assert "null" not in body(cart()) + body(checkout())


@pytest.mark.parametrize(
    ("field", "names"),
    [
        (OrderIdField.BOTH, {"orderId", "order_id"}),
        (OrderIdField.CAMEL, {"orderId"}),
        (OrderIdField.SNAKE, {"order_id"}),
    ],
)
@pytest.mark.parametrize(
    ("own", "given", "sent"),
    [(None, "G", "G"), ("O", None, "O"), ("O", "O", "O"), ("O", "G", "G")],
)
def test_an_order_id_has_the_chosen_names_only(
    engine: Dumps,
    field: OrderIdField,
    names: set[str],
    own: str | None,
    given: str | None,
    sent: str,
) -> None:
    """Whoever gave it, it stands under the policy's names, and what is given wins."""
    payload = json.loads(body(checkout(order_id=own), given, field))
    found = {name: value for name, value in payload.items() if name.lower().startswith("order")}
    assert found == dict.fromkeys(names, sent)


# --- numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "digits"),
    [
        (0, "0"),
        (100, "100"),
        (10**15 - 1, "999999999999999"),
        (Decimal("199.97"), "199.97"),
        (Decimal("199.970"), "199.970"),
        (Decimal("0.10"), "0.10"),
        (Decimal(7), "7"),
        (Decimal("1E+14"), "100000000000000"),
        (Decimal("0E+999999"), "0"),
        (Decimal("1E-9"), "0.000000001"),
        (Decimal("0E-9"), "0.000000000"),
        (Decimal("999999999999999.999999999"), "999999999999999.999999999"),
        (Decimal("0.30000000"), "0.30000000"),
        (9.5, "9.5"),
        (1.0, "1.0"),
        (0.1, "0.1"),
        (0.1 + 0.2, "0.30000000000000004"),
        (999_999_999_999_999.9, "999999999999999.9"),
    ],
    ids=ascii,
)
def test_a_number_keeps_its_digits(engine: Dumps, number: Any, digits: str) -> None:
    """No detour through a float, no rounding, no exponent where the digits fit."""
    assert f'"value":{digits},' in body(cart(value=number))


def test_a_numbers_digits_do_not_hang_on_the_callers_decimal_context(engine: Dumps) -> None:
    """A shop that calculates in 3 digits sends all of them."""
    event = cart(value=Decimal("123456.789"))
    with localcontext() as context:
        context.prec = 3
        context.capitals = 0
        assert '"value":123456.789,' in body(event)
        assert '"value":123456.789,' in body(cart(value=Decimal("123456.789")))


class Money(Decimal):
    def __format__(self, spec: str, /, *_: Any) -> str:
        return f"EUR {super().__format__(spec)}"

    def __str__(self) -> str:
        return f"EUR {super().__str__()}"


class NumpyLikeFloat(float):
    def __repr__(self) -> str:
        return "np.float64(1.5)"

    __str__ = __repr__


class OddInt(int):
    def __repr__(self) -> str:
        return "OddInt"

    __str__ = __repr__


class Small(enum.IntEnum):
    THREE = 3


class Sku(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "sku:" + super().__str__()


class Colour(enum.StrEnum):
    RED = "red-1"


def test_children_of_numbers_and_text_are_sent_as_what_they_are(engine: Dumps) -> None:
    """However they print: a money type, a numpy float, an enum, markup."""
    event = cart(
        product_id=Sku("s-1"),
        product_name=Colour.RED,
        source=Colour.RED,
        value=Money("3.50"),
        quantity=NumpyLikeFloat(1.5),
    )
    assert body(event).endswith(
        '"product_id":"s-1","product_name":"red-1","value":3.50,"currency":"USD","quantity":1.5,'
        '"source":"red-1"}'
    )
    assert body(cart(quantity=OddInt(4))).endswith('"quantity":4}')
    assert body(cart(quantity=Small.THREE)).endswith('"quantity":3}')


# --- text ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("Tasse „Käthe“ 茶碗 🫖", "Tasse „Käthe“ 茶碗 🫖"),
        ("\u2028\u2029\ufeff\u202e\U0010ffff", "\u2028\u2029\ufeff\u202e\U0010ffff"),
        ('","value":0,"x":"', '\\",\\"value\\":0,\\"x\\":\\"'),
        ("\\", "\\\\"),
        ('\\"', '\\\\\\"'),
        ("\\u0022", "\\\\u0022"),
        ("a\tb\nc\rd\x08\x0c", "a\\tb\\nc\\rd\\b\\f"),
        ("\x00\x1f", "\\u0000\\u001f"),
        ("</script>", "</script>"),
        ("/", "/"),
    ],
    ids=ascii,
)
def test_text_is_escaped_as_json_wants_and_no_further(
    engine: Dumps, name: str, written: str
) -> None:
    """Unicode travels as is; quotes, backslashes and control characters cannot break out."""
    sent = body(cart(product_name=name))
    assert f'"product_name":"{written}","value":100' in sent
    assert json.loads(sent)["product_name"] == name


def test_delete_and_c1_are_text_to_json(engine: Dumps) -> None:
    """Both engines agree on what JSON lets stand."""
    assert json.loads(body(cart(product_name="\x7f\x80\x9f")))["product_name"] == "\x7f\x80\x9f"


def test_a_company_key_cannot_break_out(engine: Dumps) -> None:
    """It is text like any other."""
    hostile = 'k","x":"y'
    raw = request_body(cart(), company_key=hostile, order_id=None, order_id_field=OrderIdField.BOTH)
    assert json.loads(raw)["company_key"] == hostile


def test_what_has_no_json_form_is_an_error(engine: Dumps) -> None:
    """Nothing is guessed: an object is not sent as its repr."""
    with pytest.raises(TypeError):
        engine({"x": object()})


def test_everything_works_without_the_speed_extra() -> None:
    """Without orjson the standard library writes the same bytes."""
    program = (
        "import sys; sys.modules['orjson'] = None\n"
        "from decimal import Decimal\n"
        "from alhena_async import _json\n"
        "assert _json.dumps is _json._dumps_stdlib\n"
        "sys.stdout.buffer.write(_json.dumps({'a': Decimal('1.50'), 'b': 'ü'}))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == _json.dumps({"a": Decimal("1.50"), "b": "ü"})


# --- the stored form ----------------------------------------------------------------------------


def test_the_stored_form_is_flat_and_has_no_key() -> None:
    """The vendor's names, the order id under one of them, no company key, no null."""
    stored = unstructure_event(checkout(order_id="A-1"))
    assert {**stored, "line_items": list(stored["line_items"])} == {
        "user_fingerprint": VISITOR.fingerprint,
        "user_faq_fingerprint": VISITOR.faq_fingerprint,
        "value": Decimal("199.97"),
        "currency": "USD",
        "line_items": [
            {
                "product_id": "123",
                "product_name": "Product 1",
                "quantity": 2,
                "value": Decimal("199.97"),
                "currency": "USD",
            },
        ],
        "order_id": "A-1",
    }
    assert list(unstructure_event(cart())) == [
        "user_fingerprint",
        "user_faq_fingerprint",
        "type",
        "product_id",
        "product_name",
        "value",
        "currency",
        "quantity",
    ]


@pytest.mark.parametrize(
    "event", [cart(), cart(source="APP"), checkout(), checkout(order_id="A-1")], ids=repr
)
def test_a_stored_event_comes_back_the_same(engine: Dumps, event: Event) -> None:
    """Through bytes, types and digits included."""
    stored = json.loads(engine(unstructure_event(event)), parse_float=Decimal)
    assert structure_event(stored) == event
    assert repr(structure_event(stored)) == repr(event)


def test_fields_of_a_later_version_are_ignored() -> None:
    """A journal may be read by an older release after a rollback."""
    assert structure_event({**unstructure_event(cart()), "company_key": "x", "new": [1]}) == cart()


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("type", "item_added " + MARK, "type"),
        ("type", None, "type"),
        ("type", [MARK], "type"),
        ("product_id", 5.5, "product_id"),
        ("product_id", True, "product_id"),
        ("product_id", " ", "product_id"),
        ("product_id", None, "product_id"),
        ("product_name", None, "product_name"),
        ("product_name", {"en": MARK}, "product_name"),
        ("value", "9.50", "value"),
        ("value", None, "value"),
        ("value", float("nan"), "value"),
        ("quantity", True, "quantity"),
        ("quantity", 0, "quantity"),
        ("currency", "usd", "currency"),
        ("currency", 978, "currency"),
        ("source", 5, "source"),
        ("source", "", "source"),
        ("user_fingerprint", None, "user_fingerprint"),
        ("user_fingerprint", 5, "user_fingerprint"),
        ("user_faq_fingerprint", "", "user_faq_fingerprint"),
    ],
    ids=ascii,
)
def test_a_stored_event_meets_the_same_rules(field: str, value: object, named: str) -> None:
    """Nothing is made into text or numbers on the way in: the event's own rules judge it."""
    with pytest.raises(InvalidEventError) as caught:
        structure_event({**unstructure_event(cart()), field: value})
    assert caught.value.field == named
    assert caught.value.value_type == type(value).__name__
    assert MARK not in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"quantity": 0}, "line_items[1].quantity"),
        ({"product_name": ""}, "line_items[1].product_name"),
        ({"product_name": None}, "line_items[1].product_name"),
        ({"value": -1}, "line_items[1].value"),
        ({"currency": "eur"}, "line_items[1].currency"),
    ],
    ids=ascii,
)
def test_a_stored_orders_bad_line_is_named_by_its_place(
    changed: dict[str, object], named: str
) -> None:
    """In an order of a hundred lines, the refusal says which one."""
    stored = unstructure_event(checkout(line_items=[line(), line(), line()]))
    lines = list(stored["line_items"])
    lines[1] = {**lines[1], **changed}
    with pytest.raises(InvalidEventError) as caught:
        structure_event({**stored, "line_items": lines})
    assert caught.value.field == named


def test_all_that_is_wrong_with_a_stored_order_is_told() -> None:
    """Every bad line with its place among all of them, and what is wrong with the order itself."""
    stored = unstructure_event(checkout(line_items=[line()] * 12))
    lines = list(stored["line_items"])
    lines[2] = {**lines[2], "product_name": " "}
    lines[11] = {**lines[11], "currency": "eur", "value": "1"}
    with pytest.raises(InvalidEventError) as caught:
        structure_event({**stored, "line_items": lines, "currency": "usd"})
    assert [problem.field for problem in caught.value.problems] == [
        "currency",
        "line_items[2].product_name",
        "line_items[11].value",
        "line_items[11].currency",
    ]
    assert "LineItem 3 of 12: product_name is empty" in str(caught.value)
    assert "CheckoutEvent.currency" in str(caught.value)


def test_stored_numbers_meet_the_same_rules() -> None:
    """Ids may be whole numbers, and zeros at the end of a decimal are no places, in files too."""
    stored = unstructure_event(checkout(order_id="7"))
    lines = [{**stored["line_items"][0], "product_id": 5, "value": Decimal("19.9900000000")}]
    order = {**stored, "order_id": 1001, "line_items": lines, "value": Decimal("0E-12")}
    event = structure_event(order)
    assert isinstance(event, CheckoutEvent)
    assert (event.order_id, event.line_items[0].product_id) == ("1001", "5")
    sent = body(event)
    assert '"value":19.99,' in sent
    assert '"value":0,' in sent
    assert '"order_id":"1001"' in sent


def test_a_stored_order_without_lines_is_refused() -> None:
    """As it is where orders are built."""
    with pytest.raises(InvalidEventError, match="at least one LineItem"):
        structure_event({**unstructure_event(checkout()), "line_items": []})


@pytest.mark.parametrize("field", unstructure_event(cart()))
def test_a_missing_field_is_named(field: str) -> None:
    """As one that is wrong is."""
    stored = unstructure_event(cart())
    del stored[field]
    with pytest.raises(InvalidEventError, match=f"{field} is missing"):
        structure_event(stored)


@pytest.mark.parametrize(
    "stored",
    [None, 5, "line_items", [], ["line_items"], {"line_items": 5}, {"line_items": [None]}, {}],
    ids=ascii,
)
def test_what_is_no_stored_form_is_refused(stored: Any) -> None:
    """Only the documented errors come out, whatever stands in the file."""
    with pytest.raises((TypeError, InvalidEventError)):
        structure_event(stored)


@pytest.mark.parametrize("lines", [None, 5, "abc", [None], ["abc"], [[]], {"a": 1}], ids=ascii)
def test_what_is_no_list_of_lines_is_refused(lines: object) -> None:
    """Only the documented errors come out."""
    with pytest.raises((TypeError, InvalidEventError)):
        structure_event({**unstructure_event(checkout()), "line_items": lines})


def test_a_lanes_digest_is_stable_and_tells_lanes_apart() -> None:
    """The same in every process; another key, another number; it fits SQLite's integers."""
    one = Visitor(fingerprint="a", faq_fingerprint="b")
    assert lane_digest(one, "shop") == 5817887608068140389
    others = [
        lane_digest(Visitor(fingerprint="b", faq_fingerprint="a"), "shop"),
        lane_digest(Visitor(fingerprint="a", faq_fingerprint="bs"), "hop"),
        lane_digest(one, "other"),
    ]
    assert len({lane_digest(one, "shop"), *others}) == 4
    assert all(0 <= digest < 2**63 for digest in others)


@pytest.mark.parametrize("text", ["199.97", "0.1", "19.990", "7", "0.000000001"])
def test_what_is_read_has_the_digits_it_had(text: str) -> None:
    """A number that was written down comes back as it was written, wherever it comes from."""
    number = _json.loads(f'{{"value":{text}}}')["value"]
    assert _json.dumps(number).decode() == text


@pytest.mark.parametrize("text", ["NaN", "-Infinity", "{", "[1,]"])
def test_what_is_no_json_is_refused(text: str) -> None:
    """NaN and Infinity are none."""
    with pytest.raises(ValueError):
        _json.loads(text)
