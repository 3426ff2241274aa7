"""A disk that somebody, or the journal itself, has filled: what settles is written all the same."""

import asyncio
import itertools
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from alhena_async import (
    AlhenaClient,
    JournalError,
    OutcomeStatus,
    QueuePolicy,
    RetryPolicy,
)
from alhena_async.journal import SendMark, _dead_letter_writer, inspect_journal
from alhena_async.journal._reserve import RESERVE_BYTES, Notes, Reserve, RowSet, notes_beside
from alhena_async.testing import MemoryTransport
from tests.journals import (
    DESTINATION,
    KEY,
    adopted,
    append,
    cart,
    committed,
    ended,
    files_in,
    fill,
    left_in,
    letters_in,
    opened,
    order,
    products,
    told,
    written_again,
)
from tests.patience import PATIENCE


def killed(directory: Path, target: Path) -> Path:
    """Return what a kill would leave of a directory now."""
    return Path(shutil.copytree(directory, target))


async def test_ends_are_written_on_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    """At once, of our own file; and nobody counts them as waiting any more."""
    async with opened(small_disk / "j") as journal:
        row_ids = await committed(journal, [cart(number) for number in range(50)])
        fill(small_disk / "ballast")
        during = append(journal, cart(50, name="x" * 9_000))
        with pytest.raises(JournalError, match="full"):
            await journal.committed(during)
        journal.settle([ended(row_id) for row_id in [*row_ids[:30], during]])
        await journal.sync()
        dead = killed(small_disk / "j", tmp_path / "k")
    assert inspect_journal(dead).files[0].carts == 20
    assert products(await left_in(dead)) == [f"p{number}" for number in range(30, 50)]
    assert products(await left_in(dead)) == [f"p{number}" for number in range(30, 50)]


async def test_marks_are_written_on_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    """The last one counts, and only of rows that are guarded."""
    async with opened(small_disk / "j") as journal:
        row_ids = [append(journal, order(number), guard=SendMark.UNSENT) for number in range(3)]
        row_ids.append(append(journal, cart(3)))
        await journal.sync()
        fill(small_disk / "ballast")
        await journal.mark(row_ids, SendMark.SENT)
        await journal.mark(row_ids[:1], SendMark.UNSENT)
        dead = killed(small_disk / "j", tmp_path / "k")
    marks = [row.guard for row in await left_in(dead)]
    assert marks == [SendMark.UNSENT, SendMark.SENT, SendMark.SENT, SendMark.NONE]


async def test_a_mark_does_not_fail_for_other_events_rows(small_disk: Path) -> None:
    """What cannot be written is a row; what an order waits for is its mark."""
    async with opened(small_disk / "j") as journal:
        row_id = append(journal, order(0), guard=SendMark.UNSENT)
        await journal.sync()
        fill(small_disk / "ballast")
        during = append(journal, cart(1, name="x" * 9_000))
        await journal.mark([row_id], SendMark.SENT)
        assert not journal.holds(during)


async def test_a_locked_file_is_told_later(tmp_path: Path) -> None:
    """Whatever keeps the tables from being written: what settles is noted, and made up for."""
    async with opened(tmp_path / "j") as journal:
        row_ids = await committed(journal, [cart(0), cart(1)])
        (path,) = files_in(tmp_path / "j")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        journal.settle([ended(row_ids[0])])
        await journal.sync()
        dead = killed(tmp_path / "j", tmp_path / "k")
        other.execute("ROLLBACK")
        other.close()
        assert notes_beside(path)
        await written_again(journal, append(journal, cart(2)))
        assert not notes_beside(path)
    assert products(await left_in(dead)) == ["p1"]
    assert products(await left_in(tmp_path / "j")) == ["p1", "p2"]


