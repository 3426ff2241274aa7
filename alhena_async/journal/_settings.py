"""How a journal keeps events; bad values are refused where they are given."""

from __future__ import annotations

import math
from typing import Any, Final

import attrs

__all__ = ["Settings"]

_SYNCHRONOUS: Final = ("FULL", "NORMAL")


def _whole(least: int) -> Any:
    def check(_: object, field: attrs.Attribute[int], value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{field.name} must be a whole number, not {type(value).__name__}")
        if value < least:
            raise ValueError(f"{field.name} must be at least {least}, not {value}")

    return check


def _seconds(_: object, field: attrs.Attribute[float], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{field.name} must be seconds, not {type(value).__name__}")
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{field.name} must be more than 0 and finite, not {value}")


def _known(_: object, field: attrs.Attribute[str], value: object) -> None:
    if value not in _SYNCHRONOUS:
        raise ValueError(f"{field.name} must be one of {', '.join(_SYNCHRONOUS)}, not {value!r}")


@attrs.frozen(kw_only=True)
class Settings:
    """See `SQLiteJournal`, whose arguments these are."""

    synchronous: str = attrs.field(validator=_known)
    max_rows: int = attrs.field(validator=_whole(1))
    max_bytes: int = attrs.field(validator=_whole(1 << 20))
    dead_letter_limit: int = attrs.field(validator=_whole(1))
    dead_letter_age: float = attrs.field(validator=_seconds)
