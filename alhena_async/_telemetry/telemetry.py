"""The client's counters and observers: an observer hears of everything and can break nothing."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import re
import threading
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from alhena_async._telemetry.sampling import is_worth_a_line
from alhena_async._wire import endpoint_of
from alhena_async.errors import (
    AlhenaError,
    AlhenaTimeoutError,
    ClientClosedError,
    InvalidEventError,
    QueueFullError,
)
from alhena_async.events import Event
from alhena_async.observers import BreakerState, Observer
from alhena_async.outcomes import Outcome, OutcomeStatus
from alhena_async.policies import check_plain
from alhena_async.transports import Endpoint

if TYPE_CHECKING:
    from alhena_async._replies import Verdict
    from alhena_async._telemetry.logbook import Logbook, Situation

__all__ = ["Reporting", "Telemetry", "log_foreign", "news_is_pending"]

_log = logging.getLogger("alhena_async")

_MAX_KEYS: Final = 1_000
"""Different mistakes that are counted each by itself; the rest count together."""

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
    one that calls the client back finds it in a settled state. Of an outcome they hear before
    anyone who awaits it.

    Args:
        observers: The shop's own; each is told of everything.
        loop_of: Returns the event loop that the client runs on, None before it is started.
        logbook: Writes the lines on trouble and on what ends badly.

    Raises:
        TypeError: An observer lacks a method, or has one that cannot be called as a plain function.
    """

    def __init__(
        self,
        observers: Sequence[Observer],
        loop_of: Callable[[], asyncio.AbstractEventLoop | None] = lambda: None,
        *,
        logbook: Logbook,
    ) -> None:
        self._observers = _checked(observers)
        self._loop_of = loop_of
        self._news: deque[tuple[str, tuple[Any, ...]]] = deque()
        self._is_scheduled = False
        self._context = contextvars.copy_context()
        self.accepted_count = 0
        self.replayed_count = 0
        self.outcomes: Counter[OutcomeStatus] = Counter()
        self.requests = 0
        self.retries = 0
        """Requests that repeat an earlier one of the same event."""
        self.failed_attempts = 0
        self.logbook = logbook
        self._drops: Counter[str] = Counter()
        self._other_totals = 0
        self.invalid_count = 0
        self.not_accepted_count = 0
        self._late_count = 0
        self._refusals: Counter[object] = Counter()
        """How often each rule was broken, by field, and each reason not to accept was met."""
        self._told: weakref.WeakSet[AlhenaError] = weakref.WeakSet()
        self._lock = threading.Lock()  # what never became an event may come from any thread

    def accepted(self, event: Event) -> None:
        """Count an accepted event."""
        self.accepted_count += 1
        if self.logbook.in_trouble:
            self.logbook.found_room(self._now())
        if self._observers:
            self._tell("accepted", event)

    def replayed(self, event: Event) -> None:
        """Count an event of an earlier process that was taken in."""
        self.replayed_count += 1
        if self._observers:
            self._tell("replayed", event)

    def settled(self, outcome: Outcome) -> None:
        """Count an outcome, and log it if the shop should know."""
        self.outcomes[outcome.status] += 1
        if outcome.status in _WORTH_A_WARNING:
            self.logbook.ended_badly(outcome, endpoint_of(outcome.event), self._now())
        elif outcome.status is OutcomeStatus.UNATTRIBUTED:
            _log.debug("alhena: %s ended UNATTRIBUTED", type(outcome.event).__name__)
        if self._observers:
            self._tell("outcome", outcome)

    def settled_unseen(self, counts: Mapping[OutcomeStatus, int]) -> None:
        """Count outcomes of events that are on disk alone: there is nothing to show of them."""
        self.outcomes.update(counts)

    def attempt(self, event: Event, number: int) -> None:
        """Count a request that begins."""
        self.requests += 1
        if number > 1:
            self.retries += 1
        if self._observers:
            self._tell("attempt", event, number)

    def attempt_failed(self, verdict: Verdict, situation: Situation, now: float) -> None:
        """Count a request without an answer that settles its event."""
        self.failed_attempts += 1
        self.logbook.attempt_failed(verdict, situation, now)

    def retry(self, event: Event, delay: float, reason: str) -> None:
        """Tell the observers that a failed attempt is followed by another."""
        _log.debug("alhena: %s is tried again in %.2f s: %s", type(event).__name__, delay, reason)
        if self._observers:
            self._tell("retry", event, delay, reason)

    def no_room(self, consequence: str, why: str | Callable[[], str], waiting: int) -> None:
        """Note that an event found no room; see `Logbook.found_no_room`."""
        self.logbook.found_no_room(consequence, why, waiting, self._now())

    def warn_dropped(self, what: str) -> None:
        """Log that events are dropped, which the shop may not want.

        Args:
            what: Why; it must quote nothing of an event.
        """
        self._drops[what] += 1
        if is_worth_a_line(self._drops[what]):
            _log.warning(
                "alhena: events are dropped: %s (%d times so far)", what, self._drops[what]
            )

    def reported(self, error: AlhenaError, place: str) -> None:
        """Count and log an error that ended in a `reporting` block.

        Args:
            error: What was raised.
            place: Where, in the shop's code.
        """
        if isinstance(error, InvalidEventError):
            if error.nothing_changed:
                _log.debug("alhena: nothing changed, so there is no event (at %s)", place)
            else:
                self.invalid(error, place)
        elif _is_not_accepted(error):
            self.not_accepted(error, place)
        elif isinstance(error, AlhenaTimeoutError):
            self._late(error, place)
        else:  # its outcome, or the journal, has been counted and logged
            _log.debug("alhena: %s at %s: %s", type(error).__name__, place, error)

    def invalid(self, error: InvalidEventError, place: str) -> None:
        """Count and log an event that was refused where it was to be built."""
        keys = [(_INDEX.sub("[]", field), rule) for field, rule, _ in error.problems]
        with self._lock:
            self.invalid_count += 1
            count = self.invalid_count
            is_new = self._is_new(keys)
        field, rule, _ = error.problems[0]
        _log.log(
            logging.WARNING if is_new else logging.DEBUG,
            "alhena: an event was refused where it was to be built, at %s: %s (%d so far)",
            place,
            error.without_values,
            count,
            extra={"alhena_field": field, "alhena_rule": rule},
        )
        self._tell_from_anywhere("invalid", error)

    def not_accepted(self, error: AlhenaError, place: str) -> None:
        """Count and log an event that found no room (in time), or a closed client.

        Once, also where the same error passes through several `reporting` blocks.
        """
        with self._lock:
            if error in self._told:
                return
            self._told.add(error)
            self.not_accepted_count += 1
            count = self.not_accepted_count
            is_new = self._is_new([type(error)])
        level = logging.WARNING if is_new else logging.DEBUG
        _log.log(
            level, "alhena: an event was not accepted, at %s: %s (%d so far)", place, error, count
        )
        self._tell_from_anywhere("not_accepted", error)

    def _late(self, error: AlhenaTimeoutError, place: str) -> None:
        """Log that a caller stopped waiting for an event; the event itself goes on."""
        with self._lock:
            self._late_count += 1
            count = self._late_count
        level = logging.WARNING if is_worth_a_line(count) else logging.DEBUG
        _log.log(level, "alhena: not in time, at %s: %s (%d so far)", place, error, count)

    def _is_new(self, keys: Sequence[object]) -> bool:
        """Count each key, and return whether one of them is worth a line."""
        news = False
        for key in keys:
            known = key if key in self._refusals or len(self._refusals) < _MAX_KEYS else None
            self._refusals[known] += 1
            news |= is_worth_a_line(self._refusals[known])
        return news

    def another_total(self) -> None:
        """Log that an order id came again with another total or currency."""
        self._other_totals += 1
        if is_worth_a_line(self._other_totals):
            _log.warning(
                "alhena: an order id came again with another total; the first one stays: an "
                "edited order cannot be recorded again, and shops that number their orders alike "
                "need a company key each (%d so far)",
                self._other_totals,
            )

    def breaker_changed(self, endpoint: Endpoint, state: BreakerState) -> None:
        """Log that a breaker moved, and tell the observers."""
        _log.debug("alhena: the breaker of /%s is %s", endpoint, state.value)
        if self._observers:
            self._tell("breaker_changed", endpoint, state)

    def deliver(self) -> None:
        """Tell the observers what has happened so far; what comes meanwhile follows in a turn."""
        self._is_scheduled = False  # what an observer brings about is told before it is awaited
        try:
            for _ in range(len(self._news)):
                what, facts = self._news.popleft()
                for observer in self._observers:
                    _tell_one(observer, what, facts)
        finally:
            self._schedule()
            if not self._news:
                _with_news.discard(self)

    def _tell_from_anywhere(self, what: str, *facts: Any) -> None:
        """Tell the observers on the client's event loop; where there is none, here and now."""
        if not self._observers:
            return
        loop = self._loop_of()
        if loop is not None and _is_running_here(loop):
            self._tell(what, *facts)
        elif loop is None or not self._tell_on(loop, what, *facts):
            for observer in self._observers:
                _tell_one(observer, what, facts)

    def _tell_on(self, loop: asyncio.AbstractEventLoop, what: str, *facts: Any) -> bool:
        """Tell from another thread; return whether the loop is neither stopped nor closed."""
        if not loop.is_running():
            return False
        try:
            loop.call_soon_threadsafe(self._tell, what, *facts, context=self._context)
        except RuntimeError:
            return False
        return True

    def _tell(self, what: str, *facts: Any) -> None:
        self._news.append((what, facts))
        self._schedule()

    def _schedule(self) -> None:
        if self._news and not self._is_scheduled:
            self._is_scheduled = True
            _with_news.add(self)
            # In the client's own context: what an observer logs belongs to no caller's request.
            loop = asyncio.get_running_loop()
            loop.call_soon(self.deliver, context=self._context)

    def _now(self) -> float:
        loop = self._loop_of()
        return 0.0 if loop is None else loop.time()


