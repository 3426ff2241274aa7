"""The mappings of docs/shop-data.md deliver: through the client, and through `alhena replay`."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from alhena_async import AlhenaClient
from alhena_async.emulator import Emulator
from tests.cli_process import alhena, lines_of, rows
from tests.shop_data_page import Order, name_of, orders, page, payload

each_platform = pytest.mark.parametrize("order", orders(), ids=name_of)


def totals() -> dict[str, Decimal]:
    """What all platforms' orders come to, by currency, as written by hand."""
    sums: dict[str, Decimal] = {}
    for order in orders():
        sums[order.currency] = sums.get(order.currency, Decimal(0)) + Decimal(order.value)
    return sums


def replay_lines(platforms: tuple[Order, ...] = orders()) -> list[dict[str, Any]]:
    """What the page's `replay_line` makes of the platforms' orders."""
    line = page()["replay_line"]
    return [json.loads(line(order.mapped())) for order in platforms]


async def replayed(path: Path, emulator: Emulator, *more: str) -> Any:
    where = ("--base-url", emulator.url, "--company-key", "shop", "--rejects", "rejects.jsonl")
    return await alhena("replay", path, *where, *more, cwd=path.parent)


@each_platform
async def test_an_order_arrives_to_the_cent(order: Order) -> None:
    """Through the client, as a handler reports it."""
    async with Emulator() as emulator:
        async with AlhenaClient("shop", base_url=emulator.url) as client:
            with client.reporting():
                client.track_nowait(order.mapped())
        (recorded,) = emulator.recorded(kind="checkout")
        assert (recorded.order_id, recorded.currency) == (order.order_id, order.currency)
        assert emulator.revenue == {order.currency: Decimal(order.value)}


async def test_all_orders_are_replayed_to_the_cent(tmp_path: Path) -> None:
    """The page's file of all eighteen through `alhena replay`: every order once, every total."""
    path = tmp_path / "orders.jsonl"
    path.write_bytes(lines_of(*replay_lines()))
    async with Emulator() as emulator:
        run = await replayed(path, emulator)
        assert run.status == 0, run
        assert emulator.revenue == totals()
        recorded = {event.order_id for event in emulator.recorded(kind="checkout")}
        assert recorded == {order.order_id for order in orders()}


def wrong(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Make a slip of a change to a line of the file."""

    def slip(line: dict[str, Any]) -> dict[str, Any]:
        change(line)
        return line

    return slip


SLIPS = {
    "must be upper case": wrong(lambda line: line.update(currency=line["currency"].lower())),
    'Decimal("': wrong(lambda line: line.update(value=str(line["value"]))),
    "pass the product's id": wrong(lambda line: line["line_items"][0].update(product_name="")),
    "refunds cannot be recorded": wrong(lambda line: line["line_items"][0].update(quantity=-1)),
    "a discount is no line": wrong(lambda line: line["line_items"][0].update(value=-5)),
}


@pytest.mark.parametrize("cure", SLIPS)
async def test_a_slip_in_a_file_is_told_its_cure(cure: str, tmp_path: Path) -> None:
    """The rejects say of each platform's line what to do."""
    path = tmp_path / "orders.jsonl"
    path.write_bytes(lines_of(*map(SLIPS[cure], replay_lines())))
    async with Emulator() as emulator:
        await replayed(path, emulator)
        assert emulator.recorded_count == 0
    rejects = rows(tmp_path / "rejects.jsonl")
    assert len(rejects) == len(orders())
    assert all(cure in reject["reason"] for reject in rejects), rejects[0]


async def test_a_webhook_that_comes_twice_counts_once() -> None:
    """The page's handler, twice, and once more for a guest whose visitor nobody kept."""
    handler, order = page()["order_paid"], payload("woocommerce_order")
    async with Emulator() as emulator, AlhenaClient("shop", base_url=emulator.url) as client:
        await handler(client, order)
        await client.flush()
        await handler(client, order)
        await handler(client, order | {"id": 1043, "meta_data": []})
        await client.flush()
        assert [event.order_id for event in emulator.recorded(kind="checkout")] == ["1042"]
        stats = client.stats()
        assert (stats.recorded, stats.duplicate, stats.invalid) == (1, 1, 0)


async def test_a_cart_is_reported_as_it_changes() -> None:
    """The page's `report_cart`, with a cart of WooCommerce that fills and empties."""
    names = page()
    visitor = orders()[0].mapped().visitor
    lines = names["woocommerce_cart"](payload("woocommerce_cart"))
    async with Emulator() as emulator, AlhenaClient("shop", base_url=emulator.url) as client:
        names["report_cart"](client, visitor, "cart", 1, lines)
        names["report_cart"](client, visitor, "cart", 2, [])
        await client.flush()
        told = [(event.type, event.value) for event in emulator.recorded(kind="cart")]
        assert told == [("ITEM_ADDED", Decimal("19.99")), ("ITEM_REMOVED", Decimal("19.99"))]
        assert client.stats().invalid == 0
