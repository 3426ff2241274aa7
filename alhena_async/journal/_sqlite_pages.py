"""Reading the records of a SQLite file page by page, whatever has become of the rest of it.

Where SQLite gives a damaged file up, most of its pages are whole. A leaf page tells its records
without any other page, so each is read for itself: those of the write-ahead log where they are
newer, those of the file otherwise. What a record says is judged by whoever asked (every row of
ours has a checksum), and deleted rows are overwritten with zeros, so that nothing is found that
was not there. The formats: https://www.sqlite.org/fileformat2.html
"""

from __future__ import annotations

import contextlib
import struct
import sys
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from alhena_async.journal._directory import sidecars

__all__ = ["carve", "loses_log"]

_PAGE: Final = 4096
"""Bytes of a page; every file of ours has these."""

_TABLE_LEAF: Final = 0x0D

_INDEX_LEAF: Final = 0x0A

_FILE_HEADER: Final = 100

_LOG_HEADER: Final = 32

_FRAME_HEADER: Final = 24

_LOG_MAGIC: Final = 0x377F0682

_LONGEST: Final = 64 * 1024 * 1024
"""A payload that claims more is none."""


def carve(path: Path) -> Iterator[tuple[int, list[Any]]]:
    """Go through the records of all leaf pages, as pairs of row id and values; the newest last.

    Records of tables without row ids come with the id 0. Never raises for any content.

    Args:
        path: The file; its log is looked for beside it.

    Raises:
        OSError: It cannot be read.
    """
    main = path.read_bytes()
    try:
        log = sidecars(path)[0].read_bytes()
    except FileNotFoundError:
        log = b""
    for newer in _states(log):
        pages = _Pages(main, newer)
        for number in pages.numbers():
            yield from _records(pages, number)


def loses_log(path: Path) -> bool:
    """Return whether SQLite would pass over whole transactions in a file's log, and delete them.

    It reads a log up to the first broken frame, and none at all beside an empty file.

    Args:
        path: The file, which nobody has open.

    Raises:
        OSError: It cannot be read.
    """
    try:
        log = sidecars(path)[0].read_bytes()
    except FileNotFoundError:
        return False
    is_lost = not path.stat().st_size
    for frame in _frames(log):
        is_lost = is_lost or not frame.is_whole
        if is_lost and frame.is_whole and frame.size:
            return True
    return False


