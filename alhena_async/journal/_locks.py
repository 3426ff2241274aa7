"""Locks that a process holds until it dies: flock's, on files of their own.

Not POSIX record locks, which do not exclude within one process and end with any close.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

try:
    import fcntl
except ImportError:  # pragma: no cover  Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["SAFE", "Lock", "exclusively", "fcntl", "is_held", "locked", "noted", "read_object"]

SAFE: Final = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
"""How a lock file is opened: no link is followed, and no program that is started inherits it."""
_NOTE: Final = 65_536

_held: set[int] = set()
"""Descriptors of the locks that this process holds."""


def _let_go_in_child() -> None:
    # A flock belongs to the open file: a child that kept it would keep a dead parent's file.
    for descriptor in _held:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_in_child)


class Lock:
    """Holds a number of the directory until it is released, or the process dies.

    Args:
        number: Which.
        path: Its lock file.
        descriptor: The open file that flock holds.
    """

    def __init__(self, number: int, path: Path, descriptor: int) -> None:
        self.number = number
        self.path = path
        self._descriptor = descriptor
        _held.add(descriptor)

    def is_in_place(self) -> bool:
        """Return whether the lock file is still the one that is held."""
        return _is_same_file(self._descriptor, self.path)

    def note(self, facts: Mapping[str, str]) -> None:
        """Write into the lock file what its holder's file says of itself."""
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, json.dumps(facts).encode(), 0)

    def overwrite(self, content: bytes) -> None:
        """Put bytes at the beginning of the lock file, with one call of the system."""
        os.pwrite(self._descriptor, content, 0)

    def noted(self) -> dict[str, str]:
        """Return what is written in the lock file; nothing if that makes no sense."""
        return noted(self.path)

    def release(self, *, remove: bool) -> None:
        """Let go. Idempotent.

        Args:
            remove: Delete the lock file first: nothing is left that it would guard.
        """
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0 or descriptor not in _held:
            return
        if remove and _is_same_file(descriptor, self.path):
            with contextlib.suppress(OSError):
                self.path.unlink()
        _held.discard(descriptor)
        os.close(descriptor)


def locked(number: int, path: Path, descriptor: int) -> Lock | None:
    """Lock an open lock file; None if another holds it or has just removed it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_same_file(descriptor, path):
            return Lock(number, path, descriptor)
    except BlockingIOError:
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        held, there = os.fstat(descriptor), path.lstat()
    except OSError:
        return False
    return (held.st_dev, held.st_ino) == (there.st_dev, there.st_ino)


@contextlib.contextmanager
def exclusively(path: Path) -> Iterator[None]:
    """Hold a lock file for a moment.

    Args:
        path: The file, made where it is missing.

    Raises:
        OSError: It cannot be locked, or another holds it: nobody waits, since that one may stand
            still for ever.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | SAFE, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def is_held(path: Path, *, elsewhere: bool = False) -> bool:
    """Return whether some process holds a lock file. Looks for a moment, and changes nothing.

    Args:
        path: The lock file.
        elsewhere: Another process than this one.
    """
    if elsewhere and any(_is_same_file(descriptor, path) for descriptor in _held):
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | SAFE)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def noted(path: Path) -> dict[str, str]:
    """Return what a lock file says; nothing if that makes no sense."""
    found = read_object(path, _NOTE)
    return {name: text for name, text in found.items() if isinstance(text, str)}


def read_object(path: Path, most: int) -> dict[str, Any]:
    """Return the JSON object in a small file that anybody may have written; else an empty one.

    Args:
        path: No link is followed, and no pipe waited for.
        most: Bytes that are read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | SAFE)
        try:
            found = json.loads(os.read(descriptor, most))
        finally:
            os.close(descriptor)
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
