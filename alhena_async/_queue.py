"""All that is accepted and not yet settled: lanes, their turns, room, and the accounts.

The queue knows no clock and no task: `now` is an argument, every method decides at once, and
whatever a change sets free is settled here. Who sends, and when, is the dispatcher's business.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import OrderedDict, deque
from collections.abc import Iterator
from math import inf
from typing import Final

from alhena_async._admission import Admission
from alhena_async._coalescing import Cancelled, fold
from alhena_async._deadlines import Ages
from alhena_async._envelope import Envelope, EnvelopeState, Folds
from alhena_async._epochs import Epochs
from alhena_async._lane import Lane, LaneState
from alhena_async._watch import Watch
from alhena_async._wire import endpoint_of
from alhena_async.events import CartEvent, CheckoutEvent, Event
from alhena_async.outcomes import Outcome, OutcomeStatus
from alhena_async.policies import Coalescing, QueuePolicy, RetryPolicy
from alhena_async.transports import Endpoint

__all__ = ["Queue"]

_RECENT_ORDERS: Final = 10_000  # order ids remembered as recorded; the API is the judge past that
_SLACK: Final = 100  # places in a line that lanes have left, before it is worth sifting


class Queue:
    """Accepts, orders, folds, hands out and settles."""

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
        self._lanes: dict[tuple[str, ...], Lane] = {}
        self._ready: dict[Endpoint, deque[Lane]] = {kind: deque() for kind in Endpoint}
        self._resting: list[tuple[float, int, Lane]] = []
        self._rest_order = itertools.count()
        self._carts = Ages(timeout=retry.cart_delivery_timeout, linger=policy.linger)
        self._checkouts = Ages(timeout=retry.checkout_delivery_timeout, linger=0.0)
        self._lingers = policy.linger > 0
        self._epochs = Epochs()
        self._recent_orders: OrderedDict[tuple[str, str], None] = OrderedDict()
        self.in_flight = 0
        self.stirred = False
        """Something became ready, or due sooner than anything else: for the dispatcher."""

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
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(key, company_key or self._company_key)
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
        if self._carts.append(envelope, lingers=lingers):
            self.stirred = True
        if self._coalesces:
            earlier = lane.neighbour(event.product_id)
            if earlier is not None and self._fold_into_later(earlier, envelope, lane):
                return
        lane.append(envelope)
        if lane.due and lane.state is LaneState.IDLE:
            self._line_up(lane)

    def _accept_checkout(self, envelope: Envelope, lane: Lane, *, pinned: bool) -> None:
        envelope.state = EnvelopeState.DUE
        if self._checkouts.append(envelope, lingers=False):
            self.stirred = True
        order_id = envelope.event.order_id  # type: ignore[union-attr]  # a checkout
        if order_id is not None and not pinned and self._coalesces:
            earlier = lane.waiting_order(order_id)
            if earlier is not None:
                self._join(envelope, earlier)
                return
        lane.append(envelope)
        self._stir(lane)

    def shed(self, now: float) -> bool:
        """Drop the oldest waiting cart event and the later ones of its product in its lane.

        Returns:
            Whether there was one. Its place is taken for the caller at once, as by
            `admission.enter`: it is no place that those who wait had a claim on.
        """
        if self.admission.is_contended:
            return False  # others came first
        envelope = self._carts.oldest
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
            self.settle(envelope, self.outcome(envelope, OutcomeStatus.DROPPED, now, _SHED))

    # --- coalescing ----------------------------------------------------------------------------

    def _fold_into_later(self, earlier: Envelope, later: Envelope, lane: Lane) -> bool:
        """Fold, if the mode says so; return whether the later one is gone as well."""
        # One that is being flushed stays itself: else a steady stream would put the flush off.
        if earlier.epoch is not later.epoch or (earlier.facts and earlier.facts.pinned):
            return False
        folded = fold(self._coalescing, earlier.event, later.event)  # type: ignore[arg-type]
        if folded is None:
            return False
        if folded is Cancelled.OUT:
            if later.facts and later.facts.pinned:
                return False
            self._cancel_out(earlier, later)
            return True
        was_due = earlier.state is EnvelopeState.DUE
        lane.remove(earlier)
        earlier.state = EnvelopeState.FOLDED
        _speak_for(later, earlier)
        later.event = folded
        if was_due:
            later.state = EnvelopeState.DUE
        return False

    def _join(self, later: Envelope, earlier: Envelope) -> None:
        """Fold a repeated checkout into the one that waits already."""
        later.state = EnvelopeState.FOLDED
        _speak_for(earlier, later)

    def _cancel_out(self, earlier: Envelope, later: Envelope) -> None:
        now = later.accepted_at
        for one, other in ((earlier, later), (later, earlier)):
            detail = f"cancelled out with {other.id}"
            self.settle(one, self.outcome(one, OutcomeStatus.COALESCED, now, detail))

    # --- turns ---------------------------------------------------------------------------------

    def has_ready(self, endpoint: Endpoint) -> bool:
        """Whether a lane may stand in line for this endpoint (it may turn out to have gone)."""
        return bool(self._ready[endpoint])

    def take(self, endpoint: Endpoint) -> Envelope | None:
        """Return the next envelope to attempt at this endpoint, its lane taken; None if none."""
        line = self._ready[endpoint]
        while line:
            lane = line.popleft()
            if lane.state is not LaneState.READY or lane.line is not endpoint:
                continue
            envelope = lane.taken or lane.head
            assert envelope is not None  # noqa: S101  a lane in line has something to send
            lane.state = LaneState.TAKEN
            if lane.taken is None:
                lane.take_head()
                self.in_flight += 1
            return envelope
        return None

    def rest(self, envelope: Envelope, until: float) -> None:
        """Put an envelope's lane to rest until its next attempt; the lane stays taken."""
        lane = _lane(envelope)
        lane.state = LaneState.BACKOFF
        lane.resume_at = until
        self.stirred = True
        heapq.heappush(self._resting, (until, next(self._rest_order), lane))

    def is_recorded(self, envelope: Envelope) -> bool:
        """Whether this client recorded the caller's order id lately."""
        key = self._order_key(envelope)
        return key is not None and key in self._recent_orders

    def _stir(self, lane: Lane) -> None:
        """Let an idle lane with something due join the line."""
        if lane.state is LaneState.IDLE and lane.due:
            self._line_up(lane)

    def _line_up(self, lane: Lane) -> None:
        lane.state = LaneState.READY
        self.stirred = True
        envelope = lane.taken or lane.head
        assert envelope is not None  # noqa: S101  a lane in line has something to send
        lane.line = endpoint_of(envelope.event)
        self._ready[lane.line].append(lane)
        if len(self._ready[lane.line]) > 2 * len(self._lanes) + _SLACK:
            self._sift(lane.line)

    def _reconsider(self, lane: Lane) -> None:
        """See to a lane in line whose first event is gone.

        One endpoint may be down for long: what comes next must not stand in the other's line.
        """
        if lane.state is not LaneState.READY or lane.taken is not None:
            return
        if not lane.due:
            self._rest_or_forget(lane)
        elif lane.head is not None and endpoint_of(lane.head.event) is not lane.line:
            self._line_up(lane)

    def _sift(self, endpoint: Endpoint) -> None:
        """Forget the places in a line that lanes have left; nobody may call on it for long."""
        standing = (
            lane
            for lane in self._ready[endpoint]
            if lane.state is LaneState.READY and lane.line is endpoint
        )
        self._ready[endpoint] = deque(dict.fromkeys(standing))

    def _rest_or_forget(self, lane: Lane) -> None:
        lane.state = LaneState.IDLE
        if lane.is_empty:
            self._lanes.pop(lane.key, None)

    # --- time ----------------------------------------------------------------------------------

    def sweep(self, now: float, budget: int) -> None:
        """Do what has become due: end lingers and backoffs, expire; at most `budget` of each."""
        for _ in range(budget):
            envelope = self._carts.next_lingered(now)
            if envelope is None:
                break
            self._end_linger(envelope)
        for _ in range(budget):
            if not self._resting or self._resting[0][0] > now:
                break
            until, _order, lane = heapq.heappop(self._resting)
            if lane.state is LaneState.BACKOFF and lane.resume_at == until:
                self._line_up(lane)
        for ages in (self._carts, self._checkouts):
            for _ in range(budget):
                expired = ages.next_expired(now)
                if expired is None:
                    break
                self._expire(expired, ages.timeout, now)

    def _end_linger(self, envelope: Envelope) -> None:
        if envelope.state is EnvelopeState.FOLDED:
            # What it was folded into has waited for as long as this one has.
            folds = envelope.folds
            assert folds is not None  # noqa: S101  folded
            envelope = folds.survivor
        if envelope.waits:
            lane = _lane(envelope)
            lane.make_due(envelope)
            self._stir(lane)

    def _expire(self, envelope: Envelope, timeout: float, now: float) -> None:
        if envelope.state is EnvelopeState.FOLDED:
            return  # it ends as its survivor ends
        on_wire = envelope.lane is not None and envelope.lane.state is LaneState.TAKEN
        if envelope.state is EnvelopeState.IN_FLIGHT and on_wire:
            return  # its attempt ends at this deadline by itself
        self.settle(
            envelope,
            self.outcome(envelope, OutcomeStatus.EXPIRED, now, expiry_detail(timeout)),
        )

    def deadline(self, envelope: Envelope) -> float:
        """Return when the envelope expires."""
        return envelope.accepted_at + self.timeout(envelope)

    def timeout(self, envelope: Envelope) -> float:
        """Return its delivery timeout in seconds."""
        return self._ages(envelope).timeout

    def _ages(self, envelope: Envelope) -> Ages:
        return self._carts if envelope.is_cart else self._checkouts

    def next_due(self) -> float:
        """Return when `sweep` has something to do; infinity if never."""
        resting = self._resting[0][0] if self._resting else inf
        return min(resting, self._carts.next_due(), self._checkouts.next_due())

    # --- settling ------------------------------------------------------------------------------

    def outcome(
        self,
        envelope: Envelope,
        status: OutcomeStatus,
        now: float,
        detail: str | None = None,
        *,
        code: str | None = None,
        http_status: int | None = None,
    ) -> Outcome:
        """Return the outcome that an envelope's own facts make of a status."""
        facts = envelope.facts
        return Outcome(
            status=status,
            event=envelope.event,
            code=code,
            http_status=http_status,
            attempts=facts.attempts if facts else 0,
            elapsed=now - envelope.accepted_at,
            ambiguous=facts.ambiguous if facts else False,
            detail=detail,
        )

    def settle(self, envelope: Envelope, outcome: Outcome) -> None:
        """End an envelope, wherever it stands, and with it those folded into it."""
        if envelope.state is EnvelopeState.SETTLED:
            raise RuntimeError(f"{envelope!r} was settled twice")  # before anything is counted
        lane = envelope.lane
        if lane is not None:
            if envelope.state is EnvelopeState.IN_FLIGHT:
                self._untake(lane)
            elif envelope.waits:
                lane.remove(envelope)
                self._reconsider(lane)
                if lane.state is LaneState.IDLE and lane.is_empty:
                    self._rest_or_forget(lane)
        if outcome.status is OutcomeStatus.RECORDED:
            self._remember(envelope)
        self._finish(envelope, outcome)
        folds = envelope.folds
        if folds is not None and folds.survivor is envelope:
            self._settle_members(folds, outcome)
        self.admission.grant()

    def _untake(self, lane: Lane) -> None:
        lane.taken = None
        self.in_flight -= 1
        if lane.state is LaneState.READY:
            self._reconsider(lane)  # it expired in line for a retry
            return
        if lane.due:
            self._line_up(lane)
        else:
            self._rest_or_forget(lane)

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
        self._ages(envelope).remove(envelope)
        self.admission.leave()
        envelope.settle(outcome)
        self._watch.settled(outcome)
        epoch = envelope.epoch
        assert epoch is not None  # noqa: S101  set at acceptance
        self._epochs.settled(epoch)

    def _remember(self, envelope: Envelope) -> None:
        key = self._order_key(envelope)
        if key is not None:
            self._recent_orders[key] = None
            if len(self._recent_orders) > _RECENT_ORDERS:
                self._recent_orders.popitem(last=False)

    def _order_key(self, envelope: Envelope) -> tuple[str, str] | None:
        event = envelope.event
        if isinstance(event, CheckoutEvent) and event.order_id is not None:
            return (_lane(envelope).company_key, event.order_id)
        return None

    # --- flush, close, accounts ----------------------------------------------------------------

    def flush(self) -> asyncio.Future[None]:
        """End every linger, and return a future for the settling of all accepted so far."""
        self._hurry()
        return self._epochs.flush()

    def _hurry(self) -> None:
        """Whoever lingers now lingers no longer."""
        self._carts.hurry()
        self.stirred = True

    def leftovers(self) -> Iterator[Envelope]:
        """Yield what is unsettled, lane by lane in order, each before those folded into it.

        Settling what is yielded, and only that, is allowed meanwhile.
        """
        for lane in list(self._lanes.values()):
            if lane.taken is not None:
                yield lane.taken
            yield from lane

    @property
    def outstanding(self) -> int:
        """Events accepted and not settled."""
        return self.admission.outstanding

    @property
    def queued(self) -> int:
        """Events that wait, folded ones included."""
        return self.admission.outstanding - self.in_flight

    def oldest_age(self, now: float) -> float:
        """Return seconds since the oldest unsettled event was accepted; 0 if there is none."""
        oldest = [ages.oldest.accepted_at for ages in (self._carts, self._checkouts) if ages.oldest]
        return max(0.0, now - min(oldest)) if oldest else 0.0


def expiry_detail(timeout: float) -> str:
    """Return the words for a delivery timeout that is over."""
    return f"its delivery timeout of {timeout:g} s is over"


_SHED: Final = "shed to make room for a younger event"


def _speak_for(survivor: Envelope, folded: Envelope) -> None:
    """Let one envelope speak for another, with all that either of them (the older) spoke for."""
    folds = survivor.folds or folded.folds or Folds(survivor)
    folds.survivor = survivor
    folds.members.append(folded)
    survivor.more().folds = folded.more().folds = folds


def _lane(envelope: Envelope) -> Lane:
    lane = envelope.lane
    assert lane is not None  # noqa: S101  set when it was appended
    return lane
