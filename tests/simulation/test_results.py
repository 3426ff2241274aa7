"""What a long run writes down is enough to go on from, and to add up."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import attrs
import pytest

from tests.simulation import results as summary
from tests.simulation.life import Figures
from tests.simulation.results import Result, Results, seeds_as_text, table, total
from tests.simulation.run import seeds_of

_ROOT = Path(__file__).parents[2]


def _result(seed: int, finding: str | None = None) -> Result:
    figures = Figures(seeds=1, events=1_000, steps=3_000, cpu_seconds=0.5, fingerprint=f"f{seed}")
    figures.outcomes = Counter(recorded=900 + seed, expired=seed)
    return Result(seed=seed, events=1_000, faults=0.08, figures=figures, finding=finding)


def _run(results: Path, seeds: str, *more: str) -> str:
    command = [sys.executable, "-m", "tests.simulation.run", "--seeds", seeds, "--events", "50"]
    run = subprocess.run(
        [*command, "--results", str(results), *more],
        cwd=_ROOT, env=os.environ, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return run.stdout


def test_what_is_appended_is_read_back(tmp_path: Path) -> None:
    """Every figure and every finding survives the file."""
    results, written = Results(tmp_path / "leg"), [_result(1), _result(2, "a promise\nwas broken")]
    for result in written:
        results.append(result)
    assert results.read() == written
    assert [result.figures.cpu_seconds for result in results.read()] == [0.5, 0.5]


def test_a_file_that_is_not_there_yet_has_no_results(tmp_path: Path) -> None:
    """A leg begins without ceremony."""
    results = Results(tmp_path / "leg")
    assert results.resume(events=1_000, faults=0.08) == results.read() == []


@pytest.mark.parametrize("cut", [1, 20, -1])
def test_a_line_that_a_kill_cut_off_is_run_again(tmp_path: Path, cut: int) -> None:
    """Whatever of its last line was written, the others count, and the file goes on cleanly."""
    path = tmp_path / "leg"
    path.write_text(_result(1).as_line() + _result(2).as_line()[:cut])
    results = Results(path)
    assert results.read() == results.resume(events=1_000, faults=0.08) == [_result(1)]
    results.append(_result(3))
    assert results.read() == [_result(1), _result(3)]


def test_a_seed_counts_once(tmp_path: Path) -> None:
    """Two runs over the same seeds add nothing to each other."""
    results = Results(tmp_path / "leg")
    for seed in (1, 2, 1):
        results.append(_result(seed))
    assert total(results.read()).events == 2_000


def test_figures_are_the_same_in_any_order() -> None:
    """Processes end their seeds in any order; the sum does not show which."""
    results = [_result(seed) for seed in range(1, 7)]
    for result in results:
        result.figures.virtual_seconds = 0.1 * result.seed
    orders = list(itertools.permutations(results))
    assert len({sum(one.figures.virtual_seconds for one in order) for order in orders}) > 1
    assert all(total(order) == total(results) for order in orders)


@pytest.mark.parametrize("other", [{"events": 50, "faults": 0.08}, {"events": 1_000, "faults": 0}])
def test_figures_of_another_leg_are_not_added(tmp_path: Path, other: dict[str, float]) -> None:
    """Seeds of other events or faults are other lives: the file is refused, and left alone."""
    results = Results(tmp_path / "leg")
    results.append(_result(1))
    with pytest.raises(ValueError, match="is of 1000 events a seed"):
        results.resume(**other)  # type: ignore[arg-type]
    assert results.read() == [_result(1)]


def test_a_run_goes_on_where_another_stopped(tmp_path: Path) -> None:
    """In two goes or in one, by one process or two: the same seeds give the same figures."""
    parts, whole = tmp_path / "parts", tmp_path / "whole"
    _run(parts, "1-2")
    said = _run(parts, "1-5", "--jobs", "2")
    _run(whole, "1-5")
    assert "5 of 5 seeds" in said
    assert sorted(result.seed for result in Results(parts).read()) == [1, 2, 3, 4, 5]
    in_parts, at_once = (total(Results(path).read()) for path in (parts, whole))
    assert in_parts == attrs.evolve(at_once, fingerprint=in_parts.fingerprint)
    before = parts.read_text()
    _run(parts, "1-5")
    assert parts.read_text() == before


def test_seeds_are_told_as_they_are_read() -> None:
    """What a table names can be given to a run as it stands."""
    assert seeds_as_text([3, 1, 2, 9, 11, 12]) == "1-3,9,11-12"
    assert seeds_of(seeds_as_text({5, 7, 8})) == [5, 7, 8]


def test_the_table_has_a_column_for_each_leg_and_one_for_the_sum() -> None:
    """Counts add up; the rate is of the whole, not a mean of rates."""
    lines = table([[_result(1), _result(2, "broken")], [_result(7)]]).splitlines()
    assert lines[0] == "|  | `SEEDS=1-2` | `SEEDS=7` | together |"
    assert "| events accepted | 2,000 | 1,000 | 3,000 |" in lines
    assert "| events per second of CPU | 2,000 | 2,000 | 2,000 |" in lines
    assert "| seeds that broke a promise | 1 | 0 | 1 |" in lines


def test_the_summary_tells_what_was_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A finding is printed beneath the table, and the command fails."""
    good, bad = Results(tmp_path / "good"), Results(tmp_path / "bad")
    good.append(_result(1))
    bad.append(_result(2, "seed 2: a promise was broken"))
    assert summary.main([str(tmp_path / "good")]) == 0
    assert summary.main([str(tmp_path / "good"), str(tmp_path / "bad")]) == 1
    assert "seed 2: a promise was broken" in capsys.readouterr().out
