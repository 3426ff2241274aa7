"""How rows of dead processes come into the queue, and after them the events held behind them."""

from __future__ import annotations

from collections.abc import Iterable

from alhena_async._deadlines import expiry_detail
from alhena_async._envelope import Envelope
from alhena_async._queue import Queue
from alhena_async._watch import Watch
from alhena_async.journal import Backlog, Guard, Row
from alhena_async.outcomes import OutcomeStatus

__all__ = ["Paging"]

_WAS_SENT = "perhaps sent before its process died, and may not be repeated"


class Paging:
    """Takes rows in as far as places are kept back for them.

    Args:
        queue: Where they go. It has a journal.
        watch: Is told of every event that is replayed.
    """

    def __init__(self, queue: Queue, watch: Watch) -> None:
        assert queue.accounts.backlogs is not None  # noqa: S101  it has a journal
        self._queue = queue
        self._backlogs = queue.accounts.backlogs
        self._watch = watch

    def expect(self, adopted: Iterable[Backlog]) -> None:
        """Count what was adopted: from now on, younger events of its lanes are held."""
        for backlog in adopted:
            self._backlogs.expect(backlog, self._queue.accounts.epochs.present)
        self._keep_places()

    async def room(self) -> int:
        """Wait for places that are kept for rows, and return how many there are."""
        return await self._queue.admission.wait_to_replay()

    def take_in(self, file: int, row: Row, now: float) -> None:
        """Let a row's event into its lane, or settle it if it is not to be sent any more."""
        envelope = Envelope(row.event, now - row.age, self._backlogs.paged_in(file, row.lane))
        envelope.place = row.place
        facts = envelope.more()
        facts.pinned = facts.replayed = True
        facts.order_id = row.order_id
        facts.guard = row.guard
        # An attempt that ran at the kill was never written down.
        facts.ambiguous = row.guard is not Guard.UNSENT
        self._queue.admission.enter()
        self._keep_places()
        self._watch.replayed(row.event)
        lane = self._queue.enter_replayed(envelope, row.company_key)
        timeout = self._queue.deadlines.timeout(envelope)
        if row.guard is Guard.SENT:
            self._settle(envelope, OutcomeStatus.UNKNOWN, now, _WAS_SENT)
        elif envelope.accepted_at + timeout <= now:
            self._settle(envelope, OutcomeStatus.EXPIRED, now, expiry_detail(envelope, timeout))
        else:
            self._queue.turns.stir(lane)

    def finish(self, file: int) -> None:
        """Expect no more rows of a file: all were taken in, or it cannot be read on."""
        epoch, missing = self._backlogs.finish(file)
        self._keep_places()
        self._queue.accounts.epochs.settled(epoch, missing)

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

    def _keep_places(self) -> None:
        admission = self._queue.admission
        admission.kept_back = self._backlogs.places
        admission.grant()
