"""How much is measured: all of it, or a hundredth, to see that every case runs."""

from __future__ import annotations

import os

__all__ = ["TINY", "sized"]

TINY = "ALHENA_BENCH_TINY"
"""Set to anything, each case takes a moment, and its figures mean nothing."""


def sized(count: int, least: int = 64) -> int:
    """Return how many of something to measure."""
    return max(least, count // 100) if TINY in os.environ else count
