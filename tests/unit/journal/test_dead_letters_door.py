"""The public door to dead letters and to a journal's directory, which the command uses alone."""

import contextlib
import json
import math
import os
import re
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
from click.testing import CliRunner

from alhena_async import JournalError, OutcomeStatus
from alhena_async.cli._commands import alhena
from alhena_async.journal import (
    DeadLetter,
    DeadLetterFilter,
    DeadLetters,
    FileReport,
    SQLiteJournal,
    inspect_journal,
)
from tests.journals import DESTINATION, KEY, cart, committed, ended, files_in, opened, order

ROOT = Path(__file__).resolve().parents[3]


async def refuse(
    journal: SQLiteJournal,
    *numbers: int,
    status: OutcomeStatus = OutcomeStatus.REJECTED,
    code: str | None = "WHY",
    checkouts: bool = False,
) -> None:
    """End events badly."""
    make = order if checkouts else cart
    for number in numbers:
        event = make(number)
        assigned = f"A{number}" if checkouts else None
        journal.settle([ended(None, status, event=event, code=code, order_id=assigned)])
    await journal.sync()


@pytest.fixture
async def directory(tmp_path: Path) -> Path:
    """Five dead letters: two carts and a checkout refused, a cart expired, a checkout unknown."""
    async with opened(tmp_path / "j") as journal:
        await refuse(journal, 1, 2)
        await refuse(journal, 3, checkouts=True)
        await refuse(journal, 4, status=OutcomeStatus.EXPIRED, code=None)
        await refuse(journal, 5, status=OutcomeStatus.UNKNOWN, code=None, checkouts=True)
    return tmp_path / "j"


def listed(directory: Path, **wanted: object) -> list[int]:
    """Return the numbers of the letters that a filter lets through."""
    with DeadLetters(directory) as letters:
        return [letter.id for letter in letters.list(DeadLetterFilter(**wanted))]  # type: ignore[arg-type]


def test_of_several_who_claim_a_letter_one_gets_it(directory: Path) -> None:
    """As it was read, or not at all: also not once it was noted or deleted since."""
    with DeadLetters(directory) as letters, DeadLetters(directory) as others:
        first, second, third = letters.list(DeadLetterFilter(limit=3))
        assert others.claim(first)
        assert not letters.claim(first)
        others.note(second.id, "recorded")
        assert not letters.claim(second)
        others.purge(DeadLetterFilter(ids=(third.id,)))
        assert not letters.claim(third)
        assert not others.claim(first)  # a second time: it stands otherwise than it was read
        assert letters.claim(letters.list(DeadLetterFilter(ids=(first.id,)))[0])
    assert listed(directory, resent_statuses=("sending",)) == [first.id]
    assert listed(directory, resent_statuses=("sending", "recorded")) == [first.id, second.id]


def test_one_at_a_time_holds_the_letters(directory: Path) -> None:
    """Until he lets go of them; looking and noting are everybody's."""
    with DeadLetters(directory) as letters, DeadLetters(directory) as others:
        assert letters.hold()
        letters.note(1, "recorded")  # opens the file anew, to write
        assert not others.hold()
        assert others.note(2, "recorded")
        letters.close()
        assert others.hold()
    (directory / "dead-letters.lock").unlink()
    (directory / "dead-letters.lock").symlink_to("elsewhere")
    with DeadLetters(directory) as letters, pytest.raises(JournalError, match="symbolic link"):
        letters.hold()


