"""When the next request may go: how many at once, which endpoint is down, who asked for a pause.

Whatever share of the requests fails, the others are worth sending: as long as now and then one
succeeds, requests go at the full rate. Only a long row of failures without a success shows that
an endpoint is down (nine of ten failing by chance look like that once in millions of requests);
then single probes go, further and further apart, and after the first success the rate doubles with
each round trip. All of this decides when, never whether. Time is an argument.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Final

from alhena_async._delivery.attempts import retry_after
from alhena_async._replies import Verdict, VerdictKind
from alhena_async._telemetry.telemetry import Telemetry
from alhena_async.observers import MOVES, SEVERITY, BreakerState
from alhena_async.policies import BreakerPolicy, RetryPolicy
from alhena_async.transports import Endpoint

__all__ = [
    "Breaker",
    "ConcurrencyLimit",
    "FencedGate",
    "RatedGate",
    "RequestGate",
    "gate_with",
    "next_request_at",
]

_OPEN: Final = BreakerState.OPEN  # a member is slow to look up in Python 3.11
_HALF_OPEN: Final = BreakerState.HALF_OPEN
_CLOSED: Final = BreakerState.CLOSED
_THROTTLED: Final = VerdictKind.THROTTLED


class ConcurrencyLimit:
    """How many requests of one endpoint may be on the wire: 0.7 times as many, or one more."""

    _SHRINK = 0.7
    _FEWEST_REFUSALS = 50  # in a row: fewer come by chance where most, not all, are refused

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(most)
        self.limit = most
        """Requests on the wire at once, at present; at least 1."""
        self._refusals = 0
        self._shrunk_at = -inf

    def refused(self, *, asked_for_pause: bool, began: float, now: float) -> None:
        """Send less after a 429 or 503, if the API says how long, or if it refuses a whole round.

        Where others succeed meanwhile, fewer at once would only mean fewer successes. Requests
        that were out together shrink it only once.
        """
        if began < self._shrunk_at:
            return
        self._refusals += 1
        if asked_for_pause or self._refusals >= max(self._limit, self._FEWEST_REFUSALS):
            self._set(max(1.0, self._limit * self._SHRINK))
            self._shrunk_at = now

    def accepted(self) -> None:
        """After a reply that asks for nothing, allow one more at once, up to as many as may be."""
        self._refusals = 0
        if self._limit < self._most:
            self._set(min(float(self._most), self._limit + 1))

    @property
    def is_whole(self) -> bool:
        """Whether as many may be on the wire as ever, and no refusal counts against that."""
        return self._limit >= self._most and not self._refusals

    def restart(self) -> None:
        """Begin again with one at a time."""
        self._set(1.0)

    def _set(self, limit: float) -> None:
        self._limit = limit
        self.limit = int(limit)
        self._refusals = 0


class Breaker:
    """What one endpoint may be asked: closed, open or half-open (see `BreakerState`)."""

    __slots__ = (
        "_failures",
        "_generation",
        "_on_wire",
        "_open_for",
        "_policy",
        "_reopens_at",
        "_worth",
        "concurrency",
        "state",
    )

    def __init__(self, policy: BreakerPolicy, most: int) -> None:
        self._policy = policy
        self.state = BreakerState.CLOSED
        self.concurrency = ConcurrencyLimit(most)
        ratio = policy.failure_ratio
        self._worth = ratio / (1 - ratio) if ratio < 1 else inf
        """How many failures a success makes up for."""
        self._failures = 0.0
        self._open_for = policy.open_for
        self._reopens_at = -inf
        self._generation = 0
        """Changes with every move, so that a reply from before it does not count."""
        self._on_wire = 0
        """Requests of this generation."""

    @property
    def is_calm(self) -> bool:
        """Whether all may go, and a success would change nothing."""
        return self.state is _CLOSED and not self._failures and self.concurrency.is_whole

    def admits_at(self) -> float:
        """Return when the next request may go: -inf for now, inf for not before another ends."""
        if self.state is _OPEN:
            return self._reopens_at
        return -inf if self._on_wire < self.concurrency.limit else inf

    def begin(self) -> int:
        """Note that a request goes out, and return what `end` wants to know of it."""
        if self.state is _OPEN:
            self._move(_HALF_OPEN)
        self._on_wire += 1
        return self._generation

    def end(self, generation: int, *, failed: bool | None, now: float) -> None:
        """Count how a request ended; None for one that was cancelled and shows nothing."""
        if generation != self._generation:
            return
        self._on_wire -= 1
        if failed is None:
            return
        if failed:
            self._on_failure(now)
        else:
            self._on_success()

    def _on_success(self) -> None:
        self.concurrency.accepted()
        if self._failures:
            self._failures = max(0.0, self._failures - self._worth)
        if self.state is _HALF_OPEN:
            self._open_for = self._policy.open_for
            self._move(BreakerState.CLOSED)

    def _on_failure(self, now: float) -> None:
        if self.state is _HALF_OPEN:
            self._open_for = min(self._open_for * 2, self._policy.open_cap)
            self._open(now)
            return
        self._failures += 1
        if self._failures >= self._policy.min_calls:
            self._open(now)

    def _open(self, now: float) -> None:
        self._failures = 0.0
        self._reopens_at = now + self._open_for
        self.concurrency.restart()
        self._move(_OPEN)

    def _move(self, state: BreakerState) -> None:
        assert state in MOVES[self.state]  # noqa: S101  the table is the whole of it
        self.state = state
        self._generation += 1
        self._on_wire = 0


class RequestGate:
    """Counts the requests on the wire and learns from how they end.

    Args:
        policy: The breakers', and the bound on `Retry-After`.
        max_in_flight: Requests on the wire at most, of both endpoints together.
        telemetry: Is told when a breaker moves.
    """

    def __init__(self, policy: RetryPolicy, *, max_in_flight: int, telemetry: Telemetry) -> None:
        self._policy = policy
        self._telemetry = telemetry
        self._slots = max_in_flight
        self._max_in_flight = max_in_flight
        """At present: a gate that is paused has no slots, which costs the others no question."""
        self._breakers = {kind: Breaker(policy.breaker, max_in_flight) for kind in Endpoint}
        self._paused_until = -inf
        self._on_wire = 0
        self._is_calm = True
        """Both breakers are: nobody needs to be asked, and there is nothing to learn."""

    def bound(self, max_in_flight: int | None) -> None:
        """Let no more requests out at once than a connector does; None: it has no bound."""
        if max_in_flight is not None:
            self._slots = min(self._slots, max_in_flight)
            self._max_in_flight = min(self._max_in_flight, max_in_flight)

    @property
    def is_paused(self) -> bool:
        """Whether nothing may go out until `resume`."""
        return not self._max_in_flight

    def pause(self) -> None:
        """Let nothing out; what is on the wire ends as ever."""
        self._max_in_flight = 0

    def resume(self) -> None:
        """Let requests out again."""
        self._max_in_flight = self._slots

    @property
    def has_slot(self) -> bool:
        """Whether one more request may be on the wire."""
        return self._on_wire < self._max_in_flight

    @property
    def free_slots(self) -> int:
        """How many more requests may be on the wire."""
        return max(0, self._max_in_flight - self._on_wire)

    def breaker(self, endpoint: Endpoint) -> BreakerState:
        """Return the state of an endpoint's breaker."""
        return self._breakers[endpoint].state

    @property
    def worst(self) -> BreakerState:
        """The worse of the two breakers."""
        return max((one.state for one in self._breakers.values()), key=SEVERITY.__getitem__)

    def opens_at(self, endpoint: Endpoint) -> float:
        """Return when this endpoint may be called; infinity for when another call has ended."""
        if self._is_calm:
            return self._paused_until
        return max(self._paused_until, self._breakers[endpoint].admits_at())

    def begin(self, endpoint: Endpoint, now: float) -> int:  # noqa: ARG002  a rate asks for it
        """Count a request that goes out, and return what `end` wants to know of it."""
        self._on_wire += 1
        breaker = self._breakers[endpoint]
        if self._is_calm:
            return breaker.begin()
        before = breaker.state
        generation = breaker.begin()
        if breaker.state is not before:
            self._telemetry.breaker_changed(endpoint, breaker.state)
        return generation

    def end(
        self,
        endpoint: Endpoint,
        generation: int,
        verdict: Verdict | None,
        *,
        began: float,
        now: float,
    ) -> None:
        """Count a request that ended.

        Args:
            endpoint: Where it went.
            generation: What `begin` returned.
            verdict: What it met; None: it was cancelled, and shows nothing.
            began: When it went out.
            now: The time.
        """
        self._on_wire -= 1
        breaker = self._breakers[endpoint]
        if self._is_calm and (verdict is None or not verdict.kind.is_transient):
            breaker.end(generation, failed=None, now=now)
            return
        before = breaker.state
        if verdict is not None and verdict.kind is _THROTTLED:
            pause = retry_after(self._policy, verdict)
            self._paused_until = max(self._paused_until, now + pause)
            breaker.concurrency.refused(asked_for_pause=pause > 0, began=began, now=now)
        breaker.end(generation, failed=_failed(verdict), now=now)
        self._is_calm = all(one.is_calm for one in self._breakers.values())
        if breaker.state is not before:
            self._telemetry.breaker_changed(endpoint, breaker.state)


