"""An outbox in the shop's own SQLite database: committed with the order, delivered once."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from alhena_async import (
    AlhenaClient,
    CartEvent,
    CheckoutEvent,
    Endpoint,
    LineItem,
    Observer,
    OutboxError,
    QueuePolicy,
)
from alhena_async.emulator import Emulator, FaultPlan
from alhena_async.outbox import AddedStatus, PostgresOutbox, SQLiteOutbox, _sqlite_table
from alhena_async.sync import SyncAlhenaClient
from alhena_async.testing import MemoryTransport
from tests.patience import PATIENCE
from tests.scripted import cart, visitor

ROOT = Path(__file__).parents[2]


def order(order_id: str, who: str = "ann") -> CheckoutEvent:
    item = LineItem(product_id="m", product_name="Mug", quantity=1, value=9.5, currency="EUR")
    return CheckoutEvent(
        visitor=visitor(who), value=9.5, currency="EUR", line_items=[item], order_id=order_id
    )


@pytest.fixture
def shop(tmp_path: Path) -> SQLiteOutbox:
    """A shop's database with its orders, and an outbox in it."""
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path)) as own:
        own.execute("CREATE TABLE orders (id TEXT PRIMARY KEY)")
    outbox = SQLiteOutbox(path, "shop")
    assert outbox.create()
    return outbox


@pytest.fixture
async def api() -> AsyncIterator[Emulator]:
    async with Emulator() as running:
        yield running


def sell(shop: SQLiteOutbox, *events: CartEvent | CheckoutEvent) -> None:
    """Commit an order for each checkout, and all events, in one transaction."""
    with closing(sqlite3.connect(shop.path)) as own, own:
        for event in events:
            if isinstance(event, CheckoutEvent):
                own.execute("INSERT INTO orders VALUES (?)", (event.order_id,))
            shop.add_sync(own, event)


async def test_what_is_committed_is_delivered_and_what_is_not_is_not(
    shop: SQLiteOutbox, api: Emulator
) -> None:
    """Order and event are there together, or neither is."""
    sell(shop, order("o-1"))
    with closing(sqlite3.connect(shop.path)) as own:
        shop.add_sync(own, order("o-2"))
        own.rollback()
    async with AlhenaClient("shop", base_url=api.url, outbox=shop) as alhena:
        await alhena.flush(PATIENCE)
        assert [one.order_id for one in api.recorded()] == ["o-1"]
        assert shop.status()["waiting"] == 0
        assert alhena.stats().recorded == 1


async def test_a_delivered_order_that_is_added_again_is_passed_by(
    shop: SQLiteOutbox, api: Emulator
) -> None:
    """A webhook that comes late makes no second row; a cart event that looks the same does."""
    async with AlhenaClient("shop", base_url=api.url, outbox=shop) as alhena:
        sell(shop, order("o-1"), cart("ann"))
        await alhena.flush(PATIENCE)
    with closing(sqlite3.connect(shop.path)) as own, own:
        kept = own.execute("SELECT company_key, order_id FROM alhena_outbox_orders").fetchall()
        assert kept == [("shop", "o-1")]
        assert shop.add_sync(own, order("o-1")).status is AddedStatus.THERE
        other = SQLiteOutbox(shop.path, "other-shop")
        assert other.add_sync(own, order("o-1")).status is AddedStatus.ADDED
        assert shop.add_sync(own, cart("ann")).status is AddedStatus.ADDED
    assert shop.status()["waiting"] == 2


async def test_ids_of_delivered_orders_are_kept_for_a_time(
    shop: SQLiteOutbox, api: Emulator
) -> None:
    """Ninety days, and no longer."""
    with closing(sqlite3.connect(shop.path)) as own, own:
        own.executemany(
            "INSERT INTO alhena_outbox_orders VALUES ('shop', ?, ?)",
            [(f"{days} days", time.time() - days * 86_400) for days in range(88, 93)],
        )
    sell(shop, order("o-1"))
    async with AlhenaClient("shop", base_url=api.url, outbox=shop) as alhena:
        await alhena.flush(PATIENCE)
    with closing(sqlite3.connect(shop.path)) as own:
        kept = own.execute("SELECT order_id FROM alhena_outbox_orders ORDER BY settled_at DESC")
        assert [row[0] for row in kept] == ["o-1", "88 days", "89 days"]


