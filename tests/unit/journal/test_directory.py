"""The directory: whose it is, who may look into it, and who holds which file."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from alhena_async import JournalError, OutcomeStatus
from alhena_async.journal._directory import Directory
from tests.journals import cart, committed, ended, left_in, opened, products


@pytest.fixture(params=[0o000, 0o022, 0o777], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """Try it under several umasks."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    """Return a path's permission bits."""
    return stat.S_IMODE(path.lstat().st_mode)


async def test_nobody_else_can_look_in(tmp_path: Path, umask: int) -> None:
    """0700 and 0600, whatever the umask: also for what SQLite adds, and for dead letters."""
    async with opened(tmp_path / "j") as journal:
        row_ids = await committed(journal, [cart(0), cart(1)])
        journal.settle([ended(row_ids[0], OutcomeStatus.REJECTED)])
        await journal.sync()
        assert mode(tmp_path / "j") == 0o700
        files = list((tmp_path / "j").iterdir())
        assert len(files) == 8
        assert {mode(path) for path in files} == {0o600}


async def test_parents_are_made(tmp_path: Path, umask: int) -> None:
    """`var/alhena` needs no preparation, and nobody else sees into any part of it."""
    async with opened(tmp_path / "a" / "b" / "c") as journal:
        await committed(journal, [cart(0)])
    for path in (tmp_path / "a", tmp_path / "a" / "b", tmp_path / "a" / "b" / "c"):
        assert mode(path) == 0o700


@pytest.mark.parametrize(("bits", "count"), [(0o777, 1), (0o1777, 0), (0o775, 0), (0o700, 0)])
async def test_a_parent_that_anybody_may_write_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, bits: int, count: int
) -> None:
    """Who may write to it may put another directory into the journal's place; said once."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a").chmod(bits)
    async with opened(tmp_path / "a" / "b" / "c"):
        pass
    assert caplog.text.count(f"any user may write to {tmp_path / 'a'}, ") == count
    assert mode(tmp_path / "a") == bits


async def test_an_open_directory_of_ours_is_closed(tmp_path: Path) -> None:
    """Where it holds nothing else."""
    (tmp_path / "j").mkdir()
    (tmp_path / "j").chmod(0o755)
    async with opened(tmp_path / "j"):
        assert mode(tmp_path / "j") == 0o700


async def test_an_open_directory_with_other_things_in_it_is_refused(tmp_path: Path) -> None:
    """Closing it would break whoever reads those."""
    (tmp_path / "j").mkdir()
    (tmp_path / "j").chmod(0o755)
    (tmp_path / "j" / "index.html").touch()
    with pytest.raises(JournalError, match=r"j is open to other users .* of its own"):
        await left_in(tmp_path / "j")
    assert mode(tmp_path / "j") == 0o755


async def test_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    """Where it leads may be anybody's."""
    (tmp_path / "there").mkdir(mode=0o700)
    (tmp_path / "j").symlink_to(tmp_path / "there")
    with pytest.raises(JournalError, match="j is a symbolic link"):
        await left_in(tmp_path / "j")


async def test_a_file_is_refused(tmp_path: Path) -> None:
    """With its path and what to do."""
    (tmp_path / "j").touch()
    with pytest.raises(JournalError, match="j is no directory: give the journal a directory"):
        await left_in(tmp_path / "j")
    with pytest.raises(JournalError, match="part of the path is a file"):
        await left_in(tmp_path / "j" / "deeper")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
async def test_another_users_directory_is_refused(tmp_path: Path) -> None:
    """Also by root."""
    (tmp_path / "j").mkdir(mode=0o700)
    os.chown(tmp_path / "j", 12345, 12345)
    with pytest.raises(JournalError, match="belongs to user 12345"):
        await left_in(tmp_path / "j")


@pytest.mark.parametrize("suffix", ["events", "events-wal", "lock"])
async def test_linked_files_are_left_alone(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither read nor followed nor removed; said once; the rest goes on."""
    async with opened(tmp_path / "j") as journal:
        await committed(journal, [cart(0)])
    bait = tmp_path / "bait"
    bait.write_bytes(b"precious")
    link = tmp_path / "j" / f"00000001.{suffix}"
    link.unlink(missing_ok=True)
    link.symlink_to(bait)
    async with opened(tmp_path / "j") as journal:
        assert await journal.adopt() == []
        assert await journal.adopt() == []
        await committed(journal, [cart(1)])
    assert bait.read_bytes() == b"precious"
    assert link.is_symlink()
    told = [record for record in caplog.records if "symbolic link" in record.getMessage()]
    assert len(told) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
async def test_another_users_file_is_left_alone(tmp_path: Path) -> None:
    """It was planted, or is somebody's mistake."""
    async with opened(tmp_path / "j") as journal:
        await committed(journal, [cart(0)])
    os.chown(tmp_path / "j" / "00000001.events", 12345, 12345)
    assert await left_in(tmp_path / "j") == []
    assert (tmp_path / "j" / "00000001.events").exists()


def test_a_number_is_claimed_once(tmp_path: Path) -> None:
    """By whoever makes its lock file first; numbers only grow while anything has them."""
    directories = [Directory(tmp_path / "j") for _ in range(3)]
    for directory in directories:
        directory.prepare()
    (tmp_path / "j" / "00000041.events.damaged").touch()
    locks = [directory.claim() for directory in directories * 2]
    assert [lock.number for lock in locks] == list(range(42, 48))
    for lock in locks:
        lock.release(remove=True)


def test_a_held_number_cannot_be_taken(tmp_path: Path) -> None:
    """Not even by the same process; once released it can."""
    directory = Directory(tmp_path / "j")
    directory.prepare()
    lock = directory.claim()
    assert directory.try_lock(lock.number) is None
    lock.release(remove=False)
    again = directory.try_lock(lock.number)
    assert again is not None
    assert again.is_in_place()
    again.release(remove=True)
    again.release(remove=True)


async def test_a_stale_lock_file_is_cleared_away(tmp_path: Path) -> None:
    """Its process died before it began its file."""
    (tmp_path / "j").mkdir(mode=0o700)
    (tmp_path / "j" / "00000003.lock").touch()
    (tmp_path / "j" / "00000003.events-wal").touch()
    assert await left_in(tmp_path / "j") == []
    assert list((tmp_path / "j").iterdir()) == []


async def test_a_file_that_was_never_begun_is_cleared_away(tmp_path: Path) -> None:
    """Its process died between making it and the first transaction."""
    (tmp_path / "j").mkdir(mode=0o700)
    (tmp_path / "j" / "00000003.events").touch()
    assert await left_in(tmp_path / "j") == []
    assert list((tmp_path / "j").iterdir()) == []


async def test_a_missing_lock_file_is_no_hindrance(tmp_path: Path) -> None:
    """A backup may come without it."""
    async with opened(tmp_path / "j") as journal:
        await committed(journal, [cart(0)])
    (tmp_path / "j" / "00000001.lock").unlink()
    assert products(await left_in(tmp_path / "j")) == ["p0"]
