"""What a file is that holds no JSON lines, told from its first bytes. Pure."""

from __future__ import annotations

import re
from typing import Final

_AS_LINES: Final = "| alhena replay -"

_MAGIC: Final = (
    (b"BZh", f"is compressed with bzip2: bzcat FILE {_AS_LINES}"),
    (b"\xfd7zXZ\x00", f"is compressed with xz: xzcat FILE {_AS_LINES}"),
    (b"\x28\xb5\x2f\xfd", f"is compressed with zstd: zstdcat FILE {_AS_LINES}"),
    (b"PK\x03\x04", f"is a zip archive: unzip -p FILE {_AS_LINES}"),
    (b"PK\x05\x06", "is an empty zip archive"),
    (b"7z\xbc\xaf\x27\x1c", f"is a 7z archive: 7z x -so FILE {_AS_LINES}"),
    (b"PAR1", "is a Parquet file: export it as JSON lines"),
    (b"SQLite format 3\x00", "is an SQLite database: export it as JSON lines"),
    (b"\xff\xfe\x00\x00", f"is UTF-32, not UTF-8: iconv -f UTF-32 -t UTF-8 FILE {_AS_LINES}"),
)

_UTF_16: Final = f"is UTF-16, not UTF-8: iconv -f UTF-16%s -t UTF-8 FILE {_AS_LINES}"

_OLD_LINE_ENDS: Final = re.compile(r"\}[ \t]*\r[ \t\r]*\{")

_SEPARATORS: Final = (",", ";", "\t", "|")


def wrong_format(head: bytes) -> str | None:
    """Return what a file is instead of JSON lines, and what to do; None if it may be some.

    Args:
        head: How it begins: the first lines, or the beginning of the first one.
    """
    if not head:
        return "is empty"
    for magic, told in _MAGIC:
        if head.startswith(magic):
            return told
    if head[257:262] == b"ustar":
        return f"is a tar archive: tar -xOf FILE {_AS_LINES}"
    return _utf_16(head[:4]) or _wrong_text(head.decode("utf-8", "replace"))


def _utf_16(first: bytes) -> str | None:
    if first.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _UTF_16 % ""
    if len(first) == 4 and not first[1] and not first[3]:
        return _UTF_16 % "LE"
    return _UTF_16 % "BE" if len(first) == 4 and not first[0] and not first[2] else None


def _wrong_text(text: str) -> str | None:
    text = text.lstrip("\ufeff \t\r\n")
    first, _, rest = text.partition("\n")
    if _OLD_LINE_ENDS.search(first):
        return f"has old-Mac line ends: tr '\\r' '\\n' < FILE {_AS_LINES}"
    if text.startswith("["):
        return f"is a JSON array: jq -c '.[]' FILE {_AS_LINES}"
    if first.strip() == "{" and rest.strip():
        return f"is JSON of several lines an object: jq -c . FILE {_AS_LINES}"
    if text.startswith("<"):
        return "is XML or HTML, not JSON lines"
    if _is_table(first, rest.partition("\n")[0]):
        return "is a table (CSV), not JSON lines: alhena replay --help shows the format"
    return None


def _is_table(first: str, second: str) -> bool:
    """Return whether two lines have columns, and no braces around them."""
    if first.startswith("{") or second.lstrip().startswith("{"):
        return False
    return any(
        separator in first and (not second.strip() or separator in second)
        for separator in _SEPARATORS
    )
