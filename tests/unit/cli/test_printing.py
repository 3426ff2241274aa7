"""Tables are whole on any terminal."""

from __future__ import annotations

import io
from collections import Counter
from decimal import Decimal

import pytest
from rich.console import Console, RenderableType
from rich.table import Column

from alhena_async.cli._console import Grid, Whole
from alhena_async.cli._summary import counted, outcomes, run_facts, sums
from alhena_async.cli._tally import Tally
from alhena_async.observers import Stats

SUM = Decimal("123456789012.345")


def printed(renderable: RenderableType, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, markup=False, highlight=False)
    console.print(Whole(renderable), crop=False)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [1, 20, 44, 80, 120])
def test_money_is_never_cut_off(width: int) -> None:
    """However narrow the terminal is, every digit of every sum is printed."""
    names = ("In the file", "Recorded", "Not recorded")
    (table,) = sums({name: {"EUR": SUM, "USD": SUM} for name in names})
    assert printed(table, width).count("123,456,789,012.345") == 6


def test_a_narrow_terminal_gets_a_line_for_each_number() -> None:
    """At 44 columns three sums side by side have no room: they stand below each other."""
    names = ("In the file", "Recorded", "Not recorded")
    (table,) = sums({name: {"EUR": SUM} for name in names})
    assert [line.rstrip() for line in printed(table, 44).splitlines()] == [
        "Revenue       EUR",
        "In the file   123,456,789,012.345",
        "Recorded      123,456,789,012.345",
        "Not recorded  123,456,789,012.345",
    ]
    assert len(printed(table, 80).splitlines()) == 2


@pytest.mark.parametrize("width", range(30, 80, 7))
def test_no_cell_is_cut_that_should_stay_whole(width: int) -> None:
    """Where a column may not be broken into lines, all of it is there, or the table is none."""
    grid = Grid(Column("File", no_wrap=True), Column("Oldest", no_wrap=True, justify="right"))
    grid.add_row("00000001 and more.events", "123 min")
    lines = [line.rstrip() for line in printed(grid, width).splitlines()]
    assert sum("00000001 and more.events" in line for line in lines) == 1
    assert sum("123 min" in line for line in lines) == 1


@pytest.mark.parametrize("width", [44, 60, 80])
def test_codes_are_never_broken(width: int) -> None:
    """The longest of the API's codes can be copied as it is, with its number beside or below."""
    code = "PREVIOUS_QUANTITY_INCREASED_EVENT_NOT_FOUND"
    (table,) = counted("Refused because", "Events", Counter({code: 1234, "NO": 5}))
    lines = [line.rstrip() for line in printed(table, width).splitlines()]
    assert sum(code in line for line in lines) == 1
    assert sum(line.endswith("1,234") for line in lines) == 1
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("width", [20, 44])
def test_counts_are_never_cut_off(width: int) -> None:
    """However narrow the terminal is, every digit of every count is printed."""
    (table,) = outcomes(Counter({"recorded": 123_456_789}))
    assert "123,456,789" in printed(table, width)
    tally = Tally(upto=987_654_321, finished=123_456_789)
    shown = printed(run_facts(tally, Stats(requests=135_792_468), 7620), width)
    for told in ("987,654,321", "135,792,468", "2 h 07 min"):
        assert told in shown


def test_nothing_has_no_heading() -> None:
    """Without a single event there is no table of outcomes."""
    assert outcomes(Counter()) == []
    assert outcomes(Counter(recorded=0)) == []
