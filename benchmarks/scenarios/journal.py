"""What the way through the journal adds to a delivered event."""

from __future__ import annotations

import asyncio
import tempfile
import time
from functools import partial
from pathlib import Path

from alhena_async import AlhenaClient, Coalescing, HttpPolicy, QueuePolicy, SQLiteJournal
from benchmarks.scenario import Case, Claim, Figures, Measured, Ratio, Scenario
from benchmarks.shop import cart, visitors
from benchmarks.sink import Sink
from benchmarks.size import sized

__all__ = ["SCENARIO", "client", "deliver"]

_EVENTS = sized(5_000)
_WARM = sized(500)
_CALLERS = 100
_CPU = "cpu_us_per_event"


def client(sink: Sink, journal: Path | None) -> AlhenaClient:
    """Return a client of that sink, with a journal in that folder."""
    return AlhenaClient(
        "bench",
        base_url=sink.url,
        queue=QueuePolicy(capacity=10_000, checkout_reserve=0.0, linger=0.0, flush_at=None),
        http=HttpPolicy(ssl=sink.trust),
        coalescing=Coalescing.OFF,
        journal=SQLiteJournal(journal, synchronous="FULL") if journal else None,
    )


async def _measure(*, tls: bool, journal: bool) -> Figures:
    with Sink(tls=tls) as sink, tempfile.TemporaryDirectory(dir=Path.cwd()) as base:  # on disk
        async with client(sink, Path(base, "journal") if journal else None) as delivering:
            await deliver(delivering, _WARM)
            began, spent = time.perf_counter(), time.process_time()
            await deliver(delivering, _EVENTS)
            took, spent = time.perf_counter() - began, time.process_time() - spent
            assert delivering.stats().recorded == _EVENTS + _WARM
    return {"per_second": _EVENTS / took, _CPU: spent / _EVENTS * 1e6}


async def deliver(client: AlhenaClient, count: int) -> None:
    """Let a hundred callers `await track`, and all be delivered."""
    people = visitors(500)
    left = iter(range(count))

    async def caller() -> None:
        for number in left:
            await client.track(cart(people[number % 500], f"sku-{number}"))

    async with asyncio.TaskGroup() as group:
        for _ in range(_CALLERS):
            group.create_task(caller())
    await client.flush()


def _name(*, tls: bool, journal: bool) -> str:
    return f"{'TLS' if tls else 'plain'}, {'journal' if journal else 'no journal'}"


def _claims(measured: Measured) -> list[Claim]:
    claims = []
    for tls, aim in ((True, 1.3), (False, None)):
        with_it, without = (_name(tls=tls, journal=journal) for journal in (True, False))
        if measured.has(with_it, without):
            claims.append(
                Claim.of_turns(
                    "CPU of a delivered event through the journal (`FULL`), against without, "
                    f"{'over TLS' if tls else 'over HTTP'}",
                    measured.ratios(with_it, without, _CPU),
                    at_most=aim,
                )
            )
    return claims


def _without(case: str) -> str:
    return _name(tls=case.startswith("TLS"), journal=False)


SCENARIO = Scenario(
    title="Through the journal",
    how=(
        f"{_CALLERS} callers of `await track` have {_EVENTS:,} events delivered to a sink that "
        "answers at once, each event on disk before its caller goes on (`synchronous=FULL`, every "
        "commit synced), and the same without a journal. CPU of the process with the journal's "
        "thread."
    ),
    cases={
        _name(tls=tls, journal=journal): Case(measure=partial(_measure, tls=tls, journal=journal))
        for tls in (True, False)
        for journal in (False, True)
    },
    claims=_claims,
    figures={"per_second": "events/s", _CPU: "CPU us per event"},
    ratio=Ratio(heading="CPU against without", figure=_CPU, reference=_without),
)
