"""The queue against a plain model: lists, no links, no cursors, everything looked up anew."""

from __future__ import annotations

import asyncio
from typing import Any

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from alhena_async import Coalescing, Endpoint, Event, OutcomeStatus, QueuePolicy, RetryPolicy
from alhena_async._envelope import Envelope, EnvelopeState
from alhena_async._lane import LaneState
from alhena_async._queue import Queue
from alhena_async._watch import Watch
from tests.scripted import cart, checkout

CAPACITY = 12
LINGER, CART_TIMEOUT, CHECKOUT_TIMEOUT = 2.0, 30.0, 60.0
ENDINGS = [OutcomeStatus.RECORDED, OutcomeStatus.REJECTED, OutcomeStatus.UNATTRIBUTED]
VISITORS, PRODUCTS = ("v1", "v2", "v3"), ("a", "b")


@attrs.define(eq=False)
class Entry:
    """An event that the model holds for unsettled."""

    envelope: Envelope
    lane: str
    accepted_at: float
    due: bool
    place: str = "waits"  # then "on the wire", "rests", "in line again"
    resumes_at: float = 0.0

    @property
    def is_cart(self) -> bool:
        return self.envelope.is_cart

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint.CART if self.is_cart else Endpoint.CHECKOUT

    @property
    def deadline(self) -> float:
        return self.accepted_at + (CART_TIMEOUT if self.is_cart else CHECKOUT_TIMEOUT)


