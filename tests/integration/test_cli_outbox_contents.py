"""`alhena reconcile --outbox` and `alhena forget`, on Postgres and on SQLite."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncpg
import attrs
import pytest
from click.testing import CliRunner

from alhena_async import CheckoutEvent, LineItem, Outcome, OutcomeStatus, Visitor
from alhena_async.cli._commands import alhena
from alhena_async.events import Event
from alhena_async.outbox import PostgresOutbox, SQLiteOutbox
from alhena_async.relay import Postgres
from alhena_async.relay._clock import now
from alhena_async.relay._letter import letter_of, shortened
from tests.cli_process import Ended, checkout, lines_of
from tests.postgres_outbox import make_outbox, running_server
from tests.postgres_process import PostgresServer
from tests.scripted import cart


class Place:
    """An outbox, beside a shop's orders."""

    url: str
    outbox: PostgresOutbox | SQLiteOutbox

    def execute(self, sql: str, *parameters: Any) -> list[Any]:
        raise NotImplementedError

    def add(self, event: Event) -> None:
        raise NotImplementedError

    def bury(self, event: Event, *, is_cut: bool = False) -> None:
        """Have an event among the letters."""
        row = self.outbox.statement(event).row
        assert row is not None
        letter = letter_of(
            Outcome(status=OutcomeStatus.EXPIRED, event=event, detail="too late"),
            row.body.encode(), destination="https://app.alhena.ai/", ended=1.0,
        )  # fmt: skip
        text = (shortened(letter, 600) if is_cut else letter).decode()
        self.insert_letter(text)

    def insert_letter(self, text: str) -> None:
        raise NotImplementedError

    def ids(self, table: str = "alhena_outbox") -> list[str]:
        return [row[0] for row in self.execute(f"SELECT order_id FROM {table} ORDER BY 1")]

    def count(self, table: str) -> int:
        return int(self.execute(f"SELECT count(*) FROM {table}")[0][0])

    def take_one(self) -> None:
        """Have a relay hold the next event, and vanish."""
        raise NotImplementedError


class InPostgres(Place):
    def __init__(self, url: str) -> None:
        self.url = url
        self.outbox = PostgresOutbox("shop")
        asyncio.run(make_outbox(url))

    def execute(self, sql: str, *parameters: Any) -> list[Any]:
        async def fetched() -> list[Any]:
            connection = await asyncpg.connect(self.url)
            rows: list[Any] = await connection.fetch(sql, *parameters)
            await connection.close()
            return rows

        return asyncio.run(fetched())

    def add(self, event: Event) -> None:
        sql, parameters = self.outbox.statement(event).dollar
        self.execute(sql, *parameters)

    def insert_letter(self, text: str) -> None:
        insert = "INSERT INTO alhena_outbox_letters (event, lane, letter) VALUES (1, 1, $1)"
        self.execute(insert, text)

    def take_one(self) -> None:
        async def take() -> None:
            source = Postgres(self.url).source()
            await source.open()
            assert len(await source.take(1)) == 1
            await source.close()

        asyncio.run(take())


class InSQLite(Place):
    def __init__(self, path: Path) -> None:
        self.url = f"sqlite:///{path}"
        self.path = path
        self.outbox = SQLiteOutbox(path, "shop")
        sqlite3.connect(path).close()
        self.outbox.create()

    def execute(self, sql: str, *parameters: Any) -> list[Any]:
        with closing(sqlite3.connect(self.path)) as own, own:
            return own.execute(sql, parameters).fetchall()

    def add(self, event: Event) -> None:
        sql, parameters = self.outbox.statement(event).qmark
        self.execute(sql, *parameters)

    def insert_letter(self, text: str) -> None:
        self.execute("INSERT INTO alhena_outbox_letters (event, letter) VALUES (1, ?)", text)

    def take_one(self) -> None:
        async def until() -> float:
            return now() + 10

        given = asyncio.run(until())
        self.execute("UPDATE alhena_outbox_settings SET token = 1, until = ?", given)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    yield from running_server()


