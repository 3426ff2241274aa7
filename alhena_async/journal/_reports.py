"""What each process tells of itself in the journal's directory: counts, and outcomes on request.

    4711-1a2b3c4d.counts     what process 4711 counts; held with flock as long as it lives
    4711-1a2b3c4d.outcomes   its latest outcomes, only while somebody watches
    815-5e6f7a8b.watching    held with flock by whoever watches

Nothing of it is needed to deliver anything, nothing in it is of a person, and whatever goes wrong
with it goes wrong here alone.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from alhena_async.journal._locks import SAFE, Lock, is_held, locked

__all__ = [
    "COUNTS",
    "MAX_OUTCOMES_BYTES",
    "OUTCOMES",
    "VERSION",
    "Report",
    "Watch",
    "is_report",
    "names_of",
    "prune",
    "seal_of",
]

_log = logging.getLogger("alhena_async")

VERSION: Final = 1
"""Of the counts file. A reader knows its own version, and says so of a newer one."""

COUNTS: Final = ".counts"

OUTCOMES: Final = ".outcomes"

_WATCHING: Final = ".watching"

_NAME: Final = re.compile(r"[1-9]\d{0,9}-[0-9a-f]{8}\.(counts|outcomes|watching)")

_COUNTS_BYTES: Final = 4_096
"""A file is as large from its first write on, so that a disk that is full later takes the rest."""

MAX_OUTCOMES_BYTES: Final = 512 * 1024
"""Of one process's latest outcomes; then it begins a new file in its place."""

_MOST_ENDED: Final = 64
"""Processes that are gone, whose counts are kept at most."""

_LONGEST: Final = 7 * 86_400.0
"""Seconds for which they are."""


def is_report(name: str) -> bool:
    """Return whether a name in the directory is one of these."""
    return _NAME.fullmatch(name) is not None


def names_of(directory: Path, ending: str) -> list[str]:
    """Return the names with an ending, in a directory that may be gone by now."""
    with contextlib.suppress(OSError):
        return sorted(path.name for path in directory.iterdir() if _ends(path.name, ending))
    return []


def _ends(name: str, ending: str) -> bool:
    return name.endswith(ending) and is_report(name)


def seal_of(counts: Mapping[str, Any]) -> str:
    """Return the checksum of counts: one who reads while they are written over sees it differ."""
    return f"{zlib.crc32(_json(counts)):08x}"


def _json(counts: Mapping[str, Any]) -> bytes:
    return json.dumps(counts, separators=(",", ":")).encode()


