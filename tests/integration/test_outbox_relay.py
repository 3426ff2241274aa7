"""A relay on a shop's Postgres: in order, each once, whatever becomes of the server."""

import asyncio
import contextlib
import json
import logging
import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from alhena_async import RetryPolicy
from alhena_async.emulator import Emulator
from alhena_async.outbox import AddedStatus, PostgresOutbox
from alhena_async.relay import Lease, LeaseLost, Parcel, Postgres, Relay, Source
from alhena_async.relay._postgres_sql import PROBE, PRUNE
from alhena_async.transports import TransportError
from tests import outbox_plan
from tests.outbox_shops import order_of
from tests.patience import PATIENCE
from tests.postgres_outbox import make_outbox
from tests.postgres_process import PostgresServer, pgbouncer, postgres_server, replica_of
from tests.scripted import cart

OUTBOX = PostgresOutbox("shop")


@pytest.fixture
async def api() -> AsyncIterator[Emulator]:
    """Where events go."""
    async with Emulator() as emulator:
        yield emulator


class Shop:
    """A database with an outbox, and a connection that stays in autocommit unless it says BEGIN."""

    def __init__(self, url: str, broker: Postgres, connection: Any) -> None:
        self.url = url
        self.broker = broker
        self.connection = connection

    async def add(self, order_id: str, visitor: str, connection: Any = None) -> None:
        sql, parameters = OUTBOX.statement(order_of(order_id, visitor)).dollar
        await (connection or self.connection).execute(sql, *parameters)

    async def count(self, table: str = "alhena_outbox") -> int:
        return int(await self.connection.fetchval(f"SELECT count(*) FROM {table}"))

    async def emptied(self) -> None:
        await until(self._is_empty)

    async def _is_empty(self) -> bool:
        return await self.count() == 0


@contextlib.asynccontextmanager
async def shop_at(url: str, **settings: Any) -> AsyncIterator[Shop]:
    broker = await make_outbox(url, **settings)
    shop = Shop(url, broker, await asyncpg.connect(url))
    yield shop
    shop.connection.terminate()


@pytest.fixture
async def shop(postgres: PostgresServer, api: Emulator) -> AsyncIterator[Shop]:
    """Its events go to the emulator; leases are short."""
    url = postgres.new_database()
    async with shop_at(url, lease=2.0, destination=str(api.url)) as made:
        yield made


@contextlib.asynccontextmanager
async def relaying(broker: Postgres) -> AsyncIterator[Relay]:
    """Run a relay while the block runs."""
    worker = Relay(broker=broker, retry=RetryPolicy(precondition_retries=0))
    life = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        worker.stop()
        await life


@contextlib.asynccontextmanager
async def source_of(broker: Postgres) -> AsyncIterator[Source]:
    source = broker.source()
    await source.open()
    try:
        yield source
    finally:
        await source.close()


async def until(is_so: Callable[[], Awaitable[bool]] | Callable[[], bool]) -> None:
    """Wait for what others do."""
    async with asyncio.timeout(PATIENCE):
        while True:
            answer = is_so()
            if await answer if not isinstance(answer, bool) else answer:
                return
            await asyncio.sleep(0.02)


async def one_of(source: Source) -> Lease:
    async with asyncio.timeout(PATIENCE):
        [lease] = await source.take(1)
    return lease


def order_id_in(lease: Lease) -> str:
    return str(json.loads(lease.body)["order_id"])


def recorded(api: Emulator, visitor: str | None = None) -> list[str]:
    """Return the order ids that were recorded, of one visitor or of all, in order."""
    return [str(one.order_id) for one in api.recorded() if visitor in (None, one.fingerprint)]


async def test_delivered_in_order_and_gone(shop: Shop, api: Emulator) -> None:
    """By two relays; what they leave is an empty table, and no lease."""
    for number in range(60):
        await shop.add(f"{number:03}", f"v{number % 5}")
    async with relaying(shop.broker), relaying(shop.broker):
        await shop.emptied()
        await shop.add("late", "v0")  # they hear of it
        await shop.emptied()
    for visitor in range(5):
        wanted = [f"{number:03}" for number in range(visitor, 60, 5)]
        assert recorded(api, f"v{visitor}") == wanted + ["late"] * (visitor == 0)
    assert await shop.count("alhena_outbox_leases") == 0


