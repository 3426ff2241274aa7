"""Delivers what dead processes left: reads it page by page, as far as there is room in memory."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from alhena_async._delivery.tasks import Tasks
from alhena_async._queue.journal_gateway import JournalGateway
from alhena_async._telemetry.telemetry import log_foreign
from alhena_async.errors import JournalError
from alhena_async.journal import Backlog
from alhena_async.journal._outage import Outage

if TYPE_CHECKING:
    from alhena_async._queue.queue import EventQueue

__all__ = ["Replayer"]

_log = logging.getLogger("alhena_async")

_SECONDS_BETWEEN_LOOKS: Final = 60.0  # for files of processes that died meanwhile

_STOP_TIMEOUT: Final = 1.0  # seconds for a page that is being read to be cancelled

_ROWS_PER_PAGE: Final = 250  # keeps each turn of the loop short


class Replayer:
    """Reads one backlog after another, in a task of its own.

    Args:
        journal: What it reads.
        queue: Where the rows go, as far as slots are reserved for them.
        tasks: Makes the task.
    """

    def __init__(self, journal: JournalGateway, queue: EventQueue, tasks: Tasks) -> None:
        self._journal = journal
        self._queue = queue
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._pending: deque[int] = deque()
        self._outage = Outage()
        """The journal cannot be searched."""
        self._task: asyncio.Task[None] | None = None
        self._is_over = False
        """Nothing is to be read any more: that its task ends is no failure."""

    def start(self, adopted: Sequence[Backlog]) -> None:
        """Deliver what was adopted; younger events of the same lanes come after it."""
        self._expect(adopted)
        self._task = self._tasks.spawn(self._run(), "alhena-replay", self._on_failure)

    async def stop(self) -> None:
        """Read no more. What is held behind rows in memory still enters its lane."""
        self._is_over = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=_STOP_TIMEOUT)
        await self._release()

    def forget(self) -> None:
        """Expect nothing more: a flush waits no longer for rows to come."""
        self._is_over = True
        self._queue.forget_backlogs()
        self._pending.clear()

    def _on_failure(self, error: BaseException) -> None:
        """Expect nothing more, and let in all that was held: the engine goes on."""
        if self._is_over:
            return
        if not self._tasks.loop_is_ending:  # then the engine says what is lost
            log_foreign("the replay failed; what it had not read waits for the next start", error)
        self.forget()
        while self._queue.release_held(_ROWS_PER_PAGE, self._loop.time()):
            pass

    async def _run(self) -> None:
        """Read what is there, then look for more from time to time, until cancelled."""
        while True:
            while self._pending:
                await self._read(self._pending.popleft())
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
            await self._adopt()

    def _expect(self, adopted: Sequence[Backlog]) -> None:
        """Count these in, and read them when their turn comes."""
        self._queue.expect(adopted)
        self._pending.extend(backlog.file for backlog in adopted)

    async def _read(self, file: int) -> None:
        try:
            await self._page_in(file)
        except JournalError as error:
            _log.warning(
                "alhena: a backlog cannot be read on, and waits for the next start: %s", error
            )
        self._queue.finish(file)
        await self._release()

    async def _page_in(self, file: int) -> None:
        after: int | None = None
        while True:
            limit = min(await self._queue.admission.wait_to_replay(), _ROWS_PER_PAGE)
            page = await self._journal.page(file, after=after, limit=limit)
            self._queue.replay(file, page.rows, self._loop.time())
            if page.last:
                return
            if page.rows:
                after = page.rows[-1].row_id
            await self._release()

    async def _release(self) -> None:
        """Let every held event in that nothing older stands before any more."""
        while self._queue.release_held(_ROWS_PER_PAGE, self._loop.time()):  # noqa: ASYNC110  no waiting
            await asyncio.sleep(0)

    async def _adopt(self) -> None:
        try:
            self._expect(await self._journal.adopt())
        except JournalError as error:
            message = f"the journal cannot be searched for what others left: {error}"
            self._outage.failed(JournalError(message), "it is tried again every minute")
        else:
            self._outage.succeeded("the journal can be searched again for what others left")
