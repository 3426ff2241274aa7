"""Whose turn it is to deliver a SQLite outbox, and what becomes of what was in hand."""

from __future__ import annotations

import asyncio
import math
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, closing
from pathlib import Path

import pytest

from alhena_async import AlhenaClient
from alhena_async.emulator import Emulator
from alhena_async.outbox import SQLiteOutbox, _sqlite_source
from alhena_async.outbox._sqlite_source import SQLiteSource
from alhena_async.relay import Lease, LeaseLost
from alhena_async.transports import TransportError
from tests.outbox_shops import order_of
from tests.patience import PATIENCE

LEASE = 0.6


@pytest.fixture
async def made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[[], SQLiteSource]]:
    """Makes sources over one outbox, which are closed in the end."""
    monkeypatch.setattr(_sqlite_source, "_LEASE", LEASE)
    monkeypatch.setattr(_sqlite_source, "_BEAT", LEASE / 5)
    SQLiteOutbox(tmp_path / "shop.db", "shop").create()
    async with AsyncExitStack() as stack:

        def make() -> SQLiteSource:
            source = SQLiteSource(
                tmp_path / "shop.db", "https://api.invalid/", asyncio.Event(), lambda: None
            )
            stack.push_async_callback(source.close)
            return source

        yield make


def put(directory: Path, *rows: tuple[int, str]) -> None:
    with closing(sqlite3.connect(directory / "shop.db")) as own, own:
        own.executemany(
            "INSERT INTO alhena_outbox (lane, company_key, body) VALUES (?, 'shop', ?)", rows
        )


def waiting(directory: Path) -> list[str]:
    with closing(sqlite3.connect(directory / "shop.db")) as own:
        return [row[0] for row in own.execute("SELECT body FROM alhena_outbox ORDER BY id")]


async def taken(source: SQLiteSource, room: int = 100) -> list[Lease]:
    async with asyncio.timeout(PATIENCE):
        await source.open()
        return await source.take(room)


def vanish(source: SQLiteSource) -> None:
    """Let it renew nothing any more, as a process that was killed or stopped."""
    [beat] = [task for task in source._tasks if task.get_name() == "alhena-outbox-beat"]
    beat.cancel()


async def test_one_of_a_lane_is_out_and_the_next_follows_its_end(
    made: Callable[[], SQLiteSource], tmp_path: Path
) -> None:
    """Of many lanes each has its own; `room` bounds them."""
    put(tmp_path, (1, "a1"), (1, "a2"), (2, "b1"), (3, "c1"), (2, "b2"))
    source = made()
    two = await taken(source, 2)
    assert [one.body for one in two] == [b"a1", b"b1"]
    assert [one.body for one in await taken(source)] == [b"c1"]
    await source.done(two[1])
    assert [one.body for one in await taken(source)] == [b"b2"]
    await source.done(two[0])
    assert [one.body for one in await taken(source)] == [b"a2"]


async def test_a_visitor_with_thousands_of_events_is_in_nobodys_way(
    made: Callable[[], SQLiteSource], tmp_path: Path
) -> None:
    """Whoever comes behind them is found all the same, a bounded number of rows at a time."""
    put(tmp_path, *((1, f"a{number}") for number in range(25_000)), (2, "b1"))
    source = made()
    [first] = await taken(source)
    [other] = await taken(source)
    assert [first.body, other.body] == [b"a0", b"b1"]
    await source.done(first)
    assert [one.body for one in await taken(source)] == [b"a1"]


async def test_a_later_event_passes_none_that_waits_to_be_looked_into(
    made: Callable[[], SQLiteSource], tmp_path: Path
) -> None:
    """With room for one at a time, a lane that was freed is still taken."""
    put(tmp_path, (1, "a1"), (2, "b1"), (2, "b2"))
    source = made()
    first = await taken(source)
    assert [one.body for one in first] == [b"a1", b"b1"]
    put(tmp_path, (2, "b3"), (1, "a2"))
    for one in reversed(first):
        await source.done(one)
    seen: list[bytes] = []
    while len(seen) < 3:
        [lease] = await taken(source, 1)
        seen.append(lease.body)
        await source.done(lease)
    assert [one for one in seen if one.startswith(b"b")] == [b"b2", b"b3"]


