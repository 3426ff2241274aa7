"""What a journal adds to each call, and what it is told of each event's end."""

import asyncio
import logging
from typing import Any

import pytest

from alhena_async import (
    AlhenaClient,
    BreakerState,
    Event,
    JournalError,
    OutcomeStatus,
    QueueFullError,
    QueuePolicy,
    RetryPolicy,
)
from alhena_async.journal import SendMark
from alhena_async.testing import Sent, virtual
from alhena_async.transports import CANCELLED_UNSENT, Endpoint, Reply
from tests.memory_journal import MemoryJournal
from tests.scripted import (
    HANG,
    NEVER_SENT,
    OK,
    RESET,
    Script,
    balance,
    cart,
    checkout,
    client_over,
    code,
    task_of,
)

NOW = QueuePolicy(linger=0.0)
SLOW = QueuePolicy(linger=60.0)
RECORDED, COALESCED, KEPT, ABANDONED, DROPPED = (
    OutcomeStatus.RECORDED,
    OutcomeStatus.COALESCED,
    OutcomeStatus.KEPT,
    OutcomeStatus.ABANDONED,
    OutcomeStatus.DROPPED,
)


def kept_client(journal: MemoryJournal, *steps: Any, **arguments: Any) -> AlhenaClient:
    transport = arguments.pop("transport", None) or Script(*steps)
    return client_over(transport, journal=journal, **{"queue": NOW, **arguments})


def statuses(journal: MemoryJournal) -> list[list[OutcomeStatus]]:
    return [[status for status, _ in group] for group in journal.endings]


# --- opening and closing -----------------------------------------------------------------------


@virtual
async def test_the_journal_is_opened_for_the_base_url_and_closed_once() -> None:
    """And dead files are adopted before `start` returns."""
    journal = MemoryJournal()
    client = kept_client(journal, base_url="https://example.org/api")
    await client.start()
    assert journal.calls == ["open", "adopt"]
    assert journal.destination == client.base_url
    await client.close()
    await client.close()
    assert journal.calls == ["open", "adopt", "close"]


@virtual
async def test_a_client_that_never_started_leaves_its_journal_alone() -> None:
    """Construction opens nothing, and so close has nothing to close."""
    journal = MemoryJournal()
    await kept_client(journal).close()
    assert journal.calls == []


@virtual
async def test_a_journal_that_cannot_be_opened_fails_the_start() -> None:
    """With the journal's own words; nothing stays open."""

    class Unusable(MemoryJournal):
        async def open(self, *, destination: str) -> None:
            raise JournalError("the directory belongs to somebody else")

    transport = Script()
    client = kept_client(Unusable(), transport=transport)
    with pytest.raises(JournalError, match="somebody else"):
        await client.start()
    assert transport.closed == 1
    with pytest.raises(RuntimeError, match="not started"):
        client.track_nowait(cart())


@virtual
async def test_a_journal_that_cannot_be_searched_fails_the_start_and_is_closed() -> None:
    """Else live events could slip in before older ones of their lanes."""

    class Unsearchable(MemoryJournal):
        async def adopt(self) -> Any:
            raise JournalError("the directory cannot be listed")

    journal = Unsearchable()
    transport = Script()
    with pytest.raises(JournalError, match="listed"):
        await kept_client(journal, transport=transport).start()
    assert journal.calls == ["open", "close"]
    assert transport.closed == 1


@virtual
async def test_a_client_closed_while_it_opens_its_journal_closes_it_again() -> None:
    """`start` raises; neither the journal nor the transport stays open."""

    class Slow(MemoryJournal):
        async def open(self, *, destination: str) -> None:
            await super().open(destination=destination)
            await asyncio.sleep(5.0)

    journal, transport = Slow(), Script()
    client = kept_client(journal, transport=transport)
    starting = asyncio.create_task(client.start())
    await asyncio.sleep(1.0)
    await client.close()
    with pytest.raises(Exception, match="closed"):
        await starting
    assert journal.calls == ["open", "adopt", "close"]
    assert transport.closed == 1


@virtual
async def test_a_disabled_client_keeps_and_replays_nothing() -> None:
    """In staging, what a live process left must not be sent."""
    journal = MemoryJournal()
    async with kept_client(journal, enabled=False) as client:
        await client.track(cart())
    assert journal.calls == []
    assert journal.rows == {}


