"""`alhena forget DIR`: a visitor is gone, to the byte, also while processes run."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from alhena_async import (
    AlhenaClient,
    HttpPolicy,
    OutcomeStatus,
    QueuePolicy,
    Stats,
)
from alhena_async._delivery import forgetting
from alhena_async.emulator import Emulator
from alhena_async.journal import (
    DeadLetters,
    Forgotten,
    SQLiteJournal,
    forget_visitor,
    inspect_journal,
)
from tests.cli_process import alhena, names_in
from tests.journals import cart, order, visitor
from tests.patience import PATIENCE
from tests.raw_server import server

ANN, BOB = visitor(1), visitor(2)
NOBODY = "http://127.0.0.1:9/"
AT_ONCE = QueuePolicy(linger=0.0, lane_capacity=5_000)


@pytest.fixture(autouse=True)
def _looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients in this process need not take two seconds for a look."""
    monkeypatch.setattr(forgetting, "_PAUSE", 0.05)


def of_ann(count: int = 5, first: int = 0) -> list[Any]:
    """Carts of one visitor, each of its own product."""
    return [cart(number, of=1) for number in range(first, first + count)]


def of_bob(count: int = 5, first: int = 0) -> list[Any]:
    return [cart(number, of=2) for number in range(first, first + count)]


def has_bytes_of(directory: Path, who: Any) -> list[str]:
    """The names of all files in which a visitor stands."""
    texts = [who.fingerprint.encode(), who.faq_fingerprint.encode()]
    return [
        path.name
        for path in directory.rglob("*")
        if path.is_file() and any(text in path.read_bytes() for text in texts)
    ]


async def forget(directory: Path, who: Any = ANN, timeout: float = PATIENCE) -> Forgotten:
    """Forget in a thread, as the loop has to go on."""
    return await asyncio.to_thread(
        forget_visitor, directory, who.fingerprint, who.faq_fingerprint, timeout=timeout
    )


async def left_by(directory: Path, *events: Any, url: str = NOBODY) -> None:
    """Leave events as a process does that ended before it could send them."""
    client = AlhenaClient("shop", base_url=url, journal=directory, queue=AT_ONCE, coalescing="off")
    client.pause()
    async with client:
        for event in events:
            await client.track(event)


@contextlib.asynccontextmanager
async def living(directory: Path, url: str = NOBODY, **arguments: Any) -> AsyncIterator[Any]:
    """A client that is paused, with a journal."""
    given = {"queue": AT_ONCE, "coalescing": "off", "journal": directory, **arguments}
    client = AlhenaClient("shop", base_url=url, **given)
    client.pause()
    async with client:
        yield client


async def test_what_a_dead_process_left_of_a_visitor_goes(tmp_path: Path) -> None:
    """Rows and bytes, in every file; the others' stay, and are delivered."""
    directory = tmp_path / "journal"
    await left_by(directory, *of_ann(), *of_bob())
    await left_by(directory, *of_ann(3, first=10))
    assert has_bytes_of(directory, ANN)
    found = await forget(directory)
    assert (found.waiting, found.is_complete) == (8, True)
    assert has_bytes_of(directory, ANN) == []
    assert [one.carts for one in inspect_journal(directory).files] == [5]
    async with (
        Emulator() as api,
        AlhenaClient("shop", base_url=api.url, journal=directory) as client,
    ):
        await client.flush(PATIENCE)  # theirs is for another destination
        assert client.stats().replayed == 0
    again = await forget(directory)
    assert (again.waiting, again.is_complete) == (0, True)


async def test_one_fingerprint_of_the_two_is_enough(tmp_path: Path) -> None:
    """Whoever has either is the same person."""
    directory = tmp_path / "journal"
    await left_by(directory, *of_ann())
    found = await asyncio.to_thread(
        forget_visitor, directory, ANN.fingerprint, "another", timeout=PATIENCE
    )
    assert found.waiting == 5
    assert has_bytes_of(directory, ANN) == []


