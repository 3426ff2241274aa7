"""The counters, and the observers: told of everything, able to harm nothing."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import Counter, deque
from collections.abc import Sequence
from math import inf
from typing import Any, Final

from alhena_async._replies import Verdict
from alhena_async.events import Event
from alhena_async.observers import BreakerState, Observer
from alhena_async.outcomes import ErrorCode, Outcome, OutcomeStatus
from alhena_async.transports import Endpoint

__all__ = ["Telemetry", "log_foreign"]

_log = logging.getLogger("alhena_async")

_FEW: Final = 3
"""Failures in a row that are worth a word."""

_QUIET: Final = 60.0
"""Seconds between two words of so few."""

_WORTH_A_WARNING = frozenset(
    {
        OutcomeStatus.REJECTED,
        OutcomeStatus.EXPIRED,
        OutcomeStatus.UNKNOWN,
        OutcomeStatus.ABANDONED,
    }
)


class Telemetry:
    """Counts, logs, and passes on to the observers.

    Observers hear of a thing soon after it happened, in order, never in the middle of a change:
    one that calls the client back finds it in a settled state.
    """

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = tuple(observers)
        self._news: deque[tuple[str, tuple[Any, ...]]] = deque()
        self._is_scheduled = False
        self._context = contextvars.copy_context()
        self.accepted_count = 0
        self.replayed_count = 0
        self.outcomes: Counter[OutcomeStatus] = Counter()
        self.requests = 0
        self.retries = 0
        self._failures = 0
        """Attempts that failed since the API last settled an event."""
        self._quiet_until = -inf
        self._mishaps: Counter[str] = Counter()

    def accepted(self, event: Event) -> None:
        """An event was accepted."""
        self.accepted_count += 1
        if self._observers:
            self._tell("accepted", event)

    def replayed(self, event: Event) -> None:
        """An event of an earlier process was taken in."""
        self.replayed_count += 1
        if self._observers:
            self._tell("replayed", event)

    def settled(self, outcome: Outcome) -> None:
        """An event has its outcome."""
        self.outcomes[outcome.status] += 1
        if outcome.status in _WORTH_A_WARNING:
            self._warn(outcome)
        elif outcome.http_status is not None:  # it was the API's own word
            self._failures = 0
            if outcome.status is OutcomeStatus.UNATTRIBUTED:
                _log.debug("%s ended UNATTRIBUTED", type(outcome.event).__name__)
        if self._observers:
            self._tell("outcome", outcome)

    def attempt(self, event: Event, number: int) -> None:
        """A request begins."""
        self.requests += 1
        if self._observers:
            self._tell("attempt", event, number)

    def retry(
        self, event: Event, delay: float, reason: str, verdict: Verdict, *, now: float
    ) -> None:
        """An attempt failed, and another follows."""
        self.retries += 1
        if verdict.kind.is_transient:
            _log.debug("%s is tried again in %.2f s: %s", type(event).__name__, delay, reason)
            self._failed(reason, verdict, now)
        if self._observers:
            self._tell("retry", event, delay, reason)

    def warn_dropped(self, what: str) -> None:
        """Events were dropped that the shop may not have meant; `what` has nothing of them."""
        self._mishaps[what] += 1
        if _is_worth_a_line(self._mishaps[what], 1):
            _log.warning("events are dropped: %s (%d times so far)", what, self._mishaps[what])

    def breaker_changed(self, endpoint: Endpoint, state: BreakerState) -> None:
        """A breaker moved."""
        level = logging.INFO if state is BreakerState.CLOSED else logging.WARNING
        _log.log(level, "the breaker of /%s is %s", endpoint, state.value)
        if self._observers:
            self._tell("breaker_changed", endpoint, state)

    def deliver(self) -> None:
        """Tell the observers what had happened when this was called."""
        try:
            for _ in range(len(self._news)):
                what, facts = self._news.popleft()
                for observer in self._observers:
                    _tell_one(observer, what, facts)
        finally:
            self._is_scheduled = False
            self._schedule()

    def _tell(self, what: str, *facts: Any) -> None:
        self._news.append((what, facts))
        self._schedule()

    def _schedule(self) -> None:
        if self._news and not self._is_scheduled:
            self._is_scheduled = True
            # In the client's own context: what an observer logs belongs to no caller's request.
            loop = asyncio.get_running_loop()
            loop.call_soon(self.deliver, context=self._context)

    def _failed(self, reason: str, verdict: Verdict, now: float) -> None:
        """Log the 3rd, 30th, 300th ... failure in a row: one by itself is the network's everyday.

        A shop with few events would else hear of an API out of reach when the first one expires.
        """
        self._failures += 1
        if _is_worth_a_line(self._failures, _FEW) and not self._was_told_lately(now):
            # What a server replied may quote the payload; what a transport says has none of it.
            status = verdict.http_status
            _log.warning(
                "%d attempts in a row failed, the last with: %s; events wait and are tried again",
                self._failures,
                reason if status is None else f"HTTP {status}",
            )

    def _was_told_lately(self, now: float) -> bool:
        """Whether these are the first few, as there were some within the last minute.

        An API that fails now and then meets three in a row many times a second.
        """
        if self._failures > _FEW:
            return False
        was_told = now < self._quiet_until
        if not was_told:
            self._quiet_until = now + _QUIET
        return was_told

    def _warn(self, outcome: Outcome) -> None:
        """Log the 1st, 10th, 100th ... of a kind, so that an outage fills no disk."""
        count = self.outcomes[outcome.status]
        level = logging.WARNING if _is_worth_a_line(count, 1) else logging.DEBUG
        if _log.isEnabledFor(level):
            known = outcome.code in ErrorCode.__members__
            _log.log(
                level,
                "%s ended %s (%s, HTTP %s, %d attempts); %d so far",
                type(outcome.event).__name__,
                outcome.status.value.upper(),
                outcome.code if known else "no documented code",
                outcome.http_status,
                outcome.attempts,
                count,
            )


def _is_worth_a_line(count: int, first: int) -> bool:
    """Whether it is the `first` of its kind, or ten times as many, or a hundred times ..."""
    return str(count).strip("0") == str(first)


def _tell_one(observer: Observer, what: str, facts: tuple[Any, ...]) -> None:
    try:
        getattr(observer, what)(*facts)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001  foreign code harms nothing here
        name = f"observer {type(observer).__name__} failed in {what}"
        log_foreign(name, error)


def log_foreign(what: str, error: BaseException) -> None:
    """Log an error of foreign code: its text may hold a payload, so that only at DEBUG."""
    exc_info = error if _log.isEnabledFor(logging.DEBUG) else None
    _log.error("%s: %s", what, type(error).__name__, exc_info=exc_info)
