"""What `alhena doctor` says of a journal's directory: whose, on what, how full, what waits there.

It looks, and changes nothing. May block on a file system that hangs: run it in a thread.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from alhena_async.cli._findings import Finding, error, info, ok, warning
from alhena_async.cli._format import ago, plural
from alhena_async.errors import JournalError
from alhena_async.journal import JournalReport, inspect_journal

__all__ = ["file_system_of", "journal"]


def journal(path: Path) -> list[Finding]:
    """Return what is to be said of a journal's directory, whether it exists or not."""
    if not hasattr(os, "geteuid"):
        return [error("journal: it needs a POSIX system", "do without journal=, or run on Linux")]
    path = path.absolute()
    try:
        return list(_looked_at(path))
    except OSError as problem:
        why = problem.strerror or type(problem).__name__
        return [error(f"journal: {path} cannot be looked at: {why}", _ANOTHER)]


_ANOTHER: Final = "let this process's user read and write there, or choose another directory"


def _looked_at(path: Path) -> Iterator[Finding]:
    if not path.exists() and not path.is_symlink():
        yield _to_be_made(path)
        return
    whose = list(_whose(path))
    yield from whose
    yield from _room(path)
    if not whose:
        yield ok(f"journal: {path} is this user's, and can be written")
        yield from _contents(path)


def _to_be_made(path: Path) -> Finding:
    above = next(one for one in path.parents if one.exists())
    if not os.access(above, os.W_OK | os.X_OK):
        return error(
            f"journal: {path} is missing, and {above} does not let this user make it",
            f"make {path} with mode 0700 for the user that the service runs as",
        )
    return info(f"journal: {path} is not there yet: the first start makes it")


def _whose(path: Path) -> Iterator[Finding]:
    """What keeps a client from using a directory."""
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        kind = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "no directory"
        yield error(f"journal: {path} is {kind}", "give the journal a directory of its own")
        return
    if found.st_uid != os.geteuid():
        yield error(
            f"journal: {path} belongs to user {found.st_uid}, and this is user {os.geteuid()}",
            "run as the service's user, or give each user a directory of its own",
        )
        return
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        yield error(f"journal: {path} cannot be written by this user", _ANOTHER)
    if stat.S_IMODE(found.st_mode) & 0o077:
        yield warning(f"journal: {path} is open to other users", f"chmod 700 {path}")
    for parent in path.parents:
        mode = parent.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            yield warning(
                f"journal: any user may write to {parent}, and so replace the journal",
                f"chmod o-w {parent}, or choose another directory",
            )


# --- what it lies on ----------------------------------------------------------------------------

_MIB: Final = 1 << 20

_TOO_LITTLE: Final = 16 * _MIB

_LITTLE: Final = 256 * _MIB

# fmt: off
_NETWORK: Final = frozenset({
    "9p", "afs", "beegfs", "ceph", "cifs", "fuse.cephfs", "fuse.glusterfs", "fuse.s3fs",
    "fuse.sshfs", "gfs2", "lustre", "nfs", "nfs4", "ocfs2", "smb3", "smbfs",
})
# fmt: on

_FLEETING: Final = frozenset({"overlay", "ramfs", "tmpfs"})


def _room(path: Path) -> Iterator[Finding]:
    found = os.statvfs(path)
    free = found.f_bavail * found.f_frsize
    text = f"journal: {free // _MIB:,} MiB are free where {path} is"
    if found.f_flag & os.ST_RDONLY:
        yield error(f"journal: the file system of {path} is read-only", _ANOTHER)
    elif free < _TOO_LITTLE or (found.f_files and not found.f_favail):
        yield error(f"{text}: that is full", "free some space (and inodes: df -i)")
    elif free < _LITTLE:
        yield warning(text, "free some space: max_bytes of a journal is 1 GiB by default")
    else:
        yield ok(text)
    yield from _kind(path, _mounts())


def _mounts() -> str:
    try:
        return Path("/proc/self/mountinfo").read_text(errors="replace")
    except OSError:  # not Linux
        return ""


def file_system_of(path: Path, mounts: str) -> str:
    """Return the kind of file system that a path is on; empty if that is not known.

    Args:
        path: An absolute one without links.
        mounts: What `/proc/self/mountinfo` says.
    """
    best, kind = -1, ""
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        columns, types = fields.split(" "), rest.split(" ")
        if len(columns) < _COLUMNS or not types[0]:
            continue
        point = Path(columns[4].replace(r"\040", " "))
        if path.is_relative_to(point) and len(point.parts) >= best:  # the last one lies on top
            best, kind = len(point.parts), types[0]
    return kind


_COLUMNS: Final = 5


def _kind(path: Path, mounts: str) -> Iterator[Finding]:
    kind = file_system_of(path.resolve(), mounts)
    if kind in _NETWORK:
        yield error(
            f"journal: {path} is on a network file system ({kind})",
            "choose a directory on a local disk: neither SQLite's log nor flock can be relied on "
            "over a network",
        )
    elif kind in _FLEETING:
        yield info(
            f"journal: {path} is on {kind}: what it keeps ends with the machine or the container",
            "choose a directory on a disk, in a container on a volume",
        )


# --- what is in it ------------------------------------------------------------------------------


def _contents(path: Path) -> Iterator[Finding]:
    try:
        found = inspect_journal(path)
    except JournalError as problem:
        yield error(f"journal: {problem}", _ANOTHER)
        return
    yield from _unreadable(found)
    yield from _waiting(found)


def _unreadable(found: JournalReport) -> Iterator[Finding]:
    for one in found.files:
        if one.problem:
            yield warning(
                f"journal: {one.problem}",
                "start a client on the directory: it saves what can be read, and sets the file "
                "aside; if it is another user's, move it away",
            )
    if found.damaged:
        aside = plural(len(found.damaged), "file")
        yield warning(
            f"journal: {aside} set aside as damaged in {found.directory}",
            "see to the disk; what could be read was saved: delete them once you have looked",
        )
    if found.dead_letters_problem:
        yield warning(f"journal: {found.dead_letters_problem}", "see to the disk")


def _waiting(found: JournalReport) -> Iterator[Finding]:
    left = [one for one in found.files if not one.is_held and one.carts + one.checkouts]
    held = sum(one.carts + one.checkouts for one in found.files if one.is_held)
    if left:
        number = sum(one.carts + one.checkouts for one in left)
        oldest = max((one.oldest_age or 0.0 for one in left), default=0.0)
        yield warning(
            f"journal: {plural(number, 'event')} of processes that are gone, the oldest "
            f"{ago(oldest)} old, {'waits' if number == 1 else 'wait'} for a client",
            "start the service: its client of the same base URL delivers them; without it, "
            f"alhena journal deliver {found.directory} does",
        )
    if held:
        yield info(f"journal: {plural(held, 'event')} waiting in processes that are alive")
    if found.dead_letters:
        letters = plural(found.dead_letters.total(), "dead letter")
        yield info(f"journal: {letters}", f"see alhena dead-letters list {found.directory}")
