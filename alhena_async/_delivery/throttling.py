"""An endpoint's breaker, and the client-wide throttle: they decide when, never whether."""

from __future__ import annotations

from collections import deque
from math import inf

import attrs

from alhena_async._delivery.attempts import retry_after
from alhena_async._replies import Verdict, VerdictKind
from alhena_async._telemetry import Telemetry
from alhena_async.observers import BreakerState
from alhena_async.policies import BreakerPolicy, RetryPolicy
from alhena_async.transports import Endpoint

__all__ = ["Breaker", "ConcurrencyLimit", "Permit", "RequestGate"]

_BUCKETS = 10  # the window is counted in so many parts: bounded, whatever the rate


class Breaker:
    """Closed, open or half-open (see `BreakerState`). Time is an argument."""

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self.state = BreakerState.CLOSED
        self._buckets: deque[list[float]] = deque()  # [began, calls, failures]
        self._open_for = policy.open_for
        self._reopens_at = -inf
        self._generation = 0
        """Changes with every move, so that a reply from before it does not count."""
        self._probing = False

    def admits_at(self) -> float:
        """Return when the next request may go: -inf for now, inf for not before the probe ends."""
        if self.state is BreakerState.OPEN:
            return self._reopens_at
        return inf if self._probing else -inf

    def begin(self) -> int:
        """Note that a request goes out, and return what `end` wants to know of it."""
        if self.state is BreakerState.OPEN:
            self._move(BreakerState.HALF_OPEN)
        if self.state is BreakerState.HALF_OPEN:
            self._probing = True
        return self._generation

    def end(self, generation: int, *, failed: bool | None, now: float) -> None:
        """Count how a request ended; None for one that was called off and shows nothing."""
        if generation != self._generation:
            return
        if self.state is BreakerState.HALF_OPEN:
            self._end_probe(failed=failed, now=now)
        elif failed is not None:
            self._count(failed=failed, now=now)

    def _end_probe(self, *, failed: bool | None, now: float) -> None:
        self._probing = False
        if failed is None:
            return
        if failed:
            self._open_for = min(self._open_for * 2, self._policy.open_cap)
            self._open(now)
        else:
            self._open_for = self._policy.open_for
            self._buckets.clear()
            self._move(BreakerState.CLOSED)

    def _count(self, *, failed: bool, now: float) -> None:
        width = self._policy.window / _BUCKETS
        while self._buckets and self._buckets[0][0] <= now - self._policy.window:
            self._buckets.popleft()
        if not self._buckets or self._buckets[-1][0] <= now - width:
            self._buckets.append([now, 0, 0])
        self._buckets[-1][1] += 1
        self._buckets[-1][2] += failed
        if failed:
            calls = sum(bucket[1] for bucket in self._buckets)
            failures = sum(bucket[2] for bucket in self._buckets)
            policy = self._policy
            if calls >= policy.min_calls and failures >= policy.failure_ratio * calls:
                self._open(now)

    def _open(self, now: float) -> None:
        self._reopens_at = now + self._open_for
        self._move(BreakerState.OPEN)

    def _move(self, state: BreakerState) -> None:
        self.state = state
        self._generation += 1


class ConcurrencyLimit:
    """How many requests may be on the wire, and whether the API asked for peace."""

    _SHRINK = 0.7

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(most)
        self.limit = most
        """Requests on the wire at once, at present; at least 1."""
        self._successes = 0
        self._shrunk_at = -inf
        self.paused_until = -inf

    def throttled(self, *, began: float, now: float, pause: float) -> None:
        """A 429 or 503: send less. Requests that were out together shrink it only once."""
        self.paused_until = max(self.paused_until, now + pause)
        self._successes = 0
        if began >= self._shrunk_at:
            self._set_limit(max(1.0, self._limit * self._SHRINK))
            self._shrunk_at = now

    def succeeded(self) -> None:
        """A reply that asks for nothing: grow by one after each full round of them."""
        if self._limit >= self._most:
            return
        self._successes += 1
        if self._successes >= self._limit:
            self._successes = 0
            self._set_limit(min(float(self._most), self._limit + 1))

    def _set_limit(self, limit: float) -> None:
        self._limit = limit
        self.limit = int(limit)


@attrs.frozen
class Permit:
    """A request that is on the wire."""

    endpoint: Endpoint
    began: float
    generation: int
    """The breaker's, when it began."""


class RequestGate:
    """Counts the requests on the wire and learns from how they end. Time is an argument.

    Args:
        policy: The breakers', and the bound on `Retry-After`.
        max_in_flight: Requests on the wire at most.
        telemetry: Is told when a breaker moves.
    """

    def __init__(self, policy: RetryPolicy, *, max_in_flight: int, telemetry: Telemetry) -> None:
        self._policy = policy
        self._telemetry = telemetry
        self._breakers = {endpoint: Breaker(policy.breaker) for endpoint in Endpoint}
        self._throttle = ConcurrencyLimit(max_in_flight)
        self._on_wire = 0

    @property
    def has_slot(self) -> bool:
        """Whether one more request may be on the wire."""
        return self._on_wire < self._throttle.limit

    def breaker(self, endpoint: Endpoint) -> BreakerState:
        """Return the state of an endpoint's breaker."""
        return self._breakers[endpoint].state

    def opens_at(self, endpoint: Endpoint) -> float:
        """Return when this endpoint may be called; infinity while a probe is on its way."""
        return max(self._throttle.paused_until, self._breakers[endpoint].admits_at())

    def begin(self, endpoint: Endpoint, now: float) -> Permit:
        """A request goes out."""
        breaker = self._breakers[endpoint]
        before = breaker.state
        generation = breaker.begin()
        self._on_wire += 1
        self._tell(endpoint, before)
        return Permit(endpoint, now, generation)

    def end(self, permit: Permit, verdict: Verdict | None, now: float) -> None:
        """A request came back, with a verdict, or was called off: then it shows nothing."""
        self._on_wire -= 1
        breaker = self._breakers[permit.endpoint]
        before = breaker.state
        breaker.end(permit.generation, failed=_failed(verdict), now=now)
        self._tell(permit.endpoint, before)
        if verdict is None:
            return
        if verdict.kind is VerdictKind.THROTTLED:
            pause = retry_after(self._policy, verdict)
            self._throttle.throttled(began=permit.began, now=now, pause=pause)
        elif not verdict.kind.is_transient:
            self._throttle.succeeded()

    def _tell(self, endpoint: Endpoint, before: BreakerState) -> None:
        state = self._breakers[endpoint].state
        if state is not before:
            self._telemetry.breaker_changed(endpoint, state)


def _failed(verdict: Verdict | None) -> bool | None:
    """Return whether the endpoint failed; None where nothing was sent, or it was called off."""
    if verdict is None or not (verdict.kind.is_transient or verdict.http_status is not None):
        return None
    return verdict.kind.is_transient
