"""The message between a publisher and a relay: JSON that a shop's other languages can write too.

`{"v": 1, "company_key": "...", "order_id": null, "accepted_at": 1790000000.123, "event": {...}}`:
the event in its stored form (flat, in the API's field names, without the key), `order_id` the
caller's or the assigned one, `accepted_at` in seconds since the epoch. All fields are required.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from decimal import Decimal
from typing import Any, Final

import attrs

from alhena_async._json import dumps, loads
from alhena_async._wire import structure_event, unstructure_event
from alhena_async.errors import InvalidEventError
from alhena_async.events import Event, Visitor

__all__ = [
    "Message",
    "UnreadableError",
    "decode",
    "encode",
    "in_ascii",
    "indexed",
    "is_of",
    "key_in",
]

_VERSION: Final = 1

_MAX_INDEXED: Final = 255
"""Characters that stand in an index as they are."""


class UnreadableError(ValueError):
    """A message breaks a rule; it is named, and the value is not."""


@attrs.frozen(kw_only=True)
class Message:
    """An event that was accepted elsewhere."""

    company_key: str
    order_id: str | None
    """The order id that is sent: the caller's or the assigned one."""
    accepted_at: float
    """Seconds since the epoch, by the clock of the process that accepted it."""
    event: Event


def encode(message: Message) -> bytes:
    """Return a message as it is published."""
    return dumps(
        {
            "v": _VERSION,
            "company_key": message.company_key,
            "order_id": message.order_id,
            "accepted_at": round(message.accepted_at, 3),
            "event": unstructure_event(message.event),
        }
    )


def decode(body: bytes) -> Message:
    """Read a message.

    Raises:
        UnreadableError: It is none; the text has the rule, and never the value.
    """
    document = _object_of(body)
    version = document.get("v")
    if version != _VERSION or isinstance(version, bool):
        raise UnreadableError(f"v is not {_VERSION}")
    return Message(
        company_key=_company_key(_field(document, "company_key")),
        order_id=_order_id(_field(document, "order_id")),
        accepted_at=_moment(_field(document, "accepted_at")),
        event=_event(_field(document, "event")),
    )


def in_ascii(document: bytes) -> str:
    r"""Return JSON as text in ASCII, which a database of any encoding takes.

    What is no ASCII stands within the strings of a document alone, where `\u00e9` means the same.
    """
    text = document.decode()
    return text if text.isascii() else _NOT_ASCII.sub(_escaped, text)


_NOT_ASCII: Final = re.compile(r"[^\x00-\x7f]+")


def _escaped(match: re.Match[str]) -> str:
    return json.dumps(match[0])[1:-1]


def indexed(text: str) -> str:
    """Return what stands for a text in an index: itself, unless the database may refuse it.

    An index takes some 2,700 bytes, no zero character, and nothing that the database's encoding
    lacks. None of that may end the transaction in which a shop sells something.
    """
    if len(text) <= _MAX_INDEXED and text.isascii() and text.isprintable():
        return text
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def key_in(body: bytes) -> tuple[str, str] | None:
    """Return the company key and the order id that an index knows a message by; None: no order."""
    try:
        document = _object_of(body)
        order_id = _order_id(_field(document, "order_id"))
        company_key = _company_key(_field(document, "company_key"))
    except UnreadableError:
        return None
    return None if order_id is None else (indexed(company_key), indexed(order_id))


def is_of(body: bytes, visitor: Visitor) -> bool:
    """Return whether a message has either of a visitor's fingerprints; no message: anywhere."""
    own, faq = visitor.fingerprint, visitor.faq_fingerprint
    try:
        event = _field(_object_of(body), "event")
    except UnreadableError:
        event = None
    if isinstance(event, dict):
        return event.get("user_fingerprint") == own or event.get("user_faq_fingerprint") == faq
    return any(dumps(one)[1:-1] in body for one in (own, faq))


def _object_of(body: bytes) -> dict[str, Any]:
    try:
        document = loads(body.decode())
    except RecursionError:
        raise UnreadableError("is nested too deep") from None
    except json.JSONDecodeError as error:
        raise UnreadableError(f"is no JSON at {error.pos}") from None
    except (ValueError, ArithmeticError) as error:
        text = "is no UTF-8" if isinstance(error, UnicodeDecodeError) else "has a number too many"
        constant = "NaN" in str(error)
        raise UnreadableError("holds NaN or Infinity" if constant else text) from None
    if not isinstance(document, dict):
        raise UnreadableError("is no JSON object")
    return document


def _field(document: dict[str, Any], name: str) -> Any:
    try:
        return document[name]
    except KeyError:
        raise UnreadableError(f"{name} is missing") from None


def _company_key(value: object) -> str:
    text = _text(value, "company_key")
    if not text.strip() or text != text.strip() or not text.isprintable():
        raise UnreadableError("company_key is no company key")
    return text


def _order_id(value: object) -> str | None:
    return None if value is None else _text(value, "order_id")


def _text(value: object, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise UnreadableError(f"{name} is no text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UnreadableError(f"{name} is no text that UTF-8 can carry") from None
    return value


def _moment(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise UnreadableError("accepted_at is no number")
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        seconds = math.inf
    if not math.isfinite(seconds):
        raise UnreadableError("accepted_at is not finite")
    return seconds


def _event(value: object) -> Event:
    if not isinstance(value, dict):
        raise UnreadableError("event is no object")
    try:
        return structure_event(value)
    except InvalidEventError as error:
        raise UnreadableError(f"event: {error.without_values}") from None
    except (KeyError, TypeError, AttributeError, ArithmeticError, ValueError) as error:
        raise UnreadableError(f"event is none ({type(error).__name__})") from None
