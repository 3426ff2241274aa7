"""Ctrl-C and SIGTERM: the first asks to stop, a second Ctrl-C ends at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self, TypeVar

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Stopping:
    """Listens to both signals while it is entered, on the running event loop.

    Args:
        at_once: Called before the process ends at once, to leave the terminal as it was.
    """

    def __init__(self, at_once: Callable[[], object] = lambda: None) -> None:
        self._at_once = at_once
        self._asked = asyncio.Event()
        self.signal: signal.Signals | None = None
        """The first signal; None as long as there was none."""

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            with suppress(NotImplementedError):  # Windows: a Ctrl-C cancels the run there
                loop.add_signal_handler(number, self._on_signal, number)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            with suppress(NotImplementedError):
                loop.remove_signal_handler(number)

    @property
    def signalled(self) -> bool:
        """Whether a signal has come."""
        return self.signal is not None

    @property
    def exit_status(self) -> int:
        """The status that shells expect after the signal: 130 or 143; 0 without one."""
        return 128 + self.signal if self.signal is not None else 0

    def ask(self) -> None:
        """Ask to stop without a signal."""
        self._asked.set()

    async def wait(self) -> None:
        """Wait until something asks to stop."""
        await self._asked.wait()

    async def run(self, work: Coroutine[Any, Any, object], *, name: str) -> bool:
        """Run work until it is done or something asks to stop; then it is cancelled.

        Args:
            work: What to do.
            name: The task's name.

        Returns:
            Whether it was done.

        Raises:
            Exception: What the work raised.
        """
        task = asyncio.create_task(work, name=name)
        asked = asyncio.create_task(self.wait(), name=f"{name}-stop")
        try:
            await asyncio.wait({task, asked}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            asked.cancel()
            task.cancel()
            await asyncio.wait({task, asked})
        if task.cancelled():
            return False
        task.result()
        return True

    def _on_signal(self, number: signal.Signals) -> None:
        if self.signal is None:
            self.signal = signal.Signals(number)
            self._asked.set()
        elif number == signal.SIGINT:
            self._at_once()
            # No clean-up: who presses Ctrl-C twice does not want to wait for any of it.
            os._exit(128 + number)


Result = TypeVar("Result")


def run(main: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end and return what it returns."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415  the extra `speed`
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
