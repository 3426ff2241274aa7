"""What an ending leaves behind: nothing, a dead letter, or the row itself. Pure."""

from __future__ import annotations

from typing import Final

from alhena_async.outcomes import Outcome, OutcomeStatus

__all__ = ["keeps_row", "makes_letter"]

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


def keeps_row(outcome: Outcome) -> bool:
    """Return whether the row stays for the next process."""
    return outcome.status is OutcomeStatus.KEPT