@pytest.mark.parametrize("wrong", [7, b"var/alhena", object(), ["var"]])
def test_what_is_no_journal_is_refused(wrong: Any) -> None:
    """At construction, and by name."""
    with pytest.raises(TypeError, match="journal must be"):
        AlhenaClient("shop", journal=wrong)


@virtual
async def test_a_journal_that_fails_in_closing_takes_nothing_with_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The report comes; the failure is logged."""

    class Stuck(MemoryJournal):
        async def close(self) -> None:
            await super().close()
            raise OSError("no")

    async with kept_client(Stuck()) as client:
        client.track_nowait(cart())
        assert (await client.close()).stats.recorded == 1
    assert "the journal could not be closed cleanly" in caplog.text


@virtual
async def test_a_journal_that_never_ends_its_closing_is_left() -> None:
    """Close has a bound of its own for it."""

    class Endless(MemoryJournal):
        async def close(self) -> None:
            await asyncio.Event().wait()

    client = kept_client(Endless())
    await client.start()
    began = asyncio.get_running_loop().time()
    await client.close()
    assert asyncio.get_running_loop().time() - began == pytest.approx(5.0)


@virtual
async def test_a_close_that_is_cancelled_closes_the_journal_all_the_same() -> None:
    """What is on disk is kept, and reported so."""
    journal = MemoryJournal()
    client = kept_client(journal, HANG)
    await client.start()
    receipt = await client.track(cart())
    closing = asyncio.create_task(client.close(timeout=None))
    await asyncio.sleep(1.0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert (await receipt).status is KEPT
    assert journal.calls[-1] == "close"
    assert len(journal.rows) == 1


# --- track and the disk ------------------------------------------------------------------------


@virtual
async def test_track_returns_once_the_event_is_on_disk() -> None:
    """It may be sent before that."""
    journal = MemoryJournal(latency=2.0)
    transport = Script()
    async with kept_client(journal, transport=transport) as client:
        tracking = asyncio.create_task(client.track(cart()))
        await asyncio.sleep(1.0)
        assert len(transport.sent) == 1
        assert not tracking.done()
        await asyncio.sleep(1.5)
        assert (await tracking).event == cart()


@pytest.mark.parametrize("call", ["track_nowait", "record", "record_all", "track_threadsafe"])
@virtual
async def test_other_calls_do_not_wait_for_the_disk(call: str) -> None:
    """Though each event has its row."""
    journal = MemoryJournal()
    journal.stall()
    async with kept_client(journal) as client:
        if call == "track_nowait":
            await client.track_nowait(cart())
        elif call == "record":
            await client.record(cart(), timeout=5.0)
        elif call == "record_all":
            assert [one.status async for one in client.record_all([cart()])] == [RECORDED]
        else:
            await asyncio.wrap_future(client.track_threadsafe(cart()))
        assert statuses(journal) == [[RECORDED]]
        assert journal.endings[0][0][1]
        journal.go_on()


@virtual
async def test_a_tracked_event_stands_in_its_lane_before_it_is_on_disk() -> None:
    """In call order: nothing that comes while it is written passes it."""
    journal = MemoryJournal(latency=5.0)
    transport = Script()
    async with kept_client(journal, transport=transport, queue=SLOW) as client:
        tracking = asyncio.create_task(client.track(cart(quantity=1)))
        await asyncio.sleep(0)
        client.track_nowait(cart(product="cup"))
        await client.flush()
        assert transport.what == ["mug:ITEM_ADDED:1", "cup:ITEM_ADDED:1"]
        assert not tracking.done()
        await tracking


@virtual
async def test_track_cancelled_while_it_is_written_withdraws_nothing() -> None:
    """It only stops waiting."""
    journal = MemoryJournal(latency=5.0)
    transport = Script()
    async with kept_client(journal, transport=transport, queue=SLOW) as client:
        tracking = asyncio.create_task(client.track(cart()))
        await asyncio.sleep(1.0)
        tracking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await tracking
        assert client.stats().queued == 1
        await client.flush()
    assert len(transport.sent) == 1


@virtual
async def test_track_has_one_deadline_for_room_and_disk() -> None:
    """Not one each."""
    journal = MemoryJournal(latency=10.0)
    policy = QueuePolicy(capacity=1, linger=0.0)
    async with kept_client(journal, transport=Script(latency=3.0), queue=policy) as client:
        client.track_nowait(cart("a"))
        with pytest.raises(TimeoutError, match=r"not on disk within 5 s; .* accepted and stays"):
            await client.track(cart("b"), timeout=5)
        assert asyncio.get_running_loop().time() == pytest.approx(5.0)
        assert client.stats().accepted == 2


@virtual
async def test_track_without_room_in_time_accepts_nothing() -> None:
    """As without a journal, and it says so."""
    journal = MemoryJournal(latency=10.0)
    journal.max_rows = 0  # nothing goes to disk alone
    policy = QueuePolicy(capacity=1, linger=0.0)
    async with kept_client(journal, HANG, queue=policy) as client:
        client.track_nowait(cart("a"))
        with pytest.raises(TimeoutError, match="no room within 1 s; not accepted"):
            await client.track(cart("b"), timeout=1)
        assert len(journal.rows) == 1
        await client.close(timeout=0)


@virtual
async def test_track_whose_time_ends_with_the_event_recorded_returns() -> None:
    """An event that has its outcome needs no disk."""
    journal = MemoryJournal()
    journal.stall()
    async with kept_client(journal) as client:
        receipt = await client.track(cart(), timeout=3.0)
        assert (await receipt).status is RECORDED
        journal.go_on()


@virtual
async def test_a_full_disk_is_told_to_who_tracks_and_stops_nothing() -> None:
    """`JournalError` for `track`, nothing for `track_nowait`, and both events are delivered."""
    journal = MemoryJournal(latency=1.0)
    journal.is_full = True
    transport = Script()
    async with kept_client(journal, transport=transport, queue=SLOW) as client:
        with pytest.raises(JournalError, match="goes on in memory"):
            await client.track(cart("a"))
        client.track_nowait(cart("b"))
        await client.flush()
    assert {sent.fingerprint for sent in transport.sent} == {"a", "b"}


@virtual
async def test_a_journal_with_a_bug_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever it raises, events go on in memory."""

    class Broken(MemoryJournal):
        def append(self, *_: Any, **__: Any) -> int:
            raise ZeroDivisionError

        def settle(self, endings: Any) -> None:
            raise ZeroDivisionError

        def holds(self, place: int) -> bool:
            raise ZeroDivisionError

    async with kept_client(Broken(), OK, HANG) as client:
        with pytest.raises(JournalError, match="goes on in memory"):
            await client.track(cart("a"))
        await client.flush()
        lost = client.track_nowait(cart("b"))
        balance(client)
        await client.close(timeout=1.0)
        assert client.stats().recorded == 1
    assert (await lost).status is ABANDONED
    assert "the journal failed to take an event: ZeroDivisionError" in caplog.text


