"""Reads what was left to the disk alone back in, page by page, as there comes room in memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from alhena_async._delivery.tasks import Tasks
from alhena_async._queue.journal_gateway import JournalGateway
from alhena_async.errors import JournalError
from alhena_async.journal._outage import Outage

if TYPE_CHECKING:
    from alhena_async._queue.queue import EventQueue

__all__ = ["Pager"]

_SECONDS_BETWEEN_TRIES: Final = 1.0  # while the journal cannot be read


class Pager:
    """Keeps the order in which events were accepted: what comes after them waits behind them.

    Args:
        journal: What it reads.
        queue: Says when there is room, and takes the rows.
        tasks: Makes the task.
    """

    def __init__(self, journal: JournalGateway, queue: EventQueue, tasks: Tasks) -> None:
        self._journal = journal
        self._queue = queue
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._outage = Outage()
        """The journal cannot be read."""

    def start(self) -> None:
        """Begin to read as soon as there is something to be read."""
        self._tasks.spawn(self._run(), "alhena-paging")

    async def _run(self) -> None:
        after: int | None = None
        while True:
            room = await self._queue.admission.wait_to_page()
            upto, asked_at = self._queue.cut_spill(), self._loop.time()
            try:
                page = await self._journal.page(None, after=after, limit=room)
            except JournalError as error:
                self._failed(error)
                await asyncio.sleep(_SECONDS_BETWEEN_TRIES)
                continue
            self._outage.succeeded("what the disk alone has can be read again")
            self._queue.unspill(
                page.rows,
                self._loop.time(),
                asked_at=asked_at,
                upto=upto if page.last else None,
            )
            if page.rows:
                after = page.rows[-1].row_id
            # An empty page is the end of what was lost; a journal that goes on so is not hurried.
            await asyncio.sleep(0 if page.rows else _SECONDS_BETWEEN_TRIES)

    def _failed(self, error: JournalError) -> None:
        self._queue.admission.end_page()
        message = f"what the disk alone has cannot be read: {error}"
        self._outage.failed(JournalError(message), "it stays there, and is tried again")
