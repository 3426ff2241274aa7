"""An outage longer than memory: what comes then goes to disk alone, and comes back in order."""

import asyncio
import gc
import logging
import random
import threading
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from alhena_async import (
    AlhenaClient,
    CartEvent,
    Coalescing,
    DeliveryExpiredError,
    Event,
    Observer,
    Outcome,
    OutcomeStatus,
    QueueFullError,
    QueuePolicy,
    Receipt,
    RetryPolicy,
)
from alhena_async.journal import SendMark
from alhena_async.testing import Answer, Sent, virtual
from alhena_async.transports import Endpoint
from benchmarks.spilled import bytes_per_event
from tests.memory_journal import MemoryJournal, kept
from tests.scripted import HANG, NEVER_SENT, OK, Script, balance, cart, checkout, client_over

RECORDED, KEPT, ABANDONED, EXPIRED = (
    OutcomeStatus.RECORDED,
    OutcomeStatus.KEPT,
    OutcomeStatus.ABANDONED,
    OutcomeStatus.EXPIRED,
)


def policy(capacity: int = 4, **more: Any) -> QueuePolicy:
    return QueuePolicy(**{"capacity": capacity, "linger": 0.0, "checkout_reserve": 0.0} | more)


class Api(Script):
    """Out of reach until `comes_back`."""

    def __init__(self, *, back: bool = False) -> None:
        super().__init__(otherwise=self._answer_to)
        self.is_back = back
        self.answered: list[Sent] = []

    def _answer_to(self, sent: Sent) -> Answer:
        if not self.is_back:
            return NEVER_SENT
        self.answered.append(sent)
        return OK

    def quantities(self) -> dict[str, list[float]]:
        """What each visitor's recorded requests were, in order."""
        seen: dict[str, list[float]] = defaultdict(list)
        for sent in self.answered:
            seen[sent.fingerprint].append(sent.payload.get("quantity", 0))
        return dict(seen)

    def comes_back(self) -> None:
        self.is_back = True


@asynccontextmanager
async def spilling(
    journal: MemoryJournal, api: Script, events: int = 0, **arguments: Any
) -> AsyncIterator[AlhenaClient]:
    """A client with little room, and so many events of five visitors given to it."""
    arguments = {"queue": policy(), "coalescing": Coalescing.OFF} | arguments
    client = client_over(api, journal=journal, **arguments)
    await client.start()
    try:
        for number in range(events):
            client.track_nowait(nth(number))
        yield client
        balance(client)
    finally:
        await client.close(0.0)
        balance(client)
        assert client.stats().spilled == 0


def nth(number: int) -> CartEvent:
    return cart(f"v{number % 5}", product=f"p{number}", quantity=number + 1)


def in_order(api: Api, events: int) -> bool:
    """Whether each event was sent once since the API came back, each visitor's in order."""
    sent = api.quantities()
    return sent == {
        f"v{who}": [number + 1.0 for number in range(who, events, 5)] for who in range(5)
    }


# --- going and coming back ---------------------------------------------------------------------


@virtual
async def test_what_memory_has_no_room_for_goes_to_disk_alone_and_is_delivered_in_order() -> None:
    """Nothing is refused, nothing lost, nobody overtaken."""
    journal, api = MemoryJournal(), Api()
    async with spilling(journal, api, 100) as client:
        stats = client.stats()
        assert (stats.queued + stats.in_flight, stats.spilled, stats.accepted) == (4, 96, 100)
        await asyncio.sleep(5)
        api.comes_back()
        await client.flush()
        assert client.stats().recorded == 100
        assert client.stats().spilled == 0
        assert not journal.rows
    assert in_order(api, 100)


@virtual
async def test_memory_never_holds_more_than_the_capacity() -> None:
    """Pages take no more than the room that there is."""
    journal, api = MemoryJournal(latency=0.001), Api(back=True)
    seen: set[int] = set()

    class Watching(Observer):
        def outcome(self, outcome: Outcome) -> None:
            look()

        def attempt(self, event: Event, number: int) -> None:
            look()

    def look() -> None:
        stats = client.stats()
        seen.add(stats.queued + stats.in_flight)

    async with spilling(journal, api, observers=[Watching()]) as client:
        for number in range(200):
            client.track_nowait(nth(number))
            look()
            if number % 7 == 0:
                await asyncio.sleep(0.001)
        await client.flush()
        assert client.stats().recorded == 200
    assert max(seen) == 4
    assert in_order(api, 200)


