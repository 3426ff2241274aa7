"""What a partial run of the bench leaves of the results that are there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest

from benchmarks import report
from benchmarks.__main__ import _kept
from benchmarks.scenarios import SCENARIOS

COMMITTED = Path(report.__file__).parent / "results" / "latest.json"


@pytest.fixture
def kept(tmp_path: Path) -> dict[str, Any]:
    """The coalescing scenario, as it stands in the results."""
    latest = json.loads(COMMITTED.read_text())
    coalescing = latest["scenarios"]["coalescing"]
    latest["machine"] = coalescing.pop("machine", latest["machine"])  # the others may differ
    latest["scenarios"] = {"coalescing": coalescing}
    (tmp_path / "latest.json").write_text(json.dumps(latest))
    return _kept(tmp_path)


def page(results: dict[str, Any], folder: Path) -> str:
    report.write(results, folder)
    return (folder / "results.md").read_text()


def test_a_figure_of_another_machine_says_so(kept: dict[str, Any], tmp_path: Path) -> None:
    """The machine at hand stands above the page, and measured nothing of what was kept."""
    assert "was measured before" not in page(kept, tmp_path)
    results = {**kept, "machine": {**kept["machine"], "processor": "an abacus"}}
    text = page(results, tmp_path)
    assert "\nan abacus, " in text
    assert f"Not so `coalescing`, which was measured before: {kept['machine']['processor']}" in text


def test_a_table_stays_where_it_could_not_be_measured(
    kept: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shop's data, say, is only on the machine that measured it."""
    bare = attrs.evolve(SCENARIOS["coalescing"], cases={})
    monkeypatch.setitem(SCENARIOS, "coalescing", bare)
    text = page(kept, tmp_path)
    assert "\n| NET | " in text
    assert "Skipped" not in text
