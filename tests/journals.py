"""Journals on a real disk, and the events, endings and files that their tests are made of."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from alhena_async import CartEvent, CheckoutEvent, LineItem, Outcome, OutcomeStatus, Visitor
from alhena_async.events import Event
from alhena_async.journal import Backlog, Ending, Row, SendMark, SQLiteJournal
from tests.patience import PATIENCE

DESTINATION = "http://127.0.0.1:8787/"
KEY = "my-company"


def visitor(number: int = 0) -> Visitor:
    """Return one of many visitors."""
    return Visitor(
        fingerprint=f"550e8400-e29b-41d4-a716-{number:012d}",
        faq_fingerprint=f"660e8400-e29b-41d4-a716-{number:012d}",
    )


def cart(number: int, *, of: int = 0, name: str = "Stoneware mug", value: Any = 9.5) -> CartEvent:
    """Return a cart event that its product id tells from every other."""
    return CartEvent.for_change(
        visitor(of),
        before=0,
        after=1,
        product_id=f"p{number}",
        product_name=name,
        value=value,
        currency="EUR",
    )


def order(number: int, *, order_id: str | None = None, value: Any = 19) -> CheckoutEvent:
    """Return a checkout."""
    line = LineItem(
        product_id=f"p{number}",
        product_name="Stoneware mug",
        quantity=2,
        value=value,
        currency="EUR",
    )
    return CheckoutEvent(
        visitor=visitor(number), value=value, currency="EUR", line_items=[line], order_id=order_id
    )


def append(
    journal: SQLiteJournal,
    event: Event,
    *,
    company_key: str = KEY,
    order_id: str | None = None,
    guard: SendMark = SendMark.NONE,
) -> int:
    """Submit an event, most of it as usual."""
    return journal.append(event, company_key=company_key, order_id=order_id, guard=guard)


async def committed(journal: SQLiteJournal, events: Iterable[Event]) -> list[int]:
    """Submit events, and return their row ids once all are on disk."""
    row_ids = [append(journal, event) for event in events]
    await journal.sync()
    return row_ids


def ended(
    row_id: int | None,
    status: OutcomeStatus = OutcomeStatus.RECORDED,
    *,
    event: Event | None = None,
    order_id: str | None = None,
    **facts: Any,
) -> Ending:
    """Return an ending."""
    outcome = Outcome(status=status, event=event or cart(0), **facts)
    return Ending(row_id=row_id, outcome=outcome, company_key=KEY, order_id=order_id)


@contextlib.asynccontextmanager
async def opened(
    directory: Path, *, destination: str = DESTINATION, **settings: Any
) -> AsyncIterator[SQLiteJournal]:
    """Open a journal, and close it in the end."""
    journal = SQLiteJournal(directory, **settings)
    await journal.open(destination=destination)
    try:
        yield journal
    finally:
        await journal.close()


async def paged(journal: SQLiteJournal, backlog: Backlog, *, limit: int = 7) -> list[Row]:
    """Return all rows of a backlog."""
    rows: list[Row] = []
    after: int | None = None
    while True:
        page = await journal.page(backlog.file, after=after, limit=limit)
        assert len(page.rows) <= limit
        rows += page.rows
        after = rows[-1].row_id if rows else None
        if page.last:
            return rows


async def adopted(journal: SQLiteJournal) -> list[Row]:
    """Return all rows of all backlogs."""
    rows: list[Row] = []
    for backlog in await journal.adopt():
        found = await paged(journal, backlog)
        if backlog.lanes:  # otherwise it was damaged, and nobody had counted
            assert len(found) == backlog.rows == sum(backlog.lanes.values())
        rows += found
    return rows


async def left_in(directory: Path, **settings: Any) -> list[Row]:
    """Return what a next process would replay, and leave it there."""
    async with opened(directory, **settings) as journal:
        return await adopted(journal)


def products(rows: Iterable[Row]) -> list[str]:
    """Return the product ids of rows of cart events."""
    return [row.event.product_id for row in rows if isinstance(row.event, CartEvent)]


def files_in(directory: Path, pattern: str = "*.events") -> list[Path]:
    """Return the files of a pattern, in the order of their numbers."""
    return sorted(directory.glob(pattern))


def letters_in(directory: Path) -> list[dict[str, Any]]:
    """Return the dead letters as SQLite has them."""
    connection = sqlite3.connect(directory / "dead-letters.sqlite3")
    connection.row_factory = sqlite3.Row
    try:
        return [dict(row) for row in connection.execute("SELECT * FROM letters ORDER BY id")]
    finally:
        connection.close()


def overwrite(path: Path, start: int, content: bytes) -> None:
    """Put bytes into the middle of a file."""
    with path.open("r+b") as file:
        file.seek(start)
        file.write(content)


def checkpoint(path: Path) -> None:
    """Put what the log holds into the file, so that damage to it is met."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
    connection.close()


def fill(path: Path) -> Callable[[], object]:
    """Write until the disk is full; return what makes room again."""
    with path.open("wb", buffering=0) as file:
        for size in (65_536, 4_096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    return path.unlink


async def written_again(journal: SQLiteJournal, row_id: int) -> None:
    """Wait until the journal has caught up by itself."""
    async with asyncio.timeout(PATIENCE):
        while not journal.holds(row_id):  # noqa: ASYNC110  it tells nobody when it has caught up
            await asyncio.sleep(0.05)


def told(caplog: pytest.LogCaptureFixture, text: str) -> int:
    """Return how many log lines hold a text."""
    return sum(text in record.getMessage() for record in caplog.records)
