"""Hold the emulator to its OpenAPI documents: `python -m tests.openapi.run --cases 100000`.

Schemathesis makes requests from the document, sound and broken ones, and holds each answer against
it. The emulator counts what it got by itself. Its own addresses get a tenth of the cases on top.
"""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs

from alhena_async.testing import EmulatorThread

__all__ = ["Held", "hold", "main"]

_HOOKS = Path(__file__).with_name("hooks.py")

EVENTS = "openapi.json"
"""The vendor's two endpoints."""

CONTROL = "_emulator/openapi.json"
"""The emulator's own addresses."""

_OPERATIONS = {EVENTS: 2, CONTROL: 9}

_ENDLESS = "/_emulator/events"
"""A stream, which ends when its reader leaves."""

_CASES_PER_RUN = 10_000
"""What it has tried stays in its memory: more runs, each with a seed of its own, need less."""


@attrs.frozen(kw_only=True)
class Held:
    """What came of a run."""

    status: int
    """Of schemathesis: 0 where every answer is as the document says."""
    cases: int
    """Requests that the two endpoints got, by the emulator's count; 0 for the other document."""
    told: str
    """What schemathesis wrote."""


def hold(document: str, *, cases: int, seed: int) -> Held:
    """Run schemathesis against an emulator that records all that is sound.

    Args:
        document: `EVENTS` or `CONTROL`.
        cases: How many at random, together; its table of edge cases adds some two hundred.
        seed: Of those at random.
    """
    token = secrets.token_urlsafe()
    with EmulatorThread(token=token) as emulator, tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(
            [
                str(Path(sys.executable).with_name("schemathesis")),
                *("run", f"{emulator.url}{document}", "--url", emulator.url.rstrip("/")),
                *("--exclude-path", _ENDLESS, "-H", f"X-Emulator-Token: {token}"),
                *("--phases", "examples,coverage,fuzzing", "--generation-database", "none"),
                *("--max-examples", str(-(-cases // _OPERATIONS[document])), "--seed", str(seed)),
                *("--suppress-health-check", "all", "--no-color", "--warnings", "off"),
            ],
            cwd=directory,
            env={**os.environ, "SCHEMATHESIS_HOOKS": str(_HOOKS)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return Held(status=done.returncode, cases=emulator.requests, told=done.stdout)


def main() -> int:
    """Run from a shell: print what schemathesis wrote of failures, and how many requests came.

    Returns:
        The exit status: 0 where nothing failed and as many cases as wanted came.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000, help="of the two endpoints")
    parser.add_argument(
        "--seed", type=int, default=1, help="of the first run; the next has the next"
    )
    parser.add_argument("--jobs", type=int, default=1, help="runs at once")
    options = parser.parse_args()
    logging.disable()  # a request with a NUL in a header is refused by aiohttp, with a traceback
    count = -(-options.cases // _CASES_PER_RUN)
    each = -(-options.cases // count)
    runs = [(EVENTS, each, options.seed + number) for number in range(count)]
    runs.append((CONTROL, -(-options.cases // 10), options.seed))

    def run(document: str, cases: int, seed: int) -> Held:
        held = hold(document, cases=cases, seed=seed)
        failed = f"failed\n{held.told}" if held.status else "as documented"
        print(f"{document}, {cases:,} cases, seed {seed}: {failed}", flush=True)
        return held

    with ThreadPoolExecutor(options.jobs) as pool:
        ended = list(pool.map(run, *zip(*runs, strict=True)))
    cases, failed = sum(held.cases for held in ended), sum(held.status != 0 for held in ended)
    print(f"{cases:,} requests to the two endpoints, {failed} of {len(ended)} runs failed")
    return int(failed > 0 or cases < options.cases)


if __name__ == "__main__":
    raise SystemExit(main())
