"""The queue's edges that no random history is sure to meet; `properties` has the rest."""

import asyncio
from math import inf
from typing import Any

import pytest

from alhena_async import (
    Coalescing,
    Endpoint,
    Event,
    OutcomeStatus,
    Overflow,
    QueuePolicy,
    RetryPolicy,
)
from alhena_async._queue import settlement as module
from alhena_async._queue.envelope import Envelope
from alhena_async._queue.queue import EventQueue
from alhena_async._telemetry.logbook import Logbook
from alhena_async._telemetry.telemetry import Telemetry
from alhena_async.testing import virtual
from tests.scripted import cart, checkout


def queue_of(*, coalescing: Coalescing = Coalescing.OFF, **policy: Any) -> EventQueue:
    return EventQueue(
        company_key="shop",
        policy=QueuePolicy(**{"linger": 0.0, **policy}),
        retry=RetryPolicy(),
        coalescing=coalescing,
        telemetry=Telemetry((), logbook=Logbook()),
    )


def accept(queue: EventQueue, event: Event, *, now: float = 0.0, pinned: bool = False) -> Envelope:
    lane = queue.lane_of(event, None)
    queue.admission.take(lane, event)
    return enter(queue, event, pinned=pinned, now=now)


def enter(queue: EventQueue, event: Event, *, now: float = 0.0, pinned: bool = False) -> Envelope:
    """Accept what has its room."""
    lane, order_id = queue.lane_of(event, None), getattr(event, "order_id", None)
    return queue.accept(event, lane, order_id=order_id, pinned=pinned, now=now)


def shed(queue: EventQueue, event: Event) -> bool:
    return queue.shed(queue.lane_of(event, None), event, 0.0)


def settle(queue: EventQueue, envelope: Envelope, status: str = "recorded") -> None:
    queue.settle(envelope, envelope.outcome_as(OutcomeStatus(status), 0.0))


@virtual
async def test_lanes_are_handed_out_in_the_order_they_became_ready() -> None:
    """And each goes to the end of the line after its turn."""
    queue = queue_of()
    for who in "abab":
        accept(queue, cart(who))
    first, second = queue.scheduler.take(Endpoint.CART), queue.scheduler.take(Endpoint.CART)
    assert first is not None
    assert second is not None
    assert queue.scheduler.take(Endpoint.CART) is None
    settle(queue, second)
    settle(queue, first)
    turns = [queue.scheduler.take(Endpoint.CART) for _ in range(2)]
    assert [turn.event.visitor.fingerprint for turn in turns if turn] == ["b", "a"]


@virtual
async def test_an_envelope_is_settled_once_and_counted_once() -> None:
    """A second time is refused before anything is counted."""
    queue = queue_of()
    envelope = accept(queue, cart())
    settle(queue, envelope)
    with pytest.raises(RuntimeError, match="settled twice"):
        settle(queue, envelope)
    assert queue.outstanding == 0
    assert queue.in_flight == 0


