"""Which of many similar events are worth a line of the log. Pure.

Trouble that lasts has a line when it begins, reminders, and one when it ends (`Episode`). What is
only counted has one for the 1st, 10th, 100th ... (`Sampler`).
"""

from __future__ import annotations

from enum import Enum
from math import inf
from typing import Final

__all__ = ["Episode", "Phase", "Sampler", "is_worth_a_line"]

_REMINDER_EVERY: Final = 300.0
"""Seconds between two reminders of trouble that goes on."""

_CALM: Final = 60.0
"""Seconds without trouble after which it is over. Trouble that comes back sooner is logged only
once it has lasted as long: an API that fails now and then would log a beginning and an end each
time."""

_QUIET: Final = 900.0
"""Seconds after which a kind of ending is counted from the start again."""


class Phase(Enum):
    """Which line is due while trouble lasts."""

    BEGINNING = "beginning"
    REMINDER = "reminder"


class Episode:
    """One kind of trouble: since when it lasts, and when its next line is due."""

    __slots__ = ("_ended_at", "_last_at", "_told_at", "began_at")

    def __init__(self) -> None:
        self.began_at: float | None = None
        """When it began; None while all is well."""
        self._last_at = -inf
        self._told_at: float | None = None
        self._ended_at = -inf

    def occurred(self, now: float) -> Phase | None:
        """Note that there is trouble; return the line that is due, None for none."""
        self._last_at = now
        if self.began_at is None:
            self.began_at = now
        if self._told_at is None:
            comes_back = self.began_at - self._ended_at < _CALM
            if comes_back and now - self.began_at < _CALM:
                return None
            self._told_at = now
            return Phase.BEGINNING
        if now - self._told_at >= _REMINDER_EVERY:
            self._told_at = now
            return Phase.REMINDER
        return None

    def end(self, now: float) -> float | None:
        """Note that it is over; return the seconds it lasted, if its beginning was logged."""
        if self.began_at is None:
            return None
        lasted = now - self.began_at if self._told_at is not None else None
        self.began_at = self._told_at = None
        self._ended_at = now
        return lasted

    def end_if_calm(self, now: float) -> float | None:
        """As `end`, but only if there was no trouble for a minute."""
        return self.end(now) if now - self._last_at >= _CALM else None


class Sampler:
    """Counts by kind, and says which of a kind are worth a line.

    It keeps a count for every kind: its caller sees to it that they are few.
    """

    def __init__(self) -> None:
        self._counts: dict[object, tuple[int, float]] = {}

    def count(self, kind: object, now: float) -> tuple[int, bool]:
        """Count one, and return how many there were lately and whether it is worth a line."""
        count, last = self._counts.get(kind, (0, -inf))
        count = 1 if now - last >= _QUIET else count + 1
        self._counts[kind] = count, now
        return count, is_worth_a_line(count)


def is_worth_a_line(count: int) -> bool:
    """Whether it is the 1st, the 10th, the 100th ... of its kind."""
    return str(count).strip("0") == "1"
