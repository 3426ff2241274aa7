"""Nearly right files are known by their first bytes; right ones are never refused."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alhena_async.cli._sniffing import wrong_format
from tests.cli_process import cart, checkout, lines_of

EVENTS = [cart(1), checkout(2, order_id="Bücher, 2 € | 50;")]
LINES = lines_of(*EVENTS)


def zipped(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("day.jsonl", content)
    return file.getvalue()


def tarred(content: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo("day.jsonl")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (json.dumps(EVENTS).encode(), "is a JSON array: jq -c '.[]' FILE"),
        (json.dumps(EVENTS, indent=2).encode(), "is a JSON array"),
        (b"\xef\xbb\xbf [" + LINES, "is a JSON array"),
        (json.dumps(EVENTS[0], indent=2).encode(), "jq -c . FILE"),
        (b"order_id,total,currency\nC1,10.00,EUR\n", "is a table (CSV)"),
        (b"order_id;total\r\nC1;10,00\r\n", "is a table (CSV)"),
        (b"order_id\ttotal\n", "is a table (CSV)"),
        (LINES.decode().encode("utf-16"), "is UTF-16"),
        (LINES.decode().encode("utf-16-le"), "iconv -f UTF-16LE"),
        (LINES.decode().encode("utf-16-be"), "iconv -f UTF-16BE"),
        (LINES.decode().encode("utf-32"), "is UTF-32"),
        (LINES.replace(b"\n", b"\r"), "has old-Mac line ends: tr"),
        (bz2.compress(LINES), "is compressed with bzip2: bzcat FILE"),
        (lzma.compress(LINES), "is compressed with xz: xzcat FILE"),
        (b"\x28\xb5\x2f\xfd" + LINES, "is compressed with zstd"),
        (zipped(LINES), "is a zip archive: unzip -p FILE"),
        (tarred(LINES), "is a tar archive: tar -xOf FILE"),
        (b"<!DOCTYPE html>\n<html>", "is XML or HTML"),
    ],
)
def test_nearly_right_files_are_named(content: bytes, told: str) -> None:
    """With what to do about it."""
    assert told in (wrong_format(content[:65_536]) or "it seems right")


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines,
        lambda lines: lines.replace(b"\n", b"\r\n"),
        lambda lines: b"\xef\xbb\xbf" + lines,
        lambda lines: b"\n  \n" + lines,
        lambda lines: lines.rstrip(b"\n"),
        lambda lines: lines[:50],
        lambda lines: lines[:2],
        lambda lines: b"{\n" + lines[:0],
        lambda lines: b"#, a comment;\n" + lines,
        lambda lines: b"oops\n" + lines,
        lambda lines: b'"text"\n',
        lambda lines: b" \n",
    ],
)
def test_right_files_are_let_through(change: Callable[[bytes], bytes]) -> None:
    """With Windows' line ends, a byte order mark, or a first line that is wrong by itself."""
    assert wrong_format(change(LINES)) is None


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.floats(allow_nan=False)))
def test_no_object_is_mistaken_for_something_else(fields: dict[str, object]) -> None:
    """Whatever stands in its first line."""
    for text in (json.dumps(fields), json.dumps(fields, ensure_ascii=False)):
        assert wrong_format(text.encode("utf-8", "replace") + b"\n" + LINES) is None


@given(st.binary(max_size=600))
def test_any_bytes_are_looked_at(head: bytes) -> None:
    """Nothing makes it raise."""
    wrong_format(head)
    wrong_format(gzip.compress(head))
