"""The way of an event through the files, counted: it goes down, floor by floor."""

from __future__ import annotations

import pytest

from alhena_async.testing import run_virtually
from benchmarks.trace import climbs, delivered_event, files, track_nowait

CLIMBS = 3
"""At most; a checkout's stands for the queue that calls `on_ready`."""
FILES = 22
"""One more the first time that a reply is read in a process."""


@pytest.mark.parametrize("what", ["a cart event", "a cart event that folds", "a checkout"])
def test_track_nowait_goes_down_through_the_house(what: str) -> None:
    """Whoever reads along goes back up to a higher floor three times at most."""
    calls = run_virtually(track_nowait)[what]
    assert len(climbs(calls)) <= CLIMBS, climbs(calls)


def test_a_delivered_event_passes_few_files() -> None:
    """From `track_nowait` to the outcome."""
    run_virtually(delivered_event)
    passed = files(run_virtually(delivered_event))
    assert len(passed) <= FILES, passed
