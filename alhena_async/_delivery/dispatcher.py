"""Sends what is ready, and wakes up when something is due.

One timer for all that will become due, and at most `max_in_flight` workers, made when first
needed. A worker takes the next ready lane, makes one attempt, acts on the verdict, and goes on;
a lane in backoff holds no worker.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Final, cast

from alhena_async._delivery.attempts import (
    Retry,
    Sender,
    decide,
    is_unsent,
    watched,
)
from alhena_async._delivery.carrying import Carriage
from alhena_async._delivery.intents import IntentWriter
from alhena_async._delivery.lifecycle import Lifecycle
from alhena_async._delivery.tasks import Tasks
from alhena_async._delivery.throttling import RequestGate
from alhena_async._delivery.timers import AttemptTimeout, AttemptTimeouts, Timer
from alhena_async._queue.deadlines import expiry_detail
from alhena_async._queue.envelope import Envelope, EnvelopeState
from alhena_async._replies import Verdict
from alhena_async._telemetry.telemetry import Telemetry
from alhena_async._wire import endpoint_of
from alhena_async.events import CartEvent
from alhena_async.journal import SendMark
from alhena_async.outcomes import OutcomeStatus
from alhena_async.policies import HttpPolicy, RetryPolicy
from alhena_async.transports import Endpoint, Transport

if TYPE_CHECKING:
    from alhena_async._queue.queue import EventQueue

__all__ = ["Dispatcher"]

_EVENTS_PER_SWEEP: Final = 250  # keeps each turn of the loop short

# As in _queue/envelope.py: a member is slow to look up in Python 3.11.
_UNSENT: Final = SendMark.UNSENT

_SENT: Final = SendMark.SENT

_IN_FLIGHT: Final = EnvelopeState.IN_FLIGHT

_EXPIRED: Final = OutcomeStatus.EXPIRED

_TURNS_AFTER: Final = {
    Endpoint.CART: (Endpoint.CHECKOUT, Endpoint.CART),
    Endpoint.CHECKOUT: (Endpoint.CART, Endpoint.CHECKOUT),
}
"""Which endpoint comes first after a request to one."""

_SECONDS_BETWEEN_LOOKS: Final = 1.0

_EVENTS_PER_TURN: Final = 8  # of one worker: there may be 32 of them in a turn of the loop


class Dispatcher:
    """Moves envelopes from the queue over the transport to their outcomes.

    Args:
        lifecycle: Says whether anything is still sent.
        queue: Where they wait; it calls back when something is ready or due.
        gate: Says when a request may go out.
        tasks: Makes the workers.
        intents: Writes down first what may not be repeated; None without a journal.
        transport: Carries the requests; or the carriage of one that carries envelopes.
        retry: What is tried again.
        http: How long an attempt may take.
        max_in_flight: Workers at most.
        telemetry: Is told of attempts and retries.
        on_failure: Called with the cause if the dispatcher itself fails.
    """

    def __init__(
        self,
        *,
        lifecycle: Lifecycle,
        queue: EventQueue,
        gate: RequestGate,
        tasks: Tasks,
        intents: IntentWriter | None,
        transport: Transport | Carriage,
        retry: RetryPolicy,
        http: HttpPolicy,
        max_in_flight: int,
        telemetry: Telemetry,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._lifecycle = lifecycle
        self._queue = queue
        self._scheduler = queue.scheduler
        self._lines = queue.scheduler.lines
        self._deadlines = queue.deadlines
        self._gate = gate
        self._tasks = tasks
        self._intents = intents
        self._carriage = transport if isinstance(transport, Carriage) else None
        sender = self._carriage or Sender(cast("Transport", transport), http, retry)
        self._attempt = watched(sender.attempt, telemetry)
        self._retry = retry
        self._request_timeout = http.request_timeout
        self._max_in_flight = max_in_flight
        self._telemetry = telemetry
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._timer = Timer(self._on_timer, tasks.context)
        self._timeouts = AttemptTimeouts(tasks.context)
        self._looked_at = -inf
        self._turns = _TURNS_AFTER[Endpoint.CHECKOUT]
        self._worker_count = 0
        self._workers: list[asyncio.Task[None]] = []
        self._idle: list[asyncio.Future[None]] = []
        queue.on_ready = self._on_ready

    def stop(self) -> None:
        """Stop the timer; whoever owns the tasks ends the workers."""
        self._timer.stop()

    def look_again(self) -> None:
        """Send what the fence held back, and let no lane be in backoff any longer."""
        now = self._loop.time()
        self._queue.shorten_backoffs(now, now)

    def pause(self) -> None:
        """Note that nothing is sent until `resume`."""
        if self._intents is not None:
            self._intents.pause()

    def resume(self) -> None:
        """Send what waits."""
        self._on_ready(self._scheduler.have_ready, self._queue.next_due())
        if self._intents is not None:
            self._intents.look()

    async def finish(self) -> None:
        """Return once no request is on the wire; called when nothing is sent any more."""
        for waiter in self._idle:
            if not waiter.done():
                waiter.set_result(None)
        if self._workers:
            await asyncio.wait(self._workers)

    # --- waking up -----------------------------------------------------------------------------

    def _on_ready(self, has_ready: bool, due: float) -> None:  # noqa: FBT001  a callback
        """Wake a worker for what is ready, and set the timer for what is due."""
        if not self._lifecycle.sends:
            return
        if has_ready:
            self._wake_worker()
        if due < inf:
            self._timer.set(due)
        else:
            self._timer.stop()  # nothing is left; a timer would keep a forgotten client alive

    def _on_timer(self) -> None:
        try:
            self._queue.sweep(self._timer.now(), _EVENTS_PER_SWEEP)
        except Exception as error:  # noqa: BLE001  nothing of this may be lost in the loop's exception handler
            self._on_failure(error)
        else:
            # Whatever else is due needs the timer again.
            self._on_ready(self._scheduler.have_ready, self._queue.next_due())

    def _wake_worker(self) -> None:
        """Let one worker look; it wakes the next when it found something."""
        if not self._gate.has_slot:
            return  # whoever comes back from the wire looks by itself
        while self._idle:
            waiter = self._idle.pop()
            if not waiter.done():
                waiter.set_result(None)
                return
        if self._worker_count < self._max_in_flight:
            self._worker_count += 1
            worker = self._tasks.spawn(self._work(), f"alhena-worker-{self._worker_count}")
            self._workers.append(worker)

    def _share_work(self) -> None:
        """Wake another worker, if there is more to take."""
        if self._scheduler.have_ready:
            self._wake_worker()

    async def _idle_until_woken(self) -> None:
        self._timeouts.rest()
        self._queue.announce()  # what was settled in this turn
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._idle.append(waiter)
        await waiter

    # --- work ----------------------------------------------------------------------------------

    async def _work(self) -> None:
        """Deliver what is ready, one event after the other, for as long as anything is sent."""
        timeout = self._timeouts.of_this_task()
        now = self._timer.now()
        try:
            for count in itertools.count(1):
                if not self._lifecycle.sends:
                    return  # cancelled, and the transport swallowed it
                if count % _EVENTS_PER_TURN == 0:
                    await asyncio.sleep(0)  # neither mass expiry nor a transport that never waits
                    now = self._timer.now()  # may keep the loop for itself
                envelope = self._take(now)
                if envelope is None:
                    await self._idle_until_woken()
                    now = self._timer.now()
                    continue
                if self._idle or self._worker_count < self._max_in_flight:
                    self._share_work()
                deadline = self._deadlines.of(envelope)
                if self._settle_unsent(envelope, deadline, now):
                    continue
                if self._intents is not None and envelope.send_mark is _UNSENT:
                    self._intents.add(envelope)
                else:
                    now = await self._deliver(envelope, timeout, deadline, now)
        finally:
            self._timeouts.rest()

    def _take(self, now: float) -> Envelope | None:
        """Return the next envelope that may be sent now, the endpoints taking turns."""
        if not self._gate.has_slot:
            return None
        for endpoint in self._turns:
            if not self._lines[endpoint]:
                continue
            opens = self._gate.opens_at(endpoint)
            if opens > now:
                self._timer.set(opens)
                continue
            envelope = self._scheduler.take(endpoint)
            if envelope is not None:
                self._turns = _TURNS_AFTER[endpoint]
                return envelope
        return None

    def _settle_unsent(self, envelope: Envelope, deadline: float, now: float) -> bool:
        """Settle what needs no request: it expired in line, or its order is recorded."""
        if deadline <= now:
            self._expire(envelope, now)
        elif envelope.event.__class__ is not CartEvent and self._queue.is_recorded(envelope):
            did = "published" if self._carriage is not None else "recorded"
            detail = f"this client {did} the order id lately"
            outcome = envelope.outcome_as(OutcomeStatus.DUPLICATE, now, detail)
            self._queue.settle_in_turn(envelope, outcome)
        else:
            return False
        return True

    async def _deliver(
        self, envelope: Envelope, timeout: AttemptTimeout, deadline: float, began: float
    ) -> float:
        """Make one attempt, and act on its verdict; return the loop's time at its end."""
        event, details = envelope.event, envelope.details()
        details.attempts += 1
        if self._intents is not None and details.send_mark is _SENT:
            self._intents.sent(envelope)
        endpoint = endpoint_of(event)
        generation = self._gate.begin(endpoint, began)
        self._telemetry.attempt(event, details.attempts)
        verdict: Verdict | None = None
        timeout.until = min(began + self._request_timeout, deadline)
        try:
            verdict = await self._attempt(envelope, timeout)
        except asyncio.CancelledError as error:
            if not is_unsent(error):
                details.ambiguous = True  # whoever settles it says so
            elif envelope.state is _IN_FLIGHT:
                self._queue.back_off(envelope.lane, self._loop.time())  # it left the wire
            raise
        finally:
            now = self._loop.time()
            self._gate.end(endpoint, generation, verdict, began=began, now=now)
            if self._intents is not None:
                self._intents.look()
        if envelope.state is _IN_FLIGHT:  # otherwise settled, as the dispatcher failed
            self._conclude(envelope, verdict, deadline, now)
        return now

    def _conclude(self, envelope: Envelope, verdict: Verdict, deadline: float, now: float) -> None:
        details = envelope.details()
        step = decide(envelope, verdict, policy=self._retry, remaining=deadline - now)
        details.last_verdict = verdict
        if verdict.ambiguous:
            details.ambiguous = True
        if verdict.kind.is_transient:
            self._telemetry.attempt_failed(verdict, self._queue.situation(now), now)
        elif self._telemetry.logbook.in_trouble:
            self._telemetry.logbook.answered(self._queue.situation(now), now)
            if self._carriage is not None:
                self._end_backoffs(now)
        if isinstance(step, Retry):
            if details.send_mark is _SENT and self._intents is not None:
                self._intents.take_back(envelope)
            self._back_off(envelope, step, now)
        elif step.status is _EXPIRED and deadline <= now:
            self._expire(envelope, now)
        else:
            outcome = envelope.outcome_as(step.status, now, step.detail)
            self._queue.settle_in_turn(envelope, outcome)

    def _end_backoffs(self, now: float) -> None:
        """Let nobody wait any longer: the broker takes events again; once a second at most."""
        if now - self._looked_at >= _SECONDS_BETWEEN_LOOKS:
            self._looked_at = now
            self.look_again()

    def _back_off(self, envelope: Envelope, step: Retry, now: float) -> None:
        lane = envelope.lane
        if step.precondition:
            envelope.details().precondition_tries += 1
            lane.precondition_at = now
        self._queue.back_off(lane, now + step.delay)
        self._telemetry.retry(envelope.event, step.delay, step.reason)

    def _expire(self, envelope: Envelope, now: float) -> None:
        detail = expiry_detail(envelope, self._deadlines.timeout(envelope))
        self._queue.settle_in_turn(envelope, envelope.outcome_as(_EXPIRED, now, detail))