@virtual
async def test_while_anything_is_on_disk_alone_what_comes_joins_it_though_there_is_room() -> None:
    """Otherwise it would overtake its own visitor's."""
    journal, api = MemoryJournal(latency=10.0), Api(back=True)
    async with spilling(journal, api, 6) as client:
        await asyncio.sleep(1.0)
        assert (client.stats().queued, client.stats().spilled) == (0, 2)  # the page takes its time
        client.track_nowait(nth(6))
        assert client.stats().spilled == 3
        await client.flush()
    assert in_order(api, 7)


@virtual
async def test_without_a_journal_the_overflow_policy_applies() -> None:
    """There is no disk to bound the outage."""
    client = client_over(Api(), queue=policy())
    async with client:
        for number in range(4):
            client.track_nowait(nth(number))
        with pytest.raises(QueueFullError):
            client.track_nowait(nth(4))
        await client.close(0.0)


@virtual
async def test_track_record_and_record_all_go_to_disk_as_well() -> None:
    """They would wait for room, and the disk has some."""
    journal, api = MemoryJournal(), Api()
    async with spilling(journal, api, 4) as client:
        receipt = await client.track(nth(4))
        recording = asyncio.create_task(client.record(nth(5), timeout=None))

        async def record_all() -> list[OutcomeStatus]:
            return [one.status async for one in client.record_all([nth(6), nth(7)])]

        several = asyncio.create_task(record_all())
        await asyncio.sleep(1)
        assert client.stats().spilled == 4
        api.comes_back()
        assert (await receipt).status is RECORDED
        assert (await recording).status is RECORDED
        assert await several == [RECORDED, RECORDED]
        await client.flush()
    assert in_order(api, 8)


@virtual
async def test_track_returns_once_its_spilled_event_is_on_disk() -> None:
    """As it does for what is in memory."""
    journal, api = MemoryJournal(latency=3.0), Api()
    async with spilling(journal, api, 4) as client:
        before = asyncio.get_running_loop().time()
        receipt = await client.track(nth(4))
        assert asyncio.get_running_loop().time() - before == 3.0
        assert not receipt.done()


@virtual
async def test_what_expired_on_disk_ends_expired_as_it_is_read() -> None:
    """It needs no attempt, and holds nobody up."""
    journal, api = MemoryJournal(), Api()
    retry = RetryPolicy(cart_delivery_timeout=100.0)
    async with spilling(journal, api, 20, retry=retry) as client:
        receipt = client.track_nowait(nth(20))
        await asyncio.sleep(90)
        fresh = [client.track_nowait(nth(number)) for number in range(21, 25)]
        await asyncio.sleep(20)
        api.comes_back()
        await client.flush()
        stats = client.stats()
        assert (stats.expired, stats.recorded) == (21, 4)
        outcome = await receipt
        assert outcome.status is EXPIRED
        assert outcome.elapsed < 112.0
        assert [(await one).status for one in fresh] == [RECORDED] * 4
        assert not journal.rows
    assert sum(status is EXPIRED for group in journal.endings for status, _ in group) == 21


@virtual
async def test_an_event_that_came_back_is_not_ambiguous() -> None:
    """This process never sent it: an order that the API has already is a duplicate."""
    journal, api = MemoryJournal(), Api()
    async with spilling(journal, api, 4) as client:
        receipt = client.track_nowait(checkout("w"))
        api.comes_back()
        outcome = await receipt
        assert (outcome.status, outcome.ambiguous, outcome.attempts) == (RECORDED, False, 1)


@virtual
async def test_a_checkout_that_may_not_be_repeated_comes_back_unsent() -> None:
    """Its intent is written before it is sent, like that of any other."""
    journal, api = MemoryJournal(), Api()
    retry = RetryPolicy(assign_order_ids=False)
    async with spilling(journal, api, 4, retry=retry) as client:
        receipt = client.track_nowait(checkout("w", order_id=None))
        api.comes_back()
        assert (await receipt).status is RECORDED
    assert [mark for mark, _ in journal.marks] == [SendMark.SENT]


