"""Kill shops between BEGIN and answer: `python -m tests.crash.outbox --kills 1000 --seed 1`.

A shop's process is forked for each kill, sells, and is killed at a drawn line: of its own and of
the outbox's code, or of the driver's. What was committed is then delivered by a relay, and held
against what the API recorded. With `--cuts` its connection is cut instead, after a drawn number of
bytes.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import logging
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, Final

import asyncpg
import attrs

from alhena_async.emulator import Emulator
from alhena_async.outbox import Added, PostgresOutbox
from alhena_async.relay import Relay
from tests.outbox_shops import CREATE, SHOPS, Sale
from tests.patience import PATIENCE
from tests.postgres_outbox import make_outbox
from tests.postgres_process import PostgresServer, free_port, postgres_server

__all__ = ["DRIVERS", "Figures", "kill_shops", "main"]

DRIVERS: Final = ("asyncpg", "psycopg", "sqlalchemy-async", "django")
"""The shops that are killed, unless others are named."""

_SALES: Final = 4
"""Orders of one life, the last but one turned down; of as many visitors as there are all in all."""

_OWN: Final = ("/outbox_shops.py", "/alhena_async/outbox/")

_LIBRARIES: Final = ("/asyncpg/", "/psycopg/", "/sqlalchemy/", "/django/db/")


@attrs.define
class Figures:
    """What came of it."""

    kills: int = 0
    answered: int = 0
    """Orders whose buyers were told that they are sold."""
    committed: int = 0
    """Orders that stand in the shop's table."""
    wrong: list[str] = attrs.field(factory=list)
    """What should not be, in words."""

    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {self.committed} orders committed ({self.answered} of them "
            f"answered) and recorded, none more, none twice, in order per visitor"
        )


