"""What a client tells of itself: a snapshot on request, and events to whoever watches."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs

from alhena_async.errors import AlhenaError, InvalidEventError
from alhena_async.events import Event
from alhena_async.outcomes import Outcome, OutcomeStatus
from alhena_async.transports import Endpoint, Wire

__all__ = [
    "BreakerState",
    "Health",
    "Instrument",
    "JournalLevels",
    "Observer",
    "Snapshot",
    "Stats",
]


class BreakerState(enum.StrEnum):
    """What an endpoint's breaker lets through; `MOVES` has the ways from one to another.

    closed -> open: so many failures in a row that the endpoint is down (see `BreakerPolicy`).
    open -> half_open: its time is over; one probe may go.
    half_open -> closed: the probe met the API; then one request more at once with each success.
    half_open -> open: it did not; twice as long.
    There is no way from open to closed: only a probe shows that the API is back.
    """

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


MOVES: Final[Mapping[BreakerState, frozenset[BreakerState]]] = {
    BreakerState.CLOSED: frozenset({BreakerState.OPEN}),
    BreakerState.OPEN: frozenset({BreakerState.HALF_OPEN}),
    BreakerState.HALF_OPEN: frozenset({BreakerState.CLOSED, BreakerState.OPEN}),
}

SEVERITY: Final[Mapping[BreakerState, int]] = {
    BreakerState.CLOSED: 0,
    BreakerState.HALF_OPEN: 1,
    BreakerState.OPEN: 2,
}


@attrs.frozen(kw_only=True)
class Stats:
    """A snapshot. `accepted + replayed` is all outcomes, `queued`, `in_flight` and `spilled`.

    Counts begin at 0 when the client is made.

    Attributes:
        accepted: Events let in, those that were dropped at once included.
        replayed: Events taken in from the journals of earlier processes.
        recorded: Events that ended `RECORDED`.
        published: Events that ended `PUBLISHED`.
        duplicate: Events that ended `DUPLICATE`.
        coalesced: Events that ended `COALESCED`.
        unattributed: Events that ended `UNATTRIBUTED`.
        rejected: Events that ended `REJECTED`.
        expired: Events that ended `EXPIRED`.
        unknown: Events that ended `UNKNOWN`.
        dropped: Events that ended `DROPPED`.
        kept: Events that ended `KEPT`.
        abandoned: Events that ended `ABANDONED`.
        queued: Events that wait, those folded into a waiting or travelling one included.
        in_flight: Events taken and unresolved: on the wire or in backoff.
        spilled: Events that this process accepted and left to the journal's disk alone, as memory
            has no room for them; they come back as it has.
        retries: Requests that repeated an earlier one of the same event.
        failed_attempts: Requests without an answer that settles their event: no connection, a
            timeout, a 5xx, a 429. What is tried again for them counts in `retries` once it is sent.
        requests: Requests made.
        invalid: Events that were refused where they were to be built, as `reporting` or
            `record_all` caught it. They never became events: the sum above is without them.
        not_accepted: Events that found no room (in time) or a closed client, as `reporting` caught
            it, or as the future of `track_threadsafe` has it. The sum above is without them.
        cart_breaker: The breaker of the cart endpoint. Default `BreakerState.CLOSED`.
        checkout_breaker: The breaker of the checkout endpoint. Default `BreakerState.CLOSED`.
        oldest_age: Seconds since the oldest unsettled event was accepted; 0 when there is none.
        paused: Whether nothing is sent until `resume`. Default False.
        wire: How requests travel: `"short"` over aiohttp's connections, or `"session"` through its
            session, which takes more CPU: behind a proxy, over a connector of its own kind, under a
            tracer or a mock, with an aiohttp newer than this version knows. Of several clients
            together, the costlier one. Default None: not started, or another transport.
    """

    accepted: int = 0
    replayed: int = 0
    recorded: int = 0
    published: int = 0
    duplicate: int = 0
    coalesced: int = 0
    unattributed: int = 0
    rejected: int = 0
    expired: int = 0
    unknown: int = 0
    dropped: int = 0
    kept: int = 0
    abandoned: int = 0
    queued: int = 0
    in_flight: int = 0
    spilled: int = 0
    retries: int = 0
    failed_attempts: int = 0
    requests: int = 0
    invalid: int = 0
    not_accepted: int = 0
    cart_breaker: BreakerState = BreakerState.CLOSED
    checkout_breaker: BreakerState = BreakerState.CLOSED
    oldest_age: float = 0.0
    paused: bool = False
    wire: Wire | None = None

    @property
    def breaker(self) -> BreakerState:
        """The worse of the two breakers."""
        return max(self.cart_breaker, self.checkout_breaker, key=SEVERITY.__getitem__)

    def __add__(self, other: Stats) -> Stats:
        """Return the counts of both together: the worse breakers, the older age."""
        both: dict[str, Any] = {
            field.name: getattr(self, field.name) + getattr(other, field.name)
            for field in attrs.fields(Stats)
            if type(getattr(self, field.name)) is int
        }
        return Stats(
            **both,
            cart_breaker=max(self.cart_breaker, other.cart_breaker, key=SEVERITY.__getitem__),
            checkout_breaker=max(
                self.checkout_breaker, other.checkout_breaker, key=SEVERITY.__getitem__
            ),
            oldest_age=max(self.oldest_age, other.oldest_age),
            paused=self.paused or other.paused,
            wire=max(self.wire, other.wire, key=_WIRES.index),
        )


_WIRES: Final[tuple[Wire | None, ...]] = (None, "short", "session")


@attrs.frozen(kw_only=True)
class Health:
    """What an orchestrator asks: should this process be given work, and does it live?

    Attributes:
        ready: It was started, is not being closed, has room for an event, and the API answers.
        alive: Its event loop runs, its dispatcher has not failed, and the journal's thread lives.
            Only a new process mends what is not.
        reason: What is wrong, in a sentence. Default "": nothing.
    """

    ready: bool
    alive: bool
    reason: str = ""


@attrs.frozen(kw_only=True)
class JournalLevels:
    """How full a journal is.

    Attributes:
        rows: Unsettled events that this process keeps in it, those it adopted included.
        bytes: How large this process's file is, its log aside.
        max_bytes: How large it may become.
        dead_letters: What ended badly and is kept, of all processes that share the directory.
        is_writing: Whether the last write succeeded.
        is_alive: Whether its thread lives.
    """

    rows: int
    bytes: int
    max_bytes: int
    dead_letters: int
    is_writing: bool
    is_alive: bool


@attrs.frozen(kw_only=True)
class Snapshot:
    """What the gauges of one client show.

    Attributes:
        stats: The client's own counts; an `outbox` that it delivers has a snapshot of its own.
        capacity: Events that it has room for.
        journal: How full its journal is. Default None: it has none, or not one of ours.
    """

    stats: Stats
    capacity: int
    journal: JournalLevels | None = None


class Observer:
    """Watches a client: subclass it and override what you need.

    A class of another kind will do if it has some of these methods; which, is looked up once, as
    the client is made. Every method is a plain function that runs on the client's event loop,
    between two events: it must return at once. One that raises is logged, and harms nothing. What
    `reporting` catches before the client was started, or when its loop has stopped, is told in the
    caller's thread. What nobody overrides costs nothing.
    """

    def accepted(self, event: Event) -> None:
        """An event was accepted (its outcome may follow at once, as for a dropped one)."""

    def replayed(self, event: Event) -> None:
        """An event that an earlier process left in its journal was taken in again."""

    def attempt(self, event: Event, number: int) -> None:
        """A request begins; `number` counts from 1."""

    def attempt_ended(
        self, event: Event, number: int, seconds: float, status: int | None, reason: str
    ) -> None:
        """A request ended: each that began, once, before anything that follows from it.

        Args:
            event: What was sent.
            number: Which attempt at it, from 1.
            seconds: From its beginning to its reply, or to what came instead.
            status: The reply's HTTP status; None without a reply.
            reason: Why it did not succeed: the API's code, or what went wrong (which may quote a
                reply's body). "" where it did.
        """

    def retry(self, event: Event, delay: float, reason: str) -> None:
        """An attempt failed; the next comes in `delay` seconds at the earliest."""

    def outcome(self, outcome: Outcome) -> None:
        """An event is settled."""

    def invalid(self, error: InvalidEventError) -> None:
        """An event was refused where it was to be built; `error.problems` has fields and rules."""

    def not_accepted(self, error: AlhenaError) -> None:
        """An event was not let in: `QueueFullError`, `ClientClosedError`, `AlhenaTimeoutError`."""

    def breaker_changed(self, endpoint: Endpoint, state: BreakerState) -> None:
        """An endpoint's breaker moved."""

    def journal_committed(self, events: int, seconds: float) -> None:
        """The journal wrote `events` new events to disk (0: only what became of earlier ones).

        Args:
            events: How many came with this commit.
            seconds: How long the disk took.
        """