@virtual
async def test_an_assigned_order_id_survives_the_disk() -> None:
    """It is fixed for all attempts, and for all processes."""
    journal, api = MemoryJournal(), Api()
    async with spilling(journal, api, 4) as client:
        client.track_nowait(checkout("w", order_id=None))
        [order_id] = [row.order_id for row in journal.rows.values() if row.order_id]
        api.comes_back()
        await client.flush()
        [sent] = [one for one in api.answered if one.endpoint is Endpoint.CHECKOUT]
        assert sent.payload["order_id"] == order_id


@virtual
async def test_an_order_that_was_recorded_meanwhile_is_a_duplicate() -> None:
    """The order id is known though its event was on disk."""
    journal, api = MemoryJournal(), Api()
    async with spilling(journal, api, 3) as client:
        first = client.track_nowait(checkout("a", order_id="same"))
        second = client.track_nowait(checkout("b", order_id="same"))
        assert client.stats().spilled == 1
        api.comes_back()
        assert (await first).status is RECORDED
        assert (await second).status is OutcomeStatus.DUPLICATE


@virtual
async def test_what_comes_back_folds_like_what_waits_in_memory() -> None:
    """After a long outage the latest quantity is what counts; `record` is never folded away."""
    journal, api = MemoryJournal(), Api()
    async with spilling(journal, api, 4, coalescing=Coalescing.LATEST) as client:
        kind = {"type": "QUANTITY_INCREASED"}
        first = client.track_nowait(cart("w", quantity=2, **kind))
        own = asyncio.create_task(client.record(cart("w", quantity=3, **kind), timeout=None))
        await asyncio.sleep(0)
        later = [client.track_nowait(cart("w", quantity=4 + more, **kind)) for more in range(3)]
        api.comes_back()
        await client.flush()
        assert (await own).status is RECORDED
        assert api.of("w")[-1] == "mug:QUANTITY_INCREASED:6"
        assert (await later[-1]).status is RECORDED
        assert (await first).status in {RECORDED, OutcomeStatus.COALESCED}
        assert "mug:QUANTITY_INCREASED:3" in api.of("w")


@virtual
async def test_a_folded_receipt_names_its_survivor_by_the_id_that_the_caller_has() -> None:
    """The id is the receipt's, before and after the page."""
    journal, api = MemoryJournal(), Api()
    queue = policy(40)
    async with spilling(journal, api, coalescing=Coalescing.DUPLICATES, queue=queue) as client:
        for number in range(40):
            client.track_nowait(nth(number))
        first, second = (client.track_nowait(cart("w")) for _ in range(2))
        name = second.id
        api.comes_back()
        assert (await first).detail == f"folded into {name}"
        assert second.id == name


# --- checkouts, lanes --------------------------------------------------------------------------


@virtual
async def test_a_checkout_overtakes_the_line_on_disk_but_never_its_own_visitor() -> None:
    """Room that is kept for checkouts is for those that pass nobody of their own lane."""
    journal, api = MemoryJournal(), Api()
    queue = policy(10, checkout_reserve=0.2)
    async with spilling(journal, api, queue=queue) as client:
        for number in range(8):
            client.track_nowait(nth(number))
        client.track_nowait(cart("w"))
        assert client.stats().spilled == 1
        client.track_nowait(checkout("x", order_id="order-2"))
        assert client.stats().spilled == 1
        client.track_nowait(checkout("w"))
        assert client.stats().spilled == 2
        api.comes_back()
        await client.flush()
    assert api.of("w")[-2:] == ["mug:ITEM_ADDED:1", "order-1"]


@virtual
async def test_one_visitor_fills_the_disk_no_more_than_memory() -> None:
    """Beyond `lane_capacity`, on disk and in memory together, its own events give way."""
    journal, api = MemoryJournal(), Api()
    async with spilling(journal, api, queue=policy(lane_capacity=10)) as client:
        for _ in range(10 + 1):  # one of them is taken
            client.track_nowait(cart("bot"))
            await asyncio.sleep(0)
        with pytest.raises(QueueFullError, match="lane"):
            client.track_nowait(cart("bot"))
        client.track_nowait(cart("shopper"))
        assert client.stats().spilled == 8
        api.comes_back()
        await client.flush()
        assert client.stats().recorded == 12