class _Tracer:
    """Counts the lines that a process runs, and kills it at one of them.

    Args:
        files: Parts of the paths of files whose lines count.
        at: The line; 0 only counts.
    """

    def __init__(self, files: tuple[str, ...], at: int) -> None:
        self._files = files
        self._at = at
        self.lines = 0

    def begin(self) -> None:
        """Count from here, in the frames that are running too."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            if self._counts(frame):
                frame.f_trace = self.trace
            frame = frame.f_back
        sys.settrace(self.trace)

    def trace(self, frame: FrameType, event: str, _: Any) -> Any:
        """See `sys.settrace`."""
        if not self._counts(frame):
            return None
        if event == "line":
            self.lines += 1
            if self.lines == self._at:
                os.kill(os.getpid(), signal.SIGKILL)
        return self.trace

    def _counts(self, frame: FrameType) -> bool:
        return any(part in frame.f_code.co_filename for part in self._files)


def _sales(life: int, begin: Callable[[], None]) -> Iterator[Sale]:
    """Yield what one life sells; its lines count from the first."""
    begin()
    for number in range(_SALES):
        yield f"{life:06}-{number}", f"v{number % 3}", number == _SALES - 2


def _live(shop: str, url: str, sales: Iterator[Sale], answer: Callable[[Added], None]) -> None:
    selling = SHOPS[shop]
    work = selling(url, PostgresOutbox("shop"), sales, answer)
    if work is not None:
        asyncio.run(_awaited(work))


async def _awaited(work: Any) -> None:
    await work


def _fork(shop: str, url: str, life: int, tracer: _Tracer) -> tuple[int, list[str]]:
    """Let a process sell; return the lines it ran (0: it was killed), and what it answered."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        status = 1

        def answer(added: Added) -> None:
            os.write(writing, f"{added.order_id}\n".encode())

        try:
            os.close(reading)
            _live(shop, url, _sales(life, tracer.begin), answer)
            sys.settrace(None)
            os.write(writing, f"={tracer.lines}\n".encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as answers:
        said = answers.read().split()
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise RuntimeError(f"the shop {shop} failed by itself")
    lines = [int(one[1:]) for one in said if one.startswith("=")]
    return (lines[0] if lines else 0), [one for one in said if not one.startswith("=")]


def kill_shops(server: PostgresServer, shop: str, *, kills: int, seed: int) -> Figures:
    """Kill the processes of one shop again and again, and look what became of its orders."""
    url = server.new_database()
    rng = random.Random(seed)
    figures = Figures()
    answered: list[str] = []
    with _api_of(url) as drain:
        _live(shop, url, iter(()), lambda _: None)  # whatever is made once is made
        lines = {}
        for life, files in enumerate((_OWN, _OWN + _LIBRARIES)):
            lines[files], said = _fork(shop, url, life, _Tracer(files, 0))
            answered += said
        for life in range(2, kills + 2):
            files = rng.choice(list(lines))
            tracer = _Tracer(files, rng.randint(1, lines[files]))
            survived, said = _fork(shop, url, life, tracer)
            answered += said
            figures.kills += not survived
        drain(figures, answered)
    return figures


def cut_shops(server: PostgresServer, shop: str, *, cuts: int, seed: int) -> Figures:
    """Cut the connections of one shop again and again, and look what became of its orders."""
    url = server.new_database()
    rng = random.Random(seed)
    figures = Figures()
    answered: list[str] = []
    with _api_of(url) as drain, _proxy(server.port, rng) as port:
        through = url.replace(f":{server.port}/", f":{port}/")
        for life in range(cuts):
            with suppress(Exception):  # whatever the driver says of it
                _live(
                    shop, through, _sales(life, lambda: None),
                    lambda added: answered.append(str(added.order_id)),
                )  # fmt: skip
                continue
            figures.kills += 1
        drain(figures, answered)
    return figures


@contextmanager
def _api_of(url: str) -> Iterator[Callable[[Figures, list[str]], None]]:
    """Make an outbox; in the end its events are delivered, and held against the orders."""
    port = free_port()
    asyncio.run(_make(url, f"http://127.0.0.1:{port}/"))

    def drain(figures: Figures, answered: list[str]) -> None:
        committed, recorded = asyncio.run(_drained(url, port))
        figures.answered, figures.committed = len(answered), len(committed)
        figures.wrong += _judge(committed, recorded, answered)

    yield drain


async def _make(url: str, destination: str) -> None:
    await make_outbox(url, destination=destination)
    connection = await asyncpg.connect(url)
    await connection.execute(CREATE)
    await connection.close()


_OTHERS: Final = (
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


async def _drained(url: str, port: int) -> tuple[list[str], list[tuple[str, str]]]:
    """Deliver what was committed; return the orders, and what was recorded of which visitor."""
    connection = await asyncpg.connect(url)
    async with Emulator(port=port) as api, asyncio.timeout(PATIENCE):
        # A dead shop's last COMMIT may be on its way; the server says so to nobody.
        while await connection.fetchval(_OTHERS):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        relay = Relay(broker=url)
        life = asyncio.create_task(relay.run())
        while await connection.fetchval("SELECT count(*) FROM alhena_outbox"):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        relay.stop()
        await life
        rows = await connection.fetch("SELECT id FROM orders ORDER BY id")
        recorded = [(one.fingerprint, str(one.order_id)) for one in api.recorded()]
    await connection.close()
    return [row["id"] for row in rows], recorded


def _judge(
    committed: list[str], recorded: list[tuple[str, str]], answered: list[str]
) -> Iterator[str]:
    ids = [order_id for _, order_id in recorded]
    if set(committed) - set(ids):
        yield f"committed and not recorded: {sorted(set(committed) - set(ids))}"
    if set(ids) - set(committed):
        yield f"recorded and not committed: {sorted(set(ids) - set(committed))}"
    if len(ids) != len(set(ids)):
        yield "recorded twice"
    if set(answered) - set(committed):
        yield f"answered and not committed: {sorted(set(answered) - set(committed))}"
    for visitor in {one for one, _ in recorded}:
        own = [order_id for other, order_id in recorded if other == visitor]
        if own != sorted(own):
            yield f"out of order: {visitor}"


@contextmanager
def _proxy(port: int, rng: random.Random) -> Iterator[int]:
    """Stand before the server, in a process of its own, and cut what goes through."""
    before = free_port()
    child = os.fork()
    if not child:
        try:
            asyncio.run(_forward(before, port, rng))
        finally:
            os._exit(0)
    try:
        _wait_for(before)
        yield before
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _wait_for(port: int) -> None:
    import socket  # noqa: PLC0415

    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.02)


async def _forward(before: int, behind: int, rng: random.Random) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", behind)
        left = [rng.randint(300, 5_000)]

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            with suppress(OSError):
                while data := await source.read(65_536):
                    target.write(data[: max(0, left[0])])
                    left[0] -= len(data)
                    await target.drain()
                    if left[0] <= 0:
                        break
            for one in (writer, other_writer):
                one.transport.abort()

        await asyncio.gather(copy(reader, other_writer), copy(other_reader, writer))

    server = await asyncio.start_server(connected, "127.0.0.1", before)
    await server.serve_forever()


def main() -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1_000, help="all in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shop", action="append", choices=list(SHOPS), help="default: four")
    parser.add_argument("--cuts", action="store_true", help="cut connections instead")
    given = parser.parse_args()
    logging.getLogger("alhena_async").setLevel(logging.ERROR)
    for name in ("asyncpg", "django.db", "psycopg", "sqlalchemy.ext.asyncio", "sqlalchemy.orm"):
        importlib.import_module(name)  # once, and not in each child
    shops = given.shop or DRIVERS
    is_wrong = False
    with postgres_server() as server:
        for shop in shops:
            began = time.monotonic()
            share = given.kills // len(shops)
            if given.cuts:
                figures = cut_shops(server, shop, cuts=share, seed=given.seed)
            else:
                figures = kill_shops(server, shop, kills=share, seed=given.seed)
            seconds = time.monotonic() - began
            is_wrong |= bool(figures.wrong)
            print(f"{shop}: {figures.wrong or figures} ({seconds:.0f} s)", flush=True)
    return int(is_wrong)


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    raise SystemExit(main())
