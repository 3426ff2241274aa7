"""What a disk can do to a running journal: the shop goes on, and nothing is lost without need."""

import asyncio
import contextlib
import itertools
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from alhena_async import AlhenaClient, JournalError, OutcomeStatus
from alhena_async.journal import SQLiteJournal, _event_file, _sqlite_journal
from alhena_async.journal._active_file import ActiveFile
from alhena_async.journal._event_file import EventFile
from alhena_async.journal._locks import exclusively
from alhena_async.testing import MemoryTransport
from tests.journals import (
    DESTINATION,
    KEY,
    adopted,
    append,
    cart,
    checkpoint,
    committed,
    ended,
    files_in,
    fill,
    left_in,
    letters_in,
    opened,
    overwrite,
    products,
    told,
    written_again,
)
from tests.patience import PATIENCE


async def test_a_full_disk_fails_whoever_waits_and_nobody_else(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Said once with the path and what to do; once there is room, all is written, in order."""
    async with opened(small_disk / "j") as journal:
        await committed(journal, [cart(0)])
        ballast = small_disk / "ballast"
        fill(ballast)
        row_ids = [append(journal, cart(number, name="x" * 9_000)) for number in range(1, 30)]
        with pytest.raises(JournalError, match=r"j/00000001.events .* the disk is full: free"):
            await journal.committed(row_ids[-1])
        with pytest.raises(JournalError, match="full"):
            await journal.sync()
        assert not journal.holds(row_ids[-1])
        with pytest.raises(JournalError, match="full"):
            await journal.committed(append(journal, cart(30)))
        assert told(caplog, "disk is full") == 1
        ballast.unlink()
        await written_again(journal, row_ids[-1])
        assert told(caplog, "can be written again") == 1
    assert products(await left_in(small_disk / "j")) == [f"p{number}" for number in range(31)]


def use_up_names(path: Path) -> Callable[[], object]:
    """Make files until the disk has room for no more of them, however small."""
    path.mkdir()
    with contextlib.suppress(OSError):
        for number in itertools.count():
            (path / str(number)).touch()
    return partial(shutil.rmtree, path)


async def test_acknowledgements_survive_a_full_disk(small_disk: Path) -> None:
    """What ended meanwhile is not replayed, and what ended before it was written never appears."""
    async with opened(small_disk / "j") as journal:
        before = await committed(journal, [cart(number) for number in range(3)])
        ballast = small_disk / "ballast"
        fill(ballast)
        during = [append(journal, cart(number, name="x" * 9_000)) for number in range(3, 40)]
        with pytest.raises(JournalError):
            await journal.committed(during[-1])
        journal.settle([ended(before[1]), *map(ended, during[1:])])
        ballast.unlink()
        await written_again(journal, during[0])
    assert products(await left_in(small_disk / "j")) == ["p0", "p2", "p3"]


async def test_what_ended_on_a_disk_that_stays_full_is_not_left_behind(small_disk: Path) -> None:
    """No room to acknowledge it: the file goes as a whole, and leaves room to the next start."""
    async with opened(small_disk / "j") as journal:
        row_ids = await committed(journal, [cart(number) for number in range(3)])
        fill(small_disk / "ballast")
        row_ids += [append(journal, cart(number, name="x" * 9_000)) for number in range(3, 40)]
        with pytest.raises(JournalError, match="full"):
            await journal.committed(row_ids[-1])
        journal.settle([ended(row_id) for row_id in row_ids])
    assert files_in(small_disk / "j", "*") == []


@pytest.mark.parametrize("exists", [True, False], ids=["a directory", "no directory"])
async def test_a_disk_that_is_full_from_the_start_stops_no_start(
    small_disk: Path, caplog: pytest.LogCaptureFixture, *, exists: bool
) -> None:
    """Said once with the path and what to do; once there is room, the file is begun and written."""
    if exists:
        (small_disk / "j").mkdir(mode=0o700)
    free = [fill(small_disk / "ballast"), use_up_names(small_disk / "names")]
    async with opened(small_disk / "j") as journal:
        assert await adopted(journal) == []
        row_ids = [append(journal, cart(number)) for number in range(3)]
        with pytest.raises(JournalError, match=r"j.*full.* free some space"):
            await journal.committed(row_ids[-1])
        assert not any(map(journal.holds, row_ids))
        journal.settle([ended(row_ids[1])])
        with pytest.raises(JournalError, match="full"):
            await journal.sync()
        assert files_in(small_disk / "j", "*") == []
        assert told(caplog, "disk is full") == 1
        for make_room in free:
            make_room()
        await written_again(journal, row_ids[-1])
        assert told(caplog, "can be written again") == 1
    assert products(await left_in(small_disk / "j")) == ["p0", "p2"]


async def test_a_disk_with_too_little_room_to_begin_stops_no_start(small_disk: Path) -> None:
    """Wherever in the beginning the room ends: SQLite has more than one word for it."""
    fill(small_disk / "ballast")
    for _ in range(16):
        async with opened(small_disk / "j") as journal:
            assert await adopted(journal) == []
        ballast = small_disk / "ballast"
        os.truncate(ballast, ballast.stat().st_size - 4_096)


async def test_a_disk_that_stays_full_leaves_nothing_half_made(small_disk: Path) -> None:
    """What could not be kept is not said to be, and the end leaves no file behind."""
    (small_disk / "j").mkdir(mode=0o700)
    fill(small_disk / "ballast")
    async with opened(small_disk / "j") as journal:
        row_id = append(journal, cart(0))
        with pytest.raises(JournalError, match="full"):
            await journal.sync()
        assert not journal.holds(row_id)
    assert files_in(small_disk / "j", "*") == []


async def test_what_a_full_disk_keeps_from_being_adopted_is_found_by_a_later_look(
    small_disk: Path,
) -> None:
    """It stays where it is until then."""
    async with opened(small_disk / "j") as journal:
        await committed(journal, [cart(number, name="x" * 9_000) for number in range(3)])
    (small_disk / "j" / "00000001.events-reserve").unlink()  # it would lend some
    make_room = fill(small_disk / "ballast")
    async with opened(small_disk / "j") as journal:
        assert await adopted(journal) == []
        make_room()
        assert products(await adopted(journal)) == ["p0", "p1", "p2"]


async def test_a_client_starts_on_a_full_disk(small_disk: Path) -> None:
    """`track` tells that its event goes on in memory; it is delivered, as any other is."""
    fill(small_disk / "ballast")
    transport = MemoryTransport()
    client = AlhenaClient(KEY, base_url=DESTINATION, transport=transport, journal=small_disk / "j")
    async with client:
        with pytest.raises(JournalError, match="the disk is full"):
            await client.track(cart(0))
        client.track_nowait(cart(1))
        await client.flush()
    assert client.stats().recorded == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("made", [True, False], ids=["read-only", "missing in a read-only one"])
async def test_a_read_only_directory_is_refused(tmp_path: Path, *, made: bool) -> None:
    """With its path and what to do. Root may write anywhere, so somebody else tries."""
    directory = tmp_path / "j"
    if made:
        directory.mkdir(mode=0o500)
        os.chown(directory, 65534, 65534)
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(0o755)
    program = (
        "import asyncio, os, sys; from pathlib import Path\n"
        "from tests.journals import left_in\n"
        "from alhena_async import JournalError\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "try: asyncio.run(left_in(Path(sys.argv[1])))\n"
        "except JournalError as error: print(error)\n"
    )
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program, str(directory)],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": "."},
        cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"{directory} cannot be used as a journal (Permission denied)" in done.stdout
    assert "let this process's user write there" in done.stdout


async def test_memory_stays_bounded_while_a_write_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What has ended piles up to a bound; then events get no row, until the disk is back."""
    monkeypatch.setattr(_sqlite_journal, "_MAX_ENDINGS_WAITING", 100)
    disk_is_back, write = threading.Event(), EventFile.write

    def hang(file: EventFile, **what: Any) -> None:
        disk_is_back.wait()
        write(file, **what)

    async with opened(tmp_path / "j") as journal:
        writer = journal._writer
        assert writer is not None
        await committed(journal, [cart(0)])
        monkeypatch.setattr(EventFile, "write", hang)
        try:
            append(journal, cart(1))
            while writer.appended:  # noqa: ASYNC110  until the thread has it, and hangs
                await asyncio.sleep(0)
            rows = 0
            for number in range(2, 1_002):
                with contextlib.suppress(JournalError):
                    row_id = append(journal, cart(number))
                    rows += 1
                    if number % 2:
                        journal.settle([ended(row_id)])
                for status in (OutcomeStatus.RECORDED, OutcomeStatus.REJECTED):
                    journal.settle([ended(None, status)])
            with pytest.raises(JournalError, match=r"j: the disk hangs.* goes on in memory"):
                append(journal, cart(1))
            assert rows < 100
            assert len(writer.settled) == 100
            assert told(caplog, "the disk hangs") == 1
        finally:
            disk_is_back.set()
        await journal.sync()
        await committed(journal, [cart(1_002)])
        assert told(caplog, "events are written again") == 1
    evens = [f"p{number}" for number in range(2, rows + 2, 2)]
    assert products(await left_in(tmp_path / "j")) == ["p0", "p1", *evens, "p1002"]
    assert len(letters_in(tmp_path / "j")) == 100 - (rows - len(evens))


@pytest.mark.parametrize(
    ("of", "lines"), [(EventFile, {"cannot be written": 1}), (ActiveFile, {"unforeseen": 2})]
)
async def test_a_fault_of_ours_keeps_nobody_waiting_and_floods_no_log(
    tmp_path: Path,
    of: type,
    lines: dict[str, int],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whoever waits hears of it, the log once or the 1st and 10th time, and then all is written."""

    def fail(*_args: Any, **_what: Any) -> None:
        raise KeyError("ours")

    async with opened(tmp_path / "j") as journal:
        with monkeypatch.context() as patched:
            patched.setattr(of, "write", fail)
            for number in range(30):
                with pytest.raises(JournalError):
                    await committed_one(journal, number)
        assert {words: told(caplog, words) for words in lines} == lines
        await journal.sync()
    assert len(await left_in(tmp_path / "j")) == 30


@pytest.mark.parametrize("what", ["events", "events-wal", "lock", "*", "directory"])
async def test_files_deleted_underneath_are_begun_anew(
    tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Everything unsettled is written once more; said once."""
    async with opened(tmp_path / "j") as journal:
        row_ids = await committed(journal, [cart(number) for number in range(10)])
        journal.settle([ended(row_ids[0])])
        await journal.sync()
        pattern = "*" if what == "directory" else f"0*.{what}"
        for path in files_in(tmp_path / "j", pattern):
            path.unlink()
        if what == "directory":
            (tmp_path / "j").rmdir()
        await asyncio.sleep(0.15)  # it looks ten times a second
        await committed(journal, [cart(10)])
        saved = {path.name: path.read_bytes() for path in files_in(tmp_path / "j", "*.events*")}
    assert told(caplog, "cannot be used any more") == 1
    assert told(caplog, "all 9 unsettled events") == 1
    # As if the process had been killed: what its files held is what counts.
    (tmp_path / "k").mkdir(mode=0o700)
    for name, content in saved.items():
        if "damaged" not in name:
            (tmp_path / "k" / name).write_bytes(content)
    assert products(await left_in(tmp_path / "k")) == [f"p{number}" for number in range(1, 11)]


async def test_what_was_deleted_underneath_is_not_relied_on(tmp_path: Path) -> None:
    """`sync` looks itself; where no new file can be begun, nobody is told that a row is kept."""
    async with opened(tmp_path / "j") as journal:
        (row_id,) = await committed(journal, [cart(0)])
        shutil.rmtree(tmp_path / "j")
        (tmp_path / "j").write_text("in the way")
        with pytest.raises(JournalError, match="no directory"):
            await journal.sync()
        assert not journal.holds(row_id)
        (tmp_path / "j").unlink()
        await journal.sync()
        assert journal.holds(row_id)
    assert products(await left_in(tmp_path / "j")) == ["p0"]


async def test_an_adopted_file_that_was_deleted_is_not_relied_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """`sync` lets go of it, and says so."""
    async with opened(tmp_path / "j") as journal:
        await committed(journal, [cart(0)])
    async with opened(tmp_path / "j") as journal:
        (row,) = await adopted(journal)
        assert journal.holds(row.row_id)
        (tmp_path / "j" / "00000001.events").unlink()
        await journal.sync()
        assert not journal.holds(row.row_id)
    assert told(caplog, "00000001.events was deleted or replaced underneath") == 1


async def test_a_file_begun_anew_keeps_the_ages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the wall clock was set between the two files."""
    async with opened(tmp_path / "j") as journal:
        await committed(journal, [cart(0)])
        present = time.time
        monkeypatch.setattr(time, "time", lambda: present() + 3_600)
        for path in files_in(tmp_path / "j", "0*"):
            path.unlink()
        await journal.sync()
    (row,) = await left_in(tmp_path / "j")
    assert row.age < 60


async def test_a_reader_does_not_make_the_log_grow_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Past a bound the file is begun anew, with everything unsettled."""
    monkeypatch.setattr(_event_file, "_MAX_LOG_BYTES", 65_536)
    async with opened(tmp_path / "j") as journal:
        await committed(journal, [cart(0)])
        reader = sqlite3.connect(tmp_path / "j" / "00000001.events", isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM rows").fetchone()
        for number in range(1, 30):
            await committed(journal, [cart(number)])
        (path,) = files_in(tmp_path / "j")
        reader.close()
        assert path.name == "00000002.events"
    assert told(caplog, "another program reads it") == 1
    assert products(await left_in(tmp_path / "j")) == [f"p{number}" for number in range(30)]


@pytest.mark.parametrize("spare", range(0, 480, 32))
async def test_a_salvage_that_meets_a_full_disk_loses_nothing(
    small_disk: Path, tmp_path: Path, spare: int
) -> None:
    """However far it came: with room again, the next start has all rows."""
    async with opened(tmp_path / "j") as journal:
        await committed(journal, [cart(number) for number in range(300)])
    (path,) = files_in(tmp_path / "j")
    overwrite(path, 0, bytes(100))
    await asyncio.to_thread(shutil.copytree, tmp_path / "j", small_disk / "j")
    ballast = small_disk / "ballast"
    fill(ballast)
    os.truncate(ballast, ballast.stat().st_size - spare * 1024)
    with contextlib.suppress(JournalError):
        await left_in(small_disk / "j")
    ballast.unlink()
    assert products(await left_in(small_disk / "j")) == [f"p{number}" for number in range(300)]


async def test_a_file_damaged_underneath_is_set_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Never deleted; everything unsettled is written into a new one, and the batch with it."""
    async with opened(tmp_path / "j") as journal:
        # More than SQLite's cache holds, or it would not meet the damage.
        row_ids = await committed(
            journal, [cart(number, name="x" * 1_500) for number in range(3_000)]
        )
        (path,) = files_in(tmp_path / "j")
        checkpoint(path)
        overwrite(path, 0, b"\xff" * path.stat().st_size)
        journal.settle([ended(row_id) for row_id in row_ids[:3]])
        await committed_one(journal, 3_000)
        await journal.sync()
    assert told(caplog, "cannot be used any more") == 1
    assert [path.name for path in files_in(tmp_path / "j", "*.damaged")] == [
        "00000001.events.damaged"
    ]
    assert products(await left_in(tmp_path / "j")) == [f"p{number}" for number in range(3, 3_001)]


async def test_another_processes_lock_is_an_outage(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody waits for it; once it is gone, all is written."""
    async with opened(tmp_path / "j") as journal:
        await committed(journal, [cart(0)])
        (path,) = files_in(tmp_path / "j")
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        row_id = append(journal, cart(1))
        with pytest.raises(JournalError, match=r"00000001.events .* another process has locked it"):
            await journal.committed(row_id)
        connection.execute("ROLLBACK")
        connection.close()
        await written_again(journal, row_id)
    assert told(caplog, "another process has locked it") == 1
    assert products(await left_in(tmp_path / "j")) == ["p0", "p1"]


async def test_the_bound_on_rows_is_like_a_full_disk(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In its own words; room comes as the API catches up."""
    async with opened(tmp_path / "j", max_rows=5) as journal:
        row_ids = await committed(journal, [cart(number) for number in range(5)])
        last = append(journal, cart(5))
        with pytest.raises(JournalError, match=r"j holds max_rows \(5\) events: let the API"):
            await journal.committed(last)
        assert told(caplog, "max_rows") == 1
        journal.settle([ended(row_ids[0])])
        await written_again(journal, last)
    assert products(await left_in(tmp_path / "j")) == [f"p{number}" for number in range(1, 6)]


async def test_adopted_rows_count_as_well(tmp_path: Path) -> None:
    """The bound is on what this process holds."""
    async with opened(tmp_path / "j") as journal:
        await committed(journal, [cart(number) for number in range(3)])
    async with opened(tmp_path / "j", max_rows=4) as journal:
        await journal.adopt()
        await committed(journal, [cart(3)])
        with pytest.raises(JournalError, match="max_rows"):
            await journal.committed(append(journal, cart(4)))


async def test_the_bound_on_bytes_is_like_a_full_disk(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In its own words; room comes as the API catches up."""
    async with opened(tmp_path / "j", max_bytes=1 << 20) as journal:
        row_ids = await committed(journal, [cart(number, name="x" * 9_000) for number in range(90)])
        last = [append(journal, cart(number, name="x" * 9_000)) for number in range(90, 130)][-1]
        with pytest.raises(JournalError, match=r"as large as max_bytes \(1,048,576\)"):
            await journal.committed(last)
        assert told(caplog, "max_bytes") == 1
        journal.settle([ended(row_id) for row_id in row_ids])
        await written_again(journal, last)
    assert len(await left_in(tmp_path / "j")) == 40


async def test_an_emptied_file_gives_its_space_back(tmp_path: Path) -> None:
    """After an outage of hours the disk is not full for ever."""
    async with opened(tmp_path / "j") as journal:
        events = [cart(number, name="x" * 1_500) for number in range(20_001)]
        row_ids = await committed(journal, events)
        journal.settle([ended(row_id) for row_id in row_ids])
        await journal.sync()
        (path,) = files_in(tmp_path / "j")
        assert path.stat().st_size < 1_000_000


async def test_an_event_that_cannot_be_encoded_harms_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It goes on in memory; whoever waits for its commit is told."""
    broken = cart(1)
    object.__setattr__(broken, "product_name", object())
    async with opened(tmp_path / "j") as journal:
        first, second, third = (append(journal, event) for event in (cart(0), broken, cart(2)))
        with pytest.raises(JournalError, match="could not be encoded"):
            await journal.committed(second)
        await journal.committed(third)
        assert [journal.holds(row_id) for row_id in (first, second, third)] == [True, False, True]
        journal.settle([ended(None, OutcomeStatus.REJECTED, event=broken), ended(second)])
        await journal.sync()
    assert told(caplog, "could not be encoded") == 2
    assert products(await left_in(tmp_path / "j")) == ["p0", "p2"]


# --- dead letters --------------------------------------------------------------------------------


async def test_damaged_letters_are_set_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And begun anew, with the letter that met the damage."""
    (tmp_path / "j").mkdir(mode=0o700)
    (tmp_path / "j" / "dead-letters.sqlite3").write_bytes(b"nonsense" * 1_000)
    async with opened(tmp_path / "j") as journal:
        (row_id,) = await committed(journal, [cart(0)])
        journal.settle([ended(row_id, OutcomeStatus.REJECTED)])
        await has_letters(tmp_path / "j", 1)
    assert told(caplog, "dead-letters.sqlite3 is damaged") == 1
    aside = tmp_path / "j" / "dead-letters.sqlite3.damaged"
    assert aside.read_bytes() == b"nonsense" * 1_000
    assert await left_in(tmp_path / "j") == []


async def has_letters(directory: Path, count: int) -> None:
    """Wait until there are so many."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                if len(letters_in(directory)) == count:
                    return
            except sqlite3.Error:
                pass
            await asyncio.sleep(0.05)


async def test_whoever_stands_still_with_damaged_letters_holds_up_nobody(tmp_path: Path) -> None:
    """Another process may be frozen in the moment in which it sets them aside."""
    async with opened(tmp_path / "j") as journal:
        path = tmp_path / "j" / "dead-letters.sqlite3"
        path.write_bytes(b"garbage" * 900)
        with exclusively(path.with_suffix(".lock")):
            journal.settle([ended(None, OutcomeStatus.REJECTED)])
            async with asyncio.timeout(PATIENCE):
                await journal.committed(append(journal, cart(0)))
        await has_letters(tmp_path / "j", 1)


async def test_locked_letters_keep_their_rows_and_hold_up_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Other rows are written and deleted; the letter comes once it can, and then its row goes."""
    async with opened(tmp_path / "j") as journal:
        row_ids = await committed(journal, [cart(number) for number in range(3)])
        journal.settle([ended(row_ids[0], OutcomeStatus.REJECTED)])
        await journal.sync()
        other = sqlite3.connect(tmp_path / "j" / "dead-letters.sqlite3", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        journal.settle([ended(row_ids[1], OutcomeStatus.REJECTED), ended(row_ids[2])])
        await committed_one(journal, 3)
        with pytest.raises(JournalError, match=r"dead-letters\.sqlite3"):
            await journal.sync()
        other.execute("ROLLBACK")
        other.close()
        await has_letters(tmp_path / "j", 2)
        await journal.sync()
    assert told(caplog, "dead letters wait in memory") == 1
    assert products(await left_in(tmp_path / "j")) == ["p3"]


async def committed_one(journal: SQLiteJournal, number: int) -> None:
    """Submit an event and wait for its commit."""
    await journal.committed(append(journal, cart(number)))


async def test_rows_whose_letters_wait_outlive_the_process(tmp_path: Path) -> None:
    """Nothing is lost between the two files."""
    async with opened(tmp_path / "j") as journal:
        row_ids = await committed(journal, [cart(0), cart(1)])
        journal.settle([ended(row_ids[0], OutcomeStatus.REJECTED)])
        await journal.sync()
        other = sqlite3.connect(tmp_path / "j" / "dead-letters.sqlite3", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        journal.settle([ended(row_ids[1], OutcomeStatus.REJECTED)])
    other.close()
    assert products(await left_in(tmp_path / "j")) == ["p1"]


async def test_letters_are_bounded(tmp_path: Path) -> None:
    """By count and by age; the oldest go first."""
    async with opened(tmp_path / "j", dead_letter_limit=3) as journal:
        for number in range(6):
            event = cart(number)
            journal.settle([ended(None, OutcomeStatus.DROPPED, event=event)])
            await journal.sync()
        assert ['"p3"' in one["body"] for one in letters_in(tmp_path / "j")] == [True, False, False]
    with contextlib.closing(sqlite3.connect(tmp_path / "j" / "dead-letters.sqlite3")) as connection:
        connection.execute("UPDATE letters SET ended = ended - 3600")
        connection.commit()
    async with opened(tmp_path / "j", dead_letter_age=1800.0) as journal:
        journal.settle([ended(None, OutcomeStatus.DROPPED, event=cart(9))])
        await journal.sync()
        (last,) = letters_in(tmp_path / "j")
        assert '"p9"' in last["body"]


async def test_opening_needs_no_room_for_letters(tmp_path: Path) -> None:
    """Their file is made with the first of them."""
    journal = SQLiteJournal(tmp_path / "j")
    await journal.open(destination=DESTINATION)
    assert not (tmp_path / "j" / "dead-letters.sqlite3").exists()
    await journal.close()
