"""When the next event may go: at most so many a second, or as the timestamps say. Pure."""

from __future__ import annotations

from typing import Final

_CATCH_UP: Final = 0.05
"""Seconds of lateness that are made good: a loop wakes late, and the rate should hold anyway."""


class Pacer:
    """Answers how long to wait before each event. The caller's clock is an argument.

    Args:
        rate: Events a second at most; None (default) sets no bound.
        speed: Follow the timestamps at this many times their speed: 1 takes as long as the day
            took, 60 turns an hour into a minute. None (default) does not look at them.
    """

    def __init__(self, *, rate: float | None = None, speed: float | None = None) -> None:
        self._interval = 1 / rate if rate else 0.0
        self._speed = speed
        self._free_at: float | None = None
        self._origin: tuple[float, float] | None = None

    def delay(self, now: float, at: float | None) -> float:
        """Return the seconds to wait from now on, 0 or more, and take the place.

        Args:
            now: The caller's clock, in seconds.
            at: The event's timestamp, in seconds since any fixed moment; None when it has none.
        """
        due = max(now, self._by_timestamp(now, at))
        if self._interval:
            free_at = now if self._free_at is None else max(self._free_at, now - _CATCH_UP)
            due = max(due, free_at)
            self._free_at = (due if due > now else free_at) + self._interval
        return due - now

    def _by_timestamp(self, now: float, at: float | None) -> float:
        if self._speed is None or at is None:
            return now
        if self._origin is None:
            self._origin = (now, at)
        began, first = self._origin
        return began + (at - first) / self._speed
