"""The client over the real journal: files on a disk, a writer in its thread, the wall clock."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from blockbuster import blockbuster_ctx

from alhena_async import (
    AlhenaClient,
    CartEvent,
    ClientClosedError,
    JournalError,
    OutcomeStatus,
    QueuePolicy,
    RetryPolicy,
)
from alhena_async.emulator import Emulator, FaultPlan
from alhena_async.journal import SQLiteJournal
from tests.bare import run_bare
from tests.patience import PATIENCE
from tests.scripted import HANG, OK, Script, balance, cart, checkout, code

NOW = QueuePolicy(linger=0.0)
KEPT, RECORDED = OutcomeStatus.KEPT, OutcomeStatus.RECORDED


def client_in(directory: Path, transport: Script, **arguments: object) -> AlhenaClient:
    given: dict[str, object] = {"queue": NOW, "journal": directory, **arguments}
    return AlhenaClient("shop", transport=transport, **given)  # type: ignore[arg-type]


async def leave(directory: Path, *events: object, **arguments: object) -> None:
    """Accept events that nothing answers, and close."""
    given: dict[str, object] = {"coalescing": "off", **arguments}
    client = client_in(directory, Script(otherwise=HANG), **given)
    await client.start()
    receipts = [await client.track(event) for event in events]  # type: ignore[arg-type]
    await client.close(timeout=0)
    assert {(await receipt).status for receipt in receipts} == {KEPT}


async def test_what_one_client_leaves_the_next_one_delivers(tmp_path: Path) -> None:
    """In order, ahead of younger events, and once."""
    await leave(tmp_path, *(cart(quantity=number) for number in (1, 2, 3)), checkout(order_id="o"))
    transport = Script()
    async with client_in(tmp_path, transport) as client:
        await client.record(cart(type="QUANTITY_INCREASED", quantity=4))
        await client.flush()
        stats = client.stats()
        assert (stats.replayed, stats.accepted, stats.recorded) == (4, 1, 5)
        balance(client)
    added = [f"mug:ITEM_ADDED:{number}" for number in (1, 2, 3)]
    assert transport.what == [*added, "o", "mug:QUANTITY_INCREASED:4"]
    async with client_in(tmp_path, Script()) as client:
        await client.flush()
        assert client.stats().replayed == 0


async def test_a_backlog_of_many_lives_comes_in_order_within_a_small_capacity(
    tmp_path: Path,
) -> None:
    """Over three lives that end before anything is answered."""
    policy = QueuePolicy(linger=0.0, capacity=100, max_in_flight=4)
    for life in range(3):
        events = [
            cart(f"v{who}", quantity=100 * life + number)
            for number in range(1, 5)
            for who in range(4)
        ]
        await leave(tmp_path, *events, queue=policy)
    transport = Script()
    tiny = QueuePolicy(linger=0.0, capacity=3)
    async with client_in(tmp_path, transport, queue=tiny) as client:
        await asyncio.gather(
            *(client.track(cart(f"v{who}", quantity=999)) for who in range(4)),
        )
        await client.flush()
        assert client.stats().replayed == 48
        balance(client)
    for who in range(4):
        sent = [one.payload["quantity"] for one in transport.sent if one.fingerprint == f"v{who}"]
        assert sent == [100 * life + n for life in range(3) for n in range(1, 5)] + [999]


async def test_what_was_settled_is_not_delivered_again(tmp_path: Path) -> None:
    """Recorded, refused, folded or cancelled out."""
    transport = Script(OK, code("COMPANY_NOT_FOUND"))
    policy = QueuePolicy(linger=0.05)
    client = client_in(tmp_path, transport, queue=policy, coalescing="net")
    async with client:
        await client.record(cart("a"))
        refused = client.track_nowait(checkout("b", order_id="o1"))
        assert (await refused).status is OutcomeStatus.REJECTED
        for quantity in (1, 2, 3):
            await client.track(cart("c", type="QUANTITY_INCREASED", quantity=quantity))
        await client.track(cart("d"))
        await client.track(cart("d", type="ITEM_REMOVED", quantity=0))
        await client.flush()
        balance(client)
    async with client_in(tmp_path, Script()) as client:
        await client.flush()
        assert client.stats().replayed == 0


async def test_an_assigned_order_id_survives(tmp_path: Path) -> None:
    """So the API can tell a repeat."""
    first = Script(otherwise=HANG)
    client = client_in(tmp_path, first)
    await client.start()
    await client.track(checkout(order_id=None))
    while not first.sent:  # noqa: ASYNC110  a request's arrival is no event of ours
        await asyncio.sleep(0.005)
    await client.close(timeout=0)
    second = Script(code("ORDER_ALREADY_EXISTS"))
    async with client_in(tmp_path, second) as client:
        await client.flush()
        assert client.stats().recorded == 1
    assert second.what == first.what
    assert first.what[0].startswith("auto-")


async def test_a_guarded_event_that_was_on_the_wire_is_not_repeated(tmp_path: Path) -> None:
    """It ends `UNKNOWN` in the next life; one that was not sent yet is sent."""
    retry = RetryPolicy(assign_order_ids=False)
    first = Script(otherwise=HANG)
    client = client_in(tmp_path, first, retry=retry)
    await client.start()
    await client.track(checkout("a", order_id=None))
    await client.track(checkout("a", order_id=None))
    while not first.sent:  # noqa: ASYNC110  a request's arrival is no event of ours
        await asyncio.sleep(0.005)
    await client.close(timeout=0)
    second = Script()
    async with client_in(tmp_path, second, retry=retry) as client:
        await client.flush()
        stats = client.stats()
        assert (stats.unknown, stats.recorded) == (1, 1)
    assert len(first.sent) == len(second.sent) == 1


async def test_another_destination_leaves_a_backlog_alone(tmp_path: Path) -> None:
    """What was meant for one region is not sent to the other."""
    await leave(tmp_path, cart(), region="eu")
    async with client_in(tmp_path, Script(), region="us") as client:
        await client.flush()
        assert client.stats().replayed == 0
    async with client_in(tmp_path, Script(), region="eu") as client:
        await client.flush()
        assert client.stats().replayed == 1


async def test_a_directory_that_is_none_fails_the_start(tmp_path: Path) -> None:
    """With its path in the message; the client is not running."""
    where = tmp_path / "taken"
    where.write_text("a file")
    client = client_in(where, Script())
    with pytest.raises(JournalError, match="taken"):
        await client.start()
    with pytest.raises(RuntimeError, match="not started"):
        client.track_nowait(cart())


async def test_one_journal_serves_one_client(tmp_path: Path) -> None:
    """The second is refused, and the first one is none the worse for it."""
    journal = SQLiteJournal(tmp_path)
    async with AlhenaClient("shop", journal=journal, transport=Script(), queue=NOW) as client:
        with pytest.raises(JournalError, match="opened before"):
            await AlhenaClient("shop", journal=journal, transport=Script()).start()
        receipt = await client.track(cart())
        assert (await receipt).status is RECORDED


async def test_track_and_close_at_once_lose_nothing(tmp_path: Path) -> None:
    """Whoever waits for the disk as the client closes gets an answer; each event has its end."""
    client = client_in(tmp_path, Script(otherwise=HANG), coalescing="off")
    await client.start()
    tracking = [asyncio.create_task(client.track(cart(f"v{number}"))) for number in range(300)]
    await asyncio.sleep(0)
    report = await client.close(timeout=0)
    told = await asyncio.gather(*tracking, return_exceptions=True)
    assert not [one for one in told if isinstance(one, BaseException) and not isinstance(
        one, JournalError | ClientClosedError)]  # fmt: skip
    stats = report.stats
    assert stats.kept + stats.abandoned == stats.accepted
    async with client_in(tmp_path, Script()) as client:
        await client.flush()
        assert client.stats().replayed == stats.kept


async def test_nothing_of_the_disk_blocks_the_loop(tmp_path: Path) -> None:
    """Over sockets, with faults: a life, its end, and a replay, in asyncio's debug mode."""
    asyncio.get_running_loop().set_debug(True)
    retry = RetryPolicy(base=0.01, cap=0.05, assign_order_ids=False)
    faults = FaultPlan.parse(["error=0.05", "reset=0.05", "error-after=0.05"], seed=3)
    async with Emulator(faults=faults) as emulator:
        arguments: dict[str, Any] = {"base_url": emulator.url, "retry": retry, "journal": tmp_path}
        with blockbuster_ctx("alhena_async", excluded_modules=["alhena_async.emulator"]):
            first = AlhenaClient("shop", **arguments)
            await first.start()
            for number in range(200):
                await first.track(cart(f"v{number % 20}", product=f"p{number}"))
                first.track_nowait(checkout(f"v{number % 20}", order_id=None))
            left = (await first.close(timeout=0)).stats
            assert left.kept + left.abandoned > 0
            async with AlhenaClient("shop", **arguments) as client:
                await client.flush(PATIENCE)
                stats = client.stats()
                assert stats.replayed == left.kept
                assert stats.recorded + stats.unknown == stats.replayed
                balance(client)


