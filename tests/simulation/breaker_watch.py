"""A breaker must hold while it is open, let one probe through, and open when it should."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from tests.simulation.book import Entry

if TYPE_CHECKING:
    from tests.simulation.oracle import Oracle

__all__ = ["BreakerWatch"]

_EPS = 1e-6
_SURE = 0.9
"""The share of the window that counts for certain: it is counted in tenths."""


class BreakerWatch:
    """Judges the breaker of one endpoint."""

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle
        self._state = "closed"
        self._since = -1.0
        self._reopens_at = 0.0
        self._open_for = 0.0
        self._probe: Entry | None = None
        self._probed: str | None = None
        """Where the probe's end moves the breaker; the news of it is still on its way."""
        self._ends: deque[tuple[float, bool, bool]] = deque()
        """When an attempt ended, whether it failed, and whether it surely counts: one that began
        in the instant of the last move may have begun before it."""
        self._failures = 0
        self._must_open = False
        self._over = False

    def end(self) -> None:
        """The client ends, and calls its requests off: nobody can tell any more who failed."""
        self._over = True

    @property
    def is_closed(self) -> bool:
        """Whether requests go as they come."""
        return self._state == "closed"

    def admits(self, entry: Entry, now: float) -> bool:
        """Whether a request may begin, by all that the client has told of its breaker."""
        if self._over or self._state == "closed" or self._probed == "closed":
            return True
        if self._probed == "open" or self._probe is not None:
            return False
        if self._state == "open" and now < self._reopens_at - _EPS:
            return False
        self._probe = entry
        return True

    def ended(self, entry: Entry, *, failed: bool) -> None:
        """An attempt ended."""
        if self._probe is entry:
            self._probe = None
            self._probed = "open" if failed else "closed"
        if self._state == "closed" and entry.began >= self._since:
            now = self._oracle.now()
            self._ends.append((now, failed, entry.began > self._since))
            self._failures += failed
            self._forget(now)
            if failed and not self._must_open:
                self._must_open = self._is_enough(now)

    def _forget(self, now: float) -> None:
        oldest = now - self._oracle.rules.window
        while self._ends[0][0] <= oldest:
            self._failures -= self._ends.popleft()[1]

    def _is_enough(self, now: float) -> bool:
        """Whether the failures suffice, however the window is counted."""
        rules = self._oracle.rules
        calls = len(self._ends)
        if calls < rules.min_calls or self._failures < rules.failure_ratio * calls:
            return False
        since = now - _SURE * rules.window
        recent = [failed for time, failed, sure in self._ends if sure and time > since]
        enough = sum(recent) >= rules.failure_ratio * calls
        return enough and len(recent) >= rules.min_calls

    def changed(self, state: str) -> None:
        """The client tells of a move."""
        if self._over:
            return
        rules, now = self._oracle.rules, self._oracle.now()
        legal = {("closed", "open"), ("open", "half_open"), ("half_open", self._probed)}
        move = (self._state, state)
        self._oracle.expect(move in legal, f"the breaker moved {move}, not one of {legal}")
        if move == ("closed", "open"):
            self._check_reason()
            self._open_for = rules.open_for
        elif move == ("half_open", "open"):
            self._open_for = min(self._open_for * 2, rules.open_cap)
        if state == "open":
            self._reopens_at = now + self._open_for
        if state != "half_open":
            self._ends.clear()
            self._failures = 0
            self._probed = None
            self._must_open = False
        self._state = state
        self._since = now

    def _check_reason(self) -> None:
        calls = len(self._ends)
        enough = calls >= self._oracle.rules.min_calls and self._failures
        self._oracle.expect(enough, f"it opened after {calls} calls, {self._failures} failures")

    def idle(self) -> None:
        """All work of this instant is done, and all news of it has come."""
        if self._must_open and not self._over:
            self._oracle.expect(False, f"{self._failures} failures, and the breaker stays closed")
