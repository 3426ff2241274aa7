"""The ways in: at once, with room, on disk, from another thread; one event or a stream of them.

Each prepares its event, finds room for it, and lets the queue accept it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import weakref
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable
from functools import partial
from typing import Any, Final, TypeVar

from alhena_async._delivery.lifecycle import Lifecycle
from alhena_async._delivery.preparation import EventPreparer
from alhena_async._queue.envelope import Envelope, Receipt, SpilledReceipt
from alhena_async._queue.journal_gateway import JournalGateway
from alhena_async._queue.lane import Lane, never_queued
from alhena_async._queue.queue import EventQueue
from alhena_async._telemetry.telemetry import Captured, Telemetry
from alhena_async.errors import (
    AlhenaTimeoutError,
    ClientClosedError,
    InvalidEventError,
    QueueFullError,
)
from alhena_async.events import CartEvent, CheckoutEvent, Event
from alhena_async.outcomes import InvalidEvent, Outcome, OutcomeStatus
from alhena_async.policies import Overflow, check_plain

__all__ = [
    "CapturingSubmitter",
    "OutcomeFuture",
    "Row",
    "Submitter",
    "outcome_of",
    "record",
    "record_all",
]

_FULL: Final = "is Alhena out of reach, or QueuePolicy.capacity too small?"

_MOSTLY_ONE: Final = f"{_FULL} Most of it is one visitor: see QueuePolicy.lane_capacity."

_LANE_FULL: Final = "its lane is full: is it a script, or QueuePolicy.lane_capacity too small?"


class OutcomeFuture(concurrent.futures.Future[Outcome]):
    """What another thread waits with.

    Of an event that the disk alone has it holds the receipt, and nobody holds it but who waits:
    one that is thrown away, as most are, costs nothing. One with callbacks is held for them.
    """

    def __init__(self) -> None:
        super().__init__()
        self._receipt: SpilledReceipt | None = None
        self._has_callbacks = False

    def follow(self, receipt: SpilledReceipt) -> None:
        """Have this receipt's outcome in the end."""
        self._receipt = receipt
        receipt.on_settled = partial(_resolve, weakref.ref(self))
        if self._has_callbacks:
            self._be_held(receipt)

    def add_done_callback(self, fn: Callable[[concurrent.futures.Future[Outcome]], object]) -> None:
        """See `concurrent.futures.Future.add_done_callback`."""
        super().add_done_callback(fn)
        self._has_callbacks = True
        if self._receipt is not None:
            self._be_held(self._receipt)

    def _be_held(self, receipt: SpilledReceipt) -> None:
        receipt.on_settled = self.set_result
        receipt.hold()


def _resolve(future: weakref.ref[OutcomeFuture], outcome: Outcome) -> None:
    waiting = future()
    if waiting is not None:
        waiting.set_result(outcome)


Accepted = Envelope | SpilledReceipt
"""What stands for an accepted event: itself as it waits in memory, or its receipt."""