async def test_a_row_that_is_seen_late_waits_for_the_one_that_is_out(shop: Shop) -> None:
    """Transactions commit in another order than their ids were drawn; one of a visitor is out."""
    slow = await asyncpg.connect(shop.url)
    transaction = slow.transaction()
    await transaction.start()
    await shop.add("drawn first", "v", slow)
    await shop.add("committed first", "v")
    async with source_of(shop.broker) as source, source_of(shop.broker) as other:
        lease = await one_of(source)
        assert order_id_in(lease) == "committed first"
        await transaction.commit()
        waiting = asyncio.create_task(other.take(1))
        await shop.add("of another", "w")
        [another] = await waiting
        assert order_id_in(another) == "of another"
        await other.done(another)
        await source.done(lease)
        assert order_id_in(await one_of(source)) == "drawn first"
    await slow.close()


@pytest.mark.parametrize("notify", [True, False])
async def test_a_transaction_of_seconds_is_delivered_when_it_is_seen(
    notify: bool, shop: Shop, api: Emulator
) -> None:
    """Its id was drawn first; nobody waits for it, its own visitor's later orders neither."""
    outbox = PostgresOutbox("shop", notify=notify)
    slow = await asyncpg.connect(shop.url)
    transaction = slow.transaction()
    await transaction.start()
    await outbox.add(slow, order_of("drawn first", "v"))
    async with relaying(shop.broker):
        for order_id, visitor in (("A", "v"), ("B", "another"), ("C", "v"), ("D", "v")):
            await shop.add(order_id, visitor)
            await until(lambda wanted=order_id: wanted in recorded(api))
            await shop.emptied()
        assert "drawn first" not in recorded(api)
        await transaction.commit()
        await shop.emptied()
    assert recorded(api, "v") == ["A", "C", "D", "drawn first"]
    await slow.close()


async def test_what_was_given_back_goes_before_what_is_seen_late(shop: Shop) -> None:
    """It was perhaps sent: its count of deliveries says so."""
    slow = await asyncpg.connect(shop.url)
    transaction = slow.transaction()
    await transaction.start()
    await shop.add("drawn first", "v", slow)
    await shop.add("committed first", "v")
    async with source_of(shop.broker) as source:
        await source.give_back(await one_of(source))
        await transaction.commit()
        again = await one_of(source)
        assert (order_id_in(again), again.delivery) == ("committed first", 2)
        await source.done(again)
        last = await one_of(source)
        assert (order_id_in(last), last.delivery) == ("drawn first", 1)
    await slow.close()


async def test_a_lane_that_was_finished_goes_on_with_what_was_in_hand(shop: Shop) -> None:
    """Also for who has just finished one of it: another may have had the next, and vanished."""
    await shop.add("seen late", "v")
    await shop.add("was in hand", "v")
    [(lane, _), (_, held)] = await shop.connection.fetch(
        "SELECT lane, id FROM alhena_outbox ORDER BY id"
    )
    await shop.connection.execute(
        "INSERT INTO alhena_outbox_leases VALUES ($1, $2, 1, '-infinity', 1)", lane, held
    )
    probe = shop.broker.tables.put_into(PROBE)
    [row] = await shop.connection.fetch(probe, 10, 2, 60.0, str(lane))
    assert (row["event"], row["delivery"]) == (held, 2)


async def test_a_lease_that_is_over_or_anothers_ends_nothing(shop: Shop) -> None:
    """A relay that stood still learns it; the event stays where it is, and so does its lease."""
    async with source_of(shop.broker) as source:
        for change in ("token = token + 1", "until = now() - interval '1 ms'"):
            await shop.add(change, change)
            lease = await one_of(source)
            await shop.connection.execute(f"UPDATE alhena_outbox_leases SET {change}")
            for ending in (source.done(lease), source.bury(lease, b"{}"), source.extend([lease])):
                with pytest.raises(LeaseLost):
                    await ending
            assert (await shop.count(), await shop.count("alhena_outbox_leases")) == (1, 1)
            assert await shop.count("alhena_outbox_letters") == 0
            await shop.connection.execute("TRUNCATE alhena_outbox, alhena_outbox_leases")


