"""The one timer of the engine, the clock that agrees with it, and the timeouts of attempts.

Linger, backoff and delivery timeouts share one timer, and so do all requests on the wire: an object
of asyncio's for each would cost more than the rest of an attempt.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from math import inf
from types import TracebackType
from typing import Any, Final

__all__ = ["AttemptTimeout", "AttemptTimeouts", "Timer"]

_TURNS_FOR_REPLIES: Final = 3


class Timer:
    """Calls back once, at the earliest time it was set to; then it has to be set again.

    Args:
        callback: Called when it is time.
        context: The context that it is called in.
    """

    def __init__(self, callback: Callable[[], None], context: contextvars.Context) -> None:
        self._callback = callback
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._fired_at = -inf
        self.at = inf
        """When it will call back; infinity if it is not set."""

    def now(self) -> float:
        """Return the time: what it called back for is due, however early asyncio fired."""
        return max(self._loop.time(), self._fired_at)

    def set(self, due: float) -> None:
        """Call back at the loop's time `due`, if that is sooner than planned."""
        if due >= self.at:
            return
        self.stop()
        self.at = due
        due = max(due, self._loop.time())
        self._handle = self._loop.call_at(due, self._on_timer, context=self._context)

    def stop(self) -> None:
        """Call back no more until it is set again."""
        if self._handle is not None:
            self._handle.cancel()
        self._handle = None
        self.at = inf

    def _on_timer(self) -> None:
        # asyncio fires up to its clock's resolution early: what was due then is due now.
        self._fired_at = max(self._fired_at, self.at)
        self._handle = None
        self.at = inf
        self._callback()


class AttemptTimeouts:
    """Ends what is not over in time, as `asyncio.timeout_at` does.

    Args:
        context: The context that the timer runs in.
    """

    def __init__(self, context: contextvars.Context) -> None:
        self._timer = Timer(self._on_timer, context)
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._running: dict[AttemptTimeout, None] = {}
        """In the order in which they began: those that are over together end in it."""

    def of_this_task(self, until: float = inf) -> AttemptTimeout:
        """Return the timeout of all that the running task does, one thing after the other."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  only the dispatcher's workers ask
        return AttemptTimeout(task, until, running=self._running, timer=self._timer)

    def rest(self) -> None:
        """Stop the timer if no block runs, and none is to begin: it would keep a client alive."""
        if not self._running:
            self._timer.stop()

    def _on_timer(self) -> None:
        self._give_turns(_TURNS_FOR_REPLIES)

    def _give_turns(self, turns: int) -> None:
        """Let replies that are there be read first: the loop, or the process, may have stood still.

        A reply takes a turn to be read from its socket and another to wake its task, and loops
        differ in what comes first in a turn, timers or sockets.
        """
        if turns and self._running:
            self._loop.call_later(0, self._give_turns, turns - 1, context=self._context)
        else:
            self._expire()

    def _expire(self) -> None:
        now = self._timer.now()
        for timeout in [one for one in self._running if one.until <= now]:
            del self._running[timeout]
            timeout.expire()
        if self._running:
            self._timer.set(min(one.until for one in self._running))


class AttemptTimeout:
    """A block for `with` that raises `TimeoutError` once its time is over; for one task.

    Args:
        task: Whose blocks they are.
        until: The loop's time at which the next one is over.
        running: All blocks that run; it adds itself, and takes itself out.
        timer: The one of all blocks. It stays set as one ends, since another soon begins.
    """

    __slots__ = ("_foreign", "_is_over", "_running", "_task", "_timer", "until")

    def __init__(
        self,
        task: asyncio.Task[Any],
        until: float,
        *,
        running: dict[AttemptTimeout, None],
        timer: Timer,
    ) -> None:
        self._task = task
        self.until = until
        self._running = running
        self._timer = timer

    def __enter__(self) -> None:
        self._is_over = False
        self._foreign = self._task.cancelling()
        self._running[self] = None
        if self.until < self._timer.at:
            self._timer.set(self.until)

    def expire(self) -> None:
        """Cancel the task: its time is over."""
        self._is_over = True
        self._task.cancel()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._running.pop(self, None)
        # A cancellation that comes from anybody else must be heard.
        if (
            self._is_over
            and self._task.uncancel() <= self._foreign
            and kind is asyncio.CancelledError
        ):
            raise TimeoutError from error