async def test_dead_letters_go_too(tmp_path: Path) -> None:
    """Refused, expired: all letters of the visitor, while the process that wrote them lives."""
    directory = tmp_path / "journal"
    journal = SQLiteJournal(directory)
    async with (
        Emulator(companies=["nobody"]) as api,
        living(directory, api.url, journal=journal) as client,
    ):
        client.resume()
        for event in (*of_ann(4), *of_bob(3)):
            client.track_nowait(event)
        await client.flush(PATIENCE)
        await journal.sync()
        with DeadLetters(directory) as letters:
            assert letters.count().total() == 7
        found = await forget(directory)
        assert (found.letters, found.is_complete) == (4, True)
        assert has_bytes_of(directory, ANN) == []
        with DeadLetters(directory) as letters:
            assert letters.count().total() == 3


async def test_a_living_process_lets_go_of_what_waits(tmp_path: Path) -> None:
    """In memory and on disk; the rest is delivered, and what was forgotten never is."""
    directory = tmp_path / "journal"
    async with Emulator() as api, living(directory, api.url) as client:
        receipts = [await client.track(event) for event in of_ann()]
        for event in of_bob():
            await client.track(event)
        found = await forget(directory)
        assert (found.waiting, found.on_wire, found.is_complete) == (5, 0, True)
        assert has_bytes_of(directory, ANN) == []
        assert [(await one).status for one in receipts] == [OutcomeStatus.DROPPED] * 5
        client.resume()
        await client.flush(PATIENCE)
        assert {one.visitor.fingerprint for one in api.recorded()} == {BOB.fingerprint}
        assert client.stats().dropped == 5
    assert not (directory / "dead-letters.sqlite3").exists()


async def test_what_was_delivered_long_ago_leaves_no_bytes(tmp_path: Path) -> None:
    """A log keeps old pages until it is started over: it is, whatever still waits."""
    directory = tmp_path / "journal"
    async with Emulator() as api, living(directory, api.url) as client:
        client.resume()
        for event in of_ann(20):
            await client.track(event)
        await client.flush(PATIENCE)
        await client.track(cart(1, of=2))
        await forget(directory)
        assert has_bytes_of(directory, ANN) == []


async def test_folded_events_and_orders_go_as_well(tmp_path: Path) -> None:
    """With all that was folded into them."""
    directory = tmp_path / "journal"
    async with living(directory, coalescing="latest") as client:
        for quantity in (1, 2, 3):
            await client.track(cart(1, of=1, value=quantity))
        await client.track(order(1, order_id="o-1"))
        found = await forget(directory)
        assert found.is_complete
        assert client.stats().queued == 0
        assert has_bytes_of(directory, ANN) == []


async def test_what_the_disk_alone_has_goes_too(tmp_path: Path) -> None:
    """More than memory has room for: rows that the process has not read back yet."""
    directory = tmp_path / "journal"
    queue = QueuePolicy(linger=0.0, capacity=4, checkout_reserve=0.0)
    async with Emulator() as api, living(directory, api.url, queue=queue) as client:
        for first in range(0, 60, 3):
            for event in (*of_ann(2, first=first), *of_bob(1, first=first)):
                await client.track(event)
        assert client.stats().spilled > 40
        found = await forget(directory)
        assert (found.waiting, found.is_complete) == (40, True)
        assert has_bytes_of(directory, ANN) == []
        client.resume()
        await client.flush(PATIENCE)
        assert {one.visitor.fingerprint for one in api.recorded()} == {BOB.fingerprint}
        assert len(api.recorded()) == 20


async def test_what_a_living_process_has_taken_over_goes_too(tmp_path: Path) -> None:
    """A dead process's file in a living one's hand: rows in memory, and rows not read yet."""
    directory = tmp_path / "journal"
    async with Emulator() as api:
        await left_by(directory, *of_ann(300), *of_bob(20), *of_ann(300, first=500), url=api.url)
        queue = QueuePolicy(linger=0.0, capacity=50, checkout_reserve=0.0)
        async with living(directory, api.url, queue=queue) as client:
            found = await forget(directory)
            assert (found.waiting, found.is_complete) == (600, True)
            assert has_bytes_of(directory, ANN) == []
            client.resume()
            await client.flush(PATIENCE)
            assert {one.visitor.fingerprint for one in api.recorded()} == {BOB.fingerprint}
            assert len(api.recorded()) == 20


