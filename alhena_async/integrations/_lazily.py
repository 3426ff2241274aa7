"""A client for servers that tell neither their start nor their end: begun when first asked for."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import signal
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from types import FrameType
from typing import Any, Final, NamedTuple, TypeVar

from alhena_async._exit import EXIT_TIMEOUT, at_exit
from alhena_async._telemetry.sampling import Sampler
from alhena_async.client import AlhenaClient
from alhena_async.errors import AlhenaError, AlhenaTimeoutError, ClientClosedError
from alhena_async.integrations._serving import MakeClient
from alhena_async.observers import Health

__all__ = ["ClientOfLoop", "deliver", "ends_with_its_request"]

_log = logging.getLogger("alhena_async")

_LEAVES_TIME: Final = {"daphne", "granian", "mangum"}
"""Servers whose event loop is still there when the process ends: what waits is delivered then."""

_DIES_BY_SIGNAL: Final = {"uvicorn"}
"""Servers that kill themselves once they have stopped: what waits is delivered before they stop."""

_SERVERS: Final = _LEAVES_TIME | _DIES_BY_SIGNAL | {"hypercorn"}

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

_Handler = Callable[[int, FrameType | None], object]

_MARGIN: Final = 5.0
"""Seconds beyond its own deadline after which a close is no longer waited for."""

_RETRY_AFTER: Final = 5.0
"""Seconds after a start that failed before the next one: no request waits for what just failed."""

_DEBUG: Final = "http.response.debug"
"""ASGI's extension that only test environments have; Starlette's `TestClient` is one."""

_Kept = TypeVar("_Kept")


class _Failed(NamedTuple):
    """A start that failed: what a health request is told, and what other requests get.

    Its client is closed. It accepts nothing, in the words and with the counts of any closed one.
    """

    error: Exception
    client: AlhenaClient | None = None
    at: float = 0.0

    def health(self) -> Health:
        """Return why nothing is accepted."""
        return Health(ready=False, alive=True, reason=f"the client cannot start: {self.error}")


class ClientOfLoop:
    """The client of each event loop that asks: one that was given, or begun at the first question.

    Args:
        make: Makes a client; called once for each loop.
        drain_timeout: Seconds to deliver what waits as the process ends; None: 10.
    """

    def __init__(self, make: MakeClient, drain_timeout: float | None) -> None:
        self._make = make
        self._drain_timeout = EXIT_TIMEOUT if drain_timeout is None else drain_timeout
        self._given: dict[asyncio.AbstractEventLoop, AlhenaClient] = {}
        self._begun: dict[asyncio.AbstractEventLoop, AlhenaClient] = {}
        self._failed: dict[asyncio.AbstractEventLoop, _Failed] = {}
        self._failures = Sampler()
        self._has_told = False
        self._starting: dict[asyncio.AbstractEventLoop, asyncio.Task[AlhenaClient]] = {}
        self._delivering: asyncio.Task[None] | None = None
        self.is_ending = False
        """The process was told to stop: what is tracked now is delivered before it is answered."""
        _all.add(self)

    def give(self, client: AlhenaClient) -> None:
        """Let a client that a lifespan has started be this loop's, also once it is closed."""
        _keep(self._given, asyncio.get_running_loop(), client)

    async def get(self) -> AlhenaClient:
        """Return this loop's client; start one if there is none.

        Where its journal or its outbox cannot be used, it is a closed one, until a later start
        succeeds: a shop's pages are worth more than its events.

        Raises:
            ValueError, TypeError: It cannot be made. The next question tries again.
        """
        loop = asyncio.get_running_loop()
        client = self._given.get(loop) or self._begun.get(loop)
        if client is not None:
            return client
        failed = self._failed.get(loop)
        if failed is not None and failed.client and loop.time() - failed.at < _RETRY_AFTER:
            return failed.client
        task = self._starting.get(loop)
        if task is None:
            server = _server()
            self._say_how_it_ends(server)
            # In a context of its own: the client serves everybody's requests, not this one's.
            begun = loop.create_task(
                self._begin(loop, server), name="alhena-start", context=contextvars.Context()
            )
            self._starting[loop] = task = begun
        return await asyncio.shield(task)

    async def look(self) -> AlhenaClient | _Failed:
        """Return what tells this loop's health: its client, or why there is none; never raise."""
        try:
            client = await self.get()
        except Exception as error:  # noqa: BLE001  it has been logged, and is what is asked for
            return _Failed(error)
        failed = self._failed.get(asyncio.get_running_loop())
        return client if failed is None else failed

    async def close(self, timeout: float | None) -> None:
        """Close this loop's client, if it was begun here; the next question begins another."""
        client = self._begun.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close(timeout)

    async def _begin(self, loop: asyncio.AbstractEventLoop, server: str) -> AlhenaClient:
        try:
            return await self._started(loop, server)
        except Exception as error:
            self._tell_failure(error)
            raise
        finally:
            del self._starting[loop]

    async def _started(self, loop: asyncio.AbstractEventLoop, server: str) -> AlhenaClient:
        client = self._make()
        try:
            await client.start()
        except AlhenaError as error:
            self._tell_failure(error)
            await client.close(0)
            _keep(self._failed, loop, _Failed(error, client, loop.time()))
            return client
        self._failed.pop(loop, None)
        _keep(self._begun, loop, client)
        if server in _DIES_BY_SIGNAL and threading.current_thread() is threading.main_thread():
            self._deliver_before_the_server_stops(loop, client)
        return client

    def _tell_failure(self, error: Exception) -> None:
        count, is_due = self._failures.count(type(error).__name__, time.monotonic())
        _log.log(
            logging.ERROR if is_due else logging.DEBUG,
            "alhena: the client cannot start, so nothing is accepted: %r (%d times so far)",
            error, count,
        )  # fmt: skip

    def _say_how_it_ends(self, server: str) -> None:
        if not self._has_told:
            self._has_told = True
            _say_how_it_ends(server)

    def _deliver_before_the_server_stops(
        self, loop: asyncio.AbstractEventLoop, client: AlhenaClient
    ) -> None:
        """Put a handler before the server's own, which hears of a signal once all is delivered."""

        async def delivered(server: _Handler, number: int) -> None:
            await deliver(client, self._drain_timeout)
            server(number, None)

        def told(server: _Handler, number: int, frame: FrameType | None) -> None:
            if self.is_ending or loop.is_closed():  # the second time, nobody wants to wait
                server(number, frame)
                return
            self.is_ending = True
            loop.call_soon_threadsafe(begin, server, number)

        def begin(server: _Handler, number: int) -> None:
            self._delivering = loop.create_task(delivered(server, number), name="alhena-end")

        for number in _SIGNALS:
            handler = signal.getsignal(number)
            if callable(handler):
                signal.signal(number, partial(told, handler))

    def close_at_exit(self, deadline: float) -> None:
        """Deliver what waits, on the loops that servers have left without closing them."""
        for loop, client in list(self._begun.items()):
            left = max(0.0, min(self._drain_timeout, deadline - time.monotonic()))
            if loop.is_running():  # in a thread of the server's that has not ended
                closing = asyncio.run_coroutine_threadsafe(client.close(left), loop)
                closing.result(left + _MARGIN)
            elif not loop.is_closed():
                loop.run_until_complete(client.close(left))


