"""Promises of the journal that no other test would have missed."""

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import pytest

from alhena_async import JournalError, OutcomeStatus
from alhena_async.journal._directory import Directory
from alhena_async.journal._event_file import EventFile, FileHeader
from alhena_async.journal._locks import SAFE, locked
from alhena_async.journal._models import Settings
from alhena_async.journal._salvage import set_aside
from alhena_async.journal._writer import Writer
from tests.journals import (
    DESTINATION,
    adopted,
    cart,
    checkpoint,
    committed,
    ended,
    files_in,
    left_in,
    letters_in,
    opened,
)


@pytest.mark.parametrize(("synchronous", "scale"), [("FULL", 2), ("NORMAL", 1)])
def test_full_syncs_every_commit(tmp_path: Path, synchronous: str, scale: int) -> None:
    """It is what survives a power cut; NORMAL leaves it to the system."""
    file = EventFile.create(
        tmp_path / "x.events", FileHeader.now(DESTINATION), synchronous=synchronous
    )
    assert file._connection.execute("PRAGMA synchronous").fetchone() == (scale,)
    assert file._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    file.close()


async def test_what_was_delivered_is_overwritten_in_the_file(tmp_path: Path) -> None:
    """For privacy's sake, and so that no damaged page holds rows that were settled."""
    async with opened(tmp_path / "j") as journal:
        row_ids = await committed(journal, [cart(0, name="A certain name"), cart(1)])
        (path,) = files_in(tmp_path / "j")
        checkpoint(path)
        assert b"A certain name" in path.read_bytes()
        journal.settle([ended(row_ids[0])])
        await journal.sync()
        checkpoint(path)
        assert b"A certain name" not in path.read_bytes()


async def test_a_deletion_in_an_adopted_file_is_tried_again(tmp_path: Path) -> None:
    """Somebody has locked the file for a moment: what was delivered does not come back."""
    async with opened(tmp_path / "j") as journal:
        await committed(journal, [cart(0), cart(1)])
    async with opened(tmp_path / "j") as journal:
        rows = await adopted(journal)
        (tmp_path / "j" / "00000001.events-reserve").unlink()  # it would be noted there
        other = sqlite3.connect(tmp_path / "j" / "00000001.events", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        journal.settle([ended(rows[0].row_id)])
        with pytest.raises(JournalError):
            await journal.sync()
        other.execute("ROLLBACK")
        other.close()
        await journal.sync()
    assert len(await left_in(tmp_path / "j")) == 1


def make_writer(directory: Path) -> Writer:
    """Return a writer whose thread does not run."""
    settings = Settings(
        synchronous="FULL", max_rows=10, max_bytes=1 << 20, dead_letter_limit=10,
        dead_letter_age=1e6, dead_letter_bytes=1 << 20,
    )  # fmt: skip
    return Writer(Directory(directory), DESTINATION, settings, lambda _: None)


def test_the_writer_says_that_it_is_idle_before_it_looks(tmp_path: Path) -> None:
    """Who submits in between would otherwise wake nobody."""
    writer, seen = make_writer(tmp_path), list[bool]()

    class Looked(deque[Any]):
        def __bool__(self) -> bool:
            seen.append(writer.is_idle)
            return True

    writer.commands = Looked()
    writer._wait()
    assert seen == [True]
    assert not writer.is_idle


def test_an_answer_speaks_for_what_was_submitted_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands are taken first: what came before them is then taken as well, whoever submits."""
    writer, order = make_writer(tmp_path), list[str]()

    class Taken(deque[Any]):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def __len__(self) -> int:
            order.append(self.name)
            return 0

    for name in ("commands", "settled", "appended"):
        monkeypatch.setattr(writer, name, Taken(name))
    writer._turn()
    assert [*dict.fromkeys(order)] == ["commands", "settled", "appended"]


def test_a_lock_file_that_was_removed_locks_nothing(tmp_path: Path) -> None:
    """Its number may be another's by now, with a lock file of its own."""
    path = tmp_path / "00000001.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | SAFE, 0o600)
    path.unlink()
    assert locked(1, path, descriptor) is None


def test_the_log_is_renamed_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Left behind by a crash in between, it would be read into the next file of this name."""
    path = tmp_path / "x.events"
    beside = ["x.events-wal", "x.events-shm", "x.events-journal"]
    for name in ("x.events", *beside):
        (tmp_path / name).touch()
    names, rename = list[str](), Path.rename

    def noted(self: Path, target: Path) -> Path:
        names.append(self.name)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", noted)
    set_aside(path)
    assert names == [*beside, "x.events"]


async def test_a_file_that_was_replaced_underneath_is_not_deleted(tmp_path: Path) -> None:
    """It is somebody's, and a journal with nothing left deletes its own only."""
    async with opened(tmp_path / "j") as journal:
        (row_id,) = await committed(journal, [cart(0)])
        journal.settle([ended(row_id)])
        await journal.sync()
        (path,) = files_in(tmp_path / "j")
        shutil.copy(path, tmp_path / "other")
        content = path.read_bytes()
        (tmp_path / "other").replace(path)
    assert path.read_bytes() == content


async def test_a_clock_that_stands_weeks_ahead_deletes_nobodys_letters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one process: the disk's clock speaks as well, and the earlier one counts."""
    async with opened(tmp_path / "j") as journal:
        journal.settle([ended(None, OutcomeStatus.REJECTED)])
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 31 * 86_400)
    async with opened(tmp_path / "j") as journal:
        journal.settle([ended(None, OutcomeStatus.REJECTED)])
        await journal.sync()
        journal.settle([ended(None, OutcomeStatus.REJECTED)])
    monkeypatch.undo()
    assert len(letters_in(tmp_path / "j")) == 3


def test_codecs_are_looked_up_at_import() -> None:
    """Python reads them from the disk, on the event loop if need be, and a disk may stand still."""
    script = (
        "import sys, codecs; import alhena_async; looked_up = []\n"
        "codecs.register(lambda name: looked_up.append(name))\n"
        "before = set(sys.modules)\n"
        "from alhena_async._replies import read\n"
        "read(b'{}' + bytes(900), '')\n"
        "new = set(sys.modules) - before\n"
        "print([name for name in new if name.startswith('encodings')], looked_up)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[] []"
