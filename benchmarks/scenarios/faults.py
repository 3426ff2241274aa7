"""What is still delivered when a share of the requests fails."""

from __future__ import annotations

import asyncio
import contextlib
import time
from functools import partial

from alhena_async import AlhenaClient, Coalescing, QueuePolicy
from benchmarks.scenario import Case, Claim, Figures, Measured, Scenario
from benchmarks.shop import cart, visitors
from benchmarks.sink import Sink

__all__ = ["SCENARIO"]

_SECONDS = 6.0
_SHARES = (0.0, 0.01, 0.1, 0.5)


async def _rate(faults: float) -> Figures:
    people = visitors(5_000)
    queue = QueuePolicy(linger=0.0)
    with Sink(faults=faults) as sink:
        client = AlhenaClient("bench", base_url=sink.url, queue=queue, coalescing=Coalescing.OFF)
        await client.start()

        async def feed() -> None:
            number = 0
            while True:
                await client.track(cart(people[number % 5_000], f"sku-{number}"))
                number += 1
                if number % 100 == 0:
                    await asyncio.sleep(0)

        feeding = asyncio.create_task(feed())
        began = time.perf_counter()
        await asyncio.sleep(_SECONDS)
        stats, took = client.stats(), time.perf_counter() - began
        feeding.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await feeding
        await client.close(timeout=0)
    return {
        "per_second": stats.recorded / took,
        "requests_per_event": stats.requests / max(1, stats.recorded),
        "lost": float(stats.accepted - stats.recorded - stats.queued - stats.in_flight),
    }


def _name(share: float) -> str:
    return f"{share:.0%} of requests fail"


def _claims(measured: Measured) -> list[Claim]:
    return [
        Claim(
            what=f"delivered/s when {_name(share)}",
            value=measured.median(_name(share), "per_second"),
            unit="/s",
        )
        for share in _SHARES
    ]


SCENARIO = Scenario(
    title="Faults",
    how=(
        "A sink answers that share of the requests with 500, 502 or a closed connection, in equal "
        f"parts, by chance with a fixed seed. Events of 5,000 visitors come as fast as there is "
        f"room, for {_SECONDS:g} s, under the default policies: an event that failed is tried "
        "again after a backoff, its visitor's later ones wait for it, and at half of all requests "
        "the breaker opens. `lost` counts events that ended in any other way than recorded."
    ),
    cases={_name(share): Case(measure=partial(_rate, share), rounds=2) for share in _SHARES},
    claims=_claims,
    figures={
        "per_second": "events/s",
        "requests_per_event": "requests per event",
        "lost": "lost",
    },
)
