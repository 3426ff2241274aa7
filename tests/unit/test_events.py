"""What an event may hold. A refusal names object, field, rule and cure, never what is personal."""

import copy
import enum
import logging
import numbers
import pickle
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import attrs
import pytest

from alhena_async import events
from alhena_async.errors import AlhenaError, InvalidEventError
from alhena_async.events import CartEvent, CartEventType, CheckoutEvent, LineItem, Visitor

FINGERPRINT = "550e8400-e29b-41d4-a716-446655440000"
FAQ_FINGERPRINT = "660e8400-e29b-41d4-a716-446655441111"
VISITOR = Visitor(fingerprint=FINGERPRINT, faq_fingerprint=FAQ_FINGERPRINT)
MARK = "Xyzzy"  # stands in every refused text, and in no message

Build = Callable[..., Any]


def visitor(**changed: Any) -> Visitor:
    fields: dict[str, Any] = {"fingerprint": FINGERPRINT, "faq_fingerprint": FAQ_FINGERPRINT}
    return Visitor(**(fields | changed))


def cart(**changed: Any) -> CartEvent:
    fields: dict[str, Any] = {
        "visitor": VISITOR,
        "type": "ITEM_ADDED",
        "product_id": "mug-1",
        "product_name": "Mug",
        "value": 9.5,
        "currency": "EUR",
        "quantity": 1,
    }
    return CartEvent(**(fields | changed))


def line(**changed: Any) -> LineItem:
    fields: dict[str, Any] = {
        "product_id": "mug-1",
        "product_name": "Mug",
        "quantity": 2,
        "value": 19,
        "currency": "EUR",
    }
    return LineItem(**(fields | changed))


def checkout(**changed: Any) -> CheckoutEvent:
    fields: dict[str, Any] = {
        "visitor": VISITOR,
        "value": 19,
        "currency": "EUR",
        "line_items": [line()],
    }
    return CheckoutEvent(**(fields | changed))


def change(**changed: Any) -> CartEvent:
    fields: dict[str, Any] = {
        "before": 1,
        "after": 2,
        "product_id": "mug-1",
        "product_name": "Mug",
        "value": 9.5,
        "currency": "EUR",
    }
    fields |= changed
    return CartEvent.for_change(fields.pop("visitor", VISITOR), **fields)


SUBJECTS = {visitor: "Visitor", cart: "CartEvent", change: "CartEvent"}
SUBJECTS |= {line: "LineItem", checkout: "CheckoutEvent"}


def refusal(build: Build, field: str, value: object) -> InvalidEventError:
    with pytest.raises(InvalidEventError) as caught:
        build(**{field: value})
    error = caught.value
    assert error.field == field
    assert error.value_type == type(value).__name__
    assert error.problems == ((field, error.rule, error.value_type),)
    assert str(error).startswith(f"{SUBJECTS[build]}.{field} ")
    assert str(error).endswith(error.rule)
    return error


class Text(str):
    """As markup libraries have them."""

    __slots__ = ()


class NumpyLikeFloat(float):
    """As `numpy.float64`: a child of float with a repr of its own."""

    def __repr__(self) -> str:
        return f"np.float64({float(self)})"


class NumpyLikeInt32:
    """As `numpy.int32`: acts as a number, but is no child of int."""

    def __index__(self) -> int:
        return 3

    def __int__(self) -> int:
        return 3


class NumpyLikeFloat32:
    """As `numpy.float32`: acts as a number, but is no child of float."""

    def __float__(self) -> float:
        return 2.5


class NumberLike:
    """Has the methods, and is registered as no number, as `numpy.bool_`."""

    __int__ = __index__ = NumpyLikeInt32.__int__
    __float__ = NumpyLikeFloat32.__float__


numbers.Integral.register(NumpyLikeInt32)
numbers.Real.register(NumpyLikeFloat32)


class Small(enum.IntEnum):
    THREE = 3


class Prefixed(Decimal):
    def __format__(self, spec: str, /, *_: Any) -> str:
        return "EUR " + super().__format__(spec)


# --- text -------------------------------------------------------------------------------------

TEXT_FIELDS = [
    pytest.param(build, field, id=f"{build.__name__}.{field}")
    for build, field in [
        (visitor, "fingerprint"),
        (visitor, "faq_fingerprint"),
        (cart, "product_id"),
        (cart, "product_name"),
        (cart, "source"),
        (change, "product_id"),
        (change, "product_name"),
        (change, "source"),
        (line, "product_id"),
        (line, "product_name"),
        (checkout, "order_id"),
    ]
]
OPTIONAL = {"source", "order_id"}


IDS = {"product_id", "order_id"}


