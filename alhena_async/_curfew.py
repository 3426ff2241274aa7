"""Deadlines for what is on the wire: one timer for all of them, not one made and undone for each.

A request takes a thousandth of its timeout, and `asyncio.timeout_at` sets a timer for each that
it cancels again: a tenth of all that a delivered event costs here.
"""

from __future__ import annotations

import asyncio
import contextvars
from types import TracebackType
from typing import Self

from alhena_async._alarm import Alarm

__all__ = ["Curfew"]


class Curfew:
    """Calls off what is not over in time, as `asyncio.timeout_at` does."""

    def __init__(self, context: contextvars.Context) -> None:
        self._alarm = Alarm(self._call_off, context)
        self._stays: dict[_Stay, None] = {}
        """In the order in which they began: those that are over together end in it."""

    def at(self, until: float) -> _Stay:
        """Return a block for the running task that raises `TimeoutError` at the loop's `until`."""
        return _Stay(self, until)

    def begin(self, stay: _Stay) -> None:
        """Watch over a block."""
        self._stays[stay] = None
        self._alarm.set(stay.until)

    def end(self, stay: _Stay) -> None:
        """Watch over it no longer."""
        self._stays.pop(stay, None)
        if not self._stays:
            self._alarm.stop()  # a timer would keep a forgotten client alive

    def _call_off(self) -> None:
        now = self._alarm.now()
        for stay in [stay for stay in self._stays if stay.until <= now]:
            del self._stays[stay]
            stay.call_off()
        if self._stays:
            self._alarm.set(min(stay.until for stay in self._stays))


class _Stay:
    """One block of one task."""

    __slots__ = ("_curfew", "_foreign", "_is_over", "_task", "until")

    def __init__(self, curfew: Curfew, until: float) -> None:
        self._curfew = curfew
        self.until = until
        self._is_over = False

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  only coroutines of the dispatcher's workers stay
        self._task = task
        self._foreign = task.cancelling()
        self._curfew.begin(self)
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
        self._curfew.end(self)
        # Whoever else has cancelled the task meanwhile must be heard.
        if (
            self._is_over
            and self._task.uncancel() <= self._foreign
            and kind is asyncio.CancelledError
        ):
            raise TimeoutError from error
