"""The fields of a log that say whether a frame counts at all: their damage hides no other frame."""

import asyncio
import itertools
import shutil
import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from alhena_async.journal import _sqlite_pages
from alhena_async.journal._rows import COLUMNS, is_sound, seed_of
from alhena_async.journal._sqlite_pages import carve, loses_log
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
    overwrite,
    products,
)

FRAME = 24 + 4096
WAYS = (lambda _: 0x00, lambda _: 0xFF, lambda byte: byte ^ 0x01, lambda byte: byte ^ 0x80)
"""What becomes of a byte."""


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a kill leaves of 20 events in five transactions, all of them in the log."""
    base = tmp_path_factory.mktemp("fresh")

    async def make() -> None:
        async with opened(base / "j") as journal:
            for start in range(0, 20, 4):
                await committed(journal, [cart(n, name="x" * 700) for n in range(start, start + 4)])
            await asyncio.to_thread(shutil.copytree, base / "j", base / "killed")

    asyncio.run(make())
    return base / "killed"


@pytest.fixture(scope="module")
def reused(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of 12 events, in a log that was begun anew over the leavings of 48 settled ones."""
    base = tmp_path_factory.mktemp("reused")

    async def make() -> None:
        async with opened(base / "j") as journal:
            settled = []
            for start in range(0, 48, 4):
                events = [cart(n, name="x" * 700) for n in range(start, start + 4)]
                settled += await committed(journal, events)
            journal.settle([ended(place) for place in settled])
            await journal.sync()
            (path,) = files_in(base / "j")
            await asyncio.to_thread(checkpoint, path)
            for start in range(48, 60, 4):
                await committed(journal, [cart(n, name="x" * 700) for n in range(start, start + 4)])
            await asyncio.to_thread(shutil.copytree, base / "j", base / "killed")

    asyncio.run(make())
    return base / "killed"


FRESH = set(range(1, 21))
REUSED = set(range(49, 61))
"""Their rows' ids."""


def log_in(directory: Path) -> Path:
    """Return the only log of a directory."""
    (log,) = files_in(directory, "*.events-wal")
    return log


def frames_of(log: Path) -> int:
    """Return how many frames of a log, from its beginning, bear its salts."""
    content = log.read_bytes()
    starts = range(32, len(content), FRAME)
    return sum(1 for start in starts if content[start + 8 : start + 16] == content[16:24])


def carved(path: Path) -> set[int]:
    """Return the ids of all sound rows that are found in a file and its log."""
    seed = seed_of(DESTINATION)
    return {
        id_
        for id_, record in carve(path)
        if len(record) == len(COLUMNS) and record[0] is None and is_sound((id_, *record[1:]), seed)
    }


def damages(content: bytes, start: int, length: int) -> Iterator[tuple[int, bytes]]:
    """Every byte of a header damaged in several ways, and every run of eight that touches it."""
    spots = [(start + place, 1) for place in range(length)]
    runs = [(max(0, start + place), 8) for place in range(-7, length)]
    for (place, size), way in (
        *itertools.product(spots, WAYS),
        *itertools.product(runs, WAYS[1:3]),
    ):
        before = content[place : place + size]
        after = bytes(way(byte) for byte in before)
        if after != before:
            yield place, after


def test_the_fixtures_are_sound(fresh: Path, reused: Path) -> None:
    """All is found in them, and what lies behind a log that was begun anew is none of it."""
    for directory, rows in ((fresh, FRESH), (reused, REUSED)):
        (path,) = files_in(directory)
        assert not loses_log(path)
        assert carved(path) == rows
    content = log_in(reused).read_bytes()
    assert frames_of(log_in(reused)) < (len(content) - 32) // FRAME
    assert b'"product_id":"p3' in content[32 + frames_of(log_in(reused)) * FRAME :]