@pytest.mark.parametrize(("build", "field"), TEXT_FIELDS)
@pytest.mark.parametrize(
    ("value", "called"),
    [
        pytest.param(None, "None", id="None"),
        pytest.param(5, "int", id="int"),
        pytest.param(True, "bool", id="bool"),
        pytest.param(1.5, "float", id="float"),
        pytest.param(Decimal(5), "Decimal", id="decimal"),
        pytest.param(uuid.UUID(int=5), "UUID", id="uuid"),
        pytest.param(MARK.encode(), "bytes", id="bytes"),
        pytest.param([MARK], "list", id="list"),
        pytest.param({MARK: MARK}, "dict", id="dict"),
        pytest.param(object(), "object", id="object"),
        pytest.param(NumberLike(), "NumberLike", id="number-like"),
    ],
)
def test_what_is_no_text_is_refused(build: Build, field: str, value: object, called: str) -> None:
    """An id is text or a whole number, a name is text; None is fine where optional."""
    if value is None and field in OPTIONAL:
        assert getattr(build(**{field: None}), field) is None
        return
    if called == "int" and field in IDS:
        assert getattr(build(**{field: value}), field) == "5"
        return
    error = refusal(build, field, value)
    wanted = "text or int" if field in IDS else "text"
    assert error.rule.startswith(f"must be {wanted}, not {called}")
    assert MARK not in str(error)


@pytest.mark.parametrize(("build", "field"), TEXT_FIELDS)
@pytest.mark.parametrize("value", ["", Text(), " ", "\t\r\n", "\xa0", "\u2003\u3000"], ids=ascii)
def test_white_space_is_empty(build: Build, field: str, value: str) -> None:
    """An id or a name that shows nothing is none."""
    assert refusal(build, field, value).rule.startswith("is empty: ")


@pytest.mark.parametrize("build", [cart, change, line])
@pytest.mark.parametrize("value", ["", None])
def test_a_product_without_a_name_is_told_the_way_out(build: Build, value: object) -> None:
    """Half of a real shop's products have none: the message says what to pass."""
    error = refusal(build, "product_name", value)
    assert error.rule.endswith(": pass the product's id where it has no name")


@pytest.mark.parametrize("build", [cart, change, line, checkout])
@pytest.mark.parametrize(
    ("value", "text"),
    [(5, "5"), (0, "0"), (-1, "-1"), (2**64, str(2**64)), (NumpyLikeInt32(), "3")],
    ids=["int", "zero", "negative", "big", "numpy-like"],
)
def test_an_id_may_be_a_whole_number(build: Build, value: Any, text: str) -> None:
    """Databases have such ids; they are sent as text."""
    field = "order_id" if build is checkout else "product_id"
    event = build(**{field: value})
    assert getattr(event, field) == text
    assert event == build(**{field: text})
    assert hash(event) == hash(build(**{field: text}))


def test_an_id_of_thousands_of_digits_is_refused() -> None:
    """Python makes no text of it."""
    assert "fewer digits" in refusal(cart, "product_id", 10**5_000).rule


@pytest.mark.parametrize(("build", "field"), TEXT_FIELDS)
@pytest.mark.parametrize(
    "value", [MARK + "\ud800", "\udfff" + MARK, "\udc00\ud800" + MARK], ids=["high", "low", "both"]
)
def test_half_of_a_surrogate_pair_is_refused(build: Build, field: str, value: str) -> None:
    """Text that UTF-8 cannot carry is refused where it is built, not when it is sent."""
    error = refusal(build, field, value)
    assert "UTF-8" in error.rule
    assert MARK not in str(error)


@pytest.mark.parametrize(("build", "field"), TEXT_FIELDS)
@pytest.mark.parametrize(
    "value",
    [
        "x",
        " x ",
        "!",
        "0",
        "Tasse „Käthe“",
        "茶碗",
        "🫖\U0010ffff",
        '"}\\',
        "ﷺ\u202e\ufeff",
        "x" * 256,
    ],
    ids=["one", "blanks", "mark", "zero", "german", "chinese", "astral", "json", "odd", "256"],
)
def test_any_other_text_is_kept_as_it_is(build: Build, field: str, value: str) -> None:
    """Names are people's: nothing is trimmed, folded or normalised."""
    assert getattr(build(**{field: value}), field) == value


LONG_FIELDS = [one for one in TEXT_FIELDS if "fingerprint" not in str(one.id)]


@pytest.mark.parametrize(
    "letter", ["x", "é", "🫖", "\n"], ids=["ascii", "latin", "astral", "break"]
)
@pytest.mark.parametrize(("build", "field"), LONG_FIELDS)
def test_a_text_is_bounded_in_length(build: Build, field: str, letter: str) -> None:
    """Whatever it holds: characters count, and the message has a way out, and not the text."""
    most = 256 if field == "source" else 20_000
    value = "a" + letter * (most - 1)
    assert getattr(build(**{field: value}), field) == value
    error = refusal(build, field, value + letter)
    assert error.rule.startswith(f"must have at most {most:,} characters: ")
    assert letter * 2 not in str(error)


def test_id_and_name_are_bounded_each_by_itself() -> None:
    """Together they may be twice as long."""
    both = "x" * 20_000
    assert cart(product_id=both, product_name=both).product_id == both


@pytest.mark.parametrize("field", ["product_id", "order_id"])
def test_a_number_of_too_many_digits_is_no_id(field: str) -> None:
    """It would be as long as a text."""
    build = cart if field == "product_id" else checkout
    assert getattr(build(**{field: 10**999}), field) == "1" + "0" * 999
    refusal(build, field, 10**5000)


