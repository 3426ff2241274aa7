"""The cart that the API ends up with equals the cart without coalescing, in every mode."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alhena_async import (
    CartEvent,
    CheckoutEvent,
    Coalescing,
    Event,
    LineItem,
    Outcome,
    OutcomeStatus,
    QueuePolicy,
    Reply,
    RetryPolicy,
)
from alhena_async.testing import Sent, run_virtually
from tests.scripted import OK, Script, balance, cart, client_over, code, visitor

TYPES = ("ITEM_ADDED", "QUANTITY_INCREASED", "QUANTITY_DECREASED", "ITEM_REMOVED")
PRODUCTS = ("a", "b")
Cart = dict[str, float]


@attrs.frozen
class Pause:
    """Time passes: lingers end, deliveries happen, or only some of them."""

    seconds: float


Step = Event | Pause


class Api:
    """Reads carts as the vendor's page does, by one of the readings of the preconditions."""

    def __init__(self, reading: str = "off") -> None:
        self.reading = reading
        self.cart: Cart = {}
        self.recorded: set[tuple[str, str]] = set()
        self.orders: set[str | None] = set()

    def judge(self, event: Event) -> str | None:
        """Record the event, or return the code that refuses it."""
        if isinstance(event, CheckoutEvent):
            return self._judge_order(event)
        product, kind = event.product_id, str(event.type)
        refusal = self._refusal(product, kind)
        if refusal is None:
            self.recorded.add((product, kind))
            self.cart[product] = float(event.quantity)
            if kind == "ITEM_REMOVED":
                del self.cart[product]
        return refusal

    def _judge_order(self, event: CheckoutEvent) -> str | None:
        if event.order_id is not None and event.order_id in self.orders:
            return "ORDER_ALREADY_EXISTS"
        self.orders.add(event.order_id)
        for line in event.line_items:
            self.cart.pop(line.product_id, None)
        return None

    def _refusal(self, product: str, kind: str) -> str | None:
        if self.reading == "off" or kind == "ITEM_ADDED":
            return None
        if (product, "ITEM_ADDED") not in self.recorded:
            return "PREVIOUS_ITEM_ADDED_EVENT_NOT_FOUND"
        increased = (product, "QUANTITY_INCREASED") in self.recorded
        if self.reading == "strict" and kind == "QUANTITY_DECREASED" and not increased:
            return "PREVIOUS_QUANTITY_INCREASED_EVENT_NOT_FOUND"
        return None


def order(product: str, order_id: str | None = None) -> CheckoutEvent:
    line = LineItem(product_id=product, product_name=product, quantity=1, value=1, currency="EUR")
    return CheckoutEvent(
        visitor=visitor(), value=1, currency="EUR", line_items=(line,), order_id=order_id
    )


def change(kind: str, product: str, quantity: int, source: str | None = None) -> CartEvent:
    left = 0 if kind == "ITEM_REMOVED" else quantity
    return cart(product=product, type=kind, quantity=left, source=source)


pauses = st.builds(Pause, st.sampled_from([0.0, 0.05, 0.2, 0.6, 3.0]))
changes = st.builds(
    change,
    st.sampled_from(TYPES),
    st.sampled_from(PRODUCTS),
    st.integers(1, 3),
    st.sampled_from([None, None, None, "app"]),
)
orders = st.builds(order, st.sampled_from(PRODUCTS))
repeated_orders = st.builds(order, st.sampled_from(PRODUCTS), st.sampled_from(["o1", "o2"]))
histories = st.lists(st.one_of(changes, changes, changes, pauses, orders), max_size=24)
histories_with_repeated_orders = st.lists(
    st.one_of(changes, changes, pauses, orders, repeated_orders), max_size=24
)


@st.composite
def shopping(draw: st.DrawFn, *, sane: bool) -> list[Step]:
    """A history in which ITEM_ADDED meets an empty product.

    Args:
        draw: Given by hypothesis.
        sane: Also, nothing but ITEM_ADDED meets an empty one.
    """
    carts: Cart = {}
    steps: list[Step] = []
    for step in draw(histories):
        if isinstance(step, CartEvent):
            held = step.product_id in carts
            kind = str(step.type)
            if held and kind == "ITEM_ADDED":
                kind = "QUANTITY_INCREASED"
            elif not held and sane:
                kind = "ITEM_ADDED"
            steps.append(change(kind, step.product_id, int(step.quantity) or 1, step.source))
            carts[step.product_id] = 1
            if kind == "ITEM_REMOVED":
                del carts[step.product_id]
            continue
        if isinstance(step, CheckoutEvent):
            carts.pop(step.line_items[0].product_id, None)
        steps.append(step)
    return steps


@attrs.define
class Run:
    """What became of a history."""

    outcomes: list[Outcome]
    api: Api
    sent: list[str]

    @property
    def survivors(self) -> list[int]:
        """The events that were sent for themselves, by their place in the history."""
        folded = OutcomeStatus.COALESCED
        return [n for n, outcome in enumerate(self.outcomes) if outcome.status is not folded]

    @property
    def refused(self) -> set[int]:
        rejected = OutcomeStatus.REJECTED
        return {n for n, outcome in enumerate(self.outcomes) if outcome.status is rejected}