def test_an_older_version_is_brought_up_to_this_one(tmp_path: Path) -> None:
    """What waits there stays; without that, nothing is delivered from it."""
    shop = SQLiteOutbox(tmp_path / "shop.db", "shop")
    with closing(sqlite3.connect(shop.path)) as own, own:
        for statement in _sqlite_table._STEPS[0]:
            own.execute(statement)
        own.execute("INSERT INTO alhena_outbox_settings (version) VALUES (1)")
        shop.add_sync(own, order("o-1"))
    with pytest.raises(OutboxError, match=r"version 1, and this is 2: call outbox\.create"):
        shop.status()
    assert not shop.create()
    assert shop.status()["waiting"] == 1
    with closing(sqlite3.connect(shop.path)) as own, own:
        own.execute("INSERT INTO alhena_outbox_orders (company_key, order_id) VALUES ('shop', 'o')")
        assert shop.add_sync(own, order("o")).status is AddedStatus.THERE


async def test_events_added_meanwhile_are_found_and_at_once_when_told(
    shop: SQLiteOutbox, api: Emulator
) -> None:
    """Without a word within the next look; after `outbox_changed` at once, from any thread."""
    async with AlhenaClient("shop", base_url=api.url, outbox=shop) as alhena:
        for number in range(3):
            await asyncio.to_thread(sell, shop, order(f"o-{number}"))
            await asyncio.to_thread(alhena.outbox_changed)
            await api.wait_until(lambda count=number + 1: api.recorded_count == count)  # type: ignore[misc]


async def test_each_visitor_keeps_its_order_and_nobody_waits_for_another(
    shop: SQLiteOutbox, api: Emulator
) -> None:
    """More lanes and events than are in hand at a time, with failures in between."""
    api.plan(FaultPlan.parse(["error=0.05", "unavailable=0.05:0"], seed=5))
    sell(shop, *(cart(f"v{n % 37}", product=f"{n:04}") for n in range(1_500)))
    async with AlhenaClient("shop", base_url=api.url, outbox=shop) as alhena:
        await alhena.flush(PATIENCE)
    assert api.recorded_count >= 1_500
    for who in range(37):
        first = dict.fromkeys(
            one.product_id for one in api.recorded(fingerprint=visitor(f"v{who}").fingerprint)
        )
        assert list(first) == [f"{n:04}" for n in range(1_500) if n % 37 == who]


async def test_an_order_id_that_stands_there_already_is_no_second_row(shop: SQLiteOutbox) -> None:
    """A webhook that comes twice, in one transaction or in two."""
    with closing(sqlite3.connect(shop.path)) as own, own:
        assert shop.add_sync(own, order("o-1")).status is AddedStatus.ADDED
        assert shop.add_sync(own, order("o-1")).status is AddedStatus.THERE
    with closing(sqlite3.connect(shop.path)) as own, own:
        assert shop.add_sync(own, order("o-1")).status is AddedStatus.THERE
    assert shop.status()["waiting"] == 1


async def test_two_processes_share_it_and_one_that_ends_hands_over(
    shop: SQLiteOutbox, api: Emulator
) -> None:
    """Nothing is delivered twice, and the second goes on at once when the first has closed."""
    async with (
        AlhenaClient("shop", base_url=api.url, outbox=shop) as one,
        AlhenaClient("shop", base_url=api.url, outbox=SQLiteOutbox(shop.path, "shop")) as two,
    ):
        for number in range(60):
            sell(shop, cart(f"v{number % 5}", product=f"{number}"))
            one.outbox_changed()
            two.outbox_changed()
        await one.flush(PATIENCE)
        await two.flush(PATIENCE)
        assert api.recorded_count == 60
        sell(shop, order("o-1"))
        await one.close()
        await two.flush(PATIENCE)
    assert api.recorded_count == 61


