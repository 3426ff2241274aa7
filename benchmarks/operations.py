"""How many operations the hot paths take, counted and not timed: a guard that noise cannot trip.

    python -m benchmarks.operations          # show the counts beside the baseline
    python -m benchmarks.operations --write  # make them the baseline of this Python's minor version

An operation is a bytecode instruction in the package's own code, or a call that this code makes
into C. Both are counted with `sys.settrace` and `sys.setprofile`, in one process, over a transport
that answers at once, on a clock that stands still. The same code gives the same count, whatever
else the machine does; the test allows a few percent for what a Python's patch release may change.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Self

import alhena_async
from alhena_async import AlhenaClient, Coalescing, Endpoint, QueuePolicy, Reply, Visitor
from benchmarks.shop import RECORDED, Opened, cart

__all__ = ["BASELINE", "PATHS", "TOLERANCE", "count", "minor_version"]

BASELINE = Path(__file__).with_name("baseline.json")
TOLERANCE = 0.03
"""The share by which a count may rise above the baseline."""

_PACKAGE = str(Path(alhena_async.__file__).parent)
_EVENTS = 200
Trace = Callable[[FrameType, str, Any], Any]


class _Counter:
    """Counts what happens in the package's own code while it is on."""

    def __init__(self) -> None:
        self.instructions = 0
        self.calls = 0
        self._ours: dict[CodeType, bool] = {}

    def __enter__(self) -> Self:
        gc.disable()  # a finaliser of something older must not be counted
        # Python 3.12 looks for whether anybody traces opcodes only when tracing begins.
        sys._getframe().f_trace_opcodes = True  # noqa: SLF001  there is no public way
        sys.settrace(self._trace)
        sys.setprofile(self._profile)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        sys.settrace(None)
        gc.enable()

    def _is_ours(self, code: CodeType) -> bool:
        known = self._ours.get(code)
        if known is None:
            # Generated methods (attrs, cattrs) bear the class's name instead of a path.
            named = code.co_filename
            known = self._ours[code] = named.startswith(_PACKAGE) or "alhena_async" in named
        return known

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Trace | None:
        if not self._is_ours(frame.f_code):
            return None
        frame.f_trace_lines = False
        frame.f_trace_opcodes = True
        return self._count

    def _count(self, frame: FrameType, event: str, argument: Any) -> Trace:
        if event == "opcode":
            self.instructions += 1
        return self._count

    def _profile(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "c_call" and self._is_ours(frame.f_code):
            self.calls += 1


class _Prompt:
    """A transport that answers at once."""

    async def open(self) -> None:
        pass

    async def send(self, endpoint: Endpoint, body: bytes) -> Reply:
        return RECORDED

    async def close(self) -> None:
        pass


def _visitors() -> list[Visitor]:
    return [
        Visitor(
            fingerprint=f"00000000-0000-0000-0000-{number:012}",
            faq_fingerprint=f"11111111-0000-0000-0000-{number:012}",
        )
        for number in range(20)
    ]


async def _acceptance(counter: _Counter) -> None:
    """`CartEvent(...)` and `track_nowait`, ten to a visitor, nothing folds."""
    people = _visitors()
    async with Opened(10 * _EVENTS) as client:
        for number in range(_EVENTS):  # warm: lanes are there
            client.track_nowait(cart(people[number % 20], f"warm-{number}"))
        with counter:
            for number in range(_EVENTS):
                client.track_nowait(cart(people[number % 20], f"sku-{number}"))


async def _delivery(counter: _Counter) -> None:
    """From the end of the linger to the outcome: turn, encoding, attempt, verdict, settling."""
    people = _visitors()
    queue = QueuePolicy(capacity=10 * _EVENTS, linger=600.0, flush_at=None)
    client = AlhenaClient("bench", transport=_Prompt(), queue=queue, coalescing=Coalescing.OFF)
    await client.start()
    for step in ("warm", "counted"):
        for number in range(_EVENTS):
            client.track_nowait(cart(people[number % 20], f"{step}-{number}"))
        if step == "warm":
            await client.flush()
    with counter:
        await client.flush()
    await client.close()


async def _folding(counter: _Counter) -> None:
    """A visitor who changes one quantity again and again: each event folds into the next."""
    people = _visitors()
    async with Opened(10 * _EVENTS) as client:
        client.track_nowait(cart(people[0], "sku"))
        with counter:
            for _ in range(_EVENTS):
                client.track_nowait(cart(people[0], "sku"))


PATHS: dict[str, Callable[[_Counter], Coroutine[Any, Any, None]]] = {
    "acceptance": _acceptance,
    "delivery": _delivery,
    "folding": _folding,
}


def count(path: str) -> dict[str, float]:
    """Return instructions and calls into C per event."""
    counter = _Counter()
    traced, profiled = sys.gettrace(), sys.getprofile()
    try:
        asyncio.run(PATHS[path](counter))
    finally:
        sys.settrace(traced)
        sys.setprofile(profiled)
    return {
        "instructions": counter.instructions / _EVENTS,
        "calls": counter.calls / _EVENTS,
    }


def minor_version() -> str:
    """Return what the baseline is keyed by: bytecode differs from one minor version to the next."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.operations")
    parser.add_argument("--write", action="store_true", help="renew the baseline")
    arguments = parser.parse_args()
    logging.disable()
    known = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    counts = {path: count(path) for path in PATHS}
    before = known.get(minor_version(), {})
    for path, counted in counts.items():
        for what, number in counted.items():
            was = before.get(path, {}).get(what)
            print(f"{path:<12} {what:<13} {number:8.1f}  was {was}")
    if arguments.write:
        known[minor_version()] = counts
        BASELINE.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
