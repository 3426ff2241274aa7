"""What one endpoint may be asked, reckoned anew from how its requests ended.

A breaker must open when it should and not before, hold while it is open, and let one probe
through; as many go at once as its limit says. All of it is known the moment a request ends; what
the client tells of its breaker's moves comes a little later, and must be the same.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING

from tests.simulation.book import End, Entry

if TYPE_CHECKING:
    from tests.simulation.oracle import Oracle

__all__ = ["BreakerWatch"]

_EPS = 1e-6
_SHRINK = 0.7
_FEWEST_REFUSALS = 50


class BreakerWatch:
    """Judges the breaker of one endpoint."""

    def __init__(self, oracle: Oracle) -> None:
        rules = oracle.rules
        self._oracle = oracle
        self._state = "closed"
        self._news: deque[str] = deque()
        """Where it moved; the client is yet to tell of it."""
        self._failures = 0.0
        self._open_for = rules.open_for
        self._reopens_at = 0.0
        self._on_wire: set[int] = set()
        """Requests that began since it last moved."""
        self._limit = float(rules.max_in_flight)
        self._refusals = 0
        self._shrunk_at = -inf
        self._over = False

    def end(self) -> None:
        """The client ends, and calls its requests off: nobody can tell any more who failed."""
        self._over = True

    @property
    def is_free(self) -> bool:
        """Whether one more request may go right now."""
        return self._over or (self._state == "closed" and len(self._on_wire) < int(self._limit))

    def broken_by(self, entry: Entry, now: float) -> str | None:
        """Return the rule that a request breaks by beginning now, or None."""
        if self._over:
            return None
        if self._state == "open":
            if now < self._reopens_at - _EPS:
                return f"sent while the breaker is open until {self._reopens_at}"
            self._move("half_open")
        elif len(self._on_wire) >= int(self._limit):
            return f"a second probe, or more than {int(self._limit)} at once"
        self._on_wire.add(entry.key)
        return None

    def ended(self, entry: Entry, end: End, *, failed: bool) -> None:
        """An attempt ended."""
        now = self._oracle.now()
        if end.throttled and entry.began >= self._shrunk_at:
            self._refused(now, pause=end.pause)
        if entry.key not in self._on_wire:
            return
        self._on_wire.discard(entry.key)
        if failed:
            self._failed(now)
        else:
            self._succeeded()

    def _refused(self, now: float, *, pause: float) -> None:
        self._refusals += 1
        if pause or self._refusals >= max(self._limit, _FEWEST_REFUSALS):
            self._limit = max(1.0, self._limit * _SHRINK)
            self._shrunk_at = now
            self._refusals = 0

    def _failed(self, now: float) -> None:
        rules = self._oracle.rules
        self._failures += 1
        if self._state == "half_open":
            self._open_for = min(self._open_for * 2, rules.open_cap)
        elif self._failures < rules.min_calls:
            return
        self._failures = 0.0
        self._limit = 1.0
        self._refusals = 0
        self._reopens_at = now + self._open_for
        self._move("open")

    def _succeeded(self) -> None:
        rules = self._oracle.rules
        ratio = rules.failure_ratio
        made_up = inf if ratio == 1 else ratio / (1 - ratio)
        self._failures = max(0.0, self._failures - made_up)
        self._refusals = 0
        self._limit = min(self._limit + 1, float(rules.max_in_flight))
        if self._state == "half_open":
            self._open_for = rules.open_for
            self._move("closed")

    def _move(self, state: str) -> None:
        self._state = state
        self._on_wire.clear()
        self._news.append(state)

    def changed(self, state: str) -> None:
        """The client tells of a move."""
        if self._over:
            return
        known = self._news.popleft() if self._news else None
        self._oracle.expect(state == known, f"the breaker is told to be {state}, and is {known}")

    def idle(self) -> None:
        """All work of this instant is done, and all news of it has come."""
        if not self._over:
            news = self._news
            self._oracle.expect(not news, f"the breaker stays as it was, and should be {news}")
