"""Run many seeds: `python -m tests.simulation.relay.run --seeds 1-1000 --jobs 2`."""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import sys
import time
from collections.abc import Iterator

from tests.simulation.relay.life import Broken, Figures, run_seed
from tests.simulation.run import seeds_of

__all__ = ["main"]


def main() -> int:
    """Run the seeds, print the figures. Returns 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description="Simulate publishers and relays.")
    parser.add_argument("--seeds", default="1-1000", help="7, 1-100 or 1-10,42 (default 1-1000)")
    parser.add_argument("--events", type=int, default=30, help="events of a seed (30)")
    parser.add_argument("--faults", type=float, default=0.08, help="share of requests (0.08)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (1)")
    given = parser.parse_args()
    tasks = [(seed, given.events, given.faults) for seed in seeds_of(given.seeds)]
    total, findings = Figures(), 0
    for figures, finding in _results(tasks, given.jobs):
        total.add(figures)
        if finding is not None:
            findings += 1
            _say(finding)
    _say(_report(total))
    _say(f"{findings} of {len(tasks)} seeds broke a promise")
    return 1 if findings else 0


def _results(
    tasks: list[tuple[int, int, float]], jobs: int
) -> Iterator[tuple[Figures, str | None]]:
    if jobs == 1:
        yield from map(_run, tasks)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(_run, tasks)


def _run(task: tuple[int, int, float]) -> tuple[Figures, str | None]:
    seed, events, faults = task
    began = time.process_time()
    try:
        figures, finding = run_seed(seed, events=events, faults=faults), None
    except Broken as error:
        figures, finding = Figures(seeds=1), str(error)
    gc.collect()
    figures.cpu_seconds = time.process_time() - began
    return figures, finding


def _report(total: Figures) -> str:
    return (
        f"{total.seeds:,} lives, {total.events:,} events published, {total.requests:,} requests, "
        f"{total.faults:,} faults of relays and broker\n"
        f"{total.redelivered:,} handed out again, {total.repeats:,} recorded again, "
        f"{total.letters:,} letters, {total.fenced:,} sessions fenced\n"
        f"{total.virtual_seconds / 3600:,.0f} hours of virtual time "
        f"in {total.cpu_seconds:,.0f} s of CPU"
    )


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