async def test_what_somebody_has_locked_is_passed_by(shop: Shop) -> None:
    """As by who is just deleting it."""
    await shop.add("locked", "v")
    await shop.add("free", "w")
    holder = await asyncpg.connect(shop.url)
    async with holder.transaction(), source_of(shop.broker) as source:
        await holder.execute("SELECT id FROM alhena_outbox ORDER BY id LIMIT 1 FOR UPDATE")
        async with asyncio.timeout(PATIENCE):
            assert [order_id_in(one) for one in await source.take(10)] == ["free"]
    await holder.close()


async def test_two_that_take_at_once_do_not_both_have_it(shop: Shop) -> None:
    """Who comes second waits for the first to be committed, and sees its lease."""
    await shop.add("taken", "v")
    first = await asyncpg.connect(shop.url)
    transaction = first.transaction()
    await transaction.start()
    await first.execute(
        "INSERT INTO alhena_outbox_leases SELECT lane, id, 1, now() + interval '60 s', 1 "
        "FROM alhena_outbox"
    )
    async with source_of(shop.broker) as source:
        taking = asyncio.create_task(source.take(10))
        waits = (
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )

        async def is_waiting() -> bool:
            return bool(await shop.connection.fetchval(waits))

        await until(is_waiting)
        await transaction.commit()
        await shop.add("free", "w")
        async with asyncio.timeout(PATIENCE):
            assert [order_id_in(one) for one in await taking] == ["free"]
    await first.close()


class Watch:
    """Writers that commit late, takers that give back and bury, and who is out meanwhile."""

    def __init__(self, url: str) -> None:
        self.rng = random.Random(11)
        self.out: set[int] = set()
        self.ended: list[str] = []
        self._url = url

    async def write(self, writer: int, lane: int, count: int) -> None:
        connection = await asyncpg.connect(self._url)
        for number in range(count):
            body = json.dumps({"order_id": f"{writer}-{number:03}"})
            async with connection.transaction():
                await connection.execute(
                    "INSERT INTO alhena_outbox (lane, company_key, body) VALUES ($1, 'shop', $2)",
                    lane, body,
                )  # fmt: skip
                await asyncio.sleep(self.rng.random() * 0.01)
            await connection.execute("SELECT pg_notify('alhena_outbox', '')")
        await connection.close()

    async def relay(self, source: Source) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                for lease in await source.take(self.rng.randint(1, 8)):
                    group.create_task(self.handle(source, lease))

    async def handle(self, source: Source, lease: Lease) -> None:
        lane = lease.token.lane  # type: ignore[attr-defined]
        assert lane not in self.out, "two of a visitor are out"
        self.out.add(lane)
        await asyncio.sleep(self.rng.random() * 0.01)
        self.out.discard(lane)
        chance = self.rng.random()
        if chance < 0.2:
            await source.give_back(lease)
            return
        self.ended.append(order_id_in(lease))
        await (source.bury(lease, b"{}") if chance < 0.3 else source.done(lease))


async def test_one_of_a_visitor_is_out_over_all_relays(shop: Shop) -> None:
    """Whatever commits late, is given back or buried: never two, none lost, none done twice."""
    watch, each = Watch(shop.url), 40
    async with contextlib.AsyncExitStack() as stack:
        sources = [await stack.enter_async_context(source_of(shop.broker)) for _ in range(3)]
        relays = [asyncio.create_task(watch.relay(source)) for source in sources]
        # Two write for each visitor, so that ids become visible in another order than they have.
        await asyncio.gather(*(watch.write(writer, writer % 6, each) for writer in range(12)))
        await until(lambda: len(watch.ended) >= 12 * each or any(one.done() for one in relays))
        await until(shop._is_empty)
        for one in relays:
            one.cancel()
        results = await asyncio.gather(*relays, return_exceptions=True)
    assert [one for one in results if not isinstance(one, asyncio.CancelledError)] == []
    assert len(watch.ended) == len(set(watch.ended)) == 12 * each
    for writer in range(12):
        own = [name for name in watch.ended if name.startswith(f"{writer}-")]
        assert own == sorted(own)


