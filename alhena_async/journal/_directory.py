"""The journal's directory: whose it is, which files stand in it, and who holds which of them.

    00000007.events           the events of one process, a SQLite file (with -wal and -shm)
    00000007.events-reserve   room for what has to be written when the disk has none
    00000007.lock             held with flock by the process that the file belongs to
    00000005.events.damaged   set aside; never read again, never deleted
    dead-letters.sqlite3      shared by all
    4711-1a2b3c4d.counts      what a process counts, for people: see `_reports.py`

A number is claimed by creating its lock file, which only one process can.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from alhena_async.errors import JournalError
from alhena_async.journal._locks import SAFE, Lock, fcntl, is_held, locked
from alhena_async.journal._reports import is_report

__all__ = [
    "DAMAGED",
    "LETTERS",
    "NO_ROOM",
    "Directory",
    "FullDiskError",
    "check_exists",
    "check_own_file",
    "check_own_files",
    "events_path",
    "holds_journal",
    "identity_of",
    "refused",
    "reserve_path",
    "sidecars",
    "state_of",
]

_log = logging.getLogger("alhena_async")

DAMAGED: Final = ".damaged"
NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
"""What the system says of a full disk."""
LETTERS: Final = "dead-letters.sqlite3"
_NUMBERED: Final = re.compile(r"(\d{8,18})\.(events|lock)")
_ASIDE: Final = re.compile(r".+\.damaged(\.\d+)?")
_MAX_CLAIMS: Final = 1_000
_OURS: Final = re.compile(r"\d{8,18}\.(events|lock).*|dead-letters\..*")


class FullDiskError(JournalError):
    """There is no room now. That may change by itself, unlike every other refusal."""


def events_path(directory: Path, number: int) -> Path:
    """Return where the events of a number are."""
    return directory / f"{number:08d}.events"


def sidecars(path: Path) -> tuple[Path, Path, Path]:
    """Return the files that SQLite keeps beside a database.

    Returns:
        Its log, the log's index, and what it keeps until there is a log: left only by a process
        that was killed while it made the database.
    """
    wal, shm, rollback = (path.with_name(f"{path.name}-{end}") for end in ("wal", "shm", "journal"))
    return wal, shm, rollback


def reserve_path(path: Path) -> Path:
    """Return where the room is that is kept for a file of events."""
    return path.with_name(f"{path.name}-reserve")


def identity_of(path: Path) -> tuple[int, int] | None:
    """Return which file a path leads to; None if to none."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def state_of(path: Path) -> tuple[object, ...]:
    """Return what changes as soon as a database, its log or its lock file is written."""
    found: list[object] = []
    for one in (path, *sidecars(path), reserve_path(path), path.with_suffix(".lock")):
        with contextlib.suppress(OSError):
            stat_ = one.lstat()
            found += (one, stat_.st_ino, stat_.st_size, stat_.st_mtime_ns)
    return tuple(found)