async def test_what_is_on_the_wire_is_told(tmp_path: Path) -> None:
    """Its attempt ends first; it is not tried again, and nothing of it stays."""
    directory = tmp_path / "journal"
    asked = asyncio.Event()

    async def hang(*_: object) -> None:
        asked.set()
        await asyncio.sleep(PATIENCE)

    http = HttpPolicy(request_timeout=1.0)
    async with server(hang) as url, living(directory, url, http=http) as client:
        client.resume()
        receipts = [await client.track(event) for event in of_ann(3)]
        async with asyncio.timeout(PATIENCE):
            await asked.wait()
        found = await forget(directory)
        assert (found.on_wire, found.waiting, found.is_complete) == (1, 2, True)
        assert has_bytes_of(directory, ANN) == []
        assert (await receipts[0]).ambiguous


async def test_a_process_that_does_not_answer_is_named(tmp_path: Path) -> None:
    """Its loop stands still, for instance: nothing is claimed that is not so."""
    directory = tmp_path / "journal"
    async with living(directory) as client:
        for event in of_ann(3):
            await client.track(event)
        await asyncio.sleep(0.1)  # its counts are there
        found = forget_visitor(directory, ANN.fingerprint, ANN.faq_fingerprint, timeout=0.3)
        assert found.silent == [str(os.getpid())]
        assert found.left
        assert not found.is_complete
        assert (await forget(directory)).is_complete


async def test_damaged_files_are_blanked(tmp_path: Path) -> None:
    """Nobody reads what was set aside again: the fingerprints in it are overwritten in place."""
    directory = tmp_path / "journal"
    await left_by(directory, *of_ann(), *of_bob())
    [events] = directory.glob("*.events")
    aside = events.with_name(f"{events.name}.damaged")
    aside.write_bytes(events.read_bytes())
    size = aside.stat().st_size
    found = await forget(directory)
    assert found.is_complete
    assert found.damaged >= 10
    assert aside.stat().st_size == size
    assert has_bytes_of(directory, ANN) == []
    assert aside.name in has_bytes_of(directory, BOB)


async def test_a_file_that_is_damaged_now_is_blanked_too(tmp_path: Path) -> None:
    """It is still to be salvaged: the visitor's rows cannot be any more."""
    directory = tmp_path / "journal"
    await left_by(directory, *of_ann(), *of_bob())
    [events] = directory.glob("*.events")
    content = bytearray(events.read_bytes())
    content[0:16] = b"no database at a"
    events.write_bytes(bytes(content))
    found = await forget(directory)
    assert found.is_complete, found
    assert has_bytes_of(directory, ANN) == []


async def test_nothing_of_the_run_itself_stays(tmp_path: Path) -> None:
    """Neither its request nor an answer."""
    directory = tmp_path / "journal"
    async with living(directory) as client:
        await client.track(cart(1, of=2))
        before = [name for name in names_in(directory) if "forget" in name]
        await forget(directory)
        after = [name for name in names_in(directory) if "forget" in name]
    assert before == after == []


async def test_a_request_of_a_run_that_was_killed_is_cleared(tmp_path: Path) -> None:
    """By the next run, once it is old."""
    directory = tmp_path / "journal"
    async with living(directory) as client:
        await client.track(cart(1, of=2))
        old = directory / "forget-5e6f7a8b.request"
        old.write_text('{"salt": "", "digests": []}')
        os.utime(old, (1, 1))
        await forget(directory)
        assert not old.exists()


async def test_events_that_come_later_are_kept(tmp_path: Path) -> None:
    """To be forgotten is no ban."""
    directory = tmp_path / "journal"
    async with Emulator() as api, living(directory, api.url) as client:
        await client.track(cart(1, of=1))
        await forget(directory)
        client.resume()
        assert (await client.record(order(1, order_id="later"))).status is OutcomeStatus.RECORDED


