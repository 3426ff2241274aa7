"""The lines of the log: what is worth one, and its words.

Trouble that lasts (an outage, throttling, a full queue) has three kinds of line, all at WARNING,
since servers leave the root logger there: when it begins, every five minutes while it lasts, and
when it is over. Events that end badly are counted by status, code and endpoint, and the 1st, 10th,
100th ... of each is logged; counting starts again after a quiet quarter of an hour. Of orders the
first of each is logged, and then at most once a minute how many. No line holds data of an event.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Mapping
from math import inf
from typing import Any, Final

import attrs

from alhena_async._replies import Verdict, VerdictKind
from alhena_async._telemetry.sampling import Episode, Phase, Sampler
from alhena_async.outcomes import ErrorCode, Outcome, OutcomeStatus
from alhena_async.transports import Endpoint

__all__ = ["Logbook", "Situation"]

_log = logging.getLogger("alhena_async")

_FAILURES_OF_AN_OUTAGE: Final = 3
"""Failed attempts in a row: one by itself is the network's everyday."""

_ORDERS_EVERY: Final = 60.0
"""Seconds between two lines on orders that end badly in the same way."""


@attrs.frozen(kw_only=True)
class Situation:
    """What waits, while something is wrong."""

    waiting: int
    """Events that are not settled."""
    oldest_age: float
    """Seconds since the oldest of them was accepted."""
    expires_in: float
    """Seconds until the first of them expires; infinity if there is none."""
    room: int
    """Events that memory still has room for."""
    spilled: int = 0
    """Those that wait on disk alone, as there was no room."""


@attrs.define
class _Orders:
    """Orders with the same bad ending, since the last line that was logged of them."""

    told_at: float
    untold: int = 0