def test_each_says_what_it_was_and_why_it_ended(directory: Path) -> None:
    """With the event as it was sent: under the order id that was assigned."""
    with DeadLetters(directory) as letters:
        first, *_, last = letters.list()
    assert (first.id, first.kind, first.status, first.code) == (1, "cart", "rejected", "WHY")
    assert (first.company_key, first.destination, first.resent) == (KEY, DESTINATION, None)
    assert first.event() == cart(1)
    assert last.event() == attrs.evolve(order(5), order_id="A5")
    form = last.form()
    assert form is not None
    assert (form["value"], form["currency"]) == (19, "EUR")


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, [1, 2, 3, 4, 5]),
        ({"ids": [2, 5, 99]}, [2, 5]),
        ({"ids": range(3, 100_000)}, [3, 4, 5]),
        ({"codes": ["WHY"]}, [1, 2, 3]),
        ({"codes": ["WHY"], "kinds": ["checkout"]}, [3]),
        ({"statuses": [OutcomeStatus.EXPIRED, OutcomeStatus.UNKNOWN]}, [4, 5]),
        ({"kinds": ("cart",), "limit": 2}, [1, 2]),
        ({"company_keys": ["another"]}, []),
        ({"resent": True}, []),
        ({"resent": False, "limit": 0}, []),
        ({"since": 0.0, "until": 1e12}, [1, 2, 3, 4, 5]),
        ({"until": 0.0}, []),
    ],
)
def test_a_filter_narrows_with_each_field(
    directory: Path, wanted: dict[str, object], found: list[int]
) -> None:
    """And widens with each value of one."""
    assert listed(directory, **wanted) == found


@pytest.mark.parametrize("wanted", [{"codes": "WHY"}, {"ids": 3}])
def test_a_filter_takes_several_values(wanted: dict[str, object]) -> None:
    """A string would be its characters; the message says how to write one."""
    with pytest.raises(TypeError, match=re.escape(f"({next(iter(wanted.values()))!r},)")):
        DeadLetterFilter(**wanted)  # type: ignore[arg-type]


def test_they_are_counted_by_status_and_code(directory: Path) -> None:
    """All, or those that are wanted."""
    with DeadLetters(directory) as letters:
        assert letters.count() == {
            ("rejected", "WHY"): 3,
            ("expired", None): 1,
            ("unknown", None): 1,
        }
        assert letters.count(DeadLetterFilter(kinds=["cart"])).total() == 3


def test_what_was_noted_is_read_again_and_taken_back(directory: Path) -> None:
    """When, how it ended this time, and at most 500 characters of why."""
    with DeadLetters(directory) as letters:
        assert letters.note(2, "recorded")
        assert letters.note(3, "rejected", "x" * 600, at=7.0)
        assert not letters.note(99, "recorded")
        (two, three) = letters.list(DeadLetterFilter(resent=True))
        assert two.resent is not None
        assert (two.id, two.resent_status, two.resent_detail) == (2, "recorded", None)
        assert (three.id, three.resent, three.resent_detail) == (3, 7.0, "x" * 500)
        assert letters.note(3, None)
    assert listed(directory, resent=True) == [2]


def test_lines_are_as_replay_reads_them(directory: Path) -> None:
    """In ASCII, with all digits; what is no event any more is left out."""
    with DeadLetters(directory) as letters:
        lines = [json.loads(line) for line in letters.export(DeadLetterFilter(kinds=["checkout"]))]
        (letter,) = letters.list(DeadLetterFilter(ids=[1]))
    assert [line["order_id"] for line in lines] == ["A3", "A5"]
    assert [line["dead_letter"]["id"] for line in lines] == [3, 5]
    odd = attrs.evolve(letter, body='{"value": 1.10, "name": "m\\u00fcg"}', accepted=float("inf"))
    line = odd.line()
    assert line is not None
    assert line.isascii()
    assert '"value": 1.10' in line
    for bad in (attrs.evolve(letter, body="[1"), attrs.evolve(letter, status="unreadable")):
        assert (bad.line(), bad.event()) == (None, None)


def test_what_is_purged_is_gone(directory: Path) -> None:
    """What the filter says, and nothing else."""
    with DeadLetters(directory) as letters:
        assert letters.purge(DeadLetterFilter(kinds=["cart"], limit=2)) == 2
        assert letters.purge(DeadLetterFilter(ids=[99])) == 0
    assert listed(directory) == [3, 4, 5]


