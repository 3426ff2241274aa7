"""What an OpenTelemetry observer costs: `track_nowait` and a delivered event, with it and without.

    python -m benchmarks.observed [ROUNDS] [EVENTS]

Real providers of the SDK, read in memory; microseconds of this process's CPU, an event. The cases
take turns in random order within a round, and each is compared with the bare client of that round;
figures are medians. What an observer adds to a delivered event is measured over a transport that
answers at once, where the network's own jitter does not drown it, and told as a share of an event
that is delivered over HTTP, to a server in a process of its own. What the SDK does with the
durations as it collects them, off the event loop, stands in a column of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler
from opentelemetry.trace import Tracer

from alhena_async import AlhenaClient, Coalescing, Endpoint, Observer, QueuePolicy, Reply, Transport
from alhena_async.integrations.opentelemetry import OpenTelemetryObserver
from benchmarks.handler import api_in_a_process
from benchmarks.shop import RECORDED, cart, visitors

_BARE = "no observer"
_METRICS = "metrics"


class _AtOnce:
    """A transport that answers at once."""

    async def open(self) -> None:
        pass

    async def send(self, endpoint: Endpoint, body: bytes) -> Reply:
        return RECORDED

    async def close(self) -> None:
        pass


def _client(
    observers: list[Observer], base_url: str | None, transport: Transport | None
) -> AlhenaClient:
    return AlhenaClient(
        "bench",
        base_url=base_url,
        transport=transport,
        observers=observers,
        coalescing=Coalescing.OFF,
        queue=QueuePolicy(capacity=100_000, linger=600.0, flush_at=None),
    )


class Case:
    """A client, what watches it, and what its rounds took.

    Args:
        sampler: Of the traces; None: there are none.
        has_observer: False: nothing watches.
        base_url: Over HTTP to there; None: over a transport that answers at once.
    """

    def __init__(
        self,
        *,
        sampler: Sampler | None = None,
        has_observer: bool = True,
        base_url: str | None = None,
    ) -> None:
        self.reader = InMemoryMetricReader()
        self._has_observer = has_observer
        self._tracer: Tracer | None = None
        observers: list[Observer] = []
        if has_observer:
            traces = None if sampler is None else TracerProvider(sampler, shutdown_on_exit=False)
            self._tracer = traces.get_tracer("shop") if traces else None
            meters = MeterProvider(metric_readers=[self.reader], shutdown_on_exit=False)
            observers = [OpenTelemetryObserver(meters, traces)]
        transport = _AtOnce() if base_url is None else None
        self.client = _client(observers, base_url, transport)
        self.costs: list[Costs] = []

    def span(self) -> AbstractContextManager[object]:
        """The shop's own, around whatever tracks."""
        return nullcontext() if self._tracer is None else self._tracer.start_as_current_span("add")

    async def round(self, count: int) -> None:
        """Track and deliver so many events, then collect."""
        took: list[float] = []
        people = visitors(100)
        events = [cart(people[one % 100], f"sku-{one}") for one in range(count)]
        track = self.client.track_nowait
        with self.span(), _measured(took, count):
            for event in events:
                track(event)
        with _measured(took, count):
            await self.client.flush()
        with _measured(took, count):
            if self._has_observer:
                self.reader.get_metrics_data()
        self.costs.append(Costs(took[0], took[0] + took[1], took[2]))


class Costs(NamedTuple):
    """Of one event, in microseconds of CPU."""

    track: float
    deliver: float
    collect: float


@contextlib.contextmanager
def _measured(took: list[float], events: int) -> Iterator[None]:
    gc.collect()
    gc.disable()
    began = time.process_time()
    yield
    took.append((time.process_time() - began) / events * 1e6)
    gc.enable()


async def _measure(cases: dict[str, Case], http: Case, rounds: int, count: int) -> None:
    everything = [*cases.values(), http]
    async with contextlib.AsyncExitStack() as stack:
        for case in everything:
            await stack.enter_async_context(case.client)
            await case.round(count)  # warm
            case.costs.clear()
        for _ in range(rounds):
            for case in random.sample(everything, len(everything)):
                await case.round(count)


def _print_table(cases: dict[str, Case], http: Case) -> None:
    bare = cases[_BARE].costs
    track = statistics.median(one.track for one in bare)
    delivered = statistics.median(one.deliver for one in http.costs)
    print("| us an event | `track_nowait` | more | delivered over HTTP | more | collected |")
    print("|---|---|---|---|---|---|")
    print(f"| {_BARE} | {track:.2f} | | {delivered:.0f} | | |")
    for name, case in cases.items():
        if name != _BARE:
            pairs = list(zip(case.costs, bare, strict=True))
            more = statistics.median(one.track - base.track for one, base in pairs)
            rest = statistics.median(one.deliver - base.deliver for one, base in pairs)
            collect = statistics.median(one.collect for one in case.costs)
            print(
                f"| {name} | {more:+.2f} | {more / track:+.0%} "
                f"| {rest:+.1f} | {rest / delivered:+.1%} | {collect:.1f} |"
            )


def main(rounds: int = 31, count: int = 1_000) -> None:
    """Measure, and print a table."""
    with api_in_a_process() as port:
        cases = {
            _BARE: Case(has_observer=False),
            _METRICS: Case(),
            "and traces, none sampled": Case(sampler=ALWAYS_OFF),
            "and traces, all sampled": Case(sampler=ALWAYS_ON),
        }
        http = Case(has_observer=False, base_url=f"http://127.0.0.1:{port}/")
        asyncio.run(_measure(cases, http, rounds, count))
        _print_table(cases, http)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
