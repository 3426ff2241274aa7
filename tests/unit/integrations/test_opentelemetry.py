"""OpenTelemetry: the metrics are `stats()`, each request is a span, and nothing waits with them."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from alhena_async import QueuePolicy, RetryPolicy
from alhena_async._queue.envelope import Envelope
from alhena_async.integrations import opentelemetry as module
from alhena_async.integrations.opentelemetry import OpenTelemetryObserver
from alhena_async.testing import virtual
from alhena_async.transports import TransportError
from tests.scripted import HANG, NEVER_SENT, OK, RESET, Script, cart, client_over, code, status

AT_ONCE = QueuePolicy(linger=0.0)


class Metrics:
    """An in-memory reader, and what it reads by name and attributes."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider(metric_readers=[self.reader], shutdown_on_exit=False)

    def read(self) -> dict[str, dict[tuple[tuple[str, Any], ...], Any]]:
        """Return each instrument's points by their attributes: a number, or a histogram's point."""
        data = self.reader.get_metrics_data()
        found: dict[str, dict[tuple[tuple[str, Any], ...], Any]] = {}
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    found[metric.name] = {
                        tuple(sorted((point.attributes or {}).items())): getattr(
                            point, "value", point
                        )
                        for point in metric.data.data_points
                    }
        return found


class Spans:
    """An in-memory exporter of what a tracer provider makes."""

    def __init__(self, **settings: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False, **settings)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("shop")

    def of_requests(self) -> list[Any]:
        """The spans of requests, in order."""
        return [one for one in self.exporter.get_finished_spans() if one.kind is SpanKind.CLIENT]


def counted(points: dict[tuple[tuple[str, Any], ...], Any]) -> int:
    """How many durations a histogram has."""
    return sum(point.count for point in points.values())


@virtual
async def test_counts_and_levels_are_those_of_stats() -> None:
    """By outcome and code; what the API does not document is `other`."""
    metrics = Metrics()
    answers = [code("ACTIVE_TICKET_NOT_FOUND"), code("SECRET_OF_A_PROXY"), status(500), OK]
    observer = OpenTelemetryObserver(metrics.provider)
    async with client_over(Script(*answers), observers=[observer], queue=AT_ONCE) as client:
        for _ in range(3):
            await client.track_nowait(cart())
        client.track_nowait(cart())
        now, stats = metrics.read(), client.stats()
        assert now["alhena.client.queue.size"][()] == stats.queued == 1
        assert now["alhena.client.queue.capacity"][()] == 10_000
        assert now["alhena.client.breaker"][("endpoint", "cart"),] == 0
        assert now["alhena.client.retries"][()] == stats.retries == 1
        assert now["alhena.client.accepted"][()] == stats.accepted == 4
    assert metrics.read()["alhena.client.events"] == {
        (("code", "ACTIVE_TICKET_NOT_FOUND"), ("outcome", "unattributed")): 1,
        (("code", "other"), ("outcome", "rejected")): 1,
        (("outcome", "recorded"),): 2,
    }


@virtual
async def test_a_request_s_duration_has_the_conventions_names() -> None:
    """In seconds, with where it went and how it ended."""
    metrics = Metrics()
    script = Script(NEVER_SENT, HANG, status(503), OK, latency=0.25)
    observer = OpenTelemetryObserver(metrics.provider)
    client = client_over(script, observers=[observer], base_url="https://api.test:8443/")
    async with client:
        await client.record(cart(), timeout=None)
    points = metrics.read()["http.client.request.duration"]
    where = {"http.request.method": "POST", "server.address": "api.test", "server.port": 8443}
    assert [dict(point) for point in points] == [
        {**where, "error.type": "_OTHER"},
        {**where, "error.type": "timeout"},
        {**where, "error.type": "503", "http.response.status_code": 503},
        {**where, "http.response.status_code": 200},
    ]
    [answered] = [
        point for key, point in points.items() if ("http.response.status_code", 200) in key
    ]
    assert (answered.count, answered.sum) == (1, 0.25)


