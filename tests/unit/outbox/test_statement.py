"""What an outbox writes of an event: pure, without a database or a driver."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import Any

import pytest

from alhena_async import CheckoutEvent, LineItem, Visitor
from alhena_async.events import Event
from alhena_async.outbox import PostgresOutbox, Statement
from alhena_async.relay._message import decode
from tests.scripted import cart, checkout

COLUMNS = ["lane", "company_key", "order_id", "body"]


def values(statement: Statement) -> dict[str, Any]:
    return dict(zip(COLUMNS, statement.dollar[1], strict=True))


def order(order_id: str | None, name: str = "Mug") -> CheckoutEvent:
    line = LineItem(product_id="p", product_name=name, quantity=1, value=19, currency="EUR")
    return CheckoutEvent(
        visitor=Visitor(fingerprint="a", faq_fingerprint="b"),
        value=19,
        currency="EUR",
        order_id=order_id,
        line_items=[line],
    )


def test_three_styles_say_the_same() -> None:
    """One statement, its parameters in the order of the marks."""
    statement = PostgresOutbox("shop", schema="sales").statement(checkout("v"))
    (dollar, first), (percent, second), (named, third) = (
        statement.dollar,
        statement.percent,
        statement.named,
    )
    assert first == second == tuple(third.values())
    assert list(third) == COLUMNS
    assert "VALUES ($1, $2, $3, $4)" in dollar
    assert percent == dollar.replace("$1, $2, $3, $4", "%s, %s, %s, %s")
    assert named == dollar.replace("$1, $2, $3, $4", ":lane, :company_key, :order_id, :body")
    assert 'INSERT INTO "sales".alhena_outbox ' in dollar


def test_the_body_is_the_message_that_relays_read() -> None:
    """With the order id that is sent, and another company's key where one is given."""
    event = order("ORD-1")
    written = values(PostgresOutbox("shop").statement(event, company_key="other"))
    message = decode(written["body"].encode())
    assert (message.event, message.company_key, message.order_id) == (event, "other", "ORD-1")
    assert (written["company_key"], written["order_id"]) == ("other", "ORD-1")
    assert 0 <= written["lane"] < 1 << 63


def test_an_order_without_an_id_gets_one() -> None:
    """The same in the column, in the message, and in what the caller sees."""
    statement = PostgresOutbox("shop").statement(order(None))
    written = values(statement)
    assert statement.order_id is not None
    assert statement.order_id.startswith("auto-")
    assert written["order_id"] == statement.order_id == json.loads(written["body"])["order_id"]


def test_a_cart_event_has_no_order_id() -> None:
    """So that the unique index holds none of them back."""
    assert values(PostgresOutbox("shop").statement(cart("v")))["order_id"] is None


@pytest.mark.parametrize(
    "order_id", ["x" * 256, "x" * 20_000, "zero\0zero", "Bestellung-Grün", "line\nline", "😀"]
)
def test_an_order_id_that_an_index_may_refuse_stands_there_as_a_digest(order_id: str) -> None:
    """It is told from others all the same, and sent as it is."""
    statement = PostgresOutbox("shop").statement(order(order_id))
    written = values(statement)
    assert written["order_id"].startswith("sha256:")
    assert (
        written["order_id"] == values(PostgresOutbox("shop").statement(order(order_id)))["order_id"]
    )
    assert decode(written["body"].encode()).order_id == order_id


@pytest.mark.parametrize("name", ["Tasse „grün“", "茶杯", "😀 mug", 'quo"te\\', "\u2028\x7f\0x"])
def test_a_body_is_ascii_and_says_the_same(name: str) -> None:
    """A database of any encoding takes it."""
    event = order("1", name)
    body = values(PostgresOutbox("shop").statement(event))["body"]
    assert body.isascii()
    assert "\0" not in body
    assert decode(body.encode()).event == event


def test_what_before_send_takes_out_is_a_statement_that_does_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In every style; a filter that fails drops as well, and is heard of."""
    quiet = PostgresOutbox("shop", before_send=lambda _: None).statement(cart("v"))
    assert quiet.dollar == quiet.percent == ("SELECT 1 WHERE false", ())
    assert quiet.named == ("SELECT 1 WHERE false", {})
    assert quiet.dropped == "before_send returned None"
    assert caplog.records == []

    def fail(_: Event) -> Event:
        raise KeyError("secret")

    PostgresOutbox("shop", before_send=fail).statement(cart("v"))
    [line] = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert "before_send raised KeyError" in line.getMessage()
    assert "secret" not in line.getMessage()


def test_what_before_send_changes_is_what_is_written() -> None:
    """As with a client."""
    outbox = PostgresOutbox("shop", before_send=lambda _: order("changed"))
    assert values(outbox.statement(cart("v")))["order_id"] == "changed"


@pytest.mark.parametrize("key", ["", " shop", '"shop"', None])
def test_a_company_key_that_is_none_is_refused(key: Any) -> None:
    """Where the outbox is made, and where another one is given."""
    with pytest.raises(ValueError, match="company_key"):
        PostgresOutbox(key)
    if key is not None:
        with pytest.raises(ValueError, match="company_key"):
            PostgresOutbox("shop").statement(cart("v"), company_key=key)


@pytest.mark.parametrize("schema", ["", "a b", 'a"b', "1a", "x" * 64, "a.b", "grün", 5])
def test_a_schema_that_cannot_stand_in_a_statement_is_refused(schema: Any) -> None:
    """Nothing can be smuggled in by it."""
    with pytest.raises(ValueError, match="schema must be"):
        PostgresOutbox("shop", schema=schema)


def test_what_is_no_event_is_refused() -> None:
    """As with a client."""
    with pytest.raises(TypeError, match="expected CartEvent"):
        PostgresOutbox("shop").statement("ORD-1")  # type: ignore[arg-type]


def test_reporting_lets_no_broken_event_end_an_order(caplog: pytest.LogCaptureFixture) -> None:
    """It is a line of the log, with the place."""
    outbox = PostgresOutbox("shop")
    with outbox.reporting():
        outbox.statement(order(""))
    [line] = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert "order_id" in line.getMessage()
    assert "test_statement.py" in line.getMessage()


async def test_an_unknown_connection_is_refused_by_name() -> None:
    """With what is supported; nothing of it is called."""
    outbox = PostgresOutbox("shop")
    with pytest.raises(TypeError, match=r"add got builtins.object: .*psycopg's AsyncConnection"):
        await outbox.add(object(), cart("v"))
    with pytest.raises(TypeError, match=r"add_sync got builtins.int: .*django's"):
        outbox.add_sync(5, cart("v"))


def test_no_driver_is_imported() -> None:
    """A shop has one of them; the others need not be there."""
    code = (
        "import sys, alhena_async.outbox\n"
        "alhena_async.outbox.PostgresOutbox('shop')\n"
        "print(sorted({'asyncpg', 'psycopg', 'sqlalchemy', 'django'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"
