"""A waiting event and its receipt, in one slotted object that is settled exactly once.

What the disk alone has is no object at all; whoever holds its receipt has a `SpilledReceipt`.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import itertools
from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs

from alhena_async._telemetry.telemetry import news_is_pending
from alhena_async.events import CartEvent, CheckoutEvent, Event
from alhena_async.journal.protocol import SendMark
from alhena_async.outcomes import Outcome, OutcomeStatus
from alhena_async.policies import RetryPolicy, check_plain

if TYPE_CHECKING:
    from alhena_async._queue.flush import FlushGeneration
    from alhena_async._queue.lane import Lane
    from alhena_async._replies import Verdict
    from alhena_async._telemetry.telemetry import Captured

__all__ = [
    "MOVES",
    "Details",
    "Envelope",
    "EnvelopeState",
    "Folds",
    "JournaledEnvelope",
    "Receipt",
    "SpilledReceipt",
    "may_repeat",
]


class EnvelopeState(enum.Enum):
    """Where an envelope stands; `MOVES` says what may follow what.

    Never from IN_FLIGHT to WAITING: a retry keeps its place, ahead of all that wait. Never from
    FOLDED back: what speaks for it was perhaps sent. To HELD only before any attempt: older rows
    of its lane have turned up. Never from HELD to WAITING: it has lingered for long enough.
    """

    HELD = "held"
    """Older rows of its lane may still be on disk alone; it enters the lane after them."""
    WAITING = "waiting"
    """It stands in its lane, and lingers."""
    DUE = "due"
    """It stands in its lane, and its linger is over, or it is urgent."""
    FOLDED = "folded"
    """Another waiting event of its lane stands for it."""
    IN_FLIGHT = "in flight"
    """It was its lane's head, and was taken for its attempts."""
    SETTLED = "settled"
    """It has an outcome."""


MOVES: Final[Mapping[EnvelopeState, frozenset[EnvelopeState]]] = {
    EnvelopeState.HELD: frozenset({EnvelopeState.DUE, EnvelopeState.SETTLED}),
    EnvelopeState.WAITING: frozenset(
        {
            EnvelopeState.DUE,
            EnvelopeState.FOLDED,
            EnvelopeState.HELD,
            EnvelopeState.IN_FLIGHT,
            EnvelopeState.SETTLED,
        }
    ),
    EnvelopeState.DUE: frozenset(
        {
            EnvelopeState.FOLDED,
            EnvelopeState.HELD,
            EnvelopeState.IN_FLIGHT,
            EnvelopeState.SETTLED,
        }
    ),
    EnvelopeState.FOLDED: frozenset({EnvelopeState.SETTLED}),
    EnvelopeState.IN_FLIGHT: frozenset({EnvelopeState.SETTLED}),
    EnvelopeState.SETTLED: frozenset(),
}


# Python 3.11 looks an enum's member up through its metaclass, which takes its time: places that
# every event passes know theirs.
_WAITING: Final = EnvelopeState.WAITING

_SETTLED: Final = EnvelopeState.SETTLED

_NO_MARK: Final = SendMark.NONE


class Folds:
    """Events folded into one, mostly in the order they came; shared by all of them."""

    __slots__ = ("members", "survivor")

    def __init__(self, survivor: Envelope) -> None:
        self.survivor = survivor
        self.members: list[Envelope] = []


class Details:
    """What only some envelopes need to remember; made when first needed."""

    __slots__ = (
        "ambiguous", "attempts", "captured", "folds", "id", "identity", "last_verdict", "order_id",
        "pinned", "precondition_tries", "replayed", "result", "send_mark", "was_repeated",
    )  # fmt: skip

    identity: str | None
    """What a broker knows it by, whichever process hands it over: found in the journal, or made
    with its first attempt there. Unset before, as nobody else asks for it."""

    captured: Captured
    """What observers keep with the event; unset where they keep nothing."""

    def __init__(self) -> None:
        self.result: Any = None
        """As `Receipt._result`."""
        self.id: int | None = None
        self.order_id: str | None = None
        """The order id that is sent: the caller's or the assigned one."""
        self.pinned = False
        """Never folded away: somebody waits for this very event, or it was on its own before."""
        self.folds: Folds | None = None
        self.attempts = 0
        self.ambiguous = False
        self.last_verdict: Verdict | None = None
        """What the last attempt met."""
        self.precondition_tries = 0
        self.replayed = False
        """Accepted by an earlier process, and paged in from its journal."""
        self.send_mark = _NO_MARK
        """Of one that may not be repeated: what the journal knows, as far as we know."""
        self.was_repeated = False
        """An attempt was sent twice: an order that exists is this one."""