LIFE = """
import asyncio, os, signal, sys
from pathlib import Path
from tests.journals import adopted, cart, committed, ended, fill, opened
directory, count = Path(sys.argv[1]), int(sys.argv[2])

async def main():
    async with opened(directory) as journal:
        rows = await adopted(journal)
        print(*(row.event.product_id for row in rows[:count]), flush=True)
        journal.settle([ended(row.row_id) for row in rows[:count]])
        if not rows:
            await committed(journal, [cart(number) for number in range(500)])
            fill(directory.parent / "ballast")
        await journal.sync()
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def live(directory: Path, count: int) -> list[str]:
    """Return what a process settled before it was killed; the first one fills the disk."""
    life = [sys.executable, "-c", LIFE, str(directory), str(count)]
    done = subprocess.run(life, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode < 0, done.stderr
    return done.stdout.split()


def test_five_restarts_on_a_full_disk_settle_each_event_once(small_disk: Path) -> None:
    """Each is killed; what the one before it settled does not come back."""
    settled = Counter(itertools.chain(*(live(small_disk / "j", 90) for _ in range(6))))
    assert len(settled) == 450
    assert set(settled.values()) == {1}
    left = products(asyncio.run(left_in(small_disk / "j")))
    assert sorted([*settled, *left]) == sorted(f"p{number}" for number in range(500))


async def test_what_was_closed_in_order_is_taken_over_on_a_full_disk(small_disk: Path) -> None:
    """SQLite needs room to open it, which the reserve lends; and its ends are written."""
    async with opened(small_disk / "j") as journal:
        await committed(journal, [cart(number, name="x" * 9_000) for number in range(6)])
    make_room = fill(small_disk / "ballast")
    for number in range(3):
        async with opened(small_disk / "j") as journal:
            rows = await adopted(journal)
            assert products(rows) == [f"p{number}" for number in range(2 * number, 6)]
            journal.settle([ended(row.row_id) for row in rows[:2]])
            await journal.sync()
    assert files_in(small_disk / "j", "*") == []
    make_room()


async def test_two_processes_on_one_full_disk(small_disk: Path, tmp_path: Path) -> None:
    """Each has its own reserve; the one that takes over reads and writes the other's."""
    async with opened(small_disk / "j") as one, opened(small_disk / "j") as other:
        rows = [await committed(j, [cart(n), cart(n + 1)]) for j, n in ((one, 0), (other, 2))]
        fill(small_disk / "ballast")
        for journal, row_ids in zip((one, other), rows, strict=True):
            journal.settle([ended(row_ids[0])])
            await journal.sync()
        dead = killed(small_disk / "j", tmp_path / "k")
        await one.close()
        (row,) = await adopted(other)
        other.settle([ended(row.row_id)])
        await other.sync()
        assert files_in(small_disk / "j") == [small_disk / "j" / "00000002.events"]
    assert products(await left_in(dead)) == ["p1", "p3"]


