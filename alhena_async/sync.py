"""The client for code without an event loop: Flask, Django, Celery, a script.

A thin face on `AlhenaClient`: one thread of its own with an event loop in it, in which the one
client lives. Everything is bound to the process at the first call, so it may be made at import
time, before a server forks its workers; each child begins anew with its own.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
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
from typing import Any, Final, NamedTuple, Self, TypeVar

from alhena_async._config import arguments_from, journal_for_another
from alhena_async._delivery.draining import DrainableOutbox
from alhena_async._delivery.preparation import BeforeSend, not_an_event
from alhena_async._delivery.submission import OutcomeFuture, outcome_of
from alhena_async._exit import EXIT_TIMEOUT, at_exit
from alhena_async._telemetry.sampling import Sampler
from alhena_async.client import AlhenaClient, CloseReport
from alhena_async.errors import AlhenaError, AlhenaTimeoutError, ClientClosedError
from alhena_async.events import CartEvent, CheckoutEvent, Event
from alhena_async.journal import Journal
from alhena_async.observers import Health, Observer, Stats
from alhena_async.outcomes import Outcome
from alhena_async.policies import (
    Coalescing,
    CoalescingName,
    HttpPolicy,
    QueuePolicy,
    Region,
    RegionName,
    RetryPolicy,
)
from alhena_async.transports import Transport

__all__ = ["SyncAlhenaClient", "SyncReceipt"]

_log = logging.getLogger("alhena_async")

_Result = TypeVar("_Result")

_MARGIN: Final = 5.0
"""Seconds beyond its own deadline after which a call is no longer waited for: the loop is held."""

_FAILURE_COUNTS: Final = 60.0
"""Seconds for which a start that failed makes the client not ready."""

_START_TIMEOUT: Final = 30.0
"""Seconds for the first call to open journal and outbox: whoever makes it waits that long."""


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
    let the interpreter's end close it: what waits is then delivered within 10 seconds. One that was
    used lives on until it is closed, also where nobody holds it any more. Any thread may call it.
    After a fork, each child has a client of its own, begun at its first call; what was accepted
    before the fork is the parent's.

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
        region: Region | RegionName = Region.US,
        base_url: str | None = None,
        queue: QueuePolicy | None = None,
        retry: RetryPolicy | None = None,
        http: HttpPolicy | None = None,
        coalescing: Coalescing | CoalescingName = Coalescing.LATEST,
        journal: Journal | str | os.PathLike[str] | None = None,
        observers: Sequence[Observer] = (),
        before_send: BeforeSend | None = None,
        enabled: bool = True,
        transport: Transport | None = None,
        outbox: DrainableOutbox | None = None,
    ) -> None:
        _check_real_threads()

        self._is_paused = False

        def make() -> AlhenaClient:
            client = AlhenaClient(
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
            if self._is_paused:
                client.pause()
            return client

        self._make = make
        self._client = make()
        self._home: _Home | None = None
        self._failure: _Failure | None = None
        self._has_begun = False
        """Whether the client was ever let run: after a fork, only one that was not is of use."""
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
        return home.enter(
            "track", lambda: _tracked(home.client, event, timeout, company_key), timeout
        )

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
        return home.enter(
            "record",
            lambda: home.client.record(event, timeout=timeout, company_key=company_key),
            timeout,
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
            home.call("flush", home.client.flush(timeout), timeout)

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
                _begun.discard(self)
            return self._report

    def pause(self) -> None:
        """Accept events as ever, and send none until `resume`; see `AlhenaClient.pause`.

        It begins nothing: before the first event, that one finds a client that is paused. A child
        that is forked meanwhile is paused as well, until it resumes itself.

        Raises:
            AlhenaTimeoutError: The client's event loop is held up; it pauses once that goes on.
            ClientClosedError, RuntimeError: As for `track`.
        """
        self._steer("pause", is_paused=True)

    def resume(self) -> None:
        """Send what waits, after `pause`. Idempotent.

        Raises:
            AlhenaTimeoutError: The client's event loop is held up; it resumes once that goes on.
            ClientClosedError, RuntimeError: As for `track`.
        """
        self._steer("resume", is_paused=False)

    def _steer(self, call: str, *, is_paused: bool) -> None:
        _check_no_loop(call)
        with self._lock:
            if self._is_closed:
                raise ClientClosedError("the client is closed")
            self._is_paused = is_paused
            home = self._home
            if home is None:
                _steered(self._client, is_paused=is_paused)
        if home is not None:
            home.call(call, _steered_on_loop(home.client, is_paused=is_paused), 0)

    def stats(self) -> Stats:
        """Return a snapshot of this process's counts.

        What was tracked before is in it, except where an event loop runs: there it never waits, and
        what was tracked a moment ago may be missing.
        """
        report = self._report
        own = self._own_stats() if report is None else report.stats
        return own + Stats(not_accepted=self._not_accepted)

    def _own_stats(self) -> Stats:
        client, home = self._client, self._home
        if home is not None and asyncio._get_running_loop() is None:  # noqa: SLF001
            try:
                return home.call("stats", _stats(client), 0)
            except (AlhenaTimeoutError, ClientClosedError):
                _log.debug("alhena: the client's event loop does not turn: counts of just now")
        return client.stats()

    def health(self) -> Health:
        """Return whether this process's client does its work; see `AlhenaClient.health`.

        One that nothing was tracked with yet is ready: it begins at the first call. Where that has
        failed it is not, and the reason says why, until a later call succeeds, or for a minute:
        then it asks to be given work again, as nothing else would tell whether that goes now.
        """
        client, home = self._client, self._home
        if home is None and not self._is_closed:
            return _judged(self._failure, time.monotonic())
        return client.health()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._client!r}>"

    # --- inside --------------------------------------------------------------------------------

    def _start(self, call: str) -> _Home:
        """Return where the client lives in this process; at the first call, begin there."""
        _check_no_loop(call)
        home, failure = self._home, self._failure
        if home is not None:
            return home
        with self._lock:
            if self._is_closed:
                raise ClientClosedError("the client is closed")
            try:
                if self._failure is not None and self._failure is not failure:
                    raise self._failure.error  # of another thread, while this one waited
                if self._home is None:
                    self._home = self._begin()
            except AlhenaError as error:
                if call in {"track", "record"}:
                    self._tell_not_accepted(error)
                raise
            return self._home

    def _begin(self) -> _Home:
        _check_real_threads()  # a server patches in its workers, after this was made
        _end_with_celery()
        self._has_begun = True
        try:
            home = _Home(self._client)
        except BaseException as error:
            if isinstance(error, Exception):
                self._failure = _Failure(error, time.monotonic())
            self._client = self._make()  # a start that failed cannot be repeated
            self._has_begun = False
            raise
        self._failure = None
        _begun.add(self)
        return home

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
        selector) is shared with the parent. That holds as well for a client that another thread
        was just starting, or closing.
        """
        self._lock = threading.Lock()  # a thread that is not here may hold it
        self._closing = threading.Lock()
        _begun.discard(self)
        self._failure = None
        if self._has_begun:
            _of_parents.append((self._home, self._client))
            self._home = None
            self._client = self._make()
            self._has_begun = False


