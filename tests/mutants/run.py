"""Break the engine's rules one at a time, and show that the suite notices each.

    python -m tests.mutants.run [NAME ...] [--jobs N] [--results FILE] [--report FILE]

Each mutant is one change of text in a copy of the project; the suite runs there until its first
failure: what noticed it the last time, then the unit tests of the mutant's own folder, then all.
Killed: a test failed, or hung past the time that the untouched suite needs twice over. The
untouched copy runs first: a suite that fails by itself shows nothing. All of them take an hour or
two: with --results a run that was ended goes on where it stopped.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import functools
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import attrs

from tests.mutants.table import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]
REPORT = ROOT / "docs" / "internals" / "mutants.md"
"""What the last run of all found."""
SUITE = (
    "tests/unit",
    "tests/integration/test_exchange.py",
    "tests/integration/test_transport.py",
    "tests/properties",
    "tests/simulation",
    "tests/integration/test_delivery.py",
    "tests/integration/test_reply_table.py",
)
LEFT_OUT = (
    "tests/unit/cli", "tests/unit/emulator", "tests/unit/test_surface.py",
    # Of the text of the code, and of the pages: any mutant would be noticed by these.
    "tests/unit/test_architecture.py", "tests/unit/test_house.py", "tests/unit/test_mutants.py",
    "tests/unit/test_operations.py", "tests/unit/test_trace.py", "tests/unit/test_bench_results.py",
    "tests/unit/test_pages.py", "tests/unit/test_promises.py",
)  # fmt: skip
PATIENCE = 3_600.0
"""Seconds that the untouched suite may take."""
MIN_TIMEOUT = 600.0
"""Seconds that a mutant is given at least; otherwise twice what the untouched suite took."""
_FAILED = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - |$)", re.MULTILINE)
_TEST_TIMEOUT = 150.0
"""Seconds that one test may take: a rule whose breaking makes one hang is noticed by that test."""
_RAN_NOTHING = (4, 5)
"""pytest's exit statuses where the test that it was told to run is not there: nobody noticed."""


@attrs.frozen
class Result:
    """What the suite said of one mutant."""

    mutant: Mutant | None
    killed: bool
    by: str
    seconds: float


