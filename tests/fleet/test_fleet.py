"""A fleet of real processes under load: nothing is lost, nothing comes late."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from tests.fleet.life import Settings, live
from tests.nats_process import PROGRAM

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no nats-server")

_SMALL = Settings(visitors=60, rate=60.0, partitions=8, workers=3)


async def test_workers_and_a_broker_that_are_killed_and_stopped(tmp_path: Path) -> None:
    """By SIGKILL, by SIGSTOP for longer than the lease, by SIGTERM; the server by SIGKILL."""
    settings = attrs.evolve(_SMALL, kinds=("kill", "stop", "stop", "term", "broker"))
    figures = await live(tmp_path / "fleet", settings, faults=5)
    assert set(figures.faults) == {"kill", "stop", "term", "broker"}
    assert figures.verdict.events > 100


async def test_three_servers_lose_one(tmp_path: Path) -> None:
    """The others go on, each event on all disks before its publisher is told."""
    settings = attrs.evolve(_SMALL, nodes=3, sync="always", kinds=("broker",))
    figures = await live(tmp_path / "fleet", settings, faults=1)
    assert figures.faults == {"broker": 1}
    assert figures.verdict.events > 50


def test_the_command_tells_what_it_found() -> None:
    """`make fleet KILLS=1`."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fleet.run", "--kills", "1", "--visitors", "20",
         "--rate", "20", "--workers", "2", "--kinds", "kill", "--partitions", "4"],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 kill: 0 lost, 0 out of order" in done.stdout
