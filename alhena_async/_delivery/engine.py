"""The owner of all that delivers: builds the parts, starts them, and brings them to their end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from math import inf
from typing import Final, cast

from alhena_async._delivery.carrying import Carriage, Carrier
from alhena_async._delivery.dispatcher import Dispatcher
from alhena_async._delivery.draining import OutboxDrain
from alhena_async._delivery.forgetting import Forgetter
from alhena_async._delivery.health import Signs, judge
from alhena_async._delivery.intents import IntentWriter
from alhena_async._delivery.lifecycle import ClientState, Lifecycle
from alhena_async._delivery.paging import Pager
from alhena_async._delivery.replay import Replayer
from alhena_async._delivery.reporting import Reporter
from alhena_async._delivery.tasks import Tasks
from alhena_async._delivery.throttling import gate_with
from alhena_async._queue.envelope import Envelope
from alhena_async._queue.journal_gateway import JournalGateway
from alhena_async._queue.lane import LaneState
from alhena_async._queue.queue import EventQueue
from alhena_async._replies import Verdict
from alhena_async._telemetry.telemetry import Telemetry, log_foreign
from alhena_async.errors import JournalError
from alhena_async.events import Event
from alhena_async.journal import Backlog, Journal, SendMark
from alhena_async.observers import Health, JournalLevels, Stats
from alhena_async.outcomes import OutcomeStatus
from alhena_async.policies import Coalescing, HttpPolicy, QueuePolicy, RetryPolicy
from alhena_async.transports import Transport, Wire

__all__ = ["Engine"]

_log = logging.getLogger("alhena_async")

_CLOSED_FIRST: Final = "the client closed first"

_KEPT: Final = "the journal has it for the next start"

_PAUSED: Final = "the client closed while it was paused"

_NOT_KEPT: Final = "and the journal could not hold it"

_KEPT_AS_SENT: Final = (
    "the journal has it as perhaps sent: it may not be repeated, and ends UNKNOWN at the next start"
)

_CLOSE_TIMEOUT: Final = 1.0  # seconds for the connections to end; they are dropped after that

_SYNC_TIMEOUT: Final = 2.0  # seconds for what is left to reach the disk

_JOURNAL_CLOSE_TIMEOUT: Final = 5.0  # seconds for the journal to write and release its files

_DISK_GRACE: Final = 2.0  # seconds past the deadline of `close` for all that the disk has to do

_EVENTS_PER_TURN: Final = 250  # settled at one go; keeps each turn of the loop short


class Engine:
    """Accepts by its `queue`, delivers in the background, and ends in order.

    Constructing it binds no event loop; `start` does.

    Args:
        lifecycle: The client's; the engine makes all its moves from RUNNING on.
        company_key: The client's own.
        policy: Capacity, linger, requests at once.
        retry: What is tried again, and for how long.
        http: How long an attempt may take.
        coalescing: Which waiting events fold.
        telemetry: Is told of everything.
        transport: Opened by `start`, closed at the end.
        journal: The same; None keeps events in memory only.
        destination: The base URL; a journal delivers what was kept for the same one.
        fence: Asked before each attempt whether anything may be sent; what it holds back is no
            failure, and waits for `look_again`. None: always.
        outbox: Delivered beside the client's own events, and ended with them.
    """

    def __init__(
        self,
        *,
        lifecycle: Lifecycle,
        company_key: str,
        policy: QueuePolicy,
        retry: RetryPolicy,
        http: HttpPolicy,
        coalescing: Coalescing,
        telemetry: Telemetry,
        transport: Transport | Carrier,
        journal: Journal | None,
        destination: str,
        fence: Callable[[], bool] | None = None,
        outbox: OutboxDrain | None = None,
    ) -> None:
        self._lifecycle = lifecycle
        self._retry = retry
        self._http = http
        self._max_in_flight = policy.max_in_flight
        self._telemetry = telemetry
        self._transport = cast("Transport", transport)  # here, it is but opened and closed
        self._destination = destination
        carrier = _carrier_in(transport)
        self._carrier = carrier
        self.journal = (
            None
            if journal is None
            else JournalGateway(journal, retry, repeats_all=carrier is not None)
        )
        self._carriage = None if carrier is None else Carriage(carrier, self.journal)
        self.queue = EventQueue(
            company_key=company_key,
            policy=policy,
            retry=retry,
            coalescing=coalescing,
            telemetry=telemetry,
            journal=self.journal,
        )
        fence = fence if self._carriage is None else self._carriage.may_send
        self.gate = gate_with(
            fence,
            retry,
            max_in_flight=self._max_in_flight,
            max_rate=policy.max_rate,
            telemetry=telemetry,
        )
        self.undelivered: list[Event] = []
        """What was left in the end, lane by lane in order."""
        self._starting = asyncio.Lock()
        self._until = inf
        """The loop's time at which the drain ends."""
        self._disk_until = inf
        """The loop's time at which the disk has had all the time it gets; set as the drain ends."""
        self._draining: asyncio.Timeout | None = None
        self._shutdown: asyncio.Task[None] | None = None
        self._outbox = outbox
        self._outbox_end: asyncio.Task[None] | None = None
        # Made by `start`, on the running loop; nothing asks for them before.
        self._loop: asyncio.AbstractEventLoop
        self._tasks: Tasks
        self._dispatcher: Dispatcher
        self._replayer: Replayer | None = None
        self._reporter: Reporter | None = None
        self.counts: Callable[[], Callable[[], Stats] | None] = lambda: None
        """Returns what returns the client's counts; None once there is no client any more."""

    # --- the beginning -------------------------------------------------------------------------

    async def start(self) -> bool:
        """Bind to the running event loop, and begin to deliver.

        Returns:
            False if it was running already, here.

        Raises:
            JournalError: The journal cannot be used.
            ClientClosedError: The client was closed.
            RuntimeError: It runs on another event loop or in another process.
        """
        async with self._starting:
            if self._lifecycle.state is not ClientState.NEW:
                self._lifecycle.check_running()
                return False
            backlogs = await self._open()
            self._lifecycle.start()
            self._build()
            self._telemetry.logbook.took_over(sum(one.rows for one in backlogs if one.lanes))
            if self._replayer is not None:
                self._replayer.start(backlogs)
        return True

    async def _open(self) -> Sequence[Backlog]:
        """Open transport and journal, or nothing; return what dead processes left on disk."""
        backlogs: Sequence[Backlog] = ()
        try:
            await self._transport.open()
            if self.journal is not None:
                if self._telemetry.hears_commits:
                    self.journal.listen(self._telemetry.journal_committed)
                backlogs = await self.journal.open(destination=self._destination)
        except BaseException:
            await self._transport.close()
            raise
        if self._lifecycle.state is not ClientState.NEW:  # closed meanwhile
            try:
                if self.journal is not None:
                    await self.journal.close()
            finally:
                await self._transport.close()
            raise self._lifecycle.closed_error()
        return backlogs

    def _build(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._tasks = tasks = Tasks(self._fail)
        self.gate.bound(getattr(self._transport, "max_requests", None))
        intents = None
        if self.journal is not None:
            intents = IntentWriter(self.journal, self.queue, self.gate, tasks, self._loop.time)
            self._replayer = Replayer(self.journal, self.queue, tasks)
            Pager(self.journal, self.queue, tasks).start()
            if self.journal.takes_reports:
                self._reporter = Reporter(
                    self.journal, self._telemetry, self.counts, self._destination
                )
                self._reporter.start(tasks)
            if self.journal.forgets:
                Forgetter(self.journal, self.queue, self._replayer, tasks).start()
        self._dispatcher = Dispatcher(
            lifecycle=self._lifecycle,
            queue=self.queue,
            gate=self.gate,
            tasks=tasks,
            intents=intents,
            transport=self._carriage or self._transport,
            retry=self._retry,
            http=self._http,
            max_in_flight=self._max_in_flight,
            telemetry=self._telemetry,
            on_failure=self._fail,
        )
        if self._carrier is not None:
            tasks.spawn(self._carrier.keep_open(self._on_connection), "alhena-connection")

    @property
    def wire(self) -> Wire | None:
        """How requests travel; None before `open`, and over a transport of the user's own."""
        return getattr(self._transport, "wire", None)

    @property
    def journal_levels(self) -> JournalLevels | None:
        """How full the journal is; None without one."""
        return None if self.journal is None else self.journal.levels

    def health(self) -> Health:
        """Return whether the client does its work. From any thread."""
        loop, levels = self._lifecycle.loop, self.journal_levels
        may_spill = levels is not None and self.journal is not None and self.journal.has_room
        return judge(
            Signs(
                state=self._lifecycle.state,
                is_here=self._lifecycle.is_here,
                loop_runs=loop is not None and loop.is_running(),
                journal_lives=levels is None or levels.is_alive,
                has_room=self.queue.admission.has_room or may_spill,
                breaker=self.gate.worst,
                destination=self._telemetry.destination,
            )
        )

    def pause(self) -> None:
        """Send nothing until `resume`. Idempotent."""
        if self.gate.is_paused:
            return
        self.gate.pause()
        if self._lifecycle.state is not ClientState.NEW:
            self._dispatcher.pause()
        self._telemetry.logbook.paused(*self._waiting())

    def resume(self) -> None:
        """Send what waits. Idempotent."""
        if not self.gate.is_paused:
            return
        self.gate.resume()
        if self._lifecycle.state is not ClientState.NEW:
            self._dispatcher.resume()
        self._telemetry.logbook.resumed(*self._waiting())

    def _waiting(self) -> tuple[int, float | None]:
        """Return how many events wait, and the loop's time where there is one."""
        loop = self._lifecycle.loop
        waiting = self.queue.outstanding + self.queue.spilled
        return waiting, None if loop is None else loop.time()

    def look_again(self) -> None:
        """Send what the fence held back, if it does no more; backoffs are over with it."""
        self._dispatcher.look_again()

    def _on_connection(self, failed: Verdict | None) -> None:
        """Hear that a carrier found its connection, or why it did not."""
        now = self._loop.time()
        logbook = self._telemetry.logbook
        if failed is not None:
            logbook.attempt_failed(failed, self.queue.situation(now), now)
            return
        if logbook.in_trouble:
            logbook.answered(self.queue.situation(now), now)
        self.look_again()

    # --- the end -------------------------------------------------------------------------------

    def _fail(self, cause: BaseException) -> None:
        """Settle everything with the cause: nobody may wait for an engine that is gone."""
        if not self._lifecycle.sends:
            return
        forgotten = self._tasks.loop_is_ending
        if forgotten:
            self._lifecycle.fail(cause, "the client was not closed before its event loop ended,")
        else:
            self._lifecycle.fail(cause, "the client's dispatcher failed,")
            log_foreign("the dispatcher failed, and nothing more is accepted", cause)
        self._stop()
        self.queue.admission.fail_waiters(self._lifecycle.closed_error)
        ended = "the event loop ended before the client was closed"
        self._settle_leftovers(ended if forgotten else f"the dispatcher failed: {cause!r}")
        if forgotten:
            kept, lost = self._left_behind()
            self._telemetry.logbook.forgotten(kept=kept, lost=lost)

    def forget(self) -> None:
        """Say what is lost of a client that nobody closed, where its loop runs no more.

        Nothing is settled: whoever could hear of it is gone too.
        """
        if self._lifecycle.accepts:
            left = [self.queue.is_durable(envelope) for envelope in self.queue.leftovers()]
            kept, lost = self.queue.spilled_on_disk()
            kept, lost = kept + sum(left), lost + len(left) - sum(left)
            self._telemetry.logbook.forgotten(kept=kept, lost=lost)

    def _left_behind(self) -> tuple[int, int]:
        """Return how many events settled as kept and as abandoned."""
        outcomes = self._telemetry.outcomes
        return outcomes[OutcomeStatus.KEPT], outcomes[OutcomeStatus.ABANDONED]

    def shut_down(self, deadline: float) -> asyncio.Task[None]:
        """Accept nothing more, drain until the loop's time `deadline`, then stop.

        A later call can only bring the deadline forward.

        Returns:
            The task that does it; the same each time.
        """
        if self._lifecycle.accepts:
            self._lifecycle.move(ClientState.DRAINING)
        self.queue.admission.fail_waiters(self._lifecycle.closed_error)
        if deadline < self._until:
            self._until = deadline
            if self._draining is not None and not self._draining.expired():
                self._draining.reschedule(deadline)
        if self._outbox is not None:
            until = self._loop.time() if self.gate.is_paused else deadline
            self._outbox_end = self._outbox.shut_down(until)
        if self._shutdown is None:
            self._shutdown = self._tasks.make(self._shut_down(), "alhena-shutdown")
        return self._shutdown

    async def _shut_down(self) -> None:
        """Drain, stop, settle what is left, close."""
        try:
            try:
                await (self._finish_requests() if self.gate.is_paused else self._drain())
                if self._outbox_end is not None:
                    await asyncio.wait({self._outbox_end})
            finally:
                if self._lifecycle.state is not ClientState.STOPPING:
                    self._lifecycle.move(ClientState.STOPPING)
                self._disk_until = max(self._until, self._loop.time()) + _DISK_GRACE
                self._stop()
            await self._end_tasks()
            await self._sync_journal()
            await self._settle_in_slices()
        finally:
            try:
                # Cancelled from outside, or failed: whatever is left settles here and now.
                self._settle_leftovers(self._why_left)
                await _close("transport", self._transport.close, within=_CLOSE_TIMEOUT)
            finally:
                try:
                    if self._reporter is not None:
                        within = self._disk_time(_JOURNAL_CLOSE_TIMEOUT)
                        await _close("counts", self._reporter.end, within=within)
                    if self.journal is not None:
                        within = self._disk_time(_JOURNAL_CLOSE_TIMEOUT)
                        await _close("journal", self.journal.close, within=within)
                finally:
                    kept, abandoned = self._left_behind()
                    self._telemetry.logbook.closed(kept=kept, abandoned=abandoned)
                    self._lifecycle.move(ClientState.CLOSED)
                    self._telemetry.closed()

    async def _drain(self) -> None:
        if not self._lifecycle.sends:
            return  # failed
        try:
            until = None if self._until == inf else self._until
            async with asyncio.timeout_at(until) as self._draining:
                if self._replayer is not None:
                    await self._replayer.stop()
                drained = self.queue.drain()
                # The API may be back; what waits longer than this client lives would not learn it.
                # A pause that the API asked for, and an open breaker, hold all the same.
                self.queue.shorten_backoffs(self._loop.time(), self._until)
                await drained
        except TimeoutError:
            _log.info(
                "alhena: the drain's time is over with %d events left",
                self.queue.outstanding + self.queue.spilled,
            )
        finally:
            self._draining = None

    async def _finish_requests(self) -> None:
        """Wait for what is on the wire, and begin nothing: what a client that is paused drains."""
        if not self._lifecycle.sends:
            return  # failed
        self._lifecycle.move(ClientState.STOPPING)
        try:
            until = None if self._until == inf else self._until
            async with asyncio.timeout_at(until) as self._draining:
                await self._dispatcher.finish()
        except TimeoutError:
            _log.info("alhena: the drain's time is over with requests on the wire")
        finally:
            self._draining = None

    def _stop(self) -> None:
        self._tasks.cancel()
        self._dispatcher.stop()

    def _disk_time(self, most: float) -> float:
        """Return how long the disk may take now: all it does at the end has one deadline."""
        return min(most, max(0.0, self._disk_until - self._loop.time()))

    async def _end_tasks(self) -> None:
        alive = await self._tasks.cancel_all(_CLOSE_TIMEOUT)
        if alive:  # what they carry settles all the same
            _log.error("alhena: %d requests could not be cancelled", alive)

    async def _sync_journal(self) -> None:
        """Give what is left the time to reach the disk; what did not is not `KEPT`."""
        if self.journal is None or not (self.queue.outstanding or self.queue.spilled):
            return
        try:
            async with asyncio.timeout(self._disk_time(_SYNC_TIMEOUT)):
                await self._take_marks_back(self.journal)
                await self.journal.sync()
        except (TimeoutError, JournalError):
            _log.warning("alhena: the journal could not write everything before the end")

    async def _take_marks_back(self, journal: JournalGateway) -> None:
        """Let the next start send what was to be sent, and certainly has not reached the API."""
        marked: list[Envelope] = []
        for count, envelope in enumerate(self.queue.leftovers(), 1):
            if envelope.send_mark is not SendMark.NONE and not _is_perhaps_sent(envelope):
                marked += envelope.group  # the disk may say of more than we know that it was sent
            if count % _EVENTS_PER_TURN == 0:
                await asyncio.sleep(0)
        await journal.mark(marked, SendMark.UNSENT)
        for one in marked:
            one.details().send_mark = SendMark.UNSENT

    @property
    def _why_left(self) -> str:
        return _PAUSED if self.gate.is_paused else _CLOSED_FIRST

    async def _settle_in_slices(self) -> None:
        for count, envelope in enumerate(self.queue.leftovers(), 1):
            self._settle_leftover(envelope, self._why_left)
            if count % _EVENTS_PER_TURN == 0:
                await asyncio.sleep(0)
        while self.queue.settle_some(_EVENTS_PER_TURN):  # noqa: ASYNC110  no waiting
            await asyncio.sleep(0)
        self._leave_spilled(self._why_left)

    def _settle_leftovers(self, cause: str) -> None:
        for envelope in self.queue.leftovers():
            self._settle_leftover(envelope, cause)
        while self.queue.settle_some(_EVENTS_PER_TURN):
            pass
        self._leave_spilled(cause)
        if self._replayer is not None:
            self._replayer.forget()

    def _leave_spilled(self, cause: str) -> None:
        details = {
            OutcomeStatus.KEPT: f"{cause}; {_KEPT}",
            OutcomeStatus.ABANDONED: f"{cause}, {_NOT_KEPT}",
        }
        self.queue.leave_spilled(self._loop.time(), details)

    def _settle_leftover(self, envelope: Envelope, cause: str) -> None:
        if _is_perhaps_sent(envelope):
            envelope.details().ambiguous = True
        status, detail = OutcomeStatus.ABANDONED, cause
        if self.queue.is_durable(envelope):
            status = OutcomeStatus.KEPT
            detail = f"{cause}; {_KEPT_AS_SENT if _is_marked(envelope) else _KEPT}"
        elif self.journal is not None:
            detail = f"{cause}, {_NOT_KEPT}"
        outcome = envelope.outcome_as(status, self._loop.time(), detail)
        self.undelivered.append(outcome.event)
        self.queue.settle(envelope, outcome)


def _carrier_in(transport: Transport | Carrier) -> Carrier | None:
    """Return a transport that carries envelopes; None for one that carries requests."""
    return cast("Carrier", transport) if hasattr(transport, "carry") else None


def _is_marked(envelope: Envelope) -> bool:
    return envelope.send_mark is SendMark.SENT


def _is_perhaps_sent(envelope: Envelope) -> bool:
    """Return whether an attempt was ambiguous, or is on the wire."""
    lane = envelope.lane
    is_on_wire = lane.taken is envelope and lane.state is LaneState.TAKEN
    return is_on_wire or envelope.is_ambiguous


async def _close(name: str, close: Callable[[], Awaitable[None]], *, within: float) -> None:
    """Close something foreign; whatever it does, it must not take the report with it."""
    try:
        async with asyncio.timeout(within):
            await close()
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        _log.error("alhena: the %s cancelled its own closing", name)
    except Exception as error:  # noqa: BLE001  foreign
        log_foreign(f"the {name} could not be closed cleanly", error)