_INDEX: Final = re.compile(r"\[\d+\]")

_with_news: weakref.WeakSet[Telemetry] = weakref.WeakSet()


def news_is_pending() -> bool:
    """Return whether observers have yet to hear something: within a turn of the loop they do."""
    return bool(_with_news)


class Reporting:
    """A `with` block in which errors of this package end, and leave a trace. It holds no state.

    Args:
        reported: Is called with each error, and with its place in the caller's code.
    """

    __slots__ = ("_reported",)

    def __init__(self, reported: Callable[[AlhenaError, str], None]) -> None:
        self._reported = reported

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if not isinstance(error, AlhenaError):
            return False
        self._reported(error, _place_of(trace))
        return True


def _is_not_accepted(error: AlhenaError) -> bool:
    """Whether an error means that a sound event was not accepted."""
    if isinstance(error, AlhenaTimeoutError):
        return not error.accepted
    return isinstance(error, QueueFullError | ClientClosedError)


def _place_of(trace: TracebackType | None) -> str:
    """Return the file and the line in the `with` block where an error came up."""
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "an unknown place"


def _is_running_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _checked(observers: object) -> tuple[Observer, ...]:
    if isinstance(observers, Observer) or not isinstance(observers, Iterable):
        raise TypeError(
            f"observers must be several, also where it is one: [x], not {type(observers).__name__}"
        )
    several = tuple(observers)
    for observer in several:
        _check_observer(observer)
    return several


