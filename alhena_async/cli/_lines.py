"""One line of a file of events -> an event, or the reasons why it is none. Pure.

A line is a JSON object: `ts` (ISO 8601), `visitor`, `kind` ("cart" or "checkout"), `value`,
`currency`, and for a cart event `type`, `product_id`, `product_name`, `quantity`, for a checkout
`order_id` and `line_items`. In place of `visitor` it may give the two fingerprints themselves, as
exported dead letters do. Other fields are passed over. The rules are the library's own.
`alhena replay --help` says the same for users.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple

import attrs

from alhena_async._json import RepeatedNameError, strict_loads
from alhena_async.cli._format import plural
from alhena_async.errors import InvalidEventError
from alhena_async.events import (
    MOST_BAD_LINES,
    NUMBER_BOUND,
    CartEvent,
    CheckoutEvent,
    Event,
    LineItem,
    Visitor,
    exact,
    refused_lines,
)

MAX_LINE_BYTES: Final = 1024 * 1024
"""A longer line is no event: the largest order seen in a shop's data has 136 KB."""

_MOST_SHOWN: Final = 80
"""Characters of a field's name."""

Kind = Literal["cart", "checkout"]

_KINDS: Final = ("cart", "checkout")


class Worth(NamedTuple):
    """What an order comes to."""

    value: Decimal
    currency: str


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
    derived: bool = False
    """Whether its fingerprints are invented, from a shop's own visitor id."""


class Reason(NamedTuple):
    """Something that is wrong with a line."""

    where: str
    """`line_items[2].quantity`; may be empty."""
    rule: str
    shown: str = ""
    """What is shown of the value, if anything is."""


@attrs.frozen(kw_only=True)
class Reject:
    """A line that is no event."""

    number: int
    """The line's number in its file, from 1."""
    reasons: tuple[Reason, ...]
    raw: bytes
    """The line as it stood in the file, without its line end."""
    cut: bool = False
    """Whether `raw` is only the beginning of the line."""
    kind: Kind | None = None
    """What it was to be, as far as it can be read."""
    worth: Worth | None = None
    """What it would have come to, for an order, as far as that can be read."""
    order_id: str | None = None
    """Its order id, as far as that can be read."""

    @property
    def reason(self) -> str:
        """All reasons as one text; like ones of one order's lines are told once, and counted."""
        firsts: dict[tuple[str, str], str] = {}
        more: dict[tuple[str, str], int] = {}
        for where, rule, shown in self.reasons:
            key = (_bare(where), rule)
            more[key] = more.get(key, -1) + 1
            firsts.setdefault(key, " ".join(filter(None, (where, shown, rule))))
        return "; ".join(
            f"{first} (and {plural(more[key], 'line item')} more)" if more[key] else first
            for key, first in firsts.items()
        )

    @property
    def causes(self) -> tuple[str, ...]:
        """The reasons without places and without repetition, to count lines by."""
        bare = (f"{_bare(where)} {rule}".strip() for where, rule, _ in self.reasons)
        return tuple(dict.fromkeys(bare))


DERIVED: Final = (
    "fingerprints derived from a shop's own visitor ids are invented: no browser has them, so that "
    "the API finds no conversation and attributes nothing to it."
)

NOT_DERIVED: Final = Reason(
    "visitor",
    "is the shop's own id: give user_fingerprint and user_faq_fingerprint, or --derive-visitors",
)


@attrs.frozen(kw_only=True)
class Reading:
    """How lines are read."""

    name_from_id: bool = False
    """Put the product id where a product name is empty or missing. Default: no."""
    timed: bool = False
    """Ask every line for its timestamp. Default: no."""
    derive_visitors: bool = True
    """Invent fingerprints where a line gives the shop's own visitor id. Default: yes."""


def _bare(where: str) -> str:
    """`line_items[3].quantity` -> `line_items[].quantity`."""
    head, bracket, rest = where.partition("[")
    return head + "[]" + rest.partition("]")[2] if bracket else head


# Fixed for ever: a visitor must get the same two fingerprints in every run, and two different ones.
_FINGERPRINTS: Final = uuid.UUID("5f2a64a4-3c0b-4c7e-9a0d-5d2f0a6b7e11")