class Submitter:
    """Lets events into the queue.

    Args:
        lifecycle: Says whether the call comes at the right time and place.
        preparer: What is sent of an event, and whether it is sent at all.
        queue: Where it goes.
        telemetry: Is told of every event that is accepted.
        overflow: What becomes of an event that finds no room and does not wait.
        journal: Where accepted events are kept; None keeps them in memory only.
    """

    def __init__(
        self,
        *,
        lifecycle: Lifecycle,
        preparer: EventPreparer,
        queue: EventQueue,
        telemetry: Telemetry,
        overflow: Overflow,
        journal: JournalGateway | None,
    ) -> None:
        self._lifecycle = lifecycle
        self._preparer = preparer
        self._queue = queue
        self._admission = queue.admission
        self._telemetry = telemetry
        self._overflow = overflow
        self._journal = journal

    def submit_nowait(self, event: Event, company_key: str | None) -> Accepted:
        """Accept at once, or do what the overflow policy says."""
        loop = self._lifecycle.check_running()
        if company_key is None and event.__class__ is CartEvent and self._preparer.passes_carts:
            envelope = self._queue.accept_at_once(event, loop.time())
            return envelope or self._submit(event, None, None, loop)
        prepared = self._preparer.prepare(event, company_key)
        if prepared.dropped is not None:
            return self._drop(prepared.event, prepared.dropped, prepared.warn_dropped)
        return self._submit(prepared.event, company_key, prepared.order_id, loop)

    def _submit(
        self,
        event: Event,
        company_key: str | None,
        order_id: str | None,
        loop: asyncio.AbstractEventLoop,
    ) -> Accepted:
        lane = self._queue.lane_of(event, company_key)
        if not self._admission.try_acquire(lane, event):
            instead = self._spill(event, lane, order_id, pinned=False) or self._make_room(
                event, lane, order_id, loop.time()
            )
            if instead is not None:
                return instead
        self._telemetry.accepted(event)
        return self._queue.accept(event, lane, order_id=order_id, pinned=False, now=loop.time())

    def _make_room(
        self, event: Event, lane: Lane, order_id: str | None, now: float
    ) -> Envelope | None:
        """Do what the overflow policy says; return the event's receipt if it was dropped for it.

        Raises:
            QueueFullError: There is no room, and none was made.
        """
        is_lane = self._admission.is_full(lane)
        sheds = self._overflow is Overflow.SHED and not self._queue.spilled
        if sheds and self._queue.shed(lane, event, now):
            self._tell_of_no_room(lane, "events are dropped")
            return None
        if self._overflow is Overflow.DROP:
            self._tell_of_no_room(lane, "events are dropped")
            what = "no room in the visitor's lane" if is_lane else "no room"
            envelope = self._drop(event, f"{what}: the overflow policy drops")
            self._queue.record_drop(envelope.settled_outcome, lane, order_id)
            self._queue.scheduler.forget(lane)
            return envelope
        self._tell_of_no_room(lane, "events are refused")
        self._queue.scheduler.forget(lane)
        if is_lane:
            raise QueueFullError(self._admission.lane_capacity, lane=True)
        admission = self._admission
        reserved = admission.reserve if event.__class__ is CartEvent else 0
        raise QueueFullError(admission.capacity, reserved=reserved, large=admission.large)

    def _spill(
        self,
        event: Event,
        lane: Lane,
        order_id: str | None,
        *,
        pinned: bool,
        ticket: int | None = None,
    ) -> SpilledReceipt | None:
        """Leave an event that found no room to the disk alone, if that may be."""
        if not self._queue.may_spill(lane, ticket):
            return None
        now = asyncio.get_running_loop().time()
        receipt = self._queue.spill(event, lane, order_id=order_id, pinned=pinned, now=now)
        if receipt is not None:
            waiting = self._queue.outstanding + self._queue.unpaged
            self._telemetry.no_room("events go to disk alone", self._why_full, waiting)
            self._telemetry.accepted(event)
        return receipt

    def _tell_of_no_room(self, lane: Lane, consequence: str) -> None:
        waiting = self._queue.outstanding
        if self._admission.is_full(lane):
            self._telemetry.no_room(f"one visitor's {consequence}", _LANE_FULL, waiting)
        else:
            self._telemetry.no_room(consequence, self._why_full, waiting)

    def _why_full(self) -> str:
        return _MOSTLY_ONE if self._queue.is_mostly_one_lane() else _FULL

    async def submit(self, event: Event, company_key: str | None, *, pinned: bool) -> Accepted:
        """Accept as soon as there is room. Cancelled while it waits, it leaves no trace."""
        loop = self._lifecycle.check_running()
        prepared = self._preparer.prepare(event, company_key)
        if prepared.dropped is not None:
            return self._drop(prepared.event, prepared.dropped, prepared.warn_dropped)
        event, order_id = prepared.event, prepared.order_id
        lane = self._queue.lane_of(event, company_key)
        if not self._admission.try_acquire(lane, event):
            spilled = self._spill(event, lane, order_id, pinned=pinned)
            spilled = spilled or await self._wait_for_room(event, lane, order_id, pinned=pinned)
            if spilled is not None:
                return spilled
        self._telemetry.accepted(event)
        return self._queue.accept(event, lane, order_id=order_id, pinned=pinned, now=loop.time())

    async def _wait_for_room(
        self, event: Event, lane: Lane, order_id: str | None, *, pinned: bool
    ) -> SpilledReceipt | None:
        """Take room as soon as there is some, or leave the event to the disk, which has it again.

        Raises:
            ClientClosedError: The client was closed meanwhile.
        """
        self._tell_of_no_room(lane, "events wait for room")
        ticket = self._admission.ticket()
        while True:
            has_room = await self._queue.acquire(lane, event, ticket)
            try:
                self._lifecycle.check_running()
            except BaseException:
                if has_room:
                    self._queue.give_back(lane, event)
                raise
            if has_room:
                return None
            receipt = self._spill(event, lane, order_id, pinned=pinned, ticket=ticket)
            if receipt is not None:
                return receipt

    async def submit_each(
        self, item: Event | InvalidEvent, company_key: str | None
    ) -> Accepted | InvalidEvent:
        """Accept one of many as soon as there is room; one that is no event is counted."""
        if isinstance(item, InvalidEvent):
            self._telemetry.invalid(item.error, f"row {item.number}")
            return item
        return await self.submit(item, company_key, pinned=True)

    async def submit_durably(
        self, event: Event, company_key: str | None, *, timeout: float | None
    ) -> Accepted:
        """Accept as soon as there is room, and return once the event is on disk, if it has one.

        One deadline for both. From the moment there was room, nothing withdraws the event.
        """
        envelope: Accepted | None = None
        try:
            async with asyncio.timeout(timeout):
                envelope = await self.submit(event, company_key, pinned=False)
                if self._journal is not None:
                    await self._journal.committed(envelope)
        except TimeoutError:
            if envelope is None:
                late = f"track: no room within {timeout} s; not accepted"
                raise AlhenaTimeoutError(late, accepted=False) from None
            if not envelope.done():  # otherwise it needs no disk any more
                rest = "the event was accepted and stays queued"
                raise AlhenaTimeoutError(f"track: not on disk within {timeout} s; {rest}") from None
        return envelope

    def submit_threadsafe(
        self,
        event: Event,
        company_key: str | None,
        future: OutcomeFuture,
    ) -> None:
        """Accept on the loop what another thread wants in, and resolve its future in the end."""
        if not future.set_running_or_notify_cancel():
            return
        try:
            receipt = self.submit_nowait(event, company_key)
        except Exception as error:  # noqa: BLE001  the other thread gets it
            if isinstance(error, QueueFullError | ClientClosedError):
                self._telemetry.not_accepted(error, "track_threadsafe")
            future.set_exception(error)
        else:
            if isinstance(receipt, SpilledReceipt):
                future.follow(receipt)
            else:
                receipt.add_done_callback(lambda settled: future.set_result(outcome_of(settled)))

    def refuse_threadsafe(self, future: OutcomeFuture) -> None:
        """Fail the future of another thread at once: the loop that would serve it has stopped."""
        error = ClientClosedError(
            "the client's event loop has stopped, so nothing is accepted: close the client first"
        )
        self._telemetry.not_accepted(error, "track_threadsafe")
        future.set_exception(error)

    def _drop(self, event: Event, reason: str, warn_dropped: str | None = None) -> Envelope:
        """Count an event as accepted and dropped; it needs no room."""
        if warn_dropped is not None:
            self._telemetry.warn_dropped(warn_dropped)
        self._telemetry.accepted(event)
        envelope = never_queued(event, asyncio.get_running_loop().time())
        outcome = Outcome(status=OutcomeStatus.DROPPED, event=event, detail=reason)
        self._telemetry.settled(outcome)
        envelope.settle(outcome)
        return envelope


