"""Flame graphs: sampled stacks are joined, trimmed and drawn, and what is sampled runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

import benchmarks.flamegraph
from benchmarks.flamegraph import draw, fold
from benchmarks.flames import FLAMES
from benchmarks.size import TINY
from tests.patience import PATIENCE

ROOT = Path(benchmarks.flamegraph.__file__).parents[1]
STACKS = [
    "<module> (a.py);run (asyncio/events.py:7);send (alhena_async/x.py:1);write (ssl.py:3) 6",
    "<module> (a.py);run (asyncio/events.py:7);send (alhena_async/x.py:1) 2",
    "<module> (a.py);run (asyncio/events.py:7);<lambda> (b.py) 2",
    "<module> (a.py);_import (frozen) 90",
]


def boxes(svg: str) -> dict[str, ET.Element]:
    """Each function's box, by what is told of it."""
    name = "{http://www.w3.org/2000/svg}"
    groups = ET.fromstring(svg).iter(f"{name}g")
    return {one.findtext(f"{name}title") or "": one.find(f"{name}rect") for one in groups}  # type: ignore[misc]


def test_samples_are_joined_below_the_roots() -> None:
    """What was sampled elsewhere, such as imports, is left out, and so is what called the roots."""
    tree = fold(STACKS, roots=["run"], name="title")
    assert tree.samples == 10
    [run] = tree.called.values()
    assert (run.function, run.file, run.samples) == ("run", "asyncio/events.py", 10)
    assert [(one.function, one.samples) for one in run.called.values()] == [
        ("send", 8),
        ("<lambda>", 2),
    ]
    assert tree.depth == 4


def test_a_box_is_as_wide_as_its_share() -> None:
    """Below its caller, beside the others that this one calls, in the colour of whose it is."""
    drawn = boxes(draw(fold(STACKS, roots=["run"], name="title")))
    shares = {told: round(float(box.get("width", ""))) for told, box in drawn.items()}
    assert shares == {
        "run (asyncio/events.py): 100.0%": 1000,
        "send (alhena_async/x.py): 80.0%": 800,
        "write (ssl.py): 60.0%": 600,
        "<lambda> (b.py): 20.0%": 200,
    }
    assert len({box.get("fill") for box in drawn.values()}) == 4
    assert drawn["<lambda> (b.py): 20.0%"].get("x") == "800.0"


def test_nothing_sampled_is_a_drawing_still() -> None:
    """A title and a legend."""
    assert boxes(draw(fold([], roots=["run"], name="<nothing>"))) == {}


@pytest.mark.parametrize("name", FLAMES)
def test_what_is_sampled_works_until_it_is_told_to_end(name: str) -> None:
    """It says when it is warm, and ends when its standard input does."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.flames", "--take", name],
        cwd=ROOT,
        env={**os.environ, TINY: "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "warm\n"), done.stderr
