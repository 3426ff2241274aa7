"""An event loop whose clock stands still while there is work, and jumps when there is none.

It runs everything that asyncio itself would run, in the order that asyncio promises: `call_soon`
is first in, first out, a timer never fires early. Where asyncio promises nothing, the seed
decides: timers that are due at the same instant fire in random order.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

__all__ = ["Deadlock", "Handle", "Livelock", "VirtualLoop", "new_loop"]

_T = TypeVar("_T")
_MOST_AT_ONE_INSTANT = 3_000_000


class Deadlock(Exception):  # noqa: N818  it is a finding, not a fault of the loop
    """Nothing is ready and no timer is set, and yet somebody waits."""


class Livelock(Exception):  # noqa: N818  likewise
    """Callbacks beget callbacks, and time stands still."""


class Handle(asyncio.TimerHandle):
    """What asyncio's own handles do, without what a simulation never asks for."""

    __slots__ = ("live",)

    def __init__(
        self, callback: Callable[..., object], args: Any, context: contextvars.Context | None
    ) -> None:
        self.live = True
        self._callback = callback
        self._args = args
        self._context = contextvars.copy_context() if context is None else context

    def cancel(self) -> None:
        self.live = False
        self._args = ()

    def cancelled(self) -> bool:
        return not self.live

    def __repr__(self) -> str:
        return f"<Handle {self._callback!r}>"


class VirtualLoop(asyncio.AbstractEventLoop):
    """Runs tasks on virtual time.

    Args:
        seed: Decides the order of timers that are due together.
        on_idle: Called whenever all work of an instant is done, before the clock jumps.
    """

    def __init__(self, seed: int = 0, on_idle: Callable[[], object] | None = None) -> None:
        self._now = 0.0
        self._ready: deque[Handle] = deque()
        self._timers: list[tuple[float, float, int, Handle]] = []
        self._tie = random.Random(seed).random
        self._count = itertools.count()
        self._timers_kept = 64
        self._closed = False
        self._make: Callable[[Callable[..., object], Any, Any], Handle] = Handle
        self.on_idle = on_idle
        self.jumps = 0
        self.failures: list[dict[str, Any]] = []
        """What asyncio would have logged: exceptions that nobody fetched."""

    # --- what asyncio asks of a loop -----------------------------------------------------------

    def time(self) -> float:
        return self._now

    def call_soon(  # type: ignore[override]  # typeshed's TypeVarTuple is not worth the noise
        self,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        handle = self._make(callback, args, context)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]  # there are no threads here

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        handle = self._make(callback, args, context)
        heapq.heappush(self._timers, (when, self._tie(), next(self._count), handle))
        if len(self._timers) > self._timers_kept:
            self._forget_cancelled()
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Coroutine[Any, Any, _T] | Generator[Any, None, _T],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[_T]:
        return asyncio.Task(coro, loop=self, name=name, context=context)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return asyncio._get_running_loop() is self

    def is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._closed = True
        self._ready.clear()
        self._timers.clear()

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.failures.append(context)

    # --- running -------------------------------------------------------------------------------

    def run_until_complete(  # type: ignore[override]
        self, main: Coroutine[Any, Any, _T]
    ) -> _T:
        """Run until `main` returns.

        Raises:
            Deadlock: Nothing could ever wake it again.
            Livelock: The clock stands still for millions of callbacks.
        """
        task = self.create_task(main)
        asyncio._set_running_loop(self)
        try:
            self._run(task)
        finally:
            asyncio._set_running_loop(None)
        return task.result()

    def _run(self, task: asyncio.Task[Any]) -> None:
        ready, timers = self._ready, self._timers
        here = 0
        while not task.done():
            if timers and timers[0][0] <= self._now:
                self._release_due()
            if not ready:
                here = 0
                self._jump(task)
                continue
            here += len(ready)
            if here > _MOST_AT_ONE_INSTANT:
                raise Livelock(f"{here} callbacks at t={self._now}; the next is {ready[0]!r}")
            for _ in range(len(ready)):
                handle = ready.popleft()
                if handle.live:
                    handle._context.run(handle._callback, *handle._args)

    def _release_due(self) -> None:
        timers, now = self._timers, self._now
        while timers and timers[0][0] <= now:
            handle = heapq.heappop(timers)[3]
            if handle.live:
                self._ready.append(handle)

    def _jump(self, task: asyncio.Task[Any]) -> None:
        if self.on_idle is not None:
            self.on_idle()
        timers = self._timers
        while timers and not timers[0][3].live:
            heapq.heappop(timers)
        if not timers:
            raise Deadlock(f"nothing can happen any more at t={self._now}: {task!r}")
        self._now = timers[0][0]
        self.jumps += 1

    def _forget_cancelled(self) -> None:
        self._timers[:] = [timer for timer in self._timers if timer[3].live]
        heapq.heapify(self._timers)
        self._timers_kept = max(64, 2 * len(self._timers))


def new_loop(seed: int = 0) -> VirtualLoop:
    """Return a loop. What it lacks of asyncio's interface (sockets, signals) is not simulated."""
    return VirtualLoop(seed)  # type: ignore[abstract]
