"""The results for people: a page in Markdown, a table for the terminal, and the plots."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.scenario import Measured, Scenario
from benchmarks.scenarios import SCENARIOS

__all__ = ["claims_table", "write"]

_MARKS = {True: "yes", False: "no", None: ""}


def claims_table(results: dict[str, Any]) -> Table:
    """Return all claims, for a terminal."""
    table = Table("figure", "measured", "target", "reached")
    for claim in _claims(results):
        style = "red" if claim["is_met"] is False else ""
        table.add_row(
            claim["what"], _value(claim), _target(claim), _MARKS[claim["is_met"]], style=style
        )
    return table


def write(results: dict[str, Any], folder: Path) -> None:
    """Write `results.md` and the plots into the folder."""
    drawn = _draw_all(results, folder)
    (folder / "results.md").write_text("\n".join(_page(results, drawn)) + "\n")


def _claims(results: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in SCENARIOS:
        if name in results["scenarios"]:
            yield from results["scenarios"][name]["claims"]


def _value(claim: dict[str, Any]) -> str:
    unit = claim["unit"]
    text = _figure(claim["value"])
    text = f"{text}{unit}" if unit in {"x", "%", "/s"} else f"{text} {unit}"
    turns = claim.get("turns")
    return f"{text} ({_figure(min(turns))} to {_figure(max(turns))})" if turns else text


def _target(claim: dict[str, Any]) -> str:
    if claim["at_most"] is not None:
        return f"{claim['at_most']:g} or less"
    return "" if claim["at_least"] is None else f"{claim['at_least']:g} or more"


def _page(results: dict[str, Any], drawn: list[str]) -> Iterator[str]:
    machine = results["machine"]
    yield "# Results of `make bench`"
    yield ""
    yield f"{_described(machine)} Load before the run: {machine['load_average'][0]:g}."
    yield ""
    for name, result in {**results["scenarios"], **results["scripts"]}.items():
        other = _described(result.get("machine", machine))
        if other != _described(machine):
            yield from (f"Not so `{name}`, which was measured before: {other}", "")
    yield from _table(
        ("figure", "measured", "target", "reached"),
        [
            (claim["what"], _value(claim), _target(claim), _MARKS[claim["is_met"]])
            for claim in _claims(results)
        ],
    )
    for name, scenario in SCENARIOS.items():
        if name in results["scenarios"]:
            yield from _section(name, scenario, results["scenarios"][name], drawn)
    for script in results["scripts"].values():
        yield from ("", f"## {script['title']}", "")
        if "skipped" in script:
            yield f"Skipped: {script['skipped']}."
        else:
            yield from ("```", script["text"].rstrip(), "```")


def _described(machine: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine["libraries"].items())
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']:g} GiB, "
        f"{machine['system']}, {machine['python']}. {versions}."
    )


def _section(
    name: str, scenario: Scenario, result: dict[str, Any], drawn: list[str]
) -> Iterator[str]:
    measured = Measured(result["runs"], result["skipped"])
    yield from ("", f"## {scenario.title}", "", scenario.how, "")
    if name in drawn:
        yield from (f"![{scenario.title}]({name}.png)", "")
    cases = [case for case, runs in measured.runs.items() if runs]
    if cases:
        yield from _table(
            ("case", *scenario.figures.values(), "turns"),
            [
                (
                    case,
                    *(_figure(measured.median(case, figure)) for figure in scenario.figures),
                    str(len(measured.runs[case])),
                )
                for case in cases
            ],
        )
    for case, reason in result["skipped"].items():
        yield from ("", f"Skipped: {case}, since {reason}.")
    if not cases and not scenario.cases:
        yield "Skipped: what it needs is not beside the project."


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    yield "| " + " | ".join(heads) + " |"
    yield "|" + "---|" * len(heads)
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def _draw_all(results: dict[str, Any], folder: Path) -> list[str]:
    """Draw what can be drawn; return the names."""
    try:
        import matplotlib as mpl
        from cycler import cycler
    except ImportError:
        return []
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    plt.rcParams.update(
        {
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.prop_cycle": cycler(color=["#7a8ca3", "#d9641e", "#3b7d6e"]),
            "font.size": 10,
            "svg.fonttype": "none",
        }
    )
    drawn = []
    for name, scenario in SCENARIOS.items():
        result = results["scenarios"].get(name)
        if scenario.draw is None or result is None or not result["runs"]:
            continue
        rows = max(4, len(result["runs"]))
        figure, axes = plt.subplots(figsize=(8, 1.2 + 0.36 * rows), layout="constrained")
        with contextlib.suppress(KeyError):  # a case that it shows has failed
            scenario.draw(Measured(result["runs"], result["skipped"]), axes)
            figure.savefig(folder / f"{name}.png", dpi=110)
            drawn.append(name)
        plt.close(figure)
    return drawn
