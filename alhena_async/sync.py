"""The client for code without an event loop: Flask, Django, Celery, a script.

A thin face on `AlhenaClient`: one thread of its own with an event loop in it, in which the one
client lives. Everything is bound to the process at the first call, so it may be made at import
time, before a server forks its workers; each child begins anew with its own.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures.thread
import logging
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager
from math import inf
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from alhena_async._config import arguments_from, journal_for_another
from alhena_async._delivery.draining import DrainableOutbox
from alhena_async._delivery.preparation import BeforeSend, not_an_event
from alhena_async._delivery.submission import OutcomeFuture, outcome_of
from alhena_async._telemetry.sampling import Sampler
from alhena_async.client import AlhenaClient, CloseReport
from alhena_async.errors import AlhenaError, AlhenaTimeoutError, ClientClosedError
from alhena_async.events import CartEvent, CheckoutEvent, Event
from alhena_async.journal import Journal
from alhena_async.observers import Observer, Stats
from alhena_async.outcomes import Outcome
from alhena_async.policies import Coalescing, HttpPolicy, QueuePolicy, Region, RetryPolicy
from alhena_async.transports import Transport

__all__ = ["SyncAlhenaClient", "SyncReceipt"]

_log = logging.getLogger("alhena_async")

_Result = TypeVar("_Result")

_EXIT_TIMEOUT: Final = 10.0  # seconds for all clients together, as the interpreter ends

_MARGIN: Final = 5.0
"""Seconds beyond its own deadline after which a call is no longer waited for: the loop is held."""


class SyncReceipt:
    """Stands for an event that was handed over until its outcome is known."""

    __slots__ = ("_future",)

    def __init__(self, future: concurrent.futures.Future[Outcome]) -> None:
        self._future = future

    def done(self) -> bool:
        """Return whether the event is settled, or was not accepted."""
        return self._future.done()

    @property
    def outcome(self) -> Outcome | None:
        """The outcome; None while there is none, and where the event was not accepted."""
        if not self._future.done() or self._future.exception() is not None:
            return None
        return self._future.result()

    def result(self, timeout: float | None = None) -> Outcome:
        """Wait for the outcome, and return it, whatever it is.

        Args:
            timeout: Seconds to wait; None (default) waits as long as it takes.

        Raises:
            AlhenaTimeoutError: It took longer; the event stays queued.
            QueueFullError, ClientClosedError: The event was not accepted.
            RuntimeError: Called where an event loop runs.
        """
        _check_no_loop("result")
        try:
            return self._future.result(timeout)
        except TimeoutError:
            raise AlhenaTimeoutError(
                f"result: no outcome within {timeout} s; the event stays queued"
            ) from None

    def __repr__(self) -> str:
        outcome = self.outcome
        state = outcome.status.value if outcome else "refused" if self.done() else "unsettled"
        return f"<SyncReceipt {state}>"


class SyncAlhenaClient:
    """Reports a shop's events from plain code; see `AlhenaClient` for what becomes of them.

    Use it as `with SyncAlhenaClient("my-company") as alhena: ...`, or make one at import time and
    let the interpreter's end close it: what waits is then delivered within 10 seconds. Any thread
    may call it. After a fork, each child has a client of its own, begun at its first call; what
    was accepted before the fork is the parent's.

    Args:
        company_key: As all others, see `AlhenaClient`.

    Raises:
        ValueError, TypeError: An argument cannot work; the message names it.
        RuntimeError: gevent or eventlet has patched threads: there is none for the event loop.
    """

    def __init__(  # noqa: PLR0913  as the asynchronous client
        self,
        company_key: str,
        *,
        region: Region | str = Region.US,
        base_url: str | None = None,
        queue: QueuePolicy | None = None,
        retry: RetryPolicy | None = None,
        http: HttpPolicy | None = None,
        coalescing: Coalescing | str = Coalescing.LATEST,
        journal: Journal | str | os.PathLike[str] | None = None,
        observers: Sequence[Observer] = (),
        before_send: BeforeSend | None = None,
        enabled: bool = True,
        transport: Transport | None = None,
        outbox: DrainableOutbox | None = None,
    ) -> None:
        _check_real_threads()

        def make() -> AlhenaClient:
            return AlhenaClient(
                company_key,
                region=region,
                base_url=base_url,
                queue=queue,
                retry=retry,
                http=http,
                coalescing=coalescing,
                journal=journal_for_another(journal),
                observers=observers,
                before_send=before_send,
                enabled=enabled,
                transport=transport,
                outbox=outbox,
            )

        self._make = make
        self._client = make()
        self._home: _Home | None = None
        self._lock = threading.Lock()
        self._has_outbox = outbox is not None and enabled
        self._is_closed = False
        self._not_accepted = 0
        self._refusals = Sampler()
        self._closing = threading.Lock()
        self._report: CloseReport | None = None
        _all.add(self)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **arguments: Any) -> Self:
        """Make a client from `ALHENA_*` variables; see `AlhenaClient.from_env`."""
        return cls(**arguments_from(os.environ if environ is None else environ, arguments))

    @property
    def base_url(self) -> str:
        """Where events go."""
        return self._client.base_url

    # --- recording -----------------------------------------------------------------------------

    def track(
        self, event: Event, *, timeout: float = 0, company_key: str | None = None
    ) -> SyncReceipt:
        """Hand an event over; it is delivered in the background.

        It takes microseconds and never waits for the network. Whether there was room for it, the
        receipt tells: an event that found none is logged and counted as `Stats.not_accepted`.

        Args:
            event: What happened.
            timeout: Seconds to wait for room and, with a journal, for the disk. 0 (default): waits
                for neither. `math.inf` waits as long as it takes.
            company_key: Another organisation's key than the client's own.

        Raises:
            AlhenaTimeoutError: It took longer; `accepted` says whether the event was accepted.
            JournalError: The event could not be written to disk; it goes on in memory. Or the
                journal's directory cannot be used: then it was not accepted, and is counted so.
            OutboxError: The outbox's database cannot be used: the same.
            ClientClosedError: The client was closed.
            RuntimeError: Called where an event loop runs: use `AlhenaClient` there.
            TypeError: Not an event.
        """
        home = self._start("track")
        if not isinstance(event, CartEvent | CheckoutEvent):
            raise not_an_event(event)
        if not timeout:
            return home.hand_over(event, company_key)
        return home.call(_tracked(home.client, event, timeout, company_key), timeout)

    def record(
        self, event: Event, *, timeout: float | None = 10.0, company_key: str | None = None
    ) -> Outcome:
        """Deliver an event now, in its visitor's order, and return how that ended.

        Args:
            event: What happened.
            timeout: Seconds for room and delivery together, default 10; None waits.
            company_key: Another organisation's key than the client's own.

        Returns:
            The outcome, if it is `RECORDED`, `DUPLICATE` or `UNATTRIBUTED`.

        Raises:
            DeliveryError: Any other outcome, as its own class.
            AlhenaTimeoutError: It took longer; the message says whether the event stays queued.
            ClientClosedError, RuntimeError, TypeError: As for `track`.
        """
        home = self._start("record")
        return home.call(
            home.client.record(event, timeout=timeout, company_key=company_key), timeout
        )

    def outbox_changed(self) -> None:
        """Look into the outbox at once: call it after a commit. At the first call it begins.

        Raises:
            OutboxError, JournalError: It cannot start.
            ClientClosedError, RuntimeError: As for `track`.
        """
        self._start("outbox_changed").client.outbox_changed()

    def reporting(self) -> AbstractContextManager[None, bool]:
        """Return a `with` block in which no error of this package leaves, and none is hidden.

        See `AlhenaClient.reporting`.
        """
        return self._client.reporting()

    # --- life ----------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        if self._has_outbox:
            self._start("__enter__")  # what is committed waits for nobody's first event
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def flush(self, timeout: float | None = None) -> None:
        """Wait until everything accepted in this process before this call is settled.

        Args:
            timeout: Seconds to wait; None (default) waits as long as it takes.

        Raises:
            AlhenaTimeoutError: It took longer; the events stay queued.
            ClientClosedError, RuntimeError: As for `track`.
        """
        _check_no_loop("flush")
        if self._is_closed:
            raise ClientClosedError("the client is closed")
        home = self._start("flush") if self._has_outbox else self._home
        if home is not None:
            home.call(home.client.flush(timeout), timeout)

    def close(self, timeout: float | None = 10.0) -> CloseReport:
        """Accept nothing more, deliver what is waiting, and stop. Idempotent.

        Args:
            timeout: Seconds for what is waiting. Default 10; None takes as long as it takes.

        Returns:
            What was left, and the final counts; see `AlhenaClient.close`.

        Raises:
            AlhenaTimeoutError: The client's event loop is held up, by an observer for instance.
            RuntimeError: Called where an event loop runs.
        """
        _check_no_loop("close")
        with self._lock:
            self._is_closed = True
            home, self._home = self._home, None
        with self._closing:
            if self._report is None:
                try:
                    self._report = _unused(self._client) if home is None else home.close(timeout)
                except BaseException:
                    self._home = home  # for another try
                    raise
            return self._report

    def stats(self) -> Stats:
        """Return a snapshot of this process's counts."""
        home, report = self._home, self._report
        refused = Stats(not_accepted=self._not_accepted)
        if report is not None:
            return report.stats + refused
        own = self._client.stats() if home is None else home.call(_stats(home.client), 0)
        return own + refused

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._client!r}>"

    # --- inside --------------------------------------------------------------------------------

    def _start(self, call: str) -> _Home:
        """Return where the client lives in this process; at the first call, begin there."""
        _check_no_loop(call)
        home = self._home
        if home is not None:
            return home
        with self._lock:
            if self._is_closed:
                raise ClientClosedError("the client is closed")
            if self._home is None:
                _check_real_threads()  # a server patches in its workers, after this was made
                try:
                    self._home = _Home(self._client)
                except BaseException as error:
                    self._client = self._make()  # a start that failed cannot be repeated
                    if call in {"track", "record"} and isinstance(error, AlhenaError):
                        self._tell_not_accepted(error)
                    raise
            return self._home

    def _tell_not_accepted(self, error: AlhenaError) -> None:
        """Count and log an event of a client that could not even start."""
        self._not_accepted += 1
        count, is_due = self._refusals.count(type(error).__name__, time.monotonic())
        _log.log(
            logging.WARNING if is_due else logging.DEBUG,
            "alhena: an event was not accepted, as the client cannot start: %s (%d so far)",
            error, count,
        )  # fmt: skip

    def _after_fork(self) -> None:
        """Begin anew in a child: the parent's thread is not here, and its client is the parent's.

        Both are kept for ever: what their finalizers would let go of (connections, the loop's
        selector) is shared with the parent.
        """
        self._lock = threading.Lock()  # a thread that is not here may hold it
        self._closing = threading.Lock()
        if self._home is not None:
            _of_parents.append(self._home)
            self._home = None
            self._client = self._make()