class Logbook:
    """Decides which lines are logged, and logs them.

    Args:
        destination: The API's base URL.
        kept_in: Where the journal keeps events; None without a journal.
        keeper: Who delivers what this client leaves behind.
    """

    def __init__(
        self,
        destination: str = "the API",
        kept_in: str | None = None,
        keeper: str = "the next client with this journal",
    ) -> None:
        self._destination = destination
        self._keeper = keeper
        self._where = f" in {kept_in}" if kept_in else ""
        self._kept_in = kept_in
        self._failures = 0
        """Attempts that failed since the API last answered."""
        self._outage = Episode()
        self._throttling = Episode()
        self._no_room: dict[str, Episode] = {}
        self._endings = Sampler()
        self._orders: dict[object, _Orders] = {}
        self._was_forgotten = False
        self._is_paused = False
        self._paused_at: float | None = None
        """When that began; None where it was before the start."""
        self.in_trouble = False
        """Whether `answered` and `found_room` have something to look at: a line may be due."""

    # --- trouble that lasts --------------------------------------------------------------------

    def attempt_failed(self, verdict: Verdict, situation: Situation, now: float) -> None:
        """Note a failed attempt that is followed by another."""
        self.in_trouble = True
        self._failures += 1
        self._tell_untold_orders(now)
        if verdict.is_page:
            self._tell_page(verdict, now)
        if verdict.kind is VerdictKind.THROTTLED:
            phase = self._throttling.occurred(now)
            if phase is not None:
                self._tell_throttling(phase, verdict, situation)
        elif self._failures >= _FAILURES_OF_AN_OUTAGE or self._outage.began_at is not None:
            phase = self._outage.occurred(now)
            if phase is not None:
                self._tell_outage(phase, verdict, situation, now)

    def answered(self, situation: Situation, now: float) -> None:
        """Note that the API answered: an outage is over."""
        self._failures = 0
        lasted = self._outage.end(now)
        if lasted is not None:
            self._warn(
                f"{self._destination} answers again after {_span(lasted)}; "
                f"{_events(situation.waiting)} being delivered",
                situation,
            )
        if self._throttling.end_if_calm(now) is not None:
            self._warn(f"{self._destination} asks for less no more", situation)
        self._tell_untold_orders(now)
        self._look_again()

    def found_no_room(
        self, consequence: str, why: str | Callable[[], str], waiting: int, now: float
    ) -> None:
        """Note that an event found no room.

        Args:
            consequence: What becomes of such events, one of a few phrases: each has its own lines.
            why: What to look at; asked for only where a line is due.
            waiting: Events that are not settled.
            now: The loop's time.
        """
        self.in_trouble = True
        phase = self._no_room.setdefault(consequence, Episode()).occurred(now)
        if self._is_paused:
            why = "the client is paused: resume() sends them"
        if phase is not None:
            _log.warning(
                "alhena: %s%s, as %s waiting%s: %s",
                consequence,
                " still" if phase is Phase.REMINDER else "",
                _events(waiting),
                self._where,
                why if isinstance(why, str) else why(),
                extra={"alhena_waiting": waiting, "alhena_destination": self._destination},
            )

    def found_room(self, now: float) -> None:
        """Note that an event was accepted while there was trouble."""
        for consequence, episode in self._no_room.items():
            lasted = episode.end_if_calm(now)
            if lasted is not None:
                _log.warning("alhena: there is room again; for %s %s", _span(lasted), consequence)
                self._look_again()

    def _look_again(self) -> None:
        self.in_trouble = (
            bool(self._failures)
            or any(
                one.began_at is not None
                for one in (self._outage, self._throttling, *self._no_room.values())
            )
            or any(orders.untold for orders in self._orders.values())
        )

    def _tell_outage(
        self, phase: Phase, verdict: Verdict, situation: Situation, now: float
    ) -> None:
        out = "out of reach" if verdict.http_status is None else "failing"
        lasted = now - (self._outage.began_at or now)
        since = _clock(lasted) if phase is Phase.BEGINNING else f"{_clock(lasted)}, still"
        self._warn(
            f"{self._destination} is {out} since {since} ({verdict.summary}); "
            f"{self._at_stake(phase, situation)}",
            situation,
            verdict,
        )

    def _tell_throttling(self, phase: Phase, verdict: Verdict, situation: Situation) -> None:
        asks = "asks" if phase is Phase.BEGINNING else "still asks"
        self._warn(
            f"{self._destination} {asks} for fewer requests ({verdict.summary}); "
            f"{self._at_stake(phase, situation)}",
            situation,
            verdict,
        )

    def _tell_page(self, verdict: Verdict, now: float) -> None:
        count, is_due = self._endings.count(("page", verdict.http_status), now)
        if is_due:
            _log.warning(
                "alhena: %s replied HTTP %s with a page that is not the API's (a CDN's, a "
                "firewall's, a proxy's?): the event is tried again; if it goes on, check the "
                "region or the base URL; %d so far",
                self._destination,
                verdict.http_status,
                count,
                extra={
                    "alhena_status": verdict.http_status,
                    "alhena_destination": self._destination,
                    "alhena_count": count,
                },
            )

    def _at_stake(self, phase: Phase, situation: Situation) -> str:
        wait = f"{_events(situation.waiting)} waiting{self._where}"
        if phase is Phase.BEGINNING:
            return f"{wait} to be sent again"
        first = situation.expires_in
        expiry = "" if first == inf else f", the first expires in {_span(first)}"
        age = _span(situation.oldest_age)
        if situation.spilled:
            room = f"{situation.spilled:,} of them on disk alone"
        else:
            room = f"there is room for {situation.room:,} more"
        return f"{wait}, the oldest for {age}{expiry}; {room}"

    # --- endings -------------------------------------------------------------------------------

    def ended_badly(self, outcome: Outcome, endpoint: Endpoint, now: float) -> None:
        """Note an event that ended as its shop would not have it."""
        code = outcome.code if outcome.code in ErrorCode.__members__ else None
        kind = (outcome.status, code, endpoint)
        count, is_due = self._endings.count(kind, now)
        if endpoint is Endpoint.CHECKOUT:
            is_due, count = self._order_is_due(kind, count, now)
        level = logging.WARNING if is_due else logging.DEBUG
        if not _log.isEnabledFor(level):
            return
        what = "an order" if endpoint is Endpoint.CHECKOUT else "a cart event"
        met = [code or "no documented code"] if outcome.http_status is not None else []
        met += [f"HTTP {outcome.http_status}"] if outcome.http_status is not None else []
        met.append(f"{outcome.attempts} attempt{'' if outcome.attempts == 1 else 's'}")
        _log.log(
            level,
            "alhena: %s ended %s (%s): %s; %d so far%s",
            what,
            outcome.status.value.upper(),
            ", ".join(met),
            self._cure(outcome.status, code),
            count,
            self._letters_hint(outcome.status),
            extra={
                "alhena_outcome": outcome.status.value,
                "alhena_status": outcome.http_status,
                "alhena_code": code,
                "alhena_endpoint": str(endpoint),
                "alhena_count": count,
            },
        )

    def _cure(self, status: OutcomeStatus, code: str | None) -> str:
        if self._is_paused and status is OutcomeStatus.EXPIRED:
            return "the client is paused, and nothing is sent until resume()"
        return _CURES.get(code) or _CURES.get(status, "see Outcome.detail")

    def _order_is_due(self, kind: object, count: int, now: float) -> tuple[bool, int]:
        """Return whether an order's bad ending is logged, and the count to log.

        The first of its kind is, then at most one a minute.
        """
        orders = self._orders.get(kind)
        if count == 1:
            self._tell_untold_orders(now)
        if orders is None or count == 1:
            self._orders[kind] = _Orders(told_at=now)
            return True, count
        if now - orders.told_at < _ORDERS_EVERY:
            orders.untold += 1
            self.in_trouble = True  # should no other follow, the next attempt tells of them
            return False, count
        orders.told_at, orders.untold = now, 0
        return True, count

    # --- beginning and end ---------------------------------------------------------------------

    def took_over(self, events: int) -> None:
        """Log how many events of earlier processes the start found."""
        if events:
            _log.info(
                "alhena: taken over from earlier processes: %s%s, delivered from now on",
                _plain(events),
                self._where,
                extra={"alhena_waiting": events},
            )

    def paused(self, waiting: int, now: float | None) -> None:
        """Log that nothing is sent from now on; before the start there is no `now`."""
        self._is_paused, self._paused_at = True, now
        _log.warning(
            "alhena: paused: events are accepted, and none is sent to %s until resume(); %s "
            "waiting%s",
            self._destination,
            _events(waiting),
            self._where,
            extra={"alhena_waiting": waiting, "alhena_destination": self._destination},
        )

    def resumed(self, waiting: int, now: float | None) -> None:
        """Log that it goes on."""
        began, self._paused_at, self._is_paused = self._paused_at, None, False
        _log.warning(
            "alhena: resumed%s: %s being delivered to %s",
            "" if began is None or now is None else f" after {_span(now - began)}",
            _events(waiting),
            self._destination,
            extra={"alhena_waiting": waiting, "alhena_destination": self._destination},
        )

    def closed(self, *, kept: int, abandoned: int) -> None:
        """Log how many events the closed client did not deliver."""
        self._tell_untold_orders(inf)
        if kept:
            _log.info(
                "alhena: %s undelivered when the client closed, and kept%s: %s delivers them",
                _were(kept),
                self._where,
                self._keeper,
                extra={"alhena_kept": kept},
            )
        if abandoned:
            _log.warning(
                "alhena: %s undelivered when the client closed, and gone: %s; a journal keeps "
                "them, as long as its disk takes them",
                _were(abandoned),
                self._why_abandoned(),
                extra={"alhena_abandoned": abandoned},
            )

    def _why_abandoned(self) -> str:
        if self._is_paused:
            return "it was paused; resume() before close() delivers them"
        return (
            f"was {self._destination} out of reach? A longer timeout of close (drain_timeout), "
            "within the server's grace period, gives them more time"
        )

    def forgotten(self, *, kept: int, lost: int) -> None:
        """Log, once, that nobody closed the client before the process or its event loop ended."""
        if self._was_forgotten or not (kept or lost):
            return  # where nothing is lost, a ResourceWarning says it
        self._was_forgotten = True
        also = f" ({_plain(kept)} kept{self._where} for the next start)" if kept else ""
        _log.error(
            "alhena: the client was never closed: %s lost%s. Use `async with AlhenaClient(...)`, "
            "or `await client.close()` before the event loop ends",
            _were(lost),
            also,
            extra={"alhena_abandoned": lost, "alhena_kept": kept},
        )

    def _tell_untold_orders(self, now: float) -> None:
        """Log how many orders had no line of their own, where the last line is a minute old."""
        untold = 0
        for orders in self._orders.values():
            if orders.untold and now - orders.told_at >= _ORDERS_EVERY:
                untold += orders.untold
                orders.told_at, orders.untold = now, 0
        if untold:
            _log.warning(
                "alhena: %d more orders ended badly since the last line on each kind; their "
                "receipts%s tell which",
                untold,
                " and dead letters" if self._kept_in else "",
                extra={"alhena_count": untold},
            )

    def _letters_hint(self, status: OutcomeStatus) -> str:
        if not self._kept_in or status is OutcomeStatus.ABANDONED:
            return ""
        return f"; to see and to send again: alhena dead-letters list {self._kept_in}"

    def _warn(self, text: str, situation: Situation, verdict: Verdict | None = None) -> None:
        extra: dict[str, Any] = {
            "alhena_waiting": situation.waiting,
            "alhena_oldest_age": situation.oldest_age,
            "alhena_room": situation.room,
            "alhena_destination": self._destination,
        }
        if verdict is not None:
            extra["alhena_status"] = verdict.http_status
        _log.warning("alhena: %s", text, extra=extra)


