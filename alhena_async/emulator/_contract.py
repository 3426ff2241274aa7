"""The documented contract, read on its own: what a request must hold to be an event.

Pure: bytes in, an event or a violation out. Nothing of the client is imported here, so that the
emulator cannot share a misreading with it.
"""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping


_MAX_NUMBER_CHARS = 80

# Beyond every IEEE double (1.8e308, 5e-324): what any language writes as a number is one.
_MAX_EXPONENT = 400


class UnreadableBodyError(ValueError):
    """The bytes are no JSON document this server is willing to read; the text says why."""


def parse_json(raw: bytes) -> object:
    """Parse one UTF-8 JSON document.

    Every number becomes a `Decimal` with the digits that were sent, so that sums are exact.

    Args:
        raw: The body. The caller bounds its size.

    Returns:
        The value: dict, list, str, Decimal, bool or None.

    Raises:
        UnreadableBodyError: Not UTF-8, not JSON (NaN and Infinity included), nested too deeply,
            or a number of absurd length or magnitude.
    """
    try:
        return json.loads(
            raw.decode("utf-8"),
            parse_int=_json_number,
            parse_float=_json_number,
            parse_constant=_refuse_constant,
        )
    except UnicodeDecodeError as error:
        raise UnreadableBodyError("the body is not UTF-8") from error
    except RecursionError as error:
        raise UnreadableBodyError("the body is nested too deeply") from error
    except json.JSONDecodeError as error:
        raise UnreadableBodyError(f"the body is not JSON: {error.msg} at {error.pos}") from error


def _json_number(text: str) -> Decimal:
    # "1e999999" is eight characters of JSON and a million digits once it is added to something.
    if len(text) > _MAX_NUMBER_CHARS:
        raise UnreadableBodyError(f"a number has more than {_MAX_NUMBER_CHARS} characters")
    beyond = UnreadableBodyError(f"a number has an exponent beyond {_MAX_EXPONENT}")
    try:
        number = Decimal(text)
    except InvalidOperation:  # beyond what Decimal itself can hold
        raise beyond from None
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or abs(exponent) > _MAX_EXPONENT:
        raise beyond
    return number


def _refuse_constant(text: str) -> object:
    raise UnreadableBodyError(f"{text} is not JSON")


_NAMES_OF_ORDER_ID = ("orderId", "order_id")


class EventKind(StrEnum):
    """The two endpoints."""

    CART = "cart"
    CHECKOUT = "checkout"

    @property
    def path(self) -> str:
        """Where this kind is posted to."""
        return f"/analytics/{self.value}_events"

    @property
    def success(self) -> str:
        """The `event_type` of a success body."""
        return f"{self.name}_EVENT_RECORDED"


class CartType(StrEnum):
    """The documented cart types; case-sensitive."""

    ITEM_ADDED = "ITEM_ADDED"
    QUANTITY_INCREASED = "QUANTITY_INCREASED"
    QUANTITY_DECREASED = "QUANTITY_DECREASED"
    ITEM_REMOVED = "ITEM_REMOVED"


class RefusalCode(StrEnum):
    """The documented error codes."""

    MISSING_REQUIRED_FIELDS = "MISSING_REQUIRED_FIELDS"
    COMPANY_NOT_FOUND = "COMPANY_NOT_FOUND"
    ACTIVE_TICKET_NOT_FOUND = "ACTIVE_TICKET_NOT_FOUND"
    PREVIOUS_ITEM_ADDED_EVENT_NOT_FOUND = "PREVIOUS_ITEM_ADDED_EVENT_NOT_FOUND"
    PREVIOUS_QUANTITY_INCREASED_EVENT_NOT_FOUND = "PREVIOUS_QUANTITY_INCREASED_EVENT_NOT_FOUND"
    ORDER_ALREADY_EXISTS = "ORDER_ALREADY_EXISTS"


class Visitor(NamedTuple):
    """Both fingerprints; equal to a plain pair of strings."""

    fingerprint: str
    faq_fingerprint: str


@frozen(kw_only=True)
class Line:
    """One bought product of a checkout; `value` is the line total."""

    product_id: str
    product_name: str
    quantity: Decimal
    value: Decimal
    currency: str


@frozen(kw_only=True)
class Cart:
    """A cart event that holds all the contract asks for. `quantity` is the one after the event."""

    company_key: str
    visitor: Visitor
    type: CartType
    product_id: str
    product_name: str
    value: Decimal
    currency: str
    quantity: Decimal
    source: str | None


