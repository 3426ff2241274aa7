"""All that is accepted and not yet settled: into its lane, out of it, and what is due when.

The queue knows no clock and no task: `now` is an argument, every method decides at once, and
whatever a change sets free is settled here. Who sends, and when, is the dispatcher's business: it
hears by `on_ready` that there is something to send, or to wait for.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from math import inf
from operator import attrgetter
from typing import Final

import attrs

from alhena_async._queue.backlog import digest_of
from alhena_async._queue.coalescing import fold_into_later, join_earlier
from alhena_async._queue.deadlines import expiry_detail
from alhena_async._queue.envelope import (
    Envelope,
    EnvelopeState,
    JournaledEnvelope,
    SpilledReceipt,
)
from alhena_async._queue.journal_gateway import JournalGateway
from alhena_async._queue.lane import Lane, LaneState
from alhena_async._queue.merging import MergedRow
from alhena_async._queue.scheduler import LaneScheduler
from alhena_async._queue.settlement import RecentOrders, Settlement
from alhena_async._queue.shedding import ShedOrder
from alhena_async._telemetry.logbook import Situation
from alhena_async._telemetry.telemetry import Telemetry
from alhena_async._wire import lane_digest
from alhena_async.events import CartEvent, Event
from alhena_async.journal import Backlog, Row, SendMark
from alhena_async.outcomes import Outcome, OutcomeStatus
from alhena_async.policies import Coalescing, Overflow, QueuePolicy, RetryPolicy

__all__ = ["EventQueue"]


# As in envelope.py: a member is slow to look up in Python 3.11.
_HELD: Final = EnvelopeState.HELD

_WAITING: Final = EnvelopeState.WAITING

_DUE: Final = EnvelopeState.DUE

_FOLDED: Final = EnvelopeState.FOLDED

_IN_FLIGHT: Final = EnvelopeState.IN_FLIGHT

_IDLE: Final = LaneState.IDLE

_ARRIVED: Final = frozenset({OutcomeStatus.RECORDED, OutcomeStatus.PUBLISHED})

_DUPLICATE: Final = OutcomeStatus.DUPLICATE

_MOMENT: Final = 0.001  # seconds; uvloop's clock shows no shorter ones

_size_of: Final = attrgetter("size")

_SHED: Final = "shed to make room for a younger event"

_LOST: Final = {
    OutcomeStatus.ABANDONED: "the disk alone had it, and it cannot be read any more; see the log"
}

_WAS_SENT: Final = "perhaps sent before its process died, and may not be repeated"


def _ignore(_has_ready: bool, _due: float) -> None:  # noqa: FBT001  as `on_ready` is called
    """Do nothing, as long as there is no dispatcher."""


class EventQueue:
    """Accepts, orders, folds, expires and settles; `scheduler` hands out.

    Args:
        company_key: The client's own; an event may bear another.
        policy: Capacity and linger.
        retry: Delivery timeouts.
        coalescing: Which neighbours fold.
        telemetry: Is told of what is replayed and of every outcome.
        journal: Where accepted events are kept; None keeps them in memory only.
    """

    def __init__(
        self,
        *,
        company_key: str,
        policy: QueuePolicy,
        retry: RetryPolicy,
        coalescing: Coalescing,
        telemetry: Telemetry,
        journal: JournalGateway | None = None,
    ) -> None:
        self.on_ready: Callable[[bool, float], None] = _ignore
        """Called at the end of every change that made a lane ready or something due sooner, or left
        nothing at all: with whether a lane is ready, and when `sweep` has something to do. The
        dispatcher sets it, once."""
        self._company_key = company_key
        self._retry = retry
        self._telemetry = telemetry
        self._coalescing = coalescing
        self._coalesces = coalescing is not Coalescing.OFF
        self._nets = coalescing is Coalescing.NET
        self._lane_capacity = policy.lane_capacity
        self._flush_at = policy.flush_at or inf
        self._lingers = bool(policy.linger)
        self._have_lingering = False
        """Something may linger since all lingers were last ended."""
        self._recorded = RecentOrders()
        self.scheduler = LaneScheduler()
        self._lanes = self.scheduler.lanes
        self.settlement = Settlement(
            policy=policy,
            retry=retry,
            telemetry=telemetry,
            journal=journal,
            scheduler=self.scheduler,
        )
        self.admission = self.settlement.admission
        self.deadlines = self.settlement.deadlines
        self._carts = self.deadlines.carts
        self._flushes = self.settlement.flushes
        self._journal = journal
        self._envelope = Envelope if journal is None else JournaledEnvelope
        self._moment = 0.0
        """When the last event was accepted, to the millisecond: what is accepted within one shares
        the number, which would take a tenth of all memory otherwise."""
        self._backlogs = self.settlement.backlogs
        self._to_recall: deque[Lane] = deque()
        """What waits in them may have to stand behind rows that were adopted since."""
        self._unfinished = self.settlement.unfinished
        self._spill = self.settlement.spill
        sheds = policy.overflow is Overflow.SHED
        self._shed_order = ShedOrder() if sheds else None
        has_short_way = self._lingers and self._coalesces and journal is None and not sheds
        self._linger_below = self._flush_at - 1 if has_short_way else 0
        """With less taken than this, a cart event lingers, and nothing else is to be asked."""
        self._linger_in_lane_below = policy.lane_capacity - 1
        """With less in a lane than this, the next does not fill it."""
        self.scheduler.on_taken = self._on_taken
        self.scheduler.tells_of_all = sheds

    # --- admission -----------------------------------------------------------------------------

    def lane_of(self, event: Event, company_key: str | None) -> Lane:
        """Return the lane of an event, made now if there was none.

        Whoever does not let the event in gives it to `scheduler.forget`.

        Args:
            event: Whose visitor's lane it is.
            company_key: None for the client's own.
        """
        visitor = event.visitor
        key = (visitor.fingerprint, visitor.faq_fingerprint, company_key or self._company_key)
        return self._lanes.get(key) or self._new_lane(key)

    def _new_lane(self, key: tuple[str, str, str]) -> Lane:
        lane = self._lanes[key] = Lane(key)
        return lane

    async def acquire(self, lane: Lane, event: Event, ticket: int | None = None) -> bool:
        """Wait for room in a lane, and take it; else leave no trace.

        Returns:
            False: nothing was taken, and the disk may have room.
        """
        try:
            return await self.admission.acquire(lane, event, ticket)
        except BaseException:
            self.scheduler.forget(lane)
            raise

    def give_back(self, lane: Lane, event: Event) -> None:
        """Give the room back of an event that is not accepted after all."""
        self.admission.release(lane, event)
        self.admission.grant()
        self.scheduler.forget(lane)

    def accept_at_once(self, event: CartEvent, now: float) -> Envelope | None:
        """Take in a cart event for which there is room, and return it: the short way of `accept`.

        It is for the client's own company, and lingers in the end; nobody waits for it.

        Returns:
            None if there is more to ask, and then nothing was done: the long way asks.
        """
        admission = self.admission
        taken = admission.taken
        if not (
            taken < self._linger_below
            and taken < admission.open_below
            and len(event.product_id) + len(event.product_name) <= admission.short
        ):
            return None
        visitor = event.visitor
        key = (visitor.fingerprint, visitor.faq_fingerprint, self._company_key)
        lane = self._lanes.get(key) or self._new_lane(key)
        if lane.size >= self._linger_in_lane_below:
            return None
        lane.size += 1
        admission.taken = taken + 1
        self._telemetry.accepted(event)
        generation = self._flushes.present
        generation.unsettled += 1
        if now - self._moment > _MOMENT:
            self._moment = now
        self._have_lingering = True
        envelope = Envelope(event, self._moment, lane, generation, _WAITING)
        if self._carts.append(envelope):
            self.scheduler.stirred = True
        earlier = lane.neighbour(event.product_id)
        if earlier is None or not self._meet(earlier, envelope, lane, now):
            lane.append(envelope)
        if self.scheduler.stirred:
            self.announce()
        return envelope

    def accept(
        self, event: Event, lane: Lane, *, order_id: str | None, pinned: bool, now: float
    ) -> Envelope:
        """Take in an event that has room (it was taken in `admission`), and return it.

        Args:
            event: What to deliver.
            lane: Its lane.
            order_id: What is sent as a checkout's order id.
            pinned: Somebody waits for it: it lingers not and is never folded away.
            now: The loop's time.
        """
        is_cart = event.__class__ is CartEvent
        # What fills its lane lingers not: the next would be turned away with nothing to do.
        lingers = self._lingers and is_cart and not pinned and lane.size < self._lane_capacity
        if self.admission.taken >= self._flush_at and self.queued >= self._flush_at:
            lingers = False
            if self._have_lingering:
                self._end_lingers()
        self._have_lingering |= lingers
        state = _WAITING if lingers else _DUE
        if self._journal is not None and self._is_blocked(event, lane):
            state, lingers = _HELD, False
        generation = self._flushes.present
        generation.unsettled += 1
        envelope = self._envelope(event, now, lane, generation, state)
        self._moment = now
        if pinned or order_id is not None:
            details = envelope.details()
            details.pinned, details.order_id = pinned, order_id
        if self._journal is not None:
            self._journal.append(envelope, lane.company_key)
        events = self._carts if is_cart else self.deadlines.checkouts
        if events.append(envelope):
            self.scheduler.stirred = True
        if state is _HELD:
            self._hold(envelope)
        else:
            self._enter_lane(envelope, lane, now)
        if self.scheduler.stirred:
            self.announce()
        return envelope

    def announce(self) -> None:
        """Call `on_ready` if anything became ready, or due sooner, or nothing is left."""
        scheduler = self.scheduler
        if scheduler.stirred or not self.admission.taken:
            scheduler.stirred = False
            # Where nothing is left, whoever stands in line has left it.
            has_ready = bool(self.admission.taken) and scheduler.have_ready
            self.on_ready(has_ready, self.next_due())

    def _enter_lane(self, envelope: Envelope, lane: Lane, now: float) -> None:
        """Let an envelope stand at its lane's end, folded with its neighbour if the mode says."""
        event = envelope.event
        if not self._coalesces:
            pass
        elif event.__class__ is CartEvent:
            earlier = lane.neighbour(event.product_id)
            if earlier is not None and self._meet(earlier, envelope, lane, now):
                return
        else:
            earlier = self._same_order(envelope, lane)
            if earlier is not None:
                join_earlier(earlier, envelope)
                return
        lane.append(envelope)
        if self._shed_order is not None and envelope.is_cart:
            self._shed_order.add(envelope)
        if lane.due and lane.state is LaneState.IDLE:
            self.scheduler.make_ready(lane)

    def _meet(self, earlier: Envelope, later: Envelope, lane: Lane, now: float) -> bool:
        """Fold two neighbours if the mode says so; return whether they cancelled each other out."""
        covered = lane.covered_by(earlier) if self._nets else None
        if fold_into_later(self._coalescing, earlier, later, lane):
            self._cancel_out(earlier, later, now)
            if covered is not None:
                lane.uncover(covered)  # it has a neighbour in what comes next
            return True
        if self._shed_order is not None and not earlier.waits:
            self._shed_order.discard(earlier)
        before = earlier if earlier.waits else covered
        if before is not None and self._nets:
            lane.cover(before, later)
        return False

    def _same_order(self, envelope: Envelope, lane: Lane) -> Envelope | None:
        order_id = envelope.checkout.order_id
        if order_id is None or envelope.is_pinned:
            return None
        return lane.waiting_order(order_id)

    # --- with a journal ------------------------------------------------------------------------

    def _is_blocked(self, event: Event, lane: Lane) -> bool:
        """Return whether older rows of its lane are on disk alone, or events held behind them."""
        if self._backlogs.is_quiet:
            return False
        return self._backlogs.blocks(lane_digest(event.visitor, lane.company_key))

    def _hold(self, envelope: Envelope) -> None:
        """Hold an envelope back: its lane says only whose it is, until it enters it."""
        self._backlogs.hold(digest_of(envelope), envelope)
        if self._shed_order is not None and envelope.is_cart:
            self._shed_order.add(envelope)

    def record_drop(self, outcome: Outcome, lane: Lane, order_id: str | None) -> None:
        """Tell the journal of an event that was dropped for want of room."""
        if self._journal is not None:
            self._journal.drop(outcome, lane.company_key, order_id)

    def is_durable(self, envelope: Envelope) -> bool:
        """Return whether the journal has it for the next start."""
        return self._journal is not None and self._journal.is_durable(envelope)

    # --- on disk alone -------------------------------------------------------------------------

    def may_spill(self, lane: Lane, ticket: int | None = None) -> bool:
        """Return whether an event of a lane that finds no room may be left to the disk alone.

        Not past callers of its lane that wait, and no more of a lane than `lane_capacity`: one
        visitor is not to fill the disk for all others.

        Args:
            lane: Its lane.
            ticket: Its place among the callers, if it was one of them.
        """
        if self._journal is None:
            return False
        if lane.callers is not None and not lane.callers.are_behind(ticket):
            return False
        return not self.admission.is_full(lane) and self._journal.has_room

    def spill(
        self, event: Event, lane: Lane, *, order_id: str | None, pinned: bool, now: float
    ) -> SpilledReceipt | None:
        """Leave an event to the disk alone, behind all that are there.

        Args:
            event: What to deliver.
            lane: Its lane.
            order_id: What is sent as a checkout's order id.
            pinned: Somebody waits for it: it is never folded away.
            now: The loop's time.

        Returns:
            None if the journal did not take it.
        """
        assert self._journal is not None  # noqa: S101  `may_spill` says so
        row_id = self._journal.spill(event, lane.company_key, order_id)
        if row_id is None:
            return None
        generation = self._flushes.present
        generation.unsettled += 1
        awaited = self._spill.awaited
        receipt = SpilledReceipt(event, now, row_id, pinned=pinned, awaited=awaited)
        self._spill.add(receipt, lane, generation)
        self._spill.look(self._journal.holds)
        self.admission.spill_changed()
        self.admission.send_to_disk()
        self.scheduler.forget(lane)
        return receipt

    @property
    def spilled(self) -> int:
        """Events of this process that are on disk alone."""
        return self._spill.count

    def cut_spill(self) -> int:
        """Return the row of the last event that is on disk alone: a page may reach so far."""
        return self._spill.cut()

    def unspill(
        self, rows: Sequence[Row], now: float, *, asked_at: float, upto: int | None
    ) -> None:
        """Let the events of rows in that were on disk alone.

        Args:
            rows: A page, as `admission.wait_to_page` made room for it.
            now: The loop's time.
            asked_at: The loop's time that the rows' ages refer to.
            upto: No row up to here is to come any more; None: there may be.
        """
        self.admission.end_page()
        for row in rows:
            self._unspill(row, now, asked_at)
        self._lose(0 if upto is None else upto, now)
        self.admission.spill_changed()
        self.settlement.check_drained()
        self.announce()

    def _unspill(self, row: Row, now: float, asked_at: float) -> None:
        lane = self.lane_of(row.event, row.company_key)
        taken = self._spill.take(row.row_id, lane)
        if taken is None:
            self.scheduler.forget(lane)
            return
        generation, receipt = taken
        event = row.event if receipt is None else receipt.event
        accepted_at = asked_at - row.age if receipt is None else receipt.accepted_at
        self._spill.since = accepted_at
        timeout = self.deadlines.timeout_of(event)
        is_late = accepted_at + timeout <= now
        is_held = not is_late and self._is_blocked(event, lane)
        state = _HELD if is_held else _DUE
        envelope = JournaledEnvelope(event, accepted_at, lane, generation, state)
        envelope.row_id = row.row_id
        if row.order_id is not None or row.guard is not SendMark.NONE:
            details = envelope.details()
            details.order_id, details.send_mark = row.order_id, row.guard
        if receipt is not None:
            envelope.stand_for(receipt)
        self.admission.take(lane, event)
        self.deadlines.add_replayed(envelope)
        self.scheduler.stirred = True
        if is_late:
            lane.append(envelope)
            self._settle(envelope, OutcomeStatus.EXPIRED, now, expiry_detail(envelope, timeout))
        elif is_held:
            self._hold(envelope)
        else:
            self._enter_lane(envelope, lane, now)

    def _lose(self, upto: int, now: float) -> None:
        """Give up what should have been on the pages so far, and was not."""
        generations, receipts = self._spill.lose(upto)
        count = sum(lost for _, lost in generations)
        if count:
            self._end_unseen({OutcomeStatus.ABANDONED: count}, receipts, now, _LOST)
        for generation, lost in generations:
            self._flushes.settled(generation, lost)

    def leave_spilled(self, now: float, details: Mapping[OutcomeStatus, str]) -> None:
        """End what is on disk alone: kept for the next start, as far as the disk has it.

        Args:
            now: The loop's time.
            details: What to say of those that are `KEPT`, and of those that are `ABANDONED`.
        """
        if self._journal is None or not self._spill.count:
            return
        kept, lost = self.spilled_on_disk()
        counts = {OutcomeStatus.KEPT: kept, OutcomeStatus.ABANDONED: lost}
        generations, receipts = self._spill.lose(self._spill.cut())
        self._end_unseen(counts, receipts, now, details)
        for generation, count in generations:
            self._flushes.settled(generation, count)

    def spilled_on_disk(self) -> tuple[int, int]:
        """Return how many of what was spilled the disk has for the next start, and has not."""
        kept = self._spill.on_disk(self._holds)
        return kept, self._spill.count - kept

    def _end_unseen(
        self,
        counts: Mapping[OutcomeStatus, int],
        receipts: Iterable[SpilledReceipt],
        now: float,
        details: Mapping[OutcomeStatus, str],
    ) -> None:
        """End events that are not in memory: of most of them, nothing but their number is known."""
        unseen = Counter(counts)
        for receipt in receipts:
            is_kept = unseen[OutcomeStatus.KEPT] > 0 and self._holds(receipt.row_id)
            status = OutcomeStatus.KEPT if is_kept else OutcomeStatus.ABANDONED
            unseen[status] -= 1
            outcome = Outcome(
                status=status,
                event=receipt.event,
                elapsed=now - receipt.accepted_at,
                detail=details[status],
            )
            self._telemetry.settled(outcome)
            receipt.settle(outcome)
        self._telemetry.settled_unseen(unseen)

    def _holds(self, row_id: int) -> bool:
        return self._journal is not None and self._journal.holds(row_id)

    # --- what earlier processes left -----------------------------------------------------------

    def expect(self, adopted: Sequence[Backlog]) -> None:
        """Count what was adopted: from now on, new events of its lanes are held.

        `recall_some` takes back those that wait in them already.
        """
        for backlog in adopted:
            self._backlogs.expect(backlog, self._flushes.present)
        if adopted:
            self._to_recall = deque(self.scheduler.lanes.values())
        self._reserve_slots()

    def recall_some(self, budget: int) -> bool:
        """Take back what waits in lanes that rows are to come of, in at most `budget` lanes.

        What an attempt has touched stays where it is.

        Returns:
            Whether there may be more.
        """
        for _ in range(min(budget, len(self._to_recall))):
            lane = self._to_recall.popleft()
            digest = None if lane.head is None else digest_of(lane.head)
            if digest is not None and self._backlogs.expects(digest):
                self._recall(lane, digest, -inf)
        self._reserve_slots()
        self.announce()
        return bool(self._to_recall)

    def _recall(self, lane: Lane, digest: int, moment: float) -> None:
        """Hold again what waits in a lane, and does not precede a row of a moment."""
        self._backlogs.hold_first(digest, lane.recall(moment))
        self.scheduler.reschedule(lane)

    def replay(self, rows: Iterable[MergedRow], now: float) -> None:
        """Let the events of rows into their lanes, or settle what is not to be sent again.

        A row stands behind what is older of what its lane holds, and ahead of all that is younger.
        """
        for merged in rows:
            self._replay(merged, now)
            self._reserve_slots()
        self.announce()

    def finish(self, file: int) -> None:
        """Expect no more rows of a file: all were replayed, or it cannot be read on."""
        generation, missing = self._backlogs.finish(file)
        self._reserve_slots()
        self._flushes.settled(generation, missing)

    def forget_backlogs(self) -> None:
        """Expect nothing more of any file; its rows stay where they are."""
        for file in self._backlogs.files:
            self.finish(file)

    def release_held(self, budget: int, now: float) -> bool:
        """Let held events into their lanes that no older row stands before, at most `budget`.

        Returns:
            Whether there may be more.
        """
        freed = list(islice(iter(self._backlogs.next_freed, None), budget))
        for envelope in freed:
            self._enter_held(envelope, now)
        self._reserve_slots()
        self.announce()
        return len(freed) == budget

    @property
    def unpaged(self) -> int:
        """Events that are still on disk alone, of this process and of earlier ones."""
        return self._backlogs.row_count + self._spill.count

    def _reserve_slots(self) -> None:
        self.admission.reserved_for_replay = self._backlogs.slots
        self.admission.grant()

    def _enter_held(self, envelope: Envelope, now: float) -> None:
        """Let an envelope into its lane that is held no longer."""
        envelope.state = EnvelopeState.DUE
        if envelope.is_replayed:
            envelope.lane.append(envelope)
            self.scheduler.make_ready(envelope.lane)
        else:
            self._enter_lane(envelope, envelope.lane, now)

    def _let_in_older(self, lane: Lane, digest: int, moment: float, now: float) -> None:
        """Let into a lane what precedes a row that was accepted at a moment, and nothing else."""
        if lane.tail is not None and not lane.tail.precedes(moment):
            self._recall(lane, digest, moment)  # nobody had counted this row
        while (envelope := self._backlogs.next_older(digest, moment)) is not None:
            self._enter_held(envelope, now)

    def _replay(self, merged: MergedRow, now: float) -> None:
        row = merged.row
        lane = self.lane_of(row.event, row.company_key)
        generation = self._backlogs.paged_in(merged.file, row.lane)
        envelope = JournaledEnvelope(row.event, merged.accepted_at, lane, generation, _DUE)
        envelope.row_id = row.row_id
        details = envelope.details()
        details.pinned = details.replayed = True
        details.order_id = row.order_id
        details.send_mark = row.guard
        details.identity = row.identity
        # An attempt that ran at the kill was never written down.
        details.ambiguous = row.guard is not SendMark.UNSENT
        self.admission.take(lane, row.event)
        self._telemetry.replayed(row.event)
        self.deadlines.add_replayed(envelope)
        self.scheduler.stirred = True
        self._let_in_older(lane, row.lane, merged.turn, now)
        self._enter_old(envelope, lane, now, may_send=row.guard is not SendMark.SENT)

    def admit(
        self,
        event: Event,
        lane: Lane,
        *,
        order_id: str | None,
        age: float,
        perhaps_sent: bool,
        now: float,
    ) -> Envelope:
        """Take in what was accepted elsewhere, as what an earlier process left, and return it.

        Args:
            event: What to deliver.
            lane: Its lane.
            order_id: What is sent as a checkout's order id.
            age: Seconds since it was accepted.
            perhaps_sent: Somebody had it before, and may have sent it.
            now: The loop's time.
        """
        generation = self._flushes.present
        generation.unsettled += 1
        envelope = self._envelope(event, now - age, lane, generation, _DUE)
        details = envelope.details()
        details.pinned = details.replayed = True
        details.order_id, details.ambiguous = order_id, perhaps_sent
        self._backlogs.admitted()
        self.admission.take(lane, event)
        self._telemetry.replayed(event)
        self.deadlines.add_replayed(envelope)
        self.scheduler.stirred = True
        may_send = not perhaps_sent or envelope.may_repeat(self._retry)
        self._enter_old(envelope, lane, now, may_send=may_send)
        self.announce()
        return envelope

    def _enter_old(self, envelope: Envelope, lane: Lane, now: float, *, may_send: bool) -> None:
        """Let what was accepted before stand in its lane, or end what is not to be sent again."""
        lane.append(envelope)
        timeout = self.deadlines.timeout(envelope)
        if not may_send:
            self._settle(envelope, OutcomeStatus.UNKNOWN, now, _WAS_SENT)
        elif envelope.accepted_at + timeout <= now:
            self._settle(envelope, OutcomeStatus.EXPIRED, now, expiry_detail(envelope, timeout))
        else:
            self.scheduler.make_ready(lane)

    # --- shedding ------------------------------------------------------------------------------

    def shed(self, lane: Lane, event: Event, now: float) -> bool:
        """Drop the oldest waiting cart event and the later ones of its product in its lane.

        It is the oldest of the event's own lane if that is full. A large event may cost several.

        Returns:
            Whether there was one. Its room is taken for the caller at once, as by
            `admission.take`: those who wait had no claim on it.
        """
        assert self._shed_order is not None  # noqa: S101  the overflow policy says so
        is_checkout = event.__class__ is not CartEvent
        if self.admission.others_wait(lane, is_checkout=is_checkout):
            return False
        within = lane if self.admission.is_full(lane) else None
        doomed = self._shed_order.first(within)
        if not doomed:
            return False
        wanted = self.admission.take(lane, event)
        while doomed and wanted > 0:
            wanted -= sum(self.admission.slots_of(one.event) for one in doomed)
            self._drop(doomed, now)
            doomed = self._shed_order.first(within)
        self.announce()
        return True

    def _drop(self, doomed: list[Envelope], now: float) -> None:
        for one in doomed:
            self._leave_lane(one)
        status = OutcomeStatus.DROPPED
        self.settlement.settle_together(
            [(one, one.outcome_as(status, now, _SHED)) for one in doomed]
        )

    def _on_taken(self, envelope: Envelope) -> None:
        """One less waits in a lane: no longer to be shed, and perhaps somebody has room now."""
        if self._shed_order is not None and envelope.is_cart:
            self._shed_order.discard(envelope)
        self.admission.look_anew(envelope.lane)
        self.admission.grant()

    def _cancel_out(self, earlier: Envelope, later: Envelope, now: float) -> None:
        self._leave_lane(earlier)  # the later one has not entered it
        status = OutcomeStatus.COALESCED
        endings = [
            (one, one.outcome_as(status, now, f"cancelled out with {other.id}"))
            for one, other in ((earlier, later), (later, earlier))
        ]
        self.settlement.settle_together(endings)

    # --- time ----------------------------------------------------------------------------------

    def sweep(self, now: float, budget: int) -> None:
        """Do what has become due: end lingers and backoffs, expire; at most `budget` of each.

        What is left to do of a large group that ended comes first.
        """
        self.settlement.settle_some(budget)
        for envelope in self.deadlines.carts.lingered(now, budget):
            self._end_linger(envelope)
        self.scheduler.end_backoffs(now, budget)
        for _ in range(budget):
            expired = self.deadlines.next_expired(now)
            if expired is None:
                break
            self._expire(expired, now)
        self.announce()

    def _end_linger(self, envelope: Envelope) -> None:
        if envelope.state is _FOLDED:
            # What it was folded into has waited for as long as this one has.
            folds = envelope.folds
            assert folds is not None  # noqa: S101  folded
            envelope = folds.survivor
        if envelope.state is _WAITING:
            lane = envelope.lane
            lane.make_due(envelope)
            if lane.state is _IDLE:
                self.scheduler.make_ready(lane)

    def _expire(self, envelope: Envelope, now: float) -> None:
        if envelope.state is EnvelopeState.FOLDED:
            return  # it ends as its survivor ends
        on_wire = envelope.lane.state is LaneState.TAKEN
        if envelope.state is EnvelopeState.IN_FLIGHT and on_wire:
            return  # its attempt ends at this deadline by itself
        detail = expiry_detail(envelope, self.deadlines.timeout(envelope))
        self._settle(envelope, OutcomeStatus.EXPIRED, now, detail)

    def next_due(self) -> float:
        """Return when `sweep` has something to do; infinity if never."""
        if self._unfinished:
            return -inf
        return min(self.scheduler.next_due(), self.deadlines.next_due())

    # --- attempts ------------------------------------------------------------------------------

    def back_off(self, lane: Lane, until: float) -> None:
        """Let a lane wait for its next attempt; it stays taken."""
        self.scheduler.back_off(lane, until)
        self.announce()

    def shorten_backoffs(self, now: float, end: float) -> None:
        """Let lanes whose backoff would outlast `end` have their next attempt now instead."""
        self.scheduler.shorten_backoffs(now, end)
        self.announce()

    def hold_for_intent(self, envelope: Envelope) -> None:
        """Let a taken envelope's lane wait for the journal, before anything is sent."""
        self.scheduler.hold_for_intent(envelope)

    def is_held_for_intent(self, envelope: Envelope) -> bool:
        """Return whether a taken envelope's lane still waits for the journal."""
        lane = envelope.lane
        return lane.state is LaneState.WRITING_INTENT and lane.taken is envelope

    def resume(self, envelopes: Iterable[Envelope]) -> None:
        """Let the lanes of envelopes that were held for the journal go on."""
        for envelope in envelopes:
            self.scheduler.resume(envelope)
        self.announce()

    # --- settling ------------------------------------------------------------------------------

    def is_recorded(self, envelope: Envelope) -> bool:
        """Return whether this client recorded or published the caller's order id lately."""
        return self._recorded.has(envelope.event, envelope.lane.company_key)

    def settle(self, envelope: Envelope, outcome: Outcome) -> None:
        """End an envelope, wherever it stands, and with it those folded into it."""
        self.settle_in_turn(envelope, outcome)
        self.announce()

    def settle_in_turn(self, envelope: Envelope, outcome: Outcome) -> None:
        """Do the same for who takes what is ready next without being told, and announces after."""
        if outcome.status is _DUPLICATE and self._recorded.differs(
            envelope.event, envelope.lane.company_key
        ):
            detail = self.settlement.with_another_total(outcome.detail)
            outcome = attrs.evolve(outcome, detail=detail)
        if envelope.state is _IN_FLIGHT:  # as nearly every one that ends
            self.scheduler.release(envelope.lane)
        else:
            self._leave_lane(envelope)
        event = envelope.event
        if event.__class__ is not CartEvent and outcome.status in _ARRIVED:
            self._recorded.remember(event, envelope.lane.company_key)
        self.settlement.settle(envelope, outcome)
        if self._unfinished:
            self.announce()  # the rest of a large group: who goes on may be on the wire for long

    def _settle(self, envelope: Envelope, status: OutcomeStatus, now: float, detail: str) -> None:
        self.settle_in_turn(envelope, envelope.outcome_as(status, now, detail))

    def _leave_lane(self, envelope: Envelope) -> None:
        """Take an envelope that no attempt has touched from where it waits."""
        if envelope.state is EnvelopeState.SETTLED:
            raise RuntimeError(f"{envelope!r} was settled twice")  # before anything is counted
        if self._shed_order is not None and envelope.is_cart:
            self._shed_order.discard(envelope)
        if envelope.state is EnvelopeState.HELD:
            self._backlogs.let_go(digest_of(envelope), envelope)
        elif envelope.waits:
            envelope.lane.remove(envelope)
            self.scheduler.reschedule(envelope.lane)

    # --- flush, close, accounts ----------------------------------------------------------------

    def flush(self) -> asyncio.Future[None]:
        """End every linger, and return a future for the settling of all accepted so far."""
        self._end_lingers()
        self.announce()
        return self._flushes.flush()

    def drain(self) -> asyncio.Future[None]:
        """End every linger, and return a future for the settling of all that is not held.

        Nothing may be accepted any more.
        """
        self._end_lingers()
        self.announce()
        return self.settlement.drain()

    def _end_lingers(self) -> None:
        """Let everything that waits be due at once."""
        self._have_lingering = False
        self.deadlines.carts.end_linger()
        self.scheduler.stirred = True

    def leftovers(self) -> Iterator[Envelope]:
        """Yield what is unsettled, lane by lane in order, each before those folded into it.

        Settling what is yielded, and only that, is allowed meanwhile.
        """
        lanes = deque(self.scheduler.lanes.values())
        while lanes:  # one after the other is let go: all at once would hold the event loop up
            lane = lanes.popleft()
            if lane.taken is not None:
                yield lane.taken
            yield from lane
        yield from self._backlogs.all_held()

    def situation(self, now: float) -> Situation:
        """Return what waits, for a line in the log."""
        return Situation(
            waiting=self.outstanding + self.unpaged,
            oldest_age=self.oldest_age(now),
            expires_in=self.deadlines.first_expiry() - now,
            room=max(0, self.admission.capacity - self.admission.outstanding),
            spilled=self._spill.count,
        )

    def oldest_age(self, now: float) -> float:
        """Return seconds since the oldest unsettled event was accepted; 0 if there is none.

        If the oldest is on disk alone, it is no older than this.
        """
        return self._or_spilled(self.deadlines.oldest_age(now), now)

    def peek_oldest_age(self, now: float) -> float:
        """Return the same, on another thread than the event loop's."""
        return self._or_spilled(self.deadlines.peek_oldest_age(now), now)

    def _or_spilled(self, in_memory: float, now: float) -> float:
        return max(in_memory, now - self._spill.since) if self._spill.count else in_memory

    def settle_some(self, budget: int) -> bool:
        """Settle folded events whose survivor is settled, at most so many.

        Returns:
            Whether there are more.
        """
        self.settlement.settle_some(budget)
        self.announce()
        return bool(self._unfinished)

    def is_mostly_one_lane(self) -> bool:
        """Whether one lane has more of the room than all others together."""
        taken = self.admission.taken
        if 2 * (self._lane_capacity + 1) <= taken:
            return False  # no lane may have so much: no need to look at all of them
        return 2 * max(map(_size_of, self.scheduler.lanes.values()), default=0) > taken

    @property
    def outstanding(self) -> int:
        """Events accepted and not settled."""
        return self.admission.outstanding

    @property
    def in_flight(self) -> int:
        """Events taken and unresolved: on the wire or in backoff."""
        return self.scheduler.in_flight

    @property
    def queued(self) -> int:
        """Events that wait, folded ones included."""
        return self.admission.outstanding - self.scheduler.in_flight