async def test_close_delivers_what_is_committed_or_leaves_it_there(
    shop: SQLiteOutbox, api: Emulator
) -> None:
    """In time it is delivered; an API that is away costs nothing but the wait."""
    alhena = AlhenaClient("shop", base_url=api.url, outbox=shop)
    await alhena.start()
    sell(shop, order("o-1"))
    await alhena.close(PATIENCE)
    assert api.recorded_count == 1
    api.plan(FaultPlan.parse(["unavailable=1:0"]))
    away = AlhenaClient("shop", base_url=api.url, outbox=shop)
    await away.start()
    sell(shop, order("o-2"))
    await away.close(0.3)
    assert shop.status()["waiting"] == 1
    api.recover()
    async with AlhenaClient("shop", base_url=api.url, outbox=shop) as again:
        await again.flush(PATIENCE)
    assert [one.order_id for one in api.recorded()] == ["o-1", "o-2"]


async def test_what_is_refused_is_a_letter_and_what_is_no_event_too(
    shop: SQLiteOutbox, api: Emulator
) -> None:
    """Neither holds anybody up."""
    sell(shop, order("o-1"))
    with closing(sqlite3.connect(shop.path)) as own, own:
        for body in ("no json", 7, b"\xff", "{}"):
            own.execute(
                "INSERT INTO alhena_outbox (lane, company_key, body) VALUES (1, 'shop', ?)", (body,)
            )
        own.execute(
            "INSERT INTO alhena_outbox (lane, company_key, body)"
            " VALUES (1, 'shop', cast(x'7bff7d' AS text))"  # text that is no UTF-8
        )
    sell(shop, order("o-2"))
    transport = MemoryTransport()
    async with AlhenaClient("shop", transport=transport, outbox=shop) as alhena:
        await alhena.flush(PATIENCE)
    assert shop.status() == {"waiting": 0, "oldest_age": 0.0, "dead_letters": 5}
    assert len(transport.recorded()) == 2


async def test_a_shop_that_writes_all_the_time_is_not_in_the_way(
    shop: SQLiteOutbox, api: Emulator
) -> None:
    """A transaction of seconds holds endings up, and loses none."""
    sell(shop, *(cart(f"v{n}", product=f"{n}") for n in range(20)))
    with closing(sqlite3.connect(shop.path, isolation_level=None)) as own:
        own.execute("BEGIN IMMEDIATE")
        async with AlhenaClient("shop", base_url=api.url, outbox=shop) as alhena:
            await asyncio.sleep(0.3)
            own.execute("COMMIT")
            await alhena.flush(PATIENCE)
    assert api.recorded_count == 20


@pytest.mark.parametrize("how", ["no file", "no table", "another version", "another place"])
async def test_what_cannot_be_used_is_said_at_the_start(
    tmp_path: Path, api: Emulator, how: str
) -> None:
    """One error that names the file and the cure."""
    path = tmp_path / "shop.db"
    outbox = SQLiteOutbox(path, "shop")
    if how != "no file":
        sqlite3.connect(path).close()
    if how == "another version":
        outbox.create()
        with closing(sqlite3.connect(path)) as own, own:
            own.execute("UPDATE alhena_outbox_settings SET version = 99")
    if how == "another place":
        outbox.create(region="eu")
    wanted = {
        "no file": "unable to open",
        "no table": r"call outbox.create\(\)",
        "another version": "update alhena-async",
        "another place": "its outbox is for https://.*, not for",
    }[how]
    with pytest.raises(OutboxError, match=wanted) as caught:
        async with AlhenaClient("shop", base_url=api.url, outbox=outbox):
            pass
    assert str(path) in str(caught.value)


async def test_only_an_outbox_that_a_client_delivers_is_taken(shop: SQLiteOutbox) -> None:
    """One in Postgres has its relay; and a client that is switched off touches nothing."""
    with pytest.raises(TypeError, match="alhena relay run"):
        AlhenaClient("shop", outbox=PostgresOutbox("shop"))  # type: ignore[arg-type]
    sell(shop, order("o-1"))
    async with AlhenaClient("shop", outbox=shop, enabled=False) as alhena:
        alhena.outbox_changed()
        await alhena.flush()
    assert shop.status()["waiting"] == 1


async def test_code_without_a_loop_delivers_it_too(shop: SQLiteOutbox, api: Emulator) -> None:
    """`SyncAlhenaClient(outbox=...)`: it begins at the first word of a commit."""

    def trade() -> None:
        with SyncAlhenaClient("shop", base_url=api.url, outbox=shop) as alhena:
            sell(shop, order("o-1"))
            alhena.outbox_changed()
            alhena.flush(PATIENCE)

    await asyncio.to_thread(trade)
    assert api.recorded_count == 1


