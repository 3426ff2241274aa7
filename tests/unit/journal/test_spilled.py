"""Events that only the disk has: read back in order, never twice, whatever becomes of the file."""

import gc
import logging
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from alhena_async import CartEvent
from alhena_async.errors import JournalError
from alhena_async.journal import Row, SendMark, SQLiteJournal
from alhena_async.journal._event_file import EventFile
from alhena_async.journal._models import id_of
from tests.journals import (
    KEY,
    adopted,
    append,
    cart,
    ended,
    files_in,
    left_in,
    letters_in,
    opened,
    order,
    products,
)
from tests.patience import PATIENCE


def spill(journal: SQLiteJournal, event: Any, **more: Any) -> int:
    more = {"company_key": KEY, "order_id": None, "guard": SendMark.NONE} | more
    return journal.append(event, spilled=True, **more)


async def read_all(
    journal: SQLiteJournal, *, limit: int = 7, after: int | None = None
) -> list[Row]:
    rows: list[Row] = []
    while True:
        page = await journal.page(None, after=after, limit=limit)
        assert len(page.rows) <= limit
        rows += page.rows
        if page.last:
            return rows
        after = rows[-1].row_id


async def test_spilled_rows_are_read_back_in_order_and_others_are_not(tmp_path: Path) -> None:
    """What is in memory stays there: it would be delivered twice."""
    async with opened(tmp_path) as journal:
        ids = []
        for number in range(40):
            if number % 3 == 0:
                append(journal, cart(number))
            else:
                ids.append(spill(journal, cart(number)))
        await journal.sync()
        rows = await read_all(journal)
    assert products(rows) == [f"p{number}" for number in range(40) if number % 3]
    assert [row.row_id for row in rows] == ids
    assert all(0 <= row.age < 60 for row in rows)


async def test_a_row_comes_back_as_it_was(tmp_path: Path) -> None:
    """Digits, order id, company key, and that it was certainly not sent."""
    async with opened(tmp_path) as journal:
        event = order(1, value=Decimal("19.90"))
        mark = SendMark.UNSENT
        spill(journal, event, company_key="theirs", order_id="auto-1", guard=mark)
        await journal.sync()
        (row,) = await read_all(journal)
    assert (row.event, row.company_key, row.order_id) == (event, "theirs", "auto-1")
    assert row.guard is mark


async def test_what_is_not_on_disk_yet_is_read_back_all_the_same(tmp_path: Path) -> None:
    """On a full disk the rest waits in memory, and is no less there."""
    async with opened(tmp_path, max_rows=3) as journal:
        for number in range(5):
            spill(journal, cart(number))
        with pytest.raises(JournalError):
            await journal.sync()
        assert not journal.has_room
        assert products(await read_all(journal, limit=2)) == [f"p{number}" for number in range(5)]


async def test_a_spilled_event_leaves_memory_once_it_is_on_disk(tmp_path: Path) -> None:
    """Otherwise the disk would bound nothing."""

    def in_memory() -> int:
        gc.collect()
        names = [one.product_name for one in gc.get_objects() if isinstance(one, CartEvent)]
        return names.count("Watched")

    async with opened(tmp_path) as journal:
        for number in range(100):
            spill(journal, cart(number, name="Watched"))
            append(journal, cart(number, name="Watched"))
        assert in_memory() >= 100  # the disk may have been quick
        await journal.sync()
        assert in_memory() == 100


async def test_settled_rows_come_no_more_and_leave_the_file(tmp_path: Path) -> None:
    """Read or not read, on disk or not yet."""
    async with opened(tmp_path) as journal:
        ids = [spill(journal, cart(number)) for number in range(4)]
        journal.settle([ended(ids[0])])
        await journal.sync()
        journal.settle([ended(ids[2])])
        assert products(await read_all(journal)) == ["p1", "p3"]
        assert products(await read_all(journal, after=ids[1])) == ["p3"]
    assert products(await left_in(tmp_path)) == ["p1", "p3"]


async def test_a_next_process_takes_spilled_rows_over_like_all_others(tmp_path: Path) -> None:
    """They are rows like any other."""
    async with opened(tmp_path) as journal:
        append(journal, cart(0))
        spill(journal, cart(1))
        await journal.sync()
    async with opened(tmp_path) as journal:
        assert products(await adopted(journal)) == ["p0", "p1"]


