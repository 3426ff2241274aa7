"""An event is committed with its order, or not at all: with each driver, on a real server."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from alhena_async.outbox import Added, AddedStatus, PostgresOutbox
from alhena_async.relay._message import decode
from tests.outbox_shops import CREATE, SHOPS, django_connection, order_of, sell
from tests.postgres_outbox import make_outbox
from tests.postgres_process import PostgresServer
from tests.scripted import cart

WAITS = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


@pytest.fixture
async def url(postgres: PostgresServer) -> str:
    """A database with an outbox, and a table of orders."""
    made = postgres.new_database()
    await make_outbox(made)
    await execute(made, CREATE)
    return made


@pytest.fixture
async def connection(url: str) -> AsyncIterator[Any]:
    """asyncpg's, to that database."""
    made = await asyncpg.connect(url)
    yield made
    await made.close()


async def execute(url: str, sql: str) -> list[Any]:
    connection = await asyncpg.connect(url)
    try:
        rows: list[Any] = await connection.fetch(sql)
    finally:
        await connection.close()
    return rows


async def waiting(url: str) -> list[str | None]:
    """Return the order ids in the outbox, in order, each as its message says it."""
    rows = await execute(url, "SELECT body FROM alhena_outbox ORDER BY id")
    return [decode(row["body"].encode()).order_id for row in rows]


@pytest.mark.parametrize("shop", SHOPS)
async def test_committed_together_or_not_at_all(shop: str, url: str) -> None:
    """What is rolled back leaves nothing; an order id that comes twice leaves one row."""
    answers: list[Added] = []
    sales = [("A", "v1", False), ("B", "v1", True), ("C", "v2", False)]
    await sell(shop, url, sales, answers.append)
    assert [one.status for one in answers] == [AddedStatus.ADDED] * 2
    assert [one.order_id for one in answers] == ["A", "C"]
    assert await waiting(url) == ["A", "C"]
    await execute(url, "DELETE FROM orders")  # the webhook that made the order comes again
    await sell(shop, url, [("C", "v2", False), ("D", "v2", False)], answers.append)
    assert [one.status.value for one in answers[2:]] == ["there", "added"]
    assert await waiting(url) == ["A", "C", "D"]


def no_transaction(caplog: pytest.LogCaptureFixture) -> int:
    return sum("outside any transaction" in one.getMessage() for one in caplog.records)