_NO_DETAILS: Final = Details()

_ids = itertools.count(1)


class Receipt:
    """Stands for an accepted event until its outcome is known, and tells it then.

    `await receipt` returns the `Outcome`, whatever it is: it never raises for a refused event.
    Cancelling the awaiter cancels nothing but its waiting. Any number may await it.
    """

    __slots__ = ("accepted_at", "event")

    event: Event
    """The event, as it is to be sent: folding may have changed it since it was accepted."""
    accepted_at: float
    """When it was accepted, by the event loop's clock, in seconds: to the millisecond."""
    _result: Any
    """None, then a list of those who wait (futures and callbacks), in the end the outcome."""

    @property
    def id(self) -> str:
        """A short name for this event, unique in this process; `Outcome.detail` uses it."""
        return f"{self._number():x}"

    @property
    def outcome(self) -> Outcome | None:
        """The outcome, or None while there is none."""
        return self._result if self.done() else None

    def done(self) -> bool:
        """Return whether the event is settled."""
        return self._result.__class__ is Outcome

    def add_done_callback(self, callback: Callable[[Receipt], object]) -> None:
        """Call `callback(receipt)` on the event loop, soon after the event is settled.

        Raises:
            TypeError: It is a coroutine function, which nobody would await.
        """
        check_plain("the callback", callback)
        if self.done():
            asyncio.get_running_loop().call_soon(callback, self)
        else:
            self._wait_with(callback)

    def __await__(self) -> Generator[Any, None, Outcome]:
        if not self.done():
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._wait_with(waiter)
            try:
                yield from waiter
            except BaseException:
                if isinstance(self._result, list):
                    self._stop_waiting(waiter)
                raise
        elif news_is_pending():
            yield  # a turn of the loop, in which observers hear first
        outcome: Outcome = self._result
        return outcome

    def __repr__(self) -> str:
        state = self._result.status.value if self.done() else "unsettled"
        return f"<Receipt {self.id} {state}>"

    def _number(self) -> int:
        raise NotImplementedError  # every receipt is an envelope, or stands for one

    def _wait_with(self, waiter: Any) -> None:
        if self._result is None:
            self._result = []
        self._result.append(waiter)

    def _stop_waiting(self, waiter: Any) -> None:
        self._result.remove(waiter)

    def _wake(self, waiters: list[Any], outcome: Outcome) -> None:
        for waiter in waiters:
            if isinstance(waiter, asyncio.Future):
                _wake(waiter)
            elif isinstance(waiter, SpilledReceipt):
                waiter.settle(outcome)
            else:
                asyncio.get_running_loop().call_soon(waiter, self)


class _OpenOutcome:
    """An outcome while its fields are set: in a frozen class each takes a call.

    Whoever has set all of them makes it an `Outcome`, by its `__class__`.
    """

    __slots__ = tuple(field.name for field in attrs.fields(Outcome))


