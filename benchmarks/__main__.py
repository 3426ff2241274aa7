"""Measures everything that is claimed, and writes down what came out.

    python -m benchmarks                      # all scenarios
    python -m benchmarks delivery stall       # some of them; the others' last results stay
    python -m benchmarks --rounds 2 delivery  # fewer turns, for a first look: nothing is written

The results are `latest.json`, `results.md` and a plot for each scenario that has one; and the table
of all claims in docs/performance.md.
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import machine, report
from benchmarks.scenario import Case, Figures, Measured, Scenario
from benchmarks.scenarios import SCENARIOS
from benchmarks.scripts import SCRIPTS

_HERE = Path(__file__).parent
_RESULTS = _HERE / "results"
_PAGE = _HERE.parent / "docs/performance.md"
_TIMEOUT = 300.0  # seconds for a turn or a script
_SCRIPT_TIMEOUT = 600.0


def _missing(case: Case) -> str | None:
    for need in case.needs:
        try:
            importlib.metadata.version(need)
        except importlib.metadata.PackageNotFoundError:
            return f"{need} is not installed"
    return None


def _scheduler(cases: dict[str, Case], rounds: int | None) -> Iterator[str]:
    """Yield the cases' names in turns."""
    counts = {name: rounds or case.rounds for name, case in cases.items()}
    for turn in range(max(counts.values(), default=0)):
        yield from (name for name, count in counts.items() if turn < count)


def _run_turn(scenario: str, case: str) -> Figures:
    command = [sys.executable, "-m", "benchmarks.turn", scenario, case]
    done = subprocess.run(
        command, cwd=_HERE.parent, capture_output=True, text=True, timeout=_TIMEOUT, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr or f"{scenario}: {case} ended with {done.returncode}")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def _measure(name: str, scenario: Scenario, rounds: int | None, progress: Progress) -> Measured:
    reasons = {case: _missing(scenario.cases[case]) for case in scenario.cases}
    skipped = {case: reason for case, reason in reasons.items() if reason is not None}
    cases = {case: spec for case, spec in scenario.cases.items() if case not in skipped}
    runs: dict[str, list[Figures]] = {case: [] for case in cases}
    plan = list(_scheduler(cases, rounds))
    row = progress.add_task(name, total=len(plan), case="")
    for case in plan:
        progress.update(row, case=case)
        progress.advance(row)
        if case in skipped:
            continue
        try:
            runs[case].append(_run_turn(name, case))
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            skipped[case] = f"it failed: {str(error).strip().splitlines()[-1]}"
            del runs[case]
    progress.update(row, case="")
    return Measured(runs, {**skipped, **scenario.cannot})


def _as_json(scenario: Scenario, measured: Measured) -> dict[str, Any]:
    try:
        claims = scenario.claims(measured)
    except KeyError as error:  # a case that they need has failed
        claims = []
        measured.skipped["what is claimed"] = f"{error} was not measured"
    return {
        "title": scenario.title,
        "measured_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "machine": machine.describe(),
        "claims": [{**attrs.asdict(claim), "is_met": claim.is_met} for claim in claims],
        "runs": measured.runs,
        "skipped": measured.skipped,
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks", description="Measure all that is claimed.")
    parser.add_argument("only", nargs="*", metavar="SCENARIO", help=", ".join(_names()))
    parser.add_argument("--rounds", type=int, help="turns of each case, instead of its own number")
    parser.add_argument("--results", type=Path, metavar="DIR")
    arguments = parser.parse_args()
    if arguments.results is None and arguments.rounds is None:
        arguments.results = _RESULTS
    unknown = set(arguments.only) - set(_names())
    if unknown:
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    return arguments


def _names() -> list[str]:
    return [*SCENARIOS, *SCRIPTS]


def _kept(folder: Path) -> dict[str, Any]:
    """Return what was measured before, each with the machine that it was measured on."""
    latest = folder / "latest.json"
    kept: dict[str, Any] = json.loads(latest.read_text()) if latest.exists() else {}
    for kind in ("scenarios", "scripts"):
        for result in kept.get(kind, {}).values():
            result.setdefault("machine", kept["machine"])
    return kept


def _write(results: dict[str, Any], folder: Path | None) -> None:
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "latest.json").write_text(json.dumps(results, indent=1) + "\n")
    report.write(results, folder)
    if folder == _RESULTS:
        report.amend(_PAGE, results)


def main() -> None:
    arguments = _arguments()
    wanted = arguments.only or _names()
    kept = _kept(arguments.results) if arguments.only and arguments.results else {}
    results: dict[str, Any] = {
        "machine": machine.describe(),
        "scenarios": kept.get("scenarios", {}),
        "scripts": kept.get("scripts", {}),
    }
    console = Console()
    progress = Progress(
        TextColumn("{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[case]}"),
        console=console,
    )
    with progress:
        for name in (name for name in SCENARIOS if name in wanted):
            measured = _measure(name, SCENARIOS[name], arguments.rounds, progress)
            results["scenarios"][name] = _as_json(SCENARIOS[name], measured)
            _write(results, arguments.results)  # what is measured stays, whatever comes next
        for name in (name for name in SCRIPTS if name in wanted):
            row = progress.add_task(name, total=1, case=str(SCRIPTS[name].path.name))
            found = SCRIPTS[name].run(_SCRIPT_TIMEOUT)
            results["scripts"][name] = {**found, "machine": machine.describe()}
            _write(results, arguments.results)
            progress.update(row, advance=1, case="")
    console.print(report.claims_table(results))
    console.print(f"written to {arguments.results}" if arguments.results else "nothing is written")


if __name__ == "__main__":
    main()