async def test_the_counts_still_add_up(tmp_path: Path) -> None:
    """Whatever was forgotten has its place among the outcomes."""
    directory = tmp_path / "journal"
    queue = QueuePolicy(linger=0.0, capacity=4, checkout_reserve=0.0)
    async with Emulator() as api, living(directory, api.url, queue=queue) as client:
        for event in (*of_ann(10), *of_bob(10)):
            await client.track(event)
        await forget(directory)
        client.resume()
        await client.flush(PATIENCE)
        stats: Stats = client.stats()
        ended = sum(getattr(stats, kind.value) for kind in OutcomeStatus)
        assert stats.accepted == ended == 20
        assert stats.recorded == 10


async def test_the_command_removes_and_tells(tmp_path: Path) -> None:
    """By the same command as from an outbox; a broker is refused in words."""
    directory = tmp_path / "journal"
    await left_by(directory, *of_ann(), *of_bob(2))
    whom = ("--visitor", ANN.fingerprint, ANN.faq_fingerprint)
    done = await alhena("forget", directory, *whom, "--json", cwd=tmp_path)
    assert done.status == 0, done.err
    assert json.loads(done.out) == {
        "complete": True, "waiting": 5, "letters": 0, "damaged": 0, "on_wire": 0,
        "silent": [], "left": [], "problems": [],
    }  # fmt: skip
    assert has_bytes_of(directory, ANN) == []
    broker = await alhena("forget", "nats://localhost:4222", *whom, cwd=tmp_path)
    assert (broker.status, "broker" in broker.err) == (2, True)


def _end(worker: asyncio.subprocess.Process) -> None:
    if worker.returncode is None:
        worker.kill()


WORKER = """
import asyncio, sys
from alhena_async import AlhenaClient, QueuePolicy
from tests.journals import cart

async def main(url, directory):
    queue = QueuePolicy(linger=0.0)
    async with AlhenaClient("shop", base_url=url, journal=directory, queue=queue) as client:
        for of in (1, 2):  # refused: dead letters
            client.track_nowait(cart(of, of=of))
        await client.flush()
        client.pause()
        for number in range(6):
            await client.track(cart(100 + number, of=1 + number % 2))
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        print(client.stats().dropped, client.stats().queued, flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_other_processes_let_go_as_well(tmp_path: Path) -> None:
    """Two workers of their own, each with letters, waiting events, and the files open."""
    directory = tmp_path / "journal"
    async with Emulator(companies=["nobody"]) as api, contextlib.AsyncExitStack() as stack:
        workers = [
            await asyncio.create_subprocess_exec(
                sys.executable, "-c", WORKER, api.url, str(directory),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )
            for _ in range(2)
        ]  # fmt: skip
        async with asyncio.timeout(PATIENCE):
            for worker in workers:
                stack.callback(_end, worker)
                assert worker.stdout is not None
                assert await worker.stdout.readline() == b"ready\n"
            whom = ("--visitor", ANN.fingerprint, ANN.faq_fingerprint)
            done = await alhena("forget", directory, *whom, cwd=tmp_path)
            assert done.status == 0, done.out + done.err
            assert "Removed 6 events that waited, and 2 dead letters." in done.out
            assert has_bytes_of(directory, ANN) == []
            assert has_bytes_of(directory, BOB)
            for worker in workers:
                told, _ = await worker.communicate(b"\n")
                assert told == b"3 3\n"


async def test_several_thousand_rows_are_looked_through(tmp_path: Path) -> None:
    """Page by page, among many visitors."""
    directory = tmp_path / "journal"
    journal = SQLiteJournal(directory, synchronous="NORMAL")
    client = AlhenaClient("shop", base_url=NOBODY, journal=journal, queue=AT_ONCE)
    client.pause()
    async with client:
        for number in range(3_000):
            client.track_nowait(cart(number, of=number % 100))
    found = await forget(directory)
    assert (found.waiting, found.is_complete) == (30, True)
    assert has_bytes_of(directory, ANN) == []
    with contextlib.closing(sqlite3.connect(next(directory.glob("*.events")))) as file:
        assert file.execute("SELECT count(*) FROM rows").fetchone() == (2_970,)
