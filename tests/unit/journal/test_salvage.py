"""Damage while nobody looked: what is readable replays, in order, and nothing else does."""

import asyncio
import contextlib
import errno
import itertools
import os
import random
import shutil
import sqlite3
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from alhena_async import JournalError, OutcomeStatus
from alhena_async.journal import Page, _event_file, inspect_journal
from alhena_async.journal._sqlite import migrate
from alhena_async.journal._sqlite_pages import carve, carve_pages
from tests.journals import (
    DESTINATION,
    adopted,
    cart,
    checkpoint,
    committed,
    ended,
    files_in,
    left_in,
    opened,
    order,
    overwrite,
    products,
)
from tests.patience import PATIENCE

COUNT = 400


def numbers(texts: list[str]) -> list[int]:
    """Return the numbers that the events were made of."""
    return [int(text[1:]) for text in texts]


@pytest.fixture(scope="module")
def masters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A killed process's directory and a closed one's, each with unsettled and settled rows."""
    base = tmp_path_factory.mktemp("masters")

    async def make() -> None:
        async with opened(base / "j") as journal:
            # Some are larger than a page, and go on in others.
            events = [cart(n, name="x" * (9_000 if n % 50 == 7 else 60)) for n in range(COUNT)]
            row_ids = []
            for start in range(0, COUNT, 40):
                row_ids += await committed(journal, events[start : start + 40])
            journal.settle([ended(row_id) for row_id in row_ids[: COUNT // 4]])
            await journal.sync()
            # What a kill leaves: most of it still in the log.
            await asyncio.to_thread(shutil.copytree, base / "j", base / "killed")
        shutil.copytree(base / "j", base / "closed")

    asyncio.run(make())
    return {"killed": base / "killed", "closed": base / "closed"}


UNSETTLED = list(range(COUNT // 4, COUNT))


async def replayed(directory: Path) -> list[int]:
    """Return the numbers that a start replays, having seen that it replays in order."""
    async with opened(directory) as journal:
        found = numbers(products(await adopted(journal)))
    assert found == sorted(set(found))
    return found


async def test_whole_files_replay_whole(masters: dict[str, Path], tmp_path: Path) -> None:
    """The fixture is sound."""
    for name, master in masters.items():
        shutil.copytree(master, tmp_path / name)
        assert await replayed(tmp_path / name) == UNSETTLED


@pytest.mark.parametrize("seed", range(12))
async def test_bytes_overwritten_in_the_file(
    masters: dict[str, Path], tmp_path: Path, seed: int
) -> None:
    """A damaged page costs its own rows, and no more than those and what hangs on them."""
    dice = random.Random(seed)
    directory = tmp_path / "j"
    shutil.copytree(masters["closed"], directory)
    (path,) = files_in(directory)
    length = dice.choice([1, 16, 4096])
    start = dice.randrange(path.stat().st_size - length)
    overwrite(path, start, dice.randbytes(length))
    found = await replayed(directory)
    assert set(found) <= set(UNSETTLED)
    touched = 1 + (start + length - 1) // 4096 - start // 4096
    assert len(found) >= len(UNSETTLED) - 12 * touched
    if len(found) < len(UNSETTLED):
        assert files_in(directory, "*.damaged")
    assert await replayed(directory) == found


@pytest.mark.parametrize("seed", range(8))
async def test_a_file_cut_off(masters: dict[str, Path], tmp_path: Path, seed: int) -> None:
    """The pages before the cut are read."""
    dice = random.Random(seed)
    directory = tmp_path / "j"
    shutil.copytree(masters["closed"], directory)
    (path,) = files_in(directory)
    size = path.stat().st_size
    keep = dice.randrange(4096, size)
    with path.open("r+b") as file:
        file.truncate(keep)
    found = await replayed(directory)
    assert set(found) <= set(UNSETTLED)
    # Rows lie in the order of their numbers, so the share is about the share of the file; the
    # tail of pages that large rows take makes it uneven.
    assert len(found) >= len(UNSETTLED) * (keep / size - 0.35)


def read_by_sqlite(path: Path) -> set[int]:
    """Return the numbers of the events that SQLite finds in a file with its log."""
    connection = sqlite3.connect(path)
    try:
        return {id_ - 1 for (id_,) in connection.execute("SELECT id FROM rows")}
    finally:
        connection.close()


@pytest.mark.parametrize("cut", [False, True], ids=["overwritten", "cut off"])
@pytest.mark.parametrize("seed", range(8))
async def test_a_damaged_log(
    masters: dict[str, Path], tmp_path: Path, seed: int, *, cut: bool
) -> None:
    """What SQLite itself would read, up to the damage, replays at least; nothing is made up."""
    dice = random.Random(seed)
    directory = tmp_path / "j"
    shutil.copytree(masters["killed"], directory)
    (path,) = files_in(directory, "*.events-wal")
    start = dice.randrange(32, path.stat().st_size)
    if cut:
        with path.open("r+b") as file:
            file.truncate(start)
    else:
        overwrite(path, start, dice.randbytes(min(64, path.stat().st_size - start)))
    shutil.copytree(directory, tmp_path / "read")
    found = await replayed(directory)
    # Acknowledgements behind the damage are lost with it: settled ones may come back.
    assert set(found) <= set(range(COUNT))
    assert set(found) >= read_by_sqlite(*files_in(tmp_path / "read")) & set(UNSETTLED)


async def test_an_emptied_file_does_not_take_its_log_along(
    masters: dict[str, Path], tmp_path: Path
) -> None:
    """SQLite deletes a log beside an empty file; what is in it is read before."""
    directory = tmp_path / "j"
    shutil.copytree(masters["killed"], directory)
    (path,) = files_in(directory)
    path.write_bytes(b"")
    assert set(await replayed(directory)) >= set(UNSETTLED)


async def test_one_broken_frame_of_a_log_costs_no_later_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLite reads a log up to there and deletes it; whole transactions behind it count as well."""
    async with opened(tmp_path / "j") as journal:
        for number in range(20):
            await committed(journal, [cart(number)])
        await asyncio.to_thread(shutil.copytree, tmp_path / "j", tmp_path / "killed")
    (log,) = files_in(tmp_path / "killed", "*.events-wal")
    overwrite(log, log.stat().st_size // 2, b"\xff")
    assert await replayed(tmp_path / "killed") == list(range(20))
    assert "20 events were salvaged" in caplog.text


@pytest.mark.parametrize("content", [b"", b"\0" * 40_960, b"garbage" * 9_000], ids=len)
async def test_a_file_that_holds_nothing_readable(
    masters: dict[str, Path], tmp_path: Path, content: bytes
) -> None:
    """Its log may still be whole; without one, a start goes on with nothing."""
    directory = tmp_path / "j"
    shutil.copytree(masters["closed"], directory)
    (path,) = files_in(directory)
    path.write_bytes(content)
    assert await replayed(directory) == []
    if content:
        (aside,) = files_in(directory, "*.damaged")
        assert aside.read_bytes() == content


async def test_the_first_page_may_go(masters: dict[str, Path], tmp_path: Path) -> None:
    """It says where everything is; the rows are found without it."""
    directory = tmp_path / "j"
    shutil.copytree(masters["closed"], directory)
    (path,) = files_in(directory)
    overwrite(path, 0, b"\0" * 4096)
    assert await replayed(directory) == UNSETTLED


async def test_lock_file_and_first_pages_may_go(masters: dict[str, Path], tmp_path: Path) -> None:
    """Nothing says whose file it is, but every row does."""
    directory = tmp_path / "j"
    shutil.copytree(masters["closed"], directory)
    (path,) = files_in(directory)
    (path.with_suffix(".lock")).unlink()
    overwrite(path, 0, b"\0" * 8192)
    assert await left_in(directory, destination="http://127.0.0.1:1/") == []
    assert path.exists()
    assert len(await replayed(directory)) > len(UNSETTLED) - 24


async def test_what_sqlite_has_to_say_stays_in_one_line(
    masters: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its check of a page answers with a heading and a line."""
    directory = tmp_path / "j"
    shutil.copytree(masters["closed"], directory)
    (path,) = files_in(directory)
    for page in range(3, path.stat().st_size // 4096):
        overwrite(path, page * 4096, b"\xff" * 100)
    await replayed(directory)
    (line,) = [record.getMessage() for record in caplog.records if "damaged" in record.getMessage()]
    assert "in database main" in line
    assert len(line.splitlines()) == 1


async def test_it_is_said_once_with_both_names(
    masters: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And how many were salvaged; the damaged file is whole under its new name."""
    directory = tmp_path / "j"
    shutil.copytree(masters["closed"], directory)
    (path,) = files_in(directory)
    overwrite(path, 100, b"\xff" * 50)
    content = path.read_bytes()
    await replayed(directory)
    await replayed(directory)
    (line,) = [record.getMessage() for record in caplog.records if "damaged" in record.getMessage()]
    assert line.startswith(f"alhena: {path}")
    assert f"set aside as {path}.damaged; {len(UNSETTLED)} events were salvaged" in line
    assert path.with_name(f"{path.name}.damaged").read_bytes() == content


async def test_a_flipped_bit_never_becomes_money(tmp_path: Path) -> None:
    """SQLite does not notice; the row's checksum does, and the other rows replay."""
    async with opened(tmp_path / "j") as journal:
        await committed(journal, [order(1, value=100), order(2, value=199), order(3, value=300)])
    (path,) = files_in(tmp_path / "j")
    place = path.read_bytes().rindex(b'"value":199')
    overwrite(path, place + 8, b"9")
    assert [row.event.value for row in await left_in(tmp_path / "j")] == [100, 300]
    assert files_in(tmp_path / "j", "*.damaged")


async def test_a_second_damaged_file_gets_another_name(tmp_path: Path) -> None:
    """None is overwritten."""
    async with opened(tmp_path / "j") as journal:
        await committed(journal, [cart(0), cart(1)])
    (path,) = files_in(tmp_path / "j")
    for text in (b'"p0"', b'"p1"'):
        overwrite(path, path.read_bytes().rindex(text), b'"!!"')
        await left_in(tmp_path / "j")
    assert [one.name for one in files_in(tmp_path / "j", "*.damaged*")] == [
        "00000001.events.damaged",
        "00000001.events.damaged.2",
    ]


@pytest.mark.parametrize("most", range(5))
async def test_a_salvage_that_was_interrupted_is_finished(
    masters: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """Whichever rename was the last: here all is in the log, and the file alone says nothing."""
    directory = tmp_path / "j"
    shutil.copytree(masters["killed"], directory)
    (path,) = files_in(directory)
    os.truncate(path, 0)
    steps = itertools.count()

    def until_then(rename: Callable[..., Any]) -> Callable[..., Any]:
        def step(*paths: Any) -> Any:
            if next(steps) >= most:
                raise OSError(errno.EIO, "the end")
            return rename(*paths)

        return step

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", until_then(os.replace))
        patch.setattr(Path, "rename", until_then(Path.rename))
        assert await left_in(directory) == []
    assert next(steps) > most
    assert len(await left_in(directory)) > COUNT // 2
    assert [one.name for one in files_in(directory, "*.damaged")] == [f"{path.name}.damaged"]
    assert not files_in(directory, "*.whole*")


async def test_a_salvage_that_was_not_finished_is_begun_again(tmp_path: Path) -> None:
    """What stands there under the interim name may be half of it."""
    async with opened(tmp_path / "j") as journal:
        await committed(journal, [cart(0)])
    (path,) = files_in(tmp_path / "j")
    path.with_name(f"{path.name}.new").write_bytes(b"garbage")
    assert products(await left_in(tmp_path / "j")) == ["p0"]
    assert not files_in(tmp_path / "j", "*.new*")


async def test_a_whole_row_that_is_no_event_becomes_a_dead_letter(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Rules may change between two versions; it is kept, counted, and in nobody's way."""
    from alhena_async.journal._rows import GUARD_STEP, _checksum, seed_of  # noqa: PLC0415
    from tests.journals import DESTINATION, KEY  # noqa: PLC0415

    async with opened(tmp_path / "j") as journal:
        await committed(journal, [cart(0), cart(1), cart(2)])
    (path,) = files_in(tmp_path / "j")
    connection = sqlite3.connect(path)
    (lane, accepted) = connection.execute("SELECT lane, accepted FROM rows WHERE id = 2").fetchone()
    body = '{"strange": true}'
    seal = _checksum(seed_of(DESTINATION), 2, 0, lane, accepted, KEY, None, body)
    connection.execute("UPDATE rows SET body = ?, seal = ? WHERE id = 2", (body, seal))
    connection.commit()
    connection.close()
    assert seal < GUARD_STEP
    async with opened(tmp_path / "j") as journal:
        (backlog,) = await journal.adopt()
        page = await journal.page(backlog.file, after=None, limit=10)
        assert page.last
        assert products(list(page.rows)) == ["p0", "p2"]
        await journal.sync()
    assert "strange" not in caplog.text
    assert products(await left_in(tmp_path / "j")) == ["p0", "p2"]
    letters = sqlite3.connect(tmp_path / "j" / "dead-letters.sqlite3")
    assert letters.execute("SELECT status, body FROM letters").fetchall() == [("unreadable", body)]
    letters.close()


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"


@pytest.mark.parametrize("name", ["about", "rows", "letters"])
async def test_an_endless_view_in_a_tables_place_holds_nobody_up(tmp_path: Path, name: str) -> None:
    """A directory that somebody sent: its tables are looked at before anything is asked of them."""
    directory = tmp_path / "j"
    async with opened(directory) as journal:
        row_ids = await committed(journal, [cart(0), cart(1)])
        journal.settle([ended(row_ids[0], OutcomeStatus.REJECTED)])
        await journal.sync()
    path = directory / "dead-letters.sqlite3" if name == "letters" else files_in(directory)[0]
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({name})")]
        values = ", ".join(f"i AS {column}" for column in columns)
        connection.execute(f"ALTER TABLE {name} RENAME TO hidden")
        connection.execute(f"CREATE VIEW {name} AS {ENDLESS} SELECT {values} FROM n")
    async with asyncio.timeout(PATIENCE):
        report = await asyncio.to_thread(inspect_journal, directory)
        found = products(await left_in(directory))
    if name == "letters":
        assert "damaged" in (report.dead_letters_problem or "")
    else:
        assert "tables are not those" in (report.files[0].problem or "")
    assert found == ["p1"]


@pytest.mark.parametrize("version", [0, 3, 7, 255])
async def test_a_file_whose_header_forbids_writing_is_delivered_once(
    tmp_path: Path, version: int
) -> None:
    """It would be delivered at every start: what was delivered cannot be deleted from it."""
    directory = tmp_path / "j"
    async with opened(directory) as journal:
        await committed(journal, [cart(0), cart(1)])
    overwrite(files_in(directory)[0], 18, bytes([version]))
    async with opened(directory) as journal:
        rows = await adopted(journal)
        assert products(rows) == ["p0", "p1"]
        # SQLite writes what is below 3; of the others no row is anywhere else before.
        assert bool(files_in(directory, "*.damaged")) is (version >= 3)
        journal.settle([ended(row.row_id) for row in rows])
        await journal.sync()
    assert await left_in(directory) == []


async def test_a_trigger_that_swallows_deletions_is_not_run(tmp_path: Path) -> None:
    """It would have a row delivered at every start."""
    directory = tmp_path / "j"
    async with opened(directory) as journal:
        await committed(journal, [cart(0)])
    with contextlib.closing(sqlite3.connect(files_in(directory)[0])) as connection:
        connection.execute(
            "CREATE TRIGGER never BEFORE DELETE ON rows BEGIN SELECT RAISE(IGNORE); END"
        )
        connection.commit()
    async with opened(directory) as journal:
        rows = await adopted(journal)
        assert products(rows) == ["p0"]
        journal.settle([ended(row.row_id) for row in rows])
        await journal.sync()
    assert await left_in(directory) == []


async def test_another_programs_file_stays_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Under a name of ours: not a byte of it is changed, and somebody is told to move it."""
    async with opened(tmp_path / "j") as journal:
        await committed(journal, [cart(0)])
    path = tmp_path / "j" / "00000001.events"
    path.unlink()
    path.with_suffix(".lock").unlink()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE notes (text)")
        connection.execute("INSERT INTO notes VALUES ('mine')")
        connection.commit()
    content = path.read_bytes()
    assert await left_in(tmp_path / "j") == []
    assert path.read_bytes() == content
    assert "seems to be another program's" in caplog.text


def test_crafted_pages_cost_no_more_than_others(tmp_path: Path) -> None:
    """Many records that begin at one place, and overflow pages that lead to each other."""
    path = tmp_path / "x"
    cells = 2_000
    # One record of 60 MB that begins at the end, named by every cell; page 2 leads to itself.
    record = bytes([0x9C, 0xCE, 0x83, 0x00, 1]) + bytes(1_000)
    leaf = bytes([13, 0, 0]) + cells.to_bytes(2) + bytes(3)
    leaf += b"".join((3_000 + place % 90).to_bytes(2) for place in range(cells))
    page = leaf[:3_000].ljust(3_000, b"\0") + record
    page = page.ljust(4_096, b"\0")
    path.write_bytes(bytes(4_096) + (b"\0\0\0\2" + bytes(4_092)) + page * 20)
    visits = 0
    for _ in carve_pages(path):
        visits += 1
    assert visits <= 23


async def test_a_large_file_is_salvaged_in_steps_and_in_little_memory(tmp_path: Path) -> None:
    """A start does not wait for it; each step takes a moment, in which others may commit."""
    async with opened(tmp_path / "j") as journal:
        for start in range(0, 8_000, 1_000):
            await committed(journal, [cart(n, name="x" * 900) for n in range(start, start + 1_000)])
    (path,) = files_in(tmp_path / "j")
    overwrite(path, path.stat().st_size // 2 & ~4095, b"\xff" * 4_096)
    tracemalloc.start()
    try:
        async with opened(tmp_path / "j") as journal:
            (backlog,) = await journal.adopt()
            assert not files_in(tmp_path / "j", "*.damaged")
            assert not backlog.lanes
            page, empty = Page(rows=[], last=False), 0
            while not page.rows:
                page = await journal.page(backlog.file, after=None, limit=10)
                empty += 1
            peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert empty > 2
    assert peak < path.stat().st_size / 2
    assert files_in(tmp_path / "j", "*.damaged")


async def test_a_newer_version_is_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither adopted nor renamed; said once, with what to do."""
    async with opened(tmp_path / "j") as journal:
        await committed(journal, [cart(0)])
    (path,) = files_in(tmp_path / "j")
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    content = path.read_bytes()
    async with opened(tmp_path / "j") as journal:
        assert await journal.adopt() == []
        assert await journal.adopt() == []
    assert path.read_bytes() == content
    assert caplog.text.count("is of version 99, which is newer than this package knows: up") == 1


async def test_a_newer_version_may_have_other_tables(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file whose tables of today stand empty is not taken for one that was never begun."""
    async with opened(tmp_path / "j") as journal:
        await committed(journal, [cart(0)])
    (path,) = files_in(tmp_path / "j")
    connection = sqlite3.connect(path, isolation_level=None)
    for table in ("rows", "about"):
        connection.execute(f"CREATE TABLE {table}_2 AS SELECT * FROM {table}")
        connection.execute(f"DELETE FROM {table}")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert await left_in(tmp_path / "j") == []
    assert path.exists()
    assert "newer than this package knows" in caplog.text


async def test_an_older_version_is_brought_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step by step, each in a transaction of its own, and its rows are kept."""
    async with opened(tmp_path / "j") as journal:
        await committed(journal, [cart(0)])
    steps = (
        *_event_file.KIND.migrations,
        lambda connection: connection.execute("CREATE TABLE second (x)"),
        lambda connection: connection.execute("CREATE TABLE third (x)"),
    )
    newer = attrs.evolve(_event_file.KIND, migrations=steps)
    monkeypatch.setattr("alhena_async.journal._event_file.KIND", newer)
    assert products(await left_in(tmp_path / "j")) == ["p0"]
    connection = sqlite3.connect(files_in(tmp_path / "j")[0])
    assert connection.execute("PRAGMA user_version").fetchone() == (3,)
    assert connection.execute("SELECT count(*) FROM third").fetchone() == (0,)
    connection.close()


def test_a_migration_that_fails_leaves_the_version_before_it(tmp_path: Path) -> None:
    """And nothing of its own."""
    connection = sqlite3.connect(tmp_path / "x", isolation_level=None)

    def fails(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE half (x)")
        raise JournalError("no")

    steps = (lambda connection: connection.execute("CREATE TABLE one (x)"), fails)
    with pytest.raises(JournalError):
        migrate(connection, steps)
    assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("one",)]
    connection.close()


@pytest.mark.parametrize("seed", range(30))
def test_carving_never_raises(tmp_path: Path, seed: int) -> None:
    """Whatever the bytes, of the file and of its log."""
    dice = random.Random(seed)
    path = tmp_path / "x"
    page = bytes([13, 0, 0, 0, dice.randrange(256)]) + dice.randbytes(4091)
    path.write_bytes(page + dice.randbytes(dice.randrange(9_000)))
    log = bytes.fromhex("377f0682") + dice.randbytes(28 + 4 * 4120)
    path.with_name("x-wal").write_bytes(log)
    list(carve(path))


async def test_a_file_damaged_while_it_is_paged_is_salvaged(tmp_path: Path) -> None:
    """What was paged stays settled or unsettled as it was; the rest follows."""
    async with opened(tmp_path / "j") as journal:
        await committed(journal, [cart(number, name="x" * 3_000) for number in range(1_000)])
    async with opened(tmp_path / "j") as journal:
        (backlog,) = await journal.adopt()
        page = await journal.page(backlog.file, after=None, limit=10)
        first = list(page.rows)
        journal.settle([ended(row.row_id) for row in first[:5]])
        await journal.sync()
        path = tmp_path / "j" / "00000001.events"
        checkpoint(path)
        place = path.read_bytes().index(b'"product_id":"p500"')
        overwrite(path, place, b"\xff" * 8)
        rows, after = list[int](), first[-1].row_id
        while not page.last:
            page = await journal.page(backlog.file, after=after, limit=250)
            rows += numbers(products(list(page.rows)))
            after = page.rows[-1].row_id
        assert rows == [number for number in range(10, 1_000) if number != 500]
    left = numbers(products(await left_in(tmp_path / "j")))
    assert left == [number for number in range(5, 1_000) if number != 500]


async def test_a_file_that_cannot_be_read_on_is_handed_out_once(tmp_path: Path) -> None:
    """Damaged while it is paged, and the disk refuses the salvage: it waits for the next start."""
    directory = tmp_path / "j"
    async with opened(directory) as journal:
        await committed(journal, [cart(number, name="x" * 900) for number in range(4_000)])
    (path,) = files_in(directory)
    async with opened(directory) as journal:
        (backlog,) = await journal.adopt()
        first = await journal.page(backlog.file, after=None, limit=10)
        overwrite(path, 4096 * 200, b"\xff" * (path.stat().st_size - 4096 * 200))
        fresh = path.with_name(f"{path.name}.new")
        fresh.mkdir()  # in the way
        with pytest.raises(JournalError):
            await journal.page(backlog.file, after=first.rows[-1].row_id, limit=4_000)
        fresh.rmdir()
        assert await journal.adopt() == []
        async with opened(directory) as another:
            assert await another.adopt() == []
    assert len(await left_in(directory)) > 100


async def test_a_locked_file_hides_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody has opened it by hand; it is adopted by a later look, and both are said."""
    for number in range(2):
        async with opened(tmp_path / "j") as journal:
            await committed(journal, [cart(number)])
    connection = sqlite3.connect(tmp_path / "j" / "00000001.events", isolation_level=None)
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("BEGIN EXCLUSIVE")
    async with opened(tmp_path / "j") as journal:
        assert products(await adopted(journal)) == ["p1"]
        connection.close()
        assert products(await adopted(journal)) == ["p0"]
    first, second = [record.getMessage() for record in caplog.records]
    assert "another process has locked it" in first
    assert first.endswith("the file is left alone")
    assert second.endswith("00000001.events is taken over after all")


OTHER = DESTINATION.replace("8787", "8788")


@pytest.mark.parametrize("where", ["*.events", "*.lock"])
async def test_where_a_file_and_its_lock_file_disagree_the_seals_of_the_rows_decide(
    tmp_path: Path, where: str
) -> None:
    """A few broken bytes in one of the two labels hide no event from those whom it is meant for."""
    directory = tmp_path / "j"
    async with opened(directory) as journal:
        await committed(journal, [cart(number) for number in range(3)])
    (label,) = files_in(directory, where)
    content = label.read_bytes()
    assert DESTINATION.encode() in content
    label.write_bytes(content.replace(DESTINATION.encode(), OTHER.encode()))
    async with opened(directory, destination=OTHER) as journal:
        assert await adopted(journal) == []
    assert products(await left_in(directory)) == ["p0", "p1", "p2"]
