"""docs/outbox.md does what it says: each driver's block, the rights, the migrations."""

import asyncio
import contextlib
import re
import sqlite3
import types
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest
from click.testing import CliRunner
from sqlalchemy import Column, MetaData, Table, Text, create_engine, text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import registry

from alhena_async import Visitor
from alhena_async.cli._commands import alhena
from alhena_async.emulator import Emulator
from alhena_async.relay import Postgres, Relay
from tests.outbox_shops import CREATE, django_connection
from tests.patience import PATIENCE
from tests.postgres_outbox import make_outbox
from tests.postgres_process import PostgresServer

PAGE = (Path(__file__).parents[2] / "docs" / "outbox.md").read_text()
ANN = Visitor(
    fingerprint="550e8400-e29b-41d4-a716-446655440000",
    faq_fingerprint="660e8400-e29b-41d4-a716-446655441111",
)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def the_shop() -> types.SimpleNamespace:
    """The page's functions, as one module."""
    names: dict[str, Any] = {}
    for block in blocks("python"):
        if "alembic" not in block and "migrations" not in block:
            exec(compile(block, "docs/outbox.md", "exec"), names)
    return types.SimpleNamespace(**names)


@pytest.fixture
async def url(postgres: PostgresServer) -> str:
    """A database with an outbox, and a table of orders."""
    made = postgres.new_database()
    await make_outbox(made)
    connection = await asyncpg.connect(made)
    await connection.execute(CREATE)
    await connection.close()
    return made


async def rows(url: str) -> tuple[list[str], list[str]]:
    """Return the orders, and the order ids in the outbox."""
    connection = await asyncpg.connect(url)
    orders = await connection.fetch("SELECT id FROM orders ORDER BY id")
    events = await connection.fetch("SELECT order_id FROM alhena_outbox ORDER BY id")
    await connection.close()
    return [row["id"] for row in orders], [row["order_id"] for row in events]


async def test_each_driver_adds_it_in_the_orders_transaction(url: str) -> None:
    """As it is copied from the page."""
    shop = the_shop()
    async with asyncpg.create_pool(url, min_size=1, max_size=1) as pool:
        await shop.order_asyncpg(pool, "A", ANN)
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await shop.order_psycopg(connection, "B", ANN)
    await by_sqlalchemy(shop, url, "C")
    await asyncio.to_thread(by_django, shop, url, "D")
    with psycopg.connect(url) as other, other.cursor() as cursor:
        shop.order_with(cursor, "E", ANN)
    assert await rows(url) == (list("ABCDE"), list("ABCDE"))


async def by_sqlalchemy(shop: Any, url: str, order_id: str) -> None:
    class Order:
        id: Any

    mapping = registry()
    mapping.map_imperatively(
        Order, Table("orders", MetaData(), Column("id", Text, primary_key=True))
    )
    order = Order()
    order.id = order_id
    engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"))
    await shop.order_sqlalchemy(async_sessionmaker(engine), order, ANN)
    await engine.dispose()
    mapping.dispose()


def by_django(shop: Any, url: str, order_id: str) -> None:
    connection = django_connection(url)
    shop.order_django(order_id, ANN)
    connection.close()


async def test_the_rights_on_the_page_are_enough(postgres: PostgresServer, url: str) -> None:
    """For the shop to add, and for a relay to deliver."""
    [rights] = blocks("sql")
    owner = await asyncpg.connect(url)
    await owner.execute("DROP ROLE IF EXISTS clerk, courier")
    await owner.execute(rights)
    await owner.execute("GRANT INSERT ON orders TO clerk")
    name = url.rpartition("/")[2]
    try:
        clerk = postgres.url_of("clerk", name)
        async with await psycopg.AsyncConnection.connect(clerk) as connection:
            await the_shop().order_psycopg(connection, "A", ANN)
        async with Emulator() as api:
            await owner.execute("UPDATE alhena_outbox_settings SET destination = $1", str(api.url))
            relay = Relay(broker=Postgres(postgres.url_of("courier", name)))
            life = asyncio.create_task(relay.run())
            async with asyncio.timeout(PATIENCE):
                while not api.recorded(order_id="A"):  # noqa: ASYNC110  it says so to nobody
                    await asyncio.sleep(0.02)
            relay.stop()
            await life
    finally:
        await owner.execute("DROP OWNED BY clerk, courier; DROP ROLE clerk, courier")
        await owner.close()


def test_the_migrations_make_the_tables(
    postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both read what `--print` shows, and run it as their tools do."""
    monkeypatch.chdir(tmp_path)
    [printing] = [one for one in blocks("console") if "--print" in one]
    arguments = printing.removeprefix("$ alhena ").partition(" >")[0].split()
    shown = CliRunner().invoke(alhena, arguments)
    assert shown.exit_code == 0
    Path("migrations").mkdir()
    Path("migrations/outbox.sql").write_text(shown.stdout)
    for word, migrate in (("alembic", by_alembic), ("RunSQL", by_migration)):
        [block] = [one for one in blocks("python") if word in one]
        url = postgres.new_database()
        migrate(block.replace("from alembic import op\n", ""), url)
        with psycopg.connect(url) as connection:
            found = connection.execute("SELECT destination FROM alhena_outbox_settings").fetchone()
        assert found == ("https://eu.alhena.ai/",)


def by_alembic(block: str, url: str) -> None:
    """Alembic makes a `text` of what it executes."""
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        op = types.SimpleNamespace(execute=lambda sql: connection.execute(text(sql)))
        names: dict[str, Any] = {"op": op}
        exec(compile(block, "docs/outbox.md", "exec"), names)
        names["upgrade"]()
    engine.dispose()


def by_migration(block: str, url: str) -> None:
    connection = django_connection(url)
    names: dict[str, Any] = {}
    exec(compile(block, "docs/outbox.md", "exec"), names)
    with connection.schema_editor() as editor:
        for operation in names["Migration"].operations:
            operation.database_forwards("shop", editor, None, None)
    connection.close()


async def test_a_shop_on_sqlite_as_it_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Order and event in one transaction, delivered by the shop's own client."""
    monkeypatch.chdir(tmp_path)
    with contextlib.closing(sqlite3.connect("shop.db")) as database:
        database.execute("CREATE TABLE orders (id TEXT PRIMARY KEY)")
    async with Emulator() as api:
        names: dict[str, Any] = {}
        for block in blocks("python"):
            if "event_of(order_id: str" in block or "SQLiteOutbox" in block:
                exec(block.replace('region="eu"', f"base_url={api.url!r}"), names)
        await names["sell"]("A", ANN)
        assert [one.order_id for one in api.recorded()] == ["A"]