def test_an_order_has_at_most_5_000_lines() -> None:
    """The message says how many there were."""
    assert len(checkout(line_items=[line()] * 5_000).line_items) == 5_000
    with pytest.raises(InvalidEventError, match="at most 5,000, not 5,001: merge lines") as caught:
        checkout(line_items=[line()] * 5_001)
    assert caught.value.field == "line_items"


def test_a_child_of_str_is_text() -> None:
    """Markup types and string enums pass for text."""
    assert cart(product_id=Text("mug-1")) == cart()


# --- fingerprints -----------------------------------------------------------------------------

FINGERPRINT_FIELDS = ["fingerprint", "faq_fingerprint"]


@pytest.mark.parametrize("field", FINGERPRINT_FIELDS)
@pytest.mark.parametrize("letter", ["x", "é", "🫖"], ids=["ascii", "two-bytes", "four-bytes"])
def test_a_fingerprint_has_at_most_256_characters(field: str, letter: str) -> None:
    """Characters count, not bytes: 256 pass, 257 do not."""
    assert getattr(visitor(**{field: letter * 256}), field) == letter * 256
    error = refusal(visitor, field, letter * 257)
    assert error.rule == "must have at most 256 characters"
    assert letter * 2 not in str(error)


@pytest.mark.parametrize("field", FINGERPRINT_FIELDS)
@pytest.mark.parametrize("place", ["{}" + MARK, MARK + "{}", MARK + "{}" + MARK])
@pytest.mark.parametrize("code", [0x00, 0x09, 0x0A, 0x0D, 0x1B, 0x1F, 0x7F, 0x80, 0x85, 0x9F])
def test_a_fingerprint_holds_no_control_character(field: str, place: str, code: int) -> None:
    """C0, DEL and C1 are refused, wherever they stand."""
    error = refusal(visitor, field, place.format(chr(code)))
    assert error.rule == "must hold no control character"
    assert MARK not in str(error)


@pytest.mark.parametrize("field", FINGERPRINT_FIELDS)
@pytest.mark.parametrize("code", [0x20, 0x7E, 0xA0, 0xAD, 0x200B, 0x2028, 0xFEFF])
def test_neighbours_of_the_control_characters_pass(field: str, code: int) -> None:
    """Only control characters are refused: what is merely odd is the widget's business."""
    assert getattr(visitor(**{field: f"a{chr(code)}b"}), field) == f"a{chr(code)}b"


def test_neither_fingerprint_is_copied_from_the_other() -> None:
    """Both are required: with one missing there is no visitor."""
    with pytest.raises(TypeError, match="faq_fingerprint"):
        Visitor(fingerprint=FINGERPRINT)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="'fingerprint'"):
        Visitor(faq_fingerprint=FINGERPRINT)  # type: ignore[call-arg]
    same = visitor(fingerprint=FAQ_FINGERPRINT)
    assert (same.fingerprint, same.faq_fingerprint) == (FAQ_FINGERPRINT, FAQ_FINGERPRINT)


@pytest.fixture
def nothing_said_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_fields_warned_of", set())


@pytest.mark.usefixtures("nothing_said_yet")
def test_a_fingerprint_that_is_no_uuid_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """A thousand odd visitors make one warning for each of the two fields, content unsaid."""
    for number in range(1_000):
        visitor(fingerprint=f"{MARK}-{number}")
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    for number in range(1_000):
        visitor(fingerprint=f"{MARK}-{number}", faq_fingerprint=f"{MARK}-{number}")
    assert [record.name for record in caplog.records] == ["alhena_async"] * 2
    assert " fingerprint " in caplog.messages[0]
    assert " faq_fingerprint " in caplog.messages[1]
    assert MARK not in caplog.text


@pytest.mark.usefixtures("nothing_said_yet")
@pytest.mark.parametrize(
    "uuid", [FINGERPRINT, FINGERPRINT.upper(), "00000000-0000-0000-0000-000000000000"]
)
def test_a_uuid_is_not_warned_of(uuid: str, caplog: pytest.LogCaptureFixture) -> None:
    """Either case, any version: what the vendor calls a UUID."""
    visitor(fingerprint=uuid, faq_fingerprint=uuid)
    assert not caplog.records