class FencedGate(RequestGate):
    """Lets nothing pass that a fence holds back: that is no failure, and counts for nothing.

    Args:
        fence: Asked before each request whether it may go.
        policy: See `RequestGate`.
        max_in_flight: See `RequestGate`.
        telemetry: See `RequestGate`.
    """

    def __init__(
        self,
        fence: Callable[[], bool],
        policy: RetryPolicy,
        *,
        max_in_flight: int,
        telemetry: Telemetry,
    ) -> None:
        super().__init__(policy, max_in_flight=max_in_flight, telemetry=telemetry)
        self._fence = fence

    @property
    def has_slot(self) -> bool:
        """Whether one more request may be on the wire."""
        return self._on_wire < self._max_in_flight and self._fence()


class RatedGate(FencedGate):
    """Lets out so many requests a second at most, evenly.

    It is one more time before which nothing goes. Breakers and the concurrency limit stay as they
    are, and what is slower decides.

    Args:
        max_rate: Requests a second, of both endpoints together, repeated ones included.
        fence: See `FencedGate`.
        policy: See `RequestGate`.
        max_in_flight: See `RequestGate`.
        telemetry: See `RequestGate`.
    """

    def __init__(
        self,
        max_rate: float,
        fence: Callable[[], bool],
        policy: RetryPolicy,
        *,
        max_in_flight: int,
        telemetry: Telemetry,
    ) -> None:
        super().__init__(fence, policy, max_in_flight=max_in_flight, telemetry=telemetry)
        self._interval = 1 / max_rate
        self._planned = -inf
        """When the next request may go."""

    def begin(self, endpoint: Endpoint, now: float) -> int:
        """Count a request that goes out; the next has to wait its time."""
        self._planned = next_request_at(self._planned, now, self._interval)
        self._paused_until = max(self._paused_until, self._planned)
        return super().begin(endpoint, now)


