"""The made-up day is the same each time, sound, and like a real one."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from alhena_async.cli._lines import Reading, Record, read_line
from alhena_async.cli._sample_day import day_lines


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    return list(day_lines())


@pytest.fixture(scope="module")
def events(lines: list[bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines]


def test_the_same_seed_makes_the_same_day(lines: list[bytes]) -> None:
    """The day depends on its seed only."""
    assert list(day_lines()) == lines
    assert list(day_lines(seed=1)) != lines


def test_it_has_some_thousand_events_in_order(events: list[dict[str, Any]]) -> None:
    """The day has 5,000 to 8,000 events, sorted by time."""
    assert 5_000 <= len(events) <= 8_000
    times = [event["ts"] for event in events]
    assert times == sorted(times)


def test_every_line_is_an_event(lines: list[bytes]) -> None:
    """No line of the day is a reject."""
    read = [read_line(number, line, Reading(timed=True)) for number, line in enumerate(lines, 1)]
    assert all(isinstance(item, Record) for item in read)


def test_every_order_has_its_own_id(events: list[dict[str, Any]]) -> None:
    """No order id comes twice, so the sum of the orders is the revenue."""
    ids = [event["order_id"] for event in events if event["kind"] == "checkout"]
    assert len(set(ids)) == len(ids)


def test_it_mixes_types_as_shops_do(events: list[dict[str, Any]]) -> None:
    """Half of the cart events add, about two in five remove, a few change a quantity."""
    types = Counter(event["type"] for event in events if event["kind"] == "cart")
    total = types.total()
    assert 0.45 < types["ITEM_ADDED"] / total < 0.6
    assert 0.35 < types["ITEM_REMOVED"] / total < 0.45
    assert types["QUANTITY_INCREASED"] > types["QUANTITY_DECREASED"] > 20


def test_removals_fire_twice(events: list[dict[str, Any]]) -> None:
    """Some removals come twice in the same second, as in real logs."""
    removals = Counter(
        (event["ts"], event["visitor"], event["product_id"])
        for event in events
        if event.get("type") == "ITEM_REMOVED"
    )
    assert sum(number > 1 for number in removals.values()) > 100


def test_it_holds_what_breaks_software(events: list[dict[str, Any]]) -> None:
    """Free orders, orders of hundreds of lines, odd names, three decimals."""
    orders = [event for event in events if event["kind"] == "checkout"]
    assert any(order["value"] == 0 for order in orders)
    assert max(len(order["line_items"]) for order in orders) > 600
    names = {line["product_name"] for order in orders for line in order["line_items"]}
    assert any("£" in name for name in names)
    assert any("  " in name for name in names)
    assert any("'" in name for name in names)
    assert any(not name.isascii() for name in names)
    assert {"TOAST RACK", "Toast Rack", "toast rack"} <= names
    assert any(order["value"] * 100 != round(order["value"] * 100) for order in orders)


def test_hardly_anything_is_removed_that_was_never_added(events: list[dict[str, Any]]) -> None:
    """With lenient preconditions only the carts of the day before are refused."""
    added: set[tuple[str, str]] = set()
    refused = 0
    for event in events:
        if event["kind"] == "cart":
            key = (event["visitor"], event["product_id"])
            if event["type"] == "ITEM_ADDED":
                added.add(key)
            refused += key not in added
    assert 0 < refused < 100
