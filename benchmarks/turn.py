"""One turn of one case, in this process: prints its figures as JSON.

python -m benchmarks.turn SCENARIO CASE
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import sys

from benchmarks.machine import CLIENT_CORE, pin
from benchmarks.scenario import Case, Figures
from benchmarks.scenarios import SCENARIOS


def _take(case: Case) -> Figures:
    begun = case.measure()
    if not inspect.iscoroutine(begun):
        assert isinstance(begun, dict)
        return begun
    if case.uvloop:
        import uvloop

        return uvloop.run(begun)
    figures: Figures = asyncio.run(begun)
    return figures


if __name__ == "__main__":
    _, scenario, case = sys.argv
    logging.disable()
    pin(CLIENT_CORE)
    print(json.dumps(_take(SCENARIOS[scenario].cases[case])))
