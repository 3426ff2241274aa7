"""Room kept beside a file of events, for what has to be written when the disk has none.

    0         64 KiB     128 KiB               256 KiB
    |  notes  |  notes   |  room that is lent  |

Notes say which rows have ended and which were sent, where the tables cannot be told. They are
written in place, so that nobody else can take their room, and whole each time, into one half and
the other in turn, so that a kill in between leaves what was noted before. The rest is given back to
the disk where SQLite itself needs a little: to open the file, or to begin the next one.
"""

from __future__ import annotations

import errno
import json
import os
import struct
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import attrs

from alhena_async.journal._directory import reserve_path
from alhena_async.journal._locks import SAFE
from alhena_async.journal.protocol import SendMark

__all__ = ["RESERVE_BYTES", "Notes", "Reserve", "RowSet", "notes_beside"]

_HALF_BYTES: Final = 64 * 1024
_NOTES_BYTES: Final = 2 * _HALF_BYTES
RESERVE_BYTES: Final = 256 * 1024
"""Bytes of a reserve that is whole."""

_HEAD: Final = struct.Struct("<8sQII")
"""Mark, number of the writing, length and checksum of what follows."""
_MARK: Final = b"ALHNOTES"
_MAX_BYTES: Final = 16 * 1024 * 1024
"""Bytes of notes, unpacked: a bit for each row."""