@pytest.mark.parametrize("which", ["the log", "first", "second", "middle", "last"])
def test_no_damage_of_a_header_hides_a_row(fresh: Path, tmp_path: Path, which: str) -> None:
    """Whichever bytes it takes: nothing is lost but what lies in them, and SQLite is kept away."""
    shutil.copytree(fresh, tmp_path / "j")
    (path,) = files_in(tmp_path / "j")
    log = log_in(tmp_path / "j")
    content = log.read_bytes()
    count = frames_of(log)
    places = {"first": 0, "second": 1, "middle": count // 2, "last": count - 1}
    start, length = (0, 32) if which == "the log" else (32 + places[which] * FRAME, 24)
    for place, after in damages(content, start, length):
        overwrite(log, place, after)
        assert loses_log(path), (place - start, after)
        # What is damaged of the pages around it: one row's end, and what a page of four is.
        beyond = which != "the log" and place + len(after) > start + length
        missing = FRESH - carved(path)
        assert len(missing) <= (place < start) + 4 * beyond, (place - start, after, missing)
        overwrite(log, place, content[place : place + len(after)])


@pytest.mark.parametrize("which", ["the log", "first", "middle"])
def test_nor_does_it_bring_the_leavings_back(reused: Path, tmp_path: Path, which: str) -> None:
    """What stands behind a log that was begun anew is of settled events: they stay settled."""
    shutil.copytree(reused, tmp_path / "j")
    (path,) = files_in(tmp_path / "j")
    log = log_in(tmp_path / "j")
    content = log.read_bytes()
    places = {"first": 0, "middle": frames_of(log) // 2}
    start, length = (0, 32) if which == "the log" else (32 + places[which] * FRAME, 24)
    for place, after in damages(content, start, length):
        overwrite(log, place, after)
        assert loses_log(path), (place - start, after)
        found = carved(path)
        assert found <= REUSED, (place - start, after)
        # The end of the page before it is a part of one row.
        assert len(found) >= len(REUSED) - (place < start), (place - start, after)
        overwrite(log, place, content[place : place + len(after)])


def test_the_last_frame_of_a_log_that_was_begun_anew(reused: Path, tmp_path: Path) -> None:
    """Nothing behind it speaks for it; it counts as long as one of its own numbers agrees."""
    shutil.copytree(reused, tmp_path / "j")
    (path,) = files_in(tmp_path / "j")
    log = log_in(tmp_path / "j")
    content = log.read_bytes()
    start = 32 + (frames_of(log) - 1) * FRAME
    for place, after in damages(content, start, 24):
        overwrite(log, place, after)
        checksum_agrees = any(
            log.read_bytes()[start + half : start + half + 4]
            == content[start + half : start + half + 4]
            for half in (16, 20)
        )
        if start <= place and place + len(after) <= start + 24 and checksum_agrees:
            assert loses_log(path), (place - start, after)
            assert carved(path) == REUSED, (place - start, after)
        else:
            assert carved(path) <= REUSED
        overwrite(log, place, content[place : place + len(after)])


def test_a_transaction_that_was_not_finished_is_no_damage(reused: Path, tmp_path: Path) -> None:
    """A kill between a frame's header and its page leaves the page of an earlier log behind it."""
    shutil.copytree(reused, tmp_path / "j")
    (path,) = files_in(tmp_path / "j")
    log = log_in(tmp_path / "j")
    content = log.read_bytes()
    start = 32 + frames_of(log) * FRAME
    last = content[start - FRAME : start - FRAME + 24]
    overwrite(
        log, start, struct.pack(">II", *struct.unpack_from(">II", last)) + last[8:16] + b"?" * 8
    )
    assert not loses_log(path)
    assert carved(path) == REUSED
    with log.open("r+b") as file:
        file.truncate(start + 24 + 2048)
    assert not loses_log(path)


def test_a_log_of_another_byte_order(
    fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The magic number's last bit tells it; where that is damaged, the frames do."""
    shutil.copytree(fresh, tmp_path / "j")
    (path,) = files_in(tmp_path / "j")
    overwrite(log_in(tmp_path / "j"), 3, b"\x83")
    assert carved(path) == FRESH
    native, other = _sqlite_pages._ORDERS

    def swapped(order: str, data: bytes) -> list[int]:
        return list(struct.unpack(f"{order}{len(data) // 4}I", data))

    monkeypatch.setattr(_sqlite_pages, "_ORDERS", other + native)
    monkeypatch.setattr(_sqlite_pages, "_words", swapped)
    assert carved(path) == FRESH


def test_a_log_of_a_single_frame(tmp_path: Path) -> None:
    """The leavings behind it are many and agree with each other, and yet are not the log."""
    path = tmp_path / "x"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL").fetchone()
    connection.execute("CREATE TABLE texts (text)")
    rows = [("old" * 300,) for _ in range(40)]
    connection.executemany("INSERT INTO texts VALUES (?)", rows)
    connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
    connection.execute("UPDATE texts SET text = replace(text, 'old', 'new') WHERE rowid = 40")
    shutil.copy(path, tmp_path / "y")
    log = tmp_path / "y-wal"
    shutil.copy(tmp_path / "x-wal", log)
    connection.close()
    content = log.read_bytes()
    assert frames_of(log) == 1
    for place, after in damages(content, 0, 32):
        overwrite(log, place, after)
        assert loses_log(tmp_path / "y")
        assert dict(carve(tmp_path / "y"))[40] == ["new" * 300], (place, after)
        overwrite(log, place, content[place : place + len(after)])


def test_an_unfinished_transaction_speaks_for_the_one_before_it(
    fresh: Path, tmp_path: Path
) -> None:
    """Its first frame goes on from what the damaged checksum was."""
    shutil.copytree(fresh, tmp_path / "j")
    (path,) = files_in(tmp_path / "j")
    log = log_in(tmp_path / "j")
    content = log.read_bytes()
    starts = range(32, len(content), FRAME)
    commits = [start for start in starts if content[start + 4 : start + 8] != bytes(4)]
    with log.open("r+b") as file:
        file.truncate(commits[-2] + 2 * FRAME)
    before = carved(path)
    overwrite(log, commits[-2] + 16, b"\xff" * 8)
    assert loses_log(path)
    assert carved(path) == before


@pytest.mark.parametrize("holes", range(2, 5))
def test_damage_in_several_headers(fresh: Path, tmp_path: Path, holes: int) -> None:
    """Each frame is judged by what is left of its neighbours."""
    shutil.copytree(fresh, tmp_path / "j")
    (path,) = files_in(tmp_path / "j")
    log = log_in(tmp_path / "j")
    for number in range(holes):
        overwrite(log, 32 + number * 3 * FRAME + (0, 8, 16)[number % 3], b"\xff" * 8)
    assert loses_log(path)
    assert carved(path) == FRESH


def test_a_log_whose_first_block_is_gone(fresh: Path, tmp_path: Path) -> None:
    """Its header and its first frame's: what follows tells by itself which log it is of."""
    shutil.copytree(fresh, tmp_path / "j")
    (path,) = files_in(tmp_path / "j")
    overwrite(log_in(tmp_path / "j"), 0, b"\0" * 4096)
    assert loses_log(path)
    assert carved(path) == FRESH


@pytest.mark.parametrize("place", [16, 32, 32 + 8, 32 + 3 * FRAME + 8])
async def test_a_start_finds_every_acknowledged_event(
    fresh: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, place: int
) -> None:
    """Said in one line, the damaged file kept: before, they were gone without a word."""
    shutil.copytree(fresh, tmp_path / "j")
    overwrite(log_in(tmp_path / "j"), place, b"\xff" * 8)
    async with opened(tmp_path / "j") as journal:
        assert products(await adopted(journal)) == [f"p{number}" for number in range(20)]
    assert files_in(tmp_path / "j", "*.damaged")
    assert caplog.text.count("20 events were salvaged and are delivered") == 1


async def test_a_start_on_a_whole_log_sets_nothing_aside(reused: Path, tmp_path: Path) -> None:
    """What an earlier log left behind is no damage."""
    shutil.copytree(reused, tmp_path / "j")
    found = products(await left_in(tmp_path / "j"))
    assert found == [f"p{number}" for number in range(48, 60)]
    assert not files_in(tmp_path / "j", "*.damaged*")