class QueueMachine(RuleBasedStateMachine):
    """Drives a queue with coalescing off, where the model says exactly what must happen."""

    mode = Coalescing.OFF

    def __init__(self) -> None:
        super().__init__()
        self.watch = Watch(())
        self.queue = Queue(
            company_key="shop",
            policy=QueuePolicy(capacity=CAPACITY, linger=LINGER, flush_at=9),
            retry=RetryPolicy(
                cart_delivery_timeout=CART_TIMEOUT, checkout_delivery_timeout=CHECKOUT_TIMEOUT
            ),
            coalescing=self.mode,
            watch=self.watch,
        )
        self.now = 100.0
        self.entries: list[Entry] = []
        self.flushes: list[tuple[asyncio.Future[None], list[Entry]]] = []
        self.orders = 0
        self.accepted = 0

    def teardown(self) -> None:
        """Whatever happened, all of it can be delivered, and nothing is left behind."""
        for entry in [entry for entry in self.entries if entry.place == "on the wire"]:
            self._settle(entry, OutcomeStatus.RECORDED)
        self._flush()
        self.now += 1_000.0
        self.queue.sweep(self.now, 1_000)
        self._forget_settled()
        assert not self.entries
        assert self.queue.outstanding == self.queue.in_flight == 0
        assert not self.queue.turns.lanes
        assert all(flush.done() for flush, _ in self.flushes)
        assert self.watch.outcomes.total() == self.accepted

    # --- what can happen -----------------------------------------------------------------------

    @precondition(lambda self: self.queue.admission.has_room)
    @rule(
        who=st.sampled_from(VISITORS),
        product=st.sampled_from(PRODUCTS),
        kind=st.sampled_from(["ITEM_ADDED", "QUANTITY_INCREASED", "ITEM_REMOVED"]),
        quantity=st.integers(1, 2),
        pinned=st.booleans(),
    )
    def accept_cart(
        self, who: str, product: str, kind: str, quantity: int, *, pinned: bool
    ) -> None:
        left = 0 if kind == "ITEM_REMOVED" else quantity
        self._accept(who, cart(who, product=product, type=kind, quantity=left), pinned=pinned)

    @precondition(lambda self: self.queue.admission.has_room)
    @rule(who=st.sampled_from(VISITORS), again=st.booleans(), pinned=st.booleans())
    def accept_checkout(self, who: str, *, again: bool, pinned: bool) -> None:
        self.orders += not again
        self._accept(who, checkout(who, order_id=f"o{self.orders}"), pinned=pinned)

    @rule(endpoint=st.sampled_from(list(Endpoint)))
    def take(self, endpoint: Endpoint) -> None:
        envelope = self.queue.turns.take(endpoint)
        if envelope is None:
            self.check_none_could_be_taken(endpoint)
            return
        entry = self._entry(envelope)
        assert entry.endpoint is endpoint
        assert entry is self._head(entry.lane)
        assert entry.place in {"waits", "in line again"}
        entry.place = "on the wire"

    @rule(place=st.integers(0, 2), seconds=st.sampled_from([0.5, 3.0, 20.0]))
    def rest(self, place: int, seconds: float) -> None:
        flying = self._on_the_wire()
        if place < len(flying) and self.now + seconds < flying[place].deadline:
            entry = flying[place]  # nobody sleeps past a deadline: `decide` sees to it
            entry.place, entry.resumes_at = "rests", self.now + seconds
            lane = entry.envelope.lane
            assert lane is not None
            self.queue.turns.rest(lane, entry.resumes_at)

    @rule(place=st.integers(0, 2), status=st.sampled_from(ENDINGS))
    def settle(self, place: int, status: OutcomeStatus) -> None:
        flying = self._on_the_wire()
        if place < len(flying):
            self._settle(flying[place], status)

    @rule(seconds=st.sampled_from([0.0, 0.7, 2.0, 10.0, 31.0]))
    def sweep(self, seconds: float) -> None:
        self.now += seconds
        self.queue.sweep(self.now, 1_000)
        for entry in self.entries:
            entry.due |= entry.accepted_at + LINGER <= self.now
            if entry.place == "rests" and entry.resumes_at <= self.now:
                entry.place = "in line again"
        late = [entry for entry in self.entries if entry.deadline <= self.now]
        for entry in late:
            if entry.place != "on the wire" and entry.envelope.state is not EnvelopeState.FOLDED:
                assert entry.envelope.state is EnvelopeState.SETTLED
                assert _ending(entry.envelope) is OutcomeStatus.EXPIRED
        self._forget_settled()
        assert self.queue.next_due() > self.now

    @precondition(lambda self: self.queue.outstanding == CAPACITY)
    @rule()
    def shed(self) -> None:
        before = list(self.entries)
        made_room = self.queue.shed(self.now)
        gone = [entry for entry in before if entry.envelope.state is EnvelopeState.SETTLED]
        assert made_room == bool(gone)
        if made_room:
            self.queue.admission.leave()  # the place was taken for a new event; there is none
        self.check_what_was_shed(before, gone)
        self._forget_settled()

    @rule()
    def flush(self) -> None:
        self._flush()

    # --- what the model says of it -------------------------------------------------------------

    def check_none_could_be_taken(self, endpoint: Endpoint) -> None:
        for lane in VISITORS:
            head = self._head(lane)
            if head is None or head.endpoint is not endpoint:
                continue
            assert head.place in {"on the wire", "rests"} or not any(
                entry.due for entry in self.entries if entry.lane == lane
            )

    def check_what_was_shed(self, before: list[Entry], gone: list[Entry]) -> None:
        waiting = [entry for entry in before if entry.is_cart and entry.place == "waits"]
        if not waiting:
            assert not gone
            return
        oldest = waiting[0]
        product = _product(oldest.envelope.event)
        assert gone == [
            entry
            for entry in waiting
            if entry.lane == oldest.lane and _product(entry.envelope.event) == product
        ]

    @invariant()
    def counts_are_exact(self) -> None:
        assert self.queue.outstanding == len(self.entries) <= CAPACITY
        taken = [entry for entry in self.entries if entry.place != "waits"]
        assert self.queue.in_flight == len(taken)
        assert self.queue.queued == len(self.entries) - len(taken)
        assert self.accepted == self.watch.outcomes.total() + len(self.entries)
        assert len({entry.lane for entry in taken}) == len(taken)

    @invariant()
    def lanes_hold_what_the_model_holds_and_vanish_when_empty(self) -> None:
        lanes = {lane.key[0]: lane for lane in self.queue.turns.lanes.values()}
        assert set(lanes) == {entry.lane for entry in self.entries}
        for name, lane in lanes.items():
            standing = [lane.taken] if lane.taken else []
            standing += list(lane)
            unfolded = [
                entry.envelope
                for entry in self.entries
                if entry.lane == name and entry.envelope.state is not EnvelopeState.FOLDED
            ]
            assert standing == unfolded
            assert lane.due == sum(one.state is EnvelopeState.DUE for one in lane)
            assert lane.waiting_checkouts == sum(not one.is_cart for one in lane)
            assert (lane.state in {LaneState.TAKEN, LaneState.BACKOFF}) <= (lane.taken is not None)

    @invariant()
    def flushes_end_when_all_before_them_is_settled(self) -> None:
        for flush, entries in self.flushes:
            assert flush.done() == all(
                entry.envelope.state is EnvelopeState.SETTLED for entry in entries
            )

    # --- inside --------------------------------------------------------------------------------

    def _accept(self, who: str, event: Event, *, pinned: bool) -> None:
        self.accepted += 1
        self.queue.admission.enter()
        order_id = getattr(event, "order_id", None)
        arguments: dict[str, Any] = {"order_id": order_id, "pinned": pinned, "now": self.now}
        envelope = self.queue.accept(event, None, **arguments)
        self.entries.append(Entry(envelope, who, self.now, due=pinned or not envelope.is_cart))
        if self.queue.queued >= 9:  # a full batch: nobody lingers
            self._end_lingers()
        self._forget_settled()

    def _end_lingers(self) -> None:
        self.queue.sweep(self.now, 1_000)
        for entry in self.entries:
            entry.due = True
        self.sweep(0.0)

    def _flush(self) -> None:
        async def flush() -> asyncio.Future[None]:
            return self.queue.flush()

        settled = asyncio.run(flush())
        self.flushes.append((settled, list(self.entries)))
        self._end_lingers()

    def _settle(self, entry: Entry, status: OutcomeStatus) -> None:
        self.queue.settle(entry.envelope, entry.envelope.outcome_as(status, self.now))
        self._forget_settled()

    def _forget_settled(self) -> None:
        settled = EnvelopeState.SETTLED
        self.entries = [entry for entry in self.entries if entry.envelope.state is not settled]

    def _entry(self, envelope: Envelope) -> Entry:
        return next(entry for entry in self.entries if entry.envelope is envelope)

    def _head(self, lane: str) -> Entry | None:
        of_lane = (entry for entry in self.entries if entry.lane == lane)
        folded = EnvelopeState.FOLDED
        return next((entry for entry in of_lane if entry.envelope.state is not folded), None)

    def _on_the_wire(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.place == "on the wire"]


class FoldingMachine(QueueMachine):
    """The same with folding: a survivor is due when one of those that it speaks for is."""

    mode = Coalescing.LATEST

    def check_what_was_shed(self, before: list[Entry], gone: list[Entry]) -> None:
        """Never a checkout, never one in flight."""
        assert all(entry.is_cart and entry.place == "waits" for entry in gone)


class NetMachine(FoldingMachine):
    """Where events cancel each other out as well."""

    mode = Coalescing.NET


def _ending(envelope: Envelope) -> OutcomeStatus | None:
    outcome = envelope.outcome
    while outcome is not None and outcome.survivor is not None:
        outcome = outcome.survivor
    return outcome.status if outcome else None


def _product(event: Event) -> str:
    return getattr(event, "product_id", "")


BOUNDS = settings(max_examples=60, stateful_step_count=50, deadline=None)
TestQueue, TestFolding, TestNet = (
    machine.TestCase for machine in (QueueMachine, FoldingMachine, NetMachine)
)
TestQueue.settings = TestFolding.settings = TestNet.settings = BOUNDS
