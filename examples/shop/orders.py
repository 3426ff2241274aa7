"""Orders, kept in the shop's own SQLite database.

An order and the event that tells of it are committed together, or neither is: whatever happens to
the process afterwards, what is committed is reported.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Self

import attrs
from fastapi import Depends, Request

from alhena_async import CheckoutEvent
from alhena_async.outbox import SQLiteOutbox
from examples.shop.carts import Line
from examples.shop.catalogue import PRODUCTS

_TABLE = """CREATE TABLE IF NOT EXISTS orders (
    id TEXT PRIMARY KEY, key TEXT NOT NULL UNIQUE, total TEXT NOT NULL, lines TEXT NOT NULL)"""


@attrs.frozen(kw_only=True)
class Order:
    """What a customer bought."""

    id: str
    key: str
    """What the page chose before: it finds the order by it, and a repeat makes no second one."""
    total: Decimal
    lines: list[Line]


class Orders:
    """The shop's table of orders, and the outbox beside it.

    Args:
        path: Of the database.
        company_key: Whom the orders are reported for.

    Raises:
        ValueError: The company key is no text.
    """

    def __init__(self, path: Path | str, company_key: str) -> None:
        self.outbox = SQLiteOutbox(path, company_key)

    @classmethod
    def from_env(cls) -> Self:
        """Take `SHOP_DATABASE` (default shop.db) and `ALHENA_COMPANY_KEY`."""
        path = os.environ.get("SHOP_DATABASE", "shop.db")
        return cls(path, os.environ.get("ALHENA_COMPANY_KEY", ""))

    def create(self) -> None:
        """Make the tables, unless they are there.

        Raises:
            OutboxError, sqlite3.Error: The database cannot be used.
        """
        self.outbox.create()
        self._run(_TABLE)

    async def place(self, order: Order, event: CheckoutEvent | None) -> None:
        """Commit an order, with its event if there is one to tell.

        Raises:
            sqlite3.Error: Neither is committed.
        """
        await asyncio.to_thread(self._commit, order, event)

    def _commit(self, order: Order, event: CheckoutEvent | None) -> None:
        lines = json.dumps([(line.product.sku, line.quantity) for line in order.lines])
        with closing(sqlite3.connect(self.outbox.path)) as own, own:  # one transaction
            row = order.id, order.key, str(order.total), lines
            own.execute("INSERT INTO orders VALUES (?, ?, ?, ?)", row)
            if event is not None:
                self.outbox.add_sync(own, event)

    async def find(self, key: str) -> Order | None:
        """Return the order that a page made under its key."""
        select = "SELECT id, key, total, lines FROM orders WHERE key = ?"
        rows = await asyncio.to_thread(self._run, select, key)
        return next((_order_of(row) for row in rows), None)

    def _run(self, statement: str, *values: str) -> list[Any]:
        with closing(sqlite3.connect(self.outbox.path)) as own, own:
            return own.execute(statement, values).fetchall()


def _order_of(row: tuple[str, str, str, str]) -> Order:
    order_id, key, total, lines = row
    bought = [Line(PRODUCTS[sku], quantity) for sku, quantity in json.loads(lines)]
    return Order(id=order_id, key=key, total=Decimal(total), lines=bought)


def _orders_of(request: Request) -> Orders:
    orders: Orders = request.state.orders
    return orders


OrdersDep = Annotated[Orders, Depends(_orders_of)]
"""A handler's parameter of this type is the shop's orders."""
