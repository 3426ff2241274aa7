"""What a waiting event costs: resident bytes, enqueue time beside a peer's, and a million of them.

    python benchmarks/footprint.py             # everything, each case in fresh processes
    python benchmarks/footprint.py CASE COUNT  # one case, in this process, as JSON

Nothing is sent: the transport never answers, so all that is accepted waits. Ratios are medians
over fresh processes, the cases taking turns, because one process drifts against the next.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import statistics
import subprocess
import sys
import time
import uuid
from pathlib import Path

from alhena_async import (
    AlhenaClient,
    CartEvent,
    Endpoint,
    QueuePolicy,
    Reply,
    Visitor,
)

_RECORDED = Reply(200, b'{"status":"success","event_type":"CART_EVENT_RECORDED"}')


class _Silent:
    """A transport whose gate is shut until `open_gate`; then it records everything at once."""

    def __init__(self) -> None:
        self.gate: asyncio.Event | None = None

    async def open(self) -> None:
        self.gate = asyncio.Event()

    async def send(self, endpoint: Endpoint, body: bytes) -> Reply:
        assert self.gate is not None
        await self.gate.wait()
        return _RECORDED

    async def close(self) -> None:
        pass


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def _visitors(count: int) -> list[Visitor]:
    return [
        Visitor(fingerprint=str(uuid.uuid4()), faq_fingerprint=str(uuid.uuid4()))
        for _ in range(count)
    ]


def _client(capacity: int, transport: _Silent) -> AlhenaClient:
    queue = QueuePolicy(capacity=capacity, linger=600.0, flush_at=None)
    return AlhenaClient("bench", queue=queue, transport=transport)


async def waiting(events: int, visitors: int) -> dict[str, float]:
    """Resident bytes per waiting event, receipts kept, each event with strings of its own."""
    people = _visitors(visitors)
    async with _opened(_client(events, _Silent())) as client:
        receipts: list[object] = [None] * events
        gc.collect()
        before = _resident_bytes()
        for number in range(events):
            receipts[number] = client.track_nowait(_event(people[number % visitors], number))
        gc.collect()
        grown = _resident_bytes() - before
    return {"bytes_per_event": grown / events}


def _event(visitor: Visitor, number: int) -> CartEvent:
    return CartEvent(
        visitor=visitor,
        type="ITEM_ADDED",
        product_id=f"sku-{number}",
        product_name="Stoneware mug",
        value=9.5,
        currency="EUR",
        quantity=1,
    )


class _opened:  # noqa: N801  reads as a verb
    """Starts a client and leaves without a drain: nothing here is ever delivered."""

    def __init__(self, client: AlhenaClient) -> None:
        self._client = client

    async def __aenter__(self) -> AlhenaClient:
        await self._client.start()
        return self._client

    async def __aexit__(self, *_: object) -> None:
        await self._client.close(timeout=0)


def _percentiles(laps: list[int]) -> dict[str, float]:
    cuts = statistics.quantiles(laps, n=1000)
    return {"p50_us": cuts[499] / 1000, "p99_us": cuts[989] / 1000}


async def enqueue(events: int) -> dict[str, float]:
    """Time `CartEvent(...)` and `track_nowait` together, one at a time."""
    people = _visitors(500)
    clock = time.perf_counter_ns
    async with _opened(_client(events, _Silent())) as client:
        laps = []
        for number in range(events):
            visitor = people[number % 500]
            product_id = f"sku-{number % 997}"
            began = clock()
            client.track_nowait(
                CartEvent(
                    visitor=visitor,
                    type="ITEM_ADDED",
                    product_id=product_id,
                    product_name="Stoneware mug",
                    value=9.5,
                    currency="EUR",
                    quantity=1,
                )
            )
            laps.append(clock() - began)
    return _percentiles(laps)


async def mixpanel_enqueue(events: int) -> dict[str, float]:
    """The same fields through Mixpanel's `BufferedConsumer`, the leanest of the peers."""
    from mixpanel import BufferedConsumer, Mixpanel

    buffered = BufferedConsumer(max_size=50)
    buffered._max_size = events + 1  # noqa: SLF001  the public bound is 50: it would send
    peer = Mixpanel("token", consumer=buffered)
    people = [str(uuid.uuid4()) for _ in range(500)]
    clock = time.perf_counter_ns
    laps = []
    for number in range(events):
        visitor = people[number % 500]
        product_id = f"sku-{number % 997}"
        began = clock()
        peer.track(
            visitor,
            "ITEM_ADDED",
            {
                "faq_fingerprint": visitor,
                "product_id": product_id,
                "product_name": "Stoneware mug",
                "value": 9.5,
                "currency": "EUR",
                "quantity": 1,
            },
        )
        laps.append(clock() - began)
    return _percentiles(laps)


async def drained(events: int) -> dict[str, float]:
    """Admit events of as many visitors, let them wait, then drain; CPU microseconds for each."""
    people = _visitors(events)
    transport = _Silent()
    client = _client(events, transport)
    await client.start()
    assert transport.gate is not None
    gc.collect()
    began = time.process_time()
    for number in range(events):
        client.track_nowait(_event(people[number], number))
    admitted = time.process_time()
    transport.gate.set()
    await client.flush()
    done = time.process_time()
    report = await client.close()
    assert report.stats.recorded == events == report.stats.accepted
    assert report.stats.queued == report.stats.in_flight == 0
    return {
        "admit_us": (admitted - began) / events * 1e6,
        "drain_us": (done - admitted) / events * 1e6,
        "cpu_us": (done - began) / events * 1e6,
        "peak_mib": _peak_bytes() / 2**20,
    }


def _peak_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmHWM: not Linux")


_CASES = {
    "waiting-40": lambda count: waiting(count, max(1, count // 40)),
    "waiting-1": lambda count: waiting(count, count),
    "enqueue": enqueue,
    "mixpanel": mixpanel_enqueue,
    "drained": drained,
}

_PLAN = (
    # case, events, fresh processes
    ("waiting-40", 200_000, 3),
    ("waiting-1", 200_000, 3),
    ("enqueue", 100_000, 7),
    ("mixpanel", 100_000, 7),
    ("drained", 1_000, 5),
    ("drained", 1_000_000, 1),
)


def _run_fresh(case: str, count: int) -> dict[str, float]:
    command = [sys.executable, __file__, case, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def _everything() -> None:
    results: dict[tuple[str, int], list[dict[str, float]]] = {}
    for turn in range(max(runs for _, _, runs in _PLAN)):
        for case, count, runs in _PLAN:
            if turn < runs:
                results.setdefault((case, count), []).append(_run_fresh(case, count))
    medians = {
        key: {name: statistics.median(run[name] for run in runs) for name in runs[0]}
        for key, runs in results.items()
    }
    for (case, count), figures in medians.items():
        text = ", ".join(f"{name} {figure:,.2f}" for name, figure in figures.items())
        print(f"{case:<11} {count:>9,} events: {text}")
    ours, theirs = medians["enqueue", 100_000], medians["mixpanel", 100_000]
    print(f"enqueue p50 / Mixpanel's: {ours['p50_us'] / theirs['p50_us']:.2f}")
    few, many = medians["drained", 1_000], medians["drained", 1_000_000]
    print(f"CPU per event, 1,000,000 / 1,000: {many['cpu_us'] / few['cpu_us']:.2f}")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        _everything()
    else:
        logging.disable()
        case, count = sys.argv[1], int(sys.argv[2])
        json.dump(asyncio.run(_CASES[case](count)), sys.stdout)