@pytest.fixture(params=["postgres", "sqlite"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An outbox with nothing in it."""
    if request.param == "sqlite":
        return InSQLite(tmp_path / "shop.db")
    server: PostgresServer = request.getfixturevalue("server")
    return InPostgres(server.new_database())


def command(*arguments: str) -> Ended:
    done = CliRunner().invoke(alhena, arguments)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Ended(done.exit_code, done.stdout, done.stderr)


def reconcile(place: Place, *arguments: str) -> Ended:
    return command("reconcile", "--outbox", place.url, "--company-key", "shop", *arguments)


def found(run: Ended) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(run.out)
    return report


def plain(text: str) -> str:
    return " ".join(re.sub(r"\x1b\[[0-9;]*m|│|╭|╮|╰|╯|─", "", text).split())


def order(order_id: str, who: str = "ann", value: float = 10, currency: str = "EUR") -> Event:
    item = LineItem(product_id="m", product_name="M", quantity=1, value=value, currency=currency)
    return CheckoutEvent(
        visitor=Visitor(fingerprint=who, faq_fingerprint=f"faq-{who}"),
        value=value, currency=currency, line_items=[item], order_id=order_id,
    )  # fmt: skip


BOB_ELSEWHERE = Visitor(fingerprint="another browser", faq_fingerprint="faq-bob")

OWN = {"user_fingerprint": "fp", "user_faq_fingerprint": "faq"}


@pytest.fixture
def orders(tmp_path: Path, place: Place) -> str:
    """Four orders that the shop has: delivered, waiting, dead, missing."""
    file = tmp_path / "orders.jsonl"
    own = [
        checkout(n, value=10 * n, currency="JPY" if n == 4 else "EUR", **OWN) for n in range(1, 5)
    ]
    file.write_bytes(lines_of(*own))
    place.execute("INSERT INTO alhena_outbox_orders (company_key, order_id) VALUES ('shop', 'A1')")
    place.execute("INSERT INTO alhena_outbox_orders (company_key, order_id) VALUES ('else', 'A4')")
    place.add(order("A2"))
    place.bury(order("A3"))
    return str(file)


def test_how_each_order_stands_with_money(place: Place, orders: str) -> None:
    """By id, in each currency with its own digits; nothing is changed without `--add-missing`."""
    run = reconcile(place, orders)
    assert run.status == 1, run
    table = [line.split() for line in run.out.splitlines()]
    assert ["Earned", "Delivered", "Waiting", "Dead", "Missing"] in table
    assert ["Orders", "4", "1", "1", "1", "1"] in table
    assert ["EUR", "60.00", "10.00", "20.00", "30.00", "0.00"] in table
    assert ["JPY", "40", "0", "0", "0", "40"] in table
    last = (
        "2 of 4 orders delivered or waiting: 30.00 EUR and 40 JPY of 60.00 EUR and 40 JPY are not."
    )
    assert run.out.splitlines()[-1] == last
    assert "--add-missing puts what is missing" in run.out
    assert "Delivered orders are known since" in run.out
    assert place.ids() == ["A2"]


def test_what_is_missing_is_added_once(place: Place, orders: str) -> None:
    """The summary comes first; what is dead is left to `dead-letters replay`."""
    run = reconcile(place, orders, "--add-missing")
    assert run.status == 1
    assert run.out.index("Missing") < run.out.index("1 order added to the outbox")
    assert place.ids() == ["A2", "A4"]
    again = found(reconcile(place, orders, "--add-missing", "--json"))
    assert again["added"] == {"orders": 0, "sums": {}}
    assert again["waiting"] == {"orders": 2, "sums": {"EUR": "20.00", "JPY": "40"}}
    assert (again["missing"]["orders"], again["dead"]["orders"], again["all_there"]) == (
        0,
        1,
        False,
    )
    replayed = command("dead-letters", "replay", place.url)
    assert replayed.status == 0, replayed
    assert reconcile(place, orders).status == 0
    assert place.ids() == ["A2", "A3", "A4"]


def test_earned_by_a_statement(place: Place) -> None:
    """Minor units by the currency's digits, line items as JSON, and all that is added is whole."""
    place.execute(
        "CREATE TABLE sales (id INTEGER, fp TEXT, cents INTEGER, currency TEXT, items TEXT)"
    )
    items = json.dumps(
        [{"product_id": "m", "product_name": "M", "quantity": 1, "value_minor": 1950,
          "currency": "KWD"}]
    )  # fmt: skip
    place.execute(f"INSERT INTO sales VALUES (7, 'ann', 1950, 'KWD', '{items}')")
    place.execute("INSERT INTO sales VALUES (8, NULL, 500, 'JPY', NULL)")
    sql = (
        "SELECT id AS order_id, fp AS user_fingerprint, fp AS user_faq_fingerprint, "
        "cents AS value_minor, currency, items AS line_items FROM sales ORDER BY id; "
    )
    report = found(reconcile(place, "--query", sql, "--json", "--add-missing"))
    assert report["earned"] == {"orders": 2, "sums": {"KWD": "1.950", "JPY": "500"}}
    assert report["added"] == {"orders": 1, "sums": {"KWD": "1.950"}}
    assert report["missing"] == {"orders": 1, "sums": {"JPY": "500", "KWD": "0.000"}}
    [reason] = report["not_added"]
    assert "user_fingerprint" in reason["reason"]
    [(body,)] = place.execute("SELECT body FROM alhena_outbox")
    assert '"value":1.95' in body.replace(" ", "")
    few = "SELECT id AS order_id, cents AS value_minor, currency FROM sales WHERE id = 7"
    assert reconcile(place, "--query", few).status == 0


def test_a_statement_from_a_file_only_reads(place: Place, tmp_path: Path) -> None:
    """One that cannot be run, or that writes, is exit 2, and nothing is written."""
    file = tmp_path / "orders.sql"
    for sql in ("SELECT nonsense FROM nowhere", "DELETE FROM alhena_outbox RETURNING order_id"):
        place.add(order("A1"))
        file.write_text(sql)
        run = reconcile(place, "--query", f"@{file}")
        assert (run.status, run.out) == (2, ""), run
        assert "Traceback" not in run.err
        assert place.ids() == ["A1"]
    assert reconcile(place, "--query", "@nowhere.sql").status == 2


def test_what_cannot_be_told_has_its_reason(place: Place, tmp_path: Path) -> None:
    """Orders without an id or with two totals; lines that are no orders; nothing at all."""
    file = tmp_path / "orders.jsonl"
    file.write_bytes(
        lines_of(
            checkout(1, value=10, **OWN),
            checkout(1, value=10, **OWN),
            checkout(1, value=11, **OWN),
            checkout(2, value=20, order_id=None, **OWN),
            {"kind": "refund"},
        )
    )
    place.add(order("A1"))
    run = reconcile(place, str(file), "--json")
    report = found(run)
    assert run.status == 1
    assert report["earned"] == {"orders": 3, "sums": {"EUR": "41.00"}}
    assert report["waiting"]["sums"] == {"EUR": "10.00"}
    assert {one["reason"]: one["orders"] for one in report["untold"]} == {
        "it has no order_id": 1,
        "its order_id stands further up, with another total": 1,
    }
    assert (report["repeated_lines"], report["unreadable_lines"]) == (1, 1)
    file.write_bytes(b"")
    assert reconcile(place, str(file)).status in {1, 2}


def test_what_does_not_go_together(place: Place, tmp_path: Path) -> None:
    """Exit 2, in words."""
    file = tmp_path / "orders.jsonl"
    file.write_bytes(lines_of(checkout(1, **OWN)))
    for arguments, words in (
        ((), "give one of them"),
        ((str(file), "--query", "SELECT 1"), "give one of them"),
        ((str(file), "--region", "eu"), "--region is about sending"),
        (("nowhere.jsonl",), "cannot read nowhere.jsonl"),
    ):
        run = reconcile(place, *arguments)
        assert run.status == 2, run
        assert words in plain(run.err)
    for others in ([str(file), "--add-missing"], []):
        run = command("reconcile", "--company-key", "shop", *others)
        assert run.status == 2
        assert "go with --outbox" in plain(run.err)


@pytest.mark.parametrize(
    "url", ["postgresql://u:hunter2@127.0.0.1:1/shop", "sqlite:////nowhere/shop.db", "nats://h"]
)
def test_an_outbox_that_cannot_be_looked_at(url: str, tmp_path: Path) -> None:
    """Exit 2, and no password."""
    file = tmp_path / "orders.jsonl"
    file.write_bytes(lines_of(checkout(1, **OWN)))
    for arguments in (
        ("reconcile", "--outbox", url, "--company-key", "shop", str(file)),
        ("forget", url, "--visitor", "a", "b"),
    ):
        run = command(*arguments)
        assert (run.status, run.out) == (2, ""), run
        assert "hunter2" not in run.err
        assert "Traceback" not in run.err


def test_a_person_is_forgotten(place: Place) -> None:
    """Waiting events and letters, a cut one too, by either fingerprint; nobody else's."""
    for event in (order("A1"), cart("bob"), order("A2", "bob"), cart("bob"), order("A3")):
        place.add(event)
    place.bury(order("A4", "bob"))
    place.bury(order("A5"))
    place.bury(order("A6", "bob"), is_cut=True)
    place.add(attrs.evolve(cart("bob"), visitor=BOB_ELSEWHERE))
    run = command("forget", place.url, "--visitor", "bob", "faq-bob", "--json")
    assert run.status == 0, run
    assert found(run) == {"waiting": 4, "letters": 2, "in_hand": 0}
    assert (place.count("alhena_outbox"), place.count("alhena_outbox_letters")) == (2, 1)
    said = command("forget", place.url, "--visitor", "bob", "faq-bob")
    assert (said.status, said.out) == (0, "Removed 0 events that waited, and 0 dead letters.\n")


def test_what_is_on_its_way_is_told(place: Place) -> None:
    """It is removed all the same, and may be sent still: exit 1."""
    place.add(order("A1", "bob"))
    place.add(order("A2", "bob"))
    place.take_one()
    run = command("forget", place.url, "--visitor", "bob", "faq-bob", "--json")
    assert run.status == 1, run
    assert found(run) == {"waiting": 2, "letters": 0, "in_hand": 1}
    assert "1 event of them may be on the way right now" in plain(run.err)
    assert place.count("alhena_outbox") == 0