@virtual
async def test_each_attempt_is_a_client_span_linked_to_who_tracked_it() -> None:
    """Of its own trace: many requests of a shop may wait for the same one."""
    spans = Spans()
    observer = OpenTelemetryObserver(tracer_provider=spans.provider)
    script = Script(status(500), code("ACTIVE_TICKET_NOT_FOUND", 404))
    async with client_over(script, observers=[observer], base_url="https://api.test/") as client:
        with spans.tracer.start_as_current_span("add to cart") as shop:
            receipt = client.track_nowait(cart("secret"))
        await receipt
    first, second = spans.of_requests()
    for span in (first, second):
        assert (span.name, span.parent, span.status.status_code) == ("POST", None, StatusCode.ERROR)
        assert [link.context.span_id for link in span.links] == [shop.get_span_context().span_id]
        assert span.attributes["url.full"].startswith("https://api.test/")
        assert "secret" not in str(span.to_json())
    assert first.attributes["error.type"] == "500"
    assert second.attributes["http.request.resend_count"] == 1
    assert second.attributes["alhena.code"] == "ACTIVE_TICKET_NOT_FOUND"


@virtual
async def test_what_folds_is_linked_from_the_request_that_stands_for_it() -> None:
    """Each of the spans in which one of them was tracked; from `track` and other threads too."""
    spans = Spans()
    observer = OpenTelemetryObserver(tracer_provider=spans.provider)
    tracked = []
    async with client_over(Script(), observers=[observer]) as client:
        for quantity in (2, 3):
            with spans.tracer.start_as_current_span(f"quantity {quantity}") as shop:
                tracked.append(shop.get_span_context().span_id)
                await client.track(cart(type="QUANTITY_INCREASED", quantity=quantity))
        await client.flush()
    [span] = spans.of_requests()
    assert sorted(link.context.span_id for link in span.links) == sorted(tracked)


async def test_a_span_of_another_thread_is_linked_too() -> None:
    """`track_threadsafe` carries its context over."""
    spans = Spans()
    observer = OpenTelemetryObserver(tracer_provider=spans.provider)
    async with client_over(Script(), observers=[observer], queue=AT_ONCE) as client:

        def work() -> int:
            with spans.tracer.start_as_current_span("job") as job:
                client.track_threadsafe(cart())
                return job.get_span_context().span_id

        span_id = await asyncio.to_thread(work)
        await client.flush()
    [span] = spans.of_requests()
    assert [link.context.span_id for link in span.links] == [span_id]


@pytest.mark.parametrize("settings", [None, {"sampler": ALWAYS_OFF}, {}])
@virtual
async def test_nothing_waits_with_an_event_that_nobody_traces(
    settings: dict[str, Any] | None,
) -> None:
    """No provider, a span that is not sampled, no span at all."""
    spans = None if settings is None else Spans(**settings)
    observer = OpenTelemetryObserver(tracer_provider=spans.provider if spans else None)
    async with client_over(Script(), observers=[observer]) as client:
        if settings:
            assert spans
            with spans.tracer.start_as_current_span("not sampled"):
                receipt = client.track_nowait(cart())
        else:
            receipt = client.track_nowait(cart())
        assert isinstance(receipt, Envelope)
        assert receipt._details is None


async def test_the_journal_is_seen(tmp_path: Path) -> None:
    """Commits by their duration; rows, bytes and dead letters as it is left."""
    metrics = Metrics()
    observer = OpenTelemetryObserver(metrics.provider)
    script = Script(code("COMPANY_NOT_FOUND"), otherwise=HANG)
    async with client_over(
        script, observers=[observer], queue=AT_ONCE, journal=tmp_path / "journal"
    ) as client:
        await client.track(cart("a"))
        await client.flush()
        await client.track(cart("b"))
        while metrics.read()["alhena.journal.dead_letters"][()] == 0:  # noqa: ASYNC110  it tells nobody
            await asyncio.sleep(0.05)  # it is measured once a second
        now = metrics.read()
        assert now["alhena.journal.rows"][()] == 1
        assert 0 < now["alhena.journal.bytes"][()] < now["alhena.journal.max_bytes"][()]
        assert counted(now["alhena.journal.commit.duration"]) >= 2
        await client.close(timeout=0)


