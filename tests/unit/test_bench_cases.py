"""The cases of the bench measure what they name: a hundredth of it, and no figure is judged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import scenarios
from benchmarks.__main__ import _missing
from benchmarks.scenarios import SCENARIOS
from benchmarks.size import TINY
from tests.patience import PATIENCE

ROOT = Path(scenarios.__file__).parents[2]
CASES = [
    ("enqueue", "alhena-async"),
    ("enqueue", "confluent-kafka's produce"),
    ("delivery", "alhena-async, TLS"),
    ("delivery", "raw sockets, TLS, uvloop"),
    ("delivery", "Mixpanel, TLS"),
    ("wire", "TLS"),
    ("journal", "TLS, journal"),
    ("stages", "TLS"),
    ("stages", "HTTP: connection, head and reply, uvloop"),
    ("stall", "over TLS"),
    ("latency", "10 ms, TLS"),
]


@pytest.mark.parametrize(("scenario", "case"), CASES)
def test_a_case_measures_what_its_table_shows(scenario: str, case: str) -> None:
    """Each in a process of its own, as `make bench` runs it."""
    if reason := _missing(SCENARIOS[scenario].cases[case]):
        pytest.skip(reason)
    turn = [sys.executable, "-m", "benchmarks.turn", scenario, case]
    done = subprocess.run(
        turn,
        cwd=ROOT,
        env={**os.environ, TINY: "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert set(SCENARIOS[scenario].figures) <= set(figures)