async def test_a_journal_at_work_is_not_disturbed(tmp_path: Path) -> None:
    """Its letters are read, noted and purged while it writes; those that follow are seen."""
    async with opened(tmp_path / "j") as journal:
        await refuse(journal, 1)
        with DeadLetters(tmp_path / "j") as letters:
            assert len(letters.list()) == 1
            await refuse(journal, 2)
            assert len(letters.list()) == 2
            assert letters.note(1, "recorded")
            await refuse(journal, 3)
            assert letters.purge(DeadLetterFilter(resent=True)) == 1
            await refuse(journal, 4)
            assert len(letters.list()) == 3


def test_looking_changes_nothing(directory: Path) -> None:
    """No file is made, none is touched, none is left beside the others."""
    before = {path.name: path.stat().st_mtime_ns for path in directory.iterdir()}
    with DeadLetters(directory) as letters:
        letters.list()
        letters.count()
    inspect_journal(directory)
    assert {path.name: path.stat().st_mtime_ns for path in directory.iterdir()} == before


def test_where_nothing_ended_badly_there_is_nothing(tmp_path: Path) -> None:
    """And no file is made for it."""
    with DeadLetters(tmp_path) as letters:
        assert letters.list() == []
        assert not letters.count()
        assert list(letters.export()) == []
        assert letters.purge(DeadLetterFilter()) == 0
        assert not letters.note(1, "recorded")
    assert not list(tmp_path.iterdir())


def test_what_is_no_directory_is_said(tmp_path: Path) -> None:
    """With the path; constructing alone opens nothing."""
    letters = DeadLetters(tmp_path / "none")
    with pytest.raises(JournalError, match="none cannot be read"):
        letters.list()
    (tmp_path / "file").touch()
    for look in (DeadLetters(tmp_path / "file").list, lambda: inspect_journal(tmp_path / "file")):
        with pytest.raises(JournalError, match="file is no directory"):
            look()


@pytest.mark.parametrize("content", [b"garbage" * 2_000, b"\0" * 8_192], ids=["garbage", "zeros"])
def test_a_damaged_file_is_said(directory: Path, content: bytes) -> None:
    """And left as it is: a journal sets it aside."""
    path = directory / "dead-letters.sqlite3"
    path.write_bytes(content)
    with DeadLetters(directory) as letters:
        for act in (letters.list, letters.count, lambda: letters.note(1, "recorded")):
            with pytest.raises(JournalError, match=f"{path.name}.* damaged"):
                act()
    assert inspect_journal(directory).dead_letters_problem
    assert path.read_bytes() == content


async def test_a_directory_tells_what_waits_in_it(tmp_path: Path) -> None:
    """File by file: whose, since when, how much; held while its process lives."""
    async with opened(tmp_path / "j") as journal:
        await committed(journal, [cart(1), cart(2), order(3)])
        await refuse(journal, 4)
        report = inspect_journal(str(tmp_path / "j"))
        (one,) = report.files
        assert isinstance(one, FileReport)
        assert (one.is_held, one.carts, one.checkouts, one.destination) == (True, 2, 1, DESTINATION)
        assert one.pid is not None
        assert one.begun is not None
        assert one.oldest_age is not None
        assert report.dead_letters == {("rejected", "WHY"): 1}
    (one,) = inspect_journal(tmp_path / "j").files
    assert not one.is_held
    (path,) = files_in(tmp_path / "j")
    path.write_bytes(b"garbage" * 1_000)
    (one,) = inspect_journal(tmp_path / "j").files
    assert one.problem is not None
    assert (one.carts, one.destination) == (0, DESTINATION)  # its lock file repeats it


def test_the_door_loads_no_client(tmp_path: Path) -> None:
    """And the journal's words alone load no sqlite3."""
    program = (
        "import sys, alhena_async.journal as j\n"
        "assert 'sqlite3' not in sys.modules\n"
        "assert set(j.__all__) <= set(dir(j)) | set(j._MODULES)\n"
        "assert all(getattr(j, name) for name in j.__all__)\n"
        "assert 'sqlite3' in sys.modules\n"
    )
    # Without what measures coverage in child processes: it keeps its figures in sqlite3.
    environ = {name: text for name, text in os.environ.items() if not name.startswith("COVERAGE")}
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path, env=environ)