@pytest.mark.parametrize("what", ["deleted", "replaced", "unlocked"])
async def test_a_file_that_is_lost_underneath_takes_no_spilled_row_along(
    tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    """They are copied from the file that is still open."""
    async with opened(tmp_path) as journal:
        for number in range(1_200):
            spill(journal, cart(number)) if number % 2 else append(journal, cart(number))
        await journal.sync()
        (path,) = files_in(tmp_path)
        if what == "unlocked":
            (lock,) = files_in(tmp_path, "*.lock")
            lock.unlink()
        else:
            path.unlink()
            if what == "replaced":
                path.write_bytes(b"")
        await journal.sync()
        odd = [f"p{number}" for number in range(1, 1_200, 2)]
        assert products(await read_all(journal, limit=250)) == odd
    assert products(await left_in(tmp_path)) == [f"p{number}" for number in range(1_200)]
    assert "are lost" not in caplog.text


async def test_rows_of_a_damaged_file_that_cannot_be_read_are_said_to_be_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing in silence; what is readable goes on, and the damaged file is kept."""
    async with opened(tmp_path, synchronous="NORMAL") as journal:
        for number in range(300):
            spill(journal, cart(number))
        await journal.sync()
        (path,) = files_in(tmp_path)
        log = path.with_name(path.name + "-wal")
        content = log.read_bytes()
        log.write_bytes(content[: len(content) // 2] + b"\xff" * (len(content) // 2))
        rows = products(await read_all(journal))
        for number in range(300, 310):
            spill(journal, cart(number))
        await journal.sync()
        after = products(await read_all(journal))
    assert after[-10:] == [f"p{number}" for number in range(300, 310)]
    assert len(rows) == 300 or "are lost" in caplog.text


async def test_an_event_that_cannot_be_stored_is_read_back_from_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody else has it."""
    async with opened(tmp_path) as journal:
        spill(journal, cart(0))
        row_id = spill(journal, cart(1), company_key=3)
        spill(journal, cart(2))
        await journal.sync()
        assert not journal.holds(row_id)
        assert products(await read_all(journal)) == ["p0", "p1", "p2"]
        journal.settle([ended(row_id)])
        await journal.sync()
        assert products(await read_all(journal)) == ["p0", "p2"]
    assert caplog.text.count("could not be encoded") == 1


async def test_there_is_room_until_a_bound_is_reached_and_again_after_it(tmp_path: Path) -> None:
    """`max_rows` counts what waits for the disk as well."""
    async with opened(tmp_path, max_rows=5) as journal:
        ids: list[int] = []
        while journal.has_room:
            ids.append(spill(journal, cart(len(ids))))
        assert len(ids) == 5
        await journal.sync()  # none of it failed
        assert not journal.has_room
        journal.settle([ended(ids[0])])
        await journal.sync()
        assert journal.has_room


async def test_the_file_s_bound_leaves_room_for_what_memory_takes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Spilling ends before the file is full: no write ever fails for it."""
    async with opened(tmp_path, max_bytes=1 << 20) as journal:
        count = 0
        while journal.has_room:
            for _ in range(20):
                spill(journal, cart(count, name="x" * 500))
                count += 1
            await journal.sync()
        for number in range(20):
            append(journal, cart(number))
        await journal.sync()
        assert count > 500
        assert len(await read_all(journal, limit=250)) == count
    assert "max_bytes" not in caplog.text


async def test_no_more_are_spilled_than_the_disk_keeps_up_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that wait for it are in memory."""
    async with opened(tmp_path) as journal:
        hangs = threading.Event()
        monkeypatch.setattr(EventFile, "write", lambda self, **_: hangs.wait(PATIENCE))
        count = 0
        while journal.has_room and count < 2_000:
            spill(journal, cart(0))
            count += 1
        hangs.set()
        monkeypatch.undo()
        assert count == 1_000
        await journal.sync()
        assert journal.has_room


async def test_a_row_that_is_whole_and_no_event_becomes_a_letter(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with the files of dead processes."""
    caplog.set_level(logging.ERROR)
    async with opened(tmp_path) as journal:
        ids = [spill(journal, cart(number)) for number in range(3)]
        await journal.sync()

        def strict(body: str) -> Any:
            if '"p1"' in body:
                raise ValueError("is no event")
            return cart(9)

        monkeypatch.setattr("alhena_async.journal._active_file.event_of", strict)
        assert [row.row_id for row in await read_all(journal)] == [ids[0], ids[2]]
        await journal.sync()
    assert id_of(ids[1]) == 2
    assert len(letters_in(tmp_path)) == 1
