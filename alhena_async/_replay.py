"""Pages what dead processes left into the queue, file after file, as far as there is room."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from alhena_async._paging import Paging
from alhena_async._watch import log_foreign
from alhena_async.errors import JournalError
from alhena_async.journal import Backlog, Journal

__all__ = ["Replay"]

_log = logging.getLogger("alhena_async")

_ADOPT_EVERY: Final = 60.0  # seconds between two looks for files of processes that died meanwhile
_STOP_TIMEOUT: Final = 1.0  # seconds for a page that is being read to be called off
_PAGE: Final = 250  # rows at one go; keeps each turn of the loop short


class Replay:
    """Reads one backlog after another. The task that runs it is the dispatcher's.

    Args:
        journal: What it reads.
        paging: Where the rows go.
        notice: Tells the dispatcher to look at the queue.
    """

    def __init__(self, journal: Journal, paging: Paging, notice: Callable[[], None]) -> None:
        self._journal = journal
        self._paging = paging
        self._notice = notice
        self._now = asyncio.get_running_loop().time
        self._pending: deque[int] = deque()
        self._may_complain = True
        self.task: asyncio.Task[None] | None = None
        """Runs `run`."""

    def expect(self, adopted: Sequence[Backlog]) -> None:
        """Count these in, and read them when their turn comes."""
        self._paging.expect(adopted)
        self._pending.extend(backlog.file for backlog in adopted)

    async def run(self) -> None:
        """Read what is there, then look for more from time to time, until cancelled."""
        while True:
            while self._pending:
                await self._read(self._pending.popleft())
            await asyncio.sleep(_ADOPT_EVERY)
            await self._adopt()

    async def stop(self) -> None:
        """Read no more. What is held behind rows in memory still enters its lane."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait({self.task}, timeout=_STOP_TIMEOUT)
        await self.release()

    async def release(self) -> None:
        """Let all events in that nothing older stands before any more."""
        while self._paging.release(_PAGE, self._now()):
            self._notice()
            await asyncio.sleep(0)
        self._notice()

    def forget(self) -> None:
        """Expect nothing more; whoever waits for rows to come waits no longer."""
        self._paging.forget()
        self._pending.clear()

    def give_up(self) -> None:
        """Expect nothing more, and let everybody in who waited for it."""
        self.forget()
        while self._paging.release(_PAGE, self._now()):
            pass
        self._notice()

    async def _read(self, file: int) -> None:
        try:
            await self._page_in(file)
        except JournalError as error:
            _log.warning("a backlog cannot be read on, and waits for the next start: %s", error)
        except Exception as error:  # noqa: BLE001  whatever it is, new events go on
            log_foreign("a backlog could not be replayed", error)
        self._paging.finish(file)
        await self.release()

    async def _page_in(self, file: int) -> None:
        after: int | None = None
        while True:
            limit = min(await self._paging.room(), _PAGE)
            page = await self._journal.page(file, after=after, limit=limit)
            for row in page.rows:
                self._paging.take_in(file, row, self._now())
                after = row.place
            if page.last:
                return
            await self.release()

    async def _adopt(self) -> None:
        try:
            self.expect(await self._journal.adopt())
        except JournalError as error:
            if self._may_complain:
                _log.warning("the journal cannot be searched for what others left: %s", error)
            self._may_complain = False
        except Exception as error:  # noqa: BLE001  the next look may find more
            log_foreign("the journal failed in adopting", error)
        else:
            self._may_complain = True
