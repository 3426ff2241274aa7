"""An order that is committed is reported, wherever its shop dies: each driver, each line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.outbox import DRIVERS
from tests.patience import PATIENCE
from tests.postgres_process import MISSING

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> str:
    """Run the command: it forks, and so wants a process without threads."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash.outbox", *arguments],
        check=False, capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("shop", DRIVERS)
def test_a_shop_that_is_killed_between_begin_and_answer(shop: str) -> None:
    """125 kills: orders committed = orders recorded, none more, none twice, in order."""
    assert "none twice" in run("--kills", "125", "--shop", shop)


@pytest.mark.parametrize("shop", DRIVERS)
def test_a_shop_whose_connections_are_cut(shop: str) -> None:
    """Also where it cannot know whether its order was committed."""
    assert "none twice" in run("--cuts", "--kills", "40", "--shop", shop)


def test_relays_that_are_killed_and_stopped() -> None:
    """Nothing is lost or reordered, and nothing comes again behind a later one."""
    arguments = ["--faults", "6", "--rate", "150", "--visitors", "40", "--workers", "3"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash.outbox_relays", *arguments],
        check=False, capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