@virtual
async def test_a_journal_that_takes_no_more_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Events go on in memory, guarded ones unmarked; only `track` tells; dead letters are kept."""

    class Behind(MemoryJournal):
        def append(self, *_: Any, **__: Any) -> int:
            raise JournalError("the disk hangs")

    journal = Behind()
    journal.stall()
    retry = RetryPolicy(assign_order_ids=False)
    steps = [OK, OK, code("COMPANY_NOT_FOUND"), HANG]
    async with kept_client(journal, *steps, retry=retry) as client:
        with pytest.raises(JournalError, match="goes on in memory"):
            await client.track(cart("a"))
        receipts = [client.track_nowait(checkout(who, order_id=None)) for who in "bcd"]
        await asyncio.sleep(1.0)
        await client.close(timeout=1.0)
    rejected = OutcomeStatus.REJECTED
    assert {(await one).status for one in receipts} == {RECORDED, rejected, ABANDONED}
    assert [(rejected, False)] in journal.endings
    assert journal.marks == []
    assert "failed to" not in caplog.text


# --- what has a row ----------------------------------------------------------------------------


@virtual
async def test_a_row_says_what_is_sent() -> None:
    """The event, its company key, and the order id, the assigned one too."""
    journal = MemoryJournal()
    async with kept_client(journal, queue=SLOW) as client:
        client.track_nowait(cart(), company_key="other")
        client.track_nowait(checkout("a", order_id="o1"))
        client.track_nowait(checkout("b", order_id=None))
        rows = list(journal.rows.values())
        assert [row.company_key for row in rows] == ["other", "shop", "shop"]
        assert [row.event for row in rows[:2]] == [cart(), checkout("a", order_id="o1")]
        assert rows[1].order_id == "o1"
        assert rows[2].order_id is not None
        assert rows[2].order_id.startswith("auto-")
        assert {row.guard for row in rows} == {SendMark.NONE}


@virtual
async def test_what_a_filter_drops_is_never_written() -> None:
    """It may be a privacy filter: neither a row nor a dead letter."""
    journal = MemoryJournal()
    async with kept_client(journal, before_send=lambda _: None) as client:
        await client.track(cart())
        client.track_nowait(cart())
        assert client.stats().dropped == 2
    assert journal.rows == {}
    assert journal.groups == []


@virtual
async def test_what_finds_no_room_is_told_without_a_row() -> None:
    """It becomes a dead letter, and nothing to be replayed."""
    journal = MemoryJournal()
    journal.max_rows = 0  # nothing goes to disk alone
    policy = QueuePolicy(capacity=1, linger=60.0, overflow="drop")
    async with kept_client(journal, queue=policy) as client:
        client.track_nowait(cart("a"))
        client.track_nowait(checkout("b", order_id="o1"), company_key="other")
        assert journal.endings == [[(DROPPED, False)]]
        [[ending]] = journal.groups
        assert (ending.company_key, ending.order_id) == ("other", "o1")
        assert ending.outcome.event == checkout("b", order_id="o1")


@virtual
async def test_an_event_that_is_rejected_for_want_of_room_leaves_nothing() -> None:
    """`QueueFullError` is all."""
    journal = MemoryJournal()
    journal.max_rows = 0  # nothing goes to disk alone
    policy = QueuePolicy(capacity=1, linger=60.0)
    async with kept_client(journal, queue=policy) as client:
        client.track_nowait(cart("a"))
        with pytest.raises(QueueFullError):
            client.track_nowait(cart("b"))
        assert len(journal.rows) == 1
        assert journal.groups == []


# --- groups ------------------------------------------------------------------------------------


@virtual
async def test_a_survivor_goes_together_with_all_that_folded_into_it() -> None:
    """One transaction: after a kill, either all of them are replayed or none."""
    journal = MemoryJournal()
    async with kept_client(journal, queue=SLOW) as client:
        for quantity in (1, 2, 3):
            client.track_nowait(cart(type="QUANTITY_INCREASED", quantity=quantity))
        assert len(journal.rows) == 3
        await client.flush()
        assert statuses(journal) == [[RECORDED, COALESCED, COALESCED]]
        assert journal.rows == {}


@virtual
async def test_a_pair_that_cancelled_out_goes_together() -> None:
    """A removal alone must not come back."""
    journal = MemoryJournal()
    async with kept_client(journal, queue=SLOW, coalescing="net") as client:
        client.track_nowait(cart())
        client.track_nowait(cart(type="ITEM_REMOVED", quantity=0))
        assert statuses(journal) == [[COALESCED, COALESCED]]
        assert journal.rows == {}


@virtual
async def test_what_is_shed_together_goes_together() -> None:
    """With their rows: the dead letters keep their reasons."""
    journal = MemoryJournal()
    journal.max_rows = 0  # nothing goes to disk alone
    policy = QueuePolicy(capacity=2, linger=60.0, overflow="shed")
    async with kept_client(journal, queue=policy) as client:
        client.track_nowait(cart(quantity=1))
        client.track_nowait(cart(type="ITEM_REMOVED", quantity=0))
        client.track_nowait(cart("other"))
        assert journal.endings == [[(DROPPED, True), (DROPPED, True)]]
        assert len(journal.rows) == 1


@virtual
async def test_every_end_frees_its_row() -> None:
    """Refused, expired or recorded: what has its outcome is not replayed."""
    journal = MemoryJournal()
    retry = RetryPolicy(cart_delivery_timeout=5.0)
    transport = Script(OK, code("COMPANY_NOT_FOUND"), code("ACTIVE_TICKET_NOT_FOUND"), HANG)
    async with kept_client(journal, transport=transport, retry=retry) as client:
        for who in "abcd":
            await client.track(cart(who))
        await client.flush()
        assert [group[0][0].value for group in journal.endings] == [
            "recorded", "rejected", "unattributed", "expired",
        ]  # fmt: skip
        assert journal.rows == {}


# --- what may not be repeated ------------------------------------------------------------------


@virtual
async def test_an_event_that_may_not_be_repeated_is_marked_before_it_is_sent() -> None:
    """An id-less checkout, and a cart event under `retry_ambiguous_carts=False`."""
    journal = MemoryJournal(latency=2.0)
    transport = Script()
    retry = RetryPolicy(assign_order_ids=False, retry_ambiguous_carts=False)
    async with kept_client(journal, transport=transport, retry=retry) as client:
        client.track_nowait(cart("a"))
        client.track_nowait(checkout("b", order_id=None))
        client.track_nowait(checkout("c", order_id="o1"))
        assert [row.guard for row in journal.rows.values()] == [
            SendMark.UNSENT, SendMark.UNSENT, SendMark.NONE,
        ]  # fmt: skip
        await asyncio.sleep(1.0)
        assert transport.what == ["o1"]
        assert client.stats().in_flight == 2
        await client.flush()
        assert sorted(transport.times) == [0.0, 2.0, 2.0]
    assert sum(len(places) for _, places in journal.marks) == 2


@virtual
async def test_those_who_wait_for_their_mark_hold_no_slot() -> None:
    """A slow disk delays them, and nobody else."""
    journal = MemoryJournal(latency=5.0)
    transport = Script(latency=0.1)
    retry = RetryPolicy(assign_order_ids=False)
    policy = QueuePolicy(linger=0.0, max_in_flight=1)
    async with kept_client(journal, transport=transport, retry=retry, queue=policy) as client:
        for number in range(10):
            client.track_nowait(checkout(f"slow{number}", order_id=None))
        for number in range(10):
            client.track_nowait(cart(f"quick{number}"))
        await asyncio.sleep(2.0)
        assert [sent.fingerprint[:5] for sent in transport.sent] == ["quick"] * 10
        await client.flush()
        assert transport.max_in_flight == 1


@virtual
async def test_what_folded_into_a_guarded_event_is_marked_with_it() -> None:
    """The one request stands for all of them."""
    journal = MemoryJournal()
    retry = RetryPolicy(retry_ambiguous_carts=False)
    async with kept_client(journal, queue=SLOW, retry=retry) as client:
        for quantity in (1, 2):
            client.track_nowait(cart(type="QUANTITY_INCREASED", quantity=quantity))
        places = set(journal.rows)
        await client.flush()
    assert [set(mark) for _, mark in journal.marks] == [places]


@virtual
async def test_a_mark_that_cannot_be_written_keeps_no_event_from_the_api() -> None:
    """The shop goes on; the disk is not its customers' business."""
    journal = MemoryJournal()
    journal.is_full = True
    retry = RetryPolicy(assign_order_ids=False)
    async with kept_client(journal, retry=retry) as client:
        receipt = client.track_nowait(checkout(order_id=None))
        assert (await receipt).status is RECORDED
    assert len(journal.marks) == 1


