"""JSON both ways, each number with the digits it has.

A `Decimal` is written as the JSON number it prints as, never through a float.
"""

from __future__ import annotations

import json
import re
import secrets
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final, NoReturn

try:
    import orjson

    _HAS_ORJSON = True
except ImportError:  # the `speed` extra is not installed
    _HAS_ORJSON = False

__all__ = [
    "MAX_DECIMAL_PLACES",
    "RepeatedNameError",
    "dumps",
    "dumps_ascii",
    "loads",
    "strict_loads",
]

MAX_DECIMAL_PLACES: Final = 9
"""Of a `Decimal`: more are what a float of some program printed."""


class RepeatedNameError(ValueError):
    """An object has a name more than once; `args` is the name."""


def _parse_number(text: str) -> float | Decimal:
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


def _refuse_constant(_: str) -> NoReturn:
    """Refuse NaN and Infinity, which are no JSON.

    Raises:
        ValueError: Always.
    """
    raise ValueError("holds NaN or Infinity")


loads: Final = json.JSONDecoder(parse_float=_parse_number, parse_constant=_refuse_constant).decode
"""Return what a text of JSON says, each number with the digits it has.

Raises `ValueError` for what is no JSON, and `RecursionError` for what is nested too deep.
"""


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise RepeatedNameError(next(name for name, count in counts.items() if count > 1))
    return fields


strict_loads: Final = json.JSONDecoder(
    parse_float=_parse_number, parse_constant=_refuse_constant, object_pairs_hook=_named_once
).decode
"""As `loads`; an object that has a name twice is a `RepeatedNameError`: which one would count?"""


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