def try_mutant(mutant: Mutant | None, timeout: float) -> Result:
    """Run the suite against one mutant, or against the untouched project."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copy = Path(folder) / "project"
        _copy_project(copy)
        if mutant is not None:
            file = copy / "alhena_async" / mutant.file
            file.write_text(mutant.apply(file.read_text()))
        began = time.monotonic()
        for suite in _suites(mutant):
            failed, by = _run_suite(copy, suite, timeout)
            if failed:
                break
        return Result(mutant, failed, by, time.monotonic() - began)


def _copy_project(copy: Path) -> None:
    parts = ("alhena_async", "pytest_alhena.py", "benchmarks", "examples", "tests", "docs")
    for name in (*parts, "pyproject.toml", "README.md"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            copy.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, copy / name)


def _suites(mutant: Mutant | None) -> Sequence[Sequence[str]]:
    """Return what is run, one after the other until something fails."""
    if mutant is None:
        return [SUITE]
    last = [[test] for test in (_noticed_by().get(mutant.rule),) if test]
    return [*last, *([mutant.suite] if mutant.suite else [_nearest(mutant), SUITE])]


@functools.cache
def _noticed_by() -> dict[str, str]:
    """Return the test that noticed each broken rule the last time, where it is still there."""
    rows = (line.strip("| ").split(" | ") for line in REPORT.read_text().splitlines())
    found = {row[0]: row[2].strip("`") for row in rows if len(row) == 3}
    return {rule: test for rule, test in found.items() if _is_there(test)}


def _is_there(test: str) -> bool:
    file, _, name = test.partition("::")
    path = ROOT / file
    return bool(name) and path.is_file() and f"def {name.partition('[')[0]}(" in path.read_text()


def _nearest(mutant: Mutant) -> Sequence[str]:
    """Return the tests that are likely to notice it, and soon done."""
    room, _, file = mutant.file.rpartition("/")
    stem = file.removesuffix(".py").strip("_")
    unit = ROOT / "tests" / "unit"
    near = unit / (room.strip("_") if room else f"test_{stem}.py")
    found = (near, *sorted(unit.glob("test_client_*.py")))
    return [str(path.relative_to(ROOT)) for path in found if path.exists()]


def _holds_any(folder: str, paths: Sequence[str]) -> bool:
    return any(path.startswith(f"{folder}/") for path in paths)


def _run_suite(copy: Path, suite: Sequence[str], timeout: float) -> tuple[bool, str]:
    paths = [path for path in suite if (copy / path.partition("::")[0]).exists()]
    command = [
        sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "--tb=no", "-n", "0",
        f"--timeout={_TEST_TIMEOUT:.0f}", "-p", "no:cacheprovider", "-p", "no:randomly", *paths,
        *(f"--ignore={path}" for path in LEFT_OUT if not _holds_any(path, paths)),
    ]  # fmt: skip
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(copy),
        "SIMULATION_SEEDS": "80",
        "SIMULATION_EVENTS": "1000",
    }
    try:
        done = subprocess.run(
            command,
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return True, f"hung for {timeout:.0f} s"
    if done.returncode < 0:  # it took all the memory, as an endless answer may
        return True, f"ended by signal {-done.returncode}"
    found = _FAILED.search(done.stdout)
    if done.returncode == 0 or (done.returncode in _RAN_NOTHING and not found):
        return False, "every test passed"
    if not found:
        raise RuntimeError(f"pytest ended with {done.returncode}: {done.stdout}{done.stderr}")
    return True, found.group(1)


def main() -> int:
    """Run the mutants that were asked for; 0 if the suite killed them all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="mutants to run (default: all)")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--report", type=Path, help="write the table as Markdown")
    parser.add_argument("--results", type=Path, help="keep each result here, and skip what it has")
    asked = parser.parse_args()
    mutants = [each for each in MUTANTS if not asked.names or each.name in asked.names]
    results = _kept(asked.results, mutants)
    known = {result.mutant for result in results}
    remaining = [mutant for mutant in mutants if mutant not in known]
    untouched = try_mutant(None, PATIENCE)
    print(f"untouched: {untouched.by} ({untouched.seconds:.0f} s)", flush=True)
    if untouched.killed:
        return 2
    trial = functools.partial(try_mutant, timeout=max(MIN_TIMEOUT, 2 * untouched.seconds))
    with concurrent.futures.ThreadPoolExecutor(asked.jobs) as pool:
        for result in pool.map(trial, remaining):
            results.append(result)
            _keep(asked.results, result)
            verdict = "killed  " if result.killed else "SURVIVED"
            place = f"[{len(results)}/{len(mutants)}]"
            print(f"{place} {verdict} {_name(result)}: {result.by}", flush=True)
    names = [mutant.name for mutant in mutants]
    results.sort(key=lambda result: names.index(_name(result)))
    if asked.report:
        asked.report.write_text(_markdown(results))
    return 0 if all(result.killed for result in results) else 1


def _name(result: Result) -> str:
    assert result.mutant is not None
    return result.mutant.name


def _kept(file: Path | None, mutants: Sequence[Mutant]) -> list[Result]:
    """Return the results that an earlier run kept of these mutants."""
    if file is None or not file.exists():
        return []
    by_name = {mutant.name: mutant for mutant in mutants}
    rows = map(json.loads, file.read_text().splitlines())
    return [
        Result(by_name[row["name"]], row["killed"], row["by"], row["seconds"])
        for row in rows
        if row["name"] in by_name
    ]


def _keep(file: Path | None, result: Result) -> None:
    if file is None:
        return
    row = {
        "name": _name(result),
        "killed": result.killed,
        "by": result.by,
        "seconds": result.seconds,
    }
    with file.open("a") as lines:
        lines.write(json.dumps(row) + "\n")


def _markdown(results: list[Result]) -> str:
    killed = sum(result.killed for result in results)
    lines = [
        "# Mutants",
        "",
        f"{killed} of {len(results)} broken rules are noticed by the suite (`make mutants`).",
        "",
        "| rule that is broken | where | noticed by |",
        "|---|---|---|",
    ]
    for result in results:
        assert result.mutant is not None
        by = f"`{result.by}`" if result.killed else "**nothing**"
        lines.append(f"| {result.mutant.rule} | `{result.mutant.file}` | {by} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