@pytest.mark.parametrize("shop", SHOPS)
async def test_a_transaction_is_no_reason_for_a_line(
    shop: str, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the driver calls it."""
    await sell(shop, url, [("A", "v", False)], lambda _: None)
    assert no_transaction(caplog) == 0


async def test_autocommit_is_said_once(
    connection: Any, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With asyncpg; and the event is there, since it was committed."""
    outbox = PostgresOutbox("shop")
    for number in range(3):
        await outbox.add(connection, cart(f"v{number}"))
    assert no_transaction(caplog) == 1
    [line] = [one for one in caplog.records if "outside" in one.getMessage()]
    assert line.levelno == logging.WARNING
    assert len(await waiting(url)) == 3


async def test_autocommit_is_seen_with_psycopg(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Not where a transaction is begun by hand all the same."""
    with psycopg.connect(url, autocommit=True) as connection:
        with connection.transaction():
            PostgresOutbox("shop").add_sync(connection, cart("v"))
        assert no_transaction(caplog) == 0
        PostgresOutbox("shop").add_sync(connection, cart("v"))
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as other:
        await PostgresOutbox("shop").add(other, cart("v"))
    assert no_transaction(caplog) == 2


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_autocommit_is_seen_with_sqlalchemy(
    driver: str, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Under `isolation_level="AUTOCOMMIT"`, of a connection and of a session."""
    engine = create_async_engine(
        url.replace("postgresql:", f"postgresql+{driver}:"), isolation_level="AUTOCOMMIT"
    )
    async with engine.begin() as connection:
        await PostgresOutbox("shop").add(connection, cart("v"))
    async with AsyncSession(engine) as session:
        await PostgresOutbox("shop").add(session, cart("v"))
    await engine.dispose()
    assert no_transaction(caplog) == 2


async def test_autocommit_is_seen_with_django(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Django commits by itself outside `atomic`."""

    def add() -> None:
        connection = django_connection(url)
        PostgresOutbox("shop").add_sync(connection, cart("v"))
        connection.close()

    await asyncio.to_thread(add)
    assert no_transaction(caplog) == 1


async def test_a_pool_gives_connections_too(url: str) -> None:
    """The proxy that it gives is one."""
    async with (
        asyncpg.create_pool(url, min_size=1, max_size=1) as pool,
        pool.acquire() as connection,
        connection.transaction(),
    ):
        added = await PostgresOutbox("shop").add(connection, order_of("A", "v"))
    assert added.status is AddedStatus.ADDED


async def test_the_wrong_call_names_the_right_one(url: str) -> None:
    """Nothing is written by a call that nobody awaited."""
    outbox = PostgresOutbox("shop")
    with (
        psycopg.connect(url) as connection,
        pytest.raises(TypeError, match="psycopg's Connection: use add_sync"),
    ):
        await outbox.add(connection, cart("v"))
    async with await psycopg.AsyncConnection.connect(url) as other:
        with pytest.raises(TypeError, match=r"psycopg's AsyncConnection: use await add\("):
            outbox.add_sync(other, cart("v"))
    assert await waiting(url) == []


async def test_rows_of_another_shape_harm_nothing(url: str) -> None:
    """A psycopg connection may make anything of its rows."""

    class Row:
        def __init__(self, **_: Any) -> None:
            raise AssertionError("nothing is fetched")

    row_factory = psycopg.rows.class_row(Row)
    with psycopg.connect(url, row_factory=row_factory) as connection:
        added = PostgresOutbox("shop").add_sync(connection, order_of("A", "v"))
    assert added.status is AddedStatus.ADDED
    assert await waiting(url) == ["A"]


@pytest.mark.parametrize("notify", [True, False])
async def test_relays_are_woken_unless_it_is_not_wanted(
    notify: bool, connection: Any, url: str
) -> None:
    """By the commit, and never before it; what became of the event is told all the same."""
    heard = asyncio.Event()
    await connection.add_listener("alhena_outbox", lambda *_: heard.set())
    shop = await asyncpg.connect(url)
    async with shop.transaction():
        added = await PostgresOutbox("shop", notify=notify).add(shop, order_of("A", "v"))
        await connection.fetchval("SELECT 1")  # what was sent by now has come
        assert not heard.is_set()
    again = await PostgresOutbox("shop", notify=notify).add(shop, order_of("A", "v"))
    await shop.close()
    await connection.fetchval("SELECT 1")
    assert heard.is_set() is notify
    assert (added.status, again.status) == (AddedStatus.ADDED, AddedStatus.THERE)


async def test_a_savepoint_that_is_rolled_back_takes_the_event_along(
    connection: Any, url: str
) -> None:
    """The event is where the order is."""
    outbox = PostgresOutbox("shop")
    async with connection.transaction():
        await outbox.add(connection, order_of("A", "v"))
        inner = connection.transaction()
        await inner.start()
        await outbox.add(connection, order_of("B", "v"))
        await inner.rollback()
    assert await waiting(url) == ["A"]


async def test_two_transactions_with_one_order_id_leave_one_row(url: str) -> None:
    """The second waits for the first, and then finds it there; or is the one, if it goes back."""
    outbox = PostgresOutbox("shop")
    one, two = await asyncpg.connect(url), await asyncpg.connect(url)
    for is_committed in (False, True):
        first, second = one.transaction(), two.transaction()
        await first.start()
        await second.start()
        await outbox.add(one, order_of("A", "v"))
        waits = asyncio.create_task(outbox.add(two, order_of("A", "v")))
        while not await execute(url, WAITS):  # noqa: ASYNC110  it is the server's to say
            await asyncio.sleep(0.01)
        await (first.commit() if is_committed else first.rollback())
        assert (await waits).status.value == ("there" if is_committed else "added")
        await second.rollback()
    assert await waiting(url) == ["A"]
    await one.close()
    await two.close()


async def test_a_shop_needs_the_right_to_insert_alone(postgres: PostgresServer, url: str) -> None:
    """It cannot read what waits, nor take anything out."""
    await execute(url, "DROP ROLE IF EXISTS clerk")
    await execute(url, "CREATE ROLE clerk LOGIN")
    await execute(url, "GRANT INSERT ON alhena_outbox TO clerk")
    clerk = await asyncpg.connect(postgres.url_of("clerk", url.rpartition("/")[2]))
    async with clerk.transaction():
        for order_id in ("A", "A", "B"):
            await PostgresOutbox("shop").add(clerk, order_of(order_id, "v"))
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await clerk.fetch("SELECT * FROM alhena_outbox")
    await clerk.close()
    assert await waiting(url) == ["A", "B"]
    await execute(url, "DROP OWNED BY clerk")
    await execute(url, "DROP ROLE clerk")


async def test_a_database_of_another_encoding_takes_every_event(postgres: PostgresServer) -> None:
    """No product's name ends a sale."""
    latin = postgres.new_database("-E", "LATIN1", "-T", "template0")
    await make_outbox(latin)
    connection = await asyncpg.connect(latin)
    for order_id in ("茶", "zero\0zero", "x" * 20_000):
        async with connection.transaction():
            await PostgresOutbox("shop").add(connection, order_of(order_id, "v"))
    await connection.close()
    assert await waiting(latin) == ["茶", "zero\0zero", "x" * 20_000]


async def test_a_schema_of_its_own(postgres: PostgresServer) -> None:
    """Also where the search path does not lead."""
    url = postgres.new_database()
    await execute(url, 'CREATE SCHEMA "Sales"')
    await make_outbox(url, schema="Sales")
    connection = await asyncpg.connect(url)
    async with connection.transaction():
        await PostgresOutbox("shop", schema="Sales").add(connection, order_of("A", "v"))
    with pytest.raises(asyncpg.UndefinedTableError):
        await PostgresOutbox("shop").add(connection, order_of("B", "v"))
    await connection.close()
    assert len(await execute(url, 'SELECT 1 FROM "Sales".alhena_outbox')) == 1
