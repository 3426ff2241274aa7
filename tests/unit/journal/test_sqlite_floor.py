"""What a journal asks of the SQLite and the file system below it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from alhena_async import AlhenaClient, JournalError
from alhena_async.journal import DeadLetters, inspect_journal
from alhena_async.journal._sqlite import check_sqlite, to_journal_error
from alhena_async.testing import MemoryTransport
from tests.journals import KEY, committed, opened, order


@pytest.mark.parametrize("version", [(3, 26, 0), (3, 26, 1), (3, 31, 1), (3, 50, 4), (4, 0, 0)])
def test_from_the_floor_on_every_version_will_do(version: tuple[int, ...]) -> None:
    """Debian's and Red Hat's of this decade among them."""
    check_sqlite(Path("var/alhena"), version, has_json=True)


@pytest.mark.parametrize("version", [(3, 25, 3), (3, 7, 17), (2, 8, 17)])
def test_an_older_one_is_named_with_what_is_needed_and_the_cure(version: tuple[int, ...]) -> None:
    """Nobody should have to search for it."""
    with pytest.raises(JournalError) as refused:
        check_sqlite(Path("var/alhena"), version, has_json=True)
    found = ".".join(map(str, version))
    for word in ("var/alhena", "3.26.0 or newer", f"runs with {found}", "update", "journal="):
        assert word in str(refused.value)


def test_one_without_json_is_told_apart() -> None:
    """Before 3.38 the JSON functions were an option of whoever built it."""
    with pytest.raises(JournalError, match=r"3\.31\.1 that was built without them"):
        check_sqlite(Path("var/alhena"), (3, 31, 1), has_json=False)


@pytest.fixture
def old_sqlite(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process take its SQLite for one below the floor."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 22, 0))


@pytest.mark.usefixtures("old_sqlite")
async def test_a_start_fails_before_anything_is_accepted(tmp_path: Path) -> None:
    """What an old SQLite takes, it may never give back."""
    client = AlhenaClient(
        KEY, base_url="http://127.0.0.1:9/", journal=tmp_path / "j", transport=MemoryTransport()
    )
    with pytest.raises(JournalError, match=r"3\.26\.0 or newer.*runs with 3\.22\.0"):
        await client.start()
    assert list((tmp_path / "j").iterdir()) == []
    await client.close()


async def test_what_there_is_is_not_called_damaged(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Of a directory that a newer SQLite wrote, the commands say what is missing here."""
    async with opened(tmp_path) as journal:
        await committed(journal, [order(1)])
    request.getfixturevalue("old_sqlite")
    [file] = inspect_journal(tmp_path).files
    assert "needs SQLite 3.26.0 or newer" in str(file.problem)
    (tmp_path / "dead-letters.sqlite3").touch(mode=0o600)
    with DeadLetters(tmp_path) as letters, pytest.raises(JournalError, match="needs SQLite"):
        letters.count()


@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR_SHMMAP, sqlite3.SQLITE_IOERR_SHMLOCK])
def test_a_file_system_without_shared_memory_is_named(code: int) -> None:
    """FUSE maps no file into the memory of several; "disk I/O error" sent people to buy disks."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = code
    said = str(to_journal_error(Path("/mnt/fuse/alhena/00000001.events"), error))
    assert "file system of /mnt/fuse/alhena shares no memory" in said
    assert "move the directory to a local disk" in said


@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_FSYNC])
def test_another_error_of_the_disk_stays_one(code: int) -> None:
    """A failing disk is no missing memory."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = code
    assert "reports an I/O error" in str(to_journal_error(Path("j/00000001.events"), error))
