"""Several processes on one virtual loop: each can be stopped, and killed, by itself.

What runs for a process carries it in its context, as do all tasks and callbacks that it begets.
A process that is stopped gets no turns: what becomes due is held, in its order, until it goes on,
and the clock has moved meanwhile. One that is killed is stopped for good.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from tests.simulation.loop import Handle, VirtualLoop

__all__ = ["Killed", "Process", "ProcessLoop", "new_loop", "outside"]

_T = TypeVar("_T")

_process: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class Killed(Exception):  # noqa: N818  not an error of anybody's
    """The process that was to answer is dead."""


class Process:
    """What a signal reaches: its tasks and callbacks stand still together.

    Args:
        name: For messages.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_stopped = False
        self.is_dead = False
        self.held: list[_Turn] = []
        """What became due while it stood still."""
        self._context = contextvars.copy_context()
        self._context.run(_process.set, self)
        self._asked: dict[asyncio.Future[Any], None] = {}

    def __repr__(self) -> str:
        return self.name

    def spawn(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        """Run a coroutine in it."""
        return asyncio.get_running_loop().create_task(work, context=self._context)

    def signal(self, callback: Callable[..., object]) -> None:
        """Call something in it, as soon as it has a turn."""
        asyncio.get_running_loop().call_soon(callback, context=self._context)

    async def ask(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine in it, and return what it returns.

        Raises:
            Killed: The process died first.
        """
        answer: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        self._asked[answer] = None
        task = self.spawn(work)
        task.add_done_callback(lambda _: _pass_on(task, answer))
        try:
            return await answer
        finally:
            self._asked.pop(answer, None)

    def stop(self) -> None:
        """Give it no turns, as SIGSTOP does."""
        self.is_stopped = True

    def go_on(self) -> None:
        """Give it turns again, unless it is dead."""
        if self.is_dead:
            return
        self.is_stopped = False
        loop = asyncio.get_running_loop()
        assert isinstance(loop, ProcessLoop)
        held, self.held = self.held, []
        loop.release(held)

    def kill(self) -> None:
        """Stop it for good, as SIGKILL does."""
        self.is_stopped = self.is_dead = True
        for answer in self._asked:
            if not answer.done():
                answer.set_exception(Killed(self.name))

    def bury(self) -> None:
        """Let a dead one unwind, once nobody looks any more."""
        self.is_dead = False
        self.go_on()


def _pass_on(task: asyncio.Task[_T], answer: asyncio.Future[_T]) -> None:
    if answer.done():
        return
    error = task.exception()
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(task.result())


def outside() -> contextvars.Context:
    """Return a context of no process: what runs in it goes on whoever is stopped."""
    context = contextvars.copy_context()
    context.run(_process.set, None)
    return context


class _Turn(Handle):
    """A turn of a process: held while that is stopped."""

    __slots__ = ("_process", "_work")

    def __init__(
        self,
        process: Process,
        callback: Callable[..., object],
        args: Any,
        context: contextvars.Context,
    ) -> None:
        super().__init__(self._take, (), context)
        self._process = process
        self._work = callback, args

    def _take(self) -> None:
        if self._process.is_stopped:
            self._process.held.append(self)
            return
        callback, args = self._work
        self.cancel()
        callback(*args)

    def cancel(self) -> None:
        super().cancel()
        self._callback = _nothing  # it would be a cycle, and nobody collects here
        self._work = _nothing, ()


def _nothing() -> None:
    pass


class ProcessLoop(VirtualLoop):
    """A virtual loop that gives no turns to processes that are stopped."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self._make = _handle

    def release(self, handles: list[_Turn]) -> None:
        """Let what was held run, in its order."""
        self._ready.extend(handles)


def new_loop(seed: int = 0) -> ProcessLoop:
    """Return a loop. What it lacks of asyncio's interface (sockets, signals) is not simulated."""
    return ProcessLoop(seed)  # type: ignore[abstract]


def _handle(
    callback: Callable[..., object], args: Any, context: contextvars.Context | None
) -> Handle:
    context = contextvars.copy_context() if context is None else context
    process = context.get(_process)
    if process is None:
        return Handle(callback, args, context)
    return _Turn(process, callback, args, context)