def test_the_command_uses_this_door_alone() -> None:
    """Nothing of the journal's insides is imported there."""
    for path in (ROOT / "alhena_async" / "cli").glob("*.py"):
        assert not re.search(r"alhena_async\.journal\._|journal import _", path.read_text()), path


def test_the_file_is_for_its_owner_alone(directory: Path) -> None:
    """It holds what visitors did."""
    assert stat.S_IMODE((directory / "dead-letters.sqlite3").stat().st_mode) == 0o600


ODD = [
    "\x1b[2J\u202e", "x" * 50_000, b"\xff\xfe", 1e308, math.inf, -math.inf, -1, 2**63 - 1, None, "",
]  # fmt: skip
ODD_BODIES = [
    '{"value": 1e999}', '{"value": ' + "9" * 4_000 + "}", '{"value": NaN}', '{"type": ["x"]}',
    "[" * 5_000, "1", "null", '{"line_items": 5}',
]  # fmt: skip


def make_odd(directory: Path) -> int:
    """Add a letter for every odd value in every column; return how many."""
    names = [field.name for field in attrs.fields(DeadLetter) if field.name not in {"id", "origin"}]
    odd = [(name, value) for name in names for value in ODD]
    odd += [("body", value) for value in ODD_BODIES]
    with contextlib.closing(sqlite3.connect(directory / "dead-letters.sqlite3")) as connection:
        for name, value in odd:
            kept = ", ".join("?" if one == name else one for one in names)
            connection.execute(
                f"INSERT INTO letters ({', '.join(names)}) SELECT {kept} FROM letters WHERE id = 1",
                (value,),
            )
        connection.execute("UPDATE letters SET detail = CAST(x'fffe' AS TEXT) WHERE id = 2")
        connection.commit()
    return len(odd)


def test_odd_letters_hide_no_others(directory: Path) -> None:
    """SQLite keeps anything in any column: what cannot be is `unreadable`, the rest is there."""
    count = make_odd(directory)
    with DeadLetters(directory) as letters:
        found = letters.list()
        assert len(found) == letters.count().total() == 5 + count
        assert [letter.status for letter in found[:5]] == [
            "rejected", "unreadable", "rejected", "expired", "unknown",
        ]  # fmt: skip
        for letter in found:
            assert 0 <= letter.ended < 1e12
            assert letter.attempts >= 0
            letter.form()
            letter.event()
        assert 4 < len(list(letters.export())) < 5 + count


@pytest.mark.parametrize("command", ["list", "list --json", "export", "show"])
def test_odd_letters_end_no_command(directory: Path, command: str) -> None:
    """Neither in a traceback nor in what a terminal would obey."""
    count = make_odd(directory)
    words = command.split()
    runs = [[*words, str(directory)]]
    if command == "export":
        runs = [["export", str(directory), "-"]]
    elif command == "show":
        runs = [["show", str(directory), str(number)] for number in range(1, 6 + count, 3)]
    for run in runs:
        result = CliRunner().invoke(alhena, ["dead-letters", *run])
        assert result.exit_code == 0, result.output
        assert not set(result.output) & set("\x1b\x07\x9b\u202e\u200b\x00")


async def test_letters_are_read_as_they_are_now(tmp_path: Path) -> None:
    """Also those of a file that nobody had open when it was first read."""
    async with opened(tmp_path / "j") as journal:
        journal.settle([ended(None, OutcomeStatus.EXPIRED, event=order(1))])
        await journal.sync()
    with DeadLetters(tmp_path / "j") as reader, DeadLetters(tmp_path / "j") as writer:
        (letter,) = reader.list()
        assert writer.claim(letter)
        assert reader.list()[0].resent_status == "sending"
        assert reader.hold()
        assert not writer.hold()