@virtual
async def test_a_mark_is_taken_back_after_a_refusal_and_stays_after_an_ambiguous_end() -> None:
    """What certainly was not recorded, another process may send; the rest is `UNKNOWN`."""
    journal = MemoryJournal()
    retry = RetryPolicy(assign_order_ids=False, base=0.1)
    async with kept_client(journal, code("X", 503), RESET, retry=retry) as client:
        receipt = client.track_nowait(checkout(order_id=None))
        assert (await receipt).status is OutcomeStatus.UNKNOWN
        assert (await receipt).attempts == 2
    assert [mark for mark, _ in journal.marks] == [SendMark.SENT, SendMark.UNSENT, SendMark.SENT]
    assert statuses(journal) == [[OutcomeStatus.UNKNOWN]]


@virtual
async def test_an_event_whose_mark_never_comes_expires_at_its_deadline() -> None:
    """Without a request; its lane goes on."""
    journal = MemoryJournal()
    retry = RetryPolicy(retry_ambiguous_carts=False, cart_delivery_timeout=10.0)
    transport = Script()
    async with kept_client(journal, transport=transport, retry=retry) as client:
        journal.stall()
        receipt = client.track_nowait(cart())
        behind = client.track_nowait(checkout(order_id="o1"))
        outcome = await receipt
        assert outcome.status is OutcomeStatus.EXPIRED
        assert outcome.attempts == 0
        assert asyncio.get_running_loop().time() == pytest.approx(10.0)
        assert (await behind).status is RECORDED
        balance(client)
        journal.go_on()
        await asyncio.sleep(1.0)
    assert transport.what == ["o1"]


