"""Ctrl-C and SIGTERM cancel what runs; a second one ends it without waiting for anything.

Nothing else here knows of signals: a command tells of its end where it is cancelled, and re-raises.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar

INTERRUPTED: Final = 128 + signal.SIGINT
"""The exit status after Ctrl-C: 130, as of a process that the signal ended."""

TERMINATED: Final = 128 + signal.SIGTERM
"""The exit status after SIGTERM: 143."""

STOPPED: Final = (asyncio.CancelledError, KeyboardInterrupt)
"""How a command hears of its end: a second Ctrl-C may come while it is told of the first."""

Result = TypeVar("Result")


def run(main: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end and return what it returns.

    `asyncio.Runner` makes a cancellation of the first Ctrl-C and an end of the second one; SIGTERM
    is made to cancel as well.

    Raises:
        KeyboardInterrupt: There was a Ctrl-C, and the cancelled coroutine has ended.
        SystemExit: There was a SIGTERM, likewise; the status is `TERMINATED`.
    """
    # A script's shell starts what it puts into the background with SIGINT ignored, and the Runner
    # leaves that as it is: who sends one to this process means it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        try:
            return runner.run(_terminable(main))
        except asyncio.CancelledError:
            raise SystemExit(TERMINATED) from None


async def until_stopped() -> None:
    """Wait for Ctrl-C or SIGTERM as for the end that is meant: the cancellation stops here."""
    task = asyncio.current_task()
    try:
        await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        assert task is not None  # noqa: S101  for mypy
        task.uncancel()


async def _terminable(main: Coroutine[Any, Any, Result]) -> Result:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  for mypy
    with suppress(NotImplementedError):  # Windows has no SIGTERM to speak of
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await main


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415  the extra `speed`
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