@virtual
async def test_callers_of_a_full_lane_wait_for_it_and_then_go_to_disk() -> None:
    """Their lane has room again, and memory has none."""
    journal, api = MemoryJournal(), Api()
    async with spilling(journal, api, queue=policy(lane_capacity=2)) as client:
        for _ in range(3):
            client.track_nowait(cart("bot"))
            await asyncio.sleep(0)
        waiting = asyncio.create_task(client.track(cart("bot", quantity=9)))
        for number in range(20):
            client.track_nowait(cart(f"shopper-{number}"))
        assert not waiting.done()
        api.comes_back()
        receipt = await waiting
        assert (await receipt).status is RECORDED
        await client.flush()


@pytest.mark.parametrize("seed", range(3))  # of the jitter: retries end in another order in each
@pytest.mark.parametrize("room", range(4, 8))
@virtual
async def test_events_held_behind_a_dead_process_s_rows_stay_behind_them(
    room: int, seed: int
) -> None:
    """Though they were on disk alone meanwhile, and come back while older rows are still there."""
    random.seed(seed)
    dead = kept(*(cart("v0", product=f"old{number}") for number in range(6)))
    journal, api = MemoryJournal(dead), Api()
    async with spilling(journal, api, 8, queue=policy(room)) as client:
        assert client.stats().spilled > 0
        await asyncio.sleep(1)
        api.comes_back()
        await client.flush()
    of_v0 = [one.split(":")[0] for one in api.of("v0")]
    sent = list(dict.fromkeys(of_v0))
    assert sent == [*(f"old{number}" for number in range(6)), "p0", "p5"]


# --- the journal in trouble --------------------------------------------------------------------


@virtual
async def test_without_room_on_disk_the_overflow_policy_applies() -> None:
    """`max_rows` bounds the outage; with room again, events go to disk again."""
    journal, api = MemoryJournal(), Api()
    journal.max_rows = 10
    async with spilling(journal, api, 10) as client:
        with pytest.raises(QueueFullError):
            client.track_nowait(nth(10))
        dropped = client.stats().dropped
        assert (client.stats().spilled, dropped) == (6, 0)
        journal.max_rows = 11
        client.track_nowait(nth(10))
        api.comes_back()
        await client.flush()
    assert in_order(api, 11)


@pytest.mark.parametrize("overflow", ["drop", "shed"])
@virtual
async def test_nothing_is_shed_past_what_is_on_disk_alone(overflow: str) -> None:
    """A younger event in memory would overtake it."""
    journal, api = MemoryJournal(), Api()
    async with spilling(journal, api, 6, queue=policy(overflow=overflow)) as client:
        journal.is_full = True
        if overflow == "drop":
            assert client.track_nowait(nth(6)).done()
        else:
            with pytest.raises(QueueFullError):
                client.track_nowait(nth(6))
        journal.is_full = False
        client.track_nowait(nth(6))
        api.comes_back()
        await client.flush()
        assert client.stats().recorded == 7


@virtual
async def test_shed_still_makes_room_where_the_disk_has_none() -> None:
    """The policy applies as without a journal."""
    journal, api = MemoryJournal(), Api()
    journal.is_full = True
    async with spilling(journal, api, 6, queue=policy(overflow="shed")) as client:
        assert (client.stats().dropped, client.stats().spilled) == (2, 0)


@virtual
async def test_those_who_wait_for_room_go_to_disk_as_soon_as_it_has_some() -> None:
    """In the order in which they came, and before their own visitor's next."""
    journal, api = MemoryJournal(), Api()
    async with spilling(journal, api, 4) as client:
        journal.is_full = True
        waiting = [asyncio.create_task(client.track(nth(number))) for number in range(4, 10)]
        await asyncio.sleep(1)
        assert not any(one.done() for one in waiting)
        journal.is_full = False
        client.track_nowait(cart("w"))
        await asyncio.gather(*waiting)
        assert client.stats().spilled == 7
        api.comes_back()
        await client.flush()
    api.answered[:] = [one for one in api.answered if one.fingerprint != "w"]
    assert in_order(api, 10)


