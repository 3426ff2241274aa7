"""How fast it goes and how long it will take. Pure."""

from __future__ import annotations

from collections import deque
from typing import Final

import attrs

from alhena_async.cli.text import count, duration, per_second

_WINDOW: Final = 10.0
"""Seconds of the past that the rate is measured over."""


@attrs.frozen(kw_only=True)
class Snapshot:
    """Where a run stands."""

    done: int
    """Lines of which no more is to come."""
    total: int | None = None
    """All lines; None while that is not known."""
    skipped: int = 0
    """Those of `done` that cost nothing: an earlier run settled them."""
    trouble: str = ""
    """What holds it up, if anything does."""
    noun: str = "lines"
    """What is counted."""


class Meter:
    """Turns snapshots into a rate and a time left. The caller's clock is an argument."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def take(self, now: float, snapshot: Snapshot) -> str:
        """Take a snapshot, and return `1,234/s  8 s left` as far as that can be said."""
        work = snapshot.done - snapshot.skipped
        self._samples.append((now, work))
        while now - self._samples[0][0] > _WINDOW:
            self._samples.popleft()
        began, first = self._samples[0]
        elapsed, made = now - began, work - first
        if elapsed <= 0 or made <= 0:
            return "0/s"
        told = per_second(made, elapsed)
        if snapshot.total is None or snapshot.done >= snapshot.total:
            return told
        left = (snapshot.total - snapshot.done) * elapsed / made
        return f"{told}  {duration(left)} left"


def counted(snapshot: Snapshot) -> str:
    """Return `2,474 of 5,754 lines`."""
    if snapshot.total is None:
        return f"{count(snapshot.done)} {snapshot.noun}"
    return f"{count(snapshot.done)} of {count(snapshot.total)} {snapshot.noun}"


def share(snapshot: Snapshot) -> str:
    """Return `43%`; empty while the total is not known. 100% is all, never nearly all."""
    if not snapshot.total:
        return ""
    return f"{min(100, 100 * snapshot.done // snapshot.total)}%"
