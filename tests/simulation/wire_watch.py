"""What goes over the wire, and how it ends: order, slots, deadlines, pauses, backoffs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alhena_async.events import Event
from tests.simulation.book import End, Entry, LaneBook, ProductBook, key_of
from tests.simulation.truths import EPS, rule_of_attempt

if TYPE_CHECKING:
    from tests.simulation.breaker_watch import BreakerWatch
    from tests.simulation.oracle import Oracle

__all__ = ["WireWatch"]


class WireWatch:
    """Judges every request, from its begin to its end."""

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle
        self.attempts = self.retries = self.failed = self.taken = self.under_way = 0
        """`under_way` counts the requests under way, `taken` the lanes that are in flight."""
        self.paused_until = 0.0
        self._must_be_settled: list[Entry] = []
        self._passing: list[Entry] = []
        self._later: list[tuple[ProductBook, str]] = []

    def begin(self, payload: dict[str, Any], *, checkout: bool) -> Entry:
        """A request begins."""
        oracle = self._oracle
        now, rules = oracle.now(), oracle.rules
        oracle.steps += 1
        self.attempts += 1
        entry = oracle.entries.get(key_of(payload["value"]))
        if entry is None or entry.order < 0:
            oracle.expect(False, "sent what nobody gave", payload)
            raise LookupError("sent what nobody gave")
        oracle.trace(now, 2, entry.key)
        broken = rule_of_attempt(oracle, entry, payload, checkout=checkout, now=now)
        if broken is not None:
            oracle.expect(False, broken, entry, payload)
        self._take(entry, entry.lane)
        self.retries += entry.attempts > 0
        entry.attempts += 1
        entry.began = now
        entry.until = min(now + rules.request_timeout, entry.deadline)
        self.under_way += 1
        if self.under_way > rules.max_in_flight:
            oracle.expect(False, f"{self.under_way} requests on the wire", entry)
        return entry

    def _take(self, entry: Entry, lane: LaneBook) -> None:
        if lane.on_wire is not None:
            self._oracle.expect(False, "two in flight for one visitor:", entry, lane.on_wire)
        lane.on_wire = entry
        holder = lane.taken
        if holder is entry:
            return
        if holder is not None:
            self._must_be_settled.append(holder)  # the news of it comes in this instant, or never
        self._oracle.room.taken(lane)
        lane.taken = entry
        self.taken += 1
        entry.first_step = self._oracle.steps
        self._oracle.untouched.pop(entry.key, None)
        waiting = lane.waiting
        while waiting:
            head = waiting.popleft()
            if head is entry:
                return
            if head.outcome is None:
                self._passing.append(head)
                self._oracle.untouched.pop(head.key, None)
        self._oracle.expect(False, "reordered: it was passed before, or settled", entry)

    def recorded(self, entry: Entry) -> None:
        """The API recorded an event."""
        if entry.recorded > entry.lost:
            self._oracle.expect(False, "recorded twice without an ambiguous fault", entry)
        entry.recorded += 1

    def end(self, entry: Entry, end: End) -> None:
        """A request ends by itself; the engine learns of it in this very step."""
        now = self._oracle.now()
        self._off_the_wire(entry, end, now)
        if now > entry.until + EPS:
            self._oracle.expect(False, "an attempt outlived its time", entry)
        if end.throttled:
            pause = min(end.pause, self._oracle.rules.retry_after_cap)
            self.paused_until = max(self.paused_until, now + pause)
        failed = end.kind == "transient"
        self.failed += failed
        self._breaker(entry).ended(entry, end, failed=failed)
        self._oracle.trace(now, 3, entry.key)

    def cancelled(self, entry: Entry) -> None:
        """A request is called off: its time is over, or the client closes."""
        now = self._oracle.now()
        end = End("cancelled", ambiguous=True)
        self._off_the_wire(entry, end, now)
        if self._oracle.callers.may_abandon():
            self._breaker(entry).end()
            return
        self.failed += 1
        self._breaker(entry).ended(entry, end, failed=True)
        if abs(now - entry.until) > EPS:
            self._oracle.expect(False, "an attempt was called off early", entry)

    def _breaker(self, entry: Entry) -> BreakerWatch:
        return self._oracle.callers.breaker_of(cart=entry.is_cart)

    def _off_the_wire(self, entry: Entry, end: End, now: float) -> None:
        self._oracle.steps += 1
        self.under_way -= 1
        entry.lane.on_wire = None
        entry.last = end
        entry.ended_at = now
        if end.ambiguous:
            entry.ambiguous = True
            entry.lost = entry.recorded
        if end.code is not None and end.code.startswith("PREVIOUS"):
            self._check_precondition(entry, end.code)

    def _check_precondition(self, entry: Entry, code: str) -> None:
        product = entry.lane.product(entry.product or "")
        of_adding = code == "PREVIOUS_ITEM_ADDED_EVENT_NOT_FOUND"
        was_there = entry.added if of_adding else entry.increased
        if was_there and self._oracle.rules.coalescing != "net" and not product.spoilt:
            self._later.append((product, f"{entry!r} met {code} though nothing is missing"))

    def retry(self, event: Event, delay: float) -> None:
        """The client tells that an attempt failed, and when the next comes at the earliest."""
        entry, rules = self._oracle.entries[key_of(event.value)], self._oracle.rules
        last, now = entry.last, self._oracle.now()
        if last is None or now != entry.ended_at or now + delay > entry.deadline + EPS:
            self._oracle.expect(False, f"a retry after {delay} s, past its deadline:", entry)
        elif last.kind == "code":
            self._oracle.expect(
                delay == rules.precondition_delay, f"a retry after {delay} s", entry
            )
        else:
            floor = min(last.pause, rules.retry_after_cap)
            base = rules.throttle_base if last.throttled else rules.base
            bound = min(base * 2.0 ** min(entry.attempts - 1, 64), rules.longest_delay)
            fits = floor - EPS <= delay <= max(bound, floor) + EPS
            self._oracle.expect(fits, f"a backoff of {delay} s, not {floor} to {bound}:", entry)

    def idle(self) -> None:
        """All news of this instant has come."""
        for entry in self._must_be_settled:
            done = entry.outcome is not None
            self._oracle.expect(done, "its lane went on without it", entry)
        self._must_be_settled.clear()
        for entry in self._passing:
            entry.passed = entry.outcome is None
        self._passing.clear()
        for product, finding in self._later:
            self._oracle.expect(product.spoilt, finding)
        self._later.clear()