@virtual
async def test_nobody_passes_a_caller_of_the_same_visitor_on_the_way_to_the_disk() -> None:
    """Neither before it is sent there, nor while it is on its way."""
    journal, api = MemoryJournal(), Api()
    async with spilling(journal, api, 4) as client:
        journal.is_full = True
        first = asyncio.create_task(client.track(nth(4)))
        await asyncio.sleep(1)
        journal.is_full = False
        with pytest.raises(QueueFullError):
            client.track_nowait(nth(9))
        second = asyncio.create_task(client.track(nth(14)))  # comes to run before the first does
        client.track_nowait(cart("w"))
        await asyncio.gather(first, second)
        assert client.stats().spilled == 3
        api.comes_back()
        await client.flush()
    assert api.quantities()["v4"] == [5, 15]


@virtual
async def test_who_is_cancelled_on_the_way_to_the_disk_leaves_no_trace() -> None:
    """It was neither accepted nor has it room."""
    journal, api = MemoryJournal(), Api()
    async with spilling(journal, api, 4) as client:
        journal.is_full = True
        waiting = asyncio.create_task(client.track(nth(4)))
        await asyncio.sleep(1)
        journal.is_full = False
        client.track_nowait(cart("w"))
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert client.stats().accepted == 5
        client.track_nowait(nth(4))
        api.comes_back()
        await client.flush()


