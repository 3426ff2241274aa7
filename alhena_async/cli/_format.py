"""Text that came from elsewhere, made fit for a terminal; and numbers made fit for people."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Context, Decimal
from typing import Any, Final

import click

from alhena_async._json import MAX_DECIMAL_PLACES

__all__ = ["Moment", "ago", "iso"]

_ESCAPE_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # CSI: colours, cursor, screen
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # OSC, DCS, …
    r"|\x1b[ -/]*[0-~]?"
)

_SPACE = re.compile(r"[\t\n\v\f\r\x85\u2028\u2029]+")

# Control characters, and those that turn the direction of what follows (a name could then
# rewrite the line that it stands in).
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2066-\u2069]")

_LAST_PLACE: Final = Decimal(1).scaleb(-MAX_DECIMAL_PLACES)

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


def money(value: Decimal, *, digits: int = 2) -> str:
    """Write an amount exactly: at least so many decimals, more only where they are not 0.

    The tenth decimal and what is behind it is no money: floats of some program add it up.

    Args:
        value: The amount.
        digits: Of the currency's minor unit. Default 2.
    """
    rounded = _EXACT.add(_EXACT.quantize(value, _LAST_PLACE), Decimal(0))  # no "-0"
    whole, _, decimals = format(rounded, "f").partition(".")
    sign, number = ("-", whole[1:]) if whole.startswith("-") else ("", whole)
    fraction = decimals.rstrip("0").ljust(digits, "0")
    return f"{sign}{int(number or '0'):,}" + (f".{fraction}" if fraction else "")


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


_AGE: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*(s|m|min|h|d|w)", re.ASCII)

_SECONDS: Final = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400, "w": 604_800}


class Moment(click.ParamType[float]):
    """An ISO 8601 time, or an age such as `2h` or `3d`, as seconds since the epoch.

    Args:
        now: The present moment; an age counts back from it.
    """

    name = "moment"

    def __init__(self, now: Any) -> None:
        self._now = now

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read it."""
        if isinstance(value, float):
            return value
        text = str(value).strip()
        found = _AGE.fullmatch(text)
        if found:
            return float(self._now()) - float(found[1]) * _SECONDS[found[2]]
        try:
            at = datetime.fromisoformat(text)
            return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            self.fail(
                "a moment is an ISO time (2024-03-14T09:30, UTC unless it says otherwise) or an "
                "age (45s, 30m, 2h, 3d, 1w)", param, ctx,
            )  # fmt: skip


def iso(moment: float) -> str:
    """Write a moment as ISO 8601 in UTC, to the second."""
    try:
        return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return "?"


def ago(seconds: float) -> str:
    """Write an age in a few characters: `42 s`, `3 min`, `5 h`, `12 d`."""
    if seconds < 60:
        return f"{max(0, int(seconds))} s"
    if seconds < 3_600:
        return f"{int(seconds // 60)} min"
    if seconds < 2 * 86_400:
        return f"{int(seconds // 3_600)} h"
    return f"{int(seconds // 86_400):,} d"
