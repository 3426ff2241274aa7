"""Writes down, before an event that may not be repeated is sent, that it is about to be sent.

So the disk never says "not sent" of what may have been. And it says "perhaps sent" of no more than
can be on the wire at once: a mark is written when a slot is free for the request that follows, and
is taken back after a request that certainly did not reach the API.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from alhena_async._delivery.tasks import Tasks
from alhena_async._queue.envelope import Envelope, EnvelopeState
from alhena_async._queue.journal_gateway import JournalGateway
from alhena_async._wire import endpoint_of
from alhena_async.errors import JournalError
from alhena_async.journal import SendMark
from alhena_async.journal._outage import Outage
from alhena_async.observers import BreakerState
from alhena_async.transports import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from alhena_async._delivery.throttling import RequestGate
    from alhena_async._queue.queue import EventQueue

__all__ = ["IntentWriter"]

_ROWS_PER_TRANSACTION: Final = 250

_SECONDS_BETWEEN_TRIES: Final = 1.0  # while the disk refuses

_HELD_BACK: Final = (
    "events that may not be repeated are held back meanwhile: a restart could not tell that they "
    "were sent"
)


class IntentWriter:
    """Marks envelopes in the journal, in a task of its own; meanwhile their lanes wait.

    Args:
        journal: What has to know.
        queue: Where the lanes wait, and go on.
        gate: Says whether a request could follow.
        tasks: Makes the task, when there is something to write.
        now: Returns the loop's time.
    """

    def __init__(
        self,
        journal: JournalGateway,
        queue: EventQueue,
        gate: RequestGate,
        tasks: Tasks,
        now: Callable[[], float],
    ) -> None:
        self._journal = journal
        self._queue = queue
        self._gate = gate
        self._tasks = tasks
        self._now = now
        self._waiting: deque[Envelope] = deque()
        """Taken, and to be marked as soon as a slot is free."""
        self._ahead: set[Envelope] = set()
        """Marked, or being marked, and not on the wire yet."""
        self._unneeded: dict[Envelope, None] = {}
        """Whose mark is to be taken back."""
        self._refused: set[Envelope] = set()
        """Held back, since the disk would not take their mark."""
        self._outage = Outage()
        self._is_running = False

    def add(self, envelope: Envelope) -> None:
        """Write down that a taken envelope is about to be sent, and let its lane go on then."""
        self._queue.hold_for_intent(envelope)
        self._waiting.append(envelope)
        self.look()

    def sent(self, envelope: Envelope) -> None:
        """Note that the request of a marked envelope goes out."""
        self._ahead.discard(envelope)
        self._unneeded.pop(envelope, None)  # it is too late; the mark is right again

    def take_back(self, envelope: Envelope) -> None:
        """Write down, when there is time, that a marked envelope certainly was not recorded."""
        self._unneeded[envelope] = None
        self.look()

    def look(self) -> None:
        """Write what can be written: a slot may be free, or a breaker may have opened."""
        if self._ahead:
            self._call_off()
        if not self._is_running and (self._unneeded or (self._waiting and self._room())):
            self._is_running = True
            self._tasks.spawn(self._write(), "alhena-intents")

    def pause(self) -> None:
        """Take all marks back that no request has followed: who knows when one will."""
        self._unneeded |= dict.fromkeys(self._ahead)
        self._ahead.clear()
        self.look()

    def _call_off(self) -> None:
        """Take back the marks of requests that a breaker keeps from following."""
        for envelope in [*self._ahead]:
            if self._is_shut(endpoint_of(envelope.event)):
                self._ahead.discard(envelope)
                self._unneeded[envelope] = None

    def _is_shut(self, endpoint: Endpoint) -> bool:
        is_closed = self._gate.breaker(endpoint) is BreakerState.CLOSED
        return not is_closed and self._gate.opens_at(endpoint) > self._now()

    async def _write(self) -> None:
        while True:
            batch = self._next_to_mark()
            if batch:
                await self._mark(batch)
            elif self._unneeded:
                await self._take_some_back()
            else:
                break
        self._is_running = False

    def _room(self) -> int:
        """How many more marks may be ahead of their requests."""
        room = self._gate.free_slots - len(self._ahead)
        if room <= 0:  # those that expired meanwhile are ahead of nothing
            self._ahead = {one for one in self._ahead if one.state is EnvelopeState.IN_FLIGHT}
            room = self._gate.free_slots - len(self._ahead)
        return room

    def _next_to_mark(self) -> list[Envelope]:
        """Return what may be marked now; what its endpoint would not take stands in line again."""
        batch: list[Envelope] = []
        rows, room, now = 0, self._room(), self._now()
        while self._waiting and len(batch) < room and rows < _ROWS_PER_TRANSACTION:
            envelope = self._waiting.popleft()
            if self._gate.opens_at(endpoint_of(envelope.event)) > now:
                self._queue.resume([envelope])
            elif self._queue.is_held_for_intent(envelope):
                batch.append(envelope)
                rows += len(envelope.group)
        return batch

    async def _mark(self, batch: list[Envelope]) -> None:
        self._ahead.update(batch)
        error = await self._note(batch, SendMark.SENT)
        if error is None:
            self._took(batch)
            self._queue.resume(batch)
            return
        for envelope in batch:
            if self._journal.is_on_disk(envelope):
                self._hold_back(envelope)
            else:
                self._queue.resume([envelope])  # its row will bear the mark, once there is room
        self._refused = {one for one in self._refused if one.state is EnvelopeState.IN_FLIGHT}
        if self._refused:
            self._outage.failed(error, _HELD_BACK)

    def _hold_back(self, envelope: Envelope) -> None:
        """Try again in a while: sent without its mark, a restart would send it again."""
        self._ahead.discard(envelope)
        _set_mark([envelope], SendMark.UNSENT)
        if self._queue.is_held_for_intent(envelope):
            self._refused.add(envelope)
            self._queue.back_off(envelope.lane, self._now() + _SECONDS_BETWEEN_TRIES)

    def _took(self, batch: list[Envelope]) -> None:
        if self._refused:
            self._refused.difference_update(batch)
            if not any(one.state is EnvelopeState.IN_FLIGHT for one in self._refused):
                self._refused.clear()
                self._outage.succeeded("what may not be repeated is sent again")

    async def _take_some_back(self) -> None:
        """If it fails, more is marked than was sent; each is marked again before it is sent."""
        batch = list(self._unneeded)[:_ROWS_PER_TRANSACTION]
        for envelope in batch:
            del self._unneeded[envelope]
        still = [one for one in batch if one.state is EnvelopeState.IN_FLIGHT]
        if still:
            await self._note(still, SendMark.UNSENT)

    async def _note(self, batch: list[Envelope], mark: SendMark) -> JournalError | None:
        _set_mark(batch, mark)  # at once: a write that is cancelled may reach the disk all the same
        try:
            await self._journal.mark([one for each in batch for one in each.group], mark)
        except JournalError as error:
            return error
        return None


def _set_mark(batch: list[Envelope], mark: SendMark) -> None:
    for envelope in batch:
        for one in envelope.group:
            one.details().send_mark = mark