async def test_a_client_without_a_loop_delivers_what_waits_without_a_word(
    shop: SQLiteOutbox, api: Emulator
) -> None:
    """A `with` block begins at once, and so does a `flush`."""
    sell(shop, order("o-1"))

    def look() -> None:
        with SyncAlhenaClient("shop", base_url=api.url, outbox=shop) as alhena:
            alhena.flush(PATIENCE)

    await asyncio.to_thread(look)
    assert api.recorded_count == 1


def test_an_event_of_a_client_that_cannot_start_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In a `reporting` block nothing is raised, and nothing is lost in silence."""
    outbox = SQLiteOutbox(tmp_path / "none.db", "shop")
    alhena = SyncAlhenaClient("shop", base_url="http://127.0.0.1:1/", outbox=outbox)
    for _ in range(3):
        with alhena.reporting():
            alhena.track(order("o-1"))
    assert alhena.stats().not_accepted == 3
    [line] = [one for one in caplog.records if one.levelname == "WARNING"]
    assert "none.db" in line.message
    alhena.close()


async def test_a_client_that_is_closed_while_it_starts_delivers_nothing(
    shop: SQLiteOutbox, api: Emulator
) -> None:
    """After any number of steps, nothing of it is left."""
    sell(shop, order("o-1"))
    for steps in range(6):
        alhena = AlhenaClient("shop", base_url=api.url, outbox=shop)
        starting = asyncio.create_task(alhena.start())
        for _ in range(steps):
            await asyncio.sleep(0)
        await alhena.close(0)
        await asyncio.wait({starting})
        if not starting.cancelled():
            starting.exception()
        left = [one.get_name() for one in asyncio.all_tasks() if "outbox" in one.get_name()]
        assert not left


def alhena_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("alhena"), *arguments],
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip


def test_the_command_makes_it_and_says_what_waits(tmp_path: Path) -> None:
    """Also as SQL for the shop's own migrations; and in one line what is wrong with a URL."""
    path = tmp_path / "shop.db"
    url = f"sqlite:///{path}"
    assert "created" in alhena_command("outbox", "init", url).stdout
    assert "already" in alhena_command("outbox", "init", url).stdout
    sell_to = SQLiteOutbox(path, "shop")
    with closing(sqlite3.connect(path)) as own, own:
        sell_to.add_sync(own, order("o-1"))
    said = json.loads(alhena_command("outbox", "status", url, "--json").stdout)
    assert (said["waiting"], said["dead_letters"]) == (1, 0)
    printed = alhena_command("outbox", "init", url, "--region", "eu", "--print").stdout
    with closing(sqlite3.connect(tmp_path / "other.db")) as own:
        own.executescript(printed)
    assert SQLiteOutbox(tmp_path / "other.db", "shop").status()["waiting"] == 0
    for bad in ("sqlite://shop.db", f"sqlite:///{tmp_path / 'none' / 'shop.db'}"):
        refused = alhena_command("outbox", "init", bad)
        assert refused.returncode == 2
        assert "Traceback" not in refused.stderr


async def test_its_letters_are_listed_and_sent_again(shop: SQLiteOutbox, api: Emulator) -> None:
    """Each in one transaction; what is no event stays, and is said."""
    url = f"sqlite:///{shop.path}"
    sell(shop, *(order(f"o-{number}") for number in range(3)))
    with closing(sqlite3.connect(shop.path)) as own, own:
        own.execute("INSERT INTO alhena_outbox (lane, company_key, body) VALUES (1, '', 'no')")
    async with (
        Emulator(companies=["another"]) as strict,
        AlhenaClient("shop", base_url=strict.url, outbox=shop) as alhena,
    ):
        await alhena.flush(PATIENCE)
    listed = alhena_command("dead-letters", "list", url, "--json").stdout.splitlines()
    assert len([json.loads(line) for line in listed]) == 4
    replayed = await asyncio.to_thread(alhena_command, "dead-letters", "replay", url)
    assert replayed.returncode == 1
    assert "3 letters published again" in replayed.stderr + replayed.stdout
    assert shop.status() | {"oldest_age": 0} == {"waiting": 3, "oldest_age": 0, "dead_letters": 1}
    async with AlhenaClient("shop", base_url=api.url, outbox=shop) as alhena:
        await alhena.flush(PATIENCE)
    assert [one.order_id for one in api.recorded()] == ["o-0", "o-1", "o-2"]
    assert alhena_command("dead-letters", "purge", url, "--yes").returncode == 0
    assert shop.status()["dead_letters"] == 0


