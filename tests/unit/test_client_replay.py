"""What dead processes left is delivered first, in order, and takes no room that it must not."""

import asyncio
from collections import defaultdict
from typing import Any

import pytest

from alhena_async import (
    AlhenaClient,
    Event,
    HttpPolicy,
    JournalError,
    Observer,
    OutcomeStatus,
    QueueFullError,
    QueuePolicy,
    RetryPolicy,
)
from alhena_async.journal import Backlog, Page, SendMark
from alhena_async.testing import virtual
from tests.memory_journal import MemoryJournal, kept
from tests.scripted import (
    HANG,
    NEVER_SENT,
    Script,
    balance,
    cart,
    checkout,
    client_over,
    code,
    task_of,
)

NOW = QueuePolicy(linger=0.0)
RECORDED, KEPT, UNKNOWN, EXPIRED = (
    OutcomeStatus.RECORDED,
    OutcomeStatus.KEPT,
    OutcomeStatus.UNKNOWN,
    OutcomeStatus.EXPIRED,
)


class Heard(Observer):
    """Writes down what was replayed, and how everything ended."""

    def __init__(self) -> None:
        self.replays: list[Event] = []
        self.ends: dict[Event, Any] = {}
        self.first_replay = asyncio.Event()

    def replayed(self, event: Event) -> None:
        self.replays.append(event)
        self.first_replay.set()

    def outcome(self, outcome: Any) -> None:
        self.ends[outcome.event] = outcome


def carts(count: int, who: str = "v", *, start: int = 1) -> list[Event]:
    return [cart(who, quantity=number) for number in range(start, start + count)]


def replaying(journal: MemoryJournal, transport: Script, **arguments: Any) -> AlhenaClient:
    return client_over(transport, journal=journal, **{"queue": NOW, **arguments})


def quantities(transport: Script, who: str = "v") -> list[int]:
    return [sent.payload["quantity"] for sent in transport.sent if sent.fingerprint == who]


# --- order -------------------------------------------------------------------------------------


@virtual
async def test_what_was_left_is_sent_in_its_order_ahead_of_younger_events() -> None:
    """File by file, each in its order, and then what is tracked from now on."""
    journal = MemoryJournal(kept(*carts(3)), kept(*carts(3, start=4)), latency=1.0)
    transport = Script(latency=0.1)
    async with replaying(journal, transport) as client:
        for number in (7, 8, 9):
            client.track_nowait(cart(type="QUANTITY_INCREASED", quantity=number))
            client.track_nowait(checkout(order_id=f"o{number}"))
        await client.flush()
        balance(client)
    carts_sent = [sent.payload["quantity"] for sent in transport.sent if "quantity" in sent.payload]
    assert carts_sent == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert transport.what[6:] == [
        f"{what}" for n in (7, 8, 9) for what in (f"mug:QUANTITY_INCREASED:{n}", f"o{n}")
    ]


@virtual
async def test_lanes_without_a_backlog_wait_for_nothing() -> None:
    """Only a visitor whose older events are on disk is held."""
    journal = MemoryJournal(kept(*carts(3)), latency=5.0)
    transport = Script()
    async with replaying(journal, transport) as client:
        held, free = client.track_nowait(cart("v", product="cup")), client.track_nowait(cart("w"))
        await asyncio.sleep(1.0)
        assert free.done()
        assert not held.done()
        assert client.stats().queued == 1
        assert (await held).status is RECORDED
    assert quantities(transport) == [1, 2, 3, 1]


@virtual
async def test_a_company_key_of_its_own_is_a_lane_of_its_own() -> None:
    """A held lane is told by visitor and key."""
    journal = MemoryJournal(kept(*carts(3)), latency=5.0)
    async with replaying(journal, Script()) as client:
        held = client.track_nowait(cart("v", product="cup"))
        free = client.track_nowait(cart("v"), company_key="other")
        await asyncio.sleep(1.0)
        assert free.done()
        assert not held.done()