class CapturingSubmitter(Submitter):
    """Keeps with each event what observers want to know of whoever tracked it.

    A class of its own, as what nobody observes is to cost nothing. What goes to disk alone is kept
    there alone.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._capture = self._telemetry.capturing()

    def submit_nowait(self, event: Event, company_key: str | None) -> Accepted:
        """See `Submitter`."""
        receipt = Submitter.submit_nowait(self, event, company_key)
        captured = self._capture()
        if captured is not None:
            _keep(captured, receipt)
        return receipt

    async def submit(self, event: Event, company_key: str | None, *, pinned: bool) -> Accepted:
        """See `Submitter`."""
        receipt = await super().submit(event, company_key, pinned=pinned)
        captured = self._capture()
        if captured is not None:
            _keep(captured, receipt)
        return receipt


def _keep(captured: Captured, receipt: Accepted) -> None:
    if isinstance(receipt, Envelope) and not receipt.done():
        receipt.details().captured = captured


def outcome_of(receipt: Receipt) -> Outcome:
    """Return the outcome of an event that is settled."""
    outcome = receipt.outcome
    assert outcome is not None  # noqa: S101  called when it is done
    return outcome


_RETURNED_BY_RECORD: Final = frozenset(
    {
        OutcomeStatus.RECORDED,
        OutcomeStatus.PUBLISHED,
        OutcomeStatus.DUPLICATE,
        OutcomeStatus.UNATTRIBUTED,
    }
)


async def record(
    submitter: Submitter, event: Event, *, timeout: float | None, company_key: str | None
) -> Outcome:
    """Deliver one event; see `AlhenaClient.record`."""
    envelope: Accepted | None = None
    try:
        async with asyncio.timeout(timeout):
            envelope = await submitter.submit(event, company_key, pinned=True)
            outcome = await envelope
    except TimeoutError:
        if envelope is None or envelope.outcome is None:
            rest = "no room, not accepted" if envelope is None else _what_waits(envelope)
            late = f"record: no outcome within {timeout} s; {rest}"
            raise AlhenaTimeoutError(late, accepted=envelope is not None) from None
        outcome = await envelope  # settled in the very turn in which the time was over
    finally:
        _unpin(envelope)
    if outcome.status not in _RETURNED_BY_RECORD:
        outcome.raise_for_status()
    return outcome


def _unpin(receipt: Accepted | InvalidEvent | None) -> None:
    """Let an event on disk alone be folded that nobody waits for any more."""
    if isinstance(receipt, SpilledReceipt):
        receipt.pinned = False


def _what_waits(receipt: Accepted) -> str:
    """Say what becomes of an event whose outcome is waited for no longer, and what it met."""
    envelope = receipt if isinstance(receipt, Envelope) else receipt.envelope
    if envelope is None:
        return "the event stays queued, on disk alone, and was not sent yet"
    count, last = envelope.details().attempts, envelope.last_verdict
    if not count:
        return "the event stays queued, and was not sent yet"
    attempts = "1 attempt" if count == 1 else f"{count} attempts"
    met = "" if last is None else f"; the last attempt: {last.summary}"
    return f"the event stays queued after {attempts}{met}"


Row = TypeVar("Row")


async def record_all(
    submitter: Submitter,
    events: Iterable[Any] | AsyncIterable[Any],
    *,
    make: Callable[[Any], Event] | None,
    window: int,
    company_key: str | None,
) -> AsyncIterator[Outcome | InvalidEvent]:
    """Deliver many events; see `AlhenaClient.record_all`."""
    if window < 1:
        raise ValueError("record_all: window must be at least 1")
    if make is not None:
        check_plain("make", make)
    waiting: deque[Accepted | InvalidEvent] = deque()
    failure: Exception | None = None
    source = _each(events) if make is None else _made(_each(events), make)
    try:
        while failure is None:
            try:
                waiting.append(await submitter.submit_each(await anext(source), company_key))
            except StopAsyncIteration:
                break
            except Exception as error:  # noqa: BLE001  raised below, after what came before it
                failure = error
            while waiting and (len(waiting) >= window or _is_done(waiting[0])):
                yield await _result_of(waiting.popleft())
        while waiting:
            yield await _result_of(waiting.popleft())
    finally:
        for item in waiting:
            _unpin(item)
    if failure is not None:
        raise failure


async def _each(events: Iterable[Row] | AsyncIterable[Row]) -> AsyncGenerator[Row]:
    if isinstance(events, AsyncIterable):
        async for event in events:
            yield event
    else:
        for event in events:
            yield event


async def _made(
    rows: AsyncIterable[Row], make: Callable[[Row], Event]
) -> AsyncGenerator[Event | InvalidEvent]:
    number = 0
    async for row in rows:
        number += 1
        try:
            event: object = make(row)
        except InvalidEventError as error:
            yield InvalidEvent(number=number, error=error)
        except Exception as error:  # noqa: BLE001  one bad row must not end an import
            yield _no_event(number, row, type(error).__name__, error)
        else:
            if isinstance(event, CartEvent | CheckoutEvent):
                yield event
            else:
                yield _no_event(number, row, f"make returned {type(event).__name__}")


def _no_event(number: int, row: object, why: str, cause: Exception | None = None) -> InvalidEvent:
    rule = f"makes no event: {why}"
    error = InvalidEventError("row", rule, type(row).__name__, subject="record_all")
    error.__cause__ = cause
    return InvalidEvent(number=number, error=error)


def _is_done(item: Accepted | InvalidEvent) -> bool:
    return isinstance(item, InvalidEvent) or item.done()


async def _result_of(item: Accepted | InvalidEvent) -> Outcome | InvalidEvent:
    return item if isinstance(item, InvalidEvent) else await item
