"""Lets go of a visitor when somebody asks for it in the journal's directory: `alhena forget`."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

import attrs

from alhena_async._delivery.replay import Replayer
from alhena_async._delivery.tasks import Tasks
from alhena_async._queue.envelope import Envelope
from alhena_async._queue.journal_gateway import JournalGateway
from alhena_async._queue.lane import LaneState
from alhena_async.errors import JournalError
from alhena_async.journal import FORGOTTEN
from alhena_async.outcomes import OutcomeStatus

if TYPE_CHECKING:
    from alhena_async._queue.queue import EventQueue
    from alhena_async.journal import ForgetRequest, Whom

__all__ = ["Forgetter"]

_log = logging.getLogger("alhena_async")

_PAUSE: Final = 2.0
"""Seconds between two looks for requests."""

_PAUSE_ASKED: Final = 0.25
"""Seconds between two while something is on the wire that was to be forgotten."""

_LANES_PER_TURN: Final = 250  # keeps each turn of the loop short


@attrs.define(eq=False)
class _Progress:
    """How far a request is."""

    dropped: int = 0
    on_wire: set[Envelope] = attrs.field(factory=set)
    """All that were seen on the wire, whatever became of them."""


class Forgetter:
    """Looks for requests, and obeys each once: what waits is dropped, what is out is waited for.

    Args:
        journal: Has the directory, and what the disk alone has.
        queue: Has what waits.
        replayer: Has what was read of other files, and is not in the queue yet.
        tasks: Makes the task.
    """

    def __init__(
        self, journal: JournalGateway, queue: EventQueue, replayer: Replayer, tasks: Tasks
    ) -> None:
        self._journal = journal
        self._queue = queue
        self._replayer = replayer
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._begun: dict[str, _Progress] = {}
        self._done: set[str] = set()

    def start(self) -> None:
        """Look from now on."""
        over = "requests to forget a visitor are not obeyed any more"
        self._tasks.spawn_aside(self._run(), "alhena-forget", over)

    async def _run(self) -> None:
        while True:
            requests = await self._journal.forget_requests()
            self._done &= {request.path.name for request in requests}
            for request in requests:
                if request.path.name not in self._done:
                    await self._try(request)
            await asyncio.sleep(_PAUSE_ASKED if self._begun else _PAUSE)

    async def _try(self, request: ForgetRequest) -> None:
        try:
            await self._obey(request)
        except JournalError as error:
            self._begun.pop(request.path.name, None)
            self._done.add(request.path.name)  # whoever asked hears of it by the silence
            _log.warning("alhena: a visitor could not be forgotten on disk: %s", error)

    async def _obey(self, request: ForgetRequest) -> None:
        name = request.path.name
        progress = self._begun.setdefault(name, _Progress())
        if await self._drop(request.whom, progress):
            return  # its attempt ends within seconds
        progress.dropped += await self._journal.forget(request.whom)
        # What was being read from the disk meanwhile is here by now, and is counted already.
        if await self._drop(request.whom, progress, is_again=True):
            return
        del self._begun[name]
        self._done.add(name)
        on_wire = len(progress.on_wire)
        await self._journal.answer(request, dropped=progress.dropped, on_wire=on_wire)

    async def _drop(self, whom: Whom, progress: _Progress, *, is_again: bool = False) -> bool:
        """Drop what waits of a visitor; return whether something is on the wire."""
        self._replayer.drop(whom.has)
        lanes = list(self._queue.scheduler.lanes.values())
        keys = set()
        for count, lane in enumerate(lanes, 1):
            if whom.is_one_of(*lane.key[:2]):
                keys.add(lane.key)
            if count % _LANES_PER_TURN == 0:
                await asyncio.sleep(0)
        is_out = False
        for envelope in self._queue.leftovers() if keys else ():
            lane = envelope.lane
            if lane.key not in keys or envelope.done():
                continue
            if lane.taken is envelope and lane.state is LaneState.TAKEN:
                progress.on_wire.add(envelope)
                is_out = True
            else:
                is_counted = envelope in progress.on_wire or (is_again and envelope.is_replayed)
                progress.dropped += not is_counted
                now = self._loop.time()
                outcome = envelope.outcome_as(OutcomeStatus.DROPPED, now, FORGOTTEN)
                self._queue.settle(envelope, outcome)
        return is_out