class _Home:
    """A thread with an event loop, in which a client lives.

    Args:
        client: It is started here.

    Raises:
        JournalError: It cannot start.
    """

    def __init__(self, client: AlhenaClient) -> None:
        self.client = client
        started: concurrent.futures.Future[asyncio.AbstractEventLoop] = concurrent.futures.Future()
        self._thread = threading.Thread(
            target=_live, args=(client, started), name="alhena-sync", daemon=True
        )
        self._thread.start()
        self._loop = started.result()

    def hand_over(self, event: Event, company_key: str | None) -> SyncReceipt:
        """Let the client have an event; never wait."""
        return SyncReceipt(self.client.track_threadsafe(event, company_key=company_key))

    def call(self, work: Coroutine[Any, Any, _Result], timeout: float | None) -> _Result:
        """Wait for what the client does.

        Raises:
            AlhenaTimeoutError: The loop is held: not even the call's own deadline was kept.
        """
        try:
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError as error:
            work.close()
            raise ClientClosedError("the client's event loop is closed") from error
        limit = None if timeout is None or timeout == inf else timeout + _MARGIN
        try:
            return future.result(limit)
        except concurrent.futures.CancelledError:
            raise ClientClosedError("the client was closed meanwhile") from None
        except BaseException:
            future.cancel()
            raise

    def close(self, timeout: float | None) -> CloseReport:
        """End client, loop and thread."""
        try:
            report = self.call(self.client.close(timeout), timeout)
        except TimeoutError:
            raise AlhenaTimeoutError(
                f"close: the client's event loop has not turned for {_MARGIN:.0f} s beyond its "
                "timeout: does an observer or before_send block?"
            ) from None
        self._thread.join(_MARGIN)
        return report


