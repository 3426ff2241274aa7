"""The life of one client, and where it is lived: its state, its event loop, its process."""

from __future__ import annotations

import asyncio
import enum
import os
from asyncio import get_running_loop
from collections.abc import Mapping
from typing import Final

from alhena_async.errors import ClientClosedError

__all__ = ["MOVES", "ClientState", "Lifecycle"]


class ClientState(enum.Enum):
    """How far a client is in its life; `MOVES` says what may follow what.

    Never back: a closed client stays closed, since what it was bound to may be gone, and what was
    settled has its one outcome. Make a new one. Never from STOPPING to FAILED: whatever breaks
    then, what is left settles as in any end.
    """

    NEW = "new"
    """Made, and bound to nothing."""
    RUNNING = "running"
    """Accepts events and sends them."""
    DRAINING = "draining"
    """Accepts nothing more; what waits is sent, up to a deadline."""
    FAILED = "failed"
    """A bug: everything is settled with the cause, and nothing is closed yet."""
    STOPPING = "stopping"
    """Sends nothing more; tasks end, what is left settles, connections and files close."""
    CLOSED = "closed"
    """Nothing is left."""


MOVES: Final[Mapping[ClientState, frozenset[ClientState]]] = {
    ClientState.NEW: frozenset({ClientState.RUNNING, ClientState.CLOSED}),
    ClientState.RUNNING: frozenset({ClientState.DRAINING, ClientState.FAILED}),
    ClientState.DRAINING: frozenset({ClientState.STOPPING, ClientState.FAILED}),
    ClientState.FAILED: frozenset({ClientState.STOPPING}),
    ClientState.STOPPING: frozenset({ClientState.CLOSED}),
    ClientState.CLOSED: frozenset(),
}

_RUNNING: Final = ClientState.RUNNING  # as in _queue/envelope.py: asked for with every event


class Lifecycle:
    """Says whether a call comes at the right time and place, and if not, why not."""

    __slots__ = ("_accepting", "_cause", "_pid", "_stopped", "_why", "loop", "sends", "state")

    def __init__(self) -> None:
        self.state = ClientState.NEW
        self.sends = False
        """Whether anything is still sent; asked before each attempt."""
        self.loop: asyncio.AbstractEventLoop | None = None
        self._accepting: asyncio.AbstractEventLoop | None = None
        """The loop, while events are accepted on it."""
        self._pid = 0
        self._cause: BaseException | None = None
        self._why = "the client is closed"
        self._stopped = asyncio.Event()

    @property
    def accepts(self) -> bool:
        """Whether events are accepted."""
        return self.state is _RUNNING

    @property
    def is_open(self) -> bool:
        """Whether it was started, and nobody has begun to close it."""
        return self.state is _RUNNING or self.state is ClientState.FAILED

    @property
    def is_here(self) -> bool:
        """Whether it was started in this process."""
        return self._pid == os.getpid()

    async def wait_until_stopped(self) -> None:
        """Return when the client has failed, or is closed."""
        await self._stopped.wait()

    # --- moves ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to run here: on this event loop, in this process."""
        self.move(ClientState.RUNNING)
        self.loop = self._accepting = get_running_loop()
        self._pid = os.getpid()

    def fail(self, cause: BaseException, why: str) -> None:
        """Go on to FAILED; every later call gets to hear of the cause, and why in words."""
        self.move(ClientState.FAILED)
        self._cause = cause
        self._why = why

    def move(self, state: ClientState) -> None:
        """Go on to another state.

        Raises:
            RuntimeError: It does not follow the present one.
        """
        if state not in MOVES[self.state]:
            raise RuntimeError(f"a client that is {self.state.value} cannot be {state.value} next")
        self.state = state
        self._accepting = None  # but of `start`, which alone goes to RUNNING
        self.sends = state is _RUNNING or state is ClientState.DRAINING
        if state is ClientState.FAILED or state is ClientState.CLOSED:
            self._stopped.set()

    # --- checks --------------------------------------------------------------------------------

    def check_running(self) -> asyncio.AbstractEventLoop:
        """Return the client's loop, if the client accepts events, on this loop and process.

        Raises:
            ClientClosedError: It was closed, or has failed.
            RuntimeError: It was not started, or not here.
        """
        # In a forked child the loop of the parent is not the running one: no getpid is needed.
        try:
            here = get_running_loop()
        except RuntimeError:
            raise self.error() from None
        if here is not self._accepting:
            raise self.error()
        return here

    def check_here(self) -> asyncio.AbstractEventLoop:
        """Return the client's loop, if this is it and its process, whatever the client's state.

        Raises:
            RuntimeError: It was started elsewhere.
        """
        here = get_running_loop()
        if self._pid != os.getpid() or here is not self.loop:
            raise self._elsewhere()
        return here

    def check_process(self) -> asyncio.AbstractEventLoop:
        """Return the client's loop, for a call from another thread of its process.

        Raises:
            ClientClosedError: The client was closed, or has failed.
            RuntimeError: It was not started, or not in this process.
        """
        if not self.accepts or self.loop is None or self._pid != os.getpid():
            raise self.error()
        return self.loop

    def error(self) -> Exception:
        """Return the error of a call that comes at the wrong time or place."""
        if self.state is ClientState.NEW:
            return RuntimeError(
                "the client is not started: use `async with client:` or `await client.start()`; "
                "code without an event loop uses alhena_async.sync.SyncAlhenaClient"
            )
        if self.accepts:
            return self._elsewhere()
        return self.closed_error()

    def closed_error(self) -> ClientClosedError:
        """Return the error of a client that accepts nothing more."""
        error = ClientClosedError(
            f"{self._why} and accepts nothing more: make another (one that serves many runs stays "
            "open, and `flush` delivers after each)"
        )
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
