"""When the next request may go: breakers, the pause the API asked for, how many at once."""

from __future__ import annotations

import attrs

from alhena_async._backoff import retry_after
from alhena_async._breaker import Breaker, Throttle
from alhena_async._watch import Watch
from alhena_async.observers import BreakerState
from alhena_async.outcomes import Verdict, VerdictKind
from alhena_async.policies import RetryPolicy
from alhena_async.transports import Endpoint

__all__ = ["Pace", "Passage"]


@attrs.frozen
class Passage:
    """A request that is on the wire."""

    endpoint: Endpoint
    began: float
    generation: int
    """The breaker's, when it began."""


class Pace:
    """Counts the requests on the wire and learns from how they end. Time is an argument.

    Args:
        policy: The breakers', and the bound on `Retry-After`.
        max_in_flight: Requests on the wire at most.
        watch: Is told when a breaker moves.
    """

    def __init__(self, policy: RetryPolicy, *, max_in_flight: int, watch: Watch) -> None:
        self._policy = policy
        self._watch = watch
        self._breakers = {endpoint: Breaker(policy.breaker) for endpoint in Endpoint}
        self._throttle = Throttle(max_in_flight)
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

    def begin(self, endpoint: Endpoint, now: float) -> Passage:
        """A request goes out."""
        breaker = self._breakers[endpoint]
        before = breaker.state
        generation = breaker.begin()
        self._on_wire += 1
        self._tell(endpoint, before)
        return Passage(endpoint, now, generation)

    def end(self, passage: Passage, verdict: Verdict | None, now: float) -> None:
        """A request came back, with a verdict, or was called off: then it shows nothing."""
        self._on_wire -= 1
        breaker = self._breakers[passage.endpoint]
        before = breaker.state
        breaker.end(passage.generation, failed=_failed(verdict), now=now)
        self._tell(passage.endpoint, before)
        if verdict is None:
            return
        if verdict.kind is VerdictKind.THROTTLED:
            pause = retry_after(self._policy, verdict)
            self._throttle.throttled(began=passage.began, now=now, pause=pause)
        elif not verdict.kind.is_transient:
            self._throttle.succeeded()

    def _tell(self, endpoint: Endpoint, before: BreakerState) -> None:
        state = self._breakers[endpoint].state
        if state is not before:
            self._watch.breaker_changed(endpoint, state)


def _failed(verdict: Verdict | None) -> bool | None:
    """Return whether the endpoint failed; None where nothing was sent, or it was called off."""
    if verdict is None or not (verdict.kind.is_transient or verdict.http_status is not None):
        return None
    return verdict.kind.is_transient