@virtual
async def test_a_lane_is_held_until_the_last_of_its_rows_is_in_memory_and_no_longer() -> None:
    """Not until all of the file is: pages of other lanes may follow."""
    policy = QueuePolicy(linger=0.0, capacity=8)
    journal = MemoryJournal(kept(*carts(2, "a"), *carts(6, "b")), latency=1.0)
    transport = Script(otherwise=lambda sent: HANG if sent.fingerprint == "b" else code("X", 200))
    client = replaying(journal, transport, queue=policy)
    await client.start()
    receipt = client.track_nowait(cart("a", quantity=3))
    await asyncio.sleep(5.0)
    assert receipt.done()
    assert quantities(transport, "a") == [1, 2, 3]
    await client.close(timeout=0)


@virtual
async def test_held_events_enter_their_lane_in_call_order_while_others_come() -> None:
    """Many at once, in slices; whoever comes in between stands behind them."""
    policy = QueuePolicy(linger=0.0, capacity=5_000, lane_capacity=5_000)
    journal = MemoryJournal(kept(cart(quantity=1)), latency=1.0)
    transport = Script()
    async with replaying(journal, transport, queue=policy, coalescing="off") as client:
        for number in range(2, 1_202):
            client.track_nowait(cart(quantity=number))
        await asyncio.sleep(1.0)
        for number in range(1_202, 1_400):
            client.track_nowait(cart(quantity=number))
            await asyncio.sleep(0)
        await client.flush()
    assert quantities(transport) == list(range(1, 1_400))


@virtual
async def test_held_events_fold_with_each_other_as_in_any_lane() -> None:
    """And never with what was replayed."""
    journal = MemoryJournal(kept(cart(quantity=1), cart(quantity=1)), latency=1.0)
    transport = Script()
    async with replaying(journal, transport) as client:
        receipts = [client.track_nowait(cart(quantity=number)) for number in (1, 2, 3)]
        await client.flush()
        assert [(await one).status.value for one in receipts] == [
            "coalesced", "coalesced", "recorded",
        ]  # fmt: skip
        balance(client)
    assert quantities(transport) == [1, 1, 3]


@virtual
async def test_held_events_that_cancel_each_other_out_leave_the_others_of_their_lane() -> None:
    """Neither of the two is sent, and nothing is lost with them."""
    journal = MemoryJournal(kept(cart(product="cup")), latency=1.0)
    transport = Script(latency=0.5)
    async with replaying(journal, transport, coalescing="net") as client:
        added = client.track_nowait(cart())
        other = client.track_nowait(cart(product="plate"))
        removed = client.track_nowait(cart(type="ITEM_REMOVED", quantity=0))
        last = client.track_nowait(cart(product="spoon"))
        await client.flush()
        for receipt in (added, removed):
            assert (await receipt).status is OutcomeStatus.COALESCED
        assert (await other).status is (await last).status is RECORDED
        assert client._queue.scheduler.lanes == {}
        balance(client)
    assert transport.what == [f"{what}:ITEM_ADDED:1" for what in ("cup", "plate", "spoon")]


@virtual
async def test_the_next_process_goes_on_where_this_one_was_killed() -> None:
    """Over three lives, everything arrives, in order, and nothing that was settled comes again."""
    arrived: dict[str, list[int]] = defaultdict(list)
    journal = MemoryJournal()
    for life in range(3):
        transport = Script(latency=0.3)
        policy = QueuePolicy(linger=0.0, max_in_flight=1)
        client = replaying(journal, transport, queue=policy, coalescing="off")
        await client.start()
        if life < 2:
            for number in range(1, 4):
                for who in "ab":
                    await client.track(cart(who, quantity=10 * life + number))
        if life == 2:
            await client.flush()
        else:
            await asyncio.sleep(1.0)
        await client.close(timeout=0)
        for sent in transport.sent:
            arrived[sent.fingerprint].append(sent.payload["quantity"])
        journal = MemoryJournal(*journal.left())
    assert not journal.dead
    for who in "ab":
        firsts = list(dict.fromkeys(arrived[who]))
        assert firsts == [1, 2, 3, 11, 12, 13]


# --- what a replayed event is ------------------------------------------------------------------


@virtual
async def test_a_replayed_event_is_told_of_and_counted() -> None:
    """As `replayed`, not as accepted; its row goes with its outcome."""
    heard = Heard()
    journal = MemoryJournal(kept(*carts(3)))
    async with replaying(journal, Script(), observers=[heard]) as client:
        await client.flush()
        stats = client.stats()
        assert (stats.replayed, stats.accepted, stats.recorded) == (3, 0, 3)
        balance(client)
    assert heard.replays == carts(3)
    assert journal.rows == {}
    assert [len(group) for group in journal.groups] == [1, 1, 1]


