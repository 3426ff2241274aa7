"""The real engine under a thousand seeds, and the proof that a seed is all there is to it."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.life import Figures, run_seed
from tests.simulation.run import seeds_of

_SHARDS = 20
_SEEDS = int(os.environ.get("SIMULATION_SEEDS", "1000"))  # the mutants make do with fewer
_EVENTS = int(os.environ.get("SIMULATION_EVENTS", "150"))  # and need more; so does a long run
_SPILLS = 8
"""A seed with events on disk alone, some of which are kept in the end."""
_ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("shard", range(_SHARDS))
def test_every_promise_holds_under_faults(shard: int) -> None:
    """1,000 seeds of 150 events, 8% of the requests faulty: no promise is broken."""
    total = Figures()
    gc.disable()  # a life's litter is swept up at its end,
    gc.freeze()  # without a look at all that the other tests have left
    try:
        for seed in range(1 + shard, 1 + _SEEDS, _SHARDS):
            total.add(run_seed(seed, events=_EVENTS, faults=0.08))
            gc.collect()
    finally:
        gc.unfreeze()
        gc.enable()
    assert total.seeds == _SEEDS // _SHARDS
    assert total.events >= _EVENTS * total.seeds
    assert total.faults > total.requests * 0.07  # 8% of a few requests are sometimes fewer
    assert total.repeated, "no ambiguous fault made a duplicate: the faults are too tame"


def test_every_promise_holds_without_faults() -> None:
    """On a network without fault nothing is recorded twice."""
    total = Figures()
    for seed in range(5_000, 5_020):
        total.add(run_seed(seed, events=500, faults=0.0))
    assert total.faults == 0


def test_all_ways_to_end_are_met() -> None:
    """The scenarios are wide enough: a few seeds see every outcome, and events on disk alone."""
    total = Figures()
    for seed in range(6_000, 6_030):
        total.add(run_seed(seed, events=500, faults=0.08))
    assert set(total.outcomes) == {
        "recorded", "duplicate", "coalesced", "unattributed", "rejected", "expired", "unknown",
        "dropped", "abandoned", "kept",
    }  # fmt: skip
    assert total.spilled > 100


def test_a_seed_is_the_same_run_every_time() -> None:
    """Two runs in one process take exactly the same steps at the same times."""
    first, second = run_seed(_SPILLS), run_seed(_SPILLS)
    assert first.fingerprint
    assert first.spilled
    assert first == second
    assert run_seed(_SPILLS + 1).fingerprint != first.fingerprint


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_a_seed_is_the_same_run_in_every_process(hash_seed: str) -> None:
    """Neither the wall clock nor the order of a set leaks into a run."""
    code = f"from tests.simulation.life import run_seed; print(run_seed({_SPILLS}).fingerprint)"
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=_ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == run_seed(_SPILLS).fingerprint


def test_seeds_are_read_as_people_write_them() -> None:
    """One, a range, or several of both."""
    assert seeds_of("7") == [7]
    assert seeds_of("1-3,9") == [1, 2, 3, 9]
