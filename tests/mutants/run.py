"""Break the engine's rules one at a time, and show that the suite notices each.

    python -m tests.mutants.run [NAME ...] [--jobs N] [--report FILE]

Each mutant is one change of text in a copy of the project; the suite runs there until its first
failure, the unit tests of the mutant's own folder first. Killed: a test failed, or hung past the
time that the untouched suite needs twice over. The untouched copy runs first: a suite that
fails by itself shows nothing.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import functools
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
)  # fmt: skip
PATIENCE = 3_600.0
"""Seconds that the untouched suite may take."""
MIN_TIMEOUT = 600.0
"""Seconds that a mutant is given at least; otherwise twice what the untouched suite took."""
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)


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
    return [mutant.suite] if mutant.suite else [_nearest(mutant), SUITE]


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
        "-p", "no:cacheprovider", "-p", "no:randomly", *paths,
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
    found = _FAILED.search(done.stdout)
    if done.returncode == 0:
        return False, "every test passed"
    return True, found.group(1) if found else done.stdout.strip().splitlines()[-1]


def main() -> int:
    """Run the mutants that were asked for; 0 if the suite killed them all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="mutants to run (default: all)")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--report", type=Path, help="write the table as Markdown")
    asked = parser.parse_args()
    mutants = [each for each in MUTANTS if not asked.names or each.name in asked.names]
    untouched = try_mutant(None, PATIENCE)
    print(f"untouched: {untouched.by} ({untouched.seconds:.0f} s)", flush=True)
    if untouched.killed:
        return 2
    trial = functools.partial(try_mutant, timeout=max(MIN_TIMEOUT, 2 * untouched.seconds))
    results = []
    with concurrent.futures.ThreadPoolExecutor(asked.jobs) as pool:
        for result in pool.map(trial, mutants):
            results.append(result)
            assert result.mutant is not None
            verdict = "killed  " if result.killed else "SURVIVED"
            place = f"[{len(results)}/{len(mutants)}]"
            print(f"{place} {verdict} {result.mutant.name}: {result.by}", flush=True)
    if asked.report:
        asked.report.write_text(_markdown(results))
    return 0 if all(result.killed for result in results) else 1


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
