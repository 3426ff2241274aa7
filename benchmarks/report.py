"""The results for people: a page in Markdown, a table for the terminal, and the plots."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.scenario import Measured, Scenario
from benchmarks.scenarios import SCENARIOS

__all__ = ["amend", "claims_table", "write"]

_BEGIN, _END = "<!-- what follows is written by make bench -->", "<!-- up to here -->"

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


def amend(page: Path, results: dict[str, Any]) -> None:
    """Put the table of all claims into a page of the docs, between the marks that it has for it."""
    before, begin, rest = page.read_text().partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise ValueError(f"{page} has no place for the figures: {_BEGIN} ... {_END}")
    lines = [begin, "", _measured_on(results), "", *_claimed(results), "", end]
    page.write_text(before + "\n".join(lines) + after)


def _measured_on(results: dict[str, Any]) -> str:
    machine = results["machine"]
    days = sorted({one["measured_at"][:10] for one in results["scenarios"].values()})
    return (
        f"Measured on {' to '.join(dict.fromkeys((days[0], days[-1])))}: {machine['cores']} cores, "
        f"{machine['processor']}, {machine['python']}, aiohttp {machine['libraries']['aiohttp']}; "
        f"load before the run: {machine['load_average'][0]:g}."
    )


def _claimed(results: dict[str, Any]) -> Iterator[str]:
    """Yield the table of all claims, and which of them are missed."""
    yield from _table(
        ("figure", "measured", "target", "reached"),
        [
            (claim["what"], _value(claim), _target(claim), _MARKS[claim["is_met"]])
            for claim in _claims(results)
        ],
    )
    yield from ("", *_missed(results))


def _claims(results: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in SCENARIOS:
        if name in results["scenarios"]:
            yield from results["scenarios"][name]["claims"]


def _value(claim: dict[str, Any]) -> str:
    unit = claim["unit"]
    joint = "" if unit in {"x", "%", "/s"} else " "
    return _spread(claim["value"], claim.get("turns") or [], f"{joint}{unit}")


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
    yield from _claimed(results)
    for name, scenario in SCENARIOS.items():
        if name in results["scenarios"]:
            yield from _section(name, scenario, results["scenarios"][name], drawn)
    for script in results["scripts"].values():
        yield from ("", f"## {script['title']}", "")
        if "skipped" in script:
            yield f"Skipped: {script['skipped']}."
        else:
            yield from ("```", script["text"].rstrip(), "```")


def _missed(results: dict[str, Any]) -> Iterator[str]:
    missed = [claim for claim in _claims(results) if claim["is_met"] is False]
    if not missed:
        yield "Nothing that is aimed at was missed."
        return
    yield from (f"Missed, {len(missed)} of them:", "")
    for claim in missed:
        yield f"- {claim['what']}: {_value(claim)}, where {_target(claim)} is aimed at"


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
    rows = list(_rows(scenario, measured))
    if rows:
        heads = [*scenario.figures.values(), *([scenario.ratio.heading] if scenario.ratio else [])]
        yield from _table(("case", *heads, "turns"), rows)
    elif not scenario.cases:
        yield "Skipped: what it needs is not beside the project."


def _rows(scenario: Scenario, measured: Measured) -> Iterator[tuple[str, ...]]:
    """Yield what each case measured; and, of those that were not, why not."""
    for case, runs in measured.runs.items():
        if runs:
            cells = [_median(measured, case, figure) for figure in scenario.figures]
            if scenario.ratio:
                turns = scenario.ratio.turns(measured, case)
                cells.append(_spread(statistics.median(turns), turns) if turns else "")
            yield (case, *cells, str(len(runs)))
    columns = len(scenario.figures) + bool(scenario.ratio)
    for case, reason in measured.skipped.items():
        yield (case, f"not measured: {reason}".replace("|", "/"), *[""] * columns)


def _median(measured: Measured, case: str, figure: str) -> str:
    """Return the figure; nothing where it was measured before there was such a figure."""
    is_there = all(figure in run for run in measured.runs[case])
    return _figure(measured.median(case, figure)) if is_there else ""


def _spread(value: float, turns: list[float], unit: str = "") -> str:
    text = f"{_figure(value)}{unit}"
    return f"{text} ({_figure(min(turns))} to {_figure(max(turns))})" if len(turns) > 1 else text


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
