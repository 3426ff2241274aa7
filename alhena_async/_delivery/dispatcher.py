"""Sends what is ready, wakes up when something is due, and shuts down.

One timer for all that will become due, and at most `max_in_flight` workers, made when first
needed. A worker takes the next ready lane, makes one attempt, acts on the verdict, and goes on;
a lane in backoff holds no worker.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from math import inf
from typing import Final

from alhena_async._delivery.attempts import End, Retry, attempt, decide, may_wait_for_precondition
from alhena_async._delivery.engine import Shutdown
from alhena_async._delivery.intents import IntentWriter
from alhena_async._delivery.lifecycle import ClientState, Lifecycle
from alhena_async._delivery.replay import Replayer
from alhena_async._delivery.tasks import Tasks
from alhena_async._delivery.throttling import RequestGate
from alhena_async._delivery.timers import AttemptTimeouts, Timer
from alhena_async._queue.deadlines import expiry_detail
from alhena_async._queue.envelope import Envelope, EnvelopeState
from alhena_async._queue.journal_gateway import JournalGateway
from alhena_async._queue.lane import Lane
from alhena_async._queue.queue import EventQueue
from alhena_async._replies import Verdict
from alhena_async._telemetry import Telemetry, log_foreign
from alhena_async._wire import endpoint_of
from alhena_async.events import Event
from alhena_async.journal import Backlog, SendMark
from alhena_async.outcomes import OutcomeStatus
from alhena_async.policies import HttpPolicy, RetryPolicy
from alhena_async.transports import Endpoint, Transport

__all__ = ["Dispatcher"]

_SLICE: Final = 250  # events handled at one go; keeps each turn of the loop short

_UNSENT: Final = SendMark.UNSENT

_BREATH: Final = 8  # events a worker handles at one go: there may be 32 of them in a turn


class Dispatcher:
    """Moves envelopes from the queue over the transport to their outcomes.

    Args:
        lifecycle: The client's.
        queue: Where they wait.
        transport: Opened by the owner, closed at the end of the shutdown.
        journal: The same; None keeps events in memory only.
        retry: What is tried again.
        http: How long an attempt may take.
        max_in_flight: Requests on the wire at most.
        telemetry: Is told of attempts, retries and breakers.
        on_failure: Is called once, with the cause, if the dispatcher itself fails.
    """

    def __init__(
        self,
        *,
        lifecycle: Lifecycle,
        queue: EventQueue,
        transport: Transport,
        journal: JournalGateway | None = None,
        retry: RetryPolicy,
        http: HttpPolicy,
        max_in_flight: int,
        telemetry: Telemetry,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._lifecycle = lifecycle
        self._queue = queue
        self._deadlines = queue.deadlines
        self._transport = transport
        self._retry = retry
        self._http = http
        self._max_in_flight = max_in_flight
        self._telemetry = telemetry
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self.time = self._loop.time
        self.gate = RequestGate(retry, max_in_flight=max_in_flight, telemetry=telemetry)
        self._scheduler = queue.scheduler
        self._endpoints = list(Endpoint)
        self._tasks = Tasks(self._fail)
        self._worker_count = 0
        self._idle: list[asyncio.Future[None]] = []
        self._timer = Timer(self._on_timer, self._tasks.context)
        self._timeouts = AttemptTimeouts(self._tasks.context)
        self._intents: IntentWriter | None = None
        self._replayer: Replayer | None = None
        if journal is not None:
            self._intents = IntentWriter(journal, queue, self._tasks)
            self._replayer = Replayer(journal, queue, self._tasks)
        self._shutdown = Shutdown(
            lifecycle=lifecycle,
            queue=queue,
            transport=transport,
            journal=journal,
            replayer=self._replayer,
            tasks=self._tasks,
            disarm=self._timer.stop,
        )
        self._shutting_down: asyncio.Task[None] | None = None
        queue.on_ready = self._on_ready

    def begin_replay(self, adopted: Sequence[Backlog]) -> None:
        """Deliver what dead processes left; younger events of the same lanes come after it."""
        assert self._replayer is not None  # noqa: S101  only with a journal
        self._replayer.start(adopted)

    # --- waking up -----------------------------------------------------------------------------

    def _on_ready(self) -> None:
        """Look at the queue after a change: something may be ready, or due sooner."""
        if not self._lifecycle.sends:
            return
        if self._scheduler.have_ready:
            self._wake_worker()
        due = self._queue.next_due()
        if due < inf:
            self._timer.set(due)
        else:
            self._timer.stop()  # nothing is left; a timer would keep a forgotten client alive

    def _on_timer(self) -> None:
        try:
            self._queue.sweep(self._timer.now(), _SLICE)
        except Exception as error:  # noqa: BLE001  nothing of this may be lost in the loop's exception handler
            self._fail(error)
        else:
            self._on_ready()  # whatever else is due needs the timer again

    def _wake_worker(self) -> None:
        """Let one worker look; it wakes the next when it found something."""
        if not self.gate.has_slot:
            return  # whoever comes back from the wire looks by itself
        while self._idle:
            waiter = self._idle.pop()
            if not waiter.done():
                waiter.set_result(None)
                return
        if self._worker_count < self._max_in_flight:
            self._worker_count += 1
            self._tasks.spawn(self._work(), f"alhena-worker-{self._worker_count}")

    async def _idle_until_woken(self) -> None:
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._idle.append(waiter)
        await waiter

    # --- work ----------------------------------------------------------------------------------

    async def _work(self) -> None:
        for turn in itertools.count(1):
            if not self._lifecycle.sends:
                return  # cancelled, and the transport swallowed it
            if turn % _BREATH == 0:
                await asyncio.sleep(0)  # neither mass expiry nor a transport that never waits
            envelope = self._take()  # may keep the loop for itself
            if envelope is None:
                await self._idle_until_woken()
                continue
            if self._scheduler.have_ready:
                self._wake_worker()
            if self._settle_unsent(envelope):
                continue
            if envelope.facts is not None and envelope.facts.guard is _UNSENT:
                self._mark(envelope)
            else:
                await self._deliver(envelope)

    def _take(self) -> Envelope | None:
        """Return the next envelope that may be sent now, the endpoints taking turns."""
        if not self.gate.has_slot:
            return None
        now = self._timer.now()
        for endpoint in tuple(self._endpoints):
            if not self._scheduler.has_ready(endpoint):
                continue
            opens = self.gate.opens_at(endpoint)
            if opens > now:
                self._timer.set(opens)
                continue
            envelope = self._scheduler.take(endpoint)
            if envelope is not None:
                self._endpoints.remove(endpoint)
                self._endpoints.append(endpoint)
                return envelope
        return None

    def _settle_unsent(self, envelope: Envelope) -> bool:
        """Settle what needs no request: it expired in line, or its order is recorded."""
        now = self._loop.time()
        if self._deadlines.of(envelope) <= now:
            status = OutcomeStatus.EXPIRED
            detail = expiry_detail(envelope, self._deadlines.timeout(envelope))
        elif self._queue.is_recorded(envelope):
            status, detail = OutcomeStatus.DUPLICATE, "this client recorded the order id lately"
        else:
            return False
        self._queue.settle(envelope, envelope.outcome_as(status, now, detail))
        return True

    def _mark(self, envelope: Envelope) -> None:
        """Let the journal know first that this one is about to be sent."""
        assert self._intents is not None  # noqa: S101  nothing else is guarded
        self._intents.add(envelope)

    async def _deliver(self, envelope: Envelope) -> None:
        """Make one attempt, and act on its verdict."""
        lane = envelope.lane
        assert lane is not None  # noqa: S101  it was taken from one
        facts = envelope.more()
        facts.attempts += 1
        began = self._loop.time()
        permit = self.gate.begin(endpoint_of(envelope.event), began)
        self._telemetry.attempt(envelope.event, facts.attempts)
        verdict: Verdict | None = None
        try:
            verdict = await attempt(
                envelope,
                company_key=lane.company_key,
                transport=self._transport,
                http=self._http,
                timeouts=self._timeouts,
                until=min(began + self._http.request_timeout, self._deadlines.of(envelope)),
            )
        except asyncio.CancelledError:
            facts.ambiguous = True  # whoever settles it says so
            raise
        finally:
            self.gate.end(permit, verdict, self._loop.time())
        if envelope.state is EnvelopeState.IN_FLIGHT:  # else settled, as the dispatcher failed
            self._conclude(envelope, lane, verdict)

    def _conclude(self, envelope: Envelope, lane: Lane, verdict: Verdict) -> None:
        facts = envelope.more()
        now = self._loop.time()
        step = decide(
            envelope,
            verdict,
            policy=self._retry,
            remaining=self._deadlines.of(envelope) - now,
            may_wait_for_precondition=may_wait_for_precondition(envelope, lane),
        )
        facts.ambiguous = facts.ambiguous or verdict.ambiguous
        facts.last = verdict
        if isinstance(step, Retry):
            self._back_off(envelope, lane, step, verdict, now)
        else:
            self._settle(envelope, step, now)

    def _back_off(
        self, envelope: Envelope, lane: Lane, step: Retry, verdict: Verdict, now: float
    ) -> None:
        if step.precondition:
            envelope.more().precondition_tries += 1
            lane.precondition_at = now
        self._queue.back_off(lane, now + step.delay)
        self._telemetry.retry(envelope.event, step.delay, step.reason, verdict, now=now)

    def _settle(self, envelope: Envelope, step: End, now: float) -> None:
        detail = step.detail
        if step.status is OutcomeStatus.EXPIRED and self._deadlines.of(envelope) <= now:
            detail = expiry_detail(envelope, self._deadlines.timeout(envelope))
        self._queue.settle(envelope, envelope.outcome_as(step.status, now, detail))

    # --- the end -------------------------------------------------------------------------------

    def shut_down(self, deadline: float) -> asyncio.Task[None]:
        """Begin to drain until the loop's time `deadline`, then stop; the same task each time.

        A later call can only bring the deadline forward.
        """
        if self._lifecycle.accepts:
            self._lifecycle.move(ClientState.DRAINING)
        self._shutdown.bring_forward(deadline)
        if self._shutting_down is None:
            self._shutting_down = self._tasks.make(self._shutdown.run(), "alhena-shutdown")
        return self._shutting_down

    @property
    def undelivered(self) -> Sequence[Event]:
        """What was left unsettled when it stopped."""
        return self._shutdown.undelivered

    def _fail(self, cause: BaseException) -> None:
        if not self._lifecycle.sends:
            return
        self._lifecycle.fail(cause)
        self._tasks.cancel()
        log_foreign("the dispatcher failed, and nothing more is accepted", cause)
        self._on_failure(cause)
        self._shutdown.fail(cause)
