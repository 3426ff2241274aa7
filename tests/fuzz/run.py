"""Feed each reader of foreign bytes a million inputs: `python -m tests.fuzz.run [TARGET ...]`.

Each target runs in a process of its own, below atheris where that is installed: it looks at which
lines an input reached, and goes on from there. Otherwise inputs are made of broken seeds. An
exception, an input that takes more than 10 seconds, or a process of more than 1 GiB is a failure;
the input is kept and named.
"""

from __future__ import annotations

import argparse
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SECONDS = 10
MEGABYTES = 1024
MAX_BYTES = 65_536


def main() -> int:
    """Run the targets that were asked for; 0 if nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", help="which (default: all)")
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plain", action="store_true", help="without atheris")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.here:
        _fuzz(asked.targets[0], asked.inputs, asked.seed, plain=asked.plain)
        return 0
    from tests.fuzz.targets import TARGETS  # noqa: PLC0415  a child imports it below atheris

    failed = [
        name
        for name in asked.targets or TARGETS
        if not _passes(name, asked.inputs // TARGETS[name].slowness, asked.seed, plain=asked.plain)
    ]
    print(f"failed: {', '.join(failed)}" if failed else "nothing found")
    return 1 if failed else 0


def _passes(name: str, inputs: int, seed: int, *, plain: bool) -> bool:
    command = [sys.executable, "-m", "tests.fuzz.run", name, "--here", f"--inputs={inputs}"]
    command += [f"--seed={seed}", *(["--plain"] if plain else [])]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - began
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    verdict = "ok" if done.returncode == 0 else "FAILED"
    print(
        f"{name:15} {inputs:>9,} inputs {seconds:6.0f} s  below {peak} MiB  {verdict}", flush=True
    )
    if done.returncode:
        print((done.stdout + done.stderr)[-4_000:])
    return done.returncode == 0


def _fuzz(name: str, inputs: int, seed: int, *, plain: bool) -> None:
    try:
        import atheris  # noqa: PLC0415
    except ImportError:
        plain = True
    if plain:
        _fuzz_plainly(name, inputs, seed)
        return
    with atheris.instrument_imports(include=["alhena_async"]):
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415
    target = TARGETS[name]
    corpus = Path(tempfile.mkdtemp(prefix=f"corpus-{name}-"))
    for number, data in enumerate(target.seeds()):
        (corpus / str(number)).write_bytes(data)
    options = [f"-runs={inputs}", f"-seed={seed}", f"-timeout={SECONDS}", f"-max_len={MAX_BYTES}"]
    options += [f"-rss_limit_mb={MEGABYTES}", f"-artifact_prefix={corpus}/", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], target.read)
    atheris.Fuzz()


def _fuzz_plainly(name: str, inputs: int, seed: int) -> None:
    from tests.fuzz.targets import TARGETS, mutated  # noqa: PLC0415

    target = TARGETS[name]
    resource.setrlimit(resource.RLIMIT_DATA, (MEGABYTES << 20, MEGABYTES << 20))
    signal.signal(signal.SIGALRM, signal.default_int_handler)  # ends what takes too long
    made = mutated(target.seeds(), random.Random(seed))
    for number, data in zip(range(inputs), made, strict=False):
        signal.alarm(SECONDS)
        try:
            target.read(data)
        except BaseException:
            print(f"input {number} of {name}, seed {seed}: {data!r}"[:2_000])
            raise
    signal.alarm(0)


if __name__ == "__main__":
    sys.exit(main())