def _keep(
    of_loops: dict[asyncio.AbstractEventLoop, _Kept], loop: asyncio.AbstractEventLoop, one: _Kept
) -> None:
    """Keep what is a loop's, and nothing of loops that are closed, such as those of tests."""
    for ended in [other for other in of_loops if other.is_closed()]:
        del of_loops[ended]
    of_loops[loop] = one


def ends_with_its_request(scope: Mapping[str, Any]) -> bool:
    """Return whether the loop ends with the request: under a `TestClient` outside of its `with`.

    Nothing that a request's sender can choose decides that.

    Args:
        scope: The request's.
    """
    if _DEBUG in (scope.get("extensions") or ()):
        return True
    return scope["type"] == "websocket" and any(
        frame.f_globals.get("__name__") == "starlette.testclient"
        for frame, _ in traceback.walk_stack(None)
    )


async def deliver(client: AlhenaClient, timeout: float | None) -> None:
    """Deliver what was accepted so far, as the process stops after this; say what could not be."""
    try:
        await client.flush(timeout)
    except AlhenaTimeoutError:
        stats = client.stats()
        _log.warning(
            "alhena: %d events were not delivered within %s s, and the process stops now: with a "
            "journal the next start delivers them; otherwise they are lost unless it goes on",
            stats.queued + stats.in_flight + stats.spilled, timeout,
        )  # fmt: skip
    except ClientClosedError:
        _log.debug("alhena: the client is closed already, and has told what it left")


def _say_how_it_ends(server: str) -> None:
    if server in _LEAVES_TIME | _DIES_BY_SIGNAL:
        _log.info(
            "alhena: %s tells no start and no end (no lifespan): the client begins with this "
            "request, and delivers what waits as the process ends", server,
        )  # fmt: skip
    else:
        _log.warning(
            "alhena: %s tells no start and no end (no lifespan): the client begins with this "
            "request, and what waits as the event loop ends is lost unless it has a journal: let "
            "the server run the lifespan, or await AlhenaMiddleware.close() before",
            server or "the server",
        )  # fmt: skip


def _server() -> str:
    """Return the name of the server that called, of those that are known; or an empty text."""
    for frame, _ in traceback.walk_stack(None):
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package in _SERVERS:
            return package
    return ""


_all: weakref.WeakSet[ClientOfLoop] = weakref.WeakSet()


def _close_all() -> None:
    deadline = time.monotonic() + EXIT_TIMEOUT
    for one in list(_all):
        try:
            one.close_at_exit(deadline)
        except (AlhenaError, RuntimeError, TimeoutError) as error:  # the others are closed as well
            _log.error("alhena: a client could not be closed as the process ended: %r", error)


at_exit(_close_all)
