"""The hot paths do no more than they did: operations counted, no time taken."""

from __future__ import annotations

import json

import pytest

from benchmarks.operations import BASELINE, PATHS, TOLERANCE, count, minor_version

KNOWN = json.loads(BASELINE.read_text())

pytest.importorskip("orjson", reason="the baseline was counted with orjson")


@pytest.mark.parametrize("path", PATHS)
def test_a_hot_path_takes_no_more_operations_than_its_baseline(path: str) -> None:
    """Whoever makes one dearer says so, with `make baseline`, in the same change."""
    if minor_version() not in KNOWN:
        pytest.skip(f"there is no baseline for Python {minor_version()}: make baseline")
    counted = count(path)
    for what, most in KNOWN[minor_version()][path].items():
        assert counted[what] <= most * (1 + TOLERANCE), (
            f"{path}: {counted[what]:.1f} {what} an event, the baseline is {most:.1f};"
            " if it is worth that, or attrs has changed what it generates: make baseline"
        )


def test_the_same_code_gives_the_same_count() -> None:
    """The guard is not a matter of luck."""
    assert count("delivery") == count("delivery")
