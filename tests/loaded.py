"""Run the tests beside busy processes, as on a machine that has other work to do.

`python -m tests.loaded --busy 8 --runs 3 --minutes 60 -- ARGUMENTS OF PYTEST`. A test that fails
here and passes alone waits for a time where it should wait for what happens.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence

__all__ = ["main"]


def _spin(parent: int) -> None:
    """Keep a core busy for as long as the parent lives, however it ends."""
    while os.getppid() == parent:
        sum(range(1_000_000))


@contextlib.contextmanager
def _beside(busy: int) -> Iterator[None]:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_spin, args=(os.getpid(),)) for _ in range(busy)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _run(arguments: Sequence[str], *, seconds: float) -> int:
    """Run pytest, for a bounded time; return its exit status."""
    command = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "worksteal", *arguments]
    with subprocess.Popen(command, start_new_session=True) as suite:
        try:
            return suite.wait(seconds)
        except subprocess.TimeoutExpired:
            print(f"the tests were not over after {seconds:.0f} s", file=sys.stderr)
            return 1
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(suite.pid, signal.SIGKILL)  # the workers too, if any is left


def main() -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--busy", type=int, default=8, help="how many processes are busy")
    parser.add_argument("--runs", type=int, default=1, help="how many runs must pass in a row")
    parser.add_argument("--minutes", type=float, default=60, help="how long a run may take")
    parser.add_argument("arguments", nargs="*", help="arguments of pytest, after --")
    given = parser.parse_args()
    with _beside(given.busy):
        for number in range(1, given.runs + 1):
            if status := _run(given.arguments, seconds=given.minutes * 60):
                return status
            print(f"run {number} of {given.runs} passed beside {given.busy} busy processes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