@virtual
async def test_a_replayed_order_that_exists_is_recorded() -> None:
    """The attempt that ran at the kill was never written down: every replay is ambiguous."""
    heard = Heard()
    journal = MemoryJournal(kept(checkout(order_id="o1")))
    transport = Script(code("ORDER_ALREADY_EXISTS"))
    async with replaying(journal, transport, observers=[heard]) as client:
        await client.flush()
    assert heard.ends[checkout(order_id="o1")].status is RECORDED
    assert heard.ends[checkout(order_id="o1")].ambiguous


@virtual
async def test_an_assigned_order_id_is_the_same_in_the_next_life() -> None:
    """Or the API could not tell the repeat from another order."""
    journal = MemoryJournal(kept(checkout(order_id=None), order_id="auto-7"))
    transport = Script()
    async with replaying(journal, transport) as client:
        await client.flush()
    assert transport.what == ["auto-7"]


@virtual
async def test_a_row_that_was_marked_as_sent_ends_unknown_without_a_request() -> None:
    """It may not be repeated; its lane goes on."""
    heard = Heard()
    sent = kept(checkout(order_id=None), guard=SendMark.SENT)
    journal = MemoryJournal([*sent, *kept(cart())])
    transport = Script()
    async with replaying(journal, transport, observers=[heard]) as client:
        await client.flush()
    outcome = heard.ends[checkout(order_id=None)]
    assert outcome.status is UNKNOWN
    assert "perhaps sent before its process died" in outcome.detail
    assert len(transport.sent) == 1
    assert journal.rows == {}


@virtual
async def test_a_row_that_was_not_sent_is_marked_and_sent_and_is_not_ambiguous() -> None:
    """Its process wrote an intent before each request, and there is none."""
    heard = Heard()
    journal = MemoryJournal(kept(checkout(order_id=None), guard=SendMark.UNSENT))
    retry = RetryPolicy(assign_order_ids=False)
    async with replaying(journal, Script(NEVER_SENT), retry=retry, observers=[heard]) as client:
        await client.flush()
    assert heard.ends[checkout(order_id=None)].status is RECORDED
    assert not heard.ends[checkout(order_id=None)].ambiguous
    assert [mark for mark, _ in journal.marks] == [SendMark.SENT, SendMark.UNSENT, SendMark.SENT]


@virtual
async def test_time_on_disk_counts_against_the_deadline() -> None:
    """One that is over expires without a request; the rest of another is what is left of it."""
    await asyncio.sleep(1_000.0)
    heard = Heard()
    late, soon = cart("late"), cart("soon")
    journal = MemoryJournal([*kept(late, since=50.0), *kept(soon, since=110.0)])
    transport = Script(otherwise=HANG)
    async with replaying(journal, transport, observers=[heard]) as client:
        await asyncio.sleep(1.0)
        assert heard.ends[late].status is EXPIRED
        assert heard.ends[late].elapsed == pytest.approx(950.0, abs=1.0)
        assert client.stats().oldest_age == pytest.approx(891.0)
        await client.flush()
        assert asyncio.get_running_loop().time() == pytest.approx(1_010.0)
        assert heard.ends[soon].status is EXPIRED
    assert {sent.fingerprint for sent in transport.sent} == {"soon"}
    assert journal.rows == {}


@virtual
async def test_replayed_events_that_wait_expire_whatever_the_order_of_their_ages() -> None:
    """Files overlap in time, and the wall clock may have been set back."""
    await asyncio.sleep(1_000.0)
    rows = [
        row for since in (900.0, 300.0, 600.0) for row in kept(cart(f"v{since:g}"), since=since)
    ]
    heard = Heard()
    journal = MemoryJournal(rows)
    retry = RetryPolicy(cart_delivery_timeout=800.0)
    transport = Script(otherwise=NEVER_SENT)
    async with replaying(journal, transport, retry=retry, observers=[heard]) as client:
        await client.flush()
    ends = [(event.visitor.fingerprint, one.status) for event, one in heard.ends.items()]
    assert ends == [("v300", EXPIRED), ("v600", EXPIRED), ("v900", EXPIRED)]


# --- room --------------------------------------------------------------------------------------


