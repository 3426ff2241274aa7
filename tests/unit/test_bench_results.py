"""What a partial run of the bench leaves of the results that are there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest

from benchmarks import report
from benchmarks.__main__ import _kept
from benchmarks.scenario import Ratio
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


def test_the_page_says_what_was_missed(kept: dict[str, Any], tmp_path: Path) -> None:
    """With the figure and its aim, below the table that has them all."""
    assert "\nNothing that is aimed at was missed.\n" in page(kept, tmp_path)
    claims = kept["scenarios"]["coalescing"]["claims"]
    claims.append(
        {"what": "stall", "value": 4.2, "unit": "ms", "at_most": 3, "at_least": None,
         "turns": [4.0, 4.2, 5.0], "is_met": False}
    )  # fmt: skip
    text = page(kept, tmp_path)
    assert "\n| stall | 4.2 ms (4 to 5) | 3 or less | no |\n" in text
    assert "\nMissed, 1 of them:\n\n- stall: 4.2 ms (4 to 5), where 3 or less is aimed at\n" in text


def test_who_cannot_take_part_stands_in_the_table(kept: dict[str, Any], tmp_path: Path) -> None:
    """With the reason, beside those that were measured."""
    kept["scenarios"]["coalescing"]["skipped"] = {"PostHog": "it has no such thing"}
    assert "\n| PostHog | not measured: it has no such thing |" in page(kept, tmp_path)


def test_a_ratio_stands_beside_each_case_but_its_own(
    kept: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The median of the turns' ratios, with the least and the most of them."""
    ratio = Ratio(heading="against ours", figure="us", reference=lambda case: "ours")
    scenario = attrs.evolve(SCENARIOS["coalescing"], figures={"us": "us"}, ratio=ratio, draw=None)
    monkeypatch.setitem(SCENARIOS, "coalescing", scenario)
    kept["scenarios"]["coalescing"]["runs"] = {
        "ours": [{"us": 2.0}, {"us": 4.0}, {"us": 5.0}],
        "theirs": [{"us": 4.0}, {"us": 4.0}, {"us": 20.0}],
    }
    text = page(kept, tmp_path)
    assert "\n| case | us | against ours | turns |\n" in text
    assert "\n| ours | 4 |  | 3 |\n" in text
    assert "\n| theirs | 4 | 2 (1 to 4) | 3 |\n" in text


def test_the_docs_have_the_same_table(kept: dict[str, Any], tmp_path: Path) -> None:
    """Between two marks; what stands around them stays, and the second time changes nothing."""
    folder = tmp_path / "page"
    folder.mkdir()
    doc = folder / "performance.md"
    doc.write_text(f"before\n\n{report._BEGIN}\nold\n{report._END}\n\nafter\n")
    report.amend(doc, kept)
    text = doc.read_text()
    assert text.startswith(f"before\n\n{report._BEGIN}\n\nMeasured on ")
    assert text.endswith(f"\n{report._END}\n\nafter\n")
    assert "old" not in text
    rows = [line for line in page(kept, folder).splitlines() if line.startswith("| requests saved")]
    assert len(rows) == 6
    assert all(row in text for row in rows)
    report.amend(doc, kept)
    assert doc.read_text() == text


def test_a_page_without_a_place_for_the_figures_is_left_alone(
    kept: dict[str, Any], tmp_path: Path
) -> None:
    """Nobody's words are overwritten."""
    doc = tmp_path / "page.md"
    doc.write_text(f"words\n{report._BEGIN}\nwords\n")
    with pytest.raises(ValueError, match=r"page\.md has no place"):
        report.amend(doc, kept)
    assert doc.read_text() == f"words\n{report._BEGIN}\nwords\n"