_FAQ_FINGERPRINTS: Final = uuid.UUID("c1d8e9f0-7b46-4f6a-8e35-2f9b1c4d6a72")

_CURRENCY: Final = re.compile("[A-Za-z]{3}")

_BOM: Final = b"\xef\xbb\xbf"
"""A file of several may have it in the middle: each editor puts one at its beginning."""

_SPACE: Final = b" \t\r\n"


class _NoObjectError(Exception):
    """The line is no JSON object; never leaves this module."""


def read_line(number: int, raw: bytes, reading: Reading) -> Record | Reject | None:
    """Read one line. Never raises for any bytes.

    Args:
        number: The line's number, from 1.
        raw: The line, with or without its line end.
        reading: How.

    Returns:
        The event, the reasons why it is none, or None for a blank line.
    """
    raw = raw.strip(_SPACE).removeprefix(_BOM).lstrip(_SPACE)
    if not raw:
        return None
    try:
        fields = _parse(raw)
    except _NoObjectError as error:
        return Reject(number=number, reasons=(Reason("the line", str(error)),), raw=raw)
    try:
        at = _timestamp(fields) if reading.timed else None
        event = _event(fields, reading)
    except InvalidEventError as error:
        return _refused(number, raw, fields, error)
    derived = "user_fingerprint" not in fields
    if derived and not reading.derive_visitors:
        reject = Reject(number=number, reasons=(NOT_DERIVED,), raw=raw)
        return attrs.evolve(reject, **_about(fields))
    return Record(number=number, event=event, at=at, derived=derived)


def _refused(
    number: int, raw: bytes, fields: Mapping[str, Any], error: InvalidEventError
) -> Reject:
    return Reject(
        number=number,
        # A missing id that was to stand in for a name is one fault, not two.
        reasons=tuple(
            dict.fromkeys(
                Reason(problem.field.rstrip("."), problem.rule, shown)
                for problem, shown in zip(error.problems, error.shown, strict=True)
            )
        ),
        raw=raw,
        **_about(fields),
    )


