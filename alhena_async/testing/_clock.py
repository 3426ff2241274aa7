"""An event loop whose clock jumps to the next timer: hours of backoff cost no time at all.

Only what the loop itself waits for is virtual. A peer behind a real socket needs real time, which
the clock would jump over: use it with `MemoryTransport`, never with an emulator.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

__all__ = ["VirtualLoop", "run_virtually", "virtual"]

P = ParamSpec("P")
T = TypeVar("T")
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
    """A loop on virtual time. It starts at 0, and a wait lasts exactly as long as asked for.

    Where nothing could ever happen any more, it raises `RuntimeError` instead of hanging. It goes
    wherever a loop factory is asked for: `asyncio.Runner(loop_factory=VirtualLoop)`, the hook
    `pytest_asyncio_loop_factories`, the backend option `loop_factory` of anyio.
    """

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Return seconds of virtual time since the loop was made."""
        return self._jumping.now

    def pass_time(self, seconds: float) -> None:
        """Let time pass at once, as if the loop had been held up."""
        self._jumping.now += seconds


def run_virtually(
    main: Callable[[], Coroutine[Any, Any, T]],
    *,
    debug: bool = True,
    leaves_tasks: bool = False,
) -> T:
    """Run a coroutine to its end on virtual time, and return its result.

    Args:
        main: Makes the coroutine.
        debug: Asyncio's debug mode; what runs a thousand times does without.
        leaves_tasks: Whether tasks may be alive in the end.

    Raises:
        AssertionError: Something reached the loop's exception handler, or a task is left.
        RuntimeError: It hangs: there is nothing that it could still be waiting for.
    """
    complaints: list[dict[str, Any]] = []

    async def watched() -> T:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        result = await main()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left and not leaves_tasks:
            raise AssertionError(f"tasks are still alive: {left}")
        return result

    with asyncio.Runner(debug=debug, loop_factory=VirtualLoop) as runner:
        result = runner.run(watched())
    if complaints:
        raise AssertionError(f"the loop's exception handler was told: {complaints}")
    return result


def virtual(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Make a plain test of a coroutine function, run on virtual time.

    No plugin has to run it; fixtures work as in any plain test.

    Raises:
        TypeError: It is no coroutine function.
    """
    if not inspect.iscoroutinefunction(test):
        raise TypeError(f"only an `async def` runs on virtual time, and {test!r} is none")

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        run_virtually(lambda: test(*args, **kwargs))

    return run
