"""Promises that hold over `kill -9`, and an oracle that would notice if they did not."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.lives import live_and_die
from tests.crash.oracle import Recording, judge

_KILLS = 12


@pytest.mark.parametrize("seed", [3, 5, 8, 13])
async def test_what_was_promised_survives_kills(tmp_path: Path, seed: int) -> None:
    """Recorded in order, orders once, nothing left behind: real processes, faults, SIGKILL."""
    figures = await live_and_die(tmp_path / "j", seed=seed, kills=_KILLS)
    assert figures.kills == _KILLS
    assert figures.promised > _KILLS
    assert figures.compared > _KILLS


async def test_what_was_on_disk_alone_survives_kills(tmp_path: Path) -> None:
    """The same with room for three events in memory, killed in the middle of it."""
    figures = await live_and_die(tmp_path / "j", seed=21, kills=_KILLS, capacity=3)
    assert figures.spilled > figures.kills


def test_the_command_tells_what_it_found() -> None:
    """`make crash KILLS=2`."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash.run", "--kills", "2", "--jobs", "1"],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "2 kills, " in done.stdout


def carts(*names: str) -> list[Recording]:
    """Return recordings of cart events."""
    return [Recording(name=name, is_order=False, order_id=None) for name in names]


def sins(promised: str, recorded: str, *, one_after_another: bool = True) -> list[str]:
    """Return what the oracle has to say."""
    names = recorded.split()
    return judge(promised.split(), carts(*names), one_after_another=one_after_another)[1]


def test_the_oracle_accepts_what_a_kill_may_do() -> None:
    """A tail that is repeated in order, and events that were not promised."""
    assert sins("1.0.0 1.0.1 1.0.2", "1.0.0 1.0.1 1.0.2") == []
    assert sins("1.0.0 1.0.1 2.0.0", "1.0.0 1.0.1 1.0.0 1.0.1 2.0.0") == []
    assert sins("1.0.0", "1.0.0 1.0.1 1.0.0") == []


def test_the_oracle_notices_a_loss() -> None:
    """Unless a dead letter excuses it."""
    assert sins("1.0.0 1.0.1", "1.0.0") == ["1.0.1 was accepted and is lost"]
    assert judge(["1.0.0"], [], excused=["1.0.0"], one_after_another=True)[1] == []


def test_the_oracle_notices_disorder() -> None:
    """In first recordings, in last ones, and over lives that followed each other."""
    assert len(sins("1.0.0 1.0.1", "1.0.1 1.0.0")) == 2
    assert len(sins("1.0.0 1.0.1", "1.0.0 1.0.1 1.0.0")) == 1
    assert len(sins("1.0.0 2.0.0", "2.0.0 1.0.0")) == 2
    assert sins("1.0.0 2.0.0", "2.0.0 1.0.0", one_after_another=False) == []


def test_the_oracle_notices_an_order_recorded_twice() -> None:
    """By its id, and by its event."""
    one = Recording(name="1.0.0", is_order=True, order_id="A")
    two = Recording(name="1.0.1", is_order=True, order_id="A")
    assert judge([], [one, two], one_after_another=True)[1] == ["order A was recorded 2 times"]
    bare = Recording(name="1.0.0", is_order=True, order_id=None)
    twice = ["1.0.0 may not be repeated, and was recorded 2 times"]
    assert judge([], [bare, bare], one_after_another=True)[1] == twice
    both = carts("1.0.0", "1.0.0")
    assert judge([], both, one_after_another=True)[1] == []
    assert judge([], both, one_after_another=True, carts_once=True)[1] == twice