@pytest.mark.parametrize("capacity", [1, 2, 3, 7, 50])
@virtual
async def test_no_capacity_is_exceeded_and_none_is_a_deadlock(capacity: int) -> None:
    """With callers pressing into the very lanes that are replayed."""
    policy = QueuePolicy(linger=0.0, capacity=capacity)
    journal = MemoryJournal(kept(*carts(20, "a")), kept(*carts(20, "b"), *carts(3, "a")))
    transport = Script(latency=0.01)
    async with replaying(journal, transport, queue=policy) as client:
        seen: list[int] = []

        async def press(who: str, number: int) -> None:
            await client.track(checkout(who, order_id=f"{who}{number}"))
            seen.append(client._queue.outstanding)
            balance(client)

        async with asyncio.TaskGroup() as group:
            for number in range(30):
                for who in "abc":
                    group.create_task(press(who, number))
        await client.flush()
        assert max(seen) <= capacity
        stats = client.stats()
        assert (stats.replayed, stats.recorded, stats.queued) == (43, 133, 0)
        assert client._queue.admission.reserved_for_replay == 0
        balance(client)


@virtual
async def test_half_of_the_room_is_the_replays_until_it_is_over() -> None:
    """And all of it is everybody's after that."""
    policy = QueuePolicy(linger=0.0, capacity=10)
    journal = MemoryJournal(kept(*(cart(f"v{number}") for number in range(20))))
    journal.max_rows = 0  # nothing goes to disk alone
    gate = asyncio.Event()

    class Gated(Script):
        async def send(self, *request: Any) -> Any:
            await gate.wait()
            return await super().send(*request)

    async with replaying(journal, Gated(), queue=policy) as client:
        await asyncio.sleep(1.0)
        assert client.stats().replayed == 5
        for number in range(5):
            client.track_nowait(cart(f"w{number}"))
        with pytest.raises(QueueFullError):
            client.track_nowait(cart("one too many"))
        gate.set()
        await client.flush()
        assert client.stats().replayed == 20
        gate.clear()
        for number in range(10):
            client.track_nowait(cart(f"x{number}"))
        gate.set()


@virtual
async def test_a_small_backlog_keeps_no_more_places_than_it_has_rows() -> None:
    """The rest is free for all from the start."""
    policy = QueuePolicy(linger=0.0, capacity=10)
    journal = MemoryJournal(kept(*carts(2)), latency=5.0)
    journal.max_rows = 0  # nothing goes to disk alone
    async with replaying(journal, Script(otherwise=HANG), queue=policy) as client:
        for number in range(8):
            client.track_nowait(cart(f"w{number}"))
        with pytest.raises(QueueFullError):
            client.track_nowait(cart("one too many"))
        await client.close(timeout=0)


@virtual
async def test_callers_who_wait_for_room_get_it_when_the_backlog_is_through() -> None:
    """First come first served, as ever."""
    policy = QueuePolicy(linger=0.0, capacity=1)
    journal = MemoryJournal(kept(*carts(3)), latency=0.1)
    transport = Script(latency=1.0)
    async with replaying(journal, transport, queue=policy) as client:
        waiting = [asyncio.create_task(client.track(cart(f"w{number}"))) for number in range(3)]
        await client.flush()
        await asyncio.gather(*waiting)
        await client.flush()
    names = [sent.fingerprint for sent in transport.sent]
    assert names == ["v", "v", "v", "w0", "w1", "w2"]


@virtual
async def test_replayed_events_are_not_shed() -> None:
    """A younger event pushes out what was accepted in this life, held or not; nothing older."""
    policy = QueuePolicy(linger=0.0, capacity=4, overflow="shed")
    journal = MemoryJournal(kept(*carts(2, "old")), latency=1.0)
    journal.max_rows = 0  # nothing goes to disk alone
    async with replaying(journal, Script(otherwise=HANG), queue=policy) as client:
        held = client.track_nowait(cart("old", quantity=3))
        order = client.track_nowait(checkout("old", order_id="o1"))
        after = client.track_nowait(cart("new"))
        assert (await held).status is OutcomeStatus.DROPPED
        balance(client)
        await asyncio.sleep(2.0)
        stats = client.stats()
        assert (stats.replayed, stats.dropped, stats.queued + stats.in_flight) == (2, 1, 4)
        assert not order.done()
        assert not after.done()
        await client.close(timeout=0)