class _Failure(NamedTuple):
    """A start that failed."""

    error: Exception
    at: float


def _judged(failure: _Failure | None, now: float) -> Health:
    """Return the health of a client that has not begun."""
    if failure is None or now - failure.at >= _FAILURE_COUNTS:
        return Health(ready=True, alive=True)
    reason = f"the client could not start, and tries again at the next call: {failure.error}"
    return Health(ready=False, alive=True, reason=reason)


class _Home:
    """A thread with an event loop, in which a client lives.

    Args:
        client: It is started here.

    Raises:
        JournalError, OutboxError: It cannot start.
        AlhenaTimeoutError: It has not started in time; should it do so later, it is closed.
    """

    def __init__(self, client: AlhenaClient) -> None:
        self.client = client
        started: concurrent.futures.Future[asyncio.AbstractEventLoop] = concurrent.futures.Future()
        self._thread = threading.Thread(
            target=_live, args=(client, started), name="alhena-sync", daemon=True
        )
        self._thread.start()
        self._loop = _wait_for_start(started)

    def hand_over(self, event: Event, company_key: str | None) -> SyncReceipt:
        """Let the client have an event; never wait."""
        return SyncReceipt(self.client.track_threadsafe(event, company_key=company_key))

    def call(self, name: str, work: Coroutine[Any, Any, _Result], timeout: float | None) -> _Result:
        """Wait for what the client does.

        Raises:
            AlhenaTimeoutError: The loop is held: not even the call's own deadline was kept. What
                was asked for is done once it turns.
        """
        future = self._ask(work)
        if not _is_over(future, timeout):
            raise AlhenaTimeoutError(_held(name))
        return _result_of(future)

    def enter(
        self, name: str, work: Callable[[], Coroutine[Any, Any, _Result]], timeout: float | None
    ) -> _Result:
        """Wait for what the client does with an event.

        Raises:
            AlhenaTimeoutError: The loop is held. What has not yet begun is withdrawn; of what has,
                nobody can know more before the loop turns, so it goes on, and should the event
                find no room, it is counted.
        """
        entry: concurrent.futures.Future[None] = concurrent.futures.Future()
        future = self._ask(_entered(entry, work))
        if not _is_over(future, timeout):
            if entry.cancel():
                raise AlhenaTimeoutError(f"{_held(name)}; it was not accepted", accepted=False)
            future.add_done_callback(self._tell_late)
            raise AlhenaTimeoutError(
                f"{_held(name)}; the event is on its way in, do not track it again: should it find "
                "no room, it is counted as not accepted"
            )
        return _result_of(future)

    def _ask(self, work: Coroutine[Any, Any, _Result]) -> concurrent.futures.Future[_Result]:
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError as error:
            work.close()
            raise ClientClosedError("the client's event loop is closed") from error

    def _tell_late(self, future: concurrent.futures.Future[Any]) -> None:
        """Count and log what became of an event whose caller has gone on."""
        with self.client.reporting():
            if not future.cancelled():
                future.result()

    def close(self, timeout: float | None) -> CloseReport:
        """End client, loop and thread."""
        report = self.call("close", self.client.close(timeout), timeout)
        self._thread.join(_MARGIN)
        return report