def deliver(steps: Sequence[Step], mode: Coalescing, reading: str = "off") -> Run:
    """Play a history through a real client to an API, pauses and all."""
    api = Api(reading)
    transport = Script(latency=0.1)
    outcomes: list[Outcome] = []

    async def play() -> None:
        retry = RetryPolicy(precondition_retries=0)
        queue = QueuePolicy(linger=0.5)
        async with client_over(transport, coalescing=mode, retry=retry, queue=queue) as client:
            receipts = []
            transport.answer(lambda sent: _answer(api, sent), times=None)
            for step in steps:
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                else:
                    receipts.append(client.track_nowait(step))
                    balance(client)
            await client.flush()
            outcomes.extend([await receipt for receipt in receipts])
            balance(client)

    run_virtually(play, debug=False)
    return Run(outcomes, api, transport.what)


def _answer(api: Api, sent: Sent) -> Reply:
    body = sent.payload
    if "line_items" in body:
        event: Event = order(body["line_items"][0]["product_id"], body["orderId"])
    else:
        event = change(body["type"], body["product_id"], body["quantity"], body.get("source"))
    refusal = api.judge(event)
    assert isinstance(OK, Reply)
    return OK if refusal is None else code(refusal)


def without_coalescing(steps: Iterable[Step], reading: str = "off") -> tuple[Api, set[int]]:
    api = Api(reading)
    verdicts = [api.judge(event) for event in _events(steps)]
    return api, {number for number, refusal in enumerate(verdicts) if refusal is not None}


def _events(steps: Iterable[Step]) -> Iterator[Event]:
    return (step for step in steps if not isinstance(step, Pause))


def _what(event: Event) -> str:
    if isinstance(event, CheckoutEvent):
        return "checkout"
    return f"{event.product_id}:{event.type}:{event.quantity}"


@pytest.mark.parametrize("mode", [Coalescing.OFF, Coalescing.DUPLICATES, Coalescing.LATEST])
@given(steps=histories_with_repeated_orders)
@settings(max_examples=120)
def test_the_cart_is_the_same(mode: Coalescing, steps: list[Step]) -> None:
    """Any history, any moments of delivery: same cart, order kept, every event accounted ok."""
    run = deliver(steps, mode)
    assert run.api.cart == without_coalescing(steps)[0].cart
    assert all(outcome.ok for outcome in run.outcomes)
    carts = [what for what in run.sent if what.count(":") == 2]
    kept = [run.outcomes[number].event for number in run.survivors]
    assert carts == [_what(event) for event in kept if isinstance(event, CartEvent)]


@given(steps=shopping(sane=False))
@settings(max_examples=200)
def test_the_cart_is_the_same_under_net(steps: list[Step]) -> None:
    """NET: for histories in which ITEM_ADDED meets an empty product."""
    run = deliver(steps, Coalescing.NET)
    assert run.api.cart == without_coalescing(steps)[0].cart
    assert all(outcome.ok for outcome in run.outcomes)


@given(steps=shopping(sane=True))
@settings(max_examples=120)
def test_net_breaks_no_lenient_precondition(steps: list[Step]) -> None:
    """Where every product begins with ITEM_ADDED, its first event is still sent first."""
    run = deliver(steps, Coalescing.NET, "lenient")
    assert not run.refused
    assert run.api.cart == without_coalescing(steps, "lenient")[0].cart


@pytest.mark.parametrize("reading", ["lenient", "strict"])
@pytest.mark.parametrize("mode", [Coalescing.DUPLICATES, Coalescing.LATEST])
@given(steps=histories)
@settings(max_examples=100)
def test_no_precondition_newly_breaks(mode: Coalescing, reading: str, steps: list[Step]) -> None:
    """Only what would have been refused without coalescing is refused, and the cart is the same."""
    run = deliver(steps, mode, reading)
    api, refused = without_coalescing(steps, reading)
    assert run.refused <= refused
    assert run.api.cart == api.cart


@given(steps=histories)
@settings(max_examples=150)
def test_latest_sends_every_type_in_the_same_order(steps: list[Step]) -> None:
    """Of each product, neighbours of one type count once: nothing else is missing."""
    run = deliver(steps, Coalescing.LATEST)
    events = list(_events(steps))
    kept = [run.outcomes[number].event for number in run.survivors]
    for product in PRODUCTS:
        assert _types(kept, product) == _types(events, product)


def _types(events: Iterable[Event], product: str) -> list[str]:
    types = (
        "checkout" if isinstance(event, CheckoutEvent) else f"{event.type} {event.source}"
        for event in events
        if isinstance(event, CheckoutEvent) or event.product_id == product
    )
    return [kind for kind, _ in groupby(types)]


@given(steps=histories)
@settings(max_examples=150)
def test_duplicates_folds_equal_repeats_and_nothing_else(steps: list[Step]) -> None:
    """What is folded equals the next event of its product, with no checkout in between."""
    run = deliver(steps, Coalescing.DUPLICATES)
    events = list(_events(steps))
    for number in set(range(len(events))) - set(run.survivors):
        folded = events[number]
        assert isinstance(folded, CartEvent)
        following = next(
            event
            for event in events[number + 1 :]
            if isinstance(event, CheckoutEvent) or event.product_id == folded.product_id
        )
        assert following == folded
