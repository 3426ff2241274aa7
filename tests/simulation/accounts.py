"""The accounts: exact whenever the loop is idle, and counted anew now and then."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from alhena_async.outcomes import OutcomeStatus

if TYPE_CHECKING:
    from tests.simulation.book import Entry
    from tests.simulation.oracle import Oracle

__all__ = ["Accounts"]

_EPS = 1e-6
_RECOUNT_EVERY = 1_000
"""Steps between two full recounts."""
_FIELDS = tuple(status.value for status in OutcomeStatus)


class Accounts:
    """Compares what the client says of itself with what the oracle saw."""

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle
        self._recount_at = _RECOUNT_EVERY
        self.recounts = 0

    def check(self) -> None:
        """Compare the counts; at a cost that does not depend on how many events there are."""
        oracle = self._oracle
        stats = oracle.client.stats()
        outstanding = len(oracle.open_carts) + len(oracle.open_checkouts)
        ended = sum([getattr(stats, field) for field in _FIELDS])
        exact = (
            stats.accepted == oracle.accepted == ended + stats.queued + stats.in_flight
            and stats.queued + stats.in_flight == outstanding <= oracle.rules.capacity
            and stats.in_flight == oracle.wire.taken
            and stats.requests == oracle.wire.attempts
            and stats.retries == oracle.wire.retries
        )
        if not exact:
            mine = (oracle.accepted, outstanding, oracle.wire.taken, oracle.wire.attempts)
            oracle.expect(False, f"the accounts differ: {mine}", stats)
        self._check_age(stats.oldest_age)
        if oracle.steps >= self._recount_at:
            self._recount_at = oracle.steps + _RECOUNT_EVERY
            self.recount()

    def _check_age(self, told: float) -> None:
        oldest, now = self._oracle.oldest(), self._oracle.now()
        age = 0.0 if oldest is None else now - oldest.accepted_at
        # One that is folded outlives its own deadline, and is not looked at any longer.
        if abs(told - age) > _EPS and (oldest is None or now < oldest.deadline):
            self._oracle.expect(False, f"oldest_age is {age}, not {told}")

    def recount(self) -> None:
        """Count everything anew, and compare with what was counted in passing."""
        self.recounts += 1
        oracle = self._oracle
        stats = oracle.client.stats()
        known: list[Entry] = [entry for entry in oracle.entries.values() if entry.order >= 0]
        counts = Counter(entry.outcome.status for entry in known if entry.outcome)
        same = all(getattr(stats, status.value) == counts[status] for status in OutcomeStatus)
        oracle.expect(same and counts == oracle.counts, "recount: outcomes", counts, stats)
        unsettled = [entry for entry in known if entry.outcome is None]
        oracle.expect(len(known) == oracle.accepted, "recount: accepted", len(known), stats)
        count = stats.queued + stats.in_flight
        oracle.expect(len(unsettled) == count, "recount: unsettled", len(unsettled), stats)
        taken = sum(1 for entry in unsettled if entry.attempts)
        oracle.expect(taken == stats.in_flight, "recount: in flight", taken, stats)
