"""What a journal's directory holds, for people: read only, and without disturbing who writes."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections import Counter
from pathlib import Path

import attrs

from alhena_async.errors import JournalError
from alhena_async.journal._clock import ClockReading, age_of
from alhena_async.journal._dead_letters import BUSY_TIMEOUT, DeadLetters
from alhena_async.journal._directory import (
    Directory,
    check_exists,
    check_own_file,
    events_path,
    reserve_path,
    sidecars,
)
from alhena_async.journal._event_file import KIND, FileHeader, gone_among
from alhena_async.journal._locks import is_held, noted
from alhena_async.journal._reserve import notes_beside
from alhena_async.journal._sqlite import DamagedError, check_structure, to_journal_error

__all__ = ["FileReport", "JournalReport", "inspect_journal"]


@attrs.frozen(kw_only=True)
class FileReport:
    """One file of events."""

    path: Path
    is_held: bool
    """A process holds it: its own, or one that has adopted it."""
    bytes: int
    """With what stands beside it."""
    pid: int | None = None
    """The process that began it; None if that cannot be read."""
    destination: str | None = None
    """The base URL that its events are meant for; None if that cannot be read."""
    begun: float | None = None
    """When, in seconds since the epoch; None if that cannot be read."""
    carts: int = 0
    checkouts: int = 0
    oldest_age: float | None = None
    """Seconds since its oldest event was accepted; None without any."""
    problem: str | None = None
    """Why it cannot be read."""


@attrs.frozen(kw_only=True)
class JournalReport:
    """What a journal's directory holds."""

    directory: Path
    files: tuple[FileReport, ...]
    """Files of events, oldest first."""
    damaged: tuple[Path, ...]
    """Files that were set aside."""
    dead_letters: Counter[tuple[str, str | None]]
    """How many there are, by status and code."""
    dead_letters_problem: str | None = None
    """Why they cannot be read."""


def inspect_journal(directory: str | os.PathLike[str]) -> JournalReport:
    """Look at a journal's directory, also while processes use it: nothing is changed.

    Blocks on the disk; where an event loop runs, call it in a thread (`asyncio.to_thread`).

    Args:
        directory: Which.

    Raises:
        JournalError: It is no directory, or cannot be read.
    """
    path = Path(directory)
    check_exists(path)
    now = ClockReading.now()
    numbers = Directory(path).numbers()
    files = [_look_at(events_path(path, number), now) for number in numbers]
    letters, problem = Counter[tuple[str, str | None]](), None
    try:
        with DeadLetters(path, busy_timeout=BUSY_TIMEOUT) as dead_letters:
            letters = dead_letters.count()
    except JournalError as error:
        problem = str(error)
    return JournalReport(
        directory=path,
        files=tuple(one for one in files if one is not None),
        damaged=tuple(Directory(path).damaged()),
        dead_letters=letters,
        dead_letters_problem=problem,
    )


def _look_at(path: Path, now: ClockReading) -> FileReport | None:
    size = _size(path)
    if size is None:
        return None
    lock = path.with_suffix(".lock")
    bare = FileReport(path=path, is_held=is_held(lock), bytes=size)
    try:
        check_own_file(path)
        connection = KIND.open(path, read_only=True)
        if connection is None:
            return bare
        with contextlib.closing(connection):
            check_structure(connection)
            return _read(connection, now, bare)
    except (JournalError, DamagedError, sqlite3.Error, OSError, ValueError) as error:
        bare = attrs.evolve(bare, problem=str(to_journal_error(path, error, "read")))
        with contextlib.suppress(DamagedError):
            return _said_by(FileHeader.of(noted(lock)), bare)
        return bare


def _said_by(header: FileHeader, bare: FileReport) -> FileReport:
    return attrs.evolve(
        bare, pid=header.pid, destination=header.destination, begun=header.anchor.wall
    )


def _size(path: Path) -> int | None:
    """How much a file and what stands beside it take; None if it is not there."""
    try:
        size = path.lstat().st_size
    except OSError:
        return None
    for one in (*sidecars(path), reserve_path(path)):
        with contextlib.suppress(OSError):
            size += one.lstat().st_size
    return size


def _read(connection: sqlite3.Connection, now: ClockReading, bare: FileReport) -> FileReport:
    header = FileHeader.of(dict(connection.execute("SELECT name, value FROM about").fetchall()))
    carts, checkouts, oldest = connection.execute(
        "SELECT count(*) - coalesce(sum(kind), 0), coalesce(sum(kind), 0), min(accepted) FROM rows"
        " WHERE id NOT IN (SELECT value FROM json_each(?))",
        (json.dumps(gone_among(connection, notes_beside(bare.path))),),
    ).fetchone()
    age = None
    if oldest is not None:
        age = max(age_of(oldest / 1e6, anchor=header.anchor, now=now), 0.0)
    return attrs.evolve(_said_by(header, bare), carts=carts, checkouts=checkouts, oldest_age=age)