class Report:
    """The files of this process. Used on the journal's thread alone; nothing is raised.

    Args:
        directory: The journal's.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._begun = time.time()
        self._counts: Lock | None = None
        self._is_written = False
        """The file of counts is more than a name."""
        self._outcomes: _Outcomes | None = None

    def write(
        self,
        counts: Mapping[str, Any],
        outcomes: Sequence[Mapping[str, Any]] = (),
        *,
        is_last: bool = False,
    ) -> bool:
        """Put down what there is to tell.

        Args:
            counts: As they are now; they take the place of the earlier ones.
            outcomes: What ended since the last time, oldest first.
            is_last: The process is done: say so, and let go.

        Returns:
            Whether somebody watches, who wants to see outcomes.
        """
        try:
            self._put(counts, is_last=is_last)
            is_watched = any(_watchers(self._directory))
            self._add(outcomes, is_watched=is_watched and not is_last)
        except Exception as error:  # noqa: BLE001  the events' own files tell of the disk
            _log.debug("alhena: counts in %s: %s", self._directory, type(error).__name__)
            return False
        return is_watched

    @property
    def name(self) -> str | None:
        """What tells this client from all others in the directory; None without a file."""
        return None if self._counts is None else self._counts.path.stem

    def release(self) -> None:
        """Let go of what is held, as the process does by dying."""
        if self._counts is not None:
            self._counts.release(remove=False)
        if self._outcomes is not None:
            self._outcomes.end()
            self._outcomes = None

    def _put(self, counts: Mapping[str, Any], *, is_last: bool) -> None:
        if self._counts is None or not self._counts.is_in_place():
            self._counts = self._hold()
        said = {
            "version": VERSION,
            "pid": os.getpid(),
            "begun": self._begun,
            "at": time.time(),
            "ended": is_last,
            **counts,
        }
        content = _json({**said, "seal": seal_of(said)})
        if len(content) >= _COUNTS_BYTES:
            raise ValueError("counts are longer than their file")
        try:
            self._counts.overwrite(content.ljust(_COUNTS_BYTES - 1) + b"\n")
        except OSError:
            self._counts.release(remove=not self._is_written)
            raise
        self._is_written = True
        if is_last:
            self._counts.release(remove=False)

    def _hold(self) -> Lock:
        if self._counts is not None:
            self._counts.release(remove=False)  # it was deleted underneath
        prune(self._directory)
        self._is_written = False
        return _held(self._directory, COUNTS)

    def _add(self, outcomes: Sequence[Mapping[str, Any]], *, is_watched: bool) -> None:
        if is_watched and self._outcomes is None and self._counts is not None:
            self._outcomes = _Outcomes(self._counts.path.with_suffix(OUTCOMES))
        if self._outcomes is not None:
            now = time.time()
            self._outcomes.add(b"".join(_json({"at": now, **one}) + b"\n" for one in outcomes))
            if not is_watched:
                self._outcomes.end()
                self._outcomes = None


class _Outcomes:
    """Lines in a file that never grows beyond its bound.

    A full one is replaced by a new one: who has the old one open reads it to its end first.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = self._open()

    def _open(self) -> int:
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | SAFE
        self._size = 0
        descriptor = os.open(self._path, flags, 0o600)
        os.fchmod(descriptor, 0o600)
        return descriptor

    def add(self, lines: bytes) -> None:
        """Add lines, whole ones; of more than the bound, none."""
        if not lines or len(lines) > MAX_OUTCOMES_BYTES:
            return
        if self._size + len(lines) > MAX_OUTCOMES_BYTES:
            os.close(self._descriptor)
            self._descriptor = self._open()
        self._size += os.write(self._descriptor, lines)

    def end(self) -> None:
        """Remove the file: nobody watches any more."""
        os.close(self._descriptor)
        with contextlib.suppress(OSError):
            self._path.unlink()


class Watch:
    """Has every process of a directory write its outcomes, until it is closed.

    Args:
        directory: The journal's.

    Raises:
        OSError: The directory cannot be written.
    """

    def __init__(self, directory: Path) -> None:
        self._lock = _held(directory, _WATCHING)

    def close(self) -> None:
        """Let them stop."""
        self._lock.release(remove=True)


def _held(directory: Path, ending: str) -> Lock:
    """Make a file of this process's own, and hold it."""
    path = directory / f"{os.getpid()}-{os.urandom(4).hex()}{ending}"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | SAFE, 0o600)
    os.fchmod(descriptor, 0o600)  # whatever the umask
    if os.geteuid() == 0:  # so that those whose directory it is can look at it
        owner = directory.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    lock = locked(0, path, descriptor)
    if lock is None:  # somebody had a look at it in this very moment
        with contextlib.suppress(OSError):
            path.unlink()
        raise BlockingIOError(f"{path} is locked already")
    return lock


def _watchers(directory: Path) -> Iterator[str]:
    return (name for name in names_of(directory, _WATCHING) if is_held(directory / name))


def prune(directory: Path) -> None:
    """Remove what dead processes left, but for the counts of the latest."""
    gone: list[tuple[float, Path]] = []
    living: set[str] = set()
    for path in (directory / name for name in names_of(directory, "")):
        if path.suffix != OUTCOMES and is_held(path):
            living.add(path.stem)
        elif path.suffix == COUNTS:
            with contextlib.suppress(OSError):
                gone.append((path.lstat().st_mtime, path))
        elif path.stem not in living:  # its counts come before it, by name
            _remove(path)
    oldest = time.time() - _LONGEST
    for place, (written, path) in enumerate(sorted(gone, reverse=True)):
        if place >= _MOST_ENDED or written < oldest:
            _remove(path)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