_CAUGHT_UP: Final = 0.1
"""Seconds by which a request may be late, as the loop was busy, without delaying all after it."""


def next_request_at(planned: float, now: float, interval: float) -> float:
    """Return when the next request may go, where one goes now.

    A bucket that holds a single token: nothing is saved up while nobody sends, so that in any
    second no more go than the rate says. Only what is a little late keeps its place in the plan;
    otherwise each turn of a busy loop would take from the rate.

    Args:
        planned: When the one that goes now was allowed to.
        now: The time.
        interval: Seconds from one to the next.
    """
    return (planned if 0 <= now - planned <= _CAUGHT_UP else now) + interval


def gate_with(
    fence: Callable[[], bool] | None,
    policy: RetryPolicy,
    *,
    max_in_flight: int,
    telemetry: Telemetry,
    max_rate: float | None = None,
) -> RequestGate:
    """Return a gate with the fence and the rate that there are: others pay nothing for either."""
    if max_rate is not None:
        return RatedGate(
            max_rate,
            fence or _always,
            policy,
            max_in_flight=max_in_flight,
            telemetry=telemetry,
        )
    if fence is None:
        return RequestGate(policy, max_in_flight=max_in_flight, telemetry=telemetry)
    return FencedGate(fence, policy, max_in_flight=max_in_flight, telemetry=telemetry)


def _always() -> bool:
    return True


def _failed(verdict: Verdict | None) -> bool | None:
    """Return whether the endpoint failed; None where nothing shows it, or it was cancelled."""
    if verdict is None or verdict.is_local:
        return None
    if not (verdict.kind.is_transient or verdict.http_status is not None):
        return None
    return verdict.kind.is_transient
