"""Why events do not get through, as far as the client tells."""

from __future__ import annotations

from collections import Counter
from typing import Final

from alhena_async import Observer, Outcome, OutcomeStatus
from alhena_async.cli.tally import count_cause
from alhena_async.events import Event

_LAST: Final = "; the last: "
"""What stands in an outcome's detail before the reason of its last attempt."""


class Trouble(Observer):
    """Keeps the last reason of a failed attempt, and counts events that were given up by theirs."""

    def __init__(self) -> None:
        self.last = ""
        """Why the last attempt failed that did; empty before the first."""
        self.given_up: Counter[str] = Counter()
        """Expired events by reason."""

    def retry(self, event: Event, delay: float, reason: str) -> None:  # noqa: ARG002
        """Take the reason of an attempt that failed."""
        self.last = reason or self.last

    def outcome(self, outcome: Outcome) -> None:
        """Count an event that expired."""
        if outcome.status is not OutcomeStatus.EXPIRED:
            return
        _, _, told = (outcome.detail or "").partition(_LAST)
        # One that expired while it waited has no reason of its own: the API's state was the same.
        self.last = told or self.last
        count_cause(self.given_up, self.last or "it never had its turn")