def _live(
    client: AlhenaClient, started: concurrent.futures.Future[asyncio.AbstractEventLoop]
) -> None:
    """Run a client from its start to its end: what the thread does."""

    async def live() -> None:
        try:
            await client.start()
        except BaseException as error:  # noqa: BLE001  whoever made the first call gets it
            started.set_exception(error)
            return
        started.set_result(asyncio.get_running_loop())
        try:
            await client.run()
        except ClientClosedError:
            return  # its dispatcher failed: it has told, and every call says so

    asyncio.run(live())


async def _tracked(
    client: AlhenaClient, event: Event, timeout: float, company_key: str | None
) -> SyncReceipt:
    receipt = await client.track(event, timeout=timeout, company_key=company_key)
    future = OutcomeFuture()
    receipt.add_done_callback(lambda settled: future.set_result(outcome_of(settled)))
    return SyncReceipt(future)


async def _stats(client: AlhenaClient) -> Stats:
    return client.stats()


def _unused(client: AlhenaClient) -> CloseReport:
    """Close a client that was never started: nothing waits for anything."""
    return asyncio.run(client.close())


def _check_no_loop(call: str) -> None:
    if asyncio._get_running_loop() is not None:  # noqa: SLF001  public in all but its name
        raise RuntimeError(
            f"SyncAlhenaClient.{call} would block the running event loop: use AlhenaClient there"
        )


