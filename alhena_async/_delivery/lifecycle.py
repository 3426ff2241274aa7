"""Where a client lives: the stage of its life, its event loop, its process."""

from __future__ import annotations

import asyncio
import enum
import os
from typing import Final

from alhena_async.errors import ClientClosedError

__all__ = ["Home", "Life", "Stage"]


class Life(enum.Enum):
    """A client's life.

    NEW -> RUNNING: started. RUNNING -> FAILED: the dispatcher failed.
    NEW, RUNNING, FAILED -> CLOSED: closed.
    Never back: a closed client stays closed, since what it was bound to may be gone. Make a new
    one.
    """

    NEW = "new"
    RUNNING = "running"
    FAILED = "failed"
    CLOSED = "closed"


_RUNNING: Final = Life.RUNNING  # as in _queue/envelope.py: asked for with every event


class Home:
    """Says whether a call comes at the right time and place, and if not, why not."""

    __slots__ = ("_cause", "_pid", "life", "loop")

    def __init__(self) -> None:
        self.life = Life.NEW
        self.loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0
        self._cause: BaseException | None = None

    @property
    def is_open(self) -> bool:
        """Whether it was started and not closed."""
        return self.life is Life.RUNNING or self.life is Life.FAILED

    def may_start(self) -> bool:
        """Return whether it was neither started nor closed."""
        return self.life is Life.NEW

    def bind(self) -> None:
        """Begin to run here: on this event loop, in this process."""
        self.loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self.life = Life.RUNNING

    def fail(self, cause: BaseException) -> None:
        """The dispatcher failed."""
        self._cause = cause
        if self.life is Life.RUNNING:
            self.life = Life.FAILED

    def close(self) -> None:
        """Nothing more is accepted."""
        self.life = Life.CLOSED

    def check_running(self) -> None:
        """Return if the client runs, on this loop and in this process.

        Raises:
            ClientClosedError: It was closed, or has failed.
            RuntimeError: It was not started, or not here.
        """
        # In a forked child the loop of the parent is not the running one: no getpid is needed.
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            raise self.error() from None
        if here is not self.loop or self.life is not _RUNNING:
            raise self.error()

    def check_here(self) -> None:
        """Return if this is the client's loop and process, whatever its life.

        Raises:
            RuntimeError: It was started elsewhere.
        """
        if self._pid != os.getpid() or asyncio.get_running_loop() is not self.loop:
            raise self._elsewhere()

    def check_process(self) -> asyncio.AbstractEventLoop:
        """Return the client's loop, for a call from another thread of its process.

        Raises:
            ClientClosedError: The client was closed, or has failed.
            RuntimeError: It was not started, or not in this process.
        """
        if self.life is not Life.RUNNING or self.loop is None or self._pid != os.getpid():
            raise self.error()
        return self.loop

    def error(self) -> Exception:
        """Return what a call that comes at the wrong time or place deserves."""
        if self.life is Life.NEW:
            return RuntimeError(
                "the client is not started: use `async with client:` or `await client.start()`"
            )
        if self.life is Life.RUNNING:
            return self._elsewhere()
        return self.closed_error()

    def closed_error(self) -> ClientClosedError:
        """Return the error of a client that accepts nothing more."""
        if self._cause is None:
            return ClientClosedError("the client is closed and accepts nothing more")
        error = ClientClosedError("the client's dispatcher failed; it accepts nothing more")
        error.__cause__ = self._cause
        return error

    def _elsewhere(self) -> RuntimeError:
        if self._pid != os.getpid():
            return RuntimeError(
                "the client was started in another process: after a fork, make and start one of "
                "your own (start it in each worker, not before the fork)"
            )
        return RuntimeError(
            "not called on the event loop that the client was started on: "
            "from another thread use track_threadsafe, for another loop make another client"
        )


class Stage(enum.Enum):
    """How far a dispatcher is from its end.

    RUNNING -> DRAINING: the shutdown began; what waits is sent, up to a deadline.
    DRAINING -> STOPPING: nothing is left or the time is over; workers end, leftovers settle.
    RUNNING, DRAINING -> FAILED: a bug; all is settled with the cause, and nothing is closed yet.
    FAILED -> STOPPING: the shutdown began, or goes on; there is nothing to drain.
    STOPPING -> ENDED: all is settled, and the connections are closed.
    Never back: what was settled has its one outcome. Never from STOPPING to FAILED: whatever
    breaks then, the leftovers settle as in any end. Only in the first two is anything sent.
    """

    RUNNING = "running"
    DRAINING = "draining"
    FAILED = "failed"
    STOPPING = "stopping"
    ENDED = "ended"
