"""Kill many processes: `python -m tests.crash.run --kills 1000 --seed 1`."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.crash.child import MAX_IN_FLIGHT
from tests.crash.lives import Broken, Figures, live_and_die

__all__ = ["main"]

_KILLS_OF_ONE = 20
"""Kills on one directory."""


async def _run(kills: int, seed: int, jobs: int) -> Figures:
    figures = Figures()
    parts = [min(_KILLS_OF_ONE, kills - done) for done in range(0, kills, _KILLS_OF_ONE)]
    waiting = iter(enumerate(parts, seed))
    began = time.monotonic()

    async def work() -> None:
        for number, part in waiting:
            with tempfile.TemporaryDirectory() as base:
                figures.add(await live_and_die(Path(base) / "j", seed=number, kills=part))
            seconds = time.monotonic() - began
            print(f"{figures.kills} kills in {seconds:.0f} s: {figures}", flush=True)

    async with asyncio.TaskGroup() as group:
        for _ in range(jobs):
            group.create_task(work())
    return figures


def main() -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1, help="the first; each directory has its own")
    parser.add_argument("--jobs", type=int, default=2, help="directories at once")
    given = parser.parse_args()
    try:
        figures = asyncio.run(_run(given.kills, given.seed, given.jobs))
    except ExceptionGroup as group:
        broken, rest = group.split(Broken)
        if rest is not None:
            raise
        print(*(broken.exceptions if broken else ()), sep="\n", file=sys.stderr)
        return 1
    beyond = max(0, figures.repeated - figures.excusable)
    print(
        f"{figures.kills} kills, {figures.promised} events accepted, none lost, none out of order; "
        f"{figures.spilled} of them were on disk alone; {figures.compared} pairs that different "
        "processes had accepted were compared"
    )
    print(
        f"{figures.repeated} recorded twice: {figures.excusable} answers were lost by the "
        f"emulator's faults, so that at least {beyond / figures.kills:.1f} a kill are the kills'"
    )
    doubtful = max(0, figures.letters - figures.doubtful)
    print(
        f"{figures.letters} of what may not be repeated ended UNKNOWN: at least "
        f"{doubtful / figures.kills:.2f} a kill, and {MAX_IN_FLIGHT} are the most that may"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
