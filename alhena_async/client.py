"""The door: everything that a shop's code calls."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import warnings
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from math import inf
from types import TracebackType
from typing import Any, Self, TypeVar

import attrs

from alhena_async._dispatcher import Dispatcher
from alhena_async._env import arguments_from
from alhena_async._envelope import Envelope, Receipt
from alhena_async._home import Home, Life
from alhena_async._intake import BeforeSend, Intake, checked_company_key
from alhena_async._queue import Queue
from alhena_async._transport import HttpTransport
from alhena_async._watch import Watch
from alhena_async.errors import ClientClosedError, JournalError, QueueFullError
from alhena_async.events import CartEvent, Event
from alhena_async.observers import BreakerState, Observer, Stats
from alhena_async.outcomes import Outcome, OutcomeStatus
from alhena_async.policies import (
    Coalescing,
    HttpPolicy,
    Overflow,
    QueuePolicy,
    Region,
    RetryPolicy,
    resolve_base_url,
)
from alhena_async.transports import Endpoint, Transport

__all__ = ["AlhenaClient", "CloseReport"]

_Policy = TypeVar("_Policy", QueuePolicy, RetryPolicy, HttpPolicy)

_RECORD_ALL_WINDOW = 256


@attrs.frozen(kw_only=True)
class CloseReport:
    """What `close` left behind."""

    undelivered: tuple[Event, ...]
    """The events that settled as `KEPT` or `ABANDONED`, lane by lane in order."""
    stats: Stats
    """The final counts."""


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
        journal: None: events live in memory. This version has no other.
        observers: Each is told of everything that happens.
        before_send: Called with each event as it is accepted; returns it, another one, or None to
            drop it. One that raises drops too: it may be a privacy filter.
        enabled: False accepts everything and sends nothing, for tests and staging.
        transport: Instead of HTTP, something else that carries requests.

    Raises:
        ValueError, TypeError: An argument cannot work; the message names it.
    """

    def __init__(
        self,
        company_key: str,
        *,
        region: Region | str = Region.US,
        base_url: str | None = None,
        queue: QueuePolicy | None = None,
        retry: RetryPolicy | None = None,
        http: HttpPolicy | None = None,
        coalescing: Coalescing | str = Coalescing.LATEST,
        journal: None = None,
        observers: Sequence[Observer] = (),
        before_send: BeforeSend | None = None,
        enabled: bool = True,
        transport: Transport | None = None,
    ) -> None:
        self._home = Home()
        checked_company_key(company_key)
        self._policy = _checked("queue", queue, QueuePolicy)
        self._retry = _checked("retry", retry, RetryPolicy)
        self._http = _checked("http", http, HttpPolicy)
        if not isinstance(enabled, bool):
            raise TypeError(f"enabled must be True or False, not {type(enabled).__name__}")
        _check_linger(self._policy, self._retry)
        if journal is not None:
            raise JournalError("this version keeps events in memory only: leave journal out")
        self._intake = Intake(
            before_send=before_send,
            enabled=enabled,
            assign_order_ids=self._retry.assign_order_ids,
        )
        self.base_url = resolve_base_url(region, base_url, allow_insecure=self._http.allow_insecure)
        self._transport = transport or HttpTransport(self.base_url, self._http)
        self._watch = Watch(observers)
        self._queue = Queue(
            company_key=company_key,
            policy=self._policy,
            retry=self._retry,
            coalescing=Coalescing(coalescing),
            watch=self._watch,
        )
        self._dispatcher: Dispatcher | None = None
        self._starting = asyncio.Lock()

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ, **arguments: Any) -> Self:
        """Make a client from `ALHENA_*` variables.

        `ALHENA_COMPANY_KEY` (required), `ALHENA_REGION`, `ALHENA_BASE_URL`, `ALHENA_JOURNAL`,
        `ALHENA_ENABLED` (1, true, yes, on or 0, false, no, off), `ALHENA_LINGER` (seconds),
        `ALHENA_CAPACITY` (events). An empty variable counts as unset.

        Args:
            environ: Where to look.
            **arguments: Constructor arguments; one that is given wins over its variable, except
                that `ALHENA_LINGER` and `ALHENA_CAPACITY` are set on a given `queue`.

        Raises:
            ValueError: A variable is missing or cannot be read; the message names it.
            JournalError: `ALHENA_JOURNAL` is set, and this version has no journal.
        """
        return cls(**arguments_from(environ, arguments))

    # --- life ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Bind to the running event loop and begin to deliver. Idempotent while running.

        Raises:
            ClientClosedError: The client was closed.
            RuntimeError: It runs on another event loop or in another process.
        """
        async with self._starting:
            if not self._home.may_start():
                self._home.check_running()
                return
            try:
                await self._transport.open()
            except BaseException:
                await self._transport.close()
                raise
            if not self._home.may_start():  # closed meanwhile
                await self._transport.close()
                raise self._home.closed_error()
            self._home.bind()
            self._dispatcher = Dispatcher(
                queue=self._queue,
                transport=self._transport,
                retry=self._retry,
                http=self._http,
                max_in_flight=self._policy.max_in_flight,
                watch=self._watch,
                on_failure=self._on_failure,
            )

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

        Returns when `close` is called elsewhere. A second cancellation abandons what is left.

        Args:
            drain_timeout: Seconds to deliver what is left once cancelled.

        Raises:
            ClientClosedError: The client was closed before, or its dispatcher failed.
        """
        await self.start()
        assert self._dispatcher is not None  # noqa: S101  started
        try:
            await self._dispatcher.wait_until_stopped()
            if self._home.life is Life.FAILED:
                await self.close()  # nobody else may come to do it
                raise self._home.closed_error()
        except asyncio.CancelledError:
            await self.close(drain_timeout)
            raise

    async def flush(self, timeout: float | None = None) -> None:
        """Wait until everything accepted before this call is settled; nothing of it lingers.

        Lanes in backoff are waited for. Cancelled, it only stops waiting.

        Args:
            timeout: Seconds to wait; None (default) waits as long as it takes.

        Raises:
            TimeoutError: It took longer; the events stay queued.
        """
        dispatcher = self._running()
        settled = self._queue.flush()
        dispatcher.notice()
        try:
            async with asyncio.timeout(timeout):
                await settled
        except TimeoutError:
            if settled.done() and not settled.cancelled():
                return  # in the very turn in which the time was over
            raise TimeoutError(
                f"flush: {self._queue.outstanding} events were unsettled after {timeout} s; "
                "they stay queued"
            ) from None

    async def close(self, timeout: float | None = 10.0) -> CloseReport:
        """Accept nothing more, deliver what is waiting, and stop.

        What is left at the end settles as `ABANDONED` and is listed. Idempotent: a second call
        waits for the first and returns the same report. Cancelled, it abandons what is left at
        once, stops cleanly, and re-raises.

        Args:
            timeout: Seconds for the delivery of what is waiting: one deadline for all of it.
                Default 10; None takes as long as the events' own deadlines.
        """
        if self._dispatcher is None:
            self._home.close()
            return self._report()
        if self._dispatcher.has_ended and self._home.life is Life.CLOSED:
            return self._report()
        self._home.check_here()
        deadline = inf if timeout is None else _now() + timeout
        self._home.close()
        self._queue.admission.refuse_all(self._home.closed_error)
        shutdown = self._dispatcher.shut_down(deadline)
        try:
            await asyncio.shield(shutdown)
        except asyncio.CancelledError:
            self._dispatcher.shut_down(_now())
            await asyncio.wait({shutdown})
            raise
        self._watch.deliver()
        return self._report()

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
        self._home.check_running()
        order_id: str | None = None
        if not (company_key is None and event.__class__ is CartEvent and self._intake.passes_carts):
            admitted = self._intake.admit(event, company_key)
            event, order_id = admitted.event, admitted.order_id
            if admitted.dropped is not None:
                return self._settled_at_once(event, admitted.dropped)
        admission = self._queue.admission
        if admission.has_room:
            admission.enter()
        elif self._policy.overflow is Overflow.DROP:
            return self._settled_at_once(event, "no room: the overflow policy drops")
        elif self._policy.overflow is Overflow.REJECT or not self._queue.shed(_now()):
            raise QueueFullError(admission.capacity)
        return self._accept(event, company_key, order_id, pinned=False)

    async def track(
        self, event: Event, *, timeout: float | None = None, company_key: str | None = None
    ) -> Receipt:
        """Accept an event as soon as there is room, first come first served.

        Cancelled while it waits for room, it leaves no trace.

        Args:
            event: What happened.
            timeout: Seconds to wait for room; None (default) waits as long as it takes.
            company_key: Another organisation's key than the client's own.

        Raises:
            TimeoutError: There was no room in time; the event was not accepted.
            ClientClosedError: The client was closed, also while it waited.
            RuntimeError: Not called on the client's event loop.
            TypeError: Not an event.
        """
        self._running()
        try:
            async with asyncio.timeout(timeout):
                return await self._enter(event, company_key, pinned=False)
        except TimeoutError:
            raise TimeoutError(f"track: no room within {timeout} s; not accepted") from None

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
            A future for the outcome; it raises what `track_nowait` would have raised.

        Raises:
            ClientClosedError: The client was closed.
            RuntimeError: It was not started, or not in this process.
        """
        loop = self._home.check_process()
        future: concurrent.futures.Future[Outcome] = concurrent.futures.Future()
        try:
            loop.call_soon_threadsafe(self._track_for_thread, event, company_key, future)
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
            TimeoutError: It took longer; the message says whether the event stays queued.
            ClientClosedError: The client was closed.
            RuntimeError: Not called on the client's event loop.
            TypeError: Not an event.
        """
        self._running()
        receipt: Receipt | None = None
        try:
            async with asyncio.timeout(timeout):
                receipt = await self._enter(event, company_key, pinned=True)
                outcome = await receipt
        except TimeoutError:
            if receipt is None or receipt.outcome is None:
                rest = "no room, not accepted" if receipt is None else "the event stays queued"
                raise TimeoutError(f"record: no outcome within {timeout} s; {rest}") from None
            outcome = receipt.outcome  # settled in the very turn in which the time was over
        if outcome.status not in _RETURNED_BY_RECORD:
            outcome.raise_for_status()
        return outcome

    async def record_all(
        self,
        events: Iterable[Event] | AsyncIterable[Event],
        *,
        window: int = _RECORD_ALL_WINDOW,
        company_key: str | None = None,
    ) -> AsyncIterator[Outcome]:
        """Deliver many events, and yield their outcomes in the order of the events.

        Never raises for a refused event. An outcome is yielded once the next event was read, or
        the source has ended. When the caller stops early, what was read stays queued.

        Args:
            events: Read only as far as the window reaches.
            window: Events accepted and not yet yielded, at most.
            company_key: Another organisation's key than the client's own.

        Raises:
            ClientClosedError, RuntimeError, TypeError: As for `track`.
        """
        if window < 1:
            raise ValueError("record_all: window must be at least 1")
        receipts: deque[Receipt] = deque()
        async for event in _each(events):
            self._running()
            receipts.append(await self._enter(event, company_key, pinned=True))
            while receipts and (len(receipts) >= window or receipts[0].done()):
                yield await receipts.popleft()
        while receipts:
            yield await receipts.popleft()

    # --- looking -------------------------------------------------------------------------------

    def stats(self) -> Stats:
        """Return a snapshot of the counts."""
        pace = self._dispatcher.pace if self._dispatcher else None
        loop = self._home.loop
        outcomes = self._watch.outcomes
        return Stats(
            accepted=self._watch.accepted_count,
            **{field: outcomes[status] for field, status in _STATUS_FIELDS},
            queued=self._queue.queued,
            in_flight=self._queue.in_flight,
            retries=self._watch.retries,
            requests=self._watch.requests,
            cart_breaker=pace.breaker(Endpoint.CART) if pace else BreakerState.CLOSED,
            checkout_breaker=pace.breaker(Endpoint.CHECKOUT) if pace else BreakerState.CLOSED,
            oldest_age=self._queue.oldest_age(loop.time()) if loop else 0.0,
        )

    def __repr__(self) -> str:
        waiting = f"{self._queue.queued} queued, {self._queue.in_flight} in flight"
        return f"<AlhenaClient {self._home.life.value}, {self.base_url}, {waiting}>"

    def __del__(self) -> None:
        home = getattr(self, "_home", None)  # None when the constructor raised
        if home is not None and home.is_open:
            warnings.warn(f"{self!r} was never closed", ResourceWarning, source=self, stacklevel=2)

    # --- inside --------------------------------------------------------------------------------

    def _running(self) -> Dispatcher:
        """Return the dispatcher, having seen that this is the right loop, process and time."""
        self._home.check_running()
        assert self._dispatcher is not None  # noqa: S101  running
        return self._dispatcher

    def _on_failure(self, cause: BaseException) -> None:
        self._home.fail(cause)
        self._queue.admission.refuse_all(self._home.closed_error)

    async def _enter(self, event: Event, company_key: str | None, *, pinned: bool) -> Receipt:
        admitted = self._intake.admit(event, company_key)
        if admitted.dropped is not None:
            return self._settled_at_once(admitted.event, admitted.dropped)
        admission = self._queue.admission
        if admission.has_room:
            admission.enter()
        else:
            await admission.wait()
        try:
            self._home.check_running()
        except BaseException:
            admission.leave()
            admission.grant()
            raise
        event, order_id = admitted.event, admitted.order_id
        return self._accept(event, company_key, order_id, pinned=pinned)

    def _accept(
        self, event: Event, company_key: str | None, order_id: str | None, *, pinned: bool
    ) -> Envelope:
        dispatcher, queue = self._dispatcher, self._queue
        assert dispatcher is not None  # noqa: S101  running
        self._watch.accepted(event)
        envelope = queue.accept(
            event, company_key, order_id=order_id, pinned=pinned, now=dispatcher.time()
        )
        if queue.stirred:
            dispatcher.notice()
        return envelope

    def _settled_at_once(self, event: Event, reason: str) -> Receipt:
        """Count an event as accepted and dropped; it needs no room."""
        self._watch.accepted(event)
        envelope = Envelope(event, _now())
        outcome = Outcome(status=OutcomeStatus.DROPPED, event=event, detail=reason)
        envelope.settle(outcome)
        self._watch.settled(outcome)
        return envelope

    def _track_for_thread(
        self,
        event: Event,
        company_key: str | None,
        future: concurrent.futures.Future[Outcome],
    ) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            receipt = self.track_nowait(event, company_key=company_key)
        except Exception as error:  # noqa: BLE001  the other thread gets it
            future.set_exception(error)
        else:
            receipt.add_done_callback(lambda settled: future.set_result(_outcome_of(settled)))

    def _report(self) -> CloseReport:
        undelivered = self._dispatcher.undelivered if self._dispatcher else ()
        return CloseReport(undelivered=tuple(undelivered), stats=self.stats())


_STATUS_FIELDS = tuple((status.value, status) for status in OutcomeStatus)
_RETURNED_BY_RECORD = frozenset(
    {OutcomeStatus.RECORDED, OutcomeStatus.DUPLICATE, OutcomeStatus.UNATTRIBUTED}
)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _outcome_of(receipt: Receipt) -> Outcome:
    outcome = receipt.outcome
    assert outcome is not None  # noqa: S101  called when it is done
    return outcome


async def _each(events: Iterable[Event] | AsyncIterable[Event]) -> AsyncIterator[Event]:
    if isinstance(events, AsyncIterable):
        async for event in events:
            yield event
    else:
        for event in events:
            yield event


def _checked(name: str, given: _Policy | None, kind: type[_Policy]) -> _Policy:
    if given is None:
        return kind()
    if not isinstance(given, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, not {type(given).__name__}")
    return given


def _check_linger(queue: QueuePolicy, retry: RetryPolicy) -> None:
    shortest = min(retry.cart_delivery_timeout, retry.checkout_delivery_timeout)
    if queue.linger >= shortest:
        raise ValueError(
            f"QueuePolicy.linger ({queue.linger:g} s) must be shorter than every delivery "
            f"timeout ({shortest:g} s): events would expire before they are sent"
        )
