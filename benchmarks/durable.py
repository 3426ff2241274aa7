"""What durability costs: events a second, the latency of a commit, and how long the loop stands.

    python benchmarks/durable.py            # every case, each in fresh processes, taking turns
    python benchmarks/durable.py CASE       # one case, in this process, as JSON

Each figure is the median over several fresh processes that take turns, because one process drifts
against the next. The cases:

    each     the writer's own statements with a commit for every event: what group commit replaces
    writer   the writer's statements in batches of 100, without an event loop beside them
    append   100 callers: append, wait for the commit, settle
    track    100 callers: `await client.track(event)`; nothing is sent meanwhile
    deliver  the same, while a transport that answers at once delivers them
    normal   as `track`, with synchronous="NORMAL"
    memory   as `track`, without a journal
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from alhena_async import (
    AlhenaClient,
    CartEvent,
    Endpoint,
    Outcome,
    OutcomeStatus,
    QueuePolicy,
    Reply,
    SQLiteJournal,
    Visitor,
)
from alhena_async.journal import Ending, SendMark
from alhena_async.journal._event_file import EventFile, FileHeader
from alhena_async.journal._rows import Stored, seed_of, stored

_CALLERS = 100
_EVENTS = 20_000
_ROUNDS = 5
_DESTINATION = "http://127.0.0.1:9/"
_RECORDED = Reply(200, b'{"status":"success","event_type":"CART_EVENT_RECORDED"}')

Figures = dict[str, float]
_folder = partial(tempfile.TemporaryDirectory, dir=Path.cwd())  # on disk: /tmp may be memory


def _event(number: int) -> CartEvent:
    visitor = Visitor(
        fingerprint=f"550e8400-e29b-41d4-a716-{number % 5_000:012d}",
        faq_fingerprint=f"660e8400-e29b-41d4-a716-{number % 5_000:012d}",
    )
    return CartEvent.for_change(
        visitor, before=0, after=1, product_id=f"sku-{number}", product_name="Stoneware mug",
        value=9.5, currency="EUR",
    )  # fmt: skip


# --- without an event loop -----------------------------------------------------------------------


def _row(id_: int, event: CartEvent) -> Stored:
    return stored(
        id_, event, company_key="bench", order_id=None, guard=SendMark.NONE, accepted=1.7e9,
        seed=seed_of(_DESTINATION),
    )  # fmt: skip


def write(batch: int, count: int) -> Figures:
    """Encode and write rows, and delete those of the batch before; one transaction a batch."""
    events = [_event(number) for number in range(count)]
    with _folder() as base:
        path = Path(base) / "00000001.events"
        file = EventFile.create(path, FileHeader.now(_DESTINATION), synchronous="FULL")
        latencies = []
        began, cpu = time.perf_counter(), time.process_time()
        for start in range(1, count, batch):
            then = time.perf_counter()
            rows = [_row(start + place, event) for place, event in
                    enumerate(events[start - 1 : start - 1 + batch])]  # fmt: skip
            file.write(rows=rows, gone=range(max(1, start - batch), start))
            latencies.append(time.perf_counter() - then)
        figures = _figures(count, began, cpu, latencies)
        file.close()
    return figures


# --- with one ------------------------------------------------------------------------------------


async def append() -> Figures:
    """The journal by itself."""
    outcome = Outcome(status=OutcomeStatus.RECORDED, event=_event(0))
    with _folder() as base:
        journal = SQLiteJournal(Path(base) / "j")
        await journal.open(destination=_DESTINATION)

        async def one(event: CartEvent) -> None:
            row_id = journal.append(event, company_key="bench", order_id=None, guard=SendMark.NONE)
            await journal.committed(row_id)
            journal.settle([Ending(row_id=row_id, outcome=outcome, company_key="b", order_id=None)])

        figures = await _called(one)
        await journal.close()
    return figures


class _Transport:
    """Answers at once, or never."""

    def __init__(self, *, answers: bool) -> None:
        self._answers = answers

    async def open(self) -> None:
        pass

    async def send(self, endpoint: Endpoint, body: bytes) -> Reply:
        if not self._answers:
            await asyncio.get_running_loop().create_future()
        return _RECORDED

    async def close(self) -> None:
        pass


async def track(*, delivers: bool = False, synchronous: str | None = "FULL") -> Figures:
    """The whole of `await client.track`."""
    with _folder() as base:
        journal = SQLiteJournal(Path(base) / "j", synchronous=synchronous) if synchronous else None
        client = AlhenaClient(
            "bench",
            coalescing="off",
            journal=journal,
            transport=_Transport(answers=delivers),
            queue=QueuePolicy(
                capacity=2 * _EVENTS, linger=0.0 if delivers else 600.0, flush_at=None
            ),
        )
        await client.start()
        figures = await _called(client.track)
        await client.close(30 if delivers else 0)
    return figures


async def _called(call: Callable[[CartEvent], Awaitable[object]]) -> Figures:
    events = [_event(number) for number in range(_EVENTS)]
    left = iter(events)
    latencies: list[float] = []

    async def caller() -> None:
        for event in left:
            then = time.perf_counter()
            await call(event)
            latencies.append(time.perf_counter() - then)

    stall = [0.0]
    watching = asyncio.ensure_future(_watch(stall))
    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(caller() for _ in range(_CALLERS)))
    figures = _figures(len(events), began, cpu, latencies)
    watching.cancel()
    return {**figures, "stall_ms": stall[0] * 1e3}


async def _watch(stall: list[float]) -> None:
    last = time.perf_counter()
    while True:
        await asyncio.sleep(0.001)
        now = time.perf_counter()
        stall[0] = max(stall[0], now - last - 0.001)
        last = now


def _figures(count: int, began: float, cpu: float, latencies: list[float]) -> Figures:
    seconds, used = time.perf_counter() - began, time.process_time() - cpu
    latencies = sorted(latencies)
    return {
        "per_second": count / seconds,
        "cpu_us": used / count * 1e6,
        "p50_ms": latencies[len(latencies) // 2] * 1e3,
        "p99_ms": latencies[len(latencies) * 99 // 100] * 1e3,
    }


_CASES: dict[str, Callable[[], Figures]] = {
    "each": lambda: write(1, 4_000),
    "writer": lambda: write(100, 40_000),
    "append": lambda: asyncio.run(append()),
    "track": lambda: asyncio.run(track()),
    "deliver": lambda: asyncio.run(track(delivers=True)),
    "normal": lambda: asyncio.run(track(synchronous="NORMAL")),
    "memory": lambda: asyncio.run(track(synchronous=None)),
}


def _in_fresh_process(case: str) -> Figures:
    done = subprocess.run(
        [sys.executable, __file__, case], capture_output=True, text=True, check=True
    )
    figures: Figures = json.loads(done.stdout)
    return figures


def main() -> None:
    if sys.argv[1:]:
        print(json.dumps(_CASES[sys.argv[1]]()))
        return
    runs: dict[str, list[Figures]] = {case: [] for case in _CASES}
    for _ in range(_ROUNDS):
        for case, figures in runs.items():
            figures.append(_in_fresh_process(case))
    print("case      events/s   CPU us/event   p50 ms   p99 ms   worst stall ms")
    medians = {}
    for case, figures in runs.items():
        medians[case] = one = {
            name: statistics.median(run[name] for run in figures) for name in figures[0]
        }
        stall = f"{one['stall_ms']:.1f}" if "stall_ms" in one else "-"
        print(
            f"{case:8} {one['per_second']:>9,.0f} {one['cpu_us']:>14.1f} {one['p50_ms']:>8.2f}"
            f" {one['p99_ms']:>8.2f} {stall:>16}"
        )
    times = medians["track"]["per_second"] / medians["each"]["per_second"]
    print(f"track is {times:.1f} times as fast as a commit for each event")


if __name__ == "__main__":
    main()
