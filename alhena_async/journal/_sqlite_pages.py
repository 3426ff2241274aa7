"""Reading the records of a SQLite file page by page, whatever has become of the rest of it.

Where SQLite gives a damaged file up, most of its pages are whole. A leaf page tells its records
without any other page, so each is read for itself: those of the write-ahead log where they are
newer, those of the file otherwise. What a record says is judged by whoever asked (every row of
ours has a checksum), and deleted rows are overwritten with zeros, so that nothing is found that
was not there. The formats: https://www.sqlite.org/fileformat2.html

A log is a header and frames, each a page behind a header of its own. SQLite reads it up to the
first frame that does not bear the log's salts, or whose checksum is wrong, and takes what follows
for the leavings of an earlier log, without a word. Here a damaged header does not end it.
"""

from __future__ import annotations

import contextlib
import os
import struct
import sys
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from alhena_async.journal._directory import sidecars

__all__ = ["carve", "carve_pages", "loses_log"]

_PAGE: Final = 4096
"""Bytes of a page; every file of ours has these."""
_TABLE_LEAF: Final = 0x0D
_INDEX_LEAF: Final = 0x0A
_FILE_HEADER: Final = 100
_LOG_HEADER: Final = 32
_FRAME_HEADER: Final = 24
_FRAME: Final = _FRAME_HEADER + _PAGE
_LOG_MAGIC: Final = 0x377F0682
_MAX_PAYLOAD_BYTES: Final = 64 * 1024 * 1024
"""A payload that claims more is none."""
_MAX_PAGES: Final = 1 << 22
"""16 GiB of them; a number beyond is none."""
_ORDERS: Final = "<>" if sys.byteorder == "little" else "><"
"""Byte orders that checksums are made in; SQLite takes the machine's own."""
_MAX_SEEDS: Final = 3
_MAX_COLUMNS: Final = 64


Records = list[tuple[int, list[Any]]]


def carve(path: Path) -> Iterator[tuple[int, list[Any]]]:
    """Go through all that `carve_pages` yields, record by record."""
    return chain.from_iterable(carve_pages(path))


def carve_pages(path: Path) -> Iterator[Records]:
    """Go through the records of all leaf pages, as pairs of row id and values; the newest last.

    Yields what one page holds at a time, and nothing while it reads the log, so that whoever asks
    may stop in between. Records of tables without row ids come with the id 0. Never raises for any
    content, holds no more than a page's records, and looks at no more pages than a sound file
    would need.

    Args:
        path: The file; its log is looked for beside it.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb", buffering=0) as main, _opened_log(path) as log:
        frames: list[_Frame] = []
        for _ in log.read(frames) if log else ():
            yield []
        for newer in _states(frames) if frames else [{}]:
            pages = _Pages(main, newer, log)
            for number in pages.numbers():
                yield list(_records(pages, number))
                if pages.are_spent:
                    break


def loses_log(path: Path) -> bool:
    """Return whether SQLite would pass over whole transactions in a file's log, and delete them.

    It reads a log up to the first broken frame, none at all beneath a broken header, and none
    beside an empty file. Reads the log once, a frame at a time.

    Args:
        path: The file, which nobody has open.

    Raises:
        OSError: It cannot be read.
    """
    frames: list[_Frame] = []
    with _opened_log(path) as log:
        for _ in log.read(frames) if log else ():
            pass
    return bool(frames) and not (frames[-1].is_read and path.stat().st_size)


class _Pages:
    """The pages of a file in one of its states.

    Args:
        main: The file.
        newer: Where in the log the pages are that it holds, by number.
        log: The log.
    """

    def __init__(self, main: BinaryIO, newer: Mapping[int, int], log: _Log | None) -> None:
        self._main = main
        self._newer = newer
        self._log = log
        self._count = min(-(-os.fstat(main.fileno()).st_size // _PAGE), _MAX_PAGES)
        # Each page by itself, and as a part of one record: three times as many are for damage.
        self._left = 4 * (self._count + len(newer)) + 64

    @property
    def are_spent(self) -> bool:
        """Whether more pages were looked at than any sound file would need."""
        return self._left <= 0

    def numbers(self) -> Iterator[int]:
        yield from range(1, self._count + 1)
        yield from sorted(number for number in self._newer if number > self._count)

    def __getitem__(self, number: int) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise ValueError("too many pages")
        if self._log is not None and number in self._newer:
            return self._log.page(self._newer[number])
        if not 0 < number <= self._count:
            return bytes(_PAGE)
        return os.pread(self._main.fileno(), _PAGE, (number - 1) * _PAGE).ljust(_PAGE, b"\0")


# --- the log -------------------------------------------------------------------------------------

_Pair = tuple[int, int]


class _Frame(NamedTuple):
    """One page that the log holds."""

    place: int
    """In the log, counted from 0."""
    number: int
    """Which page it is."""
    size: int
    """The file's pages after the transaction that this frame commits; 0: it commits none."""
    is_whole: bool
    """It is what was written."""
    is_finished: bool
    """It was written to its end, even if it is not whole any more."""
    is_read: bool
    """SQLite would read it."""


