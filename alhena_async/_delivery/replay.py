"""Delivers what dead processes left: reads it page by page, as far as there is room in memory.

All files are read side by side, and their rows come in by when they were accepted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from alhena_async._delivery.tasks import Tasks
from alhena_async._queue.journal_gateway import JournalGateway
from alhena_async._queue.merging import MergedRow, RowMerge
from alhena_async._telemetry.telemetry import log_foreign
from alhena_async.errors import JournalError
from alhena_async.events import Event
from alhena_async.journal import Backlog
from alhena_async.journal._outage import Outage

if TYPE_CHECKING:
    from alhena_async._queue.queue import EventQueue

__all__ = ["Replayer"]

_log = logging.getLogger("alhena_async")

_SECONDS_BETWEEN_LOOKS: Final = 60.0  # for files of processes that died meanwhile

_STOP_TIMEOUT: Final = 1.0  # seconds for a page that is being read to be cancelled

_PER_TURN: Final = 250  # rows, held events or lanes: keeps each turn of the loop short


class Replayer:
    """Reads the backlogs, in a task of its own.

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
        self._merge = RowMerge()
        """What is read and not yet in the queue."""
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
        self._merge.clear()

    def drop(self, is_unwanted: Callable[[Event], bool]) -> None:
        """Let go of rows that were read and are not in the queue yet."""
        self._merge.remove(is_unwanted)

    def _on_failure(self, error: BaseException) -> None:
        """Expect nothing more, and let in all that was held: the engine goes on."""
        if self._is_over:
            return
        if not self._tasks.loop_is_ending:  # then the engine says what is lost
            log_foreign("the replay failed; what it had not read waits for the next start", error)
        self.forget()
        while self._queue.release_held(_PER_TURN, self._loop.time()):
            pass

    async def _run(self) -> None:
        """Read what is there, and look for more from time to time, until cancelled."""
        while True:
            look_at = self._loop.time() + _SECONDS_BETWEEN_LOOKS
            while await self._wait_for_room(look_at):
                await self._fill()
                await self._let_in()
            await self._adopt()

    def _expect(self, adopted: Sequence[Backlog]) -> None:
        """Count these in; they are read from now on."""
        self._queue.expect(adopted)
        for backlog in adopted:
            self._merge.add(backlog.file)

    async def _wait_for_room(self, until: float) -> bool:
        """Return once there is room for a row to come; False when it is time to look for files."""
        if not self._merge:
            await asyncio.sleep(until - self._loop.time())
        if self._loop.time() >= until:
            return False
        try:
            async with asyncio.timeout_at(until):
                await self._queue.admission.wait_to_replay()
        except TimeoutError:
            return False
        return True

    async def _fill(self) -> None:
        """Read on in each file without which nobody knows whose row is next, and salvage a bit."""
        salvaged = self._merge.salvaged()
        if salvaged is not None:
            await self._read(salvaged)
        while (file := self._merge.lacking()) is not None:
            await self._read(file)

    async def _read(self, file: int) -> None:
        asked_at, after = self._loop.time(), self._merge.read_so_far(file)
        try:
            page = await self._journal.page(file, after=after, limit=self._merge.page_size)
        except JournalError as error:
            _log.warning(
                "alhena: a backlog cannot be read on, and waits for the next start: %s", error
            )
            self._merge.drop(file)
            self._queue.finish(file)
            await self._release()
        else:
            self._merge.put(file, page, asked_at)

    async def _let_in(self) -> None:
        """Let in what comes next, as far as there is room."""
        self._queue.replay(self._next_rows(), self._loop.time())
        for file in self._merge.pop_finished():
            self._queue.finish(file)
        await self._release()

    def _next_rows(self) -> Iterator[MergedRow]:
        """Yield what comes next; each row may change how much room there is for another."""
        for _ in range(_PER_TURN):
            row = self._merge.take() if self._queue.admission.room_for_replay else None
            if row is None:
                break
            yield row

    async def _release(self) -> None:
        """Let every held event in that nothing older stands before any more."""
        while self._queue.release_held(_PER_TURN, self._loop.time()):  # noqa: ASYNC110  no waiting
            await asyncio.sleep(0)

    async def _adopt(self) -> None:
        """Take over what processes left that died meanwhile, and count it in.

        What waits in its lanes is taken back before the first row is read.
        """
        try:
            self._expect(await self._journal.adopt())
            while self._queue.recall_some(_PER_TURN):  # noqa: ASYNC110  no waiting
                await asyncio.sleep(0)
        except JournalError as error:
            message = f"the journal cannot be searched for what others left: {error}"
            self._outage.failed(JournalError(message), "it is tried again every minute")
        else:
            self._outage.succeeded("the journal can be searched again for what others left")
