"""No damage keeps a client from starting, loses in silence, or is delivered twice: a sample."""

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from tests.damage.directories import make_masters, mutations
from tests.damage.run import judge, single_bits

PARTS = 4


@pytest.fixture(scope="module")
def masters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The directories that are damaged."""
    return make_masters(tmp_path_factory.mktemp("masters"))


def test_whole_directories_have_nothing_wrong(masters: dict[str, Path], tmp_path: Path) -> None:
    """The masters are sound, and what the oracle finds is the damage's."""
    for name in masters:
        assert judge(masters, tmp_path, (name, "nothing", lambda _: None)) == []


@pytest.mark.parametrize("part", range(PARTS))
def test_single_bits(masters: dict[str, Path], tmp_path: Path, part: int) -> None:
    """Every 97th of those that decide: headers, logs, notes, tables, of both kinds of file."""
    for case in itertools.islice(single_bits(97), part, None, PARTS):
        assert judge(masters, tmp_path, case) == []


@pytest.mark.parametrize("part", range(PARTS))
def test_mutated_directories(masters: dict[str, Path], tmp_path: Path, part: int) -> None:
    """One to three damages at random."""
    for seed in range(part * 20, part * 20 + 20):
        what, mutate = mutations(seed)
        assert judge(masters, tmp_path, (("closed", "killed")[seed % 2], what, mutate)) == []


def test_the_command_tells_what_it_found() -> None:
    """`make damage DIRECTORIES=3`, and few single bits."""
    few = ["--directories", "3", "--step", "2000", "--jobs", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.damage.run", *few],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "damaged directories in" in done.stdout
