"""Ctrl-C and SIGTERM cancel what runs; a second one, its waiting for what is under way.

Nothing else here knows of signals: a command tells of its end where it is cancelled, and re-raises.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, Final, TypeVar

INTERRUPTED: Final = 128 + signal.SIGINT
"""The exit status after Ctrl-C: 130, as of a process that the signal ended."""

TERMINATED: Final = 128 + signal.SIGTERM
"""The exit status after SIGTERM: 143."""

STOPPED: Final = (asyncio.CancelledError, KeyboardInterrupt)
"""How a command hears of its end: the third Ctrl-C is the one that breaks in."""

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

Result = TypeVar("Result")


def run(main: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end and return what it returns.

    A signal never breaks into what the loop is at: the first two cancel the coroutine, each where
    it next waits. Only a third one does, as whatever did not end by then may block the loop.

    Raises:
        KeyboardInterrupt: There was a Ctrl-C, and the cancelled coroutine has ended.
        SystemExit: There was a SIGTERM, likewise; the status is `TERMINATED`.
    """
    # A script's shell starts what it puts into the background with SIGINT ignored, and the Runner
    # leaves that as it is: who sends one to this process means it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    stop = _Stop()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        try:
            return runner.run(stop.follow(main))
        except asyncio.CancelledError:
            raise stop.reason() from None


class _Stop:
    """Makes cancellations of signals."""

    def __init__(self) -> None:
        self._heard: list[int] = []

    async def follow(self, main: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine, which signals cancel."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None  # noqa: S101  for mypy

        def hear(number: int, _: FrameType | None) -> None:
            self._heard.append(number)
            if len(self._heard) == 1:
                loop.call_soon_threadsafe(task.cancel)
            elif len(self._heard) == 2:
                # A turn later: two that come at once would be one cancellation.
                loop.call_soon_threadsafe(lambda: loop.call_soon(task.cancel))
            else:
                raise self.reason()

        earlier = [(number, signal.signal(number, hear)) for number in _SIGNALS]
        try:
            return await main
        finally:
            for number, handler in earlier:
                signal.signal(number, handler)

    def reason(self) -> BaseException:
        """Return what the process is to end with."""
        if self._heard[:1] == [signal.SIGTERM]:
            return SystemExit(TERMINATED)
        return KeyboardInterrupt()


async def until_stopped() -> None:
    """Wait for Ctrl-C or SIGTERM as for the end that is meant: the cancellation stops here."""
    task = asyncio.current_task()
    try:
        await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        assert task is not None  # noqa: S101  for mypy
        task.uncancel()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415  the extra `speed`
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
