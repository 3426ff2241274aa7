"""Run many seeds on several cores: `python -m tests.simulation.run --seeds 1-1000 --jobs 2`."""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from tests.simulation.life import Broken, Figures, run_seed
from tests.simulation.results import Result, Results, total

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


def run_quietly(task: tuple[int, int, float]) -> Result:
    """Run one seed of a pool; return its figures, and what it found."""
    seed, events, faults = task
    began = time.process_time()
    figures, finding = Figures(seeds=1), None
    try:
        figures = run_seed(seed, events=events, faults=faults)
    except Broken as error:
        finding = str(error)
    except Exception:  # noqa: BLE001  it must not end the other seeds' run
        finding = f"seed {seed}: the simulation failed\n{traceback.format_exc()}"
    gc.collect()
    figures.cpu_seconds = time.process_time() - began
    return Result(seed=seed, events=events, faults=faults, figures=figures, finding=finding)


def main() -> int:
    """Run the seeds, show progress, print the figures. Returns 1 if a promise was broken.

    Whoever stops it (SIGINT, SIGTERM) gets the figures of the seeds so far. With `--results` they
    are in the file, and the same command goes on where this one was stopped.
    """
    arguments = _parse()
    leg = Results(arguments.results) if arguments.results else None
    done = leg.resume(events=arguments.events, faults=arguments.faults) if leg else []
    seeds = set(seeds_of(arguments.seeds)) - {result.seed for result in done}
    tasks = [(seed, arguments.events, arguments.faults) for seed in sorted(seeds)]
    progress = _Progress(done, len(tasks))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        for result in _results(tasks, arguments.jobs):
            if leg:
                leg.append(result)
            progress.add(result)
    _say(f"{progress}\n{_report(progress.total)}")
    _say(f"{progress.findings} of {progress.total.seeds} seeds broke a promise")
    return 1 if progress.findings else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Simulate lives of the client.")
    parser.add_argument("--seeds", default="1-100", help="7, 1-100 or 1-10,42 (default 1-100)")
    parser.add_argument("--events", type=int, default=1_000, help="events of a seed (1000)")
    parser.add_argument("--faults", type=float, default=0.08, help="share of requests (0.08)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (1)")
    parser.add_argument(
        "--results", type=Path, help="append each seed's figures here; skip those that are there"
    )
    return parser.parse_args()


class _Progress:
    """The figures so far, shown now and then.

    Args:
        done: The results of earlier runs, which count as well.
        seeds: How many are to come.
    """

    def __init__(self, done: Sequence[Result], seeds: int) -> None:
        self.total = total(done)
        self.findings = sum(result.finding is not None for result in done)
        self._seeds = self.total.seeds + seeds
        self._earlier = self.total.events
        self._began = self._shown = time.perf_counter()

    @property
    def seconds(self) -> float:
        """How long this run has taken."""
        return time.perf_counter() - self._began

    def add(self, result: Result) -> None:
        """Add a seed; say what it found, and every few seconds how far things are."""
        self.total.add(result.figures)
        self.total.fingerprint = result.figures.fingerprint
        if result.finding is not None:
            self.findings += 1
            _say(result.finding + "\n")
        if time.perf_counter() - self._shown > _PROGRESS_EVERY:
            self._shown = time.perf_counter()
            _say(str(self))

    def __str__(self) -> str:
        rate = (self.total.events - self._earlier) / self.seconds
        return (
            f"{self.total.seeds:,} of {self._seeds:,} seeds, {self.total.events:,} events, "
            f"{self.seconds:,.0f} s, {rate:,.0f} events/s, {self.findings} findings"
        )


def _results(tasks: Sequence[tuple[int, int, float]], jobs: int) -> Iterator[Result]:
    _spare_the_collector()
    if jobs == 1:
        yield from map(run_quietly, tasks)
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(jobs, initializer=_spare_the_collector) as pool:
        yield from pool.imap_unordered(run_quietly, tasks)


def _spare_the_collector() -> None:
    """Sweep up a life's litter at its end, and look through nothing else: all modules stay."""
    gc.disable()
    gc.freeze()


def _report(figures: Figures) -> str:
    rate = figures.events / (figures.cpu_seconds or 1.0)
    hours = figures.virtual_seconds / 3600
    sent = f"{figures.requests:,} requests, {figures.faults:,} faults injected"
    lines = [
        f"{figures.seeds:,} seeds, {figures.lives:,} lives of a client",
        f"{figures.events:,} events accepted, {sent}",
        f"{figures.repeated:,} events recorded twice, each after an ambiguous fault",
        f"{figures.spilled:,} events on disk alone at some time",
        f"{figures.steps:,} steps judged, {figures.recounts:,} full recounts",
        f"{hours:,.0f} hours of virtual time in {figures.cpu_seconds:,.0f} s of CPU",
        f"{rate:,.0f} events per second of CPU",
    ]
    ended = ", ".join(f"{count:,} {status}" for status, count in figures.outcomes.most_common())
    if figures.seeds == 1:
        lines.append(f"fingerprint {figures.fingerprint}")
    return "\n".join([*lines, ended])


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
