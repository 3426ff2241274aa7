"""The queue against a plain model of it: after every step, every event stands where it should."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from alhena_async import (
    CartEvent,
    Coalescing,
    Endpoint,
    Event,
    OutcomeStatus,
    QueuePolicy,
    RetryPolicy,
)
from alhena_async._queue.envelope import Envelope
from alhena_async._queue.lane import Lane, LaneState
from alhena_async._queue.queue import EventQueue
from alhena_async._telemetry.logbook import Logbook
from alhena_async._telemetry.telemetry import Telemetry
from tests.properties.plain_queue import Item, PlainQueue
from tests.scripted import cart, checkout

CAPACITY, FLUSH_AT = 14, 11
LANE_CAPACITY, RESERVE = 10, 2
LINGER, CART_TIMEOUT, CHECKOUT_TIMEOUT = 2.0, 30.0, 60.0
ENDINGS = [OutcomeStatus.RECORDED, OutcomeStatus.REJECTED, OutcomeStatus.UNATTRIBUTED]
VISITORS = ("v1", "v1", "v1", "v1@other", "v2")
"""Who acts; after an @, for whose company."""
OTHERS = ("c", "d", "e", "f")
TYPES = ("ITEM_ADDED", "QUANTITY_INCREASED", "QUANTITY_DECREASED", "ITEM_REMOVED")
MARKS: tuple[tuple[str, str | None], ...] = (
    *[("EUR", None)] * 10, ("USD", None), ("EUR", "app"),
)  # fmt: skip
COMPANY = "shop"
KINDS = {Endpoint.CART: "cart", Endpoint.CHECKOUT: "checkout"}


@attrs.frozen
class Click:
    """A cart event to come."""

    product: str
    type: str = "ITEM_ADDED"
    quantity: int = 1
    marks: tuple[str, str | None] = MARKS[0]
    pinned: bool = False


@attrs.frozen
class Order:
    """A checkout to come: of a new order, or `again` of the last one."""

    again: bool
    pinned: bool


PINNED = st.sampled_from([False, False, False, False, True])
CLICKS = st.builds(
    Click,
    st.sampled_from(("a", "a", "a", "b")),
    st.sampled_from((*TYPES, "QUANTITY_INCREASED")),
    st.integers(1, 2),
    st.sampled_from(MARKS),
    PINNED,
)
STEPS = st.one_of(CLICKS, CLICKS, CLICKS, st.builds(Order, st.booleans(), PINNED))
SOME_STEPS = st.lists(STEPS, min_size=1, max_size=5)
MOMENTS = st.sampled_from([0.0, 0.0, 0.0, 0.25, 1.0])
"""Seconds that pass without a sweep; like all times here, exact in binary."""


class QueueMachine(RuleBasedStateMachine):
    """Does the same to a queue and to its model."""

    mode = Coalescing.OFF

    def __init__(self) -> None:
        super().__init__()
        self.telemetry = Telemetry((), logbook=Logbook())
        self.queue = EventQueue(
            company_key=COMPANY,
            policy=QueuePolicy(
                capacity=CAPACITY,
                lane_capacity=LANE_CAPACITY,
                checkout_reserve=RESERVE / CAPACITY,
                linger=LINGER,
                flush_at=FLUSH_AT,
                overflow="shed",
            ),
            retry=RetryPolicy(
                cart_delivery_timeout=CART_TIMEOUT, checkout_delivery_timeout=CHECKOUT_TIMEOUT
            ),
            coalescing=self.mode,
            telemetry=self.telemetry,
        )
        self.model = PlainQueue(
            self.mode.value,
            linger=LINGER,
            flush_at=FLUSH_AT,
            timeouts={"cart": CART_TIMEOUT, "checkout": CHECKOUT_TIMEOUT},
            room={"cart": CAPACITY - RESERVE, "checkout": CAPACITY},
            lane_room=LANE_CAPACITY,
        )
        self.now = 100.0
        self.envelopes: dict[Item, Envelope] = {}
        self.unchecked: list[Item] = []
        """Those whose outcome has not been looked at."""
        self.ended: Counter[str] = Counter()
        self.flushes: list[tuple[asyncio.Future[None], list[Item]]] = []
        self.orders = 0
        self.sheds = False

    def teardown(self) -> None:
        """Whatever happened, all of it can be delivered, and nothing is left behind."""
        self.sheds = False
        for item in self._on_the_wire():
            self._settle(item, OutcomeStatus.RECORDED)
        self.flush()
        self.sweep(1_000.0)
        assert not self.model.unsettled
        self.all_stand_where_they_should()
        self.outcomes_are_those_of_the_model()
        assert all(flush.done() for flush, _ in self.flushes)

    # --- what can happen -----------------------------------------------------------------------

    @rule(who=st.sampled_from(VISITORS), steps=SOME_STEPS, seconds=MOMENTS)
    def accept(self, who: str, steps: list[Click | Order], seconds: float) -> None:
        self.now += seconds
        for step in steps:
            if isinstance(step, Click):
                self._accept_click(who, step)
            else:
                self._accept_order(who, step)

    @precondition(lambda self: self.queue.outstanding <= CAPACITY // 2)
    @rule(who=st.sampled_from(VISITORS), steps=SOME_STEPS)
    def accept_many(self, who: str, steps: list[Click | Order]) -> None:
        """A long lane keeps an index, where a short one looks back."""
        self.accept(who, [*map(Click, OTHERS), *steps], 0.0)

    @rule(endpoint=st.sampled_from(list(Endpoint)))
    def take(self, endpoint: Endpoint) -> None:
        self._take(endpoint)

    @precondition(lambda self: self._on_the_wire())
    @rule(place=st.integers(0, 2), seconds=st.sampled_from([0.5, 3.0, 20.0]))
    def rest(self, place: int, seconds: float) -> None:
        flying = self._on_the_wire()
        item = flying[place % len(flying)]
        if self.now + seconds < item.deadline:  # nobody sleeps past it: `decide` sees to it
            lane = self.envelopes[item].lane
            assert lane is not None
            self.queue.scheduler.back_off(lane, self.now + seconds)
            self.model.rest(item, self.now + seconds)

    @precondition(lambda self: self._on_the_wire())
    @rule(place=st.integers(0, 2), status=st.sampled_from(ENDINGS))
    def settle(self, place: int, status: OutcomeStatus) -> None:
        flying = self._on_the_wire()
        self._settle(flying[place % len(flying)], status)

    @rule(count=st.integers(1, 12), status=st.sampled_from(ENDINGS))
    def deliver(self, count: int, status: OutcomeStatus) -> None:
        """All goes well for a while."""
        for _ in range(count):
            for endpoint in Endpoint:
                item = self._take(endpoint)
                if item is not None:
                    self._settle(item, status)

    @rule(seconds=st.sampled_from([0.0, 0.75, 2.0, 2.0, 10.0, 31.0]))
    def sweep(self, seconds: float) -> None:
        self.now += seconds
        self.queue.sweep(self.now, 1_000)
        self.model.sweep(self.now)
        assert self.queue.next_due() > self.now

    @rule(sheds=st.booleans())
    def shed(self, sheds: bool) -> None:
        """From now on, what finds no room makes some, or is turned away."""
        self.sheds = sheds

    @rule()
    def flush(self) -> None:
        async def flush() -> asyncio.Future[None]:
            return self.queue.flush()

        self.flushes.append((asyncio.run(flush()), self.model.flush()))

    # --- what must be true after every step ----------------------------------------------------

    @invariant()
    def all_stand_where_they_should(self) -> None:
        model, lanes = (
            self.model,
            {_name(lane): lane for lane in self.queue.scheduler.lanes.values()},
        )
        assert lanes.keys() == model.lanes.keys()
        for name, lane in lanes.items():
            taken, waiting = model.taken.get(name), model.lanes[name]
            assert lane.taken is (taken and self.envelopes[taken])
            assert list(lane) == [self.envelopes[item] for item in waiting]
            assert lane.state is self._lane_state(name)
            assert lane.due == sum(item.state == "due" for item in waiting)
            assert lane.waiting_checkouts == sum(item.kind == "checkout" for item in waiting)

    @invariant()
    def every_event_is_what_it_amounts_to(self) -> None:
        for item in self.model.unsettled:
            envelope = self.envelopes[item]
            assert envelope.state.value == item.state
            if isinstance(envelope.event, CartEvent):
                assert (envelope.event.type, envelope.event.quantity) == (item.type, item.quantity)
            folds = envelope.folds
            speaker = item.speaker or item
            assert (folds.survivor if folds else envelope) is self.envelopes[speaker]
            if folds:
                assert folds.members == [self.envelopes[member] for member in speaker.members]

    @invariant()
    def outcomes_are_those_of_the_model(self) -> None:
        settled = [item for item in self.unchecked if item.state == "settled"]
        for item in settled:
            envelope = self.envelopes[item]
            outcome = envelope.outcome
            assert outcome is not None
            assert outcome.status == item.status
            assert outcome.elapsed == item.settled_at - item.accepted_at
            speaker = item.speaker
            assert outcome.survivor is (speaker and self.envelopes[speaker].outcome)
            if speaker:
                assert outcome.detail == f"folded into {self.envelopes[speaker].id}"
        self.ended.update(str(item.status) for item in settled)
        self.unchecked = [item for item in self.unchecked if item.state != "settled"]
        assert dict(self.telemetry.outcomes) == self.ended

    @invariant()
    def counts_are_exact(self) -> None:
        unsettled, taken = len(self.model.unsettled), len(self.model.taken)
        assert self.queue.outstanding == unsettled <= CAPACITY
        assert self.queue.in_flight == taken
        assert self.queue.queued == unsettled - taken

    @invariant()
    def nothing_due_is_forgotten(self) -> None:
        assert self.queue.next_due() <= self.model.next_due()

    @invariant()
    def flushes_end_when_all_before_them_is_settled(self) -> None:
        for flush, items in self.flushes:
            assert flush.done() == all(item.state == "settled" for item in items)

    # --- inside --------------------------------------------------------------------------------

    def _accept_click(self, who: str, click: Click) -> None:
        left = 0 if click.type == "ITEM_REMOVED" else click.quantity
        facts: dict[str, Any] = {
            "type": click.type, "product": click.product, "quantity": left
        }  # fmt: skip
        visitor, _, company = who.partition("@")
        currency, source = click.marks
        event = cart(visitor, currency=currency, source=source, **facts)
        item = Item(lane=who, company=company, marks=click.marks, pinned=click.pinned, **facts)
        self._accept(event, item)

    def _accept_order(self, who: str, order: Order) -> None:
        self.orders += not order.again
        facts: dict[str, Any] = {"order_id": f"o{self.orders}"}
        visitor, _, company = who.partition("@")
        item = Item(lane=who, company=company, kind="checkout", pinned=order.pinned, **facts)
        self._accept(checkout(visitor, **facts), item)

    def _accept(self, event: Event, item: Item) -> None:
        lane = self.queue.lane_of(event, item.company or None)
        has_room = self.queue.admission.try_acquire(lane, event)
        assert has_room == self.model.has_room(item)
        if not has_room and self.sheds:
            has_room = self.queue.shed(lane, event, self.now)
            assert has_room == self.model.shed(item, self.now)
        if not has_room:
            self.queue.scheduler.forget(lane)
            return
        self.envelopes[item] = self.queue.accept(
            event,
            lane,
            order_id=item.order_id,
            pinned=item.pinned,
            now=self.now,
        )
        self.unchecked.append(item)
        self.model.accept(item, self.now)

    def _take(self, endpoint: Endpoint) -> Item | None:
        item = self.model.take(KINDS[endpoint])
        taken = self.queue.scheduler.take(endpoint)
        assert taken is (item and self.envelopes[item])
        if item is not None and taken is not None:
            known = (item.company, item.order_id) in self.model.recorded
            assert self.queue.is_recorded(taken) == known
        return item

    def _settle(self, item: Item, status: OutcomeStatus) -> None:
        envelope = self.envelopes[item]
        self.queue.settle(envelope, envelope.outcome_as(status, self.now))
        self.model.settle(item, status.value, self.now)

    def _on_the_wire(self) -> list[Item]:
        return [item for item in self.model.taken.values() if item.flight == "on the wire"]

    def _lane_state(self, name: str) -> LaneState:
        taken = self.model.taken.get(name)
        if name in self.model.stands:
            first = taken or self.model.lanes[name][0]
            return LaneState.CART_READY if first.kind == "cart" else LaneState.CHECKOUT_READY
        if taken is None:
            return LaneState.IDLE
        return LaneState.TAKEN if taken.flight == "on the wire" else LaneState.BACKOFF


def _name(lane: Lane) -> str:
    visitor, _ticket, company = lane.key
    return visitor if company == COMPANY else f"{visitor}@{company}"


class DuplicatesMachine(QueueMachine):
    """The same where only what says the same again is folded."""

    mode = Coalescing.DUPLICATES


class LatestMachine(QueueMachine):
    """The same where neighbours of a type become the later one."""

    mode = Coalescing.LATEST


class NetMachine(QueueMachine):
    """The same where events cancel each other out as well."""

    mode = Coalescing.NET


BOUNDS = settings(max_examples=80, stateful_step_count=50)
TestOff, TestDuplicates, TestLatest, TestNet = (
    machine.TestCase for machine in (QueueMachine, DuplicatesMachine, LatestMachine, NetMachine)
)
TestOff.settings = TestDuplicates.settings = TestLatest.settings = TestNet.settings = BOUNDS
