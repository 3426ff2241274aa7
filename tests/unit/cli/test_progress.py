"""The progress file: nothing of it is lost, and it is never taken for another's."""

from __future__ import annotations

import stat
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import pytest

from alhena_async.cli._input import Identity
from alhena_async.cli._lines import Worth
from alhena_async.cli._progress import LineSet, ProgressError, ProgressFile, RunKey
from alhena_async.cli._tally import Ending, Tally

INPUT = Identity(size=100, sha256="00ff")
KEY = RunKey(input=INPUT, destination="http://127.0.0.1:1/", company_key="shop")
GROWN = attrs.evolve(
    KEY,
    input=Identity(size=150, sha256="0abc", at={100: "00ff", 150: "0abc"}.get),  # type: ignore[arg-type]
)
CART = Ending(status="recorded")


def sold(value: str, **changed: Any) -> Ending:
    return Ending(**{"status": "recorded", "worth": Worth(Decimal(value), "EUR"), **changed})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "day.progress.jsonl"


def interrupted(path: Path) -> None:
    """Leave a file of a run that settled two lines and was killed."""
    file = ProgressFile(path, KEY)
    file.sending(1)
    file.settled(1, sold("12.50"))
    file.settled(3, Ending(status="rejected", code="NO"))
    file.close()


def test_a_resumed_run_knows_what_is_settled(path: Path) -> None:
    """Lines, counts and exact sums of the first run are there in the second, and in the third."""
    interrupted(path)
    second = ProgressFile(path, KEY, resume=True)
    assert [number for number in range(6) if number in second.earlier.lines] == [1, 3]
    second.settled(2, sold("0.10"))
    second.close()
    third = ProgressFile(path, KEY, resume=True)
    tally = third.earlier.tally
    assert tally.recorded.sums == {"EUR": Decimal("12.60")}
    assert tally.statuses == {"recorded": 2, "rejected": 1}
    assert tally.codes == {"NO": 1}
    assert tally.doubtful_upto >= 3
    third.close()


@pytest.mark.parametrize("torn", [b"{", b'{"line":9', b'{"line":9,"status":"recorded"}'])
def test_a_torn_last_line_is_passed_over(path: Path, torn: bytes) -> None:
    """A row that has no line end does not count, and does not spoil the rows after it."""
    interrupted(path)
    with path.open("ab") as file:
        file.write(torn)
    second = ProgressFile(path, KEY, resume=True)
    assert second.earlier.tally.statuses.total() == 2
    second.settled(4, CART)
    second.close()
    third = ProgressFile(path, KEY, resume=True)
    assert third.earlier.tally.statuses.total() == 3
    third.close()


def test_a_torn_header_is_a_run_that_sent_nothing(path: Path) -> None:
    """A run that was killed in its very first write is gone on with from the start."""
    path.write_bytes(b'{"alhena_replay":2,"si')
    ProgressFile(path, KEY, resume=True).close()
    ProgressFile(path, KEY, resume=True).close()


def test_resuming_what_never_began_begins(path: Path) -> None:
    """Without a file, --resume is a first run."""
    file = ProgressFile(path, KEY, resume=True)
    assert file.earlier.tally.statuses.total() == 0
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


@pytest.mark.parametrize(
    "ending",
    [
        CART,
        sold("3.50"),
        sold("43.089999999999996", status="duplicate", was_here=True),
        sold("1", status="coalesced", into="rejected", code="NO"),
        Ending(status="coalesced"),
        Ending(status="unattributed", code="ACTIVE_TICKET_NOT_FOUND"),
    ],
)
def test_a_row_says_all_of_an_ending(path: Path, ending: Ending) -> None:
    """A run that goes on counts it as the run did that saw it."""
    file = ProgressFile(path, KEY)
    file.settled(1, ending)
    file.close()
    expected = Tally()
    expected.take_earlier(ending)
    again = ProgressFile(path, KEY, resume=True)
    assert again.earlier.tally == expected
    again.close()


def test_an_input_that_has_grown_is_gone_on_with(path: Path) -> None:
    """From a complete run and an interrupted one; from then on it is known as it is now."""
    file = ProgressFile(path, KEY)
    file.settled(1, CART)
    file.complete(INPUT)
    file.close()
    with pytest.raises(ProgressError, match="has grown since: --resume sends what is new"):
        ProgressFile(path, GROWN)
    for _ in range(2):
        resumed = ProgressFile(path, GROWN, resume=True)
        assert 1 in resumed.earlier.lines
        resumed.close()
    with pytest.raises(ProgressError, match="was interrupted"):
        ProgressFile(path, GROWN)
    with pytest.raises(ProgressError, match="another input"):
        ProgressFile(path, KEY, resume=True)  # it has shrunk


