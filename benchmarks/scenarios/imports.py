"""How long the import takes that a service pays at each start."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from benchmarks.scenario import Case, Claim, Figures, Measured, Scenario

__all__ = ["SCENARIO"]

_CODE = """\
import time, aiohttp
wall, cpu = time.perf_counter(), time.process_time()
import alhena_async
print(time.perf_counter() - wall, time.process_time() - cpu)
"""


def _import() -> Figures:
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": folder}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        runs = [_run(environment) for _ in range(6)][1:]  # the first one compiles
    wall, cpu = map(min, zip(*runs, strict=True))
    return {"wall_ms": wall * 1e3, "cpu_ms": cpu * 1e3}


def _run(environment: dict[str, str]) -> tuple[float, float]:
    done = subprocess.run(
        [sys.executable, "-c", _CODE], capture_output=True, text=True, check=True, env=environment
    )
    wall, cpu = map(float, done.stdout.split())
    return wall, cpu


def _claims(measured: Measured) -> list[Claim]:
    return [
        Claim.of_turns(
            "import of `alhena_async` on top of `import aiohttp`",
            measured.turns("import", "wall_ms"),
            unit="ms",
            at_most=20,
        )
    ]


SCENARIO = Scenario(
    title="Import",
    how=(
        "A fresh interpreter imports aiohttp, then `alhena_async`; the second is what is timed. "
        "Both are compiled, as an installer leaves them. A turn is the best of five."
    ),
    cases={"import": Case(measure=_import, rounds=5)},
    claims=_claims,
    figures={"wall_ms": "wall ms", "cpu_ms": "CPU ms"},
)
