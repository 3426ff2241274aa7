"""Writes down, before an event that may not be repeated is sent, that it is about to be sent."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from alhena_async._delivery.tasks import Tasks
from alhena_async._queue.envelope import Envelope
from alhena_async._queue.journal_gateway import JournalGateway
from alhena_async._queue.scheduler import LaneScheduler
from alhena_async.errors import JournalError
from alhena_async.journal import SendMark

__all__ = ["IntentWriter"]

_BATCH: Final = 250  # events in one transaction


class IntentWriter:
    """Envelopes whose lanes wait for the disk, off the line and off the wire.

    Args:
        journal: What has to know.
        scheduler: Where the lanes go on.
        tasks: Makes the one that writes, when there is something to write.
        notice: Tells the dispatcher to look at the queue.
    """

    def __init__(
        self,
        journal: JournalGateway,
        scheduler: LaneScheduler,
        tasks: Tasks,
        notice: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._scheduler = scheduler
        self._tasks = tasks
        self._notice = notice
        self._waiting: deque[Envelope] = deque()
        self._is_running = False

    def add(self, envelope: Envelope) -> None:
        """Write down that a taken envelope is about to be sent, and let its lane go on then."""
        self._scheduler.hold_for_intent(envelope)
        self._waiting.append(envelope)
        if not self._is_running:
            self._is_running = True
            self._tasks.spawn(self._write(), "alhena-intents")

    async def _write(self) -> None:
        """Mark all that wait, one batch after another."""
        while self._waiting:
            count = min(len(self._waiting), _BATCH)
            batch = [self._waiting.popleft() for _ in range(count)]
            await self._mark([one for envelope in batch for one in envelope.group])
            for envelope in batch:
                self._scheduler.resume(envelope)
            self._notice()
        self._is_running = False

    async def _mark(self, envelopes: list[Envelope]) -> None:
        for one in envelopes:
            one.more().guard = SendMark.SENT  # at once: called off, it may be written all the same
        with suppress(JournalError):  # nothing may keep an event from its API
            await self._journal.mark(envelopes, SendMark.SENT)