def _is_over(future: concurrent.futures.Future[Any], timeout: float | None) -> bool:
    """Wait for it, as long as it may take and a little longer; cancel it where this is cut off."""
    limit = None if timeout is None or timeout == inf else timeout + _MARGIN
    try:
        done, _ = concurrent.futures.wait([future], limit)
    except BaseException:
        future.cancel()
        raise
    return bool(done)


def _result_of(future: concurrent.futures.Future[_Result]) -> _Result:
    try:
        return future.result()
    except concurrent.futures.CancelledError:
        raise ClientClosedError("the client was closed meanwhile") from None


def _held(name: str) -> str:
    return (
        f"{name}: the client's event loop has not turned for {_MARGIN:.0f} s beyond the timeout "
        "(does an observer or before_send block?)"
    )


async def _entered(
    entry: concurrent.futures.Future[None], work: Callable[[], Coroutine[Any, Any, _Result]]
) -> _Result:
    """Do what was asked for, unless it was withdrawn before the loop came to it."""
    if not entry.set_running_or_notify_cancel():
        raise asyncio.CancelledError
    return await work()


_Started = concurrent.futures.Future[asyncio.AbstractEventLoop]


def _wait_for_start(started: _Started) -> asyncio.AbstractEventLoop:
    try:
        done, _ = concurrent.futures.wait([started], _START_TIMEOUT)
    except BaseException:
        started.cancel()
        raise
    if not done and started.cancel():
        raise AlhenaTimeoutError(
            f"the client has not started within {_START_TIMEOUT:.0f} s, and nothing was accepted: "
            "does the disk of its journal, or the database of its outbox, answer?",
            accepted=False,
        )
    return started.result()


def _live(client: AlhenaClient, started: _Started) -> None:
    """Run a client from its start to its end: what the thread does."""

    async def live() -> None:
        await client.start()
        if not started.set_running_or_notify_cancel():
            await client.close(0)  # too late: nobody waits for it any more
            return
        started.set_result(asyncio.get_running_loop())
        try:
            await client.run()
        except ClientClosedError:
            return  # its dispatcher failed: it has told, and every call says so

    try:
        asyncio.run(live())
    except BaseException as error:
        if started.done() and not started.cancelled():
            raise
        if started.set_running_or_notify_cancel():
            started.set_exception(error)  # whoever made the first call gets it


async def _tracked(
    client: AlhenaClient, event: Event, timeout: float, company_key: str | None
) -> SyncReceipt:
    receipt = await client.track(event, timeout=timeout, company_key=company_key)
    future = OutcomeFuture()
    receipt.add_done_callback(lambda settled: future.set_result(outcome_of(settled)))
    return SyncReceipt(future)


def _steered(client: AlhenaClient, *, is_paused: bool) -> None:
    (client.pause if is_paused else client.resume)()


async def _steered_on_loop(client: AlhenaClient, *, is_paused: bool) -> None:
    _steered(client, is_paused=is_paused)


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

_begun: set[SyncAlhenaClient] = set()
"""Those that run in this process: nobody else may hold one, and what waits is delivered still."""

_of_parents: list[tuple[_Home | None, AlhenaClient]] = []


def _close_all() -> None:
    """Deliver what waits as the interpreter ends, within a bound for all clients together."""
    deadline = time.monotonic() + EXIT_TIMEOUT
    for client in list(_begun):
        try:
            client.close(max(0.0, deadline - time.monotonic()))
        except AlhenaError as error:  # the others are closed all the same
            _log.error("alhena: a client could not be closed as the process ended: %s", error)


def _end_with_celery() -> None:
    """Close as a process of Celery's pool ends: it leaves by `os._exit`, and tells by a signal."""
    signals: Any = sys.modules.get("celery.signals")
    if signals is not None:
        signals.worker_process_shutdown.connect(_on_celery_end)


def _on_celery_end(**_: Any) -> None:
    _close_all()


def _begin_anew() -> None:
    for client in list(_all):
        client._after_fork()  # noqa: SLF001


at_exit(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
