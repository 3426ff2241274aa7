"""Text that came from elsewhere, made fit for a terminal; and numbers made fit for people."""

from __future__ import annotations

import re
from decimal import Context, Decimal
from typing import Final

_ESCAPE_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # CSI: colours, cursor, screen
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # OSC, DCS, …
    r"|\x1b[ -/]*[0-~]?"
)
_SPACE = re.compile(r"[\t\n\v\f\r\x85\u2028\u2029]+")
# Control characters, and those that turn the direction of what follows (a name could then
# rewrite the line that it stands in).
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")

_EXACT: Final = Context(prec=200)
"""Enough digits that a sum of numbers below 1e15 with any sane number of decimals is exact."""


def clean(text: str, *, limit: int = 300) -> str:
    """Return text without terminal escapes, control characters and line breaks.

    Args:
        text: Whatever came from a file, an API or the command line.
        limit: The most characters that are kept; more end in `…`. Default 300.
    """
    text = _ESCAPE_SEQUENCE.sub("", text[: 16 * limit])
    text = _UNSEEN.sub("", _SPACE.sub(" ", text))
    # Half of a surrogate pair (a file name that is no UTF-8) cannot be written to a terminal.
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= limit else text[: limit - 1] + "…"


def add(sums: dict[str, Decimal], currency: str, value: Decimal) -> None:
    """Add an amount to the sum of its currency, exactly."""
    sums[currency] = _EXACT.add(sums.get(currency, Decimal(0)), value)


def money(value: Decimal) -> str:
    """Write an amount exactly: at least two decimals, more only where they are not 0."""
    whole, _, decimals = format(value, "f").partition(".")
    sign, digits = ("-", whole[1:]) if whole.startswith("-") else ("", whole)
    return f"{sign}{int(digits or '0'):,}.{decimals.rstrip('0'):0<2}"


def count(number: int) -> str:
    """Write a count with thousands apart: 139,480."""
    return f"{number:,}"


def plural(number: int, one: str, many: str = "") -> str:
    """Write a count with its noun: `1 event`, `2 events`.

    Args:
        number: How many.
        one: The noun for one.
        many: The noun for any other number; by default `one` with an s.
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def per_second(number: int, seconds: float) -> str:
    """Write a rate: `1,234/s`; one decimal below 10."""
    rate = number / seconds if seconds > 0 else 0.0
    return f"{rate:,.1f}/s" if 0 < rate < 10 else f"{rate:,.0f}/s"


def duration(seconds: float) -> str:
    """Write a duration: `0.8 s`, `42 s`, `3 min 05 s`, `2 h 07 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02} min"