@pytest.mark.usefixtures("nothing_said_yet")
@pytest.mark.parametrize(
    "text",
    [
        FINGERPRINT.replace("-", ""),
        "{" + FINGERPRINT + "}",
        " " + FINGERPRINT,
        FINGERPRINT + "0",
        FINGERPRINT[:-1] + "g",
        FINGERPRINT[:-1] + "\N{ARABIC-INDIC DIGIT ZERO}",
    ],
    ids=["bare", "braces", "blank", "long", "letter", "arabic-digit"],
)
def test_what_only_looks_like_a_uuid_is_warned_of(
    text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Near misses pass, with the warning."""
    assert visitor(fingerprint=text).fingerprint == text
    assert len(caplog.records) == 1


@pytest.mark.usefixtures("nothing_said_yet")
def test_a_refused_fingerprint_does_not_use_up_the_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The warning is for what is sent; a refusal speaks for itself."""
    refusal(visitor, "fingerprint", "\n")
    assert not caplog.records
    visitor(fingerprint="odd")
    assert len(caplog.records) == 1


# --- numbers ----------------------------------------------------------------------------------

NUMBER_FIELDS = [
    pytest.param(build, field, id=f"{build.__name__}.{field}")
    for build, field in [
        (cart, "value"),
        (cart, "quantity"),
        (change, "value"),
        (change, "before"),
        (change, "after"),
        (line, "value"),
        (line, "quantity"),
        (checkout, "value"),
    ]
]
NOT_A_NUMBER = "must be a number, not "
NOT_FINITE = "must be a finite number"
NEGATIVE = "must be 0 or more"
TOO_BIG = "must be below 1e15"
TOO_FINE = "must have at most 9 decimal places"


@pytest.mark.parametrize(("build", "field"), NUMBER_FIELDS)
@pytest.mark.parametrize(
    ("value", "rule"),
    [
        pytest.param(None, NOT_A_NUMBER, id="None"),
        pytest.param(True, NOT_A_NUMBER, id="True"),
        pytest.param(False, NOT_A_NUMBER, id="False"),
        pytest.param("31415.9", NOT_A_NUMBER, id="text"),
        pytest.param("", NOT_A_NUMBER, id="no-text"),
        pytest.param(b"31415", NOT_A_NUMBER, id="bytes"),
        pytest.param(31415j, NOT_A_NUMBER, id="complex"),
        pytest.param(Fraction(-31415, 2), NEGATIVE, id="negative-fraction"),
        pytest.param(Fraction(31415 * 10**400), TOO_BIG, id="huge-fraction"),
        pytest.param([31415], NOT_A_NUMBER, id="list"),
        pytest.param(NumberLike(), NOT_A_NUMBER, id="number-like"),
        pytest.param(float("nan"), NOT_FINITE, id="nan"),
        pytest.param(float("inf"), NOT_FINITE, id="inf"),
        pytest.param(float("-inf"), NOT_FINITE, id="-inf"),
        pytest.param(NumpyLikeFloat("nan"), NOT_FINITE, id="numpy-like-nan"),
        pytest.param(NumpyLikeFloat("inf"), NOT_FINITE, id="numpy-like-inf"),
        pytest.param(Decimal("NaN"), NOT_FINITE, id="decimal-nan"),
        pytest.param(Decimal("-NaN31415"), NOT_FINITE, id="decimal-nan-payload"),
        pytest.param(Decimal("sNaN"), NOT_FINITE, id="decimal-snan"),
        pytest.param(Decimal("Infinity"), NOT_FINITE, id="decimal-inf"),
        pytest.param(Decimal("-Infinity"), NOT_FINITE, id="decimal--inf"),
        pytest.param(-31415, NEGATIVE, id="negative-int"),
        pytest.param(-5e-324, NEGATIVE, id="negative-denormal"),
        pytest.param(NumpyLikeFloat(-1), NEGATIVE, id="numpy-like-negative"),
        pytest.param(Decimal("-0.01"), NEGATIVE, id="negative-decimal"),
        pytest.param(Decimal("-1e999999"), NEGATIVE, id="negative-huge-decimal"),
        pytest.param(-(10**5_000), NEGATIVE, id="negative-huge-int"),
        pytest.param(10**15, TOO_BIG, id="1e15-int"),
        pytest.param(1e15, TOO_BIG, id="1e15-float"),
        pytest.param(Decimal("1e15"), TOO_BIG, id="1e15-decimal"),
        pytest.param(1.7976931348623157e308, TOO_BIG, id="biggest-float"),
        pytest.param(10**5_000, TOO_BIG, id="int-of-5000-digits"),
        pytest.param(Decimal("1e999999"), TOO_BIG, id="1e999999"),
        pytest.param(Decimal("1e-999999"), TOO_FINE, id="1e-999999"),
        pytest.param(Decimal("3.1415926535"), TOO_FINE, id="10-decimals"),
        pytest.param(Decimal("3." + "0" * 50 + "1"), TOO_FINE, id="51-decimals"),
        pytest.param(Decimal("0." + "9" * 50), TOO_FINE, id="50-nines"),
    ],
)
def test_a_number_that_breaks_a_rule_is_refused(
    build: Build, field: str, value: Any, rule: str
) -> None:
    """Money and quantities are finite, within bounds, and of a type that has digits."""
    error = refusal(build, field, value)
    assert error.rule.startswith(rule)
    assert "31415" not in str(error)
    assert len(str(error)) < 150


@pytest.mark.parametrize(("build", "field"), NUMBER_FIELDS)
@pytest.mark.parametrize(
    "value",
    [
        pytest.param(7, id="int"),
        pytest.param(1.5, id="fraction"),
        pytest.param(5e-324, id="denormal"),
        pytest.param(0.1 + 0.2, id="float-of-17-digits"),
        pytest.param(10**15 - 1, id="biggest-int"),
        pytest.param(999_999_999_999_999.9, id="biggest-float"),
        pytest.param(Decimal("999999999999999.999999999"), id="biggest-decimal"),
        pytest.param(Decimal("0.000000001"), id="9-decimals"),
        pytest.param(Decimal("199.970"), id="decimal"),
        pytest.param(Decimal("1E+14"), id="decimal-with-exponent"),
        pytest.param(NumpyLikeFloat(1.5), id="numpy-like-float"),
        pytest.param(Small.THREE, id="int-enum"),
        pytest.param(Prefixed("3.50"), id="child-of-decimal"),
    ],
)
def test_a_number_within_the_bounds_is_kept_as_it_is(build: Build, field: str, value: Any) -> None:
    """The last value on the right side of each bound passes, unrounded and of its own type."""
    event = build(**{field: value})
    if field != "before":
        kept = event.quantity if field == "after" else getattr(event, field)
        assert kept is value


@pytest.mark.parametrize(("build", "field"), NUMBER_FIELDS)
@pytest.mark.parametrize(
    ("value", "kept"),
    [
        pytest.param(NumpyLikeInt32(), 3, id="numpy-like-int32"),
        pytest.param(NumpyLikeFloat32(), 2.5, id="numpy-like-float32"),
        pytest.param(Fraction(1999, 100), 19.99, id="fraction"),
        pytest.param(Decimal("19.9900000000"), Decimal("19.99"), id="ten-places"),
        pytest.param(Decimal("1.000000001" + "0" * 60), Decimal("1.000000001"), id="many-zeros"),
        pytest.param(Decimal("100.0000000000"), Decimal(100), id="no-places"),
    ],
)
def test_what_means_a_number_is_taken_as_one(
    build: Build, field: str, value: Any, kept: object
) -> None:
    """Numpy's scalars become int or float; a database's zeros at the end are no places."""
    with localcontext(prec=3):  # the caller's own precision must not cut anything
        event = build(**{field: value})
    if field != "before":
        made = event.quantity if field == "after" else getattr(event, field)
        assert made == kept
        assert type(made) is type(kept)


def test_zeros_at_the_end_are_not_sent() -> None:
    """A zero of a million places is a zero."""
    for zero in (Decimal("0E-12"), Decimal("0E-999999"), Decimal("-0E-12")):
        assert len(str(cart(value=zero).value)) <= 2


@pytest.mark.parametrize("build", [cart, change, checkout, line])
def test_a_price_that_is_text_is_told_the_way_out(build: Build) -> None:
    """The message tells one object from the other, and shows the call."""
    error = refusal(build, "value", "9.50")
    assert str(error) == (
        f"{SUBJECTS[build]}.value must be a number, not text: 19.9 without quotes, "
        'or as Decimal("19.90")'
    )


@pytest.mark.parametrize("quantity", [-1, -2.5, Decimal("-0.5"), -5368])
def test_a_refund_is_told_that_it_cannot_be_recorded(quantity: Any) -> None:
    """A small quantity may be shown: nobody is known by it."""
    error = refusal(line, "quantity", quantity)
    assert str(error) == (
        f"LineItem.quantity {quantity} must be 0 or more: refunds cannot be recorded"
    )
    assert refusal(checkout, "value", -5).rule == "must be 0 or more: refunds cannot be recorded"


def test_a_discount_is_told_that_it_is_no_line() -> None:
    """The API wants the price after discounts: such a line is left out."""
    told = "a discount is no line: leave it out, lines need not add up to the total"
    assert refusal(line, "value", -5).rule == f"must be 0 or more: {told}"


def test_too_many_places_are_told_the_way_out() -> None:
    """The message shows the call."""
    error = refusal(checkout, "value", Decimal("19.99999999999"))
    assert error.rule == 'must have at most 9 decimal places: quantize(Decimal("0.01"))'


ZEROS = [
    pytest.param(0, id="int"),
    pytest.param(0.0, id="float"),
    pytest.param(-0.0, id="minus-zero"),
    pytest.param(Decimal(0), id="decimal"),
    pytest.param(Decimal("-0.00"), id="decimal-minus-zero"),
    pytest.param(Decimal("0E+999999"), id="decimal-with-exponent"),
]


@pytest.mark.parametrize("zero", ZEROS)
@pytest.mark.parametrize("build", [cart, line, checkout])
def test_a_value_may_be_zero(build: Build, zero: Any) -> None:
    """Something may be free of charge; minus zero is zero."""
    assert build(value=zero).value == 0


@pytest.mark.parametrize("zero", ZEROS)
@pytest.mark.parametrize("kind", CartEventType)
def test_a_quantity_is_zero_only_when_an_item_is_removed(kind: CartEventType, zero: Any) -> None:
    """`quantity` is the quantity after the event."""
    if kind is CartEventType.ITEM_REMOVED:
        assert cart(type=kind, quantity=zero).quantity == 0
        return
    with pytest.raises(InvalidEventError, match="0 only for ITEM_REMOVED") as caught:
        cart(type=kind, quantity=zero)
    assert caught.value.field == "quantity"


@pytest.mark.parametrize("kind", CartEventType)
@pytest.mark.parametrize("quantity", [1, 1.5, Decimal("0.250")])
def test_any_type_may_leave_a_quantity(kind: CartEventType, quantity: Any) -> None:
    """Fractions are for shops that sell by weight; a removal may leave some behind."""
    assert cart(type=kind, quantity=quantity).quantity == quantity


@pytest.mark.parametrize("zero", ZEROS)
def test_a_line_needs_more_than_nothing(zero: Any) -> None:
    """A line of quantity 0 was not ordered."""
    assert refusal(line, "quantity", zero).rule.startswith("must be more than 0: ")


# --- currency, type, visitor, lines -------------------------------------------------------------


@pytest.mark.parametrize("build", [cart, change, line, checkout])
@pytest.mark.parametrize(
    "value",
    [
        "", "E", "EU", "EURO", "EU1", " EUR", "EUR ", "EUR\n", "E\nR", "ÄÖÜ",
        "\N{CYRILLIC CAPITAL LETTER IE}UR",
        "\N{FULLWIDTH LATIN CAPITAL LETTER E}UR",
        "EU\ud800", "€", b"EUR", None, 978, True, ["EUR"], ("E", "U", "R"),
    ],
    ids=ascii,
)  # fmt: skip
def test_a_currency_is_three_letters(build: Build, value: object) -> None:
    """Three letters A-Z: lower case is refused, not repaired, and nothing else looks like them."""
    error = refusal(build, "currency", value)
    assert error.rule.startswith("must be three letters A-Z, as EUR")


@pytest.mark.parametrize("build", [cart, change, line, checkout])
@pytest.mark.parametrize("value", ["eur", "Eur", "eUR", "xyz"])
def test_a_currency_in_lower_case_is_shown(build: Build, value: str) -> None:
    """As payment providers spell it: refused and not repaired, and the message says what it is."""
    error = refusal(build, "currency", value)
    assert str(error) == f'{SUBJECTS[build]}.currency "{value}" must be upper case'


@pytest.mark.parametrize("build", [cart, change, line, checkout])
@pytest.mark.parametrize("value", ["EUR", "USD", "JPY", "XXX", Text("EUR")])
def test_a_currency_need_not_be_known(build: Build, value: str) -> None:
    """Whether a currency exists is the vendor's to judge."""
    assert build(currency=value).currency == value


@pytest.mark.parametrize("kind", CartEventType)
def test_a_type_is_the_enum_or_its_exact_name(kind: CartEventType) -> None:
    """Both spellings give the same event."""
    assert cart(type=kind).type is kind
    assert cart(type=str(kind)).type is kind
    assert cart(type=Text(kind)) == cart(type=kind)


class Other(enum.StrEnum):
    CHECKOUT = "CHECKOUT"


@pytest.mark.parametrize(
    "value",
    [
        "item_added", "Item_Added", "ITEM_ADDED ", " ITEM_ADDED", "ITEM ADDED", "", "CHECKOUT",
        "ITEM_ADDED\ud800", b"ITEM_ADDED", None, 1, True, ["ITEM_ADDED"], {}, Other.CHECKOUT,
        CartEventType,
    ],
    ids=ascii,
)  # fmt: skip
def test_a_type_in_any_other_spelling_is_refused(value: object) -> None:
    """Types are case-sensitive, and the refusal lists them."""
    error = refusal(cart, "type", value)
    assert all(kind in error.rule for kind in CartEventType)


@pytest.mark.parametrize("value", ["item_added", "Item-Removed", "quantity increased"])
def test_a_type_that_is_nearly_one_is_shown(value: str) -> None:
    """So that the reader sees what is wrong with it."""
    assert f'CartEvent.type "{value}" must be one of' in str(refusal(cart, "type", value))


def test_a_wrong_type_is_not_quoted() -> None:
    """The refusal does not hold what was given, nor does its printed traceback."""
    error = refusal(cart, "type", MARK)
    assert MARK not in str(error)
    assert MARK not in repr(error)
    assert error.__suppress_context__


@pytest.mark.parametrize("build", [cart, change, checkout])
@pytest.mark.parametrize(
    "value", [None, MARK, {"fingerprint": MARK}, (MARK, MARK), Visitor], ids=ascii
)
def test_a_visitor_is_a_visitor(build: Build, value: object) -> None:
    """A dict or a bare fingerprint is not taken for one."""
    error = refusal(build, "visitor", value)
    assert error.rule.startswith("must be a Visitor, not ")
    assert MARK not in str(error)


@pytest.mark.parametrize(
    "value", [None, 5, MARK, MARK.encode(), True, line(), object()], ids=lambda v: type(v).__name__
)
def test_line_items_are_a_list(value: object) -> None:
    """Text is not taken for a list of letters, nor one line for a list of it."""
    error = refusal(checkout, "line_items", value)
    assert error.rule.startswith("must be a list of LineItem, not ")
    assert MARK not in str(error)


@pytest.mark.parametrize("value", [[], (), {}, set(), iter([])], ids=lambda v: type(v).__name__)
def test_an_order_has_at_least_one_line(value: object) -> None:
    """`line_items` is documented as required."""
    with pytest.raises(InvalidEventError, match="at least one LineItem") as caught:
        checkout(line_items=value)
    assert caught.value.field == "line_items"


@pytest.mark.parametrize(
    "value", [None, MARK, {"product_id": MARK}, cart(), LineItem], ids=lambda v: type(v).__name__
)
def test_a_wrong_line_is_named_by_its_place(value: object) -> None:
    """The place counts from 0, as the list does."""
    with pytest.raises(InvalidEventError) as caught:
        checkout(line_items=[line(), line(), value])
    assert caught.value.field == "line_items[2]"
    assert caught.value.value_type == type(value).__name__
    assert str(caught.value).startswith("LineItem 3 of 3 must be a LineItem, not ")
    assert MARK not in str(caught.value)


def test_any_iterable_of_lines_will_do_and_is_copied() -> None:
    """A generator serves, and a list that grows afterwards changes no order."""

    def lines() -> Iterator[LineItem]:
        yield line()
        yield line(product_id="cup-2")

    mine = list(lines())
    event = checkout(line_items=mine)
    mine.clear()
    assert event == checkout(line_items=lines())
    assert isinstance(event.line_items, tuple)


def test_an_error_in_a_callers_generator_is_the_callers() -> None:
    """It comes out as it is, not as a refusal."""

    def broken() -> Iterator[LineItem]:
        yield line()
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        checkout(line_items=broken())


def test_a_refused_line_of_a_generator_is_named_by_its_place() -> None:
    """It cannot know its place by itself; what is wrong with the order is told as well."""
    names = ["Mug"] * 37 + [""] + ["Mug"] * 12
    with pytest.raises(InvalidEventError) as caught:
        checkout(currency="eur", line_items=(line(product_name=name) for name in names))
    assert [problem.field for problem in caught.value.problems] == [
        "currency",
        "line_items[37].product_name",
    ]
    assert "LineItem 38: product_name is empty: pass the product's id" in str(caught.value)


def test_line_sums_are_not_checked_against_the_total() -> None:
    """Shipping, tax and discounts differ, and so may the currency."""
    event = checkout(value=0, currency="USD", line_items=[line(value=100, currency="EUR")])
    assert event.value == 0


# --- for_change ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        (0, 1, "ITEM_ADDED"),
        (0, 7, "ITEM_ADDED"),
        (0.0, 0.25, "ITEM_ADDED"),
        (-0.0, 1, "ITEM_ADDED"),
        (Decimal("0.00"), Decimal("0.5"), "ITEM_ADDED"),
        (1, 2, "QUANTITY_INCREASED"),
        (1, 1.5, "QUANTITY_INCREASED"),
        (1, Decimal("1.000000001"), "QUANTITY_INCREASED"),
        (Decimal("0.1"), 0.1, "QUANTITY_INCREASED"),  # the float is a little more than a tenth
        (2, 1, "QUANTITY_DECREASED"),
        (1, 0.999, "QUANTITY_DECREASED"),
        (10**15 - 1, Decimal("0.000000001"), "QUANTITY_DECREASED"),
        (1, 0, "ITEM_REMOVED"),
        (0.5, -0.0, "ITEM_REMOVED"),
        (Decimal("2.5"), Decimal("0.0"), "ITEM_REMOVED"),
    ],
)
def test_a_change_picks_its_type(before: Any, after: Any, kind: str) -> None:
    """From 0 added, to 0 removed, else increased or decreased; the quantity is the one after."""
    event = change(before=before, after=after)
    assert event == cart(type=kind, quantity=after)
    assert event.quantity is after


