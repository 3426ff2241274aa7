"""An event loop whose clock jumps to the next timer: hours of backoff cost no time at all."""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

__all__ = ["VirtualLoop", "run_virtually", "virtual"]

P = ParamSpec("P")
_PATIENCE = 5.0  # real seconds to wait for another thread before a test counts as hanging


class _JumpingSelector(selectors.DefaultSelector):
    now = 0.0
    _turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            self._creep()
            return ready
        if timeout is not None:
            self.now += timeout
            return ready
        ready = super().select(_PATIENCE)
        if not ready:
            raise RuntimeError("the test hangs: no timer, no thread, nothing will ever happen")
        return ready

    def _creep(self) -> None:
        # A loop fires a timer up to a nanosecond early: whoever then waits for the rest of it
        # must see time pass, as on a real clock.
        self._turns += 1
        if self._turns % 1_000 == 0:
            self.now += 1e-9


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop on virtual time. It starts at 0, and a wait lasts exactly as long as asked for."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    def pass_time(self, seconds: float) -> None:
        """Let time pass at once, as if the loop had been held up."""
        self._jumping.now += seconds


def run_virtually(
    test: Callable[[], Coroutine[Any, Any, None]],
    *,
    debug: bool = True,
    leaves_tasks: bool = False,
) -> None:
    """Run to the end; nothing may reach the loop's exception handler.

    Args:
        test: Makes the coroutine.
        debug: Asyncio's debug mode; properties that run a thousand times do without.
        leaves_tasks: Else no task may be alive in the end.
    """
    complaints: list[dict[str, Any]] = []

    async def watched() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        await test()
        if not leaves_tasks:
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, f"tasks are still alive: {left}"

    with asyncio.Runner(debug=debug, loop_factory=VirtualLoop) as runner:
        runner.run(watched())
    assert not complaints, complaints


def virtual(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Make a test of a coroutine function, run on virtual time."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        run_virtually(lambda: test(*args, **kwargs))

    return run