@virtual
async def test_remembered_orders_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest is forgotten first; the API is the judge then."""
    monkeypatch.setattr(module, "_MAX_ORDERS", 3)
    queue = queue_of()
    for number in range(5):
        accept(queue, checkout(order_id=f"o{number}"))
        envelope = queue.scheduler.take(Endpoint.CHECKOUT)
        assert envelope is not None
        settle(queue, envelope)
    known = [queue.is_recorded(accept(queue, checkout(order_id=f"o{n}"))) for n in range(5)]
    assert known == [False, False, True, True, True]


@virtual
async def test_a_sweep_keeps_to_its_budget() -> None:
    """A million lingers that end at once are no single turn of the loop."""
    queue = queue_of(linger=1.0, flush_at=None)
    for number in range(100):
        accept(queue, cart(f"v{number}"))
    queue.sweep(1.0, 30)
    assert len(queue.scheduler.lines[Endpoint.CART]) == 30
    assert queue.next_due() <= 1.0
    queue.sweep(1.0, 1_000)
    assert len(queue.scheduler.lines[Endpoint.CART]) == 100


@virtual
async def test_places_of_those_who_left_are_nothing_to_send() -> None:
    """Workers that find nothing would wake one another for ever."""
    queue = queue_of()
    told: list[bool] = []
    queue.on_ready = lambda has_ready, _due: told.append(has_ready)
    accept(queue, checkout())
    assert told == [True]
    queue.sweep(100_000.0, 10)
    assert queue.scheduler.have_ready  # its place in line, which nobody has looked at since
    queue.announce()
    assert told[1:] == [False, False]


@virtual
async def test_the_rest_of_a_large_group_is_due_at_once() -> None:
    """Whoever settled its survivor may have a slow request next, and announces nothing before."""
    queue = queue_of(coalescing=Coalescing.LATEST, linger=1.0)
    told: list[float] = []
    receipts = [accept(queue, cart()) for _ in range(100)]
    queue.sweep(1.0, 1_000)
    survivor = queue.scheduler.take(Endpoint.CART)
    assert survivor is receipts[-1]
    queue.on_ready = lambda _has_ready, due: told.append(due)
    queue.settle_in_turn(survivor, survivor.outcome_as(OutcomeStatus.RECORDED, 1.0))
    assert told == [-inf]
    queue.sweep(1.0, 1_000)
    assert all(receipt.done() for receipt in receipts)


@pytest.mark.parametrize("leaving", ["expires", "is shed"])
@virtual
async def test_a_lane_stands_in_the_line_of_what_comes_first_in_it_now(leaving: str) -> None:
    """Once its cart event is gone, the order behind it is no cart request."""
    queue = queue_of(overflow="shed")
    accept(queue, cart())
    order = accept(queue, checkout())
    if leaving == "expires":
        queue.sweep(900.0, 10)
    else:
        assert shed(queue, cart())
    assert queue.scheduler.take(Endpoint.CART) is None
    assert queue.scheduler.take(Endpoint.CHECKOUT) is order


@virtual
async def test_a_line_that_nobody_calls_on_keeps_no_places_of_those_who_left() -> None:
    """While the API is down, shed events and their visitors leave nothing behind."""
    queue = queue_of(capacity=10, overflow="shed")
    for number in range(10):
        accept(queue, cart(f"v{number}"))
    for number in range(10, 5_000):
        assert shed(queue, cart(f"v{number}"))
        enter(queue, cart(f"v{number}"))
    assert len(queue.scheduler.lanes) == 10
    assert len(queue.scheduler.lines[Endpoint.CART]) < 200
    taken = [queue.scheduler.take(Endpoint.CART) for _ in range(11)]
    assert [one.event.visitor.fingerprint for one in taken if one] == [
        f"v{number}" for number in range(4_990, 5_000)
    ]


@virtual
async def test_leftovers_come_lane_by_lane_the_taken_one_first() -> None:
    """Each once, while they are settled one by one."""
    queue = queue_of()
    events = [cart("a", quantity=1), cart("b", quantity=2), cart("a", quantity=3)]
    for event in events:
        accept(queue, event)
    queue.scheduler.take(Endpoint.CART)
    left = []
    for envelope in queue.leftovers():
        left.append(envelope.event)
        settle(queue, envelope, "abandoned")
    assert left == [events[0], events[2], events[1]]
    assert queue.outstanding == queue.in_flight == 0
    assert not queue.scheduler.lanes


@virtual
async def test_a_flush_of_nothing_is_over_at_once() -> None:
    """And one after another, each waits for its own events."""
    queue = queue_of(linger=5.0)
    assert queue.flush().done()
    first = accept(queue, cart("a"))
    early = queue.flush()
    second = accept(queue, cart("b"))
    late = queue.flush()
    settle(queue, second)
    assert not early.done()
    assert not late.done()
    settle(queue, first)
    assert early.done()
    assert late.done()


@virtual
async def test_a_flush_that_nobody_waits_for_any_more_harms_none() -> None:
    """Its caller was cancelled; the next flush works."""
    queue = queue_of()
    envelope = accept(queue, cart())
    gone, stays = queue.flush(), queue.flush()
    gone.cancel()
    settle(queue, envelope)
    await asyncio.wait_for(stays, 1)


@pytest.mark.parametrize("others", [0, 10])
@virtual
async def test_two_that_cancelled_out_stand_between_nobody(others: int) -> None:
    """In a short lane and in a long one, which keeps an index."""
    queue = queue_of(coalescing=Coalescing.NET, linger=1.0)
    for number in range(others):
        accept(queue, cart(product=f"p{number}"))
    removals = [accept(queue, cart(type="ITEM_REMOVED", quantity=0))]
    accept(queue, cart(type="ITEM_ADDED"))
    removals += [accept(queue, cart(type="ITEM_REMOVED", quantity=0)) for _ in range(2)]
    first, with_the_addition, last = removals
    assert with_the_addition.done()
    assert first.folds is not None
    assert first.folds.survivor is last


def waiting(**policy: Any) -> EventQueue:
    """A queue in which a cart event lingers, and nearly all go the short way."""
    return queue_of(coalescing=Coalescing.DUPLICATES, **{"linger": 1.0, **policy})


@virtual
async def test_what_is_accepted_within_a_millisecond_shares_its_moment() -> None:
    """And never seems older than what came before it, whichever way that went."""
    queue = waiting()
    accepted = {
        now: queue.accept_at_once(cart(product=str(now)), now) for now in (5.0, 5.0001, 5.0005)
    }
    between = accept(queue, cart("b"), now=5.0007)
    accepted |= {now: queue.accept_at_once(cart(product=str(now)), now) for now in (5.0008, 5.1)}
    moments = [envelope.accepted_at for envelope in accepted.values() if envelope is not None]
    assert moments == [5.0, 5.0, 5.0, between.accepted_at, 5.1]
    assert moments[0] is moments[2]


@pytest.mark.parametrize(
    "policy",
    [
        {"capacity": 2, "checkout_reserve": 0.0, "flush_at": None},
        {"capacity": 20, "lane_capacity": 3},
        {"capacity": 20, "flush_at": 3},
        {"capacity": 20, "overflow": Overflow.SHED},
        {"capacity": 20, "linger": 0.0},
    ],
)
@virtual
async def test_the_short_way_leaves_alone_what_is_to_be_looked_at_closely(
    policy: dict[str, Any],
) -> None:
    """No room is taken, nothing is counted, and the long way decides."""
    queue = waiting(**policy)
    for number in range(2):
        accept(queue, cart("a", product=f"p{number}"))
    lane = queue.lane_of(cart("a"), None)
    assert queue.accept_at_once(cart("a", product="last"), 0.0) is None
    assert (queue.admission.taken, lane.size, len(list(lane))) == (2, 2, 2)


@virtual
async def test_a_text_that_takes_more_than_one_slot_goes_the_long_way() -> None:
    """What waits is bounded in bytes, whichever way it came."""
    queue = waiting(capacity=10, capacity_bytes=20_000)
    assert queue.accept_at_once(cart("a", product="p" * 2_000), 0.0) is None
    assert queue.accept_at_once(cart("a", product="p"), 0.0) is not None
