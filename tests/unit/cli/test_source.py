"""Bytes -> lines: plain or gzip, file or pipe, and never too much at once."""

from __future__ import annotations

import gzip
import io
import os
import threading
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alhena_async.cli._input import InputBrokenError, Source, count_lines, opened
from alhena_async.cli._lines import MAX_LINE_BYTES

TEXT = b"".join(b"line %d\n" % number for number in range(20_000))


def numbers_and_lines(source: Source) -> list[tuple[int, bytes]]:
    return [(line.number, line.raw) for chunk in source.chunks() for line in chunk]


EXPECTED = list(enumerate(TEXT.splitlines(), 1))


@pytest.mark.parametrize(
    "content",
    [TEXT, gzip.compress(TEXT), gzip.compress(TEXT[:70_000]) + gzip.compress(TEXT[70_000:])],
    ids=["plain", "gzip", "two members"],  # the bytes hold the time
)
def test_a_file_is_read_plain_or_gzip(tmp_path: Path, content: bytes) -> None:
    """What a file holds decides, not its name; several gzip members are one text."""
    path = tmp_path / "events"
    path.write_bytes(content)
    with opened(str(path)) as source:
        assert numbers_and_lines(source) == EXPECTED
    assert count_lines(str(path)) == 20_000


@pytest.mark.parametrize("content", [TEXT, gzip.compress(TEXT)], ids=["plain", "gzip"])
@pytest.mark.parametrize("first", [1, 2, 100])
def test_a_pipe_is_read_plain_or_gzip(content: bytes, first: int) -> None:
    """A pipe may hand over its first bytes one by one; it is read all the same."""
    reading, writing = os.pipe()

    def write() -> None:
        with io.FileIO(writing, "w") as pipe:
            pipe.write(content[:first])
            rest = memoryview(content[first:])
            while rest:
                rest = rest[pipe.write(rest) or 0 :]

    thread = threading.Thread(target=write)
    thread.start()
    with io.FileIO(reading) as raw:
        source = Source(raw)
        assert source.identity().size is None
        assert numbers_and_lines(source) == EXPECTED
    thread.join()


def test_the_last_line_needs_no_end(tmp_path: Path) -> None:
    """A last line without a line end is a line; an empty file has none."""
    path = tmp_path / "events"
    path.write_bytes(b"a\n\nb")
    with opened(str(path)) as source:
        assert numbers_and_lines(source) == [(1, b"a"), (2, b""), (3, b"b")]
    assert count_lines(str(path)) == 3
    path.write_bytes(b"")
    with opened(str(path)) as source:
        assert numbers_and_lines(source) == []
    assert count_lines(str(path)) == 0


@pytest.mark.parametrize("damage", ["cut", "flipped", "trailing"])
def test_a_damaged_gzip_is_told(tmp_path: Path, damage: str) -> None:
    """A gzip that is cut off or damaged gives the lines before, and then an error."""
    whole = gzip.compress(os.urandom(100_000).hex().encode() + b"\n" + TEXT)
    content = {
        "cut": whole[: len(whole) // 2],
        "flipped": whole[:-8] + bytes(4) + whole[-4:],
        "trailing": whole + b"more",
    }[damage]
    path = tmp_path / "events.gz"
    path.write_bytes(content)
    with opened(str(path)) as source, pytest.raises(InputBrokenError):
        numbers_and_lines(source)


def test_another_file_is_told_from_it(tmp_path: Path) -> None:
    """Size, beginning and end are the identity: a change of any of them is seen."""
    contents = [TEXT, b"L" + TEXT[1:], TEXT[:-2] + b"X\n", TEXT + b"\n"]
    identities = []
    for number, content in enumerate(contents):
        path = tmp_path / f"{number}"
        path.write_bytes(content)
        with opened(str(path)) as source:
            identities.append(source.identity())
    assert len(set(identities)) == 4


def test_the_same_file_is_the_same(tmp_path: Path) -> None:
    """Reading does not change the identity, nor does another name."""
    path, copy = tmp_path / "a", tmp_path / "b"
    path.write_bytes(TEXT)
    copy.write_bytes(TEXT)
    with opened(str(path)) as one, opened(str(copy)) as other:
        numbers_and_lines(one)
        assert one.identity() == other.identity()


@pytest.mark.parametrize("size", [0, 1, 100, 65_536, 65_537, 131_072, 200_000])
def test_a_file_that_has_grown_is_known(tmp_path: Path, size: int) -> None:
    """Whatever was added, and however much there was before; any other change is another file."""
    path = tmp_path / "events"
    path.write_bytes(TEXT[:size])
    with opened(str(path)) as source:
        before = source.identity()
    for after, is_same in (
        (TEXT[: size + 1], True),
        (TEXT, True),
        (TEXT[:size], False),  # nothing was added
        (TEXT[: max(0, size - 1)], False),
    ):
        path.write_bytes(after)
        with opened(str(path)) as source:
            source.first_lines()
            assert source.identity().has_grown_from(before) is is_same
            assert source.identity().has_grown_from(before) is is_same
    if size:
        path.write_bytes(b"?" + TEXT[1:])
        with opened(str(path)) as source:
            assert not source.identity().has_grown_from(before)


def test_looking_ahead_loses_no_line(tmp_path: Path) -> None:
    """The first lines, and an identity in the middle, change nothing of what is read."""
    path = tmp_path / "events"
    path.write_bytes(TEXT)
    with opened(str(path)) as source:
        assert source.first_lines()[0] == (1, b"line 0", False)
        identity = source.identity()
        assert identity.at is not None
        identity.at(1_000)
        assert numbers_and_lines(source) == EXPECTED
        assert source.found() == identity


def test_an_endless_line_takes_no_memory(tmp_path: Path) -> None:
    """A line over the bound keeps its beginning only, and the next one is sound."""
    path = tmp_path / "events"
    path.write_bytes(b"x" * (64 * MAX_LINE_BYTES) + b"end\nnext\n")
    tracemalloc.start()
    with opened(str(path)) as source:
        cut, sound = (line for chunk in source.chunks() for line in chunk)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 4 * MAX_LINE_BYTES
    assert cut.cut
    assert cut.raw == b"x" * len(cut.raw)
    assert sound == (2, b"next", False)


@pytest.mark.parametrize("length", [MAX_LINE_BYTES - 1, MAX_LINE_BYTES, MAX_LINE_BYTES + 1])
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_the_longest_line_is_whole(tmp_path: Path, length: int, end: bytes) -> None:
    """A line of just the bound is read to its end, one byte more is too long; ended or not."""
    path = tmp_path / "events"
    path.write_bytes(b"x" * length + end)
    with opened(str(path)) as source:
        (line,) = (line for chunk in source.chunks() for line in chunk)
    assert line.cut is (length > MAX_LINE_BYTES)
    assert line.cut or len(line.raw) == length


@given(st.lists(st.binary(max_size=20).map(lambda part: part.replace(b"x", b"\n"))))
def test_where_a_pipe_pauses_does_not_matter(parts: list[bytes]) -> None:
    """Handed over in any pieces, the lines are the same."""
    reading, writing = os.pipe()
    text = b"{" + b"".join(parts)

    def write() -> None:
        with io.FileIO(writing, "w") as pipe:
            for part in (b"{", *parts):
                pipe.write(part)

    thread = threading.Thread(target=write)
    thread.start()
    with io.FileIO(reading) as raw:
        source = Source(raw)
        lines = [line for _, line in numbers_and_lines(source)]
    thread.join()
    assert lines == text.removesuffix(b"\n").split(b"\n")
