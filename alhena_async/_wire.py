"""Event <-> bytes. One converter serves requests and every place where events are stored.

The stored form of an event is the vendor's payload without `company_key`: flat, in the API's
own field names. A request adds the key, and names the order id as the policy says. Numbers keep
their digits: a `Decimal` is written as the JSON number it prints as, never through a float.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any, Final, NoReturn

import cattrs
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from alhena_async.errors import InvalidEventError
from alhena_async.events import (
    MAX_DECIMAL_PLACES,
    CartEvent,
    CartEventType,
    CheckoutEvent,
    Event,
    LineItem,
    Number,
    Visitor,
    refused_lines,
)
from alhena_async.policies import OrderIdField
from alhena_async.transports import Endpoint

try:
    import orjson

    _HAS_ORJSON = True
except ImportError:  # the `speed` extra is not installed
    _HAS_ORJSON = False

__all__ = [
    "dumps",
    "dumps_ascii",
    "endpoint_of",
    "lane_digest",
    "loads",
    "parse_number",
    "refuse_constant",
    "request_body",
    "structure_event",
    "unstructure_event",
]


def endpoint_of(event: Event) -> Endpoint:
    """Return where an event is sent."""
    return Endpoint.CART if event.__class__ is CartEvent else Endpoint.CHECKOUT


def lane_digest(visitor: Visitor, company_key: str) -> int:
    """Return the number that stands for a lane where its key is not wanted: 63 bits, stable.

    No fingerprint can be read off it. Two lanes that shared one would merely wait for each other.
    """
    key = dumps([visitor.fingerprint, visitor.faq_fingerprint, company_key])
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest()) >> 1


def request_body(
    event: Event, *, company_key: str, order_id: str | None, order_id_field: OrderIdField
) -> bytes:
    """Return the JSON that a request carries.

    Args:
        event: What to send.
        company_key: The organisation's key, first in the payload.
        order_id: The caller's or the assigned one, for a checkout; None sends none.
        order_id_field: Under which name or names it is sent.
    """
    payload = {"company_key": company_key, **_UNSTRUCTURE[event.__class__](event)}
    if event.__class__ is not CartEvent:
        own = payload.pop("order_id", None)  # taken out even when given: the policy names the field
        given = own if order_id is None else order_id
        if given is not None:
            payload |= dict.fromkeys(_ORDER_ID_NAMES[order_id_field], given)
    return dumps(payload)


_ORDER_ID_NAMES: Final = {
    OrderIdField.BOTH: ("orderId", "order_id"),
    OrderIdField.CAMEL: ("orderId",),
    OrderIdField.SNAKE: ("order_id",),
}


def unstructure_event(event: Event) -> dict[str, Any]:
    """Return an event's stored form: a flat dict of JSON values and `Decimal`."""
    return _UNSTRUCTURE[event.__class__](event)


def structure_event(stored: dict[str, Any]) -> Event:
    """Return the event of a stored form; one with `line_items` is a checkout.

    Raises:
        InvalidEventError: A field breaks its rule.
        KeyError, TypeError: A field is missing, or the form is none at all.
    """
    if "line_items" in stored:
        return _converter.structure(stored, CheckoutEvent)
    return _converter.structure(stored, CartEvent)


def parse_number(text: str) -> float | Decimal:
    """Return a JSON number as an event takes it: with the digits it has, if an event can have them.

    It is a float where a float prints like that, else a `Decimal`; one of more decimal places than
    a `Decimal` may have (43.089999999999996) is what a float of some program printed.
    """
    number = float(text)
    if repr(number) == text or "e" in text or "E" in text:
        return number  # a Decimal is never written with an exponent
    digits = Decimal(text)
    places = digits.as_tuple().exponent
    return digits if isinstance(places, int) and -places <= MAX_DECIMAL_PLACES else number


def refuse_constant(_: str) -> NoReturn:
    """Refuse NaN and Infinity, which are no JSON.

    Raises:
        ValueError: Always.
    """
    raise ValueError("holds NaN or Infinity")