@virtual
async def test_shedding_takes_the_held_ones_that_build_on_what_is_shed() -> None:
    """Also where the oldest of them entered its lane before a backlog was found."""
    policy = QueuePolicy(linger=500.0, capacity=4, overflow="shed")
    journal = MemoryJournal()
    journal.max_rows = 0  # nothing goes to disk alone
    async with replaying(journal, Script(), queue=policy, coalescing="off") as client:
        first = client.track_nowait(cart("v", quantity=1))
        journal.dead.append(kept(cart("v", product="cup")))
        journal.latency = 5.0
        await asyncio.sleep(61.0)
        same = client.track_nowait(cart("v", type="QUANTITY_INCREASED", quantity=2))
        other = client.track_nowait(cart("v", product="plate"))
        last = client.track_nowait(cart("w"))
        assert (await first).status is (await same).status is OutcomeStatus.DROPPED
        assert not other.done()
        assert not last.done()
        assert [len(group) for group in journal.groups] == [2]
        balance(client)
        await client.flush()


@virtual
async def test_a_replayed_event_that_stands_behind_what_is_shed_stays() -> None:
    """It is of another life, and builds on nothing of this one."""
    policy = QueuePolicy(linger=0.0, capacity=4, max_in_flight=1, overflow="shed")
    journal = MemoryJournal()
    journal.max_rows = 0  # nothing goes to disk alone
    http = HttpPolicy(request_timeout=600.0)
    async with replaying(journal, Script(otherwise=HANG), queue=policy, http=http) as client:
        client.track_nowait(checkout("busy"))
        await asyncio.sleep(1.0)
        first = client.track_nowait(cart("v", quantity=2))
        journal.dead.append(kept(cart("v", quantity=1)))
        await asyncio.sleep(61.0)
        assert client.stats().replayed == 1
        client.track_nowait(checkout("w", order_id="o2"))
        client.track_nowait(checkout("w", order_id="o3"))
        assert (await first).status is OutcomeStatus.DROPPED
        stats = client.stats()
        assert (stats.dropped, stats.queued + stats.in_flight) == (1, 4)
        await client.close(timeout=0)


# --- flush and close ---------------------------------------------------------------------------


@virtual
async def test_flush_waits_for_every_backlog_that_is_known() -> None:
    """To be read and settled, within its one timeout."""
    journal = MemoryJournal(kept(*carts(3)), kept(*carts(2, "w")), latency=1.0)
    async with replaying(journal, Script(latency=1.0)) as client:
        with pytest.raises(TimeoutError, match=r"5 events were unsettled after 0\.5 s"):
            await client.flush(timeout=0.5)
        await client.flush(timeout=30.0)
        assert client.stats().recorded == 5


@virtual
async def test_flush_does_not_wait_for_what_comes_after_it() -> None:
    """Nor for a file that is adopted later."""
    journal = MemoryJournal(kept(*carts(2)), latency=1.0)
    transport = Script(
        otherwise=lambda sent: HANG if sent.fingerprint == "late" else code("X", 200)
    )
    async with replaying(journal, transport) as client:
        flushing = asyncio.create_task(client.flush())
        await asyncio.sleep(0)
        client.track_nowait(cart("late"))
        await flushing
        assert asyncio.get_running_loop().time() < 5.0
        await client.close(timeout=0)


@virtual
async def test_close_reads_no_more_and_keeps_who_is_held_behind_it() -> None:
    """What is in memory is delivered; the rest is for the next start, in its order."""
    policy = QueuePolicy(linger=0.0, capacity=4)
    journal = MemoryJournal(kept(*carts(10)), latency=1.0)
    transport = Script(latency=2.0)
    client = replaying(journal, transport, queue=policy)
    await client.start()
    held = client.track_nowait(cart(quantity=11))
    free = client.track_nowait(cart("w"))
    await asyncio.sleep(1.5)
    report = await client.close(timeout=60.0)
    assert asyncio.get_running_loop().time() < 10.0
    assert (await held).status is KEPT
    assert (await free).status is RECORDED
    assert report.undelivered == (cart(quantity=11),)
    assert (report.stats.replayed, report.stats.recorded, report.stats.kept) == (2, 3, 1)
    balance(client)
    [old, own] = journal.left()
    assert [row.event for row in old] == carts(8, start=3)
    assert [row.event for row in own] == [cart(quantity=11)]


