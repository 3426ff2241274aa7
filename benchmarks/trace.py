"""The way of an event through the package, call by call: files it passes, and how often it climbs.

    python -m benchmarks.trace           # the figures
    python -m benchmarks.trace --calls   # every call, indented by its depth

A path *climbs* where a call goes to a file on a higher floor of the import contract in
`pyproject.toml` than the call before it: who reads along has to go back up. For comparison, at
24e711a (26 floors): a checkout passed 24 files from `track_nowait` to its outcome, and the
`track_nowait` of a checkout climbed 10 times (of a cart event 5, of one that folds 9), each module
counted as a floor.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import sys
import tomllib
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any, Self

import attrs

import alhena_async
from alhena_async import AlhenaClient, CheckoutEvent, Event, LineItem, QueuePolicy, Visitor
from alhena_async.testing import MemoryTransport
from benchmarks.shop import cart

__all__ = ["Call", "Trace", "climbs", "delivered_event", "files", "floors", "track_nowait"]

_PACKAGE = Path(alhena_async.__file__).parent
_LEFT_OUT = ("testing", "emulator")  # the transport that answers is not the package's way
_PERSON = Visitor(
    fingerprint="00000000-0000-0000-0000-000000000001",
    faq_fingerprint="11111111-0000-0000-0000-000000000001",
)


@attrs.frozen
class Call:
    """A call of one of the package's functions."""

    depth: int
    file: str
    function: str


class Trace:
    """Notes the calls between the package's own functions while it is on."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._depth = 0

    def __enter__(self) -> Self:
        gc.disable()  # the end of somebody's forgotten client is no part of the way
        sys.setprofile(self._profile)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        gc.enable()

    def _profile(self, frame: FrameType, event: str, _argument: Any) -> None:
        code = frame.f_code
        if not code.co_filename.startswith(str(_PACKAGE)):
            return
        if event == "call":
            file = str(Path(code.co_filename).relative_to(_PACKAGE))
            if not file.startswith(_LEFT_OUT):
                self.calls.append(Call(self._depth, file, code.co_qualname))
            self._depth += 1
        elif event == "return":
            self._depth = max(0, self._depth - 1)


def floors() -> list[list[str]]:
    """Return the floors of the house, the highest first, each with its modules."""
    text = (_PACKAGE.parent / "pyproject.toml").read_text()
    contracts = tomllib.loads(text)["tool"]["importlinter"]["contracts"]
    [layers] = [one["layers"] for one in contracts if one["type"] == "layers"]
    return [line.replace(":", "|").replace(" ", "").split("|") for line in layers]


def files(calls: list[Call]) -> list[str]:
    """Return the files that calls pass, in the order in which they come up."""
    return list(dict.fromkeys(call.file for call in calls))


def climbs(calls: list[Call]) -> list[tuple[Call, Call]]:
    """Return the calls that go to a higher floor than the one before them, with that one."""
    height = {module: -level for level, row in enumerate(floors()) for module in row}

    def floor_of(call: Call) -> int:
        return height[call.file.removesuffix(".py").split("/")[0]]

    return [pair for pair in pairwise(calls) if floor_of(pair[1]) > floor_of(pair[0])]


def _checkout(order_id: str) -> CheckoutEvent:
    line = LineItem(product_id="a", product_name="A", quantity=1, value=1, currency="EUR")
    return CheckoutEvent(
        visitor=_PERSON, value=1, currency="EUR", line_items=(line,), order_id=order_id
    )


def _client() -> AlhenaClient:
    return AlhenaClient("bench", transport=MemoryTransport(), queue=QueuePolicy(linger=600.0))


class _StillLoop(asyncio.SelectorEventLoop):
    """A loop whose clock stands still: no timer goes off because the machine is busy."""

    def time(self) -> float:
        return 0.0


def ways() -> dict[str, list[Call]]:
    """Return the calls of each way that is traced, by its name."""
    with asyncio.Runner(loop_factory=_StillLoop) as runner:
        into = {f"track_nowait, {name}": one for name, one in runner.run(track_nowait()).items()}
        through = runner.run(delivered_event())
    return {**into, "a checkout, from track_nowait to its outcome": through}


async def track_nowait() -> dict[str, list[Call]]:
    """Return the calls of one `track_nowait` each: nothing folds, one folds, a checkout."""
    events: dict[str, Event] = {
        "a cart event": cart(_PERSON, "a"),
        "a cart event that folds": cart(_PERSON, "a"),
        "a checkout": _checkout("one"),
    }
    traced: dict[str, list[Call]] = {}
    async with _client() as client:
        client.track_nowait(cart(_PERSON, "warm"))
        for name, event in events.items():
            with Trace() as trace:
                client.track_nowait(event)
            traced[name] = trace.calls
    return traced


async def delivered_event() -> list[Call]:
    """Return the calls of one checkout, from `track_nowait` to its outcome."""
    async with _client() as client:
        event = _checkout("two")
        with Trace() as trace:
            await client.track_nowait(event)
        return trace.calls


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.trace")
    parser.add_argument("--calls", action="store_true", help="show every call")
    arguments = parser.parse_args()
    logging.disable()
    for name, calls in ways().items():
        up, passed = len(climbs(calls)), files(calls)
        print(f"{name}: {len(calls)} calls in {len(passed)} files, climbs {up} times")
        print(f"    {', '.join(passed)}")
        if arguments.calls:
            print(*(f"    {'  ' * one.depth}{one.file}: {one.function}" for one in calls), sep="\n")


if __name__ == "__main__":
    main()
