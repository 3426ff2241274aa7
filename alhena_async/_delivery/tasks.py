"""The only place where tasks are made: each has a name and an owner, and its end is heard of."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from alhena_async._telemetry.telemetry import log_foreign

__all__ = ["Tasks"]


class Tasks:
    """Makes tasks on the running loop, and keeps those that are alive.

    Args:
        on_failure: Called with the cause when a task ends by an error, or is cancelled by anyone
            but its owner, who uses `cancel` or `cancel_all`.
    """

    def __init__(self, on_failure: Callable[[BaseException], None]) -> None:
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self.context = contextvars.copy_context()
        """The client's own: a task serves everybody's requests, not the first caller's."""
        self._alive: set[asyncio.Task[None]] = set()
        self._is_over = False
        """All were cancelled by their owner: no end is a failure any more."""

    @property
    def loop_is_ending(self) -> bool:
        """Whether every task of the loop is being cancelled, as `asyncio.run` does at its end."""
        return self._loop.is_closed() or all(
            task.cancelling() or task.done() for task in asyncio.all_tasks(self._loop)
        )

    def make(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Make a task that is not kept: its caller sees to its end."""
        # Not by the loop's task factory: an eager one would run it here and now.
        return asyncio.Task(work, loop=self._loop, name=name, context=self.context)

    def spawn(
        self,
        work: Coroutine[Any, Any, None],
        name: str,
        on_failure: Callable[[BaseException], None] | None = None,
    ) -> asyncio.Task[None]:
        """Make a task that is kept until it ends. Once all were cancelled, it ends as it begins.

        Args:
            work: What it does.
            name: What it is called, in errors and in asyncio's own lists.
            on_failure: Is called instead of the common one.
        """
        task = self.make(work, name)
        self._alive.add(task)
        if self._is_over:
            task.cancel()
        task.add_done_callback(partial(self._on_done, on_failure or self._on_failure))
        return task

    def spawn_aside(self, work: Coroutine[Any, Any, None], name: str, over: str) -> None:
        """Make a task without which all else goes on: if it fails, that is logged.

        Args:
            work: What it does.
            name: What it is called.
            over: What is over with it, for the log. Nothing is said where the loop is ending, and
                cancels everybody's tasks.
        """

        def failed(error: BaseException) -> None:
            if not self.loop_is_ending:
                log_foreign(over, error)

        self.spawn(work, name, failed)

    def cancel(self) -> None:
        """Cancel all that are alive, once. Their owner hears of no failure after this."""
        if not self._is_over:
            self._is_over = True
            for task in self._alive:
                task.cancel()

    async def cancel_all(self, timeout: float) -> int:
        """Cancel all that are alive, and wait for their end.

        Args:
            timeout: Seconds to wait at most; one may swallow its cancellation.

        Returns:
            How many are still alive.
        """
        self.cancel()
        if not self._alive:
            return 0
        _done, alive = await asyncio.wait(list(self._alive), timeout=timeout)
        return len(alive)

    def _on_done(
        self, on_failure: Callable[[BaseException], None], task: asyncio.Task[None]
    ) -> None:
        self._alive.discard(task)
        error = _error_of(task)
        if error is not None and not self._is_over:
            on_failure(error)


def _error_of(task: asyncio.Task[None]) -> BaseException | None:
    """Return what ended a task; None if it came to its own end."""
    if task.cancelled():
        return RuntimeError(f"{task.get_name()} was cancelled from outside")
    return task.exception()
