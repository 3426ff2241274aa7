"""All that is accepted and not yet settled: its room, its lane, its time, and the accounts.

The queue knows no clock and no task: `now` is an argument, every method decides at once, and
whatever a change sets free is settled here. Who sends, and when, is the dispatcher's business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from math import inf
from typing import Final

from alhena_async._admission import Admission
from alhena_async._deadlines import Deadlines, expiry_detail
from alhena_async._envelope import Envelope, EnvelopeState, Folds
from alhena_async._epochs import Epochs
from alhena_async._folding import fold_into_later, join_earlier
from alhena_async._lane import Lane, LaneState
from alhena_async._orders import RecentOrders
from alhena_async._turns import Turns
from alhena_async._watch import Watch
from alhena_async.events import CartEvent, Event
from alhena_async.outcomes import Outcome, OutcomeStatus
from alhena_async.policies import Coalescing, QueuePolicy, RetryPolicy

__all__ = ["Queue"]

_SHED: Final = "shed to make room for a younger event"


class Queue:
    """Accepts, orders, folds, expires and settles; `turns` hands out."""

    def __init__(
        self,
        *,
        company_key: str,
        policy: QueuePolicy,
        retry: RetryPolicy,
        coalescing: Coalescing,
        watch: Watch,
    ) -> None:
        self._company_key = company_key
        self._coalescing = coalescing
        self._coalesces = coalescing is not Coalescing.OFF
        self._flush_at = policy.flush_at or inf
        self._watch = watch
        self.admission = Admission(policy.capacity)
        self.turns = Turns()
        self.deadlines = Deadlines(retry, linger=policy.linger)
        self._lingers = policy.linger > 0
        self._epochs = Epochs()
        self._recorded = RecentOrders()

    # --- admission -----------------------------------------------------------------------------

    def accept(
        self,
        event: Event,
        company_key: str | None,
        *,
        order_id: str | None,
        pinned: bool,
        now: float,
    ) -> Envelope:
        """Take in an event that has room (its place in `admission` is taken), and return it.

        Args:
            event: What to deliver.
            company_key: None for the client's own.
            order_id: What is sent as a checkout's order id.
            pinned: Somebody waits for it: it lingers not and is never folded away.
            now: The loop's time.
        """
        epoch = self._epochs.present
        epoch.unsettled += 1
        envelope = Envelope(event, now, epoch)
        if pinned:
            envelope.more().pinned = True
        if order_id is not None:
            envelope.more().order_id = order_id
        visitor = event.visitor
        key: tuple[str, ...] = (visitor.fingerprint, visitor.faq_fingerprint)
        if company_key is not None and company_key != self._company_key:
            key = (*key, company_key)
        lane = self.turns.lanes.get(key)
        if lane is None:
            lane = self.turns.lanes[key] = Lane(key, company_key or self._company_key)
        crowded = self.queued >= self._flush_at
        if crowded:
            self._hurry()
        if event.__class__ is CartEvent:
            self._accept_cart(envelope, lane, event, pinned, crowded)
        else:
            self._accept_checkout(envelope, lane, pinned=pinned)
        return envelope

    def _accept_cart(
        self,
        envelope: Envelope,
        lane: Lane,
        event: CartEvent,
        pinned: bool,  # noqa: FBT001
        crowded: bool,  # noqa: FBT001
    ) -> None:
        lingers = self._lingers and not pinned and not crowded
        if not lingers:
            envelope.state = EnvelopeState.DUE
        if self.deadlines.carts.append(envelope, lingers=lingers):
            self.turns.stirred = True
        if self._coalesces:
            earlier = lane.neighbour(event.product_id)
            if earlier is not None and fold_into_later(self._coalescing, earlier, envelope, lane):
                self._cancel_out(earlier, envelope)
                return
        lane.append(envelope)
        if lane.due and lane.state is LaneState.IDLE:
            self.turns.stir(lane)

    def _accept_checkout(self, envelope: Envelope, lane: Lane, *, pinned: bool) -> None:
        envelope.state = EnvelopeState.DUE
        if self.deadlines.checkouts.append(envelope, lingers=False):
            self.turns.stirred = True
        order_id = envelope.event.order_id  # type: ignore[union-attr]  # a checkout
        if order_id is not None and not pinned and self._coalesces:
            earlier = lane.waiting_order(order_id)
            if earlier is not None:
                join_earlier(earlier, envelope)
                return
        lane.append(envelope)
        self.turns.stir(lane)

    def shed(self, now: float) -> bool:
        """Drop the oldest waiting cart event and the later ones of its product in its lane.

        Returns:
            Whether there was one. Its place is taken for the caller at once, as by
            `admission.enter`: it is no place that those who wait had a claim on.
        """
        if self.admission.is_contended:
            return False  # others came first
        envelope = self.deadlines.carts.oldest
        while envelope is not None:
            folds = envelope.folds
            victim = folds.survivor if folds else envelope
            if victim.waits and victim.is_cart:
                self.admission.enter()
                self._shed_from(victim, now)
                return True
            envelope = envelope.newer
        return False

    def _shed_from(self, victim: Envelope, now: float) -> None:
        lane = victim.lane
        assert lane is not None  # noqa: S101  it waits, so it stands in a lane
        product_id = victim.event.product_id  # type: ignore[union-attr]  # a cart event
        doomed = [victim]
        later = victim.next
        while later is not None:
            if later.is_cart and later.event.product_id == product_id:  # type: ignore[union-attr]
                doomed.append(later)
            later = later.next
        for envelope in doomed:
            self.settle(envelope, envelope.outcome_as(OutcomeStatus.DROPPED, now, _SHED))

    def _cancel_out(self, earlier: Envelope, later: Envelope) -> None:
        now = later.accepted_at
        _lane(earlier).look_anew()  # what stood before these two has a neighbour in what comes now
        for one, other in ((earlier, later), (later, earlier)):
            detail = f"cancelled out with {other.id}"
            self.settle(one, one.outcome_as(OutcomeStatus.COALESCED, now, detail))

    # --- time ----------------------------------------------------------------------------------

    def sweep(self, now: float, budget: int) -> None:
        """Do what has become due: end lingers and backoffs, expire; at most `budget` of each."""
        for _ in range(budget):
            envelope = self.deadlines.carts.next_lingered(now)
            if envelope is None:
                break
            self._end_linger(envelope)
        self.turns.wake_rested(now, budget)
        for _ in range(budget):
            envelope = self.deadlines.next_expired(now)
            if envelope is None:
                break
            self._expire(envelope, now)

    def _end_linger(self, envelope: Envelope) -> None:
        if envelope.state is EnvelopeState.FOLDED:
            # What it was folded into has waited for as long as this one has.
            folds = envelope.folds
            assert folds is not None  # noqa: S101  folded
            envelope = folds.survivor
        if envelope.waits:
            lane = _lane(envelope)
            lane.make_due(envelope)
            self.turns.stir(lane)

    def _expire(self, envelope: Envelope, now: float) -> None:
        if envelope.state is EnvelopeState.FOLDED:
            return  # it ends as its survivor ends
        on_wire = envelope.lane is not None and envelope.lane.state is LaneState.TAKEN
        if envelope.state is EnvelopeState.IN_FLIGHT and on_wire:
            return  # its attempt ends at this deadline by itself
        detail = expiry_detail(self.deadlines.timeout(envelope))
        self.settle(envelope, envelope.outcome_as(OutcomeStatus.EXPIRED, now, detail))

    def next_due(self) -> float:
        """Return when `sweep` has something to do; infinity if never."""
        return min(self.turns.next_due(), self.deadlines.next_due())

    # --- settling ------------------------------------------------------------------------------

    def is_recorded(self, envelope: Envelope) -> bool:
        """Whether this client recorded the caller's order id lately."""
        return self._recorded.has(envelope.event, _lane(envelope).company_key)

    def settle(self, envelope: Envelope, outcome: Outcome) -> None:
        """End an envelope, wherever it stands, and with it those folded into it."""
        if envelope.state is EnvelopeState.SETTLED:
            raise RuntimeError(f"{envelope!r} was settled twice")  # before anything is counted
        lane = envelope.lane
        if lane is not None:
            if envelope.state is EnvelopeState.IN_FLIGHT:
                self.turns.release(lane)
            elif envelope.waits:
                lane.remove(envelope)
                self.turns.reconsider(lane)
            if outcome.status is OutcomeStatus.RECORDED:
                self._recorded.remember(envelope.event, lane.company_key)
        self._finish(envelope, outcome)
        folds = envelope.folds
        if folds is not None and folds.survivor is envelope:
            self._settle_members(folds, outcome)
        self.admission.grant()

    def _settle_members(self, folds: Folds, outcome: Outcome) -> None:
        detail = f"folded into {folds.survivor.id}"
        now = folds.survivor.accepted_at + outcome.elapsed
        for member in folds.members:
            self._finish(
                member,
                Outcome(
                    status=OutcomeStatus.COALESCED,
                    event=member.event,
                    elapsed=now - member.accepted_at,
                    detail=detail,
                    survivor=outcome,
                ),
            )

    def _finish(self, envelope: Envelope, outcome: Outcome) -> None:
        self.deadlines.remove(envelope)
        self.admission.leave()
        envelope.settle(outcome)
        self._watch.settled(outcome)
        epoch = envelope.epoch
        assert epoch is not None  # noqa: S101  set at acceptance
        self._epochs.settled(epoch)

    # --- flush, close, accounts ----------------------------------------------------------------

    def flush(self) -> asyncio.Future[None]:
        """End every linger, and return a future for the settling of all accepted so far."""
        self._hurry()
        return self._epochs.flush()

    def _hurry(self) -> None:
        """Whoever lingers now lingers no longer."""
        self.deadlines.carts.hurry()
        self.turns.stirred = True

    def leftovers(self) -> Iterator[Envelope]:
        """Yield what is unsettled, lane by lane in order, each before those folded into it.

        Settling what is yielded, and only that, is allowed meanwhile.
        """
        for lane in list(self.turns.lanes.values()):
            if lane.taken is not None:
                yield lane.taken
            yield from lane

    @property
    def outstanding(self) -> int:
        """Events accepted and not settled."""
        return self.admission.outstanding

    @property
    def in_flight(self) -> int:
        """Events taken and unresolved: on the wire or in backoff."""
        return self.turns.in_flight

    @property
    def queued(self) -> int:
        """Events that wait, folded ones included."""
        return self.admission.outstanding - self.turns.in_flight


def _lane(envelope: Envelope) -> Lane:
    lane = envelope.lane
    assert lane is not None  # noqa: S101  set when it was appended
    return lane
