"""A process that is killed while it makes a file: nothing is left behind, nobody is held up."""

import contextlib
import sqlite3
import struct
from pathlib import Path

import pytest

from alhena_async import OutcomeStatus
from alhena_async.journal import DeadLetters
from tests.journals import adopted, append, cart, committed, ended, files_in, opened, products

_MAGIC = bytes.fromhex("d9d505f920a163d7")


def _rollback(*, is_hot: bool) -> bytes:
    """What SQLite keeps beside an empty file while its first page is written."""
    magic = _MAGIC if is_hot else bytes(8)  # written when all the rest is on disk
    return (magic + struct.pack(">5I", 0, 0x1234_5678, 0, 512, 4096)).ljust(512, b"\0")


def _first_page(directory: Path) -> bytes:
    """The page that says that there is a log from now on."""
    path = directory / "page"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    return path.read_bytes()


@pytest.fixture(params=["begun", "journal only", "journal written", "page written", "log begun"])
def torn(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[bytes, bytes | None]:
    """What a kill leaves of a file and beside it."""
    return {
        "begun": (b"", None),
        "journal only": (b"", b""),
        "journal written": (b"", _rollback(is_hot=False)),
        "page written": (_first_page(tmp_path), _rollback(is_hot=True)),
        "log begun": (_first_page(tmp_path), None),
    }[request.param]


def _leave(path: Path, torn: tuple[bytes, bytes | None]) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    for one, content in zip((path, path.with_name(f"{path.name}-journal")), torn, strict=True):
        if content is not None:
            one.write_bytes(content)
            one.chmod(0o600)


async def test_events_that_were_never_begun_are_cleared_away(
    tmp_path: Path, torn: tuple[bytes, bytes | None], caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing was ever in such a file: the next start deletes it without a word."""
    directory = tmp_path / "j"
    _leave(directory / "00000001.events", torn)
    async with opened(directory) as journal:
        assert await adopted(journal) == []
        await committed(journal, [cart(1)])
    async with opened(directory) as journal:
        rows = await adopted(journal)
        assert products(rows) == ["p1"]
        journal.settle([ended(row.row_id) for row in rows])
        await journal.sync()
    assert files_in(directory) == []
    assert not caplog.records


async def test_letters_that_were_never_begun_are_begun(
    tmp_path: Path, torn: tuple[bytes, bytes | None], caplog: pytest.LogCaptureFixture
) -> None:
    """The first letter after it finds its place."""
    directory = tmp_path / "j"
    _leave(directory / "dead-letters.sqlite3", torn)
    async with opened(directory) as journal:
        journal.settle([ended(append(journal, cart(1)), OutcomeStatus.REJECTED)])
        await journal.sync()
    with DeadLetters(directory) as letters:
        assert letters.count().total() == 1
    assert not caplog.records


async def test_letters_that_were_never_begun_are_none(
    tmp_path: Path, torn: tuple[bytes, bytes | None]
) -> None:
    """Whoever only looks finds no letters, and changes nothing."""
    directory = tmp_path / "j"
    _leave(directory / "dead-letters.sqlite3", torn)
    with DeadLetters(directory) as letters:
        assert not letters.count()


async def test_what_stands_beside_a_whole_file_is_not_rolled_back_into_it(tmp_path: Path) -> None:
    """A rollback journal of another file is set aside with the damaged one; every row is found."""
    directory = tmp_path / "j"
    async with opened(directory) as journal:
        await committed(journal, [cart(number) for number in range(100)])
    foreign = directory / "00000001.events-journal"
    before = _rollback(is_hot=True)
    foreign.write_bytes(before)
    foreign.chmod(0o600)
    async with opened(directory) as journal:
        rows = await adopted(journal)
        assert products(rows) == [f"p{number}" for number in range(100)]
        journal.settle([ended(row.row_id) for row in rows])
        await journal.sync()
    (aside,) = directory.glob("*.damaged-journal")
    assert aside.read_bytes() == before