NOT_REPEATED = RetryPolicy(assign_order_ids=False, retry_ambiguous_carts=False)
ANON = [checkout(who, order_id=None) for who in "abc"]


@pytest.mark.parametrize("reply", [NEVER_SENT, Reply(503, b""), Reply(429, b"")], ids=str)
@virtual
async def test_a_mark_that_was_not_needed_is_taken_back_by_the_close(reply: Any) -> None:
    """No attempt reached the API: the next start delivers what is `KEPT`, as it says."""
    journal = MemoryJournal()
    client = kept_client(journal, transport=Script(otherwise=reply), retry=NOT_REPEATED)
    await client.start()
    events: list[Event] = [*ANON, cart("d"), cart("d", product="x")]
    receipts = [client.track_nowait(event) for event in events]
    await client.close(timeout=0.5)
    outcomes = [await receipt for receipt in receipts]
    assert {(one.status, one.ambiguous) for one in outcomes} == {(KEPT, False)}
    assert {row.guard for row in journal.rows.values()} == {SendMark.UNSENT}

    heirs, transport = MemoryJournal(*journal.left()), Script()
    async with kept_client(heirs, transport=transport, retry=NOT_REPEATED) as client:
        await client.flush()
        assert client.stats().recorded == len(transport.sent) == 5