class _Head(NamedTuple):
    """What stands before a page in the log."""

    words: _Pair
    """The page's number, and the file's size."""
    salts: _Pair
    """What tells this log's frames from those of the log before it."""
    sums: _Pair
    """The checksum of all up to here: header words and pages, salts not among them."""

    @classmethod
    def of(cls, data: bytes) -> _Head:
        number, size, *rest = struct.unpack(">6I", data)
        return cls((number, size), (rest[0], rest[1]), (rest[2], rest[3]))

    def bears(self, salts: _Pair) -> bool:
        """Whether it bears a log's salts: both differ from one log to the next."""
        return self.salts[0] == salts[0] or self.salts[1] == salts[1]


class _Beginning(NamedTuple):
    """What tells whether a frame is of this log: its salts, and the first checksum."""

    order: str
    salts: _Pair
    seeds: Sequence[_Pair]
    """Checksums that the first frame may go on from."""
    is_whole: bool
    """The log's header says so itself."""


class _Proof(NamedTuple):
    """The evidence that a frame is one of this log, as it was written."""

    words: _Pair | None
    """What its header says, or said before it was damaged; None: no evidence."""
    seed: int
    """Which of the checksums it goes on from."""
    seeds: Sequence[_Pair]
    """Checksums that the next frame may go on from."""
    is_exact: bool
    """All of it agrees: header, page, and what is before it."""


@contextlib.contextmanager
def _opened_log(path: Path) -> Iterator[_Log | None]:
    try:
        file = sidecars(path)[0].open("rb", buffering=0)
    except FileNotFoundError:
        yield None
        return
    with file:
        yield _Log(file)


class _Log:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        length = os.fstat(file.fileno()).st_size
        frames = max(0, length - _LOG_HEADER) // _FRAME
        self._ends_whole = length == _LOG_HEADER + frames * _FRAME
        starts = (_LOG_HEADER + place * _FRAME for place in range(frames))
        self._heads = [_Head.of(self._bytes(start, _FRAME_HEADER)) for start in starts]

    def _bytes(self, start: int, length: int) -> bytes:
        return os.pread(self._file.fileno(), length, start).ljust(length, b"\0")

    def page(self, place: int) -> bytes:
        return self._bytes(_LOG_HEADER + place * _FRAME + _FRAME_HEADER, _PAGE)

    def read(self, frames: list[_Frame]) -> Iterator[None]:
        """Find all finished transactions' frames since the log was last started over, broken too.

        Step by step. A frame is left over from the log before it if neither salts nor checksum tie
        it to this one, and no salts behind it do.

        Args:
            frames: Where they are put, in the end.
        """
        if not self._heads:
            return
        beginning = self._beginning()
        order, salts, seeds, is_read = beginning
        bearers = [place for place, head in enumerate(self._heads) if head.bears(salts)]
        for place, head in enumerate(self._heads):
            yield
            proof = self._proof(place, order, seeds, salts)
            if proof.words is None and not (bearers and place <= bearers[-1]):
                break
            is_finished = proof.words is not None or (head.bears(salts) and self._ends_with(place))
            is_read = is_read and proof.is_exact and not proof.seed and head.salts == salts
            if proof.seed:  # only what the frames before it say of themselves was damaged
                found = [
                    one._replace(is_whole=True, is_finished=True) for one in frames[-proof.seed :]
                ]
                frames[-proof.seed :] = found
            number, size = proof.words or head.words
            frames.append(_Frame(place, number, size, proof.is_exact, is_finished, is_read))
            seeds = proof.seeds
        commits = [one.place for one in frames if one.is_finished and one.size]
        del frames[commits[-1] + 1 if commits else 0 :]

    def _beginning(self) -> _Beginning:
        """By the log's header if that is whole, otherwise by what the frames say."""
        magic, *rest = struct.unpack(">8I", self._bytes(0, _LOG_HEADER))
        salts, sums = (rest[3], rest[4]), (rest[5], rest[6])

        def summed(order: str, salts: _Pair) -> _Pair:
            header = struct.pack(">6I", _LOG_MAGIC | (order == ">"), *rest[:3], *salts)
            return _checksum(order, header, (0, 0))

        for order in _ORDERS:
            if magic == _LOG_MAGIC | (order == ">") and summed(order, salts) == sums:
                return _Beginning(order, salts, [sums], is_whole=True)
        first = self._heads[0].salts
        for order in _ORDERS:
            seeds = [sums, summed(order, first)]
            if self._proof(0, order, seeds, first).words is not None:
                return _Beginning(order, first, seeds, is_whole=False)
        counts = Counter([salts, *(head.salts for head in self._heads)])
        repeated = (one for one, count in counts.items() if count > 1 and one[0] != one[1])
        salts = next(repeated, first)
        order = _ORDERS[0]
        return _Beginning(order, salts, [sums, summed(order, salts)], is_whole=False)

    def _proof(self, place: int, order: str, seeds: Sequence[_Pair], salts: _Pair) -> _Proof:
        head, page = self._heads[place], self.page(place)
        before = _checksum_before(order, page, head.sums)
        words = [_words_between(order, seed, before) for seed in seeds]
        if head.words in words and head.words[0]:
            return _Proof(head.words, words.index(head.words), [head.sums], is_exact=True)
        header = struct.pack(">II", *head.words)
        sums = [_checksum(order, page, _checksum(order, header, seed)) for seed in seeds]
        mended = _mended(head, words, sums, is_borne=head.bears(salts))
        return _Proof(mended, 0, [head.sums, *sums][:_MAX_SEEDS], is_exact=False)

    def _ends_with(self, place: int) -> bool:
        """Whether all of a frame stands at the log's end: one that is cut short ends it earlier."""
        is_last = self._ends_whole and place == len(self._heads) - 1
        return is_last and any(self.page(place))


