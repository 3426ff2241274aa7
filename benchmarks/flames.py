"""Where the CPU goes, as flame graphs: accepting, delivering, delivering over TLS, the journal.

    python -m benchmarks.flames           # all of them, into benchmarks/results
    python -m benchmarks.flames accept    # one
    python -m benchmarks.flames --rate 100 --seconds 20

Each runs in a process of its own, and py-spy samples it from outside once it is warm. What a C
function does counts for the Python function that calls it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import logging
import select
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import attrs

from alhena_async import AlhenaClient, Visitor
from benchmarks.flamegraph import draw, fold
from benchmarks.machine import CLIENT_CORE, pin
from benchmarks.scenarios import delivery, journal
from benchmarks.shop import Opened, cart, visitors
from benchmarks.sink import Sink
from benchmarks.size import sized

__all__ = ["FLAMES", "main"]

_HERE = Path(__file__).parent
_EVENTS = sized(20_000)
_AT_ONCE = 32
_LOOP = "BaseEventLoop._run_once"
_LET_ANYBODY_TRACE = (0x59616D61, ctypes.c_ulong(-1))  # PR_SET_PTRACER, PR_SET_PTRACER_ANY
Step = Callable[[], Awaitable[None]]
"""Does the same work again."""


@attrs.frozen(kw_only=True)
class Flame:
    """Something that is sampled."""

    title: str
    opened: Callable[[], AbstractAsyncContextManager[Step]]
    roots: tuple[str, ...] = (_LOOP,)
    """Functions that lie on top; whatever is not below them is left out."""


@contextlib.asynccontextmanager
async def _accept() -> AsyncIterator[Step]:
    people = visitors(500)

    async def step() -> None:
        async with Opened(_EVENTS) as client:
            handlers(client, people)

    yield step


def handlers(client: AlhenaClient, people: list[Visitor]) -> None:
    """Do what a shop's handlers do: build an event, and have it accepted."""
    for number in range(_EVENTS):
        client.track_nowait(cart(people[number % 500], f"sku-{number % 997}"))


@contextlib.asynccontextmanager
async def _deliver(*, tls: bool) -> AsyncIterator[Step]:
    people = [visitor.fingerprint for visitor in visitors(500)]
    with Sink(tls=tls) as sink:
        async with delivery.ours(sink, people, _AT_ONCE) as send:
            yield partial(send, _EVENTS // 10)


@contextlib.asynccontextmanager
async def _journal() -> AsyncIterator[Step]:
    with Sink(tls=True) as sink, tempfile.TemporaryDirectory(dir=Path.cwd()) as base:  # on disk
        async with journal.client(sink, Path(base, "journal")) as client:
            yield partial(journal.deliver, client, _EVENTS // 10)


FLAMES = {
    "accept": Flame(
        title="Accepting: CartEvent(...) and track_nowait",
        opened=_accept,
        roots=("handlers",),
    ),
    "deliver": Flame(title="Delivering over plain HTTP", opened=partial(_deliver, tls=False)),
    "tls": Flame(title="Delivering over TLS", opened=partial(_deliver, tls=True)),
    "journal": Flame(
        title="Awaited, through the journal, and delivered over TLS",
        opened=_journal,
        roots=(_LOOP, "Thread.run"),
    ),
}


async def _take(flame: Flame) -> None:
    """Work until standard input is closed; say when it is warm."""
    async with flame.opened() as step:
        for _ in range(3):
            await step()
        print("warm", flush=True)
        while not select.select([sys.stdin], [], [], 0)[0]:
            await step()


def _let_be_traced() -> None:
    """Where Linux lets only parents look into a process, let a sibling look into this one."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(*_LET_ANYBODY_TRACE, 0, 0, 0)


def sample(name: str, *, seconds: float, rate: int) -> str:
    """Return the collapsed stacks of one of them."""
    taken = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.flames", "--take", name],
        cwd=_HERE.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert taken.stdout is not None
    try:
        if taken.stdout.readline() != "warm\n":
            raise RuntimeError(f"{name} did not begin")
        return _recorded(taken.pid, seconds, rate)
    finally:
        taken.communicate(timeout=60)


def _recorded(pid: int, seconds: float, rate: int) -> str:
    spy = str(Path(sys.executable).with_name("py-spy"))
    with tempfile.TemporaryDirectory() as folder:
        stacks = Path(folder, "stacks.txt")
        command = [spy, "record", "--function", "--format", "raw", "--output", str(stacks)]
        limits = ["--pid", str(pid), "--duration", f"{seconds:g}", "--rate", str(rate)]
        done = subprocess.run([*command, *limits], capture_output=True, text=True, check=False)
        if not stacks.exists():
            raise RuntimeError(f"py-spy sampled nothing: {done.stderr.strip() or done.stdout}")
        return stacks.read_text()


def main() -> None:
    """Sample and draw what is asked for."""
    parser = argparse.ArgumentParser(prog="benchmarks.flames")
    parser.add_argument("only", nargs="*", choices=[[], *FLAMES], metavar="FLAME")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rate", type=int, default=200, help="samples a second")
    parser.add_argument("--results", type=Path, default=_HERE / "results", metavar="DIR")
    parser.add_argument("--take", choices=FLAMES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    logging.disable()
    if arguments.take:
        pin(CLIENT_CORE)
        _let_be_traced()
        asyncio.run(_take(FLAMES[arguments.take]))
        return
    for name in arguments.only or FLAMES:
        stacks = sample(name, seconds=arguments.seconds, rate=arguments.rate)
        tree = fold(stacks.splitlines(), roots=FLAMES[name].roots, name=FLAMES[name].title)
        path = arguments.results / f"flames-{name}.svg"
        path.write_text(draw(tree))
        print(f"{path}: {tree.samples} samples")


if __name__ == "__main__":
    main()
