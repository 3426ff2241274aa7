"""What callers were promised: outcomes, flush, close, and a breaker that holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from alhena_async.outcomes import Outcome, OutcomeStatus
from tests.simulation.book import Entry
from tests.simulation.breaker_watch import BreakerWatch

if TYPE_CHECKING:
    from tests.simulation.oracle import Oracle

__all__ = ["CallersWatch", "Flush"]

_EPS = 1e-6
_TRANSPORT_CLOSE = 1.0
"""Seconds that `close` grants the transport, past its own timeout."""
_JOURNAL_SYNC = 2.0
"""Seconds that it grants the disk for what is left."""


@attrs.define(eq=False)
class Flush:
    """One `flush` under way."""

    watermark: int
    until: float
    returned: bool = False


class CallersWatch:
    """Judges what callers see."""

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle
        self.flushes: list[Flush] = []
        self._told: list[tuple[Entry, Outcome]] = []
        self._close_by: float | None = None
        self.carts, self.checkouts = BreakerWatch(oracle), BreakerWatch(oracle)

    def breaker_of(self, *, cart: bool) -> BreakerWatch:
        """Return the watch over an endpoint's breaker."""
        return self.carts if cart else self.checkouts

    # --- outcomes ------------------------------------------------------------------------------

    def told(self, entry: Entry, outcome: Outcome) -> None:
        """A caller of `record` or `record_all` was given an outcome."""
        self._told.append((entry, outcome))

    # --- flush and close -----------------------------------------------------------------------

    def flush(self, now: float, timeout: float | None) -> Flush:
        """A caller flushes, now."""
        until = float("inf") if timeout is None else now + timeout
        flush = Flush(self._oracle.accepted, until)
        self.flushes.append(flush)
        return flush

    def close_by(self, deadline: float) -> None:
        """Somebody closes; what is left at `deadline` may be abandoned."""
        oracle = self._oracle
        if oracle.closing_at is None:
            oracle.closing_at = oracle.now()
        self._close_by = deadline if self._close_by is None else min(self._close_by, deadline)

    def may_abandon(self) -> bool:
        """Whether the time to deliver what is left is over."""
        return self._close_by is not None and self._oracle.now() >= self._close_by - _EPS

    def closed(self, undelivered: tuple[Any, ...] | None) -> None:
        """`close` has ended."""
        oracle, by = self._oracle, self._close_by
        now = oracle.now()
        grace = _TRANSPORT_CLOSE + (0.0 if oracle.journal is None else _JOURNAL_SYNC)
        late = by is not None and now > by + grace + _EPS
        oracle.expect(not late, f"close came {now - (by or now):.3f} s after its deadline")
        oracle.ended = True
        if undelivered is not None:
            self._check_report(undelivered)

    def _check_report(self, undelivered: tuple[Any, ...]) -> None:
        oracle = self._oracle
        left = {OutcomeStatus.ABANDONED, OutcomeStatus.KEPT}
        abandoned = {
            entry.key: entry
            for entry in oracle.entries.values()
            if entry.outcome is not None and entry.outcome.status in left
        }
        listed = [abandoned.get(2 * int(e.value) + (e.value.__class__ is int)) for e in undelivered]
        oracle.expect(None not in listed, "the report lists what was not abandoned")
        # What the disk alone had is counted and not listed.
        complete = len(listed) == len(abandoned) or oracle.journal is not None
        oracle.expect(complete, "the report is not complete", len(listed))
        last: dict[int, int] = {}
        for entry in filter(None, listed):
            in_order = last.get(id(entry.lane), -1) < entry.order
            oracle.expect(in_order, "the report is out of order at", entry)
            last[id(entry.lane)] = entry.order

    # --- when all is quiet ---------------------------------------------------------------------

    def idle(self) -> None:
        """All work of this instant is done."""
        oracle = self._oracle
        self.carts.idle()
        self.checkouts.idle()
        for entry, outcome in self._told:
            oracle.expect(entry.outcome is outcome, "a caller was told otherwise", entry, outcome)
        self._told.clear()
        if oracle.closing_at is None:
            oracle.room.idle()
        if self.flushes:
            self._check_flushes()
        if oracle.closing_at is None:
            self._check_promptness()

    def _check_promptness(self) -> None:
        """Nothing that is due waits while a request could go: no wake-up is ever lost."""
        oracle, now = self._oracle, self._oracle.now()
        held = not (self.carts.is_free and self.checkouts.is_free)
        if held or oracle.wire.under_way >= oracle.rules.max_in_flight:
            return
        if now < oracle.wire.paused_until + _EPS or oracle.client.stats().spilled:
            return
        cart = next(iter(oracle.open_carts.values()), None)
        if cart is not None and cart.accepted_at + oracle.rules.linger < now - _EPS:
            oracle.expect(cart.lane.taken, "due, and nobody sends it:", cart)
        checkout = next(iter(oracle.open_checkouts.values()), None)
        if checkout is not None:
            oracle.expect(checkout.lane.taken, "due, and nobody sends it:", checkout)

    def _check_flushes(self) -> None:
        oracle, now = self._oracle, self._oracle.now()
        oldest = oracle.oldest()
        under_way = []
        for flush in self.flushes:
            settled = oldest is None or oldest.order >= flush.watermark
            if flush.returned:
                settled = settled or oracle.accounts.unseen() > 0
                oracle.expect(settled, "flush returned before", oldest)
            else:
                oracle.expect(not settled, "all is settled, and flush waits", flush)
                oracle.expect(now < flush.until + _EPS, "flush outlived its timeout", flush)
                under_way.append(flush)
        self.flushes = under_way