@virtual
async def test_close_delivers_who_is_held_no_longer() -> None:
    """Though it comes in the middle of their release."""
    policy = QueuePolicy(linger=0.0, capacity=2_000, lane_capacity=2_000)
    journal = MemoryJournal(kept(cart(quantity=1)), latency=1.0)
    transport = Script()
    heard = Heard()
    client = replaying(journal, transport, queue=policy, coalescing="off", observers=[heard])
    await client.start()
    for number in range(2, 1_002):
        client.track_nowait(cart(quantity=number))
    await heard.first_replay.wait()
    assert client.stats().queued > 500
    report = await client.close()
    assert report.undelivered == ()
    assert quantities(transport) == list(range(1, 1_002))


@virtual
async def test_a_replayed_event_that_is_left_is_kept() -> None:
    """Its row stays where it was."""
    journal = MemoryJournal(kept(*carts(2)))
    client = replaying(journal, Script(otherwise=HANG))
    await client.start()
    await asyncio.sleep(1.0)
    report = await client.close(timeout=1.0)
    assert report.undelivered == tuple(carts(2))
    assert report.stats.kept == 2
    balance(client)
    assert [row.event for rows in journal.left() for row in rows] == carts(2)


@virtual
async def test_a_flush_ends_with_the_client_that_it_waits_for() -> None:
    """What stays on disk is nobody's business any more."""
    journal = MemoryJournal(kept(*carts(5)), latency=100.0)
    client = replaying(journal, Script())
    await client.start()
    flushing = asyncio.create_task(client.flush())
    await asyncio.sleep(1.0)
    await client.close(timeout=1.0)
    await asyncio.wait_for(flushing, 1.0)


@virtual
async def test_a_dispatcher_that_fails_amid_a_replay_settles_everything() -> None:
    """The held ones too; unread rows stay."""
    policy = QueuePolicy(linger=0.0, capacity=4)
    journal = MemoryJournal(kept(*carts(10)), latency=1.0)
    async with replaying(journal, Script(otherwise=HANG), queue=policy) as client:
        held = await client.track(cart(quantity=11))
        flushing = asyncio.create_task(client.flush())
        await asyncio.sleep(1.5)
        task_of("alhena-worker-1").cancel()
        assert (await held).status is KEPT
        await flushing
        assert client.stats().kept == 3
        balance(client)
    assert sum(len(rows) for rows in journal.left()) == 11


# --- held events -------------------------------------------------------------------------------


@virtual
async def test_a_held_event_expires_at_its_own_deadline() -> None:
    """However long the disk takes."""
    journal = MemoryJournal(kept(*carts(2)), latency=2_000.0)
    async with replaying(journal, Script()) as client:
        receipt = client.track_nowait(cart(quantity=3))
        order = client.track_nowait(checkout(order_id="o1"))
        outcome = await receipt
        assert outcome.status is EXPIRED
        assert asyncio.get_running_loop().time() == pytest.approx(900.0)
        assert client.stats().queued == 1
        balance(client)
        assert (await order).status is RECORDED


@virtual
async def test_record_of_a_held_event_stays_in_line_when_its_time_is_over() -> None:
    """`TimeoutError` says so, and it is delivered in its order."""
    journal = MemoryJournal(kept(*carts(2)), latency=5.0)
    transport = Script()
    async with replaying(journal, transport) as client:
        with pytest.raises(TimeoutError, match="stays queued"):
            await client.record(cart(quantity=3), timeout=1.0)
        await client.flush()
    assert quantities(transport) == [1, 2, 3]


# --- trouble -----------------------------------------------------------------------------------


