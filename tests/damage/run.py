"""Damage many directories: `python -m tests.damage.run --directories 10000 --seed 1`."""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from tests.damage.directories import Mutation, flips_of, make_masters, mutations, sins_of

__all__ = ["Case", "judge", "main", "single_bits"]

_PARTS: Final = 200
"""Into which a run is cut, so that it can say how far it is."""

_PROGRESS_EVERY: Final = 10.0

Case = tuple[str, str, Mutation]
"""The name of a master, what is done to it in words, and that."""


def single_bits(step: int = 1) -> Iterator[Case]:
    """Go through the bits that decide: SQLite's header in both kinds of file, logs, notes, tables.

    Args:
        step: Only every so many.
    """
    bits = itertools.chain(
        (("closed", *one) for one in flips_of("*1.events", range(100))),
        (("closed", *one) for one in flips_of("*.sqlite3", range(100))),
        (("killed", *one) for one in flips_of("*1.events", range(100))),
        (("killed", *one) for one in flips_of("*.sqlite3", range(100))),
        (("killed", *one) for one in flips_of("*1.events-wal", range(32 + 24 + 100))),
        (("closed", *one) for one in flips_of("*1.lock", range(260))),
        # Behind the header: the tables, and what the file says of itself.
        (("closed", *one) for one in flips_of("*1.events", range(100, 120))),
        (("closed", *one) for one in flips_of("*1.events", range(3_600, 4_096))),
        (("closed", *one) for one in flips_of("*1.events", range(4_096, 4_130))),
        (("closed", *one) for one in flips_of("*1.events", range(7_900, 8_192))),
    )
    yield from itertools.islice(bits, 0, None, step)


def judge(masters: dict[str, Path], base: Path, case: Case) -> list[str]:
    """Damage a copy of a master, and return what is wrong with the starts on it."""
    master, what, mutate = case
    directory = base / "damaged"
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(masters[master], directory)
    mutate(directory)
    return [f"{master}, {what}: {sin}" for sin in sins_of(directory)]


def _cases(count: int, seed: int, step: int) -> Iterator[Case]:
    yield from single_bits(step)
    for number in range(seed, seed + count):
        what, mutate = mutations(number)
        yield ("closed", "killed")[number % 2], what, mutate


def _work(cases: Iterable[Case]) -> tuple[int, list[str]]:
    count, sins = 0, []
    with tempfile.TemporaryDirectory() as base:
        masters = make_masters(Path(base))
        for case in cases:
            count += 1
            sins += judge(masters, Path(base), case)
    return count, sins


def _part(job: tuple[int, int, int, int]) -> tuple[int, list[str]]:
    count, seed, step, number = job
    return _work(itertools.islice(_cases(count, seed, step), number, None, _PARTS))


def main() -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directories", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1, help="the first; each directory has its own")
    parser.add_argument("--step", type=int, default=1, help="only every so many single bits")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    given = parser.parse_args()
    began, told = time.monotonic(), time.monotonic()
    jobs = [(given.directories, given.seed, given.step, number) for number in range(_PARTS)]
    damaged, sins = 0, 0
    with multiprocessing.get_context("spawn").Pool(given.jobs) as pool:
        for parts, (count, found) in enumerate(pool.imap_unordered(_part, jobs), start=1):
            damaged, sins = damaged + count, sins + len(found)
            print(*found, sep="\n", end="\n" * bool(found), file=sys.stderr)
            if time.monotonic() - told > _PROGRESS_EVERY and parts < _PARTS:
                told = time.monotonic()
                print(
                    f"{parts / _PARTS:.0%}: {damaged:,} directories in {told - began:.0f} s, "
                    f"{sins} findings",
                    flush=True,
                )
    seconds = time.monotonic() - began
    print(
        f"{damaged:,} damaged directories in {seconds:.0f} s, "
        f"{sins} failed starts, silent losses, or events delivered twice"
    )
    return 1 if sins else 0


if __name__ == "__main__":
    raise SystemExit(main())
