"""The emulator: start, stop, and what a test asks of it."""

from __future__ import annotations

import asyncio
import inspect
from enum import Enum
from typing import TYPE_CHECKING, Self

from aiohttp import web

from alhena_async.emulator._assertions import Recordings, T
from alhena_async.emulator._concurrency import Feed, Gauge
from alhena_async.emulator._dashboard import Control
from alhena_async.emulator._endpoints import (
    ErrorBody,
    EventEndpoints,
    FaultQueue,
    Handled,
    default_error_body,
)
from alhena_async.emulator._faults import Fault, FaultPlan
from alhena_async.emulator._ledger import Ledger, Preconditions, Store, Tickets
from alhena_async.emulator._security import (
    any_host,
    authority,
    build,
    checked_token,
    known_hosts,
    loopback_host,
    reachable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping


_MAX_LISTENERS = 32

_SHUTDOWN_TIMEOUT = 0.5


def _not_told(_: Handled) -> None:
    """Nobody asked."""


def _holds(condition: Callable[[], object]) -> bool:
    held = condition()
    if inspect.iscoroutine(held):
        held.close()
        raise TypeError("condition must be a plain function, not a coroutine function (async def)")
    return bool(held)


class EmulatorState(Enum):
    """Whether an emulator serves; `MOVES` says what may follow what.

    Starting twice is an error (two servers, one state); stopping twice is not.
    """

    IDLE = "idle"
    SERVING = "serving"


MOVES: Mapping[EmulatorState, frozenset[EmulatorState]] = {
    EmulatorState.IDLE: frozenset({EmulatorState.SERVING}),
    EmulatorState.SERVING: frozenset({EmulatorState.IDLE}),
}


class Emulator(Recordings):
    """A server of Alhena's documented HTTP contract on a loopback port.

    It keeps its account over `stop` and `start`, and its port too: an outage is a `stop`.
    Not thread-safe: call it from the loop that it serves on.

    Args:
        host: A loopback address; "localhost" means 127.0.0.1.
        port: The port; 0: a free one, kept over a restart.
        companies: Known company keys; None: every non-empty key is known.
        tickets: Which visitors have an active ticket.
        preconditions: How cart events are held against earlier ones.
        faults: Random faults; scripted ones come first.
        history: How many recorded and how many refused events are kept (and at most 128 MiB of
            bodies each). Counters and sums go on exactly past it.
        error_statuses: HTTP statuses by error code, in place of the emulator's choice.
        error_body: Makes an error's JSON body from code and message; the default is
            `{"status": "error", "error": CODE, "message": ...}`.
        on_request: Called with each request's `Handled` just before it is answered; as text it is
            one line. Must be quick and not raise.
        token: What control requests carry, 16 to 128 of A-Z a-z 0-9 _ -; None: another one after
            each start.
        exposed: Whether it may be reached from elsewhere, for containers: `host` may be any
            address (0.0.0.0: all), and every request, events too, must carry the token: `url` does.

    Raises:
        ValueError: `host` is not loopback, or another argument is out of its bounds.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        companies: Collection[str] | None = None,
        tickets: Tickets = Tickets.ALL,
        preconditions: Preconditions = Preconditions.OFF,
        faults: FaultPlan | None = None,
        history: int = 50_000,
        error_statuses: Mapping[str, int] | None = None,
        error_body: ErrorBody = default_error_body,
        on_request: Callable[[Handled], object] = _not_told,
        token: str | None = None,
        exposed: bool = False,
    ) -> None:
        self._on_request = on_request
        tickets, preconditions = Tickets(tickets), Preconditions(preconditions)
        self._exposed = exposed
        self._host = any_host(host) if exposed else loopback_host(host)
        self._given_token = None if token is None else checked_token(token)
        self._port = port
        self._feed = Feed(_MAX_LISTENERS)
        self._store = Store(
            Ledger(companies=companies, tickets=tickets, preconditions=preconditions),
            history=history,
            statuses=error_statuses or {},
            on_change=self._feed.changed,
        )
        self._faults = FaultQueue(faults or FaultPlan())
        self._gauge = Gauge(self._feed.changed)
        self._error_body = error_body
        self._settings = {
            "companies": "any" if companies is None else f"{len(set(companies))} known",
            "tickets": tickets.value,
            "preconditions": preconditions.value,
        }
        self._token = ""
        self._state = EmulatorState.IDLE
        self._runner: web.AppRunner | None = None
        self._stopping = asyncio.Event()

    def __repr__(self) -> str:
        where = self.url if self._state is EmulatorState.SERVING else self._state.value
        return f"<Emulator {where} requests={self.requests}>"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Serve.

        Raises:
            RuntimeError: It serves already.
            OSError: The port is taken.
        """
        if EmulatorState.SERVING not in MOVES[self._state]:
            raise RuntimeError("the emulator serves already")
        self._state = EmulatorState.SERVING
        self._token = checked_token(self._given_token)
        self._stopping = asyncio.Event()
        runner = web.AppRunner(
            self._application(),
            access_log=None,
            handler_cancellation=True,  # a hang ends when its peer leaves
            shutdown_timeout=_SHUTDOWN_TIMEOUT,
        )
        self._runner = runner
        try:
            await runner.setup()
            await web.TCPSite(runner, self._host, self._port).start()
        except BaseException:
            await self.stop()
            raise
        self._port = runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop serving at once: hanging requests are reset, open pages cut off. Idempotent."""
        if self._runner is None:
            return
        self._stopping.set()
        self._feed.changed()
        # Forgotten only afterwards: a stop that was cancelled can be finished by another.
        await self._runner.cleanup()
        self._runner = None
        self._state = EmulatorState.IDLE

    @property
    def url(self) -> str:
        """Base URL of the API and address of the page; ends in a slash. Exposed, it has the token.

        Raises:
            RuntimeError: It does not serve.
        """
        self._check_serving()
        return f"http://{authority(reachable(self._host), self._port)}{self._root}"

    @property
    def token(self) -> str:
        """What control requests carry in `X-Emulator-Token`.

        Raises:
            RuntimeError: It does not serve.
        """
        self._check_serving()
        return self._token

    @property
    def in_flight(self) -> int:
        """Requests that are read and not answered yet."""
        return self._gauge.now

    @property
    def max_in_flight(self) -> int:
        """The most requests handled at once so far.

        Without latency or a hang a request is answered in the moment it is read: give faults a
        latency to see overlap.
        """
        return self._gauge.highest

    @property
    def max_in_flight_per_visitor(self) -> int:
        """The most requests of one visitor at one company handled at once so far."""
        return self._gauge.highest_of_a_visitor

    def script(self, *faults: Fault) -> None:
        """Let the next POSTs meet these faults, in order; then the random plan goes on."""
        self._faults.script(faults)

    def plan(self, faults: FaultPlan) -> None:
        """Replace the random faults from the next POST on; scripted ones stay."""
        self._faults.plan(faults)

    def recover(self) -> None:
        """End all faults: the scripted ones and the random plan."""
        self._faults.clear()
        self._faults.plan(FaultPlan())

    def reset(self) -> None:
        """Forget all events, counts and faults; tickets stay."""
        self.recover()
        self._forget()

    def _forget(self) -> None:
        """Forget events, counts and scripted faults; what was planned at the start goes on."""
        self._faults.clear()
        self._gauge.clear()
        self._store.clear()

    async def wait_until(self, condition: Callable[[], bool], *, timeout: float = 5.0) -> None:
        """Wait until a condition on the emulator's state holds; it is looked at on each change.

        Args:
            condition: Called without arguments.
            timeout: Seconds.

        Raises:
            TimeoutError: It did not hold in time.
            TypeError: It is a coroutine function, whose coroutine would always hold.
        """
        with self._feed.listen() as changed:
            async with asyncio.timeout(timeout):
                while not _holds(condition):
                    changed.clear()
                    await changed.wait()

    def _look(self, use: Callable[[Store], T]) -> T:
        return use(self._store)

    def _check_serving(self) -> None:
        if self._state is not EmulatorState.SERVING:
            raise RuntimeError("the emulator does not serve; use `async with` or `await start()`")

    def _application(self) -> web.Application:
        endpoints = EventEndpoints(
            self._store,
            self._faults,
            self._gauge,
            self._error_body,
            self._stopping,
            self._on_request,
        )
        control = Control(
            self._store,
            self._faults,
            self._feed,
            self._settings,
            self._token,
            self._root,
            self._forget,
            self.recover,
            self._stopping,
        )
        routes = [*endpoints.routes(), *control.routes()]
        if self._exposed:
            return build(routes, lambda: None, token=self._token)
        return build(routes, lambda: known_hosts(self._host, self._port))

    @property
    def _root(self) -> str:
        return f"/{self._token}/" if self._exposed else "/"