@pytest.mark.parametrize(
    ("before", "after"), [(0, 0), (1, 1), (1, 1.0), (Decimal("1.50"), 1.5), (0.0, -0.0)]
)
def test_a_change_that_changes_nothing_is_refused(before: Any, after: Any) -> None:
    """There is no event for it, and none is made up."""
    with pytest.raises(InvalidEventError, match="nothing changed") as caught:
        change(before=before, after=after)
    assert caught.value.field == "after"


def test_a_change_carries_every_other_field() -> None:
    """`for_change` differs from the constructor in nothing but the type."""
    event = change(before=0, after=2, source="APP", product_id="a", value=Decimal("3.0"))
    assert event == cart(quantity=2, source="APP", product_id="a", value=Decimal("3.0"))


def test_a_change_tells_of_its_quantities_with_the_rest() -> None:
    """Nothing is hidden behind the first mistake."""
    with pytest.raises(InvalidEventError) as caught:
        change(visitor=None, before="1", after=-1, product_name=" ", currency="eur")
    assert [problem.field for problem in caught.value.problems] == [
        "visitor",
        "before",
        "after",
        "product_name",
        "currency",
    ]
    assert not caught.value.nothing_changed


def test_no_change_is_told_apart_from_mistakes() -> None:
    """A handler that is called with the same quantity did nothing wrong."""
    with pytest.raises(InvalidEventError) as caught:
        change(before=2, after=2, product_name="")
    assert caught.value.nothing_changed
    assert [problem.field for problem in caught.value.problems] == ["after"]


