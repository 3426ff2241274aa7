"""A real shop's events through handlers that use `reporting`: nothing raises, nothing is hidden."""

from __future__ import annotations

import gzip
import json
import logging
import uuid
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from fastapi import FastAPI

from alhena_async import (
    CartEvent,
    CheckoutEvent,
    Event,
    InvalidEventError,
    LineItem,
    Observer,
    QueuePolicy,
    Visitor,
)
from alhena_async.emulator import Emulator
from alhena_async.integrations.fastapi import ClientDep, alhena_lifespan
from tests.cli_process import COSMETICS, needs_shop_data
from tests.patience import PATIENCE
from tests.web.asgi import call, running

pytestmark = [pytest.mark.shop_data, needs_shop_data]

LINE = ("product_id", "product_name", "value", "currency", "quantity")
NAMESPACES = (uuid.uuid4(), uuid.uuid4())


class Reports(Observer):
    """Counts what broke which rule."""

    def __init__(self) -> None:
        self.rules: Counter[tuple[str, str]] = Counter()

    def invalid(self, error: InvalidEventError) -> None:
        self.rules[error.field, error.rule] += 1


def event_of(row: dict[str, Any]) -> Event:
    """As a shop's own code would map it, without a look at what is wrong in there."""
    one, other = (str(uuid.uuid5(space, row["visitor"])) for space in NAMESPACES)
    visitor = Visitor(fingerprint=one, faq_fingerprint=other)
    if row["kind"] == "checkout":
        lines = (LineItem(**{name: line[name] for name in LINE}) for line in row["line_items"])
        return CheckoutEvent(
            visitor=visitor,
            value=row["value"],
            currency=row["currency"],
            line_items=lines,
            order_id=row["order_id"],
        )
    return CartEvent(visitor=visitor, **{name: row[name] for name in ("type", *LINE)})


def shop(rows: list[dict[str, Any]], observer: Observer, base_url: str) -> FastAPI:
    app = FastAPI(
        lifespan=alhena_lifespan(
            "shop",
            base_url=base_url,
            coalescing="off",
            observers=[observer],
            queue=QueuePolicy(linger=0.0),
        )
    )

    @app.post("/async/{number}")
    async def on_the_loop(number: int, alhena: ClientDep) -> str:
        with alhena.reporting():
            alhena.track_nowait(event_of(rows[number]))
        return "thank you"

    @app.post("/def/{number}")
    def in_a_thread(number: int, alhena: ClientDep) -> str:
        with alhena.reporting():
            alhena.track_threadsafe(event_of(rows[number]))
        return "thank you"

    return app


@pytest.mark.parametrize("handler", ["async", "def"])
async def test_every_event_is_recorded_or_counted(
    handler: str, caplog: pytest.LogCaptureFixture
) -> None:
    """1,506 requests are answered; half of the names are empty, and log and counts say so."""
    caplog.set_level(logging.WARNING, logger="alhena_async")
    with gzip.open(COSMETICS, "rt") as lines:
        rows = [json.loads(line, parse_float=Decimal) for line in lines]
    reports = Reports()
    async with Emulator() as emulator:
        app = shop(rows, reports, emulator.url)
        async with running(app) as state:
            for number in range(len(rows)):
                answer = await call(app, f"/{handler}/{number}", method="POST", state=state)
                assert answer.status == 200
            client = state["alhena"]
            await client.flush(PATIENCE)
            stats = client.stats()
    assert len(rows) == stats.recorded + stats.invalid == 1506
    assert (stats.recorded, stats.invalid) == (emulator.recorded_count, 675)
    assert stats.accepted == stats.recorded
    assert reports.rules.total() == 675
    assert all("product_name is empty" in f"{field} {rule}" for field, rule in reports.rules)
    warnings = [line for line in caplog.messages if "product_name is empty" in line]
    assert 3 <= len(warnings) <= 10