async def test_a_process_that_stood_still_hands_nothing_out_that_is_anothers(
    made: Callable[[], SQLiteSource], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it had found before is looked for anew."""
    put(tmp_path, (1, "a1"), (2, "b1"))
    first, second = made(), made()
    await first.open()
    look = first._look

    def look_and_stand_still(room: int) -> list[_sqlite_source._Row]:
        found = look(room)
        time.sleep(LEASE * 1.5)
        return found

    monkeypatch.setattr(first, "_look", look_and_stand_still)
    late = asyncio.create_task(first.take(10))
    await asyncio.sleep(LEASE / 4)
    assert len(await taken(second)) == 2
    _, pending = await asyncio.wait({late}, timeout=LEASE * 2)
    assert pending
    late.cancel()


async def test_a_turn_that_was_given_up_is_not_renewed(
    made: Callable[[], SQLiteSource], tmp_path: Path
) -> None:
    """Beat and rest take turns, however the two fall together."""
    source = made()
    await source.open()
    for number in range(10):
        put(tmp_path, (number, f"{number}"))
        [lease] = await taken(source)
        await source.done(lease)
        await asyncio.gather(source._rest(), *(source.extend([]) for _ in range(3)),
                             return_exceptions=True)  # fmt: skip
        with closing(sqlite3.connect(tmp_path / "shop.db")) as own:
            [(token,)] = own.execute("SELECT token FROM alhena_outbox_settings")
        assert bool(token) == bool(source._until)


async def test_a_turn_of_before_a_reboot_holds_nobody_up(
    made: Callable[[], SQLiteSource], tmp_path: Path
) -> None:
    """The machine's clock began anew: no true turn ends so late."""
    with closing(sqlite3.connect(tmp_path / "shop.db")) as own, own:
        own.execute("UPDATE alhena_outbox_settings SET token = 7, until = 1e12")
    put(tmp_path, (1, "a1"))
    [lease] = await taken(made())
    assert lease.delivery == 2


async def test_a_file_that_was_replaced_is_opened_anew(
    made: Callable[[], SQLiteSource], tmp_path: Path
) -> None:
    """A restored backup, for instance: the source says that it has to be opened again."""
    source = made()
    await source.open()
    SQLiteOutbox(tmp_path / "backup.db", "shop").create()
    (tmp_path / "backup.db").replace(tmp_path / "shop.db")
    with pytest.raises(TransportError, match="moved or replaced"):
        async with asyncio.timeout(PATIENCE):
            await source.take(1)


async def test_one_delivers_at_a_time(made: Callable[[], SQLiteSource], tmp_path: Path) -> None:
    """The other gets nothing, until the first has closed; then at once, as never sent."""
    put(tmp_path, (1, "a1"), (2, "b1"))
    first, second = made(), made()
    leases = await taken(first)
    await second.open()
    other = asyncio.create_task(second.take(10))
    put(tmp_path, (3, "c1"))
    _, pending = await asyncio.wait({other}, timeout=LEASE * 2)
    assert pending
    for lease in leases:
        await first.done(lease)
    await first.close()
    async with asyncio.timeout(PATIENCE):
        [lease] = await other
    assert (lease.body, lease.delivery) == (b"c1", 1)


async def test_who_vanished_is_followed_after_the_lease_and_may_have_sent_it(
    made: Callable[[], SQLiteSource], tmp_path: Path
) -> None:
    """What it does on waking changes nothing any more."""
    put(tmp_path, (1, "a1"))
    first, second = made(), made()
    [stale] = await taken(first)
    vanish(first)
    [lease] = await taken(second)
    assert (lease.body, lease.delivery) == (b"a1", 2)
    for until in (first._until, math.inf):  # the clock says it, and the database does
        first._until = until
        with pytest.raises(LeaseLost):
            await first.done(stale)
    with pytest.raises(LeaseLost):
        await first.extend([stale])
    assert waiting(tmp_path) == ["a1"]
    await second.done(lease)
    assert not waiting(tmp_path)


async def test_what_is_given_back_may_have_been_sent_whoever_has_it_next(
    made: Callable[[], SQLiteSource], tmp_path: Path
) -> None:
    """In this process and, after a close, in another."""
    put(tmp_path, (1, "a1"), (2, "b1"))
    first, second = made(), made()
    for lease in await taken(first):
        await first.give_back(lease)
    [again, other] = await taken(first)
    assert (again.delivery, other.delivery) == (2, 2)
    await first.give_back(again)
    await first.done(other)
    await first.close()
    [lease] = await taken(second)
    assert (lease.body, lease.delivery) == (b"a1", 2)


async def test_a_turn_is_kept_as_long_as_something_is_in_hand(
    made: Callable[[], SQLiteSource], tmp_path: Path
) -> None:
    """Over several leases, whatever takes so long."""
    put(tmp_path, (1, "a1"))
    source = made()
    [lease] = await taken(source)
    await asyncio.sleep(LEASE * 2.5)
    await source.done(lease)
    assert not waiting(tmp_path)


async def test_a_take_that_is_cancelled_loses_nothing(
    made: Callable[[], SQLiteSource], tmp_path: Path
) -> None:
    """After any number of steps."""
    source = made()
    await source.open()
    for steps in range(12):
        put(tmp_path, (steps, f"{steps}"))
        taking = asyncio.create_task(source.take(10))
        for _ in range(steps):
            await asyncio.sleep(0.001)
        if not taking.done():
            taking.cancel()
        [lease] = await taken(source) if taking.cancelled() else await _either(taking, source)
        assert lease.body == f"{steps}".encode()
        await source.done(lease)


async def _either(taking: asyncio.Task[list[Lease]], source: SQLiteSource) -> list[Lease]:
    try:
        return await taking
    except asyncio.CancelledError:
        return await taken(source)


async def test_a_database_that_goes_away_is_no_connection(
    made: Callable[[], SQLiteSource], tmp_path: Path
) -> None:
    """The relay begins anew, and says why."""
    source = made()
    await source.open()
    with closing(sqlite3.connect(tmp_path / "shop.db")) as own, own:
        own.execute("DROP TABLE alhena_outbox")
    with pytest.raises(TransportError, match="no table alhena_outbox"):
        async with asyncio.timeout(PATIENCE):
            await source.take(1)


async def test_an_outbox_of_another_version_by_now_is_left_alone(
    made: Callable[[], SQLiteSource], tmp_path: Path
) -> None:
    """By a process that goes on with the version of before; its shop is told what to do."""
    source = made()
    await source.open()
    with closing(sqlite3.connect(tmp_path / "shop.db")) as own, own:
        own.execute("UPDATE alhena_outbox_settings SET version = 99")
    put(tmp_path, (1, "a"))
    with pytest.raises(TransportError, match="of version 99 by now: start this process anew"):
        await taken(source)


FORKING = """
import os, sqlite3, sys, threading
from pathlib import Path
from alhena_async.outbox._sqlite_source import connect, undisturbed

path = Path(sys.argv[1])
inside, may_end = threading.Event(), threading.Event()
committed = []

def write():
    own = connect(path)
    own.execute("BEGIN IMMEDIATE")
    own.execute("INSERT INTO numbers VALUES (1)")
    inside.set()
    may_end.wait()
    own.execute("COMMIT")
    own.close()
    committed.append(True)

thread = threading.Thread(target=undisturbed, args=(write,))
thread.start()
inside.wait()
threading.Timer(0.5, may_end.set).start()
child = os.fork()  # waits for the write
if not child:
    with sqlite3.connect(path, timeout=5) as own:
        own.execute("INSERT INTO numbers VALUES (2)")
    os._exit(0 if committed else 3)
thread.join()
with sqlite3.connect(path, timeout=5) as own:
    own.execute("INSERT INTO numbers VALUES (3)")
undisturbed(lambda: None)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_fork_waits_for_a_write_to_end(tmp_path: Path) -> None:
    """SQLite's locks are the process's: a child that was made in between could never write."""
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path)) as own, own:
        own.execute("CREATE TABLE numbers (n INTEGER)")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKING, str(path)],
        check=False, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    with closing(sqlite3.connect(path)) as own:
        assert own.execute("SELECT count(*), sum(n) FROM numbers").fetchone() == (3, 6)


HELD_UP = """
import asyncio, sys, threading
from alhena_async import AlhenaClient, Observer
from alhena_async.outbox import SQLiteOutbox

class Slow(Observer):
    def outcome(self, outcome):
        print(outcome.event.order_id, flush=True)
        threading.Event().wait(0.2)

async def main():
    outbox = SQLiteOutbox(sys.argv[1], "shop")
    alhena = AlhenaClient("shop", base_url=sys.argv[2], outbox=outbox, observers=[Slow()])
    await alhena.start()
    await alhena.close(0.5)

asyncio.run(main())
"""


async def test_an_observer_that_holds_up_the_end_loses_nothing(tmp_path: Path) -> None:
    """The process ends by itself; what it did not come to is there for the next one, once."""
    shop = SQLiteOutbox(tmp_path / "shop.db", "shop")
    with closing(sqlite3.connect(shop.path)) as own, own:
        shop.create()
        for number in range(20):
            shop.add_sync(own, order_of(f"o-{number}", f"v-{number}"))
    async with Emulator() as api:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", HELD_UP, str(shop.path), str(api.url),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate()
        assert (process.returncode, b"Traceback" in err) == (0, False), err
        assert out.split()
        async with AlhenaClient("shop", base_url=api.url, outbox=shop) as alhena:
            await alhena.flush(PATIENCE)
        assert sorted(str(one.order_id) for one in api.recorded()) == sorted(
            f"o-{number}" for number in range(20)
        )
    assert shop.status()["waiting"] == 0