def _check_real_threads() -> None:
    """Refuse where threads are none: the event loop would run in, and hold up, the caller's own.

    Raises:
        RuntimeError: gevent or eventlet has patched them.
    """
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    if gevent is not None and gevent.is_module_patched("threading"):
        patched = "gevent"
    elif eventlet is not None and eventlet.is_monkey_patched("thread"):
        patched = "eventlet"
    else:
        return
    raise RuntimeError(
        f"SyncAlhenaClient needs a real thread, and {patched} has patched threading: deliver from a"
        " worker of another class (gunicorn -k gthread), or write the event to an outbox or a file"
    )


_all: weakref.WeakSet[SyncAlhenaClient] = weakref.WeakSet()

_of_parents: list[_Home] = []


def _close_all() -> None:
    """Deliver what waits as the interpreter ends, within a bound for all clients together."""
    deadline = time.monotonic() + _EXIT_TIMEOUT
    for client in list(_all):
        if client._home is not None:  # noqa: SLF001
            try:
                client.close(max(0.0, deadline - time.monotonic()))
            except AlhenaError as error:  # the others are closed all the same
                _log.error("alhena: a client could not be closed as the process ended: %s", error)


def _begin_anew() -> None:
    for client in list(_all):
        client._after_fork()  # noqa: SLF001


# At `atexit` the threads of executors are gone already, in one of which names are resolved; what is
# registered here runs before they end, and also at the end of a `multiprocessing` child.
_register: Callable[[Callable[[], None]], object] = getattr(
    threading, "_register_atexit", atexit.register
)
_register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
