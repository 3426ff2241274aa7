"""What the queue tells the journal: who came, and who is gone. Nothing of it disturbs the queue."""

from __future__ import annotations

from collections.abc import Sequence

from alhena_async._queue.envelope import Envelope
from alhena_async._telemetry import log_foreign
from alhena_async.errors import JournalError
from alhena_async.journal import Ending, Journal, SendMark
from alhena_async.outcomes import Outcome
from alhena_async.policies import RetryPolicy

__all__ = ["JournalGateway"]


class JournalGateway:
    """Submits envelopes and their ends; a journal that raises loses its say, and nothing else.

    Args:
        journal: Where they are kept.
        retry: Says what may be repeated; what may not is guarded.
    """

    def __init__(self, journal: Journal, retry: RetryPolicy) -> None:
        self._journal = journal
        self._retry = retry

    def accepted(self, envelope: Envelope, company_key: str) -> None:
        """Give an accepted envelope its row."""
        guard = SendMark.NONE if envelope.may_repeat(self._retry) else SendMark.UNSENT
        if guard is SendMark.UNSENT:
            envelope.more().guard = guard
        try:
            envelope.row_id = self._journal.append(
                envelope.event,
                company_key=company_key,
                order_id=envelope.facts.order_id if envelope.facts else None,
                guard=guard,
            )
        except JournalError:
            pass  # the journal has said so; the event goes on in memory
        except Exception as error:  # noqa: BLE001  likewise
            log_foreign("the journal failed to take an event", error)

    def ended(self, envelopes: Sequence[Envelope], company_key: str) -> None:
        """Let the rows of settled envelopes go, with those of all that were folded into them."""
        self._settle(
            [
                Ending(
                    row_id=one.row_id,
                    outcome=one.settled_outcome,
                    company_key=company_key,
                    order_id=one.facts.order_id if one.facts else None,
                )
                for envelope in envelopes
                for one in envelope.group
            ]
        )

    def turned_away(self, outcome: Outcome, company_key: str, order_id: str | None) -> None:
        """Tell of an event that found no room, and so never had a row."""
        ending = Ending(row_id=None, outcome=outcome, company_key=company_key, order_id=order_id)
        self._settle([ending])

    def holds(self, envelope: Envelope) -> bool:
        """Return whether the disk has an envelope, and all that it speaks for."""
        try:
            return all(
                one.row_id is not None and self._journal.holds(one.row_id) for one in envelope.group
            )
        except Exception as error:  # noqa: BLE001  then nobody may rely on it
            log_foreign("the journal failed to say what it holds", error)
            return False

    def _settle(self, endings: Sequence[Ending]) -> None:
        try:
            self._journal.settle(endings)
        except Exception as error:  # noqa: BLE001  they have ended all the same
            log_foreign("the journal failed to take an ending", error)