async def test_a_row_holds_what_the_next_process_needs(tmp_path: Path) -> None:
    """Digits, company key, product names of any script: the event is the same."""
    event = CartEvent(
        visitor=cart().visitor,
        type="ITEM_ADDED",
        product_id="tasse-ü-☕",
        product_name="Tasse “groß”",
        value=0.1,
        currency="EUR",
        quantity=2.5,
        source="shop",
    )
    client = client_in(tmp_path, Script(otherwise=HANG))
    await client.start()
    await client.track(event, company_key="other")
    await client.close(timeout=0)
    transport = Script()
    async with client_in(tmp_path, transport) as client:
        await client.flush()
    [sent] = transport.sent
    assert sent.payload["company_key"] == "other"
    assert sent.payload["product_id"] == "tasse-ü-☕"
    assert sent.payload["quantity"] == 2.5


def test_sqlite_is_loaded_for_those_who_ask_for_a_journal(tmp_path: Path) -> None:
    """And for nobody else."""
    code = (
        "import sys\n"
        "from alhena_async import AlhenaClient\n"
        "AlhenaClient('shop')\n"
        "print('sqlite3' in sys.modules)\n"
        "AlhenaClient('shop', journal=sys.argv[1])\n"
        "print('sqlite3' in sys.modules)\n"
    )
    assert run_bare(code, str(tmp_path)).split() == ["False", "True"]