@virtual
async def test_a_journal_that_cannot_be_read_is_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What it has stays there, and is delivered in the end."""
    journal, api = MemoryJournal(), Api(back=True)
    journal.unreadable.add(None)
    async with spilling(journal, api, 20) as client:
        await asyncio.sleep(10)
        assert client.stats().spilled == 16
        journal.unreadable.clear()
        await client.flush(100.0)
    assert in_order(api, 20)
    assert caplog.text.count("cannot be read: ") == 1
    assert caplog.text.count("can be read again") == 1


@virtual
async def test_what_the_journal_lost_is_counted_and_nobody_waits_for_it() -> None:
    """Its file may have been deleted, with what it alone had."""
    journal, api = MemoryJournal(), Api()
    async with spilling(journal, api, 4) as client:
        lost = client.track_nowait(nth(4))
        for number in range(5, 20):
            client.track_nowait(nth(number))
        journal.lost = set(sorted(journal.rows)[4:9])
        api.comes_back()
        await client.flush()
        assert (client.stats().abandoned, client.stats().recorded) == (5, 15)
        outcome = await lost
        assert (outcome.status, outcome.event) == (ABANDONED, nth(4))


@virtual
async def test_what_was_lost_at_the_end_holds_nobody_up_either() -> None:
    """There is no row behind it that would show it."""
    journal, api = MemoryJournal(), Api()
    async with spilling(journal, api, 10) as client:
        flushing = asyncio.create_task(client.flush())
        await asyncio.sleep(1)
        journal.lost = set(sorted(journal.rows)[7:])
        later = client.track_nowait(nth(10))
        api.comes_back()
        await flushing
        assert (await later).status is RECORDED
        assert (client.stats().abandoned, client.stats().recorded) == (3, 8)


@virtual
async def test_a_foreign_journal_that_fails_in_any_way_stops_nobody() -> None:
    """It is logged once, and the overflow policy applies."""

    class Broken(MemoryJournal):
        @property
        def has_room(self) -> bool:
            raise AttributeError("an older protocol")

    async with spilling(Broken(), Api(), 4) as client:
        for _ in range(2):
            with pytest.raises(QueueFullError):
                client.track_nowait(nth(4))

    class Refusing(MemoryJournal):
        def append(self, *args: Any, **more: Any) -> int:
            if more.pop("spilled", False):
                raise TypeError("what is that?")
            return super().append(*args, **more)

    async with spilling(Refusing(), Api(), 4) as client:
        with pytest.raises(QueueFullError):
            client.track_nowait(nth(4))


# --- receipts ----------------------------------------------------------------------------------


@virtual
async def test_a_receipt_that_nobody_holds_costs_nothing() -> None:
    """And its event is delivered all the same."""
    journal, api = MemoryJournal(), Api()
    async with spilling(journal, api, 1_000, queue=policy(lane_capacity=1_000)) as client:
        gc.collect()
        kinds = [type(one).__name__ for one in gc.get_objects()]
        assert kinds.count("SpilledReceipt") == 0
        api.comes_back()
        await client.flush()
        assert client.stats().recorded == 1_000


@virtual
async def test_whoever_awaits_holds_the_receipt_even_if_nobody_holds_the_awaiter() -> None:
    """The loop keeps tasks weakly: what they wait for has to keep them."""
    journal, api = MemoryJournal(), Api()
    told: list[OutcomeStatus] = []
    async with spilling(journal, api, 4) as client:

        async def tell() -> None:
            told.append((await client.track_nowait(nth(4))).status)

        asyncio.create_task(tell())  # noqa: RUF006  the point of it
        client.track_nowait(nth(5)).add_done_callback(lambda one: told.append(_status(one)))
        await asyncio.sleep(0)
        gc.collect()
        api.comes_back()
        await client.flush()
        await asyncio.sleep(0)
    assert told == [RECORDED, RECORDED]


@virtual
async def test_a_receipt_is_let_go_once_nobody_waits_any_more() -> None:
    """A `record` that gave up after its timeout leaves nothing in memory."""
    journal, api = MemoryJournal(), Api()
    async with spilling(journal, api, 4) as client:

        async def give_up() -> None:
            with pytest.raises(TimeoutError, match="on disk alone, and was not sent yet"):
                await client.record(nth(4), timeout=0.1)

        for _ in range(10):
            await asyncio.create_task(give_up())
        gc.collect()
        kinds = [type(one).__name__ for one in gc.get_objects()]
        assert kinds.count("SpilledReceipt") == 0
        api.comes_back()
        await client.flush()
        assert client.stats().recorded == 14


@virtual
async def test_a_receipt_tells_the_same_before_and_after_its_page() -> None:
    """Its event and its time are those of its acceptance."""
    journal, api = MemoryJournal(), Api()
    async with spilling(journal, api, 4) as client:
        event = nth(4)
        receipt = client.track_nowait(event)
        assert receipt.event is event
        assert (receipt.done(), receipt.outcome, receipt.accepted_at) == (False, None, 0.0)
        await asyncio.sleep(7)
        api.comes_back()
        outcome = await receipt
        assert outcome.event is event is receipt.event
        assert receipt.outcome is outcome
        assert outcome.elapsed == asyncio.get_running_loop().time()
        assert await receipt is outcome


@virtual
async def test_awaiters_on_both_sides_of_the_page_are_woken() -> None:
    """Those who came before it, those who came after it, and the callbacks."""
    journal, api = MemoryJournal(), Api()
    async with spilling(journal, api, 4) as client:
        receipt = client.track_nowait(nth(4))
        called: list[bool] = []
        receipt.add_done_callback(lambda one: called.append(one is receipt))
        early = asyncio.ensure_future(_await(receipt))
        await asyncio.sleep(0)
        api.comes_back()
        while client.stats().spilled:  # noqa: ASYNC110  turns of the loop, no time
            await asyncio.sleep(0.01)
        late = asyncio.ensure_future(_await(receipt))
        receipt.add_done_callback(lambda one: called.append(one is receipt))
        assert (await early).status is RECORDED
        assert await late is await early
        await asyncio.sleep(0)
    assert called == [True, True]


def _status(receipt: Receipt) -> OutcomeStatus:
    assert receipt.outcome is not None
    return receipt.outcome.status


async def _await(receipt: Any) -> Outcome:
    outcome: Outcome = await receipt
    return outcome


@virtual
async def test_a_cancelled_awaiter_cancels_nothing_but_its_waiting() -> None:
    """On disk as in memory."""
    journal, api = MemoryJournal(), Api()
    async with spilling(journal, api, 4) as client:
        receipt = client.track_nowait(nth(4))
        awaiting = asyncio.ensure_future(_await(receipt))
        await asyncio.sleep(0)
        awaiting.cancel()
        await asyncio.sleep(0)
        api.comes_back()
        assert (await receipt).status is RECORDED


@virtual
async def test_record_waits_and_raises_as_for_what_is_in_memory() -> None:
    """An event that expires on disk raises its error."""
    journal, api = MemoryJournal(), Api()
    retry = RetryPolicy(cart_delivery_timeout=5.0)
    async with spilling(journal, api, 4, retry=retry) as client:
        with pytest.raises(DeliveryExpiredError):
            await client.record(nth(4), timeout=None)


@virtual
async def test_observers_hear_of_spilled_events_like_of_others() -> None:
    """Accepted once, settled once, replayed never."""
    journal, api = MemoryJournal(), Api()
    heard: list[str] = []

    class Watching(Observer):
        def accepted(self, event: Event) -> None:
            heard.append("accepted")

        def replayed(self, event: Event) -> None:
            heard.append("replayed")

        def outcome(self, outcome: Outcome) -> None:
            heard.append(outcome.status.value)

    async with spilling(journal, api, 10, observers=[Watching()]) as client:
        api.comes_back()
        await client.flush()
    assert sorted(heard) == ["accepted"] * 10 + ["recorded"] * 10


@virtual
async def test_before_send_runs_once_and_its_event_is_what_is_kept() -> None:
    """What it removed never reaches the disk."""
    journal, api = MemoryJournal(), Api()
    calls: list[Event] = []

    def amend(event: Event) -> Event:
        calls.append(event)
        return cart(event.visitor.fingerprint, product="amended")

    async with spilling(journal, api, 10, before_send=amend) as client:
        assert set(journal.held_products) == {"amended"}
        api.comes_back()
        await client.flush()
        assert client.stats().recorded == 10
    assert len(calls) == 10


async def test_events_of_other_threads_go_to_disk_and_resolve_their_futures() -> None:
    """A `def` handler waits in its own thread."""
    journal, api = MemoryJournal(), Api()
    async with spilling(journal, api, 4) as client:
        told: list[OutcomeStatus] = []

        def handler() -> None:
            told.append(client.track_threadsafe(nth(4)).result().status)

        thread = threading.Thread(target=handler)
        thread.start()
        while not client.stats().spilled:  # noqa: ASYNC110  it comes from another thread
            await asyncio.sleep(0.001)
        api.is_back = True
        await client.flush()
        await asyncio.to_thread(thread.join)
    assert told == [RECORDED]


async def test_a_future_that_another_thread_throws_away_costs_nothing() -> None:
    """And one that has nothing but its callback is held for it."""
    journal, api = MemoryJournal(), Api()
    async with spilling(journal, api, 4) as client:
        told: list[OutcomeStatus] = []

        def handler() -> None:
            for number in range(4, 10):
                client.track_threadsafe(nth(number))
            early = client.track_threadsafe(nth(10))
            early.add_done_callback(lambda done: told.append(done.result().status))

        await asyncio.to_thread(handler)
        while client.stats().spilled < 7:  # noqa: ASYNC110  they come from another thread
            await asyncio.sleep(0.001)
        late = client.track_threadsafe(nth(11))
        await asyncio.sleep(0)
        late.add_done_callback(lambda done: told.append(done.result().status))
        del late
        gc.collect()
        kinds = [type(one).__name__ for one in gc.get_objects()]
        assert kinds.count("SpilledReceipt") == kinds.count("OutcomeFuture") == 2
        api.is_back = True
        await client.flush()
        await asyncio.sleep(0)
        assert client.stats().recorded == 12
    assert told == [RECORDED, RECORDED]


async def test_a_spilled_event_costs_at_most_120_bytes(tmp_path: Path) -> None:
    """Even if each is of a visitor of its own; `python -m benchmarks.spilled` has more of them."""
    [size] = await bytes_per_event(tmp_path, [3_000], visitors=10**9)
    assert size <= 120


@virtual
async def test_an_event_whose_record_gave_up_folds_like_any_other() -> None:
    """Nobody waits for it any more."""
    journal, api = MemoryJournal(), Api()
    some = {"queue": policy(40), "coalescing": Coalescing.LATEST}  # one page has both
    async with spilling(journal, api, 40, **some) as client:
        kind = {"type": "QUANTITY_INCREASED"}
        try:
            await client.record(cart("w", quantity=2, **kind), timeout=1.0)
        except TimeoutError as error:
            held = error  # with its traceback, and all that it holds
        client.track_nowait(cart("w", quantity=3, **kind))
        api.comes_back()
        await client.flush()
        assert held is not None
        assert api.of("w") == ["mug:QUANTITY_INCREASED:3"]


# --- flush and close ---------------------------------------------------------------------------


@virtual
async def test_flush_waits_for_what_is_on_disk_alone_and_for_nothing_younger() -> None:
    """Each flush for what came before it."""
    journal, api = MemoryJournal(), Api()
    async with spilling(journal, api, 10) as client:
        first = asyncio.create_task(client.flush())
        await asyncio.sleep(0)
        for number in range(10, 30):
            client.track_nowait(nth(number))
        with pytest.raises(TimeoutError, match="flush: 30 events"):
            await client.flush(1.0)
        api.comes_back()
        await first
        assert 10 <= client.stats().recorded < 30
        await client.flush()
        assert client.stats().recorded == 30


@virtual
async def test_close_drains_what_is_on_disk_alone_too() -> None:
    """As much as its time allows."""
    journal, api = MemoryJournal(), Api()
    async with spilling(journal, api, 50) as client:
        api.comes_back()
        report = await client.close(None)
        assert (report.stats.recorded, report.stats.kept) == (50, 0)
    assert in_order(api, 50)


@virtual
async def test_close_keeps_what_is_on_disk_alone() -> None:
    """Counted all of it; who holds a receipt is told; the next start delivers it in order."""
    journal, api = MemoryJournal(), Api()
    async with spilling(journal, api, 30) as client:
        receipt = client.track_nowait(nth(30))
        waiting = asyncio.ensure_future(_await(client.track_nowait(nth(31))))
        await asyncio.sleep(1)
        report = await client.close(1.0)
        assert (report.stats.kept, report.stats.spilled, report.stats.abandoned) == (32, 0, 0)
        assert len(report.undelivered) == 4
        assert (await receipt).status is (await waiting).status is KEPT
        assert "next start" in str((await receipt).detail)
    api, again = Api(back=True), MemoryJournal(*journal.left())
    async with spilling(again, api) as client:
        await client.flush()
        assert client.stats().replayed == 32
    assert in_order(api, 32)


@virtual
async def test_what_did_not_reach_the_disk_before_the_end_is_not_called_kept() -> None:
    """Nobody may rely on it."""
    journal, api = MemoryJournal(), Api()
    async with spilling(journal, api, 10) as client:
        await asyncio.sleep(1)
        receipt = client.track_nowait(nth(10))
        client.track_nowait(nth(11))
        journal.is_full = True
        report = await client.close(0.0)
        assert (report.stats.kept, report.stats.abandoned) == (10, 2)
        assert (await receipt).status is ABANDONED


@virtual
async def test_a_dispatcher_that_fails_leaves_what_is_on_disk_for_the_next_start() -> None:
    """And tells it to whoever holds a receipt."""
    journal, api = MemoryJournal(), Api()
    async with spilling(journal, api, 10) as client:
        receipt = client.track_nowait(nth(10))
        await asyncio.sleep(1)
        client._engine._fail(RuntimeError("boom"))
        assert (await receipt).status is KEPT
        assert client.stats().kept == 11


# --- the log and the counts --------------------------------------------------------------------


@virtual
async def test_the_log_tells_that_events_go_to_disk_alone_and_that_it_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Beginning, reminder, end."""
    journal, api = MemoryJournal(), Api()
    async with spilling(journal, api, 5) as client:
        for number in range(5, 65):
            await asyncio.sleep(10)
            client.track_nowait(nth(number))
        api.comes_back()
        await client.flush()
        await asyncio.sleep(100)
        client.track_nowait(nth(65))
        await client.flush()
    lines = [line.getMessage() for line in caplog.records if line.levelno >= logging.WARNING]
    outage = [line for line in lines if "out of reach since" in line and "still" in line]
    assert outage
    assert all("of them on disk alone" in line for line in outage)
    about = [line for line in lines if "to disk alone" in line]
    assert about[0].startswith("alhena: events go to disk alone, as 5 events are waiting")
    assert about[1].startswith("alhena: events go to disk alone still, as ")
    assert about[-1] == "alhena: there is room again; for 12 min events go to disk alone"


@virtual
async def test_the_oldest_age_is_of_what_is_on_disk_too() -> None:
    """A gauge that forgot it would look well."""
    journal, api = MemoryJournal(latency=50.0), Api(back=True)
    async with spilling(journal, api, 10) as client:
        await asyncio.sleep(20)
        stats = client.stats()
        assert (stats.queued, stats.spilled, stats.oldest_age) == (0, 6, 20.0)
        assert "6 on disk alone" in repr(client)


@virtual
async def test_a_lane_with_nothing_but_spilled_events_costs_no_memory() -> None:
    """A million visitors may be on disk."""
    journal, api = MemoryJournal(), Script(otherwise=HANG)
    async with spilling(journal, api, 4) as client:
        for number in range(100):
            client.track_nowait(cart(f"w{number}"))
        assert len(client._queue.scheduler.lanes) == 4
