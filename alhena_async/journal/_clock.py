"""Wall time that a step of the wall clock does not reorder, and ages that survive a restart."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import attrs

__all__ = ["ClockReading", "age_of", "stood_still", "uptime"]

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

    On the same boot the wall clock is not asked, unless it says that the machine stood still.

    Args:
        accepted: Seconds since the epoch, by the file's own clock.
        anchor: The moment at which the file was begun.
        now: The present moment.
    """
    if anchor.boot_id and anchor.boot_id == now.boot_id:
        age = now.uptime - (anchor.uptime + accepted - anchor.wall)
        if age >= -_SLACK:  # otherwise the uptimes are not of one machine after all
            return max(age, 0.0) + stood_still(anchor, now)
    age = now.wall - accepted
    return 0.0 if -_SLACK <= age < 0 else age


def stood_still(anchor: ClockReading, now: ClockReading) -> float:
    """Return the seconds between two readings of one boot that passed without the machine. Pure.

    A machine that is resumed from a snapshot finds its wall clock set ahead, its uptime as it was.
    One that was set for another reason moves by less, or was never right before.
    """
    ahead = (now.wall - anchor.wall) - (now.uptime - anchor.uptime)
    return ahead if ahead > _WIDELY and anchor.wall > _EVER_SET else 0.0


_WIDELY: Final = 2 * 86_400.0
"""Seconds: no wrong time zone, and no wrong day, explains more."""

_EVER_SET: Final = 1_704_067_200.0
"""The beginning of 2024: a wall clock that says less was never set."""


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