async def test_without_a_reserve_what_may_not_be_repeated_waits(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Said once, with what to do; what may be repeated goes out, all else once there is room."""
    async with opened(small_disk / "j") as journal:
        for number in range(5):
            append(journal, order(number), guard=SendMark.UNSENT)
            append(journal, cart(number, of=number + 50))
        await journal.sync()
        shutil.copytree(small_disk / "j", small_disk / "k")
    (small_disk / "k" / "00000001.events-reserve").unlink()
    make_room = fill(small_disk / "ballast")
    transport = MemoryTransport()
    client = AlhenaClient(
        KEY, base_url=DESTINATION, transport=transport, journal=small_disk / "k",
        retry=RetryPolicy(assign_order_ids=False),
    )  # fmt: skip
    async with client:
        async with asyncio.timeout(PATIENCE):
            while client.stats().recorded < 5 or not told(caplog, "held back"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert client.stats().recorded == 5
        make_room()
        await client.flush(PATIENCE)
        assert client.stats().recorded == 10
    assert told(caplog, "the disk is full: free some space; events that may not be repeated") == 1
    assert told(caplog, "what may not be repeated is sent again") == 1
    assert files_in(small_disk / "k", "0*") == []


async def test_with_a_reserve_what_may_not_be_repeated_goes_out(small_disk: Path) -> None:
    """On a full disk, and marked: a kill sends none of it again."""
    async with opened(small_disk / "j") as journal:
        for number in range(5):
            append(journal, order(number), guard=SendMark.UNSENT)
        await journal.sync()
        shutil.copytree(small_disk / "j", small_disk / "k")
    fill(small_disk / "ballast")
    client = AlhenaClient(
        KEY, base_url=DESTINATION, transport=MemoryTransport(), journal=small_disk / "k",
        retry=RetryPolicy(assign_order_ids=False),
    )  # fmt: skip
    async with client:
        await client.flush(PATIENCE)
        assert client.stats().recorded == 5
    assert files_in(small_disk / "k", "0*") == []


@pytest.mark.parametrize("left", [0, 20], ids=["all of it is over", "some of it waits"])
async def test_a_journal_that_filled_its_disk_frees_it_by_itself(
    small_disk: Path, tmp_path: Path, left: int
) -> None:
    """Without a restart, as soon as hardly anything in it is needed; what waits stays on disk."""
    async with opened(small_disk / "j") as journal:
        row_ids: list[int] = []
        while True:
            row_ids += [append(journal, cart(len(row_ids) + n, of=n)) for n in range(100)]
            try:
                await journal.committed(row_ids[-1])
            except JournalError:
                break
        journal.settle([ended(row_id) for row_id in row_ids[left:]])
        async with asyncio.timeout(PATIENCE):
            while os.statvfs(small_disk).f_bfree < 50:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await journal.committed(append(journal, cart(999_999)))
        async with asyncio.timeout(PATIENCE):
            while not files_in(small_disk / "j", "*-reserve"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        dead = killed(small_disk / "j", tmp_path / "k")
    expected = [*(f"p{number}" for number in range(left)), "p999999"]
    assert products(await left_in(dead)) == expected


async def track_for_ever(client: AlhenaClient) -> None:
    """Track one event of each visitor."""
    for number in itertools.count():
        await client.track(cart(number, of=number))


async def test_a_client_that_filled_its_disk_keeps_again_after_the_outage(
    small_disk: Path,
) -> None:
    """`await track` returns again, though nobody freed anything."""
    transport = MemoryTransport()
    client = AlhenaClient(
        KEY, base_url=DESTINATION, transport=transport, journal=small_disk / "j",
        coalescing="off", queue=QueuePolicy(linger=60.0, capacity=100_000, flush_at=None),
    )  # fmt: skip
    async with client:
        with pytest.raises(JournalError, match="full"):
            await track_for_ever(client)
        await client.flush(PATIENCE)
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    await client.track(cart(0))
                    break
                except JournalError:
                    await asyncio.sleep(0.05)


async def test_a_start_needs_no_room_for_the_reserve(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Said once with what to do; it is made as soon as there is room."""
    make_room = fill(small_disk / "ballast")
    os.truncate(small_disk / "ballast", (small_disk / "ballast").stat().st_size - 300_000)
    async with opened(small_disk / "j") as journal:
        await committed(journal, [cart(0)])
        reserve = small_disk / "j" / "00000001.events-reserve"
        assert not reserve.exists()
        assert told(caplog, "00000001.events-reserve, a reserve of 256 KiB, cannot be made") == 1
        make_room()
        async with asyncio.timeout(PATIENCE):
            while not reserve.exists():
                await committed(journal, [cart(1)])
                await asyncio.sleep(0.1)
        assert told(caplog, "cannot be made") == told(caplog, "is whole again") == 1


async def test_the_reserve_stands_beside_the_file_and_goes_with_it(tmp_path: Path) -> None:
    """It is counted, made again where it was deleted, and leaves nothing behind."""
    async with opened(tmp_path / "j") as journal:
        row_ids = await committed(journal, [cart(0)])
        reserve = tmp_path / "j" / "00000001.events-reserve"
        assert reserve.stat().st_blocks * 512 >= RESERVE_BYTES == reserve.stat().st_size
        assert inspect_journal(tmp_path / "j").files[0].bytes > RESERVE_BYTES
        reserve.unlink()
        await asyncio.sleep(0.15)  # it looks ten times a second
        row_ids += await committed(journal, [cart(1)])
        assert reserve.stat().st_size == RESERVE_BYTES
        journal.settle(map(ended, row_ids))  # type: ignore[arg-type]
    assert files_in(tmp_path / "j", "*") == []


async def test_a_reserve_that_is_a_link_is_not_followed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its file is left alone, as with any other link, and nothing is written to where it leads."""
    async with opened(tmp_path / "j") as journal:
        await committed(journal, [cart(0)])
    reserve = tmp_path / "j" / "00000001.events-reserve"
    (tmp_path / "target").touch()
    reserve.unlink()
    reserve.symlink_to(tmp_path / "target")
    assert await left_in(tmp_path / "j") == []
    assert told(caplog, "is a symbolic link") == 1
    assert (tmp_path / "target").read_bytes() == b""


async def test_rows_wait_for_their_letters_as_long_as_the_disk_is_full(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A minute is over soon: an order in doubt is then neither sent again nor forgotten."""
    monkeypatch.setattr(_dead_letter_writer, "_SECONDS_OF_PATIENCE", 0.0)
    async with opened(small_disk / "j") as journal:
        row_ids = await committed(journal, [cart(0), cart(1)])
        make_room = fill(small_disk / "ballast")
        journal.settle([ended(row_ids[0], OutcomeStatus.UNKNOWN), ended(row_ids[1])])
        with pytest.raises(JournalError, match="full"):
            await journal.sync()
        assert products(await left_in(killed(small_disk / "j", tmp_path / "k"))) == ["p0"]
        make_room()
        await journal.sync()
    assert len(letters_in(small_disk / "j")) == 1
    assert files_in(small_disk / "j") == []


# --- the notes themselves ---------------------------------------------------------------------


def reserve_of(path: Path) -> Reserve:
    """Return a reserve beside a file that need not exist."""
    reserve = Reserve(path, syncs=False)
    reserve.make()
    return reserve


def test_a_kill_in_the_middle_of_a_note_leaves_the_one_before(tmp_path: Path) -> None:
    """Wherever it was cut: it goes into the other half."""
    path = tmp_path / "x.events"
    reserve = reserve_of(path)
    reserve.note({}, [1, 2])
    before = reserve.path.read_bytes()
    reserve.note({7: SendMark.SENT}, [3])
    after = reserve.path.read_bytes()
    for cut in (0, 1, 8, 20, 30):
        reserve.path.write_bytes(after[:cut] + before[cut:])
        notes = notes_beside(path)
        assert [id_ in notes.gone for id_ in (1, 2, 3, 7)] == [True, True, False, False]
    reserve.path.write_bytes(after)
    assert 3 in notes_beside(path).gone
    assert notes_beside(path).marks == {7: SendMark.SENT}


def test_no_content_of_a_reserve_is_trusted(tmp_path: Path) -> None:
    """A flipped bit, a cut, noise: what is not whole was never noted."""
    path, noise = tmp_path / "x.events", random.Random(1)
    reserve = reserve_of(path)
    reserve.note({5: SendMark.SENT}, [1, 9, 1_000])
    content = reserve.path.read_bytes()
    start = content.index(b"ALHNOTES")
    for place in range(start, start + 80):
        flipped = bytearray(content)
        flipped[place] ^= 1 << noise.randrange(8)
        reserve.path.write_bytes(flipped)
        notes = notes_beside(path)
        assert not notes or (1_000 in notes.gone and 2 not in notes.gone)
    for text in (b"", content[:start], noise.randbytes(RESERVE_BYTES)):
        reserve.path.write_bytes(text)
        assert not notes_beside(path)


@pytest.mark.parametrize("seed", range(3))
def test_half_a_million_ends_in_any_order_fit(tmp_path: Path, seed: int) -> None:
    """A bit each at most."""
    ids = random.Random(seed).sample(range(1, 480_001), 240_000)
    reserve = reserve_of(tmp_path / "x.events")
    reserve.note({}, ids[:1])
    reserve.note({}, ids[1:])
    gone = notes_beside(tmp_path / "x.events").gone
    assert {id_ for id_ in range(480_010) if id_ in gone} == set(ids)


def test_more_than_fits_is_not_said_to_be_noted(tmp_path: Path) -> None:
    """Nor does it harm what was noted before."""
    reserve = reserve_of(tmp_path / "x.events")
    reserve.note({}, [2])
    with pytest.raises(OSError, match="more was settled than"):
        reserve.note({}, random.Random(0).sample(range(1, 1_200_000), 600_000))
    assert 2 in notes_beside(tmp_path / "x.events").gone


def test_a_set_of_rows_grows_either_way() -> None:
    """Whichever comes first."""
    rows = RowSet()
    assert not rows
    for id_ in (100, 3, 104, 20_000, 1):
        rows.add([id_])
    assert [id_ for id_ in range(20_100) if id_ in rows] == [1, 3, 100, 104, 20_000]
    assert "3" not in rows
    again = Notes.unpacked(Notes(rows).packed()).gone
    assert [id_ for id_ in range(20_100) if id_ in again] == [1, 3, 100, 104, 20_000]


@pytest.mark.parametrize("far", [10**12, -(10**12)])
def test_rows_that_lie_too_far_apart_cost_no_memory(far: int) -> None:
    """Such ids, or such notes, are no sound file's: neither is made room for."""
    rows = RowSet(5, b"\1")
    with pytest.raises(OSError, match="too far apart"):
        rows.add([6, far])
    assert 5 in rows
    assert 6 not in rows
    with pytest.raises(OSError, match="too far apart"):
        RowSet(far, b"\1").add([6])


async def test_many_ends_are_made_up_for_in_small_steps(small_disk: Path, tmp_path: Path) -> None:
    """So little room is enough for any number, and once it is done the notes are gone."""
    async with opened(small_disk / "j") as journal:
        row_ids = await committed(journal, [cart(number) for number in range(1_000)])
        make_room = fill(small_disk / "ballast")
        journal.settle([ended(row_id) for row_id in row_ids[:-100]])
        await journal.sync()
        assert notes_beside(small_disk / "j" / "00000001.events")
        make_room()
        await written_again(journal, append(journal, cart(1_000)))
        await journal.sync()
        assert not notes_beside(small_disk / "j" / "00000001.events")
        dead = killed(small_disk / "j", tmp_path / "k")
    assert products(await left_in(dead)) == [f"p{number}" for number in range(900, 1_001)]