@frozen(kw_only=True)
class Checkout:
    """A checkout event that holds all the contract asks for. `value` is the order's total."""

    company_key: str
    visitor: Visitor
    value: Decimal
    currency: str
    order_id: str | None
    lines: tuple[Line, ...]
    source: str | None


Event = Cart | Checkout


@frozen
class Refusal:
    """Why an event is not recorded: a documented code, and words for the engineer who reads it."""

    code: RefusalCode
    message: str


class _ViolationError(Exception):
    """Ends the reading of a body; never leaves this module."""


def read_event(kind: EventKind, raw: bytes) -> Event | Refusal:
    """Read a request body as the contract describes it.

    Required fields are present, have their JSON type, and strings are not empty. Every failure is
    `MISSING_REQUIRED_FIELDS`: the only documented code for a body that is not right.

    Args:
        kind: The endpoint it came to.
        raw: The body.

    Returns:
        The event, or why it is none. Never raises for any bytes.
    """
    try:
        body = _object(parse_json(raw), "the body")
        return _cart(body) if kind is EventKind.CART else _checkout(body)
    except (UnreadableBodyError, _ViolationError) as error:
        return Refusal(RefusalCode.MISSING_REQUIRED_FIELDS, str(error))


def _cart(body: Mapping[str, object]) -> Cart:
    return Cart(
        company_key=_text(body, "company_key"),
        visitor=_visitor(body),
        type=_cart_type(body),
        product_id=_text(body, "product_id"),
        product_name=_text(body, "product_name"),
        value=_number(body, "value"),
        currency=_text(body, "currency"),
        quantity=_number(body, "quantity"),
        source=_source(body),
    )


def _checkout(body: Mapping[str, object]) -> Checkout:
    return Checkout(
        company_key=_text(body, "company_key"),
        visitor=_visitor(body),
        value=_number(body, "value"),
        currency=_text(body, "currency"),
        order_id=_order_id(body),
        lines=_lines(body),
        source=_source(body),
    )


def _visitor(body: Mapping[str, object]) -> Visitor:
    return Visitor(_text(body, "user_fingerprint"), _text(body, "user_faq_fingerprint"))


def _cart_type(body: Mapping[str, object]) -> CartType:
    text = _text(body, "type")
    try:
        return CartType(text)
    except ValueError:
        raise _ViolationError(f"type must be one of {', '.join(CartType)}") from None


def _order_id(body: Mapping[str, object]) -> str | None:
    # The table calls it orderId, the curl example order_id; a sender may use either or both.
    given = {_text(body, name) for name in _NAMES_OF_ORDER_ID if body.get(name) is not None}
    if len(given) > 1:
        raise _ViolationError("orderId and order_id are both given and differ")
    return given.pop() if given else None


def _lines(body: Mapping[str, object]) -> tuple[Line, ...]:
    items = body.get("line_items")
    if not isinstance(items, list):
        raise _ViolationError(_wrong(body, "line_items", "an array"))
    if not items:
        raise _ViolationError("line_items must have at least one item")
    return tuple(_line(item, f"line_items[{index}]") for index, item in enumerate(items))


def _line(item: object, where: str) -> Line:
    line = _object(item, where)
    where += "."
    return Line(
        product_id=_text(line, "product_id", where),
        product_name=_text(line, "product_name", where),
        quantity=_number(line, "quantity", where),
        value=_number(line, "value", where),
        currency=_text(line, "currency", where),
    )


def _object(value: object, where: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise _ViolationError(f"{where} must be a JSON object, not {_json_type(value)}")
    return value


def _source(body: Mapping[str, object]) -> str | None:
    # In the examples and not in the table: taken when it is a string, never a reason to refuse.
    source = body.get("source")
    return source if isinstance(source, str) else None


def _text(body: Mapping[str, object], name: str, where: str = "") -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise _ViolationError(_wrong(body, name, "a string", where))
    if not value:
        raise _ViolationError(f"{where}{name} is empty")
    return value


def _number(body: Mapping[str, object], name: str, where: str = "") -> Decimal:
    value = body.get(name)
    # The parser turns every JSON number into a Decimal, so true and "1" are told apart for free.
    if not isinstance(value, Decimal):
        raise _ViolationError(_wrong(body, name, "a number", where))
    return value


def _wrong(body: Mapping[str, object], name: str, expected: str, where: str = "") -> str:
    if name not in body:
        return f"{where}{name} is missing"
    return f"{where}{name} must be {expected}, not {_json_type(body[name])}"


def _json_type(value: object) -> str:
    if value is None:
        return "null"
    names = {bool: "a boolean", str: "a string", Decimal: "a number", list: "an array"}
    return names.get(type(value), "an object")
