"""A run with faults: what the metrics say is `stats()`, and what the other side has counted."""

from __future__ import annotations

import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from alhena_async import (
    AlhenaClient,
    BreakerPolicy,
    CartEvent,
    CheckoutEvent,
    Event,
    LineItem,
    Observer,
    OutcomeStatus,
    QueuePolicy,
    RetryPolicy,
    Stats,
    Visitor,
)
from alhena_async.emulator import Emulator, FaultPlan, Tickets
from alhena_async.integrations.opentelemetry import OpenTelemetryObserver
from alhena_async.integrations.prometheus import PrometheusObserver

# No resets: a connection that breaks as it is used again is replaced within the same request.
HEARD = ["error=10%", "throttle=8%:0s", "html=6%"]
UNHEARD = ["error-after=10%"]
"""What is recorded or refused, and its answer lost."""
RETRY = RetryPolicy(
    base=0.01, cap=0.02, throttle_base=0.01, breaker=BreakerPolicy(open_for=0.05, open_cap=0.05)
)
COUNTS = ["accepted", "requests", "retries", "failed_attempts", "invalid", "not_accepted"]


class Written(Observer):
    """Counts what the disk took."""

    events = 0

    def journal_committed(self, events: int, seconds: float) -> None:
        self.events += events


def someone() -> Visitor:
    return Visitor(fingerprint=str(uuid.uuid4()), faq_fingerprint=str(uuid.uuid4()))


def shopping(visitor: Visitor, name: str = "Mug") -> list[Event]:
    """Three products, and an order."""
    carts: list[Event] = [
        CartEvent(
            visitor=visitor, type="ITEM_ADDED", product_id=f"sku-{number}", product_name=name,
            value=9.5, currency="EUR", quantity=1,
        )
        for number in range(3)
    ]  # fmt: skip
    line = LineItem(product_id="sku-1", product_name="Mug", value=9.5, currency="EUR", quantity=1)
    order = CheckoutEvent(
        visitor=visitor, value=9.5, currency="EUR", line_items=(line,), order_id=str(uuid.uuid4())
    )
    return [*carts, order]


def by_outcome(stats: Stats) -> Counter[str]:
    """The counts of `stats()` that are outcomes."""
    return Counter({one.value: getattr(stats, one.value) for one in OutcomeStatus})


class Run:
    """What was measured in a run, by each exporter, and what it was measured of."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.exporter = InMemorySpanExporter()
        traces = TracerProvider(shutdown_on_exit=False)
        traces.add_span_processor(SimpleSpanProcessor(self.exporter))
        meters = MeterProvider(metric_readers=[self.reader], shutdown_on_exit=False)
        self.registry, self.written = CollectorRegistry(), Written()
        self.observers = [
            OpenTelemetryObserver(meters, traces),
            PrometheusObserver(self.registry),
            self.written,
        ]

    def points(self) -> dict[str, list[Any]]:
        """Every instrument's points for OpenTelemetry."""
        data = self.reader.get_metrics_data()
        assert data is not None
        [resource] = data.resource_metrics
        [scope] = resource.scope_metrics
        return {metric.name: list(metric.data.data_points) for metric in scope.metrics}

    def scraped(self, name: str, label: str) -> Counter[str]:
        """A metric's samples for Prometheus, summed up by one label."""
        found: Counter[str] = Counter()
        for family in self.registry.collect():
            for sample in family.samples:
                if sample.name == name:
                    found[sample.labels[label]] += int(sample.value)
        return found


async def shop_with_faults(run: Run, emulator: Emulator, journal: Path) -> Stats:
    """Sixty visitors, a quarter of them without a ticket, and one event that is none."""
    client = AlhenaClient(
        "shop", base_url=emulator.url, observers=run.observers, journal=journal,
        queue=QueuePolicy(linger=0.0), retry=RETRY,
    )  # fmt: skip
    async with client:
        for number in range(60):
            visitor = someone()
            if number % 4:
                emulator.open_ticket(visitor)
            for event in shopping(visitor):
                await client.track(event)
        with client.reporting():
            shopping(someone(), name="")
        await client.flush()
    return client.stats()


@pytest.mark.parametrize("faults", [HEARD, [*HEARD, *UNHEARD]], ids=["heard", "unheard too"])
async def test_metrics_are_stats_and_what_the_api_has_seen(
    faults: list[str], tmp_path: Path
) -> None:
    """Outcomes, requests by status, retries, refusals by code, rows: to the last one."""
    run, plan = Run(), FaultPlan.parse(faults, seed=17)
    async with Emulator(tickets=Tickets.OPENED, faults=plan) as emulator:
        stats = await shop_with_faults(run, emulator, tmp_path / "journal")
        points = run.points()
        _agree_with_stats(run, points, stats)
        _agree_with_api(run, points, emulator)


def _agree_with_stats(run: Run, points: dict[str, list[Any]], stats: Stats) -> None:
    told: Counter[str] = Counter()
    for point in points["alhena.client.events"]:
        told[str(point.attributes["outcome"])] += point.value
    assert told == by_outcome(stats) == run.scraped("alhena_client_events_total", "outcome")
    assert told.total() == stats.accepted == run.written.events == 240
    for field in COUNTS:
        [point] = points[f"alhena.client.{field}"]
        scraped = run.registry.get_sample_value(f"alhena_client_{field}_total")
        assert point.value == scraped == getattr(stats, field), field
    assert stats.invalid == 1
    assert stats.retries > 20


def _agree_with_api(run: Run, points: dict[str, list[Any]], emulator: Emulator) -> None:
    statuses: Counter[str] = Counter()
    for point in points["http.client.request.duration"]:
        statuses[str(point.attributes.get("http.response.status_code", "none"))] += point.count
    scraped = run.scraped("alhena_client_request_duration_seconds_count", "status")
    assert statuses == scraped
    spans = run.exporter.get_finished_spans()
    assert statuses.total() == emulator.requests == len(spans)
    met = Counter({kind.value: count for kind, count in emulator.faulted.items()})
    assert statuses["500"] + statuses["429"] == met["status"] + met["status-after"]
    unheard = met["status-after"]  # sent again, and judged once more
    outcomes = run.scraped("alhena_client_events_total", "outcome")
    assert emulator.recorded_count + emulator.refused_count == outcomes.total() + unheard
    if not unheard:
        codes = run.scraped("alhena_client_events_total", "code")
        assert emulator.recorded_count == outcomes["recorded"]
        assert emulator.refusals == {code: codes[code] for code in codes if code and codes[code]}
