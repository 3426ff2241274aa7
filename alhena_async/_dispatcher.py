"""The only owner of tasks: sends what is ready, wakes up when something is due, drains, stops.

One timer for all that will become due, and at most `max_in_flight` workers, made when first
needed. A worker takes the next ready lane, makes one attempt, acts on the verdict, and goes on;
a lane in backoff holds no worker.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import logging
from collections.abc import Callable, Coroutine
from math import inf
from typing import Any, Final

from alhena_async._delivery import End, Retry, attempt, decide
from alhena_async._envelope import Envelope, EnvelopeState
from alhena_async._lane import Lane, LaneState
from alhena_async._pace import Pace
from alhena_async._queue import Queue, expiry_detail
from alhena_async._watch import Watch, log_foreign
from alhena_async._wire import endpoint_of
from alhena_async.events import Event
from alhena_async.outcomes import OutcomeStatus, Verdict
from alhena_async.policies import HttpPolicy, RetryPolicy
from alhena_async.transports import Endpoint, Transport

__all__ = ["Dispatcher"]

_log = logging.getLogger("alhena_async")

CLOSED_FIRST: Final = "the client closed first"
_CLOSE_TIMEOUT: Final = 1.0  # seconds for the connections to end; they are dropped after that
_SLICE: Final = 250  # events handled at one go; keeps each turn of the loop short
_BREATH: Final = 8  # events a worker handles at one go: there may be 32 of them in a turn


class Dispatcher:
    """Moves envelopes from the queue over the transport to their outcomes.

    Args:
        queue: Where they wait.
        transport: Opened by the owner, closed at the end of `shut_down`.
        retry: What is tried again.
        http: How long an attempt may take.
        max_in_flight: Requests on the wire at most.
        watch: Is told of attempts, retries and breakers.
        on_failure: Is called once, with the cause, if the dispatcher itself fails.
    """

    def __init__(
        self,
        *,
        queue: Queue,
        transport: Transport,
        retry: RetryPolicy,
        http: HttpPolicy,
        max_in_flight: int,
        watch: Watch,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._queue = queue
        self._transport = transport
        self._retry = retry
        self._http = http
        self._max_in_flight = max_in_flight
        self._watch = watch
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self.time = self._loop.time
        self.pace = Pace(retry, max_in_flight=max_in_flight, watch=watch)
        self._turns = list(Endpoint)
        self._workers: set[asyncio.Task[None]] = set()
        self._idle: list[asyncio.Future[None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf
        self._woken_at = -inf
        self._stopped = False
        self._ended = asyncio.Event()
        self._shutdown: asyncio.Task[None] | None = None
        self._draining: asyncio.Timeout | None = None
        self._drain_until = inf
        self.undelivered: list[Event] = []
        """What was unsettled when the dispatcher stopped."""

    # --- waking up -----------------------------------------------------------------------------

    def notice(self) -> None:
        """Look at the queue after a change: something may be ready, or due sooner."""
        if self._stopped:
            return
        self._queue.stirred = False
        if any(map(self._queue.has_ready, Endpoint)):
            self._wake_worker()
        due = self._queue.next_due()
        if due < self._timer_at:
            self._arm(due)
        elif due == inf:
            self._disarm()  # nothing is left; a timer would keep a forgotten client alive

    def _now(self) -> float:
        return max(self._loop.time(), self._woken_at)

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = due
        due = max(due, self._loop.time())
        self._timer = self._loop.call_at(due, self._on_timer, context=self._context)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._timer_at = inf

    def _on_timer(self) -> None:
        # asyncio fires up to its clock's resolution early: what was due then is due now.
        self._woken_at = max(self._woken_at, self._timer_at)
        self._timer = None
        self._timer_at = inf
        try:
            self._queue.sweep(self._now(), _SLICE)
        except Exception as error:  # noqa: BLE001  nothing of this may be lost in the loop's exception handler
            self._fail(error)
            return
        self.notice()

    def _wake_worker(self) -> None:
        """Let one worker look; it wakes the next when it found something."""
        if not self.pace.has_slot:
            return  # whoever comes back from the wire looks by itself
        while self._idle:
            waiter = self._idle.pop()
            if not waiter.done():
                waiter.set_result(None)
                return
        if len(self._workers) < self._max_in_flight:
            name = f"alhena-worker-{len(self._workers) + 1}"
            worker = self._spawn(self._work(), name)
            self._workers.add(worker)
            worker.add_done_callback(self._on_worker_done)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        # Not by the loop's task factory: an eager one would run the worker here and now. In the
        # client's own context: a worker serves everybody's requests, not the first caller's.
        return asyncio.Task(work, loop=self._loop, name=name, context=self._context)

    async def _idle_until_woken(self) -> None:
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._idle.append(waiter)
        await waiter

    # --- work ----------------------------------------------------------------------------------

    async def _work(self) -> None:
        for turn in itertools.count(1):
            if self._stopped:
                return  # called off, and the transport swallowed it
            if turn % _BREATH == 0:
                await asyncio.sleep(0)  # neither mass expiry nor a transport that never waits
            envelope = self._take()  # may keep the loop for itself
            if envelope is None:
                await self._idle_until_woken()
                continue
            if any(map(self._queue.has_ready, Endpoint)):
                self._wake_worker()
            if not self._settle_unsent(envelope):
                await self._deliver(envelope)

    def _take(self) -> Envelope | None:
        """Return the next envelope that may be sent now, the endpoints taking turns."""
        if not self.pace.has_slot:
            return None
        now = self._now()
        for endpoint in tuple(self._turns):
            if not self._queue.has_ready(endpoint):
                continue
            opens = self.pace.opens_at(endpoint)
            if opens > now:
                if opens < self._timer_at:
                    self._arm(opens)
                continue
            envelope = self._queue.take(endpoint)
            if envelope is not None:
                self._turns.remove(endpoint)
                self._turns.append(endpoint)
                return envelope
        return None

    def _settle_unsent(self, envelope: Envelope) -> bool:
        """Settle what needs no request: it expired in line, or its order is recorded."""
        now = self._loop.time()
        if self._queue.deadline(envelope) <= now:
            status, detail = OutcomeStatus.EXPIRED, expiry_detail(self._queue.timeout(envelope))
        elif self._queue.is_recorded(envelope):
            status, detail = OutcomeStatus.DUPLICATE, "this client recorded the order id lately"
        else:
            return False
        self._queue.settle(envelope, self._queue.outcome(envelope, status, now, detail))
        return True

    async def _deliver(self, envelope: Envelope) -> None:
        """Make one attempt, and act on its verdict."""
        lane = envelope.lane
        assert lane is not None  # noqa: S101  it was taken from one
        facts = envelope.more()
        facts.attempts += 1
        began = self._loop.time()
        passage = self.pace.begin(endpoint_of(envelope.event), began)
        self._watch.attempt(envelope.event, facts.attempts)
        verdict: Verdict | None = None
        try:
            verdict = await attempt(
                envelope,
                company_key=lane.company_key,
                transport=self._transport,
                http=self._http,
                until=min(began + self._http.request_timeout, self._queue.deadline(envelope)),
            )
        except asyncio.CancelledError:
            facts.ambiguous = True  # whoever settles it says so
            raise
        finally:
            self.pace.end(passage, verdict, self._loop.time())
        if envelope.state is EnvelopeState.IN_FLIGHT:  # else settled, as the dispatcher failed
            self._conclude(envelope, lane, verdict)
            self.notice()

    def _conclude(self, envelope: Envelope, lane: Lane, verdict: Verdict) -> None:
        facts = envelope.more()
        now = self._loop.time()
        step = decide(
            envelope,
            verdict,
            policy=self._retry,
            remaining=self._queue.deadline(envelope) - now,
            may_wait_for_precondition=_may_wait_for_precondition(envelope, lane),
        )
        facts.ambiguous = facts.ambiguous or verdict.ambiguous
        if isinstance(step, Retry):
            self._rest(envelope, lane, step, now)
        else:
            self._settle(envelope, step, verdict, now)

    def _rest(self, envelope: Envelope, lane: Lane, step: Retry, now: float) -> None:
        if step.precondition:
            envelope.more().precondition_tries += 1
            lane.precondition_at = now
        self._queue.rest(envelope, now + step.delay)
        self._watch.retry(envelope.event, step.delay, step.reason)

    def _settle(self, envelope: Envelope, step: End, verdict: Verdict, now: float) -> None:
        detail = step.detail
        if step.status is OutcomeStatus.EXPIRED and self._queue.deadline(envelope) <= now:
            detail = f"{expiry_detail(self._queue.timeout(envelope))}; the last: {verdict.detail}"
        outcome = self._queue.outcome(
            envelope, step.status, now, detail, code=verdict.code, http_status=verdict.http_status
        )
        self._queue.settle(envelope, outcome)

    # --- the end -------------------------------------------------------------------------------

    def shut_down(self, deadline: float) -> asyncio.Task[None]:
        """Begin to drain until the loop's time `deadline`, then stop; the same task each time.

        A later call can only bring the deadline forward.
        """
        if self._shutdown is None:
            self._drain_until = deadline
            self._shutdown = self._spawn(self._drain_and_stop(), "alhena-shutdown")
        elif deadline < self._drain_until:
            self._drain_until = deadline
            if self._draining is not None and not self._draining.expired():
                self._draining.reschedule(deadline)
        return self._shutdown

    @property
    def has_ended(self) -> bool:
        """Whether it has failed, or `shut_down` has come to its end."""
        return self._ended.is_set()

    async def wait_until_stopped(self) -> None:
        """Return when the dispatcher has failed, or `shut_down` has come to its end."""
        await self._ended.wait()

    async def _drain_and_stop(self) -> None:
        try:
            await self._drain()
            await self._end_workers()
            await self._abandon_in_slices()
        finally:
            try:
                # Cancelled from outside, or failed: whatever is left settles here and now.
                self._stop_timer()
                self._abandon(CLOSED_FIRST)
                await self._close_transport()
            finally:
                self._ended.set()

    async def _drain(self) -> None:
        if self._stopped:
            return
        settled = self._queue.flush()
        self.notice()
        try:
            until = None if self._drain_until == inf else self._drain_until
            async with asyncio.timeout_at(until) as self._draining:
                await settled
        except TimeoutError:
            _log.info("the drain's time is over with %d events left", self._queue.outstanding)
        finally:
            self._draining = None

    async def _end_workers(self) -> None:
        self._stop_timer()
        workers = tuple(self._workers)
        for worker in workers:
            worker.cancel()
        if workers:
            _done, alive = await asyncio.wait(workers, timeout=_CLOSE_TIMEOUT)
            if alive:  # what they carry settles all the same
                _log.error("the transport keeps %d requests from being called off", len(alive))

    def _stop_timer(self) -> None:
        self._stopped = True
        self._disarm()

    async def _abandon_in_slices(self) -> None:
        for count, envelope in enumerate(self._queue.leftovers()):
            self._settle_abandoned(envelope, CLOSED_FIRST)
            if count % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)

    def _abandon(self, detail: str) -> None:
        for envelope in self._queue.leftovers():
            self._settle_abandoned(envelope, detail)

    def _settle_abandoned(self, envelope: Envelope, detail: str) -> None:
        status = OutcomeStatus.ABANDONED
        lane = envelope.lane
        if lane is not None and lane.taken is envelope and lane.state is LaneState.TAKEN:
            envelope.more().ambiguous = True  # its request is on the wire
        outcome = self._queue.outcome(envelope, status, self._loop.time(), detail)
        self.undelivered.append(outcome.event)
        self._queue.settle(envelope, outcome)

    async def _close_transport(self) -> None:
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                await self._transport.close()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            _log.error("the transport called its own closing off")
        except Exception as error:  # noqa: BLE001  it must not take the report with it
            log_foreign("the transport could not be closed cleanly", error)

    def _on_worker_done(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        error = None if worker.cancelled() else worker.exception()
        if self._stopped:
            return
        if worker.cancelled():
            error = RuntimeError(f"{worker.get_name()} was cancelled from outside")
        self._fail(error or RuntimeError(f"{worker.get_name()} returned"))

    def _fail(self, cause: BaseException) -> None:
        """Settle everything with the cause: nobody may wait for a dispatcher that is gone."""
        if self._stopped:
            return
        self._stop_timer()
        for worker in self._workers:
            worker.cancel()
        log_foreign("the dispatcher failed, and nothing more is accepted", cause)
        self._on_failure(cause)
        self._abandon(f"the dispatcher failed: {cause!r}")
        self._ended.set()


def _may_wait_for_precondition(envelope: Envelope, lane: Lane) -> bool:
    """Whether the earlier event may still come from elsewhere, at no cost to a checkout."""
    if lane.waiting_checkouts:
        return False
    began = lane.precondition_at
    facts = envelope.more()
    return began is None or envelope.accepted_at > began or facts.precondition_tries > 0
