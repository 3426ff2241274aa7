"""How a dispatcher ends: it drains, ends its workers, settles what is left, and closes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from math import inf
from typing import Final

from alhena_async._delivery.lifecycle import ClientState, Lifecycle
from alhena_async._delivery.replay import Replayer
from alhena_async._delivery.tasks import Tasks
from alhena_async._queue.envelope import Envelope
from alhena_async._queue.journal_gateway import JournalGateway
from alhena_async._queue.lane import LaneState
from alhena_async._queue.queue import EventQueue
from alhena_async._telemetry import log_foreign
from alhena_async.errors import JournalError
from alhena_async.events import Event
from alhena_async.journal import SendMark
from alhena_async.outcomes import OutcomeStatus
from alhena_async.transports import Transport

__all__ = ["Shutdown"]

_log = logging.getLogger("alhena_async")

_CLOSED_FIRST: Final = "the client closed first"

_KEPT: Final = "the journal has it for the next start"

_KEPT_AS_SENT: Final = (
    "the journal has it as perhaps sent: it may not be repeated, and ends UNKNOWN at the next start"
)

_CLOSE_TIMEOUT: Final = 1.0  # seconds for the connections to end; they are dropped after that

_SYNC_TIMEOUT: Final = 2.0  # seconds for what is left to reach the disk

_JOURNAL_CLOSE_TIMEOUT: Final = 5.0  # seconds for the journal to write and release its files

_SLICE: Final = 250  # events settled at one go; keeps each turn of the loop short


class Shutdown:
    """Brings a client to its end. The task that runs it is the dispatcher's.

    Args:
        lifecycle: Is told how far it is.
        queue: What is left in it settles.
        transport: Closed in the end.
        journal: Closed last; None if there is none.
        replayer: Stopped first; None without a journal.
        tasks: Cancelled once the drain is over.
        disarm: Stops its timer.
    """

    def __init__(
        self,
        *,
        lifecycle: Lifecycle,
        queue: EventQueue,
        transport: Transport,
        journal: JournalGateway | None,
        replayer: Replayer | None,
        tasks: Tasks,
        disarm: Callable[[], None],
    ) -> None:
        self._lifecycle = lifecycle
        self._queue = queue
        self._transport = transport
        self._journal = journal
        self._replayer = replayer
        self._tasks = tasks
        self._disarm = disarm
        self._now = asyncio.get_running_loop().time
        self._until = inf
        self._draining: asyncio.Timeout | None = None
        self.undelivered: list[Event] = []
        """What was left in the end, lane by lane in order."""

    def bring_forward(self, deadline: float) -> None:
        """Drain until the loop's time `deadline`, if that is sooner than planned."""
        if deadline < self._until:
            self._until = deadline
            if self._draining is not None and not self._draining.expired():
                self._draining.reschedule(deadline)

    def fail(self, cause: BaseException) -> None:
        """Settle everything with the cause: nobody may wait for a dispatcher that is gone."""
        self._disarm()
        self._settle_leftovers(f"the dispatcher failed: {cause!r}")

    async def run(self) -> None:
        """Drain, stop, settle what is left, close."""
        try:
            try:
                await self._drain()
            finally:
                self._stop()
            await self._end_tasks()
            await self._sync_journal()
            await self._settle_in_slices()
        finally:
            try:
                # Cancelled from outside, or failed: whatever is left settles here and now.
                self._settle_leftovers(_CLOSED_FIRST)
                await self._close_transport()
            finally:
                try:
                    await self._close_journal()
                finally:
                    self._lifecycle.move(ClientState.CLOSED)

    async def _drain(self) -> None:
        if not self._lifecycle.sends:
            return  # failed
        try:
            until = None if self._until == inf else self._until
            async with asyncio.timeout_at(until) as self._draining:
                if self._replayer is not None:
                    await self._replayer.stop()
                drained = self._queue.drain()
                # The API may be back; what waits longer than this client lives would not learn it.
                # A pause that the API asked for, and an open breaker, hold all the same.
                self._queue.shorten_backoffs(self._now(), self._until)
                await drained
        except TimeoutError:
            _log.info("the drain's time is over with %d events left", self._queue.outstanding)
        finally:
            self._draining = None

    def _stop(self) -> None:
        self._lifecycle.move(ClientState.STOPPING)
        self._tasks.cancel()
        self._disarm()

    async def _end_tasks(self) -> None:
        alive = await self._tasks.cancel_all(_CLOSE_TIMEOUT)
        if alive:  # what they carry settles all the same
            _log.error("%d requests could not be cancelled", alive)

    async def _sync_journal(self) -> None:
        """Give what is left the time to reach the disk; what did not is not `KEPT`."""
        if self._journal is None or not self._queue.outstanding:
            return
        try:
            async with asyncio.timeout(_SYNC_TIMEOUT):
                await self._take_marks_back(self._journal)
                await self._journal.sync()
        except (TimeoutError, JournalError):
            _log.warning("the journal could not write everything before the end")

    async def _take_marks_back(self, journal: JournalGateway) -> None:
        """Let the next start send what was to be sent, and certainly has not reached the API."""
        marked: list[Envelope] = []
        for count, envelope in enumerate(self._queue.leftovers()):
            if _is_marked(envelope) and not _is_perhaps_sent(envelope):
                marked += envelope.group
            if count % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
        await journal.mark(marked, SendMark.UNSENT)
        for one in marked:
            one.more().guard = SendMark.UNSENT

    async def _settle_in_slices(self) -> None:
        for count, envelope in enumerate(self._queue.leftovers()):
            self._settle_leftover(envelope, _CLOSED_FIRST)
            if count % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)

    def _settle_leftovers(self, cause: str) -> None:
        for envelope in self._queue.leftovers():
            self._settle_leftover(envelope, cause)
        if self._replayer is not None:
            self._replayer.forget()

    def _settle_leftover(self, envelope: Envelope, cause: str) -> None:
        if _is_perhaps_sent(envelope):
            envelope.more().ambiguous = True
        status, detail = OutcomeStatus.ABANDONED, cause
        if self._queue.is_durable(envelope):
            status = OutcomeStatus.KEPT
            detail = f"{cause}; {_KEPT_AS_SENT if _is_marked(envelope) else _KEPT}"
        elif self._journal is not None:
            detail = f"{cause}, and the journal could not hold it"
        outcome = envelope.outcome_as(status, self._now(), detail)
        self.undelivered.append(outcome.event)
        self._queue.settle(envelope, outcome)

    async def _close_transport(self) -> None:
        await _close("transport", self._transport.close, within=_CLOSE_TIMEOUT)

    async def _close_journal(self) -> None:
        if self._journal is not None:
            await _close("journal", self._journal.close, within=_JOURNAL_CLOSE_TIMEOUT)


def _is_marked(envelope: Envelope) -> bool:
    return envelope.facts is not None and envelope.facts.guard is SendMark.SENT


def _is_perhaps_sent(envelope: Envelope) -> bool:
    """Whether an attempt was ambiguous, or is on the wire."""
    lane = envelope.lane
    if lane is not None and lane.taken is envelope and lane.state is LaneState.TAKEN:
        return True
    return envelope.facts is not None and envelope.facts.ambiguous


async def _close(name: str, close: Callable[[], Awaitable[None]], *, within: float) -> None:
    """Close something foreign; whatever it does, it must not take the report with it."""
    try:
        async with asyncio.timeout(within):
            await close()
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        _log.error("the %s called its own closing off", name)
    except Exception as error:  # noqa: BLE001  foreign
        log_foreign(f"the {name} could not be closed cleanly", error)
