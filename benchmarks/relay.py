"""What the way over a broker costs, and how fast it is: publishers, one node, relays.

    python -m benchmarks relay

Publisher and direct client publish and deliver the same events, in fresh processes that take turns.
Then a full stream is delivered to an API that answers after 0, 5 and 50 ms, by `alhena relay run`;
what everybody used is read from outside, between a tenth and nine tenths of the events. All of it
shares the machine's cores: read the figures as ratios within one run.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a file, too

from alhena_async import AlhenaClient, CartEvent, QueuePolicy, Visitor
from alhena_async.relay import JetStream, Publisher
from alhena_async.relay._admin import connected, look
from benchmarks.broker import ALHENA, Broker, cpu_seconds, serving
from benchmarks.sink import Sink

_PUBLISHED = 5_000
_ROUNDS = 5
_DELIVERED = 4_000
_VISITORS = 1_000
_PARTITIONS = 64
_TIMEOUT = 120.0  # seconds for one delivery


def _events(count: int) -> list[CartEvent]:
    visitors = [
        Visitor(
            fingerprint=f"550e8400-e29b-41d4-a716-{number:012d}",
            faq_fingerprint=f"660e8400-e29b-41d4-a716-{number:012d}",
        )
        for number in range(_VISITORS)
    ]
    return [
        CartEvent.for_change(
            visitors[number % _VISITORS], before=0, after=1, product_id=f"sku-{number}",
            product_name="Stoneware mug", value=9.5, currency="EUR",
        )
        for number in range(count)
    ]  # fmt: skip


# --- in a process of its own ---------------------------------------------------------------------


async def _sent(client: AlhenaClient, count: int) -> float:
    """Return the CPU of an event from its acceptance to its outcome, in microseconds."""
    events = _events(count)
    async with client:
        await client.record(events[0])  # connected
        began = time.process_time()
        receipts = [client.track_nowait(event) for event in events]
        for receipt in receipts:
            assert (await receipt).ok
        return (time.process_time() - began) / count * 1e6


def _client(way: str, url: str, count: int) -> AlhenaClient:
    queue = QueuePolicy(capacity=2 * count, linger=0.0)
    if way == "publish":
        return Publisher("bench", broker=url, queue=queue, coalescing="off")
    return AlhenaClient("bench", base_url=url, queue=queue, coalescing="off")


def _in_fresh_process(way: str, url: str, count: int) -> float:
    command = [sys.executable, __file__, way, url, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout))


# --- what it costs to publish --------------------------------------------------------------------


def _publishing() -> float:
    """Print what publisher and direct client use; return the latter's microseconds."""
    used: dict[str, list[float]] = {"direct": [], "publish": []}
    with Sink() as sink, serving(sink.url) as broker:
        for _ in range(_ROUNDS):
            used["direct"].append(_in_fresh_process("direct", sink.url, _PUBLISHED))
            used["publish"].append(_in_fresh_process("publish", broker.url, _PUBLISHED))
    ratios = [mine / other for mine, other in zip(used["publish"], used["direct"], strict=True)]
    direct, publish = (statistics.median(used[way]) for way in ("direct", "publish"))
    print(
        f"CPU of an event: publisher {publish:.0f} us, direct client {direct:.0f} us; ratio "
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}, {_ROUNDS} turns)"
    )
    return direct


# --- what it costs to deliver, and how fast it is ------------------------------------------------


@attrs.frozen
class _Sample:
    at: float
    waiting: int
    broker: float
    relays: float


@contextlib.contextmanager
def _workers(broker: Broker, count: int) -> Iterator[list[int]]:
    command = [ALHENA, "relay", "run", "--broker", broker.url, "--drain", "1"]
    running = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(count)]
    try:
        yield [one.pid for one in running]
    finally:
        for one in running:
            one.terminate()
        for one in running:
            one.wait()


async def _sample(broker: Broker, relays: list[int], *, below: int) -> _Sample:
    """Wait until fewer events wait, and look at everybody's clock."""
    async with asyncio.timeout(_TIMEOUT), connected(JetStream(broker.url)) as connection:
        while (waiting := (await look(connection, "alhena")).waiting) > below:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return _Sample(
        time.perf_counter(), waiting, cpu_seconds(broker.pid), sum(map(cpu_seconds, relays))
    )


async def _watched(broker: Broker, relays: list[int]) -> tuple[_Sample, _Sample]:
    first = await _sample(broker, relays, below=_DELIVERED * 9 // 10)
    return first, await _sample(broker, relays, below=_DELIVERED // 10)


def _delivering(direct: float) -> None:
    print(f"\nP = {_PARTITIONS}, one node, {_DELIVERED:,} events of {_VISITORS:,} visitors\n")
    print(
        "| sync | API | workers | events/s | of P / latency | relay, us | of it a direct client's "
        "| server, us |\n|---|---|---|---|---|---|---|---|"
    )
    for sync in ("2m", "always"):
        for milliseconds, workers in ((0, 1), (5, 1), (50, 1), (5, 2)):
            _deliver(sync, milliseconds, workers, direct)


def _deliver(sync: str, milliseconds: int, workers: int, direct: float) -> None:
    with Sink(latency=milliseconds / 1e3) as sink, serving(sink.url, sync=sync) as broker:
        _in_fresh_process("publish", broker.url, _DELIVERED)
        with _workers(broker, workers) as relays:
            first, last = asyncio.run(_watched(broker, relays))
    events = first.waiting - last.waiting
    rate = events / (last.at - first.at)
    relay, server = (
        (end - begin) / events * 1e6
        for begin, end in ((first.relays, last.relays), (first.broker, last.broker))
    )
    share = f"{rate * milliseconds / 1e3 / _PARTITIONS:.2f}" if milliseconds else "-"
    print(
        f"| {sync} | {milliseconds} ms | {workers} | {rate:,.0f} | {share} | {relay:.0f} "
        f"| {direct / relay:.2f} | {server:.0f} |",
        flush=True,
    )


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's if it is there, as `alhena relay run` does."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def main() -> None:
    """Measure, and print."""
    if sys.argv[1:]:
        way, url, count = sys.argv[1:]
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            print(json.dumps(runner.run(_sent(_client(way, url, int(count)), int(count)))))
        return
    _delivering(_publishing())


if __name__ == "__main__":
    main()