loads: Final = json.JSONDecoder(parse_float=parse_number, parse_constant=refuse_constant).decode
"""Return what a text of JSON says, each number with the digits it has.

Raises `ValueError` for what is no JSON, and `RecursionError` for what is nested too deep.
"""


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=False)
    # Fields are what the event's own rules accept: structuring passes them on as they are, so
    # that the one place that judges values is events.py. (Left alone, cattrs makes "None" of a
    # name that is null.)
    converter.register_structure_hook(str, lambda value, _: value)
    converter.register_structure_hook(CartEventType, lambda value, _: value)
    converter.register_structure_hook_func(_PLAIN.__contains__, lambda value, _: value)
    converter.register_unstructure_hook(Decimal, lambda number: number)
    converter.register_structure_hook(LineItem, make_dict_structure_fn(LineItem, converter))
    converter.register_structure_hook_func(
        lambda kind: kind == tuple[LineItem, ...], partial(_structure_lines, converter)
    )
    for kind in (CartEvent, CheckoutEvent):
        converter.register_unstructure_hook(kind, _flat(kind, converter))
        converter.register_structure_hook(kind, _deep(kind, converter))
    return converter


_PLAIN: Final[tuple[Any, ...]] = (Number, str | None)


def _structure_lines(converter: cattrs.Converter, stored: Any, _: Any) -> Any:
    """Return the lines, or the error that stands for those that broke rules."""
    lines: list[LineItem] = []
    refused: dict[int, InvalidEventError] = {}
    for place, line in enumerate(stored):
        try:
            lines.append(converter.structure(line, LineItem))
        except InvalidEventError as error:
            refused[place] = error
    return refused_lines(refused, len(stored)) if refused else tuple(lines)


def _flat(kind: type[Any], converter: cattrs.Converter) -> Callable[[Any], dict[str, Any]]:
    """The visitor's two values stand beside the event's own; what is None is left out."""
    rest = make_dict_unstructure_fn(
        kind, converter, _cattrs_omit_if_default=True, visitor=override(omit=True)
    )

    def unstructure(event: Any) -> dict[str, Any]:
        return {
            "user_fingerprint": event.visitor.fingerprint,
            "user_faq_fingerprint": event.visitor.faq_fingerprint,
            **rest(event),
        }

    return unstructure


def _deep(kind: type[Any], converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    from_fields = make_dict_structure_fn(kind, converter)

    def structure(stored: Any, _: Any) -> Any:
        visitor = {
            "fingerprint": stored["user_fingerprint"],
            "faq_fingerprint": stored["user_faq_fingerprint"],
        }
        return from_fields({**stored, "visitor": visitor}, kind)

    return structure


_converter: Final = _make_converter()
# Asked for once: the converter looks them up for each event.
_UNSTRUCTURE: Final[dict[type[Event], Callable[[Any], dict[str, Any]]]] = {
    kind: _converter.get_unstructure_hook(kind) for kind in (CartEvent, CheckoutEvent)
}


def _digits(number: Decimal) -> str:
    # Of Decimal itself: a subclass may print a currency sign, and this goes into JSON as it is.
    return Decimal.__format__(number, "f")


def _dumps_orjson(document: Any) -> bytes:
    return orjson.dumps(document, default=_fragment)


def _fragment(value: Any) -> Any:
    """What orjson does not know by itself: a Decimal's digits, and children of int and float."""
    if isinstance(value, Decimal):
        return orjson.Fragment(_digits(value))
    if isinstance(value, float):
        return float(value)
    if isinstance(value, int):
        return int(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


# The standard library's encoder has no hook for a number's text. A Decimal goes in as a string
# that no user can foresee, and the quotes around that come off afterwards.
_MARK: Final = secrets.token_hex(16)
_MARKED: Final = re.compile(f'"{_MARK}([0-9.-]+)"'.encode())


def _mark(value: Any) -> Any:
    if isinstance(value, Decimal):
        return _MARK + _digits(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


_encode: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_mark
).encode


def _dumps_stdlib(document: Any) -> bytes:
    text = _encode(document).encode()
    return _MARKED.sub(rb"\1", text) if _MARK.encode() in text else text


dumps: Callable[[Any], bytes] = _dumps_orjson if _HAS_ORJSON else _dumps_stdlib
"""Return compact JSON as UTF-8, each number with the digits it had."""


def dumps_ascii(document: Any) -> str:
    """Return JSON in ASCII, for files and terminals, each number with the digits it had."""
    if isinstance(document, dict):
        inner = (f"{json.dumps(str(key))}: {dumps_ascii(one)}" for key, one in document.items())
        return f"{{{', '.join(inner)}}}"
    if isinstance(document, list):
        return f"[{', '.join(map(dumps_ascii, document))}]"
    return _digits(document) if isinstance(document, Decimal) else json.dumps(document)
