"""Memory per event that the disk alone has: `python -m benchmarks.spilled`.

Every event is of a visitor of its own, which is the worst that can be; nobody holds a receipt.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import tempfile
import tracemalloc
from pathlib import Path

from alhena_async import (
    AlhenaClient,
    CartEvent,
    HttpPolicy,
    QueuePolicy,
    Reply,
    SQLiteJournal,
    Visitor,
)
from alhena_async.transports import Endpoint

__all__ = ["bytes_per_event", "main"]

_CAPACITY = 100
_BATCH = 500
"""Events that share a commit."""


class _Silence:
    """A transport from which nothing ever comes back."""

    async def open(self) -> None:
        pass

    async def send(self, endpoint: Endpoint, body: bytes) -> Reply:
        await asyncio.Event().wait()
        raise AssertionError("nothing comes back")

    async def close(self) -> None:
        pass


async def bytes_per_event(directory: Path, counts: list[int], *, visitors: int) -> list[float]:
    """Spill so many events in all, and return what each cost at each count.

    Args:
        directory: The journal's.
        counts: Growing.
        visitors: How many they are of.
    """
    client = AlhenaClient(
        "shop",
        transport=_Silence(),
        http=HttpPolicy(request_timeout=86_400.0),
        journal=SQLiteJournal(directory, synchronous="NORMAL"),
        queue=QueuePolicy(capacity=_CAPACITY, lane_capacity=counts[-1], linger=0.0),
    )
    await client.start()
    tracemalloc.start()
    try:
        for number in range(_CAPACITY):
            client.track_nowait(_event(number, visitors))
        await asyncio.sleep(0.1)  # what was submitted reaches the disk
        begun = _allocated()
        found = []
        for count in counts:
            while (left := count - client.stats().spilled) > 0:
                for _ in range(min(left, _BATCH) - 1):
                    client.track_nowait(_event(client.stats().accepted, visitors))
                await client.track(_event(client.stats().accepted, visitors))
            found.append((_allocated() - begun) / count)
        return found
    finally:
        tracemalloc.stop()
        await client.close(0.0)


def _event(number: int, visitors: int) -> CartEvent:
    visitor = Visitor(
        fingerprint=f"550e8400-e29b-41d4-a716-{number % visitors:012d}",
        faq_fingerprint=f"660e8400-e29b-41d4-a716-{number % visitors:012d}",
    )
    return CartEvent.for_change(
        visitor, before=0, after=1, product_id=f"sku-{number}", product_name="Stoneware mug",
        value=9.5, currency="EUR",
    )  # fmt: skip


def _allocated() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def main(arguments: list[str] | None = None) -> int:
    """Print the bytes at several counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[10_000, 22_000, 44_000, 88_000])
    counts = parser.parse_args(arguments).counts
    for name, visitors in (("a visitor each", 10**9), ("of 1,000 visitors", 1_000)):
        with tempfile.TemporaryDirectory() as directory:
            found = asyncio.run(bytes_per_event(Path(directory), counts, visitors=visitors))
        for count, size in zip(counts, found, strict=True):
            sys.stdout.write(f"{count:>9,} events {name}: {size:.0f} bytes each\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