def test_a_run_is_complete_as_far_as_it_read(path: Path) -> None:
    """What was added while it ran, and was read, is not new afterwards."""
    file = ProgressFile(path, KEY)
    file.settled(1, CART)
    file.complete(GROWN.input)
    file.close()
    with pytest.raises(ProgressError, match="was completed: --restart"):
        ProgressFile(path, GROWN)


def test_a_complete_run_of_another_input_is_made_room_for(path: Path) -> None:
    """Another file of the same name is another run; an interrupted one would be lost."""
    interrupted(path)
    other = attrs.evolve(KEY, input=Identity(size=100, sha256="00fe"))
    with pytest.raises(ProgressError, match="of another input: give another --progress, or"):
        ProgressFile(path, other)
    file = ProgressFile(path, KEY, resume=True)
    file.complete(INPUT)
    file.close()
    anew = ProgressFile(path, other)
    assert anew.forgotten == "another input"
    assert not anew.earlier.tally.statuses
    anew.close()
    with pytest.raises(ProgressError, match="another input"):
        ProgressFile(path, KEY, resume=True)


def test_a_run_elsewhere_is_another_run(path: Path) -> None:
    """A complete one too is forgotten only when that is said."""
    file = ProgressFile(path, KEY)
    file.complete(INPUT)
    file.close()
    for other in (
        attrs.evolve(KEY, destination="https://eu.alhena.ai/"),
        attrs.evolve(KEY, company_key="other"),
    ):
        with pytest.raises(ProgressError, match=r"is of another (destination|company key): give"):
            ProgressFile(path, other)


def test_a_run_that_settled_nothing_can_be_forgotten(path: Path) -> None:
    """As if it had never been."""
    file = ProgressFile(path, KEY)
    file.sending(1)
    file.forget()
    file.close()
    assert not path.exists()
    ProgressFile(path, attrs.evolve(KEY, company_key="other")).close()


def test_nobody_else_reads_it(path: Path) -> None:
    """Mode 0600, also where an earlier version left it open to all."""
    for _ in range(2):
        ProgressFile(path, KEY, restart=True).close()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        path.chmod(0o644)


def test_nothing_is_written_through_a_link(path: Path) -> None:
    """Whatever it leads to is left as it was, or is not made."""
    path.symlink_to("elsewhere")
    with pytest.raises(ProgressError, match="is a symbolic link: give another --progress"):
        ProgressFile(path, KEY, restart=True)
    assert not path.with_name("elsewhere").exists()


def test_an_interrupted_run_is_not_overwritten(path: Path) -> None:
    """A new run does not wipe out what --resume needs, unless it is told to."""
    interrupted(path)
    with pytest.raises(ProgressError, match="--resume goes on"):
        ProgressFile(path, KEY)
    anew = ProgressFile(path, KEY, restart=True)
    assert anew.earlier.tally.statuses.total() == 0
    anew.close()


def test_a_complete_run_is_not_sent_all_over_again(path: Path) -> None:
    """A run that was completed is begun anew only when told to; resumed, it has nothing left."""
    file = ProgressFile(path, KEY)
    file.settled(1, CART)
    file.complete(INPUT)
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
    with pytest.raises(ProgressError, match="holds something else: give another --progress"):
        ProgressFile(path, KEY, **options)
    assert path.read_bytes() == b'{"orders": "of the whole year"}\n'


@pytest.mark.parametrize(
    "row",
    [
        b"nonsense\n",
        b'{"line":1,"status":"recorded"}\n',
        b'{"line":99999999999999,"status":"recorded"}\n',
        b'{"line":"x"}\n',
        b'{"size":5}\n',
        b'{"line":5,"status":"recorded","value":"x","currency":"EUR"}\n',
        b"[]\n",
        b"5\n",
        b"[" * 100_000 + b"\n",
    ],
    ids=["word", "twice", "huge", "text", "size", "value", "list", "number", "deep"],
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
    upto = ProgressFile(path, KEY, resume=True).earlier.tally.doubtful_upto
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