class _Pages:
    def __init__(self, main: bytes, newer: Mapping[int, bytes]) -> None:
        self._main = main
        self._newer = newer

    def numbers(self) -> list[int]:
        in_file = range(1, -(-len(self._main) // _PAGE) + 1)
        return sorted({*in_file, *self._newer})

    def __getitem__(self, number: int) -> bytes:
        page = self._newer.get(number)
        if page is None:
            page = self._main[(number - 1) * _PAGE : number * _PAGE]
        return page.ljust(_PAGE, b"\0")


class _Frame(NamedTuple):
    page: int
    size: int
    """The file's pages after the transaction that this frame commits; 0: it commits none."""
    content: bytes
    is_whole: bool


def _states(log: bytes) -> list[dict[int, bytes]]:
    """The pages that a write-ahead log's whole transactions make, a later one for an earlier one.

    Those up to its first broken frame, if there is one, and those of the whole log: a row may have
    moved from a page that is whole in the first to one that is broken in the second.
    """
    states: list[dict[int, bytes]] = []
    pages: dict[int, bytes] = {}
    open_: dict[int, bytes] = {}
    for frame in _frames(log):
        if not (frame.is_whole or states):
            states.append(pages.copy())
        if frame.is_whole and frame.page:
            open_[frame.page] = frame.content
        if frame.is_whole and frame.size:
            pages |= open_
            open_ = {}
    return [*states, pages]


def _frames(log: bytes) -> Iterator[_Frame]:
    """The frames that were written since the log was begun anew, also behind broken ones."""
    if len(log) < _LOG_HEADER + _FRAME_HEADER:
        return
    magic, salts = struct.unpack_from(">I", log)[0], log[16:24]
    if magic & ~1 != _LOG_MAGIC:
        magic, salts = _LOG_MAGIC, log[_LOG_HEADER + 8 : _LOG_HEADER + 16]
    order = ">" if magic & 1 else "<"
    sums = struct.unpack_from(">II", log, 24)
    for start in range(_LOG_HEADER, len(log) - _FRAME_HEADER - _PAGE + 1, _FRAME_HEADER + _PAGE):
        head = log[start : start + _FRAME_HEADER]
        page = log[start + _FRAME_HEADER : start + _FRAME_HEADER + _PAGE]
        number, size = struct.unpack_from(">II", head)
        if head[8:16] != salts:
            break  # left over from before the log was begun anew
        told: tuple[int, int] = struct.unpack_from(">II", head, 16)
        is_whole = _checksum(order, page, _checksum(order, head[:8], sums)) == told
        sums = told  # the next frame goes on from what this one says, even where it is broken
        yield _Frame(number, size, page, is_whole)


def _checksum(order: str, data: bytes, sums: tuple[int, int]) -> tuple[int, int]:
    words = array("I", data)
    if (order == ">") == _IS_LITTLE:
        words.byteswap()
    first, second = sums
    for place in range(0, len(words), 2):
        first = (first + words[place] + second) & 0xFFFFFFFF
        second = (second + words[place + 1] + first) & 0xFFFFFFFF
    return first, second


_IS_LITTLE: Final = sys.byteorder == "little"


def _records(pages: _Pages, number: int) -> Iterator[tuple[int, list[Any]]]:
    page = pages[number]
    head = _FILE_HEADER if number == 1 else 0
    kind = page[head]
    if kind not in {_TABLE_LEAF, _INDEX_LEAF}:
        return
    (cells,) = struct.unpack_from(">H", page, head + 3)
    cells = min(cells, (_PAGE - head - 8) // 2)
    for (place,) in struct.iter_unpack(">H", page[head + 8 : head + 8 + 2 * cells]):
        with contextlib.suppress(IndexError, ValueError, struct.error):
            yield _record(pages, page, place, is_table=kind == _TABLE_LEAF)


def _record(pages: _Pages, page: bytes, place: int, *, is_table: bool) -> tuple[int, list[Any]]:
    length, place = _varint(page, place)
    id_ = 0
    if is_table:
        id_, place = _varint(page, place)
    return id_, _values(_payload(pages, page, place, length, is_table=is_table))


def _payload(pages: _Pages, page: bytes, place: int, length: int, *, is_table: bool) -> bytes:
    """The bytes of a record, those on overflow pages included."""
    if not 0 < length <= _LONGEST:
        raise ValueError("no length")
    most = _PAGE - 35 if is_table else (_PAGE - 12) * 64 // 255 - 23
    local = length
    if length > most:
        least = (_PAGE - 12) * 32 // 255 - 23
        local = least + (length - least) % (_PAGE - 4)
        local = local if local <= most else least
    parts = [page[place : place + local]]
    missing = length - len(parts[0])
    if local < length:
        (number,) = struct.unpack_from(">I", page, place + local)
        while missing > 0 and number:
            more = pages[number]
            (number,) = struct.unpack_from(">I", more)
            parts.append(more[4 : 4 + missing])
            missing -= len(parts[-1])
    if missing:
        raise ValueError("cut off")
    return b"".join(parts)


def _values(payload: bytes) -> list[Any]:
    size, place = _varint(payload, 0)
    kinds = []
    while place < size:
        kind, place = _varint(payload, place)
        kinds.append(kind)
    values: list[Any] = []
    for kind in kinds:
        length = _length(kind)
        raw = payload[place : place + length]
        if len(raw) != length:
            raise ValueError("cut off")
        values.append(_value(kind, raw))
        place += length
    return values


_INTEGER_LENGTHS: Final = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)


def _length(kind: int) -> int:
    if kind < len(_INTEGER_LENGTHS):
        return _INTEGER_LENGTHS[kind]
    if kind < 12:
        raise ValueError("no such type")
    return (kind - 12) // 2


def _value(kind: int, raw: bytes) -> Any:
    if kind == 0:
        return None
    if kind == 7:
        return struct.unpack(">d", raw)[0]
    if kind in {8, 9}:
        return kind - 8
    if kind < 7:
        return int.from_bytes(raw, "big", signed=True)
    return raw.decode() if kind % 2 else raw


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for count in range(9):
        byte = data[place + count]
        if count == 8:
            value = value << 8 | byte
            break
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            break
    else:  # pragma: no cover  the ninth byte always ends it
        raise ValueError("no number")
    if value >= 1 << 63:
        value -= 1 << 64
    return value, place + count + 1
