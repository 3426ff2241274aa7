"""Which dead letters are kept when there are too many, and how large their file becomes."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from alhena_async.events import Event
from alhena_async.journal._dead_letters import KIND, DeadLetterStore, Retention, letter_of
from alhena_async.journal._directory import LETTERS
from alhena_async.outcomes import OutcomeStatus
from tests.journals import cart, ended, order

FOREVER = 1e9
DROPPED, REJECTED, EXPIRED = OutcomeStatus.DROPPED, OutcomeStatus.REJECTED, OutcomeStatus.EXPIRED


@pytest.fixture
def box(tmp_path: Path) -> Iterator[DeadLetterStore]:
    box = DeadLetterStore.open(tmp_path)
    yield box
    box.close()


def keep(
    box: DeadLetterStore,
    status: OutcomeStatus,
    events: list[Event],
    *,
    limit: int = 100,
    **more: int,
) -> None:
    bounds = Retention(limit=limit, age=FOREVER, bytes=more.get("bytes", 1 << 30))
    endings = [ended(None, status, event=event) for event in events]
    box.keep([letter_of(one, origin=None, destination="d", now=2e9) for one in endings], bounds)


def kept(box: DeadLetterStore) -> Counter[str]:
    counted = box._connection.execute("SELECT status || ' ' || kind FROM letters").fetchall()
    return Counter(what for (what,) in counted)


def carts(count: int, *, name: str = "Mug") -> list[Event]:
    return [cart(number, name=name) for number in range(count)]


def orders(count: int) -> list[Event]:
    return [order(number) for number in range(count)]


@pytest.mark.parametrize("flood", [carts(1_000), orders(1_000)], ids=["carts", "orders"])
def test_a_flood_of_what_finds_no_room_leaves_refused_orders_alone(
    box: DeadLetterStore, flood: list[Event]
) -> None:
    """One visitor can make any number of events that find no room."""
    keep(box, REJECTED, orders(50))
    for start in range(0, 1_000, 50):
        keep(box, DROPPED, flood[start : start + 50])
    assert kept(box)["rejected checkout"] == 50
    assert kept(box).total() == 100


def test_what_found_no_room_has_the_room_that_nobody_else_needs(box: DeadLetterStore) -> None:
    """And at most a tenth of it once others come."""
    keep(box, DROPPED, carts(100))
    assert kept(box) == {"dropped cart": 100}
    keep(box, REJECTED, carts(50))
    assert kept(box) == {"dropped cart": 50, "rejected cart": 50}
    keep(box, EXPIRED, carts(70))
    assert kept(box)["dropped cart"] == 10


def test_what_found_no_room_keeps_its_share_where_others_are_too_many(box: DeadLetterStore) -> None:
    """A flood of refusals does not hide that there was no room."""
    keep(box, REJECTED, carts(95))
    keep(box, DROPPED, orders(10))
    keep(box, REJECTED, carts(200))
    assert kept(box) == {"rejected cart": 90, "dropped checkout": 10}


@pytest.mark.parametrize("status", [REJECTED, EXPIRED, OutcomeStatus.UNKNOWN])
def test_carts_go_before_checkouts_whenever_they_came(
    box: DeadLetterStore, status: OutcomeStatus
) -> None:
    """An order is money; a cart event of last week is a statistic."""
    keep(box, status, orders(60))
    keep(box, status, carts(300))
    assert kept(box) == {f"{status.value} checkout": 60, f"{status.value} cart": 40}
    keep(box, status, orders(90))
    assert kept(box) == {f"{status.value} checkout": 100}


def test_of_the_same_kind_the_oldest_go_first(box: DeadLetterStore) -> None:
    """What came last can still be acted upon."""
    keep(box, REJECTED, carts(7), limit=3)
    bodies = box._connection.execute("SELECT body FROM letters ORDER BY id").fetchall()
    assert [f'"p{number}"' in body for number, (body,) in zip((4, 5, 6), bodies, strict=True)]


@pytest.mark.parametrize("length", [1, 500, 20_000])
def test_the_file_is_bounded_in_bytes(box: DeadLetterStore, tmp_path: Path, length: int) -> None:
    """Whatever the size of a letter; carts go first here too."""
    most = 1 << 20
    keep(box, REJECTED, orders(50), limit=100_000, bytes=most)
    for _ in range(15):
        keep(box, REJECTED, carts(200, name="x" * length), limit=100_000, bytes=most)
    box._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    largest_batch = 200 * (length + 1_000)
    assert (tmp_path / LETTERS).stat().st_size <= most + largest_batch
    assert box._bytes_used() <= most
    assert kept(box)["rejected checkout"] == 50
    assert kept(box)["rejected cart"] > 5


def test_a_letter_larger_than_the_bound_harms_nothing(box: DeadLetterStore) -> None:
    """It is not kept; what comes next is."""
    keep(box, REJECTED, carts(1, name="x" * 20_000), bytes=1 << 14)
    assert not kept(box)
    keep(box, REJECTED, orders(1), bytes=1 << 16)
    assert kept(box) == {"rejected checkout": 1}


def test_a_file_of_an_earlier_version_is_brought_up_to_date(tmp_path: Path) -> None:
    """Its letters stay."""
    earlier = DeadLetterStore.open(tmp_path)
    for index in ("letters_by_kind", "dropped_letters"):
        earlier._connection.execute(f"DROP INDEX {index}")
    earlier._connection.execute("PRAGMA user_version = 1")
    earlier.close()
    box = DeadLetterStore.open(tmp_path)
    keep(box, REJECTED, orders(3))
    assert kept(box) == {"rejected checkout": 3}
    assert box._number("PRAGMA user_version") == len(KIND.migrations)
    plan = box._connection.execute(
        "EXPLAIN QUERY PLAN SELECT count(*) FROM letters WHERE status = 'dropped'"
    ).fetchone()[3]
    box.close()
    assert "dropped_letters" in plan


def test_letters_are_looked_for_by_an_index(box: DeadLetterStore) -> None:
    """A full box makes room with every batch, and may not walk through all of them each time."""
    for condition in ("status = 'dropped' AND kind = 'cart'", "kind = 'checkout'"):
        query = f"SELECT id FROM letters WHERE {condition} ORDER BY id LIMIT 5"
        plan = box._connection.execute(f"EXPLAIN QUERY PLAN {query}").fetchall()
        assert ["INDEX" in step[3] for step in plan] == [True], plan
