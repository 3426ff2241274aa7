"""Pages what dead processes left into the queue, file after file, as far as there is room."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from alhena_async._delivery.tasks import Tasks
from alhena_async._queue.deadlines import expiry_detail
from alhena_async._queue.envelope import Envelope
from alhena_async._queue.journal_gateway import JournalGateway
from alhena_async._queue.queue import EventQueue
from alhena_async._telemetry import Telemetry, log_foreign
from alhena_async.errors import JournalError
from alhena_async.journal import Backlog, Row, SendMark
from alhena_async.outcomes import OutcomeStatus

__all__ = ["Paging", "Replay"]

_WAS_SENT = "perhaps sent before its process died, and may not be repeated"


class Paging:
    """Takes rows in as far as slots are reserved for them.

    Args:
        queue: Where they go. It has a journal.
        telemetry: Is told of every event that is replayed.
    """

    def __init__(self, queue: EventQueue, telemetry: Telemetry) -> None:
        assert queue.settlement.backlogs is not None  # noqa: S101  it has a journal
        self._queue = queue
        self._backlogs = queue.settlement.backlogs
        self._telemetry = telemetry

    def expect(self, adopted: Iterable[Backlog]) -> None:
        """Count what was adopted: from now on, younger events of its lanes are held."""
        for backlog in adopted:
            self._backlogs.expect(backlog, self._queue.settlement.flushes.present)
        self._reserve_slots()

    async def room(self) -> int:
        """Wait for slots that are reserved for rows, and return how many there are."""
        return await self._queue.admission.wait_to_replay()

    def take_in(self, file: int, row: Row, now: float) -> None:
        """Let a row's event into its lane, or settle it if it is not to be sent any more."""
        envelope = Envelope(row.event, now - row.age, self._backlogs.paged_in(file, row.lane))
        envelope.row_id = row.row_id
        facts = envelope.more()
        facts.pinned = facts.replayed = True
        facts.order_id = row.order_id
        facts.guard = row.guard
        # An attempt that ran at the kill was never written down.
        facts.ambiguous = row.guard is not SendMark.UNSENT
        self._queue.admission.take()
        self._reserve_slots()
        self._telemetry.replayed(row.event)
        lane = self._queue.enter_replayed(envelope, row.company_key)
        timeout = self._queue.deadlines.timeout(envelope)
        if row.guard is SendMark.SENT:
            self._settle(envelope, OutcomeStatus.UNKNOWN, now, _WAS_SENT)
        elif envelope.accepted_at + timeout <= now:
            self._settle(envelope, OutcomeStatus.EXPIRED, now, expiry_detail(envelope, timeout))
        else:
            self._queue.scheduler.make_ready(lane)

    def finish(self, file: int) -> None:
        """Expect no more rows of a file: all were taken in, or it cannot be read on."""
        epoch, missing = self._backlogs.finish(file)
        self._reserve_slots()
        self._queue.settlement.flushes.settled(epoch, missing)

    def release(self, budget: int, now: float) -> bool:
        """Let events in that nothing older of their lane stands before, at most `budget` of them.

        Returns:
            Whether there may be more.
        """
        for _ in range(budget):
            envelope = self._backlogs.next_freed()
            if envelope is None:
                return False
            self._queue.enter_held(envelope, now)
        return True

    def forget(self) -> None:
        """Expect nothing more of any file; its rows stay where they are."""
        for file in self._backlogs.files:
            self.finish(file)

    def _settle(self, envelope: Envelope, status: OutcomeStatus, now: float, detail: str) -> None:
        self._queue.settle(envelope, envelope.outcome_as(status, now, detail))

    def _reserve_slots(self) -> None:
        admission = self._queue.admission
        admission.reserved_for_replay = self._backlogs.slots
        admission.grant()


_log = logging.getLogger("alhena_async")

_ADOPT_EVERY: Final = 60.0  # seconds between two looks for files of processes that died meanwhile

_STOP_TIMEOUT: Final = 1.0  # seconds for a page that is being read to be called off

_PAGE: Final = 250  # rows at one go; keeps each turn of the loop short


class Replay:
    """Reads one backlog after another, in a task of its own.

    Args:
        journal: What it reads.
        paging: Where the rows go.
        tasks: Makes the one that reads.
        notice: Tells the dispatcher to look at the queue.
    """

    def __init__(
        self, journal: JournalGateway, paging: Paging, tasks: Tasks, notice: Callable[[], None]
    ) -> None:
        self._journal = journal
        self._paging = paging
        self._tasks = tasks
        self._notice = notice
        self._now = asyncio.get_running_loop().time
        self._pending: deque[int] = deque()
        self._may_complain = True
        self._task: asyncio.Task[None] | None = None
        self._is_over = False
        """Nothing is read any more, and nobody is surprised by that."""

    def start(self, adopted: Sequence[Backlog]) -> None:
        """Deliver what dead processes left; younger events of the same lanes come after it."""
        self._expect(adopted)
        self._task = self._tasks.spawn(self._run(), "alhena-replay", self._on_failure)

    def _expect(self, adopted: Sequence[Backlog]) -> None:
        """Count these in, and read them when their turn comes."""
        self._paging.expect(adopted)
        self._pending.extend(backlog.file for backlog in adopted)

    async def _run(self) -> None:
        """Read what is there, then look for more from time to time, until cancelled."""
        while True:
            while self._pending:
                await self._read(self._pending.popleft())
            await asyncio.sleep(_ADOPT_EVERY)
            await self._adopt()

    async def stop(self) -> None:
        """Read no more. What is held behind rows in memory still enters its lane."""
        self._is_over = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=_STOP_TIMEOUT)
        await self.release()

    async def release(self) -> None:
        """Let all events in that nothing older stands before any more."""
        while self._paging.release(_PAGE, self._now()):
            self._notice()
            await asyncio.sleep(0)
        self._notice()

    def forget(self) -> None:
        """Expect nothing more; whoever waits for rows to come waits no longer."""
        self._is_over = True
        self._paging.forget()
        self._pending.clear()

    def _on_failure(self, error: BaseException) -> None:
        """Expect nothing more, and let everybody in who waited for it: the engine goes on."""
        if self._is_over:
            return
        log_foreign("the replay failed; what it had not read waits for the next start", error)
        self.forget()
        while self._paging.release(_PAGE, self._now()):
            pass
        self._notice()

    async def _read(self, file: int) -> None:
        try:
            await self._page_in(file)
        except JournalError as error:
            _log.warning("a backlog cannot be read on, and waits for the next start: %s", error)
        self._paging.finish(file)
        await self.release()

    async def _page_in(self, file: int) -> None:
        after: int | None = None
        while True:
            limit = min(await self._paging.room(), _PAGE)
            page = await self._journal.page(file, after=after, limit=limit)
            for row in page.rows:
                self._paging.take_in(file, row, self._now())
                after = row.row_id
            if page.last:
                return
            await self.release()

    async def _adopt(self) -> None:
        try:
            self._expect(await self._journal.adopt())
        except JournalError as error:
            if self._may_complain:
                _log.warning("the journal cannot be searched for what others left: %s", error)
            self._may_complain = False
        else:
            self._may_complain = True
