"""The progress file: nothing of it is lost, and it is never taken for another's."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import attrs
import pytest

from alhena_async.cli._input import Identity
from alhena_async.cli._progress import LineSet, ProgressError, ProgressFile, RunKey

KEY = RunKey(
    input=Identity(size=100, sha256="00ff"), destination="http://127.0.0.1:1/", company_key="shop"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "day.progress.jsonl"


def interrupted(path: Path) -> None:
    """Leave a file of a run that settled two lines and was killed."""
    file = ProgressFile(path, KEY)
    file.sending(1)
    file.settled(1, "recorded", value=Decimal("12.50"), currency="EUR")
    file.settled(3, "rejected", code="COMPANY_NOT_FOUND")
    file.close()


def test_a_resumed_run_knows_what_is_settled(path: Path) -> None:
    """Lines, counts and exact sums of the first run are there in the second, and in the third."""
    interrupted(path)
    second = ProgressFile(path, KEY, resume=True)
    assert [number for number in range(6) if number in second.earlier.lines] == [1, 3]
    second.settled(2, "recorded", value=Decimal("0.10"), currency="EUR")
    second.close()
    third = ProgressFile(path, KEY, resume=True)
    assert third.earlier.revenue == {"EUR": Decimal("12.60")}
    assert third.earlier.statuses == {"recorded": 2, "rejected": 1}
    assert third.earlier.codes == {"COMPANY_NOT_FOUND": 1}
    assert third.earlier.upto >= 3
    third.close()


@pytest.mark.parametrize("torn", [b"{", b'{"line":9', b'{"line":9,"status":"recorded"}'])
def test_a_torn_last_line_is_passed_over(path: Path, torn: bytes) -> None:
    """A row that has no line end does not count, and does not spoil the rows after it."""
    interrupted(path)
    with path.open("ab") as file:
        file.write(torn)
    second = ProgressFile(path, KEY, resume=True)
    assert second.earlier.statuses.total() == 2
    second.settled(4, "recorded")
    second.close()
    third = ProgressFile(path, KEY, resume=True)
    assert third.earlier.statuses.total() == 3
    third.close()


def test_a_torn_header_is_a_run_that_sent_nothing(path: Path) -> None:
    """A run that was killed in its very first write is gone on with from the start."""
    path.write_bytes(b'{"alhena_replay":1,"si')
    ProgressFile(path, KEY, resume=True).close()
    ProgressFile(path, KEY, resume=True).close()


def test_resuming_what_never_began_begins(path: Path) -> None:
    """Without a file, --resume is a first run."""
    file = ProgressFile(path, KEY, resume=True)
    assert file.earlier.statuses.total() == 0
    file.close()


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (attrs.evolve(KEY, input=Identity(size=101, sha256="00ff")), "another input"),
        (attrs.evolve(KEY, input=Identity(size=100, sha256="00fe")), "another input"),
        (attrs.evolve(KEY, destination="https://eu.alhena.ai/"), "another destination"),
        (attrs.evolve(KEY, company_key="other"), "another company key"),
    ],
)
def test_another_run_is_refused(path: Path, other: RunKey, named: str) -> None:
    """A file is not gone on with for another input, destination or company; it stays as it was."""
    interrupted(path)
    before = path.read_bytes()
    with pytest.raises(ProgressError, match=named):
        ProgressFile(path, other, resume=True)
    assert path.read_bytes() == before


def test_an_interrupted_run_is_not_overwritten(path: Path) -> None:
    """A new run does not wipe out what --resume needs, unless it is told to."""
    interrupted(path)
    with pytest.raises(ProgressError, match="--resume goes on"):
        ProgressFile(path, KEY)
    anew = ProgressFile(path, KEY, restart=True)
    assert anew.earlier.statuses.total() == 0
    anew.close()


def test_a_complete_run_is_not_sent_all_over_again(path: Path) -> None:
    """A run that was completed is begun anew only when told to; resumed, it has nothing left."""
    file = ProgressFile(path, KEY)
    file.settled(1, "recorded")
    file.complete()
    file.close()
    before = path.read_bytes()
    with pytest.raises(ProgressError, match="was completed: --restart sends it all again"):
        ProgressFile(path, KEY)
    assert path.read_bytes() == before
    resumed = ProgressFile(path, KEY, resume=True)
    assert 1 in resumed.earlier.lines
    resumed.close()
    ProgressFile(path, KEY, restart=True).close()


def test_what_is_no_regular_file_is_refused() -> None:
    """A device cannot be gone on from: that is said before anything is sent."""
    with pytest.raises(ProgressError, match="no regular file"):
        ProgressFile(Path("/dev/null"), KEY)


@pytest.mark.parametrize("options", [{}, {"resume": True}, {"restart": True}])
def test_a_file_of_something_else_is_left_alone(path: Path, options: dict[str, bool]) -> None:
    """Whatever the options, a file that is no progress file is refused and not changed."""
    path.write_bytes(b'{"orders": "of the whole year"}\n')
    with pytest.raises(ProgressError, match="no progress file"):
        ProgressFile(path, KEY, **options)
    assert path.read_bytes() == b'{"orders": "of the whole year"}\n'


@pytest.mark.parametrize(
    "row",
    [
        b"nonsense\n",
        b'{"line":1,"status":"recorded"}\n',
        b'{"line":99999999999999,"status":"recorded"}\n',
        b'{"line":"x"}\n',
        b"[]\n",
        b"5\n",
        b"[" * 100_000 + b"\n",
    ],
    ids=["word", "twice", "huge", "text", "list", "number", "deep"],
)
def test_a_damaged_file_is_refused(path: Path, row: bytes) -> None:
    """A row in the middle that cannot be right is named, never guessed at."""
    interrupted(path)
    with path.open("ab") as file:
        file.write(row + b'{"line":9,"status":"recorded"}\n')
    with pytest.raises(ProgressError, match=r"damaged in line \d"):
        ProgressFile(path, KEY, resume=True)


def test_a_file_in_use_is_refused(path: Path) -> None:
    """Two runs never write to the same file."""
    first = ProgressFile(path, KEY)
    with pytest.raises(ProgressError, match="in use"):
        ProgressFile(path, KEY, resume=True)
    first.close()
    ProgressFile(path, KEY, resume=True).close()


def test_what_may_be_sent_is_noted_before(path: Path) -> None:
    """Every line that was handed over is at or below the noted bound, and the bound is near."""
    file = ProgressFile(path, KEY)
    for number in range(1, 101):
        file.sending(number)
    file.close()
    upto = ProgressFile(path, KEY, resume=True).earlier.upto
    assert 100 <= upto <= 132


def test_a_line_set_holds_what_was_put_in() -> None:
    """A set of line numbers is a set."""
    numbers = LineSet()
    for number in (1, 8, 7, 1, 5_000_000):
        numbers.add(number)
    assert [number for number in (0, 1, 2, 7, 8, 9, 5_000_000, 6_000_000) if number in numbers] == [
        1, 7, 8, 5_000_000,
    ]  # fmt: skip
    assert "1" not in numbers
