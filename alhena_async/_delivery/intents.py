"""Writes down, before an event that may not be repeated is sent, that it is about to be sent."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from alhena_async._delivery.tasks import Tasks
from alhena_async._queue.envelope import Envelope
from alhena_async._queue.journal_gateway import JournalGateway
from alhena_async.errors import JournalError
from alhena_async.journal import SendMark

if TYPE_CHECKING:
    from alhena_async._queue.queue import EventQueue

__all__ = ["IntentWriter"]

_ROWS_PER_TRANSACTION: Final = 250


class IntentWriter:
    """Marks envelopes in the journal, in a task of its own; meanwhile their lanes wait.

    Args:
        journal: What has to know.
        queue: Where the lanes wait, and go on.
        tasks: Makes the task, when there is something to write.
    """

    def __init__(self, journal: JournalGateway, queue: EventQueue, tasks: Tasks) -> None:
        self._journal = journal
        self._queue = queue
        self._tasks = tasks
        self._waiting: deque[Envelope] = deque()
        self._is_running = False

    def add(self, envelope: Envelope) -> None:
        """Write down that a taken envelope is about to be sent, and let its lane go on then."""
        self._queue.hold_for_intent(envelope)
        self._waiting.append(envelope)
        if not self._is_running:
            self._is_running = True
            self._tasks.spawn(self._write(), "alhena-intents")

    async def _write(self) -> None:
        """Mark all that wait, one batch after another."""
        while self._waiting:
            count = min(len(self._waiting), _ROWS_PER_TRANSACTION)
            batch = [self._waiting.popleft() for _ in range(count)]
            await self._mark([one for envelope in batch for one in envelope.group])
            self._queue.resume(batch)
        self._is_running = False

    async def _mark(self, envelopes: list[Envelope]) -> None:
        for one in envelopes:
            # At once: a write that is cancelled may reach the disk all the same.
            one.details().send_mark = SendMark.SENT
        with suppress(JournalError):  # nothing may keep an event from its API
            await self._journal.mark(envelopes, SendMark.SENT)