class Envelope(Receipt):
    """The engine's side of a receipt: its place in its lane and among all events by age.

    Args:
        event: What is to be sent.
        accepted_at: The loop's time.
        lane: Its lane, whether it stands in it by now or not.
        generation: Which flush waits for it.
        state: WAITING, DUE or HELD.
    """

    __slots__ = (
        "_details", "generation", "lane", "newer", "next", "older", "previous", "state",
    )  # fmt: skip

    row_id: int | None = None
    """Its row in the journal; None without one."""

    def __init__(
        self,
        event: Event,
        accepted_at: float,
        lane: Lane,
        generation: FlushGeneration,
        state: EnvelopeState = _WAITING,
    ) -> None:
        self.event = event
        self.accepted_at = accepted_at
        self._details: Details | None = None
        self.state = state
        self.lane = lane
        self.generation = generation
        self.previous: Envelope | None = None
        self.next: Envelope | None = None
        self.older: Envelope | None = None
        self.newer: Envelope | None = None

    def details(self) -> Details:
        """Return what is to be remembered of this envelope, made now if there was nothing."""
        if self._details is None:
            self._details = Details()
        return self._details

    @property
    def _result(self) -> Any:
        return None if self._details is None else self._details.result

    @_result.setter
    def _result(self, result: Any) -> None:
        self.details().result = result

    @property
    def is_cart(self) -> bool:
        """Whether the event is a cart event (otherwise a checkout)."""
        return self.event.__class__ is CartEvent

    @property
    def cart(self) -> CartEvent:
        """The event of one that is known to be a cart event."""
        return self.event  # type: ignore[return-value]

    @property
    def checkout(self) -> CheckoutEvent:
        """The event of one that is known to be a checkout."""
        return self.event  # type: ignore[return-value]

    @property
    def folds(self) -> Folds | None:
        """Whom it is folded with, if anyone."""
        return self._details.folds if self._details else None

    @property
    def order_id(self) -> str | None:
        """The order id that is sent, the caller's or an assigned one."""
        return self._details.order_id if self._details else None

    @property
    def last_verdict(self) -> Verdict | None:
        """What its last attempt met, if there was one."""
        return self._details.last_verdict if self._details else None

    @property
    def send_mark(self) -> SendMark:
        """What the journal knows of its sending; NONE if that does not matter."""
        return self._details.send_mark if self._details else _NO_MARK

    @property
    def is_pinned(self) -> bool:
        """Whether it is never folded away."""
        return self._details is not None and self._details.pinned

    @property
    def is_ambiguous(self) -> bool:
        """Whether an attempt was perhaps recorded, without a reply that says so."""
        return self._details is not None and self._details.ambiguous

    @property
    def is_replayed(self) -> bool:
        """Whether an earlier process accepted it."""
        return self._details is not None and self._details.replayed

    @property
    def waits(self) -> bool:
        """Whether it stands in its lane, untouched by any attempt and not folded."""
        return self.state is EnvelopeState.WAITING or self.state is EnvelopeState.DUE

    def precedes(self, moment: float) -> bool:
        """Return whether it stays ahead of a dead process's row that was accepted at a moment.

        In the same moment, the dead come first.
        """
        return self.accepted_at < moment or (self.accepted_at == moment and self.is_replayed)

    @property
    def settled_outcome(self) -> Outcome:
        """The outcome of one that is settled."""
        outcome = self.outcome
        assert outcome is not None  # noqa: S101  settled
        return outcome

    @property
    def group(self) -> list[Envelope]:
        """Itself, and those that were folded into it."""
        folds = self.folds
        return [self, *folds.members] if folds and folds.survivor is self else [self]

    def captured(self) -> list[Captured]:
        """Return what observers keep with it, and with those that were folded into it."""
        details = [one._details for one in self.group]  # noqa: SLF001  of its own kind
        return [one.captured for one in details if one and hasattr(one, "captured")]

    def may_repeat(self, policy: RetryPolicy) -> bool:
        """Return whether it may be sent again after an attempt that was perhaps recorded."""
        return may_repeat(self.event, self.order_id, policy)

    def stand_for(self, receipt: SpilledReceipt) -> None:
        """Be the envelope of a receipt whose event has been on disk alone, and settle it too."""
        details = self.details()
        details.id = receipt._number()  # noqa: SLF001  they share it
        details.pinned = receipt.pinned
        self._wait_with(receipt)
        receipt.paged_in(self)

    def outcome_as(
        self,
        status: OutcomeStatus,
        now: float,
        detail: str | None = None,
    ) -> Outcome:
        """Return the outcome with a status, and with what is known of its attempts."""
        details = self._details or _NO_DETAILS
        last = details.last_verdict
        outcome: Any = _OpenOutcome()
        outcome.status = status
        outcome.event = self.event
        outcome.code = last.code if last else None
        outcome.http_status = last.http_status if last else None
        outcome.attempts = details.attempts
        outcome.elapsed = now - self.accepted_at
        outcome.ambiguous = details.ambiguous
        outcome.detail = detail
        outcome.survivor = None
        outcome.__class__ = Outcome
        return outcome  # type: ignore[no-any-return]

    def settle(self, outcome: Outcome) -> None:
        """Set the outcome and wake all who wait for it.

        Raises:
            RuntimeError: It is settled already; an event has one outcome.
        """
        if self.state is _SETTLED:
            raise RuntimeError(f"{self!r} was settled twice")
        details = self.details()
        waiters, details.result = details.result, outcome
        self.state = _SETTLED
        if waiters:
            self._wake(waiters, outcome)

    def _number(self) -> int:
        details = self.details()
        if details.id is None:
            details.id = next(_ids)
        return details.id


