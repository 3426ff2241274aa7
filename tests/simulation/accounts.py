"""The accounts: exact whenever the loop is idle, and counted anew now and then."""

from __future__ import annotations

from collections import Counter
from operator import attrgetter
from typing import TYPE_CHECKING

from alhena_async.observers import Stats
from alhena_async.outcomes import OutcomeStatus

if TYPE_CHECKING:
    from tests.simulation.oracle import Oracle

__all__ = ["Accounts"]

_EPS = 1e-6
_RECOUNT_EVERY = 1_000
"""Steps between two full recounts."""
_counts_of_outcomes = attrgetter(*(status.value for status in OutcomeStatus))

_TOLD = set(OutcomeStatus) - {OutcomeStatus.KEPT, OutcomeStatus.ABANDONED}
"""Statuses whose outcomes are told one by one, whatever happens."""


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
        in_memory = stats.queued + stats.in_flight
        ended = sum(_counts_of_outcomes(stats))
        exact = (
            stats.accepted == oracle.accepted == ended + in_memory + stats.spilled
            and in_memory + stats.spilled == outstanding - self.unseen()
            and in_memory <= oracle.rules.capacity
            and stats.in_flight == oracle.wire.taken
            and stats.requests == oracle.wire.attempts
            and stats.retries == oracle.wire.retries
            # What fails once a close has settled its event has nobody left to count it.
            and (stats.failed_attempts == oracle.wire.failed or stats.abandoned)
        )
        if not exact:
            mine = (oracle.accepted, outstanding, oracle.wire.taken, oracle.wire.attempts)
            oracle.expect(False, f"the accounts differ: {mine}", stats)
        self._check_age(stats)
        if oracle.steps >= self._recount_at:
            self._recount_at = oracle.steps + _RECOUNT_EVERY
            self.recount()

    def unseen(self) -> int:
        """How many ended on disk alone, with nobody to be told: the client closed first."""
        oracle = self._oracle
        if oracle.journal is None or not oracle.callers.may_abandon():
            return 0
        stats, counts = oracle.client.stats(), oracle.counts
        kept: int = stats.kept - counts[OutcomeStatus.KEPT]
        abandoned: int = stats.abandoned - counts[OutcomeStatus.ABANDONED]
        return kept + abandoned

    def _check_age(self, stats: Stats) -> None:
        oldest, now = self._oracle.oldest(), self._oracle.now()
        age, told = 0.0 if oldest is None else now - oldest.accepted_at, stats.oldest_age
        if stats.spilled:
            older = told > age - _EPS or (oldest is not None and now >= oldest.deadline)
            self._oracle.expect(older, f"oldest_age is {age}, not {told}")
            return
        if self.unseen():
            return
        # One that is folded outlives its own deadline, and is not looked at any longer.
        if abs(told - age) > _EPS and (oldest is None or now < oldest.deadline):
            self._oracle.expect(False, f"oldest_age is {age}, not {told}")

    def recount(self) -> None:
        """Count everything anew, and compare with what was counted in passing."""
        self.recounts += 1
        oracle = self._oracle
        stats = oracle.client.stats()
        known = [entry for entry in oracle.entries.values() if entry.order >= 0]
        oracle.expect(len(known) == oracle.accepted, "recount: accepted", len(known), stats)
        counts = Counter([entry.outcome.status for entry in known if entry.outcome is not None])
        told = {status: getattr(stats, status.value) for status in OutcomeStatus}
        missed = sum(told[status] - counts[status] for status in OutcomeStatus)
        same = missed == self.unseen() and all(told[one] == counts[one] for one in _TOLD)
        oracle.expect(same and counts == oracle.counts, "recount: outcomes", counts, stats)
        touched = [entry.attempts > 0 for entry in known if entry.outcome is None]
        count, taken = stats.queued + stats.in_flight + stats.spilled, sum(touched)
        count += missed
        oracle.expect(len(touched) == count, "recount: unsettled", len(touched), stats)
        oracle.expect(taken == stats.in_flight, "recount: in flight", taken, stats)
