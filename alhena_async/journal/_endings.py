"""Which endings leave a dead letter. Pure."""

from __future__ import annotations

from typing import Final

from alhena_async.outcomes import Outcome, OutcomeStatus

__all__ = ["makes_letter"]

_LETTERS: Final = frozenset(
    {
        OutcomeStatus.REJECTED,
        OutcomeStatus.EXPIRED,
        OutcomeStatus.UNKNOWN,
        OutcomeStatus.DROPPED,
    }
)


def makes_letter(outcome: Outcome) -> bool:
    """Return whether an event that ended so is kept as a dead letter.

    Rejected, expired, unknown and dropped ones are. One that was folded away is not: its survivor
    speaks for it. `UNATTRIBUTED` is the usual case and no failure; `ABANDONED` and `KEPT` events
    are the caller's, or still in the journal.
    """
    return outcome.status in _LETTERS
