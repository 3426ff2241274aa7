"""Whether a million waiting events make each of them dearer."""

from __future__ import annotations

import gc
import time
from functools import partial

from alhena_async import AlhenaClient, QueuePolicy
from benchmarks.machine import peak_bytes
from benchmarks.scenario import Case, Claim, Figures, Measured, Scenario
from benchmarks.shop import Silent, cart, visitors

__all__ = ["SCENARIO"]

_MANY = 1_000_000
_FEW = 1_000


async def _drain(count: int) -> float:
    """Admit events of as many visitors, let them wait, drain; return CPU seconds."""
    people = visitors(count)
    queue = QueuePolicy(capacity=count, checkout_reserve=0.0, linger=600.0, flush_at=None)
    transport = Silent()
    client = AlhenaClient("bench", queue=queue, transport=transport)
    await client.start()
    gc.collect()
    began = time.process_time()
    for number in range(count):
        client.track_nowait(cart(people[number], f"sku-{number}"))
    transport.gate.set()
    await client.flush()
    spent = time.process_time() - began
    report = await client.close()
    assert report.stats.recorded == count == report.stats.accepted
    assert report.stats.queued == report.stats.in_flight == 0
    return spent


async def _drained(count: int, batches: int) -> Figures:
    for _ in range(5):
        await _drain(_FEW)  # warm: the interpreter specialises as it goes
    spent = [await _drain(count) for _ in range(batches)]
    return {
        "cpu_us_per_event": sum(spent) / batches / count * 1e6,
        "peak_mib": peak_bytes() / 2**20,
    }


def _claims(measured: Measured) -> list[Claim]:
    many, few = f"{_MANY:,} queued", f"{_FEW:,} queued"
    return [
        Claim(
            what="CPU per delivered event, 1,000,000 queued against 1,000",
            value=measured.median(many, "cpu_us_per_event")
            / measured.median(few, "cpu_us_per_event"),
            at_most=1.2,
        )
    ]


SCENARIO = Scenario(
    title="A thousand and a million",
    how=(
        "As many events of as many visitors are admitted, wait, and are drained over a transport "
        "that answers at once: what is left is the engine's own work. CPU time of the process, "
        "admission included, after a warm-up; the thousand is repeated 30 times in a row."
    ),
    cases={
        f"{_FEW:,} queued": Case(measure=partial(_drained, _FEW, 30), rounds=3),
        f"{_MANY:,} queued": Case(measure=partial(_drained, _MANY, 1), rounds=1),
    },
    claims=_claims,
    figures={"cpu_us_per_event": "CPU us per event", "peak_mib": "peak MiB"},
)