_CURES: Final[Mapping[str | None, str]] = {
    ErrorCode.COMPANY_NOT_FOUND: "check the company key, and the region",
    ErrorCode.MISSING_REQUIRED_FIELDS: "the API wants a field that this version does not send",
    ErrorCode.PREVIOUS_ITEM_ADDED_EVENT_NOT_FOUND: (
        "it changes a product that was never added as far as the API knows: "
        "report the addition first, and in one lane"
    ),
    ErrorCode.PREVIOUS_QUANTITY_INCREASED_EVENT_NOT_FOUND: (
        "it decreases a quantity that was never increased as far as the API knows"
    ),
    OutcomeStatus.REJECTED: "the API refused it for good",
    OutcomeStatus.EXPIRED: "the API could not be brought to answer in time",
    OutcomeStatus.UNKNOWN: "look it up before it is sent again: it may have been recorded",
    OutcomeStatus.ABANDONED: "give close more time, or the client a journal",
}
"""What to do, by code where there is one, by status otherwise."""


def _plain(count: int) -> str:
    return f"{count:,} event" if count == 1 else f"{count:,} events"


def _were(count: int) -> str:
    return f"{_plain(count)} {'was' if count == 1 else 'were'}"


def _events(count: int) -> str:
    return f"{_plain(count)} {'is' if count == 1 else 'are'}"


def _clock(seconds_ago: float) -> str:
    """Return the time of day that many seconds ago: 23:57."""
    then = dt.datetime.now(dt.UTC).astimezone() - dt.timedelta(seconds=seconds_ago)
    return f"{then:%H:%M}"


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7_200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.0f} h"