@virtual
async def test_durations_do_not_pile_up_where_the_sdk_seldom_collects(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A thread hands them over, and none is lost."""
    monkeypatch.setattr(module, "_MAX_NOTED", 10)
    metrics = Metrics()
    observer = OpenTelemetryObserver(metrics.provider)
    async with client_over(Script(), observers=[observer], queue=AT_ONCE) as client:
        for number in range(100):
            await client.record(cart(f"v{number}"))
        assert len(observer._noted) < 100
    assert counted(metrics.read()["http.client.request.duration"]) == 100


async def test_what_the_sdk_refuses_is_logged_and_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One duration is lost, and not all that come after it."""
    observer = OpenTelemetryObserver(Metrics().provider)
    calls: list[float] = []

    def record(seconds: float, _: object) -> None:
        calls.append(seconds)
        if len(calls) == 1:
            raise ValueError("secret")

    monkeypatch.setattr(observer._requests, "record", record)
    async with client_over(Script(), observers=[observer], queue=AT_ONCE) as client:
        for number in range(20):
            await client.record(cart(f"v{number}"))
    observer._hand_over()  # here, and not in a thread that may be at it still
    assert (len(calls), len(observer._noted), observer._is_handing_over) == (20, 0, False)
    assert "OpenTelemetry refused a duration, which is lost: ValueError" in caplog.text
    assert "secret" not in caplog.text


@virtual
async def test_a_cause_that_is_no_class_of_ours_is_other() -> None:
    """A label is one of few, whatever a transport of the user's own says."""
    metrics = Metrics()
    script = Script(
        TransportError("lost by user (customer17)"),
        TransportError("connection lost (ServerDisconnectedError)", sent=False),
        OK,
    )
    observer = OpenTelemetryObserver(metrics.provider)
    async with client_over(script, observers=[observer]) as client:
        await client.record(cart(), timeout=None)
    points = metrics.read()["http.client.request.duration"]
    assert {dict(point).get("error.type") for point in points} == {
        "_OTHER", "ServerDisconnectedError", None,
    }  # fmt: skip


@virtual
async def test_two_clients_of_one_observer_add_up_and_stay_counted() -> None:
    """Counters only grow, also when a client has ended."""
    metrics = Metrics()
    observer = OpenTelemetryObserver(metrics.provider)
    for _ in range(2):
        async with client_over(Script(), observers=[observer], queue=AT_ONCE) as client:
            await client.record(cart())
    now = metrics.read()
    assert now["alhena.client.accepted"][()] == 2
    assert now["alhena.client.events"] == {(("outcome", "recorded"),): 2}
    assert now["alhena.client.queue.capacity"][()] == 0


class Receiver(ThreadingHTTPServer):
    """A collector: takes OTLP over HTTP, and keeps what it says."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Taken)
        self.metrics: list[ExportMetricsServiceRequest] = []
        self.spans: list[ExportTraceServiceRequest] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Taken(BaseHTTPRequestHandler):
    """One export."""

    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/v1/metrics":
            self.server.metrics.append(ExportMetricsServiceRequest.FromString(body))
        else:
            self.server.spans.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


async def test_a_collector_gets_all_of_it_over_the_wire(receiver: Receiver) -> None:
    """OTLP as the SDK's exporters send it, read with the protocol's own types."""
    meters = MeterProvider(
        metric_readers=[
            PeriodicExportingMetricReader(
                OTLPMetricExporter(f"{receiver.url}/v1/metrics"), export_interval_millis=1e9
            )
        ],
        shutdown_on_exit=False,
    )
    traces = TracerProvider(shutdown_on_exit=False)
    traces.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{receiver.url}/v1/traces")))
    observer = OpenTelemetryObserver(meters, traces)
    retry = RetryPolicy(base=0.01, cap=0.01)
    script = Script(RESET, OK)
    async with client_over(script, observers=[observer], queue=AT_ONCE, retry=retry) as client:
        await client.record(cart())
    meters.shutdown()
    traces.shutdown()
    [sent] = receiver.metrics[-1].resource_metrics[0].scope_metrics
    by_name = {metric.name: metric for metric in sent.metrics}
    assert sent.scope.name == "alhena_async"
    duration = by_name["http.client.request.duration"]
    assert duration.unit == "s"
    assert sum(point.count for point in duration.histogram.data_points) == 2
    [recorded] = by_name["alhena.client.events"].sum.data_points
    assert recorded.as_int == 1
    assert by_name["alhena.client.events"].sum.is_monotonic
    spans = [
        span
        for request in receiver.spans
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert [span.name for span in spans] == ["POST", "POST"]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_counts_from_zero() -> None:
    """What the parent counted, the parent exports."""
    observer = OpenTelemetryObserver(Metrics().provider)

    async def live() -> int:
        async with client_over(Script(), observers=[observer], queue=AT_ONCE) as client:
            await client.record(cart())
            return sum(observer.outcomes.values())

    async def parent() -> None:
        assert await live() == 1

    asyncio.run(parent())
    child = os.fork()
    if child == 0:
        try:
            os._exit(10 + asyncio.run(live()))
        finally:
            os._exit(1)
    _, left = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(left) == 11