@pytest.mark.parametrize("driver", ["aiosqlite", "sqlalchemy", "sqlalchemy, async", "django"])
async def test_each_driver_takes_part_in_its_own_transaction(
    shop: SQLiteOutbox, driver: str
) -> None:
    """What is rolled back is gone, what is committed waits."""
    await DRIVERS[driver](shop)
    with closing(sqlite3.connect(shop.path)) as own:
        found = [row[0] for row in own.execute("SELECT order_id FROM alhena_outbox")]
    assert found == ["o-1"]


async def _aiosqlite(shop: SQLiteOutbox) -> None:
    aiosqlite = pytest.importorskip("aiosqlite")
    async with aiosqlite.connect(shop.path) as own:
        await shop.add(own, order("o-2"))
        await own.rollback()
        assert (await shop.add(own, order("o-1"))).status is AddedStatus.ADDED
        assert (await shop.add(own, order("o-1"))).status is AddedStatus.THERE
        await own.commit()


async def _sqlalchemy(shop: SQLiteOutbox) -> None:
    sqlalchemy = pytest.importorskip("sqlalchemy")
    orm = pytest.importorskip("sqlalchemy.orm")
    engine = sqlalchemy.create_engine(f"sqlite:///{shop.path}")
    with orm.Session(engine) as session:
        shop.add_sync(session, order("o-2"))
        session.rollback()
        assert shop.add_sync(session, order("o-1")).status is AddedStatus.ADDED
        assert shop.add_sync(session, order("o-1")).status is AddedStatus.THERE
        session.commit()
    engine.dispose()


async def _sqlalchemy_async(shop: SQLiteOutbox) -> None:
    pytest.importorskip("aiosqlite")
    alchemy = pytest.importorskip("sqlalchemy.ext.asyncio")
    engine = alchemy.create_async_engine(f"sqlite+aiosqlite:///{shop.path}")
    async with alchemy.AsyncSession(engine) as session:
        await shop.add(session, order("o-2"))
        await session.rollback()
        assert (await shop.add(session, order("o-1"))).status is AddedStatus.ADDED
        await session.commit()
    await engine.dispose()


async def _django(shop: SQLiteOutbox) -> None:
    pytest.importorskip("django")
    program = f"""
import django
from django.conf import settings
settings.configure(DATABASES={{"default": {{
    "ENGINE": "django.db.backends.sqlite3", "NAME": {str(shop.path)!r}}}}})
django.setup()
from django.db import connection, transaction
from alhena_async.outbox import SQLiteOutbox
from tests.integration.test_outbox_sqlite import order
outbox = SQLiteOutbox({str(shop.path)!r}, "shop")
try:
    with transaction.atomic():
        outbox.add_sync(connection, order("o-2"))
        raise LookupError
except LookupError:
    pass
with transaction.atomic():
    assert outbox.add_sync(connection, order("o-1")).status == "added"
    assert outbox.add_sync(connection, order("o-1")).status == "there"
"""
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program], capture_output=True, text=True,
        timeout=PATIENCE, check=False, cwd=ROOT, env={**os.environ, "PYTHONPATH": "."},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


DRIVERS = {
    "aiosqlite": _aiosqlite,
    "sqlalchemy": _sqlalchemy,
    "sqlalchemy, async": _sqlalchemy_async,
    "django": _django,
}


def test_autocommit_is_said_once(shop: SQLiteOutbox, caplog: pytest.LogCaptureFixture) -> None:
    """The event would be there also where the order is not."""
    with closing(sqlite3.connect(shop.path, isolation_level=None)) as own:
        shop.add_sync(own, order("o-1"))
        shop.add_sync(own, order("o-2"))
        own.execute("BEGIN")
        shop.add_sync(own, order("o-3"))
        own.execute("COMMIT")
    [line] = [one.message for one in caplog.records if "outside any transaction" in one.message]
    assert "isolation_level" in line


