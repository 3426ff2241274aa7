"""The rejects file holds number, reason and the line itself, and steers no terminal."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path

import pytest

from alhena_async.cli._lines import Reason, Reject
from alhena_async.cli._rejects import NoRejectsFileError, RejectsFile, row_of

REJECT = Reject(
    number=3, reasons=(Reason("kind", "is missing"),), raw='{"name": "£\x1b[2J"}'.encode()
)


def test_a_row_holds_the_line_as_it_was() -> None:
    """Number, reason and text come back, and the row is plain ASCII without escapes."""
    row = row_of(REJECT)
    assert json.loads(row) == {"line": 3, "reason": "kind is missing", "text": REJECT.raw.decode()}
    assert row.isascii()
    assert b"\x1b" not in row


def test_a_line_that_is_no_text_is_kept_as_base64() -> None:
    """Bytes that are no UTF-8 are kept too."""
    raw = b"\xff\xfe{"
    row = json.loads(
        row_of(Reject(number=1, reasons=(Reason("the line", "is no UTF-8"),), raw=raw))
    )
    assert base64.b64decode(row["base64"]) == raw


def test_each_run_writes_it_anew(tmp_path: Path) -> None:
    """What an earlier run rejected goes; without rejects there is no file."""
    path = tmp_path / "day.rejects.jsonl"
    with RejectsFile(path) as rejects:
        assert not path.exists()
        rejects.write(REJECT)
        assert path.read_bytes() == row_of(REJECT)
    with RejectsFile(path):
        pass
    assert not path.exists()


@pytest.mark.parametrize("content", [b"orders of the whole year\n", b'{"lines": 5}\n', b"{}"])
def test_a_file_of_something_else_is_left_alone(tmp_path: Path, content: bytes) -> None:
    """A file that is not full of rejects is refused and stays as it is."""
    path = tmp_path / "orders.jsonl"
    path.write_bytes(content)
    path.chmod(0o640)
    with pytest.raises(NoRejectsFileError, match="holds something else"):
        RejectsFile(path)
    assert path.read_bytes() == content
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_making_one_changes_nothing(tmp_path: Path) -> None:
    """Until it is entered, an earlier run's rejects stand, and no file appears."""
    path = tmp_path / "day.rejects.jsonl"
    RejectsFile(path)
    assert not path.exists()
    path.write_bytes(row_of(REJECT))
    RejectsFile(path)
    assert path.read_bytes() == row_of(REJECT)


def test_nobody_else_reads_it(tmp_path: Path) -> None:
    """It holds what customers did: mode 0600, also where an earlier version left it open to all."""
    path = tmp_path / "day.rejects.jsonl"
    for before in (None, 0o644):
        if before is not None:
            path.chmod(before)
        with RejectsFile(path) as rejects:
            rejects.write(REJECT)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("target", ["rejects", "orders", "absent"])
def test_nothing_is_written_through_a_link(tmp_path: Path, target: str) -> None:
    """Whatever it leads to is left as it was."""
    (tmp_path / "rejects").write_bytes(row_of(REJECT))
    (tmp_path / "orders").write_bytes(b"orders of the whole year")
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(NoRejectsFileError, match="link is a symbolic link: give another"):
        RejectsFile(tmp_path / "link")
    assert (tmp_path / "rejects").read_bytes() == row_of(REJECT)
    assert (tmp_path / "orders").read_bytes() == b"orders of the whole year"
    assert not (tmp_path / "absent").exists()


def test_what_cannot_be_written_is_found_at_once(tmp_path: Path) -> None:
    """A folder that is not there is an error before the first reject."""
    with pytest.raises(FileNotFoundError):
        RejectsFile(tmp_path / "absent" / "day.rejects.jsonl")