def _about(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what can be read of a line that is no event."""
    order_id = fields.get("order_id")
    is_id = isinstance(order_id, str | int) and not isinstance(order_id, bool)
    return {
        "kind": _kind(fields),
        "worth": _worth(fields),
        "order_id": str(order_id) if is_id else None,
    }


def too_long(number: int, beginning: bytes) -> Reject:
    """Return the reject of a line over `MAX_LINE_BYTES`, of which only the beginning was kept."""
    reason = Reason("the line", f"is longer than {MAX_LINE_BYTES:,} bytes")
    return Reject(number=number, reasons=(reason,), raw=beginning, cut=True)


@lru_cache(maxsize=4096)
def visitor_of(shop_id: str) -> Visitor:
    """Return the visitor whose two fingerprints are derived from a shop's own visitor id."""
    return Visitor(
        fingerprint=str(uuid.uuid5(_FINGERPRINTS, shop_id)),
        faq_fingerprint=str(uuid.uuid5(_FAQ_FINGERPRINTS, shop_id)),
    )


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        fields = strict_loads(raw.decode())
    except RepeatedNameError as error:
        shown = json.dumps(error.args[0][:_MOST_SHOWN])
        raise _NoObjectError(f"has more than one {shown}: which one counts?") from None
    except UnicodeDecodeError as error:
        raise _NoObjectError(f"is no UTF-8 from byte {error.start + 1} on") from None
    except json.JSONDecodeError as error:
        raise _NoObjectError(f"is no JSON: {error.msg} at {error.pos + 1}") from None
    except (ValueError, RecursionError):  # NaN and Infinity, ints of thousands of digits, depth
        raise _NoObjectError("is no JSON that a number or a list fits in") from None
    if not isinstance(fields, dict):
        raise _NoObjectError("is JSON, but no object")
    return fields


def _timestamp(fields: Mapping[str, Any]) -> float:
    text = fields.get("ts")
    try:
        if not isinstance(text, str) or text.replace(".", "").isdigit():
            raise ValueError  # noqa: TRY301  digits alone are milliseconds, or a date of 1612
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        rule = "must be an ISO 8601 time, as 2024-03-14T09:30:00Z, which --speed follows"
        raise _bad("ts", rule, text) from None


def _event(fields: Mapping[str, Any], reading: Reading) -> Event:
    kind = _field(fields, "kind")
    if isinstance(kind, InvalidEventError):
        raise kind
    if kind not in _KINDS:
        raise _bad("kind", 'must be "cart" or "checkout"', kind)
    if kind == "cart":
        return CartEvent(
            visitor=_visitor(fields),
            type=_field(fields, "type"),
            source=fields.get("source"),
            **_product(fields, reading),
        )
    return CheckoutEvent(
        visitor=_visitor(fields),
        value=_field(fields, "value"),
        currency=_field(fields, "currency"),
        line_items=_line_items(fields, reading),
        order_id=fields.get("order_id"),
    )


def _product(fields: Mapping[str, Any], reading: Reading) -> dict[str, Any]:
    given = {name: _field(fields, name) for name in _PRODUCT_FIELDS}
    name = fields.get("product_name")
    if reading.name_from_id and (name is None or (isinstance(name, str) and not name.strip())):
        given["product_name"] = _text_of(given["product_id"])
    return given


_PRODUCT_FIELDS: Final = ("product_id", "product_name", "value", "currency", "quantity")


def _line_items(fields: Mapping[str, Any], reading: Reading) -> Any:
    """Return the line items, or the error that stands for those that are none."""
    lines = _field(fields, "line_items")
    if not isinstance(lines, list):
        is_missing = isinstance(lines, InvalidEventError)
        return lines if is_missing else _bad("line_items", "must be a list", lines)
    items: list[LineItem] = []
    refused: dict[int, InvalidEventError] = {}
    for place, line in enumerate(lines):
        try:
            items.append(_line_item(line, reading))
        except InvalidEventError as error:
            refused[place] = error
            if len(refused) == MOST_BAD_LINES:
                break
    return refused_lines(refused, len(lines)) if refused else items


def _line_item(line: object, reading: Reading) -> LineItem:
    if not isinstance(line, dict):
        raise _bad("", "must be an object", line)
    return LineItem(**_product(line, reading))


def _visitor(fields: Mapping[str, Any]) -> Any:
    """Return the visitor, or the error that stands for one."""
    if "user_fingerprint" in fields:
        names = ("user_fingerprint", "user_faq_fingerprint")
        try:
            return Visitor.from_dict({name: fields[name] for name in names if name in fields})
        except InvalidEventError as error:
            return error
    shop_id = _text_of(_field(fields, "visitor"))
    if isinstance(shop_id, InvalidEventError):
        return shop_id
    if not isinstance(shop_id, str) or not shop_id:
        return _bad("visitor", "must be text that is not empty, or an int", shop_id)
    try:
        return visitor_of(shop_id)
    except UnicodeEncodeError:
        return _bad("visitor", "holds half of a surrogate pair", shop_id)


def _field(fields: Mapping[str, Any], name: str) -> Any:
    """Return a value, or the error that stands for one that is missing."""
    return fields[name] if name in fields else InvalidEventError(name, "is missing", "nothing")


def _bad(where: str, rule: str, given: object) -> InvalidEventError:
    return InvalidEventError(where, rule, type(given).__name__)


def _text_of(given: Any) -> Any:
    """Return an id as text, should it be an int."""
    return str(given) if isinstance(given, int) and not isinstance(given, bool) else given


def _kind(fields: Mapping[str, Any]) -> Kind | None:
    kind = fields.get("kind")
    return kind if kind in _KINDS else None


def _worth(fields: Mapping[str, Any]) -> Worth | None:
    """Return what an order would have come to; numbers in quotes and small letters can be read."""
    currency, given = fields.get("currency"), fields.get("value")
    if not (isinstance(currency, str) and _CURRENCY.fullmatch(currency)):
        return None
    if isinstance(given, bool) or not isinstance(given, int | float | Decimal | str):
        return None
    try:
        value = Decimal(given) if isinstance(given, str) else exact(given)
        return Worth(value, currency.upper()) if 0 <= value < NUMBER_BOUND else None
    except InvalidOperation:  # no number, or NaN
        return None
