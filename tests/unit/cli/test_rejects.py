"""The rejects file holds number, reason and the line itself, and steers no terminal."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from alhena_async.cli.records import Reject
from alhena_async.cli.rejects import RejectsFile, row_of

REJECT = Reject(number=3, reasons=(("kind", "is missing"),), raw='{"name": "£\x1b[2J"}'.encode())


def test_a_row_holds_the_line_as_it_was() -> None:
    """Number, reason and text come back, and the row is plain ASCII without escapes."""
    row = row_of(REJECT)
    assert json.loads(row) == {"line": 3, "reason": "kind is missing", "text": REJECT.raw.decode()}
    assert row.isascii()
    assert b"\x1b" not in row


def test_a_line_that_is_no_text_is_kept_as_base64() -> None:
    """Bytes that are no UTF-8 are kept too."""
    raw = b"\xff\xfe{"
    row = json.loads(row_of(Reject(number=1, reasons=(("the line", "is no UTF-8"),), raw=raw)))
    assert base64.b64decode(row["base64"]) == raw


def test_each_run_writes_it_anew(tmp_path: Path) -> None:
    """What an earlier run rejected goes; without rejects there is no file."""
    path = tmp_path / "day.rejects.jsonl"
    with RejectsFile(path) as rejects:
        assert not path.exists()
        rejects.write(REJECT)
        rejects.flush()
        assert path.read_bytes() == row_of(REJECT)
    with RejectsFile(path):
        pass
    assert not path.exists()