class JournaledEnvelope(Envelope):
    """One that a journal may have a row of: without one, none has a place for it."""

    __slots__ = ("row_id",)

    def __init__(self, *facts: Any) -> None:
        super().__init__(*facts)
        self.row_id: int | None = None


class SpilledReceipt(Receipt):
    """The receipt of an event that the disk alone has; it costs nothing once nobody holds it.

    Args:
        event: What was accepted.
        accepted_at: The loop's time.
        row_id: Its row in the journal.
        pinned: Never folded away: somebody waits for this very event.
        awaited: Receipts that somebody waits for, who perhaps holds nothing but the waiting: they
            are held in there until they are settled, or nobody waits any more.
    """

    __slots__ = (
        "__weakref__", "_awaited", "_id", "_result", "envelope", "on_settled", "pinned", "row_id",
    )  # fmt: skip

    def __init__(
        self,
        event: Event,
        accepted_at: float,
        row_id: int,
        *,
        pinned: bool,
        awaited: set[SpilledReceipt],
    ) -> None:
        self.event = event
        self.accepted_at = accepted_at
        self.row_id = row_id
        self.pinned = pinned
        self.envelope: Envelope | None = None
        """What stands in memory for it, once it was paged in and until it is settled."""
        self.on_settled: Callable[[Outcome], object] | None = None
        """Called soon after it is settled, and no reason to hold it; of who holds it himself."""
        self._result = None
        self._id = next(_ids)
        self._awaited = awaited

    def paged_in(self, envelope: Envelope) -> None:
        """Hear of the envelope, which holds this receipt from now on."""
        self.envelope = envelope
        self._awaited.discard(self)

    def settle(self, outcome: Outcome) -> None:
        """Set the outcome and wake all who wait for it."""
        waiters, self._result = self._result, outcome
        self.event = outcome.event
        self.envelope = None
        self._awaited.discard(self)
        if waiters:
            self._wake(waiters, outcome)
        if self.on_settled is not None:
            asyncio.get_running_loop().call_soon(self.on_settled, outcome)

    def hold(self) -> None:
        """Be held until settled, as if somebody waited. For any thread."""
        self._awaited.add(self)
        if self.done():
            self._awaited.discard(self)

    def _wait_with(self, waiter: Any) -> None:
        super()._wait_with(waiter)
        if self.envelope is None:
            self._awaited.add(self)

    def _stop_waiting(self, waiter: Any) -> None:
        super()._stop_waiting(waiter)
        if not self._result:
            self._awaited.discard(self)

    def _number(self) -> int:
        return self._id


def may_repeat(event: Event, order_id: str | None, policy: RetryPolicy) -> bool:
    """Return whether an event may be sent again after an attempt that was perhaps recorded.

    Args:
        event: What is sent.
        order_id: What is sent as a checkout's order id.
        policy: Says it of carts.
    """
    if event.__class__ is CartEvent:
        return policy.retry_ambiguous_carts
    return order_id is not None


def _wake(waiter: asyncio.Future[None]) -> None:
    """Wake an awaiter, which may live on the loop of another thread."""
    loop = waiter.get_loop()
    if loop is asyncio.get_running_loop():
        _resolve(waiter)
    else:
        with contextlib.suppress(RuntimeError):  # that loop is closed: nobody waits
            loop.call_soon_threadsafe(_resolve, waiter)


def _resolve(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