@virtual
async def test_a_backlog_that_cannot_be_read_is_given_up_and_the_next_one_read(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Logged once; who was held behind it goes on, and the file stays."""
    journal = MemoryJournal(kept(*carts(3)), kept(*carts(2, "w")), latency=0.1)
    journal.unreadable.add(0)
    async with replaying(journal, Script()) as client:
        held = client.track_nowait(cart(quantity=9))
        await client.flush()
        assert (await held).status is RECORDED
        stats = client.stats()
        assert (stats.replayed, stats.recorded) == (2, 3)
        assert client._queue.admission.reserved_for_replay == 0
        balance(client)
    assert caplog.text.count("a backlog cannot be read on") == 1
    assert len(journal.rows) == 3


@virtual
async def test_rows_that_never_come_hold_nobody_up() -> None:
    """Unreadable ones were counted and are in no page: the last page settles the count."""

    class Gaps(MemoryJournal):
        async def page(self, file: int | None, *, after: int | None, limit: int) -> Page:
            page = await super().page(file, after=after, limit=limit)
            rows = [row for row in page.rows if row.event.visitor.fingerprint != "gone"]
            return Page(rows=rows, last=page.last)

    journal = Gaps(kept(*carts(3, "gone"), *carts(2)))
    async with replaying(journal, Script()) as client:
        held = client.track_nowait(cart("gone", quantity=9))
        await client.flush()
        assert (await held).status is RECORDED
        assert client.stats().replayed == 2
        assert client._queue.admission.reserved_for_replay == 0
        balance(client)


@virtual
async def test_rows_that_nobody_counted_are_delivered_as_well() -> None:
    """The counts are a forecast; the pages are the truth."""

    class Short(MemoryJournal):
        async def adopt(self) -> Any:
            return [Backlog(file=one.file, rows=0, lanes={}) for one in await super().adopt()]

    journal = Short(kept(*carts(5)))
    async with replaying(journal, Script()) as client:
        await asyncio.sleep(1.0)
        await client.flush()
        assert client.stats().recorded == 5
        balance(client)


@virtual
async def test_files_of_processes_that_die_meanwhile_are_found() -> None:
    """Every minute."""
    journal = MemoryJournal()
    transport = Script()
    async with replaying(journal, transport) as client:
        await asyncio.sleep(30.0)
        journal.dead.append(kept(*carts(2), since=30.0))
        await asyncio.sleep(29.0)
        assert client.stats().replayed == 0
        await asyncio.sleep(2.0)
        assert client.stats().replayed == 2
        journal.dead.append(kept(*carts(2, "w"), since=61.0))
        await asyncio.sleep(60.0)
        assert client.stats().recorded == 4
        balance(client)


@virtual
async def test_a_directory_that_cannot_be_searched_is_logged_once_and_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Every minute, in silence."""

    class Gone(MemoryJournal):
        async def adopt(self) -> Any:
            if 0 < asyncio.get_running_loop().time() < 200.0:
                raise JournalError("cannot be listed")
            return await super().adopt()

    journal = Gone()
    async with replaying(journal, Script()) as client:
        await asyncio.sleep(1.0)
        journal.dead.append(kept(*carts(2), since=1.0))
        await asyncio.sleep(300.0)
        assert client.stats().replayed == 2
    assert caplog.text.count("cannot be searched") == 1


@virtual
async def test_a_journal_with_a_bug_in_paging_stops_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The replay never takes the dispatcher with it."""

    class Broken(MemoryJournal):
        async def page(self, file: int | None, *, after: int | None, limit: int) -> Page:
            raise ZeroDivisionError

    async with replaying(Broken(kept(*carts(3))), Script()) as client:
        receipt = client.track_nowait(cart(quantity=9))
        assert (await receipt).status is RECORDED
        await client.flush()
    assert "the journal failed to read a backlog: ZeroDivisionError" in caplog.text


@virtual
async def test_a_replay_that_is_cancelled_from_outside_holds_nobody_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its rows wait for the next start; live events go on."""
    journal = MemoryJournal(kept(*carts(3)), latency=50.0)
    async with replaying(journal, Script()) as client:
        receipt = client.track_nowait(cart(quantity=9))
        await asyncio.sleep(1.0)
        task_of("alhena-replay").cancel()
        assert (await receipt).status is RECORDED
        await client.flush()
        balance(client)
    assert "the replay failed" in caplog.text
    assert len(journal.rows) == 3


@virtual
async def test_a_great_backlog_is_read_in_pages() -> None:
    """None larger than a turn of the loop bears, and none larger than there is room."""
    policy = QueuePolicy(linger=0.0, capacity=2_000)
    journal = MemoryJournal(kept(*(cart(f"v{number}") for number in range(3_000))))
    async with replaying(journal, Script(), queue=policy) as client:
        await client.flush()
        assert client.stats().recorded == 3_000
    assert max(journal.pages) <= 250
    assert len(journal.pages) >= 12
