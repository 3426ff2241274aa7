"""What a journal's directory holds, for people: read only, and without disturbing who writes."""

from __future__ import annotations

import contextlib
import sqlite3
import stat
from collections import Counter
from pathlib import Path

import attrs

from alhena_async.errors import JournalError
from alhena_async.journal._clock import ClockReading, age_of
from alhena_async.journal._dead_letters import DeadLetterFilter, DeadLetterStore, letters_path
from alhena_async.journal._directory import Directory, check_own_file, events_path, sidecars
from alhena_async.journal._event_file import FileHeader
from alhena_async.journal._locks import is_held, noted
from alhena_async.journal._sqlite import DamagedError, connect, to_journal_error

__all__ = ["FileReport", "JournalReport", "inspect_journal", "open_letters"]


@attrs.frozen(kw_only=True)
class FileReport:
    """One file of events."""

    path: Path
    is_held: bool
    """A process holds it: its own, or one that has adopted it."""
    bytes: int
    """With what stands beside it."""
    header: FileHeader | None = None
    """What it says of itself; None if that cannot be read."""
    carts: int = 0
    checkouts: int = 0
    oldest_age: float | None = None
    """Seconds since its oldest event was accepted; None without any."""
    problem: str | None = None
    """Why it cannot be read."""


@attrs.frozen(kw_only=True)
class JournalReport:
    """A directory."""

    directory: Path
    files: tuple[FileReport, ...]
    damaged: tuple[Path, ...]
    """Files that were set aside."""
    letters: Counter[tuple[str, str | None]]
    """Dead letters by status and code."""
    letters_problem: str | None = None
    """Why they cannot be read."""


def inspect_journal(path: Path) -> JournalReport:
    """Look at a directory.

    Raises:
        JournalError: It is none, or cannot be read.
    """
    directory = _existing(path)
    now = ClockReading.now()
    files = [_look_at(events_path(path, number), now) for number in directory.numbers()]
    letters, problem = Counter[tuple[str, str | None]](), None
    try:
        letters = _letter_counts(path)
    except (JournalError, DamagedError, sqlite3.Error, OSError) as error:
        problem = _why(letters_path(path), error)
    return JournalReport(
        directory=path,
        files=tuple(one for one in files if one is not None),
        damaged=tuple(directory.damaged()),
        letters=letters,
        letters_problem=problem,
    )


def open_letters(path: Path, *, to_write: bool = False) -> DeadLetterStore | None:
    """Open the dead letters of a directory; None if there are none.

    Args:
        path: The directory, which must exist.
        to_write: Also to note and to purge. Default: only to read.

    Raises:
        JournalError: They cannot be opened; the message says why.
    """
    _existing(path)
    try:
        store = DeadLetterStore.look_into(path)
        if store is None or not to_write:
            return store
        store.close()
        return DeadLetterStore.open(path, busy_timeout=_PATIENCE)
    except (DamagedError, sqlite3.Error, OSError) as error:
        raise JournalError(_why(letters_path(path), error)) from error


_PATIENCE = 10.0
"""Seconds that a command waits for a journal that writes a letter just then."""


def _existing(path: Path) -> Directory:
    try:
        is_directory = stat.S_ISDIR(path.stat().st_mode)
    except OSError as error:
        raise JournalError(f"{path} cannot be read: {error.strerror}") from error
    if not is_directory:
        raise JournalError(f"{path} is no directory")
    return Directory(path)


def _look_at(path: Path, now: ClockReading) -> FileReport | None:
    size = _size(path)
    if size is None:
        return None
    lock = path.with_suffix(".lock")
    bare = FileReport(path=path, is_held=is_held(lock), bytes=size)
    try:
        check_own_file(path)
        connection = connect(path, read_only=True)
        try:
            return _read(connection, now, bare)
        finally:
            connection.close()
    except (JournalError, DamagedError, sqlite3.Error, OSError) as error:
        header = None
        with contextlib.suppress(DamagedError):
            header = FileHeader.of(noted(lock))
        return attrs.evolve(bare, header=header, problem=_why(path, error))


def _size(path: Path) -> int | None:
    """How much a file and what stands beside it take; None if it is not there."""
    try:
        size = path.lstat().st_size
    except OSError:
        return None
    for one in sidecars(path):
        with contextlib.suppress(OSError):
            size += one.lstat().st_size
    return size


def _read(connection: sqlite3.Connection, now: ClockReading, bare: FileReport) -> FileReport:
    header = FileHeader.of(dict(connection.execute("SELECT name, value FROM about").fetchall()))
    carts, checkouts, oldest = connection.execute(
        "SELECT count(*) - coalesce(sum(kind), 0), coalesce(sum(kind), 0), min(accepted) FROM rows"
    ).fetchone()
    age = None
    if oldest is not None:
        age = max(age_of(oldest / 1e6, anchor=header.anchor, now=now), 0.0)
    return attrs.evolve(bare, header=header, carts=carts, checkouts=checkouts, oldest_age=age)


def _letter_counts(path: Path) -> Counter[tuple[str, str | None]]:
    store = DeadLetterStore.look_into(path)
    if store is None:
        return Counter()
    try:
        return store.counts(DeadLetterFilter())
    finally:
        store.close()


def _why(path: Path, error: Exception) -> str:
    if isinstance(error, DamagedError):
        return f"{path} is damaged: {error}"
    if isinstance(error, sqlite3.Error):
        return str(to_journal_error(path, error)).replace("cannot be written", "cannot be read")
    return str(to_journal_error(path, error))
