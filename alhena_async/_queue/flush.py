"""Which flush waits for which events: all accepted between two flushes are one generation."""

from __future__ import annotations

import asyncio
from collections import deque

__all__ = ["FlushGeneration", "FlushTracker"]


class FlushGeneration:
    """The events accepted between two flushes: how many are unsettled, and who waits for them."""

    __slots__ = ("unsettled", "waiters")

    def __init__(self) -> None:
        self.unsettled = 0
        self.waiters: list[asyncio.Future[None]] = []


class FlushTracker:
    """The present generation, and the past ones that some flush still waits for."""

    __slots__ = ("_past", "present")

    def __init__(self) -> None:
        self.present = FlushGeneration()
        self._past: deque[FlushGeneration] = deque()

    def flush(self) -> asyncio.Future[None]:
        """End the present generation, and return a future for the settling of all events so far."""
        settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.present.unsettled:
            self._past.append(self.present)
            self.present = FlushGeneration()
        if not self._past:
            settled.set_result(None)
            return settled
        last = self._past[-1]
        last.waiters = [waiter for waiter in last.waiters if not waiter.done()]
        last.waiters.append(settled)
        return settled

    def settled(self, generation: FlushGeneration, count: int = 1) -> None:
        """Count the settling of some of a generation's events."""
        generation.unsettled -= count
        if not generation.unsettled:
            self._end_past()

    def _end_past(self) -> None:
        """Let go of the past generations of which all is settled, the oldest first."""
        while self._past and not self._past[0].unsettled:
            for waiter in self._past.popleft().waiters:
                if not waiter.done():
                    waiter.set_result(None)
