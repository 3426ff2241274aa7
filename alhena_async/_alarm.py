"""One timer for all that will become due, and a clock that agrees with it."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from math import inf

__all__ = ["Alarm"]


class Alarm:
    """Rings once at the earliest time it was set to; then it has to be set again.

    Args:
        ring: Called when it is time.
        context: The context that it is called in.
    """

    def __init__(self, ring: Callable[[], None], context: contextvars.Context) -> None:
        self._ring = ring
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._rang_at = -inf
        self.at = inf
        """When it will ring."""

    def now(self) -> float:
        """Return the time: what it rang for is due, however early asyncio fired."""
        return max(self._loop.time(), self._rang_at)

    def set(self, due: float) -> None:
        """Ring at the loop's time `due`, if that is sooner than planned."""
        if due >= self.at:
            return
        self.stop()
        self.at = due
        due = max(due, self._loop.time())
        self._timer = self._loop.call_at(due, self._on_timer, context=self._context)

    def stop(self) -> None:
        """Ring no more until it is set again."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self.at = inf

    def _on_timer(self) -> None:
        # asyncio fires up to its clock's resolution early: what was due then is due now.
        self._rang_at = max(self._rang_at, self.at)
        self._timer = None
        self.at = inf
        self._ring()