def _mended(
    head: _Head, words: Iterable[_Pair], sums: Iterable[_Pair], *, is_borne: bool
) -> _Pair | None:
    """What a frame's header said, if a part of it still agrees with the rest of the frame.

    Args:
        head: As it stands there.
        words: What number and size would have to be for the checksum to hold.
        sums: What the checksum would have to be for number and size to hold.
        is_borne: It bears the log's salts.
    """
    for first, second in sums:
        if head.words[0] and (first == head.sums[0] or second == head.sums[1]):
            return head.words
    for number, size in words:
        is_likely = is_borne and max(number, size) <= _MAX_PAGES
        if number and (is_likely or number == head.words[0] or size == head.words[1]):
            return number, size
    return None


def _states(frames: Sequence[_Frame]) -> list[dict[int, int]]:
    """Where in the log the pages are that it holds, by number, a later one for an earlier one.

    Where a frame is broken, three times: as the transactions before it left them, without broken
    ones, and with them. A row may have moved from a page that is whole in the first to one that
    is broken in the second, and most rows of a broken page may be whole.
    """
    whole = [one for one in frames if one.is_whole]
    if len(whole) == len(frames):
        return [_newest(frames)]
    broken = next(one.place for one in frames if not one.is_whole)
    commits = [one.place for one in frames[:broken] if one.size]
    before = frames[: commits[-1] + 1] if commits else []
    return [_newest(before), _newest(whole), _newest(frames)]


def _newest(frames: Iterable[_Frame]) -> dict[int, int]:
    return {one.number: one.place for one in frames}


_WORD: Final = 0xFFFFFFFF


def _checksum(order: str, data: bytes, sums: _Pair) -> _Pair:
    words = _words(order, data)
    first, second = sums
    for one, other in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) & _WORD
        second = (second + other + first) & _WORD
    return first, second


def _checksum_before(order: str, data: bytes, sums: _Pair) -> _Pair:
    """What the checksum was before the data that it ends with."""
    words = _words(order, data)
    first, second = sums
    for one, other in zip(words[-2::-2], words[::-2], strict=True):
        second = (second - other - first) & _WORD
        first = (first - one - second) & _WORD
    return first, second


def _words_between(order: str, earlier: _Pair, later: _Pair) -> _Pair:
    """The only two numbers that lead from one checksum to another."""
    first = (later[0] - earlier[0] - earlier[1]) & _WORD
    second = (later[1] - earlier[1] - later[0]) & _WORD
    number, size = struct.unpack(">II", struct.pack(f"{order}II", first, second))
    return number, size


def _words(order: str, data: bytes) -> array[int]:
    words = array("I", data)
    if order != _ORDERS[0]:
        words.byteswap()
    return words


# --- the pages -----------------------------------------------------------------------------------


def _records(pages: _Pages, number: int) -> Iterator[tuple[int, list[Any]]]:
    with contextlib.suppress(ValueError):
        page = pages[number]
        head = _FILE_HEADER if number == 1 else 0
        kind = page[head]
        if kind in {_TABLE_LEAF, _INDEX_LEAF}:
            for place in _cells(page, head):
                with contextlib.suppress(IndexError, ValueError, struct.error):
                    yield _record(pages, page, place, is_table=kind == _TABLE_LEAF)


def _cells(page: bytes, head: int) -> Iterator[int]:
    """Where the records of a page begin, each once."""
    (cells,) = struct.unpack_from(">H", page, head + 3)
    cells = min(cells, (_PAGE - head - 8) // 2)
    places = struct.iter_unpack(">H", page[head + 8 : head + 8 + 2 * cells])
    yield from dict.fromkeys(place for (place,) in places)


def _record(pages: _Pages, page: bytes, place: int, *, is_table: bool) -> tuple[int, list[Any]]:
    length, place = _varint(page, place)
    id_ = 0
    if is_table:
        id_, place = _varint(page, place)
    return id_, _values(_payload(pages, page, place, length, is_table=is_table))


def _payload(pages: _Pages, page: bytes, place: int, length: int, *, is_table: bool) -> bytes:
    """The bytes of a record, those on overflow pages included."""
    if not 0 < length <= _MAX_PAYLOAD_BYTES:
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
    kinds: list[int] = []
    while place < size and len(kinds) < _MAX_COLUMNS:
        kind, place = _varint(payload, place)
        kinds.append(kind)
    if place < size:
        raise ValueError("no table of ours has so many columns")
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
