"""What is remembered of single requests, and for how long."""

import json
from typing import Any

import pytest

from alhena_async.emulator._contract import EventKind, read_event
from alhena_async.emulator._ledger import Ledger, Store
from alhena_async.emulator._records import Recorded, Refused, Series, glimpse
from alhena_async.emulator._snapshot import MAX_EVENTS, snapshot


class Changes:
    """Counts the calls of a store's `on_change`."""

    count = 0

    def __call__(self) -> None:
        self.count += 1


def store(history: int = 100) -> Store:
    return Store(Ledger(), history=history, statuses={}, on_change=Changes())


def send(to: Store, kind: EventKind = EventKind.CART, **fields: Any) -> Recorded | Refused:
    body: dict[str, Any] = {"company_key": "shop", "value": 1, "currency": "EUR"}
    body |= {"user_fingerprint": "fp", "user_faq_fingerprint": "faq"}
    if kind is EventKind.CART:
        body |= {"type": "ITEM_ADDED", "product_id": "p", "product_name": "n", "quantity": 1}
    else:
        line = {"product_id": "p", "product_name": "n", "quantity": 1, "value": 1}
        body |= {"line_items": [{**line, "currency": "EUR"}]}
    raw = json.dumps(body | fields).encode()
    return to.settle(kind, raw, read_event(kind, raw))


def test_counters_and_sums_go_on_past_the_history() -> None:
    """The history is bounded; counts and revenue are not cut with it."""
    small = store(history=3)
    for number in range(10):
        send(small, EventKind.CHECKOUT, order_id=str(number))
        send(small, product_id="")
    assert [record.order_id for record in small.recorded] == ["7", "8", "9"]
    assert len(small.refused) == 3
    assert small.recorded_counts[EventKind.CHECKOUT] == 10
    assert small.refused_counts == {"MISSING_REQUIRED_FIELDS": 10}
    assert small.ledger.revenue == {"EUR": 10}


def test_history_keeps_at_least_one() -> None:
    """A bound of nothing would forget what it was just told."""
    with pytest.raises(ValueError, match="at least 1"):
        store(history=0)


def test_a_record_gives_its_body_and_lines_again() -> None:
    """What was sent can be read from the record, to the last digit."""
    record = send(store(), EventKind.CHECKOUT, orderId="1", order_id="1", extra=[1.10])
    assert isinstance(record, Recorded)
    assert record.body["orderId"] == record.body["order_id"] == "1"
    assert [str(number) for number in record.body["extra"]] == ["1.1"]
    assert record.lines == len(record.line_items) == 1
    assert record.line_items[0].product_id == "p"


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b'{"type": 1, "orderId": []}', b"\xff"])
def test_a_glimpse_takes_only_strings(raw: bytes) -> None:
    """A refused body is read as far as it can be, and never raises."""
    assert not any(glimpse(raw).values())


def test_a_clear_forgets_all_and_begins_a_new_epoch() -> None:
    """After it the store is as new, but a page can tell."""
    full = store()
    send(full)
    send(full, type="")
    full.clear()
    view = snapshot(full)
    assert (view["epoch"], view["seq"], view["recorded"], view["refused"]) == (1, 0, 0, 0)
    assert view["events"] == view["carts"] == view["revenue"] == []


def test_a_snapshot_is_bounded() -> None:
    """However much happened and however long texts are, a page gets a small state."""
    full = store(history=5000)
    for number in range(500):
        send(full, product_id=f"{number}", product_name="x" * 5000)
        send(full, product_id="", product_name="y" * 5000)
        send(full, EventKind.CHECKOUT, currency=f"C{number}" * 100)
    view = snapshot(full)
    assert len(view["events"]) == MAX_EVENTS
    assert [event["seq"] for event in view["events"]] == list(range(1500, 1500 - MAX_EVENTS, -1))
    assert len(json.dumps(view)) < 64 * 1024


def test_a_snapshot_lists_only_what_is_new() -> None:
    """Events up to `after` are left out."""
    some = store()
    for _ in range(5):
        send(some)
    assert [event["seq"] for event in snapshot(some, after=3)["events"]] == [5, 4]


def test_a_series_widens_and_loses_no_count() -> None:
    """Buckets merge as time goes on; their number is bounded, their sums are exact."""
    series = Series()
    for second in range(0, 100_000, 7):
        series.add(1_000_000 + second, refused=second % 2 == 1)
    points = series.points()
    assert len(points) <= 121
    assert series.width == 900
    assert sum(good + bad for _, good, bad in points) == len(range(0, 100_000, 7))
    assert [start for start, _, _ in points] == sorted(start for start, _, _ in points)


def test_a_series_survives_a_clock_set_back() -> None:
    """Time that runs backwards is counted at the latest time seen."""
    series = Series()
    series.add(1000, refused=False)
    series.add(10, refused=True)
    assert series.points() == [(1000, 1, 1)]


def test_a_series_drops_its_oldest_days_in_the_end() -> None:
    """At the widest bucket the bound still holds."""
    series = Series()
    for day in range(400):
        series.add(day * 86_400, refused=False)
    assert series.width == 86_400
    assert len(series.points()) <= 121