async def test_busy_visitors_hide_nobody(shop: Shop) -> None:
    """Who comes while others have much waiting is found long before that is all gone."""
    await shop.connection.execute("""
        INSERT INTO alhena_outbox (lane, company_key, body)
        SELECT n % 4, 'shop', '{"order_id": "busy"}' FROM generate_series(1, 8000) n
    """)
    async with source_of(shop.broker) as source:
        handed_out = 0
        while True:
            leases = await source.take(4)
            if handed_out == 0:
                await shop.add("new", "v")
            handed_out += len(leases)
            await asyncio.gather(*map(source.done, leases))
            if "new" in map(order_id_in, leases):
                break
        assert handed_out < 8000


async def test_a_table_that_is_gone_is_asked_for_on_a_new_connection(
    shop: Shop, api: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """As after a failover: what lacks is said, and the relay comes back once it is there."""
    async with relaying(shop.broker) as relay:
        await until(lambda: relay.stats().connected)
        await shop.connection.execute("ALTER TABLE alhena_outbox RENAME TO elsewhere")
        await until(lambda: "can not be taken from" in caplog.text)
        await shop.connection.execute("ALTER TABLE elsewhere RENAME TO alhena_outbox")
        await shop.add("A", "v")
        await shop.emptied()
    assert recorded(api) == ["A"]


async def test_ages_are_told_by_the_databases_clock(shop: Shop) -> None:
    """Whatever the clocks of shop and relay say."""
    await shop.add("A", "v")
    await shop.connection.execute(
        "UPDATE alhena_outbox SET accepted_at = accepted_at - interval '1 hour'"
    )
    async with source_of(shop.broker) as source:
        age = (await one_of(source)).age
    assert age is not None
    assert 3_600 <= age < 3_600 + PATIENCE


async def test_a_row_that_is_no_event_is_a_letter(shop: Shop, api: Emulator) -> None:
    """Its lane goes on."""
    await shop.add("A", "v")
    await shop.connection.execute("""UPDATE alhena_outbox SET body = '{"v": 1, "grün": null}'""")
    await shop.add("B", "v")
    async with relaying(shop.broker):
        await shop.emptied()
    assert recorded(api) == ["B"]
    letter = json.loads(await shop.connection.fetchval("SELECT letter FROM alhena_outbox_letters"))
    assert (letter["status"], letter["message"]) == ("unreadable", {"v": 1, "grün": None})


async def test_a_relay_uses_two_connections(shop: Shop, api: Emulator) -> None:
    """Whatever the load."""
    for number in range(300):
        await shop.add(f"{number:03}", f"v{number % 100}")
    most = 0
    others = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    async with relaying(shop.broker):
        async with asyncio.timeout(PATIENCE):
            while await shop.count():
                most = max(most, await shop.connection.fetchval(others))
    assert most == 2
    assert len(recorded(api)) == 300


TERMINATE = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


async def test_connections_that_are_ended_by_the_server(shop: Shop, api: Emulator) -> None:
    """Again and again: nothing is lost, and nothing comes out of order."""
    async with relaying(shop.broker) as relay:
        for number in range(30):
            await shop.add(f"{number:03}", f"v{number % 3}")
            if number % 10 == 5:
                await until(lambda: relay.stats().connected)
                await shop.connection.execute(TERMINATE)
        await shop.emptied()
    for visitor in range(3):
        firsts = list(dict.fromkeys(recorded(api, f"v{visitor}")))
        assert firsts == [f"{number:03}" for number in range(visitor, 30, 3)]


@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_a_server_that_goes_and_comes(how: str, api: Emulator) -> None:
    """As a machine that fails, and in an orderly way: what was committed is delivered."""
    with postgres_server(durable=True) as server:
        async with shop_at(server.url, lease=2.0, destination=str(api.url)) as shop:
            for number in range(40):
                await shop.add(f"{number:03}", f"v{number % 4}")
            async with relaying(shop.broker):
                await until(lambda: len(api.recorded()) >= 3)
                getattr(server, how)()
                server.start()
                shop.connection.terminate()
                shop.connection = await asyncpg.connect(server.url)
                await shop.add("after", "v0")
                await shop.emptied()
    for visitor in range(4):
        firsts = list(dict.fromkeys(recorded(api, f"v{visitor}")))
        wanted = [f"{number:03}" for number in range(visitor, 40, 4)]
        assert firsts == wanted + ["after"] * (visitor == 0)


async def test_a_server_that_answers_nothing_is_left(shop: Shop, postgres: PostgresServer) -> None:
    """Its connections stay open: what is held is another's soon, and the relay says so."""
    await shop.add("A", "v")
    source = shop.broker.source()
    await source.open()
    lease = await one_of(source)
    postgres.pause()
    try:
        with pytest.raises(LeaseLost):
            await source.done(lease)
        with pytest.raises(TransportError):
            await source.take(1)
    finally:
        postgres.go_on()
        await source.close()


async def test_a_failover(api: Emulator) -> None:
    """The URL names both servers: the one that can be written to is used."""
    with postgres_server() as primary, replica_of(primary) as replica:
        both = f"postgresql://postgres@127.0.0.1:{primary.port},127.0.0.1:{replica.port}/postgres"
        async with (
            shop_at(both, lease=2.0, destination=str(api.url)) as shop,
            relaying(shop.broker),
        ):
            await shop.add("before", "v")
            await shop.emptied()
            replica.wait_for("alhena_outbox_settings")
            primary.kill()
            replica.promote()
            connection = await asyncpg.connect(replica.url)
            await shop.add("after", "v", connection)
            await until(lambda: recorded(api)[-1:] == ["after"])
            await connection.close()


async def test_a_lock_that_a_migration_holds(
    shop: Shop, api: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """Longer than a lease: the relay waits, and goes on."""
    async with relaying(shop.broker) as relay:
        await until(lambda: relay.stats().connected)
        migration = await asyncpg.connect(shop.url)
        transaction = migration.transaction()
        await transaction.start()
        await migration.execute("LOCK TABLE alhena_outbox IN ACCESS EXCLUSIVE MODE")
        adding = asyncio.create_task(shop.add("A", "v"))
        await asyncio.sleep(3.0)  # a lease and a half: nothing can be waited for
        await transaction.commit()
        await migration.close()
        await adding
        await shop.emptied()
    assert recorded(api) == ["A"]
    assert "Traceback" not in caplog.text


async def role_of(shop: Shop, settings: str) -> Postgres:
    """Make a user with no right but a relay's, and return the outbox as that one sees it."""
    await shop.connection.execute(f"""
        DROP ROLE IF EXISTS courier;
        CREATE ROLE courier LOGIN {settings};
        GRANT SELECT, UPDATE, DELETE ON alhena_outbox TO courier;
        GRANT SELECT, INSERT, UPDATE, DELETE ON alhena_outbox_leases TO courier;
        GRANT SELECT, INSERT, DELETE ON alhena_outbox_letters TO courier;
        GRANT SELECT, DELETE ON alhena_outbox_ids TO courier;
        GRANT SELECT, INSERT, DELETE ON alhena_outbox_orders TO courier;
        GRANT SELECT ON alhena_outbox_settings TO courier;
    """)
    return Postgres(shop.url.replace("postgres@", "courier@"))


@pytest.fixture
async def no_courier(shop: Shop) -> AsyncIterator[None]:
    """Roles are the server's, not the database's."""
    yield
    await shop.connection.execute("DROP OWNED BY courier; DROP ROLE courier")


@pytest.mark.usefixtures("no_courier")
async def test_a_relay_needs_few_rights(shop: Shop, api: Emulator) -> None:
    """And prunes, buries, extends and hears of events with them."""
    broker = await role_of(shop, "")
    await shop.connection.execute(
        "INSERT INTO alhena_outbox_letters (event, lane, letter, ended_at) "
        "VALUES (1, 1, '', now() - interval '31 days')"
    )
    await shop.add("A", "v")
    await shop.connection.execute("UPDATE alhena_outbox SET body = 'none'")
    await shop.add("B", "v")
    async with relaying(broker):
        await shop.emptied()
        assert await shop.count("alhena_outbox_letters") == 1
    assert recorded(api) == ["B"]


@pytest.mark.usefixtures("no_courier")
async def test_a_database_without_a_connection_to_spare(
    shop: Shop, api: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """The relay says so, waits and comes back."""
    broker = await role_of(shop, "CONNECTION LIMIT 1")
    await shop.add("A", "v")
    async with relaying(broker):
        await until(lambda: "too many connections" in caplog.text)
        await shop.connection.execute("ALTER ROLE courier CONNECTION LIMIT 2")
        await shop.emptied()
    assert recorded(api) == ["A"]


@pytest.mark.usefixtures("no_courier")
async def test_a_statement_timeout(
    shop: Shop, api: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """Every statement that waits for a lock fails: the relay tries again until it is gone."""
    broker = await role_of(shop, "")
    await shop.connection.execute("ALTER ROLE courier SET statement_timeout = '100ms'")
    await shop.add("A", "v")
    migration = await asyncpg.connect(shop.url)
    transaction = migration.transaction()
    await transaction.start()
    await migration.execute("LOCK TABLE alhena_outbox IN ACCESS EXCLUSIVE MODE")
    async with relaying(broker):
        await until(lambda: "canceling statement due to statement timeout" in caplog.text)
        await transaction.commit()
        await shop.emptied()
    await migration.close()
    assert recorded(api) == ["A"]


async def test_behind_pgbouncer_in_transaction_mode(
    shop: Shop, api: Emulator, postgres: PostgresServer
) -> None:
    """No statement has a name and none leaves anything behind; nothing is heard, so it polls."""
    with pgbouncer(postgres) as port:
        url = f"postgresql://postgres@127.0.0.1:{port}/{shop.url.rpartition('/')[2]}"
        async with relaying(Postgres(url)), relaying(Postgres(url)):
            for number in range(40):
                await shop.add(f"{number:03}", f"v{number % 4}")
            await shop.emptied()
            await shop.add("late", "v0")
            await shop.emptied()
    for visitor in range(4):
        wanted = [f"{number:03}" for number in range(visitor, 40, 4)]
        assert recorded(api, f"v{visitor}") == wanted + ["late"] * (visitor == 0)


async def test_tables_are_made_by_several_at_once(postgres: PostgresServer) -> None:
    """As by the first container of each pod: all of them end well."""
    url = postgres.new_database()
    made = await asyncio.gather(*(make_outbox(url) for _ in range(4)), return_exceptions=True)
    assert [one for one in made if isinstance(one, BaseException)] == []


async def test_letters_are_bounded(shop: Shop) -> None:
    """By age and by bytes, the oldest first; ids of publishers by age."""
    insert = (
        "INSERT INTO alhena_outbox_letters (event, lane, letter, ended_at) "
        "SELECT n, 1, repeat('x', 100), now() - n * interval '1 day' FROM generate_series({}) n"
    )
    await shop.connection.execute(insert.format("28, 33"))
    by_age, by_bytes = (shop.broker.tables.put_into(one) for one in PRUNE[1:3])
    await shop.connection.execute(by_age, 30 * 86_400.0)
    left = "SELECT array_agg(event ORDER BY id) FROM alhena_outbox_letters"
    assert await shop.connection.fetchval(left) == [28, 29]
    await shop.connection.execute(insert.format("1, 5"))
    await shop.connection.execute(by_bytes, 350)
    assert await shop.connection.fetchval(left) == [3, 4, 5]


async def test_a_delivered_order_that_is_added_again_is_passed_by(
    shop: Shop, api: Emulator
) -> None:
    """A webhook that comes late makes no second row; a cart event that looks the same does."""
    async with relaying(shop.broker):
        await shop.add("A", "v")
        sql, parameters = OUTBOX.statement(cart("v")).dollar
        await shop.connection.execute(sql, *parameters)
        await shop.emptied()
    kept = await shop.connection.fetch("SELECT company_key, order_id FROM alhena_outbox_orders")
    assert [tuple(row) for row in kept] == [("shop", "A")]
    added = await OUTBOX.add(shop.connection, order_of("A", "v"))
    assert added.status is AddedStatus.THERE
    other = PostgresOutbox("other-shop")
    assert (await other.add(shop.connection, order_of("A", "v"))).status is AddedStatus.ADDED
    await OUTBOX.add(shop.connection, cart("v"))
    assert await shop.count() == 2
    assert recorded(api) == ["A", "None"]


async def test_a_published_order_is_no_second_one(shop: Shop) -> None:
    """Neither beside one that waits nor after one that was delivered."""
    await shop.connection.execute("INSERT INTO alhena_outbox_orders VALUES ('shop', 'A')")
    await shop.add("B", "v")
    channel = shop.broker.channel()
    await channel.open()
    for name in "ABC":
        row = OUTBOX.statement(order_of(name, "v")).row
        assert row is not None
        await channel.publish(Parcel(id=name, lane=row.lane, body=row.body.encode()))
    await channel.close()
    rows = await shop.connection.fetch("SELECT order_id FROM alhena_outbox ORDER BY id")
    assert [row[0] for row in rows] == ["B", "C"]


async def test_ids_of_delivered_orders_are_kept_for_a_time(shop: Shop) -> None:
    """Ninety days, and no longer."""
    await shop.connection.execute("""
        INSERT INTO alhena_outbox_orders
        SELECT 'shop', n::text, now() - n * interval '1 day' FROM generate_series(88, 92) n
    """)
    async with source_of(shop.broker):

        async def is_pruned() -> bool:
            return await shop.count("alhena_outbox_orders") < 5

        await until(is_pruned)
    kept = "SELECT array_agg(order_id ORDER BY order_id) FROM alhena_outbox_orders"
    assert await shop.connection.fetchval(kept) == ["88", "89"]


async def test_the_next_is_found_by_an_index(shop: Shop) -> None:
    """However many wait (a million: `make outbox-plan`), before and after the table is analysed."""
    await outbox_plan.fill(shop.url, 30_000)
    for analysed in (False, True):
        plans = await outbox_plan.plans(shop.url, analysed=analysed)
        for name, plan in plans.items():
            assert outbox_plan.faults(plan) == [], (name, plan)


async def test_what_nobody_is_told_of_is_found(shop: Shop, api: Emulator) -> None:
    """A relay looks by itself, too."""
    sql, parameters = PostgresOutbox("shop", notify=False).statement(order_of("A", "v")).dollar
    async with relaying(shop.broker) as relay:
        await until(lambda: relay.stats().connected)
        await shop.connection.execute(sql, *parameters)
        await shop.emptied()
    assert recorded(api) == ["A"]


async def test_a_relay_that_is_stopped_leaves_nothing_leased(shop: Shop) -> None:
    """What comes as it ends is the next one's at once."""
    async with relaying(shop.broker) as relay:
        await until(lambda: relay.stats().connected)
    await shop.add("A", "v")
    async with source_of(shop.broker) as source:
        assert (await one_of(source)).delivery == 1


async def test_a_publisher_publishes_to_it(shop: Shop, api: Emulator) -> None:
    """What is published twice is there once, also where it was delivered in between."""
    channel = shop.broker.channel()
    await channel.open()
    source = shop.broker.source()
    await source.open()
    _, values = OUTBOX.statement(cart("v")).dollar
    parcel = Parcel(id="one", lane=values[0], body=values[3].encode())
    await channel.publish(parcel)
    await source.done(await one_of(source))
    await channel.publish(parcel)
    assert await shop.count() == 0
    await source.close()
    await channel.close()


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to install."""
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    monkeypatch.delitem(sys.modules, "alhena_async.relay._postgres_connection", raising=False)
    monkeypatch.delattr("alhena_async.relay._postgres_connection", raising=False)
    wanted = r"pip install 'alhena-async\[asyncpg\]'.* whatever driver the shop itself has"
    with pytest.raises(ModuleNotFoundError, match=wanted):
        Postgres("postgresql://shop").source()


def test_no_password_is_told() -> None:
    """In no text of it."""
    broker = Postgres("postgresql://u:hunter2@h1:1,h2:2/shop?password=hunter2")
    assert f"{broker} {broker!r} {broker.name}" == (
        "the outbox at h1:1,h2:2/shop <Postgres alhena_outbox at h1:1,h2:2/shop> postgres:"
    )


async def test_a_database_that_is_away_is_said_once(
    shop: Shop, api: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """And when it is back."""
    with caplog.at_level(logging.WARNING):
        away = Postgres("postgresql://u:hunter2@127.0.0.1:1/shop")
        async with relaying(away):
            await until(lambda: "can not be taken from" in caplog.text)
    assert "hunter2" not in caplog.text
