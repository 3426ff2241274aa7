"""The clock that leases are held against: the loop's, and the time in which nothing ran."""

from __future__ import annotations

import asyncio
import time
from typing import Final

__all__ = ["now"]

_SINCE_BOOT: Final = getattr(time, "CLOCK_BOOTTIME", None)


def now() -> float:
    """Return seconds by the running loop's clock, and those in which the machine was suspended.

    The loop's own clock stands still meanwhile, at the broker time goes on.
    """
    return asyncio.get_running_loop().time() + _suspended()


def _suspended() -> float:
    if _SINCE_BOOT is None:
        return 0.0
    return time.clock_gettime(_SINCE_BOOT) - time.clock_gettime(time.CLOCK_MONOTONIC)
