"""The door: everything that a shop's code calls."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import logging
import os
import warnings
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from math import inf
from types import TracebackType
from typing import Any, Self, overload

import attrs

from alhena_async._config import (
    Route,
    arguments_from,
    checked_policy,
    checked_transport,
    half_rate,
    journal_of,
    place_of,
    unread_variable,
    with_linger,
)
from alhena_async._delivery.cancellation import wait_out
from alhena_async._delivery.draining import DrainableOutbox, OutboxDrain
from alhena_async._delivery.engine import Engine
from alhena_async._delivery.lifecycle import ClientState, Lifecycle
from alhena_async._delivery.preparation import BeforeSend, EventPreparer, checked_company_key
from alhena_async._delivery.submission import (
    CapturingSubmitter,
    OutcomeFuture,
    Row,
    Submitter,
    record,
    record_all,
)
from alhena_async._http.transport import HttpTransport
from alhena_async._queue.envelope import Receipt
from alhena_async._telemetry.logbook import Logbook
from alhena_async._telemetry.telemetry import Reporting, Telemetry
from alhena_async.errors import AlhenaTimeoutError, ClientClosedError
from alhena_async.events import Event
from alhena_async.journal import Journal
from alhena_async.observers import Health, Observer, Snapshot, Stats
from alhena_async.outcomes import InvalidEvent, Outcome, OutcomeStatus
from alhena_async.policies import (
    Coalescing,
    CoalescingName,
    HttpPolicy,
    QueuePolicy,
    Region,
    RegionName,
    RetryPolicy,
    choice_of,
    resolve_base_url,
)
from alhena_async.transports import Endpoint, Transport

__all__ = ["AlhenaClient", "CloseReport"]

_LINGER = 0.5  # seconds, where the policy does not say

_RECORD_ALL_WINDOW = 256

_log = logging.getLogger("alhena_async")


@attrs.frozen(kw_only=True)
class CloseReport:
    """What `close` left behind.

    Attributes:
        undelivered: The events that settled as `KEPT` or `ABANDONED`, lane by lane in order. What
            the journal's disk alone had is counted in `stats`, and not listed.
        stats: The final counts.
    """

    undelivered: tuple[Event, ...]
    stats: Stats


class AlhenaClient:
    """Reports a shop's cart and checkout events to Alhena, in order per visitor.

    Use it as `async with AlhenaClient("my-company", region="eu") as alhena: ...`, or call `start`
    and `close`. Constructing binds no event loop, socket or process, so it may happen before a
    server forks its workers; `start` binds it to the running loop.

    Args:
        company_key: The organisation's public key.
        region: `"us"` (default) or `"eu"`.
        base_url: Instead of the region's host, for instance an emulator's URL.
        queue: Room, linger, requests at once.
        retry: What is tried again, and for how long.
        http: Timeouts, TLS, proxy.
        coalescing: Which waiting events fold; a `Coalescing` or its value. Default `LATEST`.
        journal: A directory to keep accepted events in until they are settled, so that they
            survive the process; or a `SQLiteJournal` with settings of its own. None (default):
            events live in memory. One client per journal. Unused under `enabled=False`.
        observers: Instances of `Observer`; each is told of everything that happens.
        before_send: Called with each event as it is accepted; returns it, another one, or None to
            drop it. One that raises drops too: it may be a privacy filter.
        enabled: False accepts everything and sends nothing, for tests and staging.
        transport: Instead of HTTP, something else that carries requests.
        outbox: A `SQLiteOutbox`: what the shop's own transactions committed to it is delivered
            beside the client's own events, in order per visitor among themselves. Not touched
            under `enabled=False`.

    Raises:
        ValueError, TypeError: An argument cannot work; the message names it.
    """

    def __init__(  # noqa: PLR0913  each is one thing that a shop may want otherwise
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
        if outbox is not None and not callable(getattr(outbox, "drain", None)):
            raise TypeError(
                f"outbox must be a SQLiteOutbox, not {type(outbox).__name__}: one in Postgres is "
                "delivered by `alhena relay run`"
            )
        http = checked_policy("http", http, HttpPolicy)
        destination = resolve_base_url(region, base_url, allow_insecure=http.allow_insecure)
        drain: OutboxDrain | None = None
        if outbox is not None and enabled:
            drain = outbox.drain(
                destination=destination,
                retry=checked_policy("retry", retry, RetryPolicy),
                http=http,
                observers=observers,
                max_in_flight=checked_policy("queue", queue, QueuePolicy).max_in_flight,
                max_rate=half_rate(queue),
                transport=transport,
            )
            queue = attrs.evolve(queue or QueuePolicy(), max_rate=half_rate(queue))
        if transport is None:  # one that holds what it sent may well be empty, and so false
            transport = HttpTransport(destination, http)
        route = Route(
            transport=checked_transport(transport),
            destination=destination,
            name=destination,
            linger=_LINGER,
            http=http,
        )
        self._assemble(
            company_key,
            route,
            queue=queue,
            retry=retry,
            coalescing=coalescing,
            journal=journal,
            observers=observers,
            before_send=before_send,
            enabled=enabled,
            drain=drain,
        )

    def _assemble(
        self,
        company_key: str,
        route: Route,
        *,
        queue: QueuePolicy | None,
        retry: RetryPolicy | None,
        coalescing: Coalescing | CoalescingName,
        journal: Journal | str | os.PathLike[str] | None,
        observers: Sequence[Observer],
        before_send: BeforeSend | None,
        enabled: bool,
        drain: OutboxDrain | None = None,
    ) -> None:
        """Put the parts together, on whatever route the events go; else see the class."""
        self._lifecycle = Lifecycle()
        self._drain = drain
        checked_company_key(company_key)
        policy = checked_policy("queue", queue, QueuePolicy)
        retry = checked_policy("retry", retry, RetryPolicy)
        if not isinstance(enabled, bool):
            raise TypeError(f"enabled must be True or False, not {type(enabled).__name__}")
        policy = with_linger(policy, retry, route.linger)
        self._track_timeout = policy.track_timeout
        kept_in = journal_of(journal)
        preparer = EventPreparer(
            before_send=before_send, enabled=enabled, assign_order_ids=retry.assign_order_ids
        )
        self.base_url: str = route.name
        self._enabled = enabled
        self._telemetry = Telemetry(
            observers,
            lambda: self._lifecycle.loop,
            logbook=Logbook(self.base_url, place_of(kept_in), route.keeper),
            destination=self.base_url,
        )
        self._reporting = Reporting(self._telemetry.reported)
        self._engine = Engine(
            lifecycle=self._lifecycle,
            company_key=company_key,
            policy=policy,
            retry=retry,
            http=route.http,
            coalescing=choice_of(Coalescing, coalescing, "coalescing"),
            telemetry=self._telemetry,
            transport=route.transport,
            journal=kept_in if enabled else None,  # otherwise it would send what others left
            destination=route.destination,
            fence=route.fence,
            outbox=drain,
        )
        self._engine.counts = weakref.WeakMethod(self.stats)
        self._queue = self._engine.queue
        submitter = CapturingSubmitter if self._telemetry.captures else Submitter
        self._submitter = submitter(
            lifecycle=self._lifecycle,
            preparer=preparer,
            queue=self._queue,
            telemetry=self._telemetry,
            overflow=policy.overflow,
            journal=self._engine.journal,
        )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **arguments: Any) -> Self:
        """Make a client from `ALHENA_*` variables.

        `ALHENA_COMPANY_KEY` (required), `ALHENA_REGION`, `ALHENA_BASE_URL`, `ALHENA_JOURNAL` (a
        directory), `ALHENA_ENABLED` (1, true, yes, on or 0, false, no, off), `ALHENA_COALESCING`,
        and one for each field of `QueuePolicy`, `RetryPolicy`, `BreakerPolicy` and `HttpPolicy`
        but `ssl` and `connector`: `docs/settings.md` has the table, `alhena settings` prints what
        is in force. An empty variable counts as unset. No `.env` file is read.

        Args:
            environ: Where to look; None (default) looks in the process's environment.
            **arguments: Constructor arguments; one that is given wins over its variable, except
                that variables of a policy's fields are set on the policy that is given.

        Raises:
            ValueError: A variable is missing or cannot be read; the message names it.
        """
        return cls(**arguments_from(os.environ if environ is None else environ, arguments))

    # --- life ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Bind to the running event loop and begin to deliver. Idempotent while running.

        With a journal, this also takes over what dead processes left for the same destination: it
        is delivered in the background, ahead of younger events of the same visitors. A full disk
        does not fail it: events go on in memory until there is room.

        Raises:
            JournalError: The journal's directory cannot be used; or the journal was opened before,
                as by an earlier start that failed: make another client.
            OutboxError: The outbox's database cannot be used: make another client.
            ClientClosedError: The client was closed.
            RuntimeError: It runs on another event loop or in another process.
        """
        if not await self._engine.start():
            return
        self._telemetry.started(_Look(self))
        if self._drain is not None:
            try:
                await self._drain.start()
            except BaseException:
                await self.close(0)
                raise
        _started.add(self)
        if self._enabled:
            _log.info("alhena: events go to %s", self.base_url)
            if name := unread_variable(os.environ, self.base_url):
                _log.warning(
                    "alhena: %s is set, and events go to %s all the same: the code has the last "
                    "word, and with a company key in it no variable is read; from_env(), and an "
                    "integration that is given no key, reads them",
                    name,
                    self.base_url,
                )
        else:
            _log.info("alhena: enabled=False: events are accepted, and none is sent")

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def run(self, *, drain_timeout: float = 10.0) -> None:
        """Start, deliver until cancelled, drain, re-raise: for an async worker or a TaskGroup.

        Returns when `close` is called elsewhere. A second request to cancel abandons what is left;
        a scope of anyio delivers one request many times, and that is still one.

        Args:
            drain_timeout: Seconds to deliver what is left once cancelled.

        Raises:
            ClientClosedError: The client was closed before, or its dispatcher failed.
        """
        await self.start()
        try:
            await self._lifecycle.wait_until_stopped()
            if self._lifecycle.state is ClientState.FAILED:
                await self.close()  # nobody else may come to do it
                raise self._lifecycle.closed_error()
        except asyncio.CancelledError:
            await self.close(drain_timeout)
            raise

    async def flush(self, timeout: float | None = None) -> None:
        """Wait until everything accepted before this call is settled; nothing of it lingers.

        Lanes in backoff are waited for, and so is what the journal's disk alone has, and all that
        earlier processes left in it, as far as it was found by now; and with an `outbox` what was
        committed to it before this call. Cancelled, it only stops waiting.

        Args:
            timeout: Seconds to wait; None (default) waits as long as it takes.

        Raises:
            AlhenaTimeoutError: It took longer; the events stay queued.
            ClientClosedError: The client was closed.
            RuntimeError: Not called on the client's event loop.
        """
        self._lifecycle.check_running()
        settled = self._queue.flush()
        try:
            async with asyncio.timeout(timeout):
                await settled
                if self._drain is not None:
                    await self._drain.flush()
        except TimeoutError:
            if self._drain is None and settled.done() and not settled.cancelled():
                return  # in the very turn in which the time was over
            unsettled = self._queue.outstanding + self._queue.unpaged
            paused = "; the client is paused" if self._engine.gate.is_paused else ""
            raise AlhenaTimeoutError(
                f"flush: {unsettled} events were unsettled after {timeout} s; "
                f"they stay queued{paused}"
            ) from None

    async def close(self, timeout: float | None = 10.0) -> CloseReport:
        """Accept nothing more, deliver what is waiting, and stop.

        What is left at the end is listed, and settles as `KEPT` if a journal has it on disk for
        the next start, otherwise as `ABANDONED`. Idempotent: a second call waits for the first and
        returns the same report. Cancelled, it leaves what is left at once, stops cleanly, and
        re-raises; where it is called because of a cancellation (in a `finally`, at the end of an
        `async with`), a scope of anyio that delivers that one again and again counts once. What
        earlier processes left in the journal and was not yet read stays there.

        Args:
            timeout: Seconds for the delivery of what is waiting: one deadline for all of it.
                Default 10; None takes as long as the events' own deadlines.
        """
        if self._lifecycle.state is ClientState.NEW:
            self._lifecycle.move(ClientState.CLOSED)
        if self._lifecycle.state is ClientState.CLOSED:
            return self._report()
        loop = self._lifecycle.check_here()
        deadline = inf if timeout is None else loop.time() + timeout
        shutdown = self._engine.shut_down(deadline)
        cancelled = await wait_out(shutdown, lambda: self._engine.shut_down(loop.time()))
        if cancelled is not None:
            raise cancelled
        await shutdown  # over: raises what it failed with
        self._telemetry.deliver()
        return self._report()

    def pause(self) -> None:
        """Accept events as ever, and send none until `resume`: for an operator's hand.

        What is on the wire ends as it ends, and is not repeated meanwhile. Waiting events keep
        their deadlines: those that are paused past them expire. `Stats.paused` says it, and so do
        two lines of the log. Before `start`, it starts paused; with an `outbox`, that waits too.

        `flush` waits for `resume`, or for its timeout. `close` delivers nothing more: it waits
        for what is on the wire, and what is left settles as `KEPT` or `ABANDONED`, as at any end.

        Idempotent. A pause belongs to this client, not to its journal: the next one sends.

        Raises:
            ClientClosedError: The client was closed.
            RuntimeError: Not called on the client's event loop.
        """
        self._check_steerable()
        self._engine.pause()
        if self._drain is not None:
            self._drain.pause()

    def resume(self) -> None:
        """Send what waits, after `pause`. Idempotent.

        Raises:
            ClientClosedError, RuntimeError: As for `pause`.
        """
        self._check_steerable()
        self._engine.resume()
        if self._drain is not None:
            self._drain.resume()

    def _check_steerable(self) -> None:
        if self._lifecycle.state is not ClientState.NEW:
            self._lifecycle.check_running()

    # --- recording -----------------------------------------------------------------------------

    def track_nowait(self, event: Event, *, company_key: str | None = None) -> Receipt:
        """Accept an event and return at once; it is delivered in the background.

        Never awaits, never blocks. Not to be called from another thread.

        Args:
            event: What happened.
            company_key: Another organisation's key than the client's own.

        Returns:
            The receipt; `await receipt` gives the outcome.

        Raises:
            QueueFullError: There is no room, and the overflow policy rejects.
            ClientClosedError: The client was closed, or its dispatcher failed.
            RuntimeError: Not called on the client's event loop; from another thread use
                `track_threadsafe`.
            TypeError: Not an event.
        """
        return self._submitter.submit_nowait(event, company_key)

    async def track(
        self, event: Event, *, timeout: float | None = None, company_key: str | None = None
    ) -> Receipt:
        """Accept an event as soon as there is room: visitors in turn, checkouts first.

        With a journal there is room as long as its disk has some, and it returns once the event is
        on disk. From the moment there was room the
        event stands in its lane, in call order, and may be sent before that.

        Cancelled while it waits for room, it leaves no trace; cancelled while it waits for the
        disk, it only stops waiting: the event stays accepted.

        Args:
            event: What happened.
            timeout: Seconds to wait for room and disk together. None (default):
                `QueuePolicy.track_timeout`. `math.inf` waits as long as it takes.
            company_key: Another organisation's key than the client's own.

        Raises:
            AlhenaTimeoutError: It took longer; `accepted` says whether the event was accepted.
            JournalError: The event could not be written to disk; it goes on in memory.
            ClientClosedError: The client was closed while it waited for room, or before.
            RuntimeError: Not called on the client's event loop.
            TypeError: Not an event.
        """
        timeout = self._track_timeout if timeout is None else timeout
        timeout = None if timeout == inf else timeout
        return await self._submitter.submit_durably(event, company_key, timeout=timeout)

    def track_threadsafe(
        self, event: Event, *, company_key: str | None = None
    ) -> concurrent.futures.Future[Outcome]:
        """Accept an event from any thread other than the event loop's.

        Room and overflow are those of `track_nowait`. Cancelling the future before the loop has
        seen the event withdraws it; after that it cancels nothing.

        Args:
            event: What happened.
            company_key: Another organisation's key than the client's own.

        Returns:
            A future for the outcome; it raises what `track_nowait` would have raised, and
            `ClientClosedError` where the client's event loop has stopped.

        Raises:
            ClientClosedError: The client was closed.
            RuntimeError: It was not started, or not in this process.
        """
        loop = self._lifecycle.check_process()
        future = OutcomeFuture()
        if not (loop.is_running() or loop.is_closed()):
            self._submitter.refuse_threadsafe(future)
            return future
        try:
            enter = self._submitter.submit_threadsafe
            loop.call_soon_threadsafe(enter, event, company_key, future)
        except RuntimeError as error:
            raise ClientClosedError("the client's event loop is closed") from error
        return future

    async def record(
        self, event: Event, *, timeout: float | None = 10.0, company_key: str | None = None
    ) -> Outcome:
        """Deliver an event now, in its visitor's order, and return how that ended.

        It does not linger and is never folded away. Cancelled once accepted, it stays queued.

        Args:
            event: What happened.
            timeout: Seconds for room and delivery together, default 10; None waits.
            company_key: Another organisation's key than the client's own.

        Returns:
            The outcome, if it is `RECORDED`, `DUPLICATE` or `UNATTRIBUTED`.

        Raises:
            DeliveryError: Any other outcome, as its own class.
            AlhenaTimeoutError: It took longer; the message says whether the event stays queued.
            ClientClosedError: The client was closed.
            RuntimeError: Not called on the client's event loop.
            TypeError: Not an event.
        """
        return await record(self._submitter, event, timeout=timeout, company_key=company_key)

    @overload
    def record_all(
        self,
        events: Iterable[Event] | AsyncIterable[Event],
        *,
        window: int = ...,
        company_key: str | None = ...,
    ) -> AsyncIterator[Outcome]: ...
    @overload
    def record_all(
        self,
        events: Iterable[Row] | AsyncIterable[Row],
        *,
        make: Callable[[Row], Event],
        window: int = ...,
        company_key: str | None = ...,
    ) -> AsyncIterator[Outcome | InvalidEvent]: ...
    def record_all(
        self,
        events: Iterable[Any] | AsyncIterable[Any],
        *,
        make: Callable[[Any], Event] | None = None,
        window: int = _RECORD_ALL_WINDOW,
        company_key: str | None = None,
    ) -> AsyncIterator[Any]:
        """Deliver many events, and yield their outcomes in the order of the events.

        Never raises for a refused event. An outcome is yielded once the next event was read, or
        the source has ended. When the caller stops early, what was read stays queued. When the
        source raises, or an event is not accepted, the outcomes of all before it come first.

        With `make` the source is of rows, and a bad one ends no import: where `make` raises, or
        returns no event, an `InvalidEvent` with the row's number is yielded in its place, and
        counted as in `reporting`. (A generator that makes the events itself cannot go on after an
        error.)

        Args:
            events: Events, or rows for `make`; read only as far as the window reaches.
            make: Returns the event of one row: a plain function. None (default): they are events.
            window: Events accepted and not yet yielded, at most. Default 256.
            company_key: Another organisation's key than the client's own.

        Raises:
            ClientClosedError, RuntimeError, TypeError: As for `track`.
        """
        return record_all(
            self._submitter, events, make=make, window=window, company_key=company_key
        )

    def reporting(self) -> AbstractContextManager[None, bool]:
        """Return a `with` block in which no error of this package leaves, and none is hidden.

        It is for the handlers of a shop, which must go on whatever is wrong with an event: make
        and track the event inside it. Every `AlhenaError` ends there; nothing else does, and no
        cancellation. For `async def` and `def`, on the event loop and in other threads; blocks may
        stand within one another.

        An event that breaks a rule (`InvalidEventError`) is logged at WARNING with the place in
        your code, each field and rule at its 1st, 10th, 100th ... time (the rest at DEBUG), counted
        as `Stats.invalid` and told to `Observer.invalid`; `for_change` with the same quantity twice
        is no mistake, and only a DEBUG line. A full queue, a closed client or a `timeout` without
        room is logged likewise, counted as `Stats.not_accepted` and told to
        `Observer.not_accepted`; a timeout of an event that was accepted is logged. Any other error
        is a DEBUG line: of a `DeliveryError` the outcome, of a `JournalError` the journal has told.
        """
        return self._reporting

    # --- looking -------------------------------------------------------------------------------

    def stats(self) -> Stats:
        """Return a snapshot of the counts; those of an `outbox` are among them."""
        own = self._own_stats()
        return own if self._drain is None else own + self._drain.stats()

    def _own_stats(self) -> Stats:
        gate = self._engine.gate
        loop = self._lifecycle.loop
        outcomes = self._telemetry.outcomes
        on_loop = asyncio._get_running_loop() is loop  # noqa: SLF001  public in all but its name
        oldest_age = self._queue.oldest_age if on_loop else self._queue.peek_oldest_age
        return Stats(
            accepted=self._telemetry.accepted_count,
            replayed=self._telemetry.replayed_count,
            **{field: outcomes[status] for field, status in _STATUS_FIELDS},
            queued=self._queue.queued,
            in_flight=self._queue.in_flight,
            spilled=self._queue.spilled,
            retries=self._telemetry.retries,
            failed_attempts=self._telemetry.failed_attempts,
            requests=self._telemetry.requests,
            invalid=self._telemetry.invalid_count,
            not_accepted=self._telemetry.not_accepted_count,
            cart_breaker=gate.breaker(Endpoint.CART),
            checkout_breaker=gate.breaker(Endpoint.CHECKOUT),
            oldest_age=oldest_age(loop.time()) if loop else 0.0,
            paused=gate.is_paused,
            wire=self._engine.wire,
        )

    def health(self) -> Health:
        """Return whether this client does its work, and if not, why. From any thread; never waits.

        Not ready is a client that is not started or is being closed, that has no room for another
        event, or whose API does not answer (an open breaker). Not alive is one whose event loop has
        ended, whose dispatcher failed, or whose journal's thread is gone.
        """
        return self._engine.health()

    def outbox_changed(self) -> None:
        """Look into the outbox at once: call it after a commit. From any thread.

        Without it, what was committed is found within half a second. It does nothing without an
        `outbox`, or where the client does not run.
        """
        loop = self._lifecycle.loop
        if self._drain is not None and loop is not None and loop.is_running():
            loop.call_soon_threadsafe(self._drain.wake)

    def __repr__(self) -> str:
        waiting = f"{self._queue.queued} queued, {self._queue.in_flight} in flight"
        if self._queue.spilled:
            waiting += f", {self._queue.spilled} on disk alone"
        waiting += ", paused" * self._engine.gate.is_paused
        return f"<{type(self).__name__} {self._lifecycle.state.value}, {self.base_url}, {waiting}>"

    def __del__(self) -> None:
        lifecycle = getattr(self, "_lifecycle", None)  # None when the constructor raised
        if lifecycle is not None and lifecycle.is_open and lifecycle.is_here:
            self._engine.forget()
            warnings.warn(f"{self!r} was never closed", ResourceWarning, source=self, stacklevel=2)

    # --- inside --------------------------------------------------------------------------------

    def _snapshot(self) -> Snapshot | None:
        if not self._lifecycle.is_here:
            return None
        return Snapshot(
            stats=self._own_stats(),
            capacity=self._queue.admission.capacity,
            journal=self._engine.journal_levels,
        )

    def _report(self) -> CloseReport:
        return CloseReport(undelivered=tuple(self._engine.undelivered), stats=self.stats())


class _Look:
    """Returns how a client fares, without keeping it alive.

    Args:
        client: Whose.
    """

    def __init__(self, client: AlhenaClient) -> None:
        self._client = weakref.ref(client)

    def __call__(self) -> Snapshot | None:
        """Return the levels; None once the client is gone, or in a fork of its process."""
        client = self._client()
        return None if client is None else client._snapshot()  # noqa: SLF001


_STATUS_FIELDS = tuple((status.value, status) for status in OutcomeStatus)


_started: weakref.WeakSet[AlhenaClient] = weakref.WeakSet()


def _forget_all() -> None:
    """Say at the interpreter's end what is lost of clients that nobody closed."""
    for client in list(_started):
        if client._lifecycle.is_here:  # noqa: SLF001  not in a fork of its process
            client._engine.forget()  # noqa: SLF001


atexit.register(_forget_all)
