"""JSON as the contract needs it: numbers keep their digits, and no input can hurt the reader."""

from __future__ import annotations

import json
from decimal import Decimal

_MAX_NUMBER_CHARS = 80
_MAX_EXPONENT = 60


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
            parse_int=_number,
            parse_float=_number,
            parse_constant=_refuse_constant,
        )
    except UnicodeDecodeError as error:
        raise UnreadableBodyError("the body is not UTF-8") from error
    except RecursionError as error:
        raise UnreadableBodyError("the body is nested too deeply") from error
    except json.JSONDecodeError as error:
        raise UnreadableBodyError(f"the body is not JSON: {error.msg} at {error.pos}") from error


def _number(text: str) -> Decimal:
    # "1e999999" is eight characters of JSON and a million digits once it is added to something.
    if len(text) > _MAX_NUMBER_CHARS:
        raise UnreadableBodyError(f"a number has more than {_MAX_NUMBER_CHARS} characters")
    number = Decimal(text)
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or abs(exponent) > _MAX_EXPONENT:
        raise UnreadableBodyError(f"a number has an exponent beyond {_MAX_EXPONENT}")
    return number


def _refuse_constant(text: str) -> object:
    raise UnreadableBodyError(f"{text} is not JSON")
