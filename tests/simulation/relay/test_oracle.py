"""The oracle finds each kind of fault, and lets pass what may be."""

from __future__ import annotations

from typing import Any

from tests.simulation.relay.oracle import Arrival, History, Verdict, judge

PROMISED = {"a": ["a1", "a2", "a3"], "b": ["b1"]}


def verdict(arrived: str, promised: Any = None, **more: Any) -> Verdict:
    """Judge events that arrived in this order."""
    arrivals = [Arrival(name) for name in arrived.split()]
    return judge(History(promised=promised or PROMISED, arrivals=arrivals, **more))


def test_what_may_be_passes() -> None:
    """Visitors among each other, a repeat right behind itself, letters, what nobody promised."""
    assert verdict("a1 b1 a2 a3").sins == []
    assert verdict("b1 a1 a1 a2 a3", faults=1, held=1).sins == []
    assert verdict("a1 a3 b1", letters={"a2"}).sins == []
    assert verdict("a1 x9 a2 a3 b1").sins == []


def test_a_loss() -> None:
    """Neither recorded nor among the letters."""
    found = verdict("a1 a3 b1")
    assert found.lost == 1
    assert found.sins == ["1 lost", "lost: a2"]


def test_a_first_arrival_behind_a_later_one() -> None:
    """Also if what is later comes again."""
    assert verdict("a1 a3 a2 b1").reordered == 1
    assert verdict("a3 a1 a2 b1").reordered == 2
    assert verdict("a1 a3 a2 b1").stale == 0


def test_a_repeat_behind_a_later_one() -> None:
    """It is no new disorder if the later one is then repeated too."""
    found = verdict("a1 a2 a1 a3 b1", faults=1, held=1)
    assert (found.reordered, found.stale, found.repeats) == (0, 1, 1)
    assert verdict("a1 a2 a2 a3 b1", faults=1, held=1).stale == 0


def test_more_repeats_than_there_are_reasons() -> None:
    """Faults times what a worker holds, and answers that the API lost."""
    assert verdict("a1 a1 a2 a3 b1").too_many == 1
    assert verdict("a1 a1 a1 a2 a3 b1", faults=1, held=1).too_many == 1
    assert verdict("a1 a1 a1 a2 a3 b1", faults=1, held=1, excused=1).too_many == 0


def test_an_order_that_is_accepted_twice() -> None:
    """By its id, and one without an id by its name."""
    promised = {"a": ["o1", "o2"]}
    same = [Arrival("o1", "id"), Arrival("o2", "id")]
    assert judge(History(promised=promised, arrivals=same)).twice == 1
    bare = verdict("o1 o1 o2", promised, not_sent_twice={"o1"}, faults=1, held=1)
    assert bare.twice == 1