@virtual
async def test_a_mark_that_cannot_be_taken_back_is_told_in_the_outcome() -> None:
    """It is kept, and ends `UNKNOWN` at the next start."""
    journal = MemoryJournal()

    def answer(_sent: Sent) -> Any:
        journal.is_full = True
        return NEVER_SENT

    client = kept_client(journal, transport=Script(otherwise=answer), retry=NOT_REPEATED)
    await client.start()
    receipt = await client.track(ANON[0])
    await asyncio.sleep(1.0)
    await client.close(timeout=0.5)
    outcome = await receipt
    assert (outcome.status, outcome.ambiguous) == (KEPT, False)
    assert {row.guard for row in journal.rows.values()} == {SendMark.SENT}


@virtual
async def test_no_more_is_marked_than_may_be_on_the_wire() -> None:
    """A hundred orders, an API that takes a second each: a kill leaves four in doubt at most."""
    journal = MemoryJournal(latency=0.01)
    policy = QueuePolicy(linger=0.0, max_in_flight=4)
    transport = Script(latency=1.0)
    async with kept_client(
        journal, transport=transport, retry=NOT_REPEATED, queue=policy
    ) as client:
        for number in range(100):
            client.track_nowait(checkout(f"v{number}", order_id=None))
        for _ in range(20):
            await asyncio.sleep(0.37)
            doubtful = [row for row in journal.rows.values() if row.guard is SendMark.SENT]
            assert len(doubtful) <= 4
        await client.flush()
    assert len(transport.sent) == 100


@virtual
async def test_a_request_that_the_close_cut_while_it_connected_was_not_sent() -> None:
    """The transport says so; the next start delivers it."""
    journal = MemoryJournal()
    client = kept_client(journal, transport=Connecting(), retry=NOT_REPEATED)
    await client.start()
    receipt = await client.track(ANON[0])
    await client.close(timeout=0.5)
    outcome = await receipt
    assert (outcome.status, outcome.ambiguous, outcome.attempts) == (KEPT, False, 1)
    assert {row.guard for row in journal.rows.values()} == {SendMark.UNSENT}


@virtual
async def test_a_connection_that_does_not_come_about_in_time_is_tried_again() -> None:
    """Nothing was sent, so even what may not be repeated is."""
    transport = Connecting(times=1)
    async with kept_client(MemoryJournal(), transport=transport, retry=NOT_REPEATED) as client:
        outcome = await (await client.track(ANON[0]))
    assert (outcome.status, outcome.ambiguous, outcome.attempts) == (RECORDED, False, 2)


class Connecting(Script):
    """A connection that never comes about, so many times."""

    def __init__(self, times: int = 1_000) -> None:
        super().__init__()
        self._times = times

    async def send(self, endpoint: Endpoint, body: bytes) -> Reply:
        self._times -= 1
        if self._times < 0:
            return await super().send(endpoint, body)
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError as error:
            error.add_note(CANCELLED_UNSENT)
            raise
        raise AssertionError


@virtual
async def test_nothing_is_marked_that_an_open_breaker_would_not_let_through() -> None:
    """An API out of reach: what was refused is marked no longer, the rest never was."""
    journal = MemoryJournal()
    transport = Script(otherwise=NEVER_SENT)
    client = kept_client(journal, transport=transport, retry=NOT_REPEATED)
    await client.start()
    for number in range(500):
        client.track_nowait(checkout(f"v{number}", order_id=None))
    await asyncio.sleep(30.0)
    assert client.stats().checkout_breaker is not BreakerState.CLOSED
    assert {row.guard for row in journal.rows.values()} == {SendMark.UNSENT}
    transport.answer(OK, times=None)
    await client.flush()
    assert client.stats().recorded == 500
    await client.close()


