"""Wall time that a step of the wall clock does not reorder, and ages that survive a restart."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import attrs

__all__ = ["ClockReading", "age_of", "uptime"]

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_SLACK: Final = 1.0
"""Seconds that two readings of two clocks may differ by without meaning anything."""

if hasattr(time, "CLOCK_BOOTTIME"):

    def uptime() -> float:
        """Return seconds on a clock that only goes forward, suspended time included."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

else:  # pragma: no cover  not Linux

    def uptime() -> float:
        """Return seconds on a clock that only goes forward."""
        return time.monotonic()


@attrs.frozen(kw_only=True)
class ClockReading:
    """One moment on both clocks; a file's acceptance times are counted from its own."""

    wall: float
    """Seconds since the epoch."""
    uptime: float
    """Seconds since the machine booted."""
    boot_id: str
    """Which boot that was; empty where the system does not tell."""

    @classmethod
    def now(cls) -> ClockReading:
        """Return the present moment."""
        return cls(wall=time.time(), uptime=uptime(), boot_id=_boot_id())

    @classmethod
    def at(cls, moment: float) -> ClockReading:
        """Return a moment of `uptime`, of this boot, on both clocks."""
        now = cls.now()
        return attrs.evolve(now, wall=now.wall_at(moment), uptime=moment)

    def wall_at(self, moment: float) -> float:
        """Return the wall time of a moment of `uptime`, as if nobody had set the clock since."""
        return self.wall + (moment - self.uptime)


def age_of(accepted: float, *, anchor: ClockReading, now: ClockReading) -> float:
    """Return the seconds since a row was accepted, negative if it lies in the future. Pure.

    On the same boot the wall clock is not asked.

    Args:
        accepted: Seconds since the epoch, by the file's own clock.
        anchor: The moment at which the file was begun.
        now: The present moment.
    """
    if anchor.boot_id and anchor.boot_id == now.boot_id:
        age = now.uptime - (anchor.uptime + accepted - anchor.wall)
        if age >= -_SLACK:  # otherwise the uptimes are not of one machine after all
            return max(age, 0.0)
    age = now.wall - accepted
    return 0.0 if -_SLACK <= age < 0 else age


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