def test_another_databases_connection_is_refused(shop: SQLiteOutbox) -> None:
    """By what it is, before anything is written."""
    with (
        closing(sqlite3.connect(shop.path)) as own,
        pytest.raises(TypeError, match="it takes a connection"),
    ):
        PostgresOutbox("shop").add_sync(own, order("o-1"))


SHOP = """
import asyncio, os, sqlite3, sys
from alhena_async import AlhenaClient
from alhena_async.outbox import SQLiteOutbox
from tests.integration.test_outbox_sqlite import cart, order

async def main(path, url, first):
    outbox = SQLiteOutbox(path, "shop")
    own = sqlite3.connect(path)
    async with AlhenaClient("shop", base_url=url, outbox=outbox) as alhena:
        print("ready", flush=True)
        for number in range(first, first + 10_000):
            with own:
                own.execute("INSERT INTO orders VALUES (?)", (f"o-{number}",))
                outbox.add_sync(own, order(f"o-{number}", f"v{number % 7}"))
            alhena.outbox_changed()
            await asyncio.sleep(0.0005)

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


async def test_every_committed_order_is_recorded_whenever_the_shop_is_killed(
    shop: SQLiteOutbox, api: Emulator
) -> None:
    """Ten kills at random moments: committed and recorded are the same, each once, in order."""
    rng = random.Random(1)
    for kill in range(10):
        process = subprocess.Popen(  # noqa: ASYNC220
            [sys.executable, "-c", SHOP, str(shop.path), api.url, str(kill * 10_000)],
            stdout=subprocess.PIPE, cwd=ROOT, env={**os.environ, "PYTHONPATH": "."},
        )  # fmt: skip
        assert process.stdout is not None
        await asyncio.to_thread(process.stdout.readline)
        await asyncio.sleep(rng.uniform(0.02, 0.15))
        process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(process.wait)
        process.stdout.close()
    async with AlhenaClient("shop", base_url=api.url, outbox=shop) as alhena:
        await alhena.flush(PATIENCE)
    with closing(sqlite3.connect(shop.path)) as own:
        committed = [row[0] for row in own.execute("SELECT id FROM orders ORDER BY rowid")]
    recorded = [one.order_id for one in api.recorded()]
    assert sorted(committed) == sorted(map(str, recorded))
    assert committed
    for who in range(7):
        mine = [one.order_id for one in api.recorded(fingerprint=visitor(f"v{who}").fingerprint)]
        assert mine == [one for one in committed if int(one[2:]) % 7 == who]


async def test_a_pause_of_the_client_holds_its_outbox_too(
    shop: SQLiteOutbox, api: Emulator
) -> None:
    """Taken or not, nothing of it goes; then all of it. Closed while paused, it ends at once."""

    class Taken(Observer):
        def __init__(self) -> None:
            self.event = asyncio.Event()

        def replayed(self, event: CartEvent | CheckoutEvent) -> None:
            self.event.set()

    taken = Taken()
    client = AlhenaClient("shop", base_url=api.url, outbox=shop, observers=[taken])
    client.pause()
    async with client as alhena:
        sell(shop, order("o-1"))
        alhena.outbox_changed()
        await asyncio.wait_for(taken.event.wait(), PATIENCE)
        assert alhena.stats().paused
        assert api.recorded_count == 0
        alhena.resume()
        await alhena.flush(PATIENCE)
        assert [one.order_id for one in api.recorded()] == ["o-1"]
        alhena.pause()
        sell(shop, order("o-2"))
        async with asyncio.timeout(PATIENCE):
            await alhena.close(timeout=None)
    assert api.recorded_count == 1
    assert shop.status()["waiting"] == 1


async def test_a_rate_is_shared_with_the_outbox(shop: SQLiteOutbox) -> None:
    """Together they keep to it."""
    transport = MemoryTransport()
    sell(shop, *[order(f"o-{number}", f"v{number}") for number in range(5)])
    queue = QueuePolicy(linger=0.0, max_rate=40)
    async with AlhenaClient("shop", transport=transport, outbox=shop, queue=queue) as alhena:
        for number in range(5):
            alhena.track_nowait(cart(f"w{number}"))
        await alhena.flush(PATIENCE)
    for endpoint in Endpoint:
        times = [sent.at for sent in transport.sent if sent.endpoint is endpoint]
        assert len(times) == 5
        assert times[-1] - times[0] >= 4 * 0.05 - 0.1
