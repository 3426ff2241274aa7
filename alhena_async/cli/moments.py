"""Moments and ages, as people write and read them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final

import click

__all__ = ["Moment", "ago", "iso"]

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
