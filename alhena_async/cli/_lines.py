"""One line of a file of events -> an event, or the reasons why it is none. Pure.

A line is a JSON object: `ts` (ISO 8601), `visitor`, `kind` ("cart" or "checkout"), `value`,
`currency`, and for a cart event `type`, `product_id`, `product_name`, `quantity`, for a checkout
`order_id` and `line_items`. In place of `visitor` it may give the two fingerprints themselves, as
exported dead letters do. Other fields are passed over. `alhena replay --help` says the same for
users.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, DecimalException
from functools import lru_cache
from typing import Any, Final, NoReturn, TypeVar

import attrs

from alhena_async.cli._format import plural
from alhena_async.errors import InvalidEventError
from alhena_async.events import CartEvent, CheckoutEvent, Event, LineItem, Visitor

MAX_LINE_BYTES: Final = 1024 * 1024
"""A longer line is no event: the largest order seen in a shop's data has 136 KB."""


@attrs.frozen(kw_only=True)
class Record:
    """A line that is an event."""

    number: int
    """The line's number in its file, from 1."""
    event: Event
    at: float | None = None
    """Its timestamp in seconds since the epoch; None when it was not asked for."""
    company_key: str | None = None
    """Whose event it is; None: the client's own."""


@attrs.frozen(kw_only=True)
class Reject:
    """A line that is no event."""

    number: int
    """The line's number in its file, from 1."""
    reasons: tuple[tuple[str, str], ...]
    """What is wrong, as pairs of where (`line_items[2].quantity`; may be empty) and what."""
    raw: bytes
    """The line as it stood in the file, without its line end."""
    cut: bool = False
    """Whether `raw` is only the beginning of the line."""

    @property
    def reason(self) -> str:
        """All reasons as one text; like ones of one order's lines are told once, and counted."""
        firsts: dict[tuple[str, str], str] = {}
        more: dict[tuple[str, str], int] = {}
        for where, what in self.reasons:
            key = (_bare(where), what)
            more[key] = more.get(key, -1) + 1
            firsts.setdefault(key, f"{where} {what}".strip())
        return "; ".join(
            f"{first} (and {plural(more[key], 'line item')} more)" if more[key] else first
            for key, first in firsts.items()
        )

    @property
    def causes(self) -> tuple[str, ...]:
        """The reasons without places and without repetition, to count lines by."""
        bare = (f"{_bare(where)} {what}".strip() for where, what in self.reasons)
        return tuple(dict.fromkeys(bare))


@attrs.frozen(kw_only=True)
class Reading:
    """How lines are read."""

    name_from_id: bool = False
    """Put the product id where a product name is empty or missing. Default: no."""
    timed: bool = False
    """Ask every line for its timestamp. Default: no."""


def _bare(where: str) -> str:
    """`line_items[3].quantity` -> `line_items[].quantity`."""
    head, bracket, rest = where.partition("[")
    return head + "[]" + rest.partition("]")[2] if bracket else head


# Fixed for ever: a visitor must get the same two fingerprints in every run, and two different ones.
_FINGERPRINTS: Final = uuid.UUID("5f2a64a4-3c0b-4c7e-9a0d-5d2f0a6b7e11")

_FAQ_FINGERPRINTS: Final = uuid.UUID("c1d8e9f0-7b46-4f6a-8e35-2f9b1c4d6a72")

_MISSING: Final = object()

_Made = TypeVar("_Made")


class _BadLineError(Exception):
    """Ends the reading of a line; never leaves this module."""

    def __init__(self, *reasons: tuple[str, str]) -> None:
        super().__init__(*reasons)
        self.reasons = reasons


def read_line(number: int, raw: bytes, reading: Reading) -> Record | Reject | None:
    """Read one line. Never raises for any bytes.

    Args:
        number: The line's number, from 1.
        raw: The line, with or without its line end.
        reading: How.

    Returns:
        The event, the reasons why it is none, or None for a blank line.
    """
    if number == 1:
        raw = raw.removeprefix(b"\xef\xbb\xbf")
    raw = raw.strip(b" \t\r\n")
    if not raw:
        return None
    try:
        fields = _parse(raw)
        at = _timestamp(fields) if reading.timed else None
        return Record(number=number, event=_event(fields, reading), at=at)
    except _BadLineError as error:
        return Reject(number=number, reasons=error.reasons, raw=raw)


def too_long(number: int, beginning: bytes) -> Reject:
    """Return the reject of a line over `MAX_LINE_BYTES`, of which only the beginning was kept."""
    what = f"is longer than {MAX_LINE_BYTES:,} bytes"
    return Reject(number=number, reasons=(("the line", what),), raw=beginning, cut=True)


@lru_cache(maxsize=4096)
def visitor_of(shop_id: str) -> Visitor:
    """Return the visitor whose two fingerprints are derived from a shop's own visitor id."""
    return Visitor(
        fingerprint=str(uuid.uuid5(_FINGERPRINTS, shop_id)),
        faq_fingerprint=str(uuid.uuid5(_FAQ_FINGERPRINTS, shop_id)),
    )


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise _BadLineError(("the line", f"is no UTF-8 from byte {error.start + 1} on")) from None
    try:
        fields = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise _BadLineError(("the line", f"is no JSON: {error.msg} at {error.pos + 1}")) from None
    except (ValueError, DecimalException, RecursionError):
        # NaN and Infinity, ints of thousands of digits, exponents beyond Decimal, deep nesting.
        raise _BadLineError(("the line", "is no JSON that a number or a list fits in")) from None
    if not isinstance(fields, dict):
        raise _BadLineError(("the line", "is JSON, but no object"))
    return fields