@virtual
async def test_an_event_that_cannot_be_marked_waits_for_the_disk() -> None:
    """No row says "not sent" while its event goes out; what needs no mark passes by."""
    journal = MemoryJournal()
    transport = Script(latency=1.0)
    policy = QueuePolicy(linger=0.0, max_in_flight=1)
    async with kept_client(
        journal, transport=transport, retry=NOT_REPEATED, queue=policy
    ) as client:
        await client.track(checkout("a", order_id="o1"))
        waiting = await client.track(checkout("b", order_id=None))
        passing = await client.track(checkout("c", order_id="o2"))
        journal.is_full = True
        assert (await passing).status is RECORDED
        await asyncio.sleep(60.0)
        assert not waiting.done()
        assert transport.what == ["o1", "o2"]
        journal.is_full = False
        assert (await waiting).status is RECORDED
    assert len(transport.sent) == 3


@virtual
async def test_an_event_that_the_disk_has_no_row_of_needs_no_mark() -> None:
    """A full disk does not stop the shop: the row, once it is written, bears the mark."""
    journal = MemoryJournal()
    async with kept_client(journal, retry=NOT_REPEATED) as client:
        journal.is_full = True
        receipt = client.track_nowait(checkout("a", order_id=None))
        assert (await receipt).status is RECORDED


@virtual
async def test_a_mark_is_not_taken_back_of_what_is_on_the_wire() -> None:
    """It may be recorded yet."""
    journal = MemoryJournal()
    client = kept_client(journal, HANG, retry=NOT_REPEATED)
    await client.start()
    receipt = await client.track(ANON[0])
    await client.close(timeout=0.5)
    outcome = await receipt
    assert (outcome.status, outcome.ambiguous) == (KEPT, True)
    assert "as perhaps sent" in (outcome.detail or "")
    assert {row.guard for row in journal.rows.values()} == {SendMark.SENT}


@virtual
async def test_a_mark_that_is_being_written_is_taken_back() -> None:
    """Called off, the disk may have it all the same."""
    journal = MemoryJournal(latency=1.0)
    client = kept_client(journal, retry=NOT_REPEATED)
    await client.start()
    client.track_nowait(ANON[0])
    await asyncio.sleep(0.5)
    await client.close(timeout=0)
    (place,) = journal.rows
    assert journal.marks == [(SendMark.SENT, [place]), (SendMark.UNSENT, [place])]


@virtual
async def test_an_event_left_while_it_is_marked_was_never_on_the_wire() -> None:
    """Its outcome is not ambiguous."""
    journal = MemoryJournal()
    retry = RetryPolicy(retry_ambiguous_carts=False)
    client = kept_client(journal, retry=retry)
    await client.start()
    receipt = await client.track(cart())
    assert (await receipt).status is RECORDED
    journal.stall()
    left = client.track_nowait(cart("b"))
    await asyncio.sleep(1.0)
    assert len(journal.marks) == 2
    await client.close(timeout=0)
    outcome = await left
    assert outcome.status is ABANDONED
    assert not outcome.ambiguous


# --- what is left at the end -------------------------------------------------------------------


@virtual
async def test_what_is_left_on_disk_is_kept() -> None:
    """`KEPT`, listed, and its row stays; events in flight are ambiguous as ever."""
    journal = MemoryJournal()
    client = kept_client(journal, HANG)
    await client.start()
    flying = await client.track(cart("a"))
    waiting = await client.track(cart("a", product="cup"))
    report = await client.close(timeout=1.0)
    assert report.undelivered == (cart("a"), cart("a", product="cup"))
    assert report.stats.kept == 2
    outcomes = [await flying, await waiting]
    assert [one.status for one in outcomes] == [KEPT, KEPT]
    assert [one.ambiguous for one in outcomes] == [True, False]
    assert "closed first; the journal has it" in str(outcomes[0].detail)
    assert journal.groups == []
    assert len(journal.rows) == 2
    balance(client)