class Instrument(Observer):
    """An observer that reads levels too, and ties each request to what it was sent for.

    What metrics and traces are made of; see `alhena_async.integrations.opentelemetry`. One may be
    given to several clients.
    """

    captures: bool = False
    """Whether `capture` is called with each event; looked up as the client is made."""

    def started(self, look: Callable[[], Snapshot | None]) -> None:
        """A client begins.

        Args:
            look: Returns how the client fares now, from any thread; None once there is nobody to
                ask, as in a fork of its process.
        """

    def closed(self, look: Callable[[], Snapshot | None]) -> None:
        """A client has ended; `look`, the same as for `started`, is asked for the last time."""

    def ended_on_disk(self, counts: Mapping[OutcomeStatus, int]) -> None:
        """Events ended that are on disk alone: of them, nothing but their number is known."""

    def capture(self) -> object | None:
        """An event was accepted: return what is to be kept with it, None for nothing.

        It takes `captures = True`.
        Called in the frame, and so in the context, of whoever tracks the event. Nothing is kept
        with what goes to disk alone.
        """
        return None

    def attempted(
        self,
        destination: str,
        event: Event,
        number: int,
        seconds: float,
        status: int | None,
        reason: str,
        captured: Sequence[Any],
    ) -> None:
        """A request ended, as in `attempt_ended`.

        Args:
            destination: Where it went: the client's base URL.
            event: What was sent.
            number: Which attempt at it, from 1.
            seconds: How long it took.
            status: The reply's HTTP status; None without a reply.
            reason: Why it did not succeed; "" where it did.
            captured: What `capture` returned for the event, and for all that it stands for.
        """