class RowSet:
    """Ids of rows, a bit each: few or a million of them, at random or in a row, pack well."""

    __slots__ = ("bits", "first")

    def __init__(self, first: int = 0, bits: bytes = b"") -> None:
        self.first = first
        """The id of the first bit."""
        self.bits = bytearray(bits)

    def add(self, ids: Iterable[int]) -> None:
        """Add ids.

        Raises:
            OSError: They lie too far apart for any sound file; nothing was added.
        """
        wanted = list(ids)
        if wanted:
            self._reach(min(wanted), max(wanted))
        for id_ in wanted:
            place = id_ - self.first
            self.bits[place >> 3] |= 1 << (place & 7)

    def _reach(self, least: int, most: int) -> None:
        first = min(least, self.first) if self.bits else least
        if max(most, self.first + 8 * len(self.bits)) - first > 8 * _MAX_BYTES:
            raise OSError(errno.EFBIG, "rows lie too far apart for the reserve")
        if not self.bits:
            self.first = least
        missing = -((least - self.first) // 8)
        if missing > 0:
            self.bits[:0] = bytes(missing)
            self.first -= 8 * missing
        self.bits.extend(bytes(max(0, (most - self.first) // 8 + 1 - len(self.bits))))

    def __contains__(self, id_: object) -> bool:
        if not isinstance(id_, int):
            return False
        byte, bit = divmod(id_ - self.first, 8)
        return 0 <= byte < len(self.bits) and bool(self.bits[byte] >> bit & 1)

    def __bool__(self) -> bool:
        return bool(self.bits)


@attrs.define
class Notes:
    """What the tables are yet to be told."""

    gone: RowSet = attrs.field(factory=RowSet)
    """Rows that have ended."""
    marks: dict[int, SendMark] = attrs.field(factory=dict)
    """What guarded rows are, by id."""

    def __bool__(self) -> bool:
        return bool(self.gone or self.marks)

    def packed(self) -> bytes:
        """Return them as bytes."""
        marks = {id_: int(mark) for id_, mark in self.marks.items()}
        head = json.dumps({"first": self.gone.first, "marks": marks}).encode()
        return zlib.compress(head + b"\n" + self.gone.bits)

    @classmethod
    def unpacked(cls, packed: bytes) -> Notes:
        """Read them.

        Raises:
            ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError,
                zlib.error: They are none.
        """
        text = zlib.decompressobj().decompress(packed, _MAX_BYTES)
        head, _, bits = text.partition(b"\n")
        said = json.loads(head)
        marks = {int(id_): SendMark(mark) for id_, mark in said["marks"].items()}
        return cls(RowSet(int(said["first"]), bits), marks)


class Reserve:
    """The reserve of one file of events, and what is noted in it.

    Args:
        path: The file of events.
        syncs: What is noted survives a power cut.
    """

    def __init__(self, path: Path, *, syncs: bool) -> None:
        self.path = reserve_path(path)
        self._syncs = syncs
        self.notes, self._number = _found(self.path)

    @property
    def is_whole(self) -> bool:
        """Whether it is there, in full size."""
        return _size(self.path) >= RESERVE_BYTES

    def make(self, *, leaving: int = RESERVE_BYTES) -> None:
        """Make it, or make it whole again.

        Args:
            leaving: Bytes of the disk that must be left to others then.

        Raises:
            OSError: The disk has no room for it.
        """
        before = _size(self.path)
        if before >= RESERVE_BYTES:
            return
        disk = os.statvfs(self.path.parent)
        if disk.f_bavail * disk.f_frsize < RESERVE_BYTES - before + leaving:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        try:
            self._fill(before)
        except OSError:
            _cut(self.path, before)
            raise

    def _fill(self, start: int) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | SAFE, 0o600)
        try:
            os.fchmod(descriptor, 0o600)
            # Written and not only claimed: not every file system has room for what is claimed.
            while start < RESERVE_BYTES:
                start += os.pwrite(descriptor, bytes(RESERVE_BYTES - start), start)
        finally:
            os.close(descriptor)

    def lend(self) -> bool:
        """Give the disk what is not for notes; return whether that was anything."""
        if _size(self.path) <= _NOTES_BYTES:
            return False
        _cut(self.path, _NOTES_BYTES)
        return True

    def note(self, marks: Mapping[int, SendMark], gone: Iterable[int]) -> None:
        """Add to the notes.

        Args:
            marks: What guarded rows are from now on.
            gone: Rows that have ended.

        Raises:
            OSError: They could not be written: there is no reserve, or they do not fit.
        """
        self.notes.gone.add(gone)  # that is true, whether it is written or not
        notes = Notes(self.notes.gone, {**self.notes.marks, **marks})
        self._write(notes)
        self.notes = notes

    def clear(self) -> None:
        """Forget the notes: the tables know by now.

        Raises:
            OSError: They are still there.
        """
        self.notes = Notes()
        self._write(self.notes)

    def _write(self, notes: Notes) -> None:
        packed = notes.packed()
        if len(packed) > _HALF_BYTES - _HEAD.size:
            raise OSError(errno.EFBIG, "more was settled than the reserve can say", str(self.path))
        number = self._number + 1
        text = _HEAD.pack(_MARK, number, len(packed), _checksum(number, packed)) + packed
        descriptor = os.open(self.path, os.O_WRONLY | SAFE)
        try:
            if os.fstat(descriptor).st_size < _NOTES_BYTES:
                raise OSError(errno.ENOSPC, "it was cut short", str(self.path))
            if os.pwrite(descriptor, text, number % 2 * _HALF_BYTES) < len(text):
                raise OSError(errno.EIO, "it was written in part", str(self.path))
            if self._syncs:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._number = number


def notes_beside(path: Path) -> Notes:
    """Return what is noted beside a file of events; nothing if that cannot be read."""
    return _found(reserve_path(path))[0]


def _found(path: Path) -> tuple[Notes, int]:
    """Return the newest notes that are whole, and their number."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | SAFE)
    except OSError:
        return Notes(), 0
    try:
        halves = [os.pread(descriptor, _HALF_BYTES, half) for half in (0, _HALF_BYTES)]
    except OSError:
        return Notes(), 0
    finally:
        os.close(descriptor)
    found = [one for one in map(_read, halves) if one is not None]
    return max(found, key=lambda one: one[1], default=(Notes(), 0))


def _read(half: bytes) -> tuple[Notes, int] | None:
    if len(half) < _HEAD.size:
        return None
    mark, number, length, checksum = _HEAD.unpack_from(half)
    packed = half[_HEAD.size : _HEAD.size + length]
    if mark != _MARK or checksum != _checksum(number, packed):
        return None
    try:
        return Notes.unpacked(packed), number
    except _NONSENSE:
        return None


_NONSENSE: Final = (
    ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, zlib.error,
)  # fmt: skip


def _checksum(number: int, packed: bytes) -> int:
    return zlib.crc32(packed, zlib.crc32(number.to_bytes(8, "little")))


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def _cut(path: Path, size: int) -> None:
    """Shorten a reserve; one of nothing goes."""
    if size:
        os.truncate(path, size)
    else:
        path.unlink(missing_ok=True)
