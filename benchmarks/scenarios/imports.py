"""How long the import takes that a service pays at each start."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.scenario import Case, Claim, Figures, Measured, Scenario

__all__ = ["SCENARIO"]


def _import() -> Figures:
    code = (
        "import time, aiohttp\n"
        "wall, cpu = time.perf_counter(), time.process_time()\n"
        "import alhena_async\n"
        "print(time.perf_counter() - wall, time.process_time() - cpu)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    wall, cpu = map(float, done.stdout.split())
    return {"wall_ms": wall * 1e3, "cpu_ms": cpu * 1e3}


def _claims(measured: Measured) -> list[Claim]:
    return [
        Claim(
            what="import of `alhena_async` on top of `import aiohttp`",
            value=measured.median("import", "wall_ms"),
            unit="ms",
            at_most=30,
        )
    ]


SCENARIO = Scenario(
    title="Import",
    how="A fresh interpreter imports aiohttp, then `alhena_async`; the second is what is timed.",
    cases={"import": Case(measure=_import, rounds=11)},
    claims=_claims,
    figures={"wall_ms": "wall ms", "cpu_ms": "CPU ms"},
)