# --- what an event is ---------------------------------------------------------------------------

SAMPLES = [
    pytest.param(sample, id=type(sample).__name__)
    for sample in [VISITOR, line(), cart(), checkout(order_id="A-1")]
]


@pytest.mark.parametrize("sample", SAMPLES)
def test_events_are_frozen_and_hold_nothing_else(sample: Any) -> None:
    """No field can be set, none can be added."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(sample, attrs.fields(type(sample))[0].name, MARK)
    with pytest.raises((attrs.exceptions.FrozenInstanceError, AttributeError)):
        sample.new = 1
    assert not hasattr(sample, "__dict__")


@pytest.mark.parametrize("sample", SAMPLES)
def test_events_are_values(sample: Any) -> None:
    """Equal in content is equal, with one hash, through copy and pickle too."""
    for twin in (
        copy.copy(sample),
        copy.deepcopy(sample),
        pickle.loads(pickle.dumps(sample)),
        attrs.evolve(sample),
    ):
        assert twin == sample
        assert hash(twin) == hash(sample)
        assert len({twin, sample}) == 1


@pytest.mark.parametrize("sample", SAMPLES)
def test_fields_are_given_by_name(sample: Any) -> None:
    """Positional arguments are refused, so that two fingerprints cannot change places unseen."""
    values = [getattr(sample, field.name) for field in attrs.fields(type(sample))]
    with pytest.raises(TypeError):
        type(sample)(*values)


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_missing_field_is_named(sample: Any) -> None:
    """Every field without a default is required."""
    fields = attrs.fields(type(sample))
    given = {field.name: getattr(sample, field.name) for field in fields}
    for field in fields:
        if field.default is attrs.NOTHING:
            rest = {name: value for name, value in given.items() if name != field.name}
            with pytest.raises(TypeError, match=f"'{field.name}'"):
                type(sample)(**rest)


def test_amending_an_event_checks_it_again() -> None:
    """`attrs.evolve` is how `before_send` amends: the rules hold there too."""
    assert attrs.evolve(cart(), quantity=3).quantity == 3
    with pytest.raises(InvalidEventError, match="quantity -1 must be 0 or more"):
        attrs.evolve(cart(), quantity=-1)


@pytest.mark.parametrize("kind", [CartEvent, CheckoutEvent])
def test_a_child_that_attrs_makes_keeps_the_rules(kind: type[Any]) -> None:
    """Though it has an `__init__` of its own: what breaks a rule is refused, ids become text."""

    @attrs.frozen(kw_only=True)
    class Child(kind):  # type: ignore[misc]
        note: str = ""

    sample = cart() if kind is CartEvent else checkout()
    fields = {field.name: getattr(sample, field.name) for field in attrs.fields(kind)}
    whole = Child(**fields, note="x")
    assert (whole.note, whole.value) == ("x", sample.value)
    if kind is CartEvent:
        amended = Child(**fields | {"type": "ITEM_ADDED", "product_id": 7})
        assert (amended.type, amended.product_id) == (CartEventType.ITEM_ADDED, "7")
    with pytest.raises(InvalidEventError, match=r"2 problems: Child.visitor .*; Child.value"):
        Child(**fields | {"visitor": None, "value": -1})


@pytest.mark.parametrize("sample", SAMPLES)
def test_no_fingerprint_shows_in_a_repr(sample: Any) -> None:
    """Reprs end up in logs and tracebacks."""
    for shown in (repr(sample), str(sample), f"{sample}", repr([sample])):
        assert FINGERPRINT not in shown
        assert FAQ_FINGERPRINT not in shown


def test_a_refusal_is_logged_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    """The caller has the error; the log has nothing, at any level."""
    caplog.set_level(logging.DEBUG)
    for build, field, value in [
        (visitor, "fingerprint", MARK + "\n"),
        (cart, "type", MARK),
        (cart, "product_name", MARK + "\ud800"),
        (cart, "value", MARK),
        (checkout, "line_items", MARK),
    ]:
        refusal(build, field, value)
    assert not caplog.records


def test_a_refusal_is_a_value_error_of_ours() -> None:
    """`except ValueError` and `except AlhenaError` both catch it, with facts as fields."""
    error = refusal(cart, "quantity", -1)
    assert isinstance(error, ValueError)
    assert isinstance(error, AlhenaError)
    assert (error.field, error.value_type) == ("quantity", "int")


def test_all_that_is_wrong_is_told_at_once() -> None:
    """In the order of the fields, each with rule and type; the first one has its own attributes."""
    with pytest.raises(InvalidEventError) as caught:
        cart(type="item_added", product_id=None, product_name=MARK, value="9.50", currency="eur")
    error = caught.value
    assert [(field, kind) for field, _, kind in error.problems] == [
        ("type", "str"),
        ("product_id", "NoneType"),
        ("value", "str"),
        ("currency", "str"),
    ]
    assert (error.field, error.rule, error.value_type) == error.problems[0]
    assert str(error).startswith("4 problems: CartEvent.type ")
    assert str(error).count("; CartEvent.") == 3
    assert MARK not in str(error)


def test_both_fingerprints_are_told_at_once() -> None:
    """A visitor has two."""
    with pytest.raises(InvalidEventError) as caught:
        visitor(fingerprint="", faq_fingerprint=None)
    assert [problem.field for problem in caught.value.problems] == [
        "fingerprint",
        "faq_fingerprint",
    ]