def check_own_file(path: Path) -> None:
    """Return if a path is a plain file of our own, or nothing.

    Raises:
        JournalError: It is a link or something else, or another user's.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise refused(path, error) from error
    if not stat.S_ISREG(found.st_mode):
        kind = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "no plain file"
        raise JournalError(f"{path} is {kind}, and is not touched: remove it")
    if found.st_uid != os.geteuid():
        raise JournalError(
            f"{path} belongs to user {found.st_uid}, not to this process's user "
            f"{os.geteuid()}, and is not touched: give each user a directory of its own"
        )


def check_own_files(path: Path) -> None:
    """The same of a database and of what stands beside it."""
    for one in (path, *sidecars(path), reserve_path(path)):
        check_own_file(one)


def _check_system() -> None:
    if fcntl is None:
        raise JournalError("a journal needs a POSIX system: it locks its files with flock")


def check_exists(directory: Path) -> None:
    """Return if a path leads to a directory.

    Raises:
        JournalError: It does not, or cannot be followed; or no journal can be used here.
    """
    _check_system()
    try:
        is_directory = stat.S_ISDIR(directory.stat().st_mode)
    except OSError as error:
        raise JournalError(f"{directory} cannot be read: {error.strerror}") from error
    if not is_directory:
        raise JournalError(f"{directory} is no directory")


def holds_journal(directory: str | os.PathLike[str]) -> bool:
    """Return whether anything of a journal is in a directory.

    One whose processes have all ended with nothing left is empty, as any other directory may be.

    Raises:
        JournalError: It is no directory, or cannot be read.
    """
    path = Path(directory)
    check_exists(path)
    try:
        return any(_OURS.fullmatch(one.name) for one in path.iterdir())
    except OSError as error:
        raise refused(path, error) from error


def _make_parents(path: Path) -> None:
    """Make a directory and all above it that are missing, each for its owner alone."""
    if not path.exists():
        _make_parents(path.parent)
        _make_private(path)


def _make_private(path: Path) -> None:
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
        path.chmod(0o700)  # whatever the umask


def _is_open(path: Path) -> bool:
    """Whether every user may replace what stands in a directory."""
    mode = path.stat().st_mode
    return bool(mode & stat.S_IWOTH) and not mode & stat.S_ISVTX


class Directory:
    """A directory that journals share.

    Args:
        path: Where it is; made when it is first used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._may_warn = True

    def prepare(self) -> None:
        """Make the directory, or see that the one that is there may be used.

        Raises:
            JournalError: It may not or cannot.
        """
        _check_system()
        try:
            _make_parents(self.path.parent)
            self._warn_of_parents()
            _make_private(self.path)
            self._check()
        except OSError as error:
            raise refused(self.path, error) from error

    def _warn_of_parents(self) -> None:
        """Say once which directory above lets any user put another into this one's place."""
        for parent in self.path.parents:
            if self._may_warn and _is_open(parent):
                self._may_warn = False
                _log.warning(
                    "alhena: any user may write to %s, and so replace the journal in %s: take that "
                    "permission away (chmod o-w), or choose another directory", parent, self.path,
                )  # fmt: skip

    def _check(self) -> None:
        found = self.path.lstat()
        if not stat.S_ISDIR(found.st_mode):
            kind = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "no directory"
            raise JournalError(f"{self.path} is {kind}: give the journal a directory of its own")
        if found.st_uid != os.geteuid():
            raise JournalError(
                f"{self.path} belongs to user {found.st_uid}, not to this process's user "
                f"{os.geteuid()}: give the journal a directory of its own (in a container, one "
                "inside the volume)"
            )
        if stat.S_IMODE(found.st_mode) & 0o077:
            if not all(_OURS.fullmatch(name) or is_report(name) for name in self._names()):
                raise JournalError(
                    f"{self.path} is open to other users and holds other files: give the journal "
                    "a directory of its own"
                )
            self.path.chmod(0o700)
        if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self.path))

    def claim(self, *, above: int = 0) -> Lock:
        """Take the next number for ourselves; its events file does not exist yet.

        Args:
            above: A number that is still in use, though its files may be gone.

        Raises:
            JournalError: The directory cannot be written.
        """
        try:
            for _ in range(_MAX_CLAIMS):
                number = max(above, *self._numbers(), 0) + 1
                path = self._lock_path(number)
                with contextlib.suppress(FileExistsError):
                    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | SAFE, 0o600)
                    os.fchmod(descriptor, 0o600)
                    lock = locked(number, path, descriptor)
                    if lock is not None:
                        return lock
        except OSError as error:
            raise refused(self.path, error) from error
        raise JournalError(f"{self.path}: other processes took every number; try again")

    def try_lock(self, number: int) -> Lock | None:
        """Take a number that somebody left behind; None if it is held.

        Raises:
            JournalError: The lock file is not ours, or cannot be opened.
        """
        path = self._lock_path(number)
        check_own_file(path)
        try:
            return locked(number, path, os.open(path, os.O_RDWR | os.O_CREAT | SAFE, 0o600))
        except OSError as error:
            raise refused(path, error) from error

    def numbers(self) -> list[int]:
        """Return the numbers in use, oldest first; none where the directory is missing.

        Raises:
            JournalError: The directory cannot be read.
        """
        try:
            found = {int(m[1]) for m in map(_NUMBERED.fullmatch, self._names()) if m}
        except FileNotFoundError:
            return []
        except OSError as error:
            raise refused(self.path, error) from error
        return sorted(found)

    def is_in_use(self) -> bool:
        """Return whether another process holds a number."""
        return any(is_held(self._lock_path(number), elsewhere=True) for number in self.numbers())

    def damaged(self) -> list[Path]:
        """Return the files that were set aside."""
        with contextlib.suppress(OSError):
            aside = [name for name in self._names() if _ASIDE.fullmatch(name)]
            return [self.path / name for name in sorted(aside)]
        return []

    def sync(self) -> None:
        """Put the directory's names on disk."""
        with contextlib.suppress(OSError):  # some file systems know no such thing
            descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _names(self) -> list[str]:
        return [path.name for path in self.path.iterdir()]

    def _numbers(self) -> Iterator[int]:
        """Every number that any name begins with: what is set aside keeps its own."""
        for name in self._names():
            found = _OURS.fullmatch(name) and re.match(r"\d+", name)
            if found:
                yield int(found[0])

    def _lock_path(self, number: int) -> Path:
        return self.path / f"{number:08d}.lock"


_WHAT_TO_DO: Final = {
    errno.EACCES: "let this process's user write there, or choose another directory",
    errno.EPERM: "let this process's user write there, or choose another directory",
    errno.EROFS: "the file system is read-only: choose a directory on one that is not",
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "the user's disk quota is used up: free some space",
    errno.EEXIST: "part of the path is a file: choose another directory",
    errno.ENOTDIR: "part of the path is a file: choose another directory",
    errno.ELOOP: "it is a symbolic link: choose another directory",
    errno.ENOLCK: "the file system knows no locks: choose a directory on a local disk",
    errno.ENOENT: "it is gone: was it deleted underneath?",
}


def refused(path: Path, error: OSError) -> JournalError:
    """Return what an error of the system means, with the path and what to do."""
    advice = _WHAT_TO_DO.get(error.errno or 0, "see what is wrong with the disk")
    kind = FullDiskError if error.errno in NO_ROOM else JournalError
    return kind(f"{path} cannot be used as a journal ({error.strerror}): {advice}")