def _check_observer(observer: object) -> None:
    """Refuse what would fail with every event; nothing of the observer's own code runs.

    Raises:
        TypeError: It is a class, lacks a method, or has one that is no plain function.
    """
    if isinstance(observer, type):
        name = observer.__name__
        raise TypeError(f"observers must hold an instance: {name}(), not the class {name}")
    for hook in _HOOKS:
        found = inspect.getattr_static(observer, hook, None)
        method = getattr(found, "__func__", found)  # of a static or a class method
        name = f"{type(observer).__name__}.{hook}"
        if method is None and not hasattr(type(observer), "__getattr__"):
            raise TypeError(f"observers must hold instances of Observer: there is no {name}")
        if not (method is None or callable(method) or hasattr(method, "__get__")):
            raise TypeError(f"{name} must be a method, not {type(method).__name__}")
        check_plain(name, method)


_HOOKS: Final = tuple(name for name in vars(Observer) if not name.startswith("_"))


def _tell_one(observer: Observer, what: str, facts: tuple[Any, ...]) -> None:
    try:
        returned = getattr(observer, what)(*facts)
        if inspect.iscoroutine(returned):
            returned.close()
            raise TypeError("it returned a coroutine, which nobody awaits")  # noqa: TRY301
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001  foreign code harms nothing here
        name = f"observer {type(observer).__name__} failed in {what}"
        log_foreign(name, error)


def log_foreign(what: str, error: BaseException) -> None:
    """Log an error of foreign code; its text only at DEBUG, since it may hold a payload."""
    exc_info = error if _log.isEnabledFor(logging.DEBUG) else None
    _log.error("alhena: %s: %s", what, type(error).__name__, exc_info=exc_info)
