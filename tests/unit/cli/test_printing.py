"""Tables are whole on any terminal."""

from __future__ import annotations

import io
from collections import Counter
from decimal import Decimal

import pytest
from rich.console import Console, RenderableType

from alhena_async.cli._console import Whole
from alhena_async.cli._summary import outcomes, revenue, run_facts
from alhena_async.cli._tally import Tally
from alhena_async.observers import Stats

SUM = Decimal("123456789012.345")


def printed(renderable: RenderableType, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, markup=False, highlight=False)
    console.print(Whole(renderable), crop=False)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [1, 20, 45, 100])
def test_money_is_never_cut_off(width: int) -> None:
    """However narrow the terminal is, every digit of every sum is printed."""
    names = ("Input", "Recorded", "On the page")
    (table,) = revenue([(name, {"EUR": SUM}) for name in names])
    assert printed(table, width).count("123,456,789,012.345") == 3


@pytest.mark.parametrize("width", [20, 45])
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
