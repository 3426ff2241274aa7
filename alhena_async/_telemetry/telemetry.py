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
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from alhena_async._replies import Verdict, VerdictKind
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
from alhena_async.observers import BreakerState, Instrument, Observer, Snapshot
from alhena_async.outcomes import Outcome, OutcomeStatus, documented
from alhena_async.policies import check_plain
from alhena_async.transports import Endpoint

if TYPE_CHECKING:
    from alhena_async._telemetry.logbook import Logbook, Situation

__all__ = ["Captured", "Reporting", "Telemetry", "log_foreign", "news_is_pending"]

_log = logging.getLogger("alhena_async")

_MAX_KEYS: Final = 1_000
"""Different mistakes that are counted each by itself; the rest count together."""

_ENDED_WELL: Final = OutcomeStatus.RECORDED  # a member is slow to look up in Python 3.11

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
        destination: Where events go, for observers that ask.

    Raises:
        TypeError: An observer has none of the methods, or one that cannot be called as a plain
            function.
    """

    def __init__(
        self,
        observers: Sequence[Observer],
        loop_of: Callable[[], asyncio.AbstractEventLoop | None] = lambda: None,
        *,
        logbook: Logbook,
        destination: str = "",
    ) -> None:
        several = _checked(observers)
        heard = {name: _hooks(several, name) for name in (*_HOOKS, *_HOOKS_OF_INSTRUMENTS)}
        tracing = [one for one in several if _hears(one, "attempted")]
        self._captures = any(getattr(one, "captures", False) is True for one in tracing)
        heard["capture"] = tuple(_Hook(one, "capture") for one in tracing)  # one for one
        self._heard: Mapping[str, Hooks] = heard
        self._on_accepted = heard["accepted"]
        self._on_replayed = heard["replayed"]
        self._on_attempt = heard["attempt"]
        self._on_attempt_ended = heard["attempt_ended"]
        self._on_attempted = heard["attempted"]
        self._on_retry = heard["retry"]
        self._on_outcome = heard["outcome"]
        self.destination = destination
        self._look: Callable[[], Snapshot | None] | None = None
        self._loop_of = loop_of
        self._news: deque[tuple[Hooks, tuple[Any, ...]]] = deque()
        self._is_scheduled = False
        self._context = contextvars.copy_context()
        self.accepted_count = 0
        self.replayed_count = 0
        self.outcomes: Counter[OutcomeStatus] = Counter()
        self.requests = 0
        self.retries = 0
        """Requests that repeat an earlier one of the same event."""
        self.failed_attempts = 0
        self.refused: Counter[str] = Counter()
        """Events that ended `REJECTED`, by documented code; all others count as `other`."""
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
        if self._on_accepted:
            self._tell(self._on_accepted, event)

    def replayed(self, event: Event) -> None:
        """Count an event of an earlier process that was taken in."""
        self.replayed_count += 1
        if self._on_replayed:
            self._tell(self._on_replayed, event)

    def settled(self, outcome: Outcome) -> None:
        """Count an outcome, and log it if the shop should know."""
        status = outcome.status
        self.outcomes[status] += 1
        if status is not _ENDED_WELL:
            self._log_ending(outcome)
        if self._on_outcome:
            self._tell(self._on_outcome, outcome)

    def _log_ending(self, outcome: Outcome) -> None:
        if outcome.status in _WORTH_A_WARNING:
            self.logbook.ended_badly(outcome, endpoint_of(outcome.event), self._now())
            if outcome.status is OutcomeStatus.REJECTED:
                self.refused[documented(outcome.code or "")] += 1
        elif outcome.status is OutcomeStatus.UNATTRIBUTED:
            _log.debug("alhena: %s ended UNATTRIBUTED", type(outcome.event).__name__)

    def settled_unseen(self, counts: Mapping[OutcomeStatus, int]) -> None:
        """Count outcomes of events that are on disk alone: there is nothing to show of them."""
        self.outcomes.update(counts)
        self._tell(self._heard["ended_on_disk"], dict(counts))

    def attempt(self, event: Event, number: int) -> None:
        """Count a request that begins."""
        self.requests += 1
        if number > 1:
            self.retries += 1
        if self._on_attempt:
            self._tell(self._on_attempt, event, number)

    def attempt_failed(self, verdict: Verdict, situation: Situation, now: float) -> None:
        """Count a request without an answer that settles its event."""
        self.failed_attempts += 1
        self.logbook.attempt_failed(verdict, situation, now)

    @property
    def hears_attempts(self) -> bool:
        """Whether anybody wants to know how a request ended."""
        return bool(self._on_attempt_ended or self._on_attempted)

    def attempt_ended(
        self,
        event: Event,
        number: int,
        seconds: float,
        verdict: Verdict | None,
        captured: Sequence[Captured],
    ) -> None:
        """Tell the observers how a request ended.

        Args:
            event: What was sent.
            number: Which attempt at it.
            seconds: How long it took.
            verdict: What it met; None if it was cancelled.
            captured: What `capture` returned for all that it was sent for.
        """
        status = None if verdict is None else verdict.http_status
        reason = _reason_of(verdict)
        if self._on_attempt_ended:
            self._tell(self._on_attempt_ended, event, number, seconds, status, reason)
        if not captured:
            place = self.destination
            self._tell(self._on_attempted, place, event, number, seconds, status, reason, ())
        else:
            self._tell_traced((event, number, seconds, status, reason), captured)

    def _tell_traced(self, facts: tuple[Any, ...], captured: Sequence[Captured]) -> None:
        for place, hook in enumerate(self._on_attempted):
            kept = [one[place] for one in captured if one[place] is not None]
            self._tell((hook,), self.destination, *facts, kept)

    @property
    def captures(self) -> bool:
        """Whether anybody wants to keep something with each event."""
        return self._captures

    def capture(self) -> Captured | None:
        """Return what is to be kept with an event that is tracked here; None for nothing."""
        captured = tuple([hook() for hook in self._heard["capture"]])
        return None if captured.count(None) == len(captured) else captured

    def capturing(self) -> Callable[[], Captured | None]:
        """Return the quickest function that does what `capture` does: each event takes it."""
        hooks = self._heard["capture"]
        return hooks[0].alone() if len(hooks) == 1 else self.capture

    def retry(self, event: Event, delay: float, reason: str) -> None:
        """Tell the observers that a failed attempt is followed by another."""
        _log.debug("alhena: %s is tried again in %.2f s: %s", type(event).__name__, delay, reason)
        if self._on_retry:
            self._tell(self._on_retry, event, delay, reason)

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
        self._tell(self._heard["breaker_changed"], endpoint, state)

    # --- levels --------------------------------------------------------------------------------

    def started(self, look: Callable[[], Snapshot | None]) -> None:
        """Tell the observers, here and now, that the client begins, and where to look at it."""
        self._look = look
        self._tell(self._heard["started"], look)
        self.deliver()

    def closed(self) -> None:
        """Tell the observers that the client has ended."""
        self._tell(self._heard["closed"], self._look)

    @property
    def hears_commits(self) -> bool:
        """Whether anybody wants to know how long the disk takes."""
        return bool(self._heard["journal_committed"])

    def journal_committed(self, events: int, seconds: float) -> None:
        """Tell the observers of a commit. Called on any thread."""
        self._tell_from_anywhere("journal_committed", events, seconds)

    def watch(self, observer: Observer) -> None:
        """Tell one more observer of outcomes, from now on."""
        self._on_outcome = (*self._heard["outcome"], _Hook(observer, "outcome"))

    def unwatch(self) -> None:
        """Tell that observer nothing more."""
        self._on_outcome = self._heard["outcome"]

    def deliver(self) -> None:
        """Tell the observers what has happened so far; what comes meanwhile follows in a turn."""
        self._is_scheduled = False  # what an observer brings about is told before it is awaited
        try:
            for _ in range(len(self._news)):
                hooks, facts = self._news.popleft()
                for hook in hooks:
                    hook(*facts)
        finally:
            self._schedule()
            if not self._news:
                _with_news.discard(self)

    def _tell_from_anywhere(self, what: str, *facts: Any) -> None:
        """Tell the observers on the client's event loop; where there is none, here and now."""
        hooks = self._heard[what]
        if not hooks:
            return
        loop = self._loop_of()
        if loop is not None and _is_running_here(loop):
            self._tell(hooks, *facts)
        elif loop is None or not self._tell_on(loop, hooks, *facts):
            for hook in hooks:
                hook(*facts)

    def _tell_on(self, loop: asyncio.AbstractEventLoop, hooks: Hooks, *facts: Any) -> bool:
        """Tell from another thread; return whether the loop is neither stopped nor closed."""
        if not loop.is_running():
            return False
        try:
            loop.call_soon_threadsafe(self._tell, hooks, *facts, context=self._context)
        except RuntimeError:
            return False
        return True

    def _tell(self, hooks: Hooks, *facts: Any) -> None:
        if hooks:
            self._news.append((hooks, facts))
            if not self._is_scheduled:
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
        TypeError: It is a class, has no method at all, or one that is no plain function.
    """
    if isinstance(observer, type):
        name = observer.__name__
        raise TypeError(f"observers must hold an instance: {name}(), not the class {name}")
    names = (*_HOOKS, *_HOOKS_OF_INSTRUMENTS) if isinstance(observer, Instrument) else _HOOKS
    found = [name for name in names if _check_method(observer, name)]
    if not (found or _answers_by_itself(observer)):
        raise TypeError(
            "observers must hold instances of Observer: there is no "
            f"{type(observer).__name__}.accepted, nor any other of its methods"
        )


def _check_method(observer: object, hook: str) -> bool:
    """Return whether an observer has a method, which must be a plain function."""
    found = inspect.getattr_static(observer, hook, None)
    if found is None:
        return False
    method = getattr(found, "__func__", found)  # of a static or a class method
    name = f"{type(observer).__name__}.{hook}"
    if not (callable(method) or hasattr(method, "__get__")):
        raise TypeError(f"{name} must be a method, not {type(method).__name__}")
    check_plain(name, method)
    return True


def _answers_by_itself(observer: object) -> bool:
    """Whether a class looks its attributes up in its own way, as a mock or a proxy does."""
    kind = type(observer)
    return hasattr(kind, "__getattr__") or inspect.isfunction(kind.__getattribute__)


_HOOKS: Final = tuple(name for name in vars(Observer) if not name.startswith("_"))

_HOOKS_OF_INSTRUMENTS: Final = tuple(
    name for name, member in vars(Instrument).items() if inspect.isfunction(member)
)


class _Hook:
    """One method of one observer; whatever it does, it harms nothing.

    Args:
        observer: Whose.
        name: Which.
    """

    __slots__ = ("_call", "_name", "_observer")

    def __init__(self, observer: object, name: str) -> None:
        self._observer = type(observer).__name__
        self._name = name
        self._call: Callable[..., object] = (
            partial(_ask, observer, name)
            if _answers_by_itself(observer)
            else getattr(observer, name)
        )

    def __call__(self, *facts: Any) -> object:
        """Call the method, and return what it returns; None where it fails."""
        try:
            returned = self._call(*facts)
            if returned is not None and inspect.iscoroutine(returned):
                returned.close()
                raise TypeError("it returned a coroutine, which nobody awaits")  # noqa: TRY301
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001  foreign code harms nothing here
            self._failed(error)
            return None
        return returned

    def alone(self) -> Callable[[], Captured | None]:
        """Return a function that calls it, without a fact, and has the only thing to keep."""
        call, failed = self._call, self._failed

        def captured() -> Captured | None:
            try:
                only = call()
            except Exception as error:  # noqa: BLE001  foreign code harms nothing here
                failed(error)
                return None
            return None if only is None else (only,)

        return captured

    def _failed(self, error: BaseException) -> None:
        log_foreign(f"observer {self._observer} failed in {self._name}", error)


Hooks = tuple[_Hook, ...]

Captured = tuple[object | None, ...]
"""What each observer that traces keeps with an event."""


def _reason_of(verdict: Verdict | None) -> str:
    """Return why a request did not succeed; "" where it did."""
    if verdict is None:
        return "cancelled"
    if verdict.kind is _RECORDED or verdict.kind is _PUBLISHED:
        return ""
    return verdict.code or verdict.detail or ""


# As in _queue/envelope.py: a member is slow to look up in Python 3.11.
_RECORDED: Final = VerdictKind.RECORDED

_PUBLISHED: Final = VerdictKind.PUBLISHED


def _ask(observer: object, name: str, *facts: Any) -> object:
    return getattr(observer, name)(*facts)


def _hooks(observers: Iterable[object], name: str) -> Hooks:
    """Return one method of all observers that have it, and have it of their own."""
    return tuple(_Hook(observer, name) for observer in observers if _hears(observer, name))


def _hears(observer: object, name: str) -> bool:
    if name in _HOOKS_OF_INSTRUMENTS and not isinstance(observer, Instrument):
        return False
    if _answers_by_itself(observer):
        return True
    found = inspect.getattr_static(observer, name, None)
    return found is not None and found not in (vars(Observer).get(name), vars(Instrument).get(name))


def log_foreign(what: str, error: BaseException) -> None:
    """Log an error of foreign code; its text only at DEBUG, since it may hold a payload."""
    exc_info = error if _log.isEnabledFor(logging.DEBUG) else None
    _log.error("alhena: %s: %s", what, type(error).__name__, exc_info=exc_info)
