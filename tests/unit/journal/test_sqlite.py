"""A file that several processes open: each judges one state of it, whatever the others do."""

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alhena_async.journal import _dead_letters as letters
from alhena_async.journal import _event_file as events
from alhena_async.journal import _sqlite


def _marked(kind: _sqlite.FileKind, path: Path) -> None:
    """What stands there when its maker has said what kind of file it is, and no more."""
    kind.make(path)
    with contextlib.closing(_sqlite.connect(path)) as connection:
        connection.execute(f"PRAGMA application_id = {kind.application_id}")


def _brought_up(kind: _sqlite.FileKind, path: Path) -> None:
    with contextlib.closing(_sqlite.connect(path, busy_timeout=5)) as connection:
        kind.bring_up(connection)


@pytest.mark.parametrize("kind", [letters.KIND, events.KIND], ids=["letters", "events"])
@pytest.mark.parametrize("read", ["_number", "_tables"])
@pytest.mark.parametrize("place", range(3))
def test_a_file_that_another_process_begins_meanwhile_is_no_damaged_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: _sqlite.FileKind, read: str, place: int
) -> None:
    """After whichever read of ours it is begun: it is empty or begun, as it was at the first."""
    path = tmp_path / "file"
    _marked(kind, path)
    reads = 0
    original: Callable[..., Any] = getattr(_sqlite, read)

    def and_begin(*args: Any) -> Any:
        nonlocal reads
        reads += 1
        found = original(*args)
        if reads == place + 1:
            monkeypatch.setattr(_sqlite, read, original)
            _brought_up(kind, path)
        return found

    monkeypatch.setattr(_sqlite, read, and_begin)
    opened = kind.open(path, begin=True, busy_timeout=5)
    assert opened is not None
    with contextlib.closing(opened):
        assert _sqlite._version(opened) == len(kind.migrations)


@pytest.mark.parametrize("kind", [letters.KIND, events.KIND], ids=["letters", "events"])
def test_a_file_that_another_process_brings_up_meanwhile_is_no_damaged_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: _sqlite.FileKind
) -> None:
    """Its number and its tables are of one version."""
    path = tmp_path / "file"
    _marked(kind, path)
    with contextlib.closing(_sqlite.connect(path)) as connection:
        _sqlite.migrate(connection, kind.migrations[:-1])
    original = _sqlite._tables

    def after_it_was_brought_up(connection: sqlite3.Connection) -> Any:
        monkeypatch.undo()
        _brought_up(kind, path)
        return original(connection)

    monkeypatch.setattr(_sqlite, "_tables", after_it_was_brought_up)
    opened = kind.open(path, begin=True, busy_timeout=5)
    assert opened is not None
    opened.close()
