"""Kill and stop relays on an outbox: `python -m tests.crash.outbox_relays --faults 20 --seed 1`.

A shop adds events, relays in processes of their own deliver them, and every second or so one of
them is killed, or stopped for longer than its lease. Nothing may be lost or reordered, and nothing
may come again behind a later one of its visitor.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import random
import signal
import subprocess
import sys
from collections.abc import Iterator

import asyncpg
import attrs

from alhena_async.emulator import Emulator
from alhena_async.outbox import PostgresOutbox
from tests.patience import PATIENCE
from tests.postgres_outbox import make_outbox
from tests.postgres_process import PostgresServer, postgres_server
from tests.scripted import cart

__all__ = ["Figures", "live", "main"]

_LEASE = 2.0

_WORKER = """
import asyncio, logging, sys
from alhena_async.relay import Relay
logging.disable()
asyncio.run(Relay(broker=sys.argv[1], room=64).run())
"""


@attrs.define
class Figures:
    """What came of it."""

    events: int = 0
    faults: int = 0
    lost: int = 0
    reordered: int = 0
    stale: int = 0
    """Repeats behind a later event of their visitor."""
    repeats: int = 0

    @property
    def is_right(self) -> bool:
        """Whether every promise was kept: of a held lane one repeat a fault."""
        nothing = (self.lost, self.reordered, self.stale) == (0, 0, 0)
        return nothing and self.repeats <= self.faults * 64

    def judge(self, recorded: list[tuple[str, str]]) -> None:
        """Hold what was recorded, by visitor and number, against what was added."""
        seen: set[str] = set()
        latest: dict[str, str] = {}
        for visitor, name in recorded:
            is_behind = name < latest.get(visitor, "")
            self.repeats += name in seen
            self.stale += is_behind and name in seen
            self.reordered += is_behind and name not in seen
            seen.add(name)
            latest[visitor] = max(name, latest.get(visitor, ""))
        self.lost = self.events - len(seen)


@contextlib.contextmanager
def _workers(url: str, count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    workers = [_worker(url) for _ in range(count)]
    try:
        yield workers
    finally:
        for one in workers:
            one.kill()
            one.wait()


def _worker(url: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _WORKER, url])


async def live(
    server: PostgresServer, *, faults: int, rate: float, visitors: int, workers: int, seed: int
) -> Figures:
    """Let a shop and its relays live for so many faults, and judge."""
    rng = random.Random(seed)
    url = server.new_database()
    figures = Figures()
    outbox = PostgresOutbox("shop")
    async with Emulator(history=round(2 * faults * rate) + 10_000) as api:
        await make_outbox(url, lease=_LEASE, destination=str(api.url))
        connection = await asyncpg.connect(url)
        with _workers(url, workers) as running:
            for _ in range(faults):
                for _ in range(round(rate)):
                    visitor = f"v{rng.randrange(visitors)}"
                    event = cart(visitor, product=f"{figures.events:07}")
                    async with connection.transaction():
                        await outbox.add(connection, event)
                    figures.events += 1
                    await asyncio.sleep(0.5 / rate)
                await _fault(running, rng, url)
                figures.faults += 1
            async with asyncio.timeout(PATIENCE):
                while await connection.fetchval("SELECT count(*) FROM alhena_outbox"):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        await connection.close()
        figures.judge([(one.fingerprint, str(one.product_id)) for one in api.recorded()])
    return figures


async def _fault(running: list[subprocess.Popen[bytes]], rng: random.Random, url: str) -> None:
    which = rng.randrange(len(running))
    if rng.random() < 0.5:
        running[which].kill()
        running[which].wait()
        running[which] = _worker(url)
        return
    running[which].send_signal(signal.SIGSTOP)
    await asyncio.sleep(_LEASE * rng.uniform(0.5, 2))
    running[which].send_signal(signal.SIGCONT)


def main() -> int:
    """Run the command; return its exit status: 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description="Kill and stop relays on an outbox.")
    parser.add_argument("--faults", type=int, default=20)
    parser.add_argument("--rate", type=float, default=200, help="events added between two faults")
    parser.add_argument("--visitors", type=int, default=1_000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    given = vars(parser.parse_args())
    logging.getLogger("alhena_async").setLevel(logging.ERROR)
    with postgres_server() as server:
        figures = asyncio.run(live(server, **given))
    sys.stdout.write(f"{figures}\n")
    return int(not figures.is_right)


if __name__ == "__main__":
    sys.exit(main())