@virtual
async def test_what_the_disk_does_not_have_is_abandoned_and_withdrawn() -> None:
    """Its report says that it is lost: it must not come back."""
    journal = MemoryJournal()
    client = kept_client(journal, HANG, HANG)
    await client.start()
    held = await client.track(cart("a"))
    journal.is_full = True
    lost = client.track_nowait(cart("b"))
    report = await client.close(timeout=1.0)
    assert (await held).status is KEPT
    outcome = await lost
    assert outcome.status is ABANDONED
    assert "the journal could not hold it" in str(outcome.detail)
    assert report.undelivered == (cart("a"), cart("b"))
    assert journal.endings == [[(ABANDONED, True)]]
    assert len(journal.rows) == 1


@virtual
async def test_the_last_events_get_the_time_to_reach_the_disk() -> None:
    """What was accepted just before the end is written before it is judged."""
    journal = MemoryJournal(latency=1.0)
    client = kept_client(journal, HANG)
    await client.start()
    receipt = client.track_nowait(cart())
    await client.close(timeout=0)
    assert (await receipt).status is KEPT
    assert journal.calls[-2:] == ["sync", "close"]


@virtual
async def test_a_disk_that_hangs_does_not_hold_up_the_end() -> None:
    """A short bound; what it has not written by then is abandoned."""
    journal = MemoryJournal()
    journal.stall()
    client = kept_client(journal, HANG)
    await client.start()
    receipt = client.track_nowait(cart())
    await client.close(timeout=1.0)
    assert asyncio.get_running_loop().time() == pytest.approx(3.0)
    assert (await receipt).status is ABANDONED


@virtual
@pytest.mark.parametrize("timeout", [0.0, 1.0, 4.0])
async def test_a_disk_that_stands_still_has_one_deadline(timeout: float) -> None:
    """For what is left to be written and for the files to be released, both together."""

    class Frozen(MemoryJournal):
        async def close(self) -> None:
            await asyncio.Event().wait()

    journal = Frozen()
    journal.stall()
    client = kept_client(journal, HANG)
    await client.start()
    client.track_nowait(cart())
    await client.close(timeout=timeout)
    assert asyncio.get_running_loop().time() == pytest.approx(timeout + 2.0)


@virtual
async def test_a_group_is_kept_only_if_all_of_it_is_on_disk() -> None:
    """The survivor's row alone would not say what the others had said."""
    journal = MemoryJournal()
    client = kept_client(journal, queue=SLOW, coalescing="net")
    await client.start()
    journal.is_full = True
    client.track_nowait(cart())
    await asyncio.sleep(0)
    later = client.track_nowait(cart(type="QUANTITY_INCREASED", quantity=2))
    [first, second] = journal.rows.values()
    second.on_disk = True
    assert not first.on_disk
    journal.stall()
    await client.close(timeout=0)
    assert (await later).status is ABANDONED
    assert journal.rows == {}


@virtual
async def test_a_dispatcher_that_fails_keeps_what_the_disk_has() -> None:
    """With the cause in either detail."""
    journal = MemoryJournal()
    async with kept_client(journal, HANG, HANG) as client:
        held = await client.track(cart("a"))
        journal.stall()
        lost = client.track_nowait(cart("b"))
        await asyncio.sleep(0)
        task_of("alhena-worker-1").cancel()
        outcomes = [await held, await lost]
        assert [one.status for one in outcomes] == [KEPT, ABANDONED]
        assert all("cancelled from outside" in str(one.detail) for one in outcomes)
        balance(client)
        report = await client.close()
        assert len(report.undelivered) == 2
    assert journal.calls.count("close") == 1


@virtual
async def test_a_failing_intent_writer_fails_the_dispatcher_and_not_in_silence() -> None:
    """Guarded events would wait for ever."""
    journal = MemoryJournal(latency=5.0)
    retry = RetryPolicy(retry_ambiguous_carts=False)
    async with kept_client(journal, retry=retry) as client:
        receipt = client.track_nowait(cart())
        await asyncio.sleep(1.0)
        task_of("alhena-intents").cancel()
        assert "alhena-intents was cancelled" in str((await receipt).detail)


@virtual
async def test_nothing_of_a_payload_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever goes wrong with the disk."""
    caplog.set_level(logging.INFO)
    journal = MemoryJournal()
    journal.is_full = True
    client = kept_client(journal, HANG)
    await client.start()
    client.track_nowait(cart("secret-fingerprint", product="secret-product"))
    await client.close(timeout=1.0)
    assert "secret" not in caplog.text
