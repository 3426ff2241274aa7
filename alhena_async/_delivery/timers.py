"""One timer for all that will become due, and a clock that agrees with it."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from math import inf
from types import TracebackType
from typing import Self

__all__ = ["AttemptTimeouts", "Timer"]


class Timer:
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


class AttemptTimeouts:
    """Calls off what is not over in time, as `asyncio.timeout_at` does."""

    def __init__(self, context: contextvars.Context) -> None:
        self._timer = Timer(self._call_off, context)
        self._stays: dict[_AttemptTimeout, None] = {}
        """In the order in which they began: those that are over together end in it."""

    def at(self, until: float) -> _AttemptTimeout:
        """Return a block for the running task that raises `TimeoutError` at the loop's `until`."""
        return _AttemptTimeout(self, until)

    def begin(self, stay: _AttemptTimeout) -> None:
        """Telemetry over a block."""
        self._stays[stay] = None
        self._timer.set(stay.until)

    def end(self, stay: _AttemptTimeout) -> None:
        """Telemetry over it no longer."""
        self._stays.pop(stay, None)
        if not self._stays:
            self._timer.stop()  # a timer would keep a forgotten client alive

    def _call_off(self) -> None:
        now = self._timer.now()
        for stay in [stay for stay in self._stays if stay.until <= now]:
            del self._stays[stay]
            stay.call_off()
        if self._stays:
            self._timer.set(min(stay.until for stay in self._stays))


class _AttemptTimeout:
    """One block of one task."""

    __slots__ = ("_foreign", "_is_over", "_task", "_timeouts", "until")

    def __init__(self, timeouts: AttemptTimeouts, until: float) -> None:
        self._timeouts = timeouts
        self.until = until
        self._is_over = False

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  only coroutines of the dispatcher's workers stay
        self._task = task
        self._foreign = task.cancelling()
        self._timeouts.begin(self)
        return self

    def call_off(self) -> None:
        """Cancel the task: its time is over."""
        self._is_over = True
        self._task.cancel()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timeouts.end(self)
        # Whoever else has cancelled the task meanwhile must be heard.
        if (
            self._is_over
            and self._task.uncancel() <= self._foreign
            and kind is asyncio.CancelledError
        ):
            raise TimeoutError from error