def _no_constant(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are no JSON")


# parse_float=Decimal: 12.50 reaches the API as 12.50, and sums stay exact.
_DECODER: Final = json.JSONDecoder(parse_float=Decimal, parse_constant=_no_constant)


def _timestamp(fields: Mapping[str, Any]) -> float:
    text = _take(fields, "ts")
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, OverflowError):
        raise _BadLineError(("ts", "must be an ISO 8601 time, which --speed follows")) from None


def _event(fields: Mapping[str, Any], reading: Reading) -> Event:
    kind = _take(fields, "kind")
    if kind == "cart":
        return _cart(fields, reading)
    if kind == "checkout":
        return _checkout(fields, reading)
    raise _BadLineError(("kind", 'must be "cart" or "checkout"'))


def _cart(fields: Mapping[str, Any], reading: Reading) -> Event:
    given, missing = _given(fields, reading, _CART_FIELDS)
    return _built(CartEvent, given | {"source": fields.get("source")}, missing)


def _checkout(fields: Mapping[str, Any], reading: Reading) -> Event:
    given, missing = _given(fields, reading, _CHECKOUT_FIELDS)
    return _built(CheckoutEvent, given | {"order_id": fields.get("order_id")}, missing)


def _line_items(fields: Mapping[str, Any], reading: Reading) -> list[LineItem]:
    lines = _take(fields, "line_items")
    if not isinstance(lines, list):
        raise _BadLineError(("line_items", "must be a list"))
    reasons: list[tuple[str, str]] = []
    items: list[LineItem] = []
    for place, line in enumerate(lines):
        try:
            items.append(_line_item(line, reading))
        except _BadLineError as error:
            where = f"line_items[{place}]"
            reasons += [(f"{where}.{field}".rstrip("."), what) for field, what in error.reasons]
    if reasons:
        raise _BadLineError(*reasons)
    return items


def _line_item(line: object, reading: Reading) -> LineItem:
    if not isinstance(line, dict):
        raise _BadLineError(("", "must be an object"))
    return _built(LineItem, *_given(line, reading, _LINE_FIELDS))


def _given(
    fields: Mapping[str, Any], reading: Reading, names: Iterable[str]
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Take fields; return them and what is wrong already. Sound values stand in for bad ones."""
    given: dict[str, Any] = {}
    reasons: list[tuple[str, str]] = []
    for name in names:
        try:
            take = _TAKERS.get(name)
            given[name] = take(fields, reading) if take is not None else _take(fields, name)
        except _BadLineError as error:
            reasons += (reason for reason in error.reasons if reason not in reasons)
            given[name] = _SOUND[name]
    return given, reasons


def _visitor(fields: Mapping[str, Any], _: Reading) -> Visitor:
    if "visitor" not in fields and "user_fingerprint" in fields:
        given = {name: _take(fields, f"user_{name}") for name in ("fingerprint", "faq_fingerprint")}
        try:
            return Visitor(**given)
        except InvalidEventError as error:
            reasons = [(f"user_{problem.field}", problem.rule) for problem in error.problems]
            raise _BadLineError(*reasons) from None
    shop_id = _take(fields, "visitor")
    if not isinstance(shop_id, str) or not shop_id:
        raise _BadLineError(("visitor", "must be non-empty text"))
    try:
        return visitor_of(shop_id)
    except UnicodeEncodeError:
        raise _BadLineError(("visitor", "holds half of a surrogate pair")) from None


def _name(fields: Mapping[str, Any], reading: Reading) -> object:
    if not reading.name_from_id:
        return _take(fields, "product_name")
    name = fields.get("product_name")
    blank = name is None or (isinstance(name, str) and not name.strip())
    return _take(fields, "product_id") if blank else name


def _take(fields: Mapping[str, Any], name: str) -> Any:
    value = fields.get(name, _MISSING)
    if value is _MISSING:
        raise _BadLineError((name, "is missing"))
    return value


_TAKERS: Final[Mapping[str, Callable[[Mapping[str, Any], Reading], object]]] = {
    "visitor": _visitor,
    "product_name": _name,
    "line_items": _line_items,
}

_LINE_FIELDS: Final = ("product_id", "product_name", "quantity", "value", "currency")

_CART_FIELDS: Final = ("visitor", "type", *_LINE_FIELDS)

_CHECKOUT_FIELDS: Final = ("visitor", "value", "currency", "line_items")

_SOUND: Final[Mapping[str, object]] = {
    "visitor": visitor_of("x"),
    "type": "ITEM_REMOVED",  # the type that allows any quantity
    "product_id": "x",
    "product_name": "x",
    "value": 0,
    "currency": "XXX",
    "quantity": 1,
    "line_items": (
        LineItem(product_id="x", product_name="x", quantity=1, value=0, currency="XXX"),
    ),
}


def _built(make: Callable[..., _Made], given: dict[str, Any], bad: list[tuple[str, str]]) -> _Made:
    """Build what the fields say, or tell of EVERY field that breaks a rule.

    Args:
        make: The constructor.
        given: Its arguments.
        bad: What is wrong already.
    """
    try:
        made = make(**given)
    except InvalidEventError as error:
        reasons = [(problem.field, problem.rule) for problem in error.problems]
        raise _BadLineError(*reasons, *bad) from None
    if bad:
        raise _BadLineError(*bad)
    return made
