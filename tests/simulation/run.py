"""Run many seeds on several cores: `python -m tests.simulation.run --seeds 1-1000 --jobs 2`."""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

from tests.simulation.life import Broken, Figures, run_seed

__all__ = ["main", "run_quietly", "seeds_of"]

_PROGRESS_EVERY = 10.0
"""Seconds of real time between two lines of progress."""


def seeds_of(text: str) -> list[int]:
    """Return the seeds of `7`, `1-100` or `1-10,42`."""
    seeds: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        seeds.extend(range(int(first), int(last or first) + 1))
    return seeds


def run_quietly(task: tuple[int, int, float]) -> tuple[Figures, str | None]:
    """Run one seed of a pool; return its figures, and what it found."""
    seed, events, faults = task
    try:
        return run_seed(seed, events=events, faults=faults), None
    except Broken as error:
        return Figures(seeds=1), str(error)
    finally:
        gc.collect()


def main() -> int:
    """Run the seeds, show progress, print the figures. Returns 1 if a promise was broken."""
    arguments = _parse()
    tasks = [(seed, arguments.events, arguments.faults) for seed in seeds_of(arguments.seeds)]
    total, findings, began = Figures(), [], time.perf_counter()
    shown = began
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):  # then the figures are those of the seeds so far
        for figures, finding in _results(tasks, arguments.jobs):
            total.add(figures)
            total.fingerprint = figures.fingerprint
            if finding is not None:
                findings.append(finding)
                _say(finding + "\n")
            now = time.perf_counter()
            if now - shown > _PROGRESS_EVERY:
                shown = now
                _say(_progress(total, now - began))
    _say(_report(total, time.perf_counter() - began, arguments))
    _say(f"{len(findings)} of {total.seeds} seeds broke a promise")
    return 1 if findings else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Simulate lives of the client.")
    parser.add_argument("--seeds", default="1-100", help="7, 1-100 or 1-10,42 (default 1-100)")
    parser.add_argument("--events", type=int, default=1_000, help="events of a seed (1000)")
    parser.add_argument("--faults", type=float, default=0.08, help="share of requests (0.08)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (1)")
    return parser.parse_args()


def _results(
    tasks: list[tuple[int, int, float]], jobs: int
) -> Iterator[tuple[Figures, str | None]]:
    gc.disable()  # a life is short, and it is swept up at its end
    if jobs == 1:
        yield from map(run_quietly, tasks)
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(jobs, initializer=gc.disable) as pool:
        yield from pool.imap_unordered(run_quietly, tasks, chunksize=4)


def _progress(total: Figures, seconds: float) -> str:
    rate = total.events / seconds
    return f"{total.seeds} seeds, {total.events:,} events, {seconds:.0f} s, {rate:,.0f} events/s"


def _report(total: Figures, seconds: float, arguments: argparse.Namespace) -> str:
    rate = total.events / seconds
    hours = total.virtual_seconds / 3600
    sent = f"{total.requests:,} requests, {total.faults:,} faults injected"
    lines = [
        f"{total.seeds:,} seeds, {total.lives:,} lives of a client",
        f"{total.events:,} events accepted, {sent}",
        f"{total.repeated:,} events recorded twice, each after an ambiguous fault",
        f"{total.steps:,} steps judged, {total.recounts:,} full recounts",
        f"{hours:,.0f} hours of virtual time in {seconds:,.0f} s of {arguments.jobs} jobs",
        f"{rate:,.0f} events/s",
    ]
    ended = ", ".join(f"{count:,} {status}" for status, count in total.outcomes.most_common())
    if total.seeds == 1:
        lines.append(f"fingerprint {total.fingerprint}")
    return "\n".join([*lines, ended])


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
