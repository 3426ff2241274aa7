"""The files that a process writes, one after another: how each begins, and how it is left."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from alhena_async.journal._birth import Birth
from alhena_async.journal._directory import Directory, events_path
from alhena_async.journal._file import EventFile, remove
from alhena_async.journal._locks import Lock
from alhena_async.journal._salvage import set_aside
from alhena_async.journal._schema import translated
from alhena_async.journal._settings import Settings

__all__ = ["begin_file", "leave_file"]


def begin_file(
    directory: Directory, destination: str, settings: Settings, *, above: int = 0
) -> tuple[Lock, EventFile]:
    """Claim a number and begin its file.

    Args:
        directory: Where.
        destination: Whose events.
        settings: How they are kept.
        above: The number of the file that this one follows; 0: it is the first.

    Raises:
        JournalError: The disk refused; nothing is left behind.
    """
    lock = directory.claim(above=above)
    path = events_path(directory.path, lock.number)
    try:
        birth = Birth.now(destination)
        lock.note(birth.facts())
        file = EventFile.create(
            path, birth, synchronous=settings.synchronous, max_bytes=settings.max_bytes
        )
        directory.sync()
    except BaseException as error:
        lock.release(remove=True)
        if isinstance(error, sqlite3.Error | OSError):
            raise translated(path, error) from error
        raise
    return lock, file


def leave_file(old: EventFile, *, damaged: bool) -> Path | None:
    """Close a file that is not used any more; return its new name if it is kept."""
    with contextlib.suppress(sqlite3.Error):
        old.close()
    if old.path.exists() and (damaged or not old.is_ours()):
        return set_aside(old.path)
    remove(old.path)
    return None
