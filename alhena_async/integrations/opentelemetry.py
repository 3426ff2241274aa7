"""Metrics and traces for OpenTelemetry; extra `otel`, which brings its API alone.

    client = AlhenaClient("my-company", region="eu", observers=[OpenTelemetryObserver()])

Where they go is the SDK's business: set it up before the observer is made. Counts and levels are
read as the SDK collects them, so that they cost nothing in between; durations are noted on the
event loop and handed to the SDK as it collects, or by a thread where it seldom does.
"""

from __future__ import annotations

import asyncio
import builtins
import re
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from opentelemetry import metrics, trace
from opentelemetry.context import Context, get_current
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from alhena_async._telemetry.telemetry import log_foreign
from alhena_async._version import __version__
from alhena_async._wire import endpoint_of
from alhena_async.events import Event
from alhena_async.integrations._tally import Tally
from alhena_async.observers import SEVERITY, JournalLevels, Snapshot, Stats
from alhena_async.outcomes import ErrorCode
from alhena_async.transports import Endpoint

__all__ = ["OpenTelemetryObserver"]

_SCOPE: Final = "alhena_async"

_MAX_NOTED: Final = 5_000
"""Durations that wait for the SDK; more are handed over by a thread."""

_BOUNDARIES: Final = (
    0.005,
    0.01,
    0.025,
    0.05,
    0.075,
    0.1,
    0.25,
    0.5,
    0.75,
    1.0,
    2.5,
    5.0,
    7.5,
    10.0,
)
"""Seconds: the advice of the semantic conventions for HTTP."""

_COUNTS: Final = {
    "accepted": "Events that were accepted",
    "replayed": "Events of earlier processes that were taken in from the journal",
    "retries": "Requests that repeat an earlier one of the same event",
    "failed_attempts": "Requests without an answer that settles their event",
    "invalid": "Events that were refused where they were to be built",
    "not_accepted": "Events that found no room, or a closed client",
}

_LEVELS: Final[dict[str, tuple[str, str, Callable[[Snapshot], float]]]] = {
    "alhena.client.queue.size": ("{event}", "Events that wait", lambda now: now.stats.queued),
    "alhena.client.queue.in_flight": (
        "{event}",
        "Events on the wire or in backoff",
        lambda now: now.stats.in_flight,
    ),
    "alhena.client.queue.spilled": (
        "{event}",
        "Events that the journal's disk alone has",
        lambda now: now.stats.spilled,
    ),
    "alhena.client.queue.oldest_age": (
        "s",
        "Age of the oldest unsettled event",
        lambda now: now.stats.oldest_age,
    ),
    "alhena.client.queue.capacity": (
        "{event}",
        "Events that there is room for",
        lambda now: now.capacity,
    ),
    "alhena.client.paused": ("1", "1 while nothing is sent", lambda now: float(now.stats.paused)),
}

_JOURNAL_LEVELS: Final[dict[str, tuple[str, str, Callable[[JournalLevels], float]]]] = {
    "alhena.journal.rows": ("{event}", "Unsettled events on disk", lambda now: now.rows),
    "alhena.journal.bytes": ("By", "Size of the journal's file", lambda now: now.bytes),
    "alhena.journal.max_bytes": ("By", "How large it may become", lambda now: now.max_bytes),
    "alhena.journal.writable": (
        "1",
        "0 while the disk does not take what is written",
        lambda now: float(now.is_writing and now.is_alive),
    ),
    "alhena.journal.dead_letters": (
        "{event}",
        "Events that ended badly and are kept",
        lambda now: now.dead_letters,
    ),
}

_Attributes = dict[str, AttributeValue]


class OpenTelemetryObserver(Tally):
    """Tells OpenTelemetry how events, requests, queue and journal fare.

    One client span a request, with a link to the span in which each of its events was tracked.
    One observer may serve several clients: their counts add up.

    Args:
        meter_provider: Who makes the instruments; None (default): the global one.
        tracer_provider: Who makes the spans; None (default): the global one. Where that is not set
            up as the observer is made, nothing is traced and nothing is kept with an event.
    """

    def __init__(
        self,
        meter_provider: metrics.MeterProvider | None = None,
        tracer_provider: trace.TracerProvider | None = None,
    ) -> None:
        super().__init__()
        self._tracer = _tracer_of(tracer_provider)
        self.captures: bool = self._tracer is not None
        self._last_context: Context | None = None
        self._last_span: SpanContext | None = None
        self._noted: deque[tuple[metrics.Histogram, float, _Attributes]] = deque()
        self._is_handing_over = False
        meter = metrics.get_meter(_SCOPE, __version__, meter_provider)
        self._requests = meter.create_histogram(
            "http.client.request.duration",
            unit="s",
            description="Duration of requests to the API",
            explicit_bucket_boundaries_advisory=_BOUNDARIES,
        )
        self._publishes = meter.create_histogram(
            "alhena.client.publish.duration",
            unit="s",
            description="Time until a broker has an event",
            explicit_bucket_boundaries_advisory=_BOUNDARIES,
        )
        self._commits = meter.create_histogram(
            "alhena.journal.commit.duration",
            unit="s",
            description="Time that the disk takes for a commit",
            explicit_bucket_boundaries_advisory=_BOUNDARIES,
        )
        self._observe(meter)

    def _begin_anew(self) -> None:
        super()._begin_anew()
        self._noted.clear()
        self._is_handing_over = False

    # --- what happens --------------------------------------------------------------------------

    def capture(self) -> object | None:
        """Return the context of the span that the event is tracked in, if it is recorded."""
        context = get_current()
        if context is not self._last_context:  # a request tracks several events in one span
            self._last_context = context
            span = trace.get_current_span(context).get_span_context()
            self._last_span = span if span.is_valid and span.trace_flags.sampled else None
        return self._last_span

    def attempted(
        self,
        destination: str,
        event: Event,
        number: int,
        seconds: float,
        status: int | None,
        reason: str,
        captured: Sequence[SpanContext],
    ) -> None:
        """See `Instrument`."""
        attributes = _attributes(destination, status, _error_type(status, reason) if reason else "")
        is_http = "http.request.method" in attributes
        noted = self._noted
        noted.append((self._requests if is_http else self._publishes, seconds, attributes))
        if len(noted) >= _MAX_NOTED:
            self._relieve()
        if self._tracer is not None:
            end = time.time_ns()
            span = self._tracer.start_span(
                "POST" if is_http else "publish",
                Context(),  # of its own: many requests may wait for this one
                SpanKind.CLIENT,
                attributes,
                [Link(context) for context in captured],
                start_time=end - int(seconds * 1e9),
            )
            if span.is_recording():
                span.set_attributes(_details(destination, endpoint_of(event), number, reason))
                if reason:
                    span.set_status(Status(StatusCode.ERROR))
            span.end(end)

    def journal_committed(self, events: int, seconds: float) -> None:  # noqa: ARG002
        """See `Observer`."""
        self._noted.append((self._commits, seconds, {}))
        if len(self._noted) >= _MAX_NOTED:
            self._relieve()

    # --- durations -----------------------------------------------------------------------------

    def _relieve(self) -> None:
        """Have a thread hand over what was noted, unless one does so already."""
        if self._is_handing_over:
            return
        self._is_handing_over = True
        try:
            asyncio.get_running_loop().run_in_executor(None, self._hand_over)
        except RuntimeError:  # no loop, or one that ends
            self._hand_over()

    def _hand_over(self) -> None:
        """Let the SDK have what was noted. From any thread; what it refuses is logged."""
        try:
            while True:
                histogram, seconds, attributes = self._noted.popleft()
                self._record(histogram, seconds, attributes)
        except IndexError:
            pass
        finally:
            self._is_handing_over = False

    def _record(
        self, histogram: metrics.Histogram, seconds: float, attributes: _Attributes
    ) -> None:
        try:
            histogram.record(seconds, attributes)
        except Exception as error:  # noqa: BLE001  an exporter's of the user's own
            log_foreign("OpenTelemetry refused a duration, which is lost", error)

    # --- counts and levels ---------------------------------------------------------------------

    def _observe(self, meter: metrics.Meter) -> None:
        meter.create_observable_counter(
            "alhena.client.events", [self._ended], "{event}", "Events that ended, by outcome"
        )
        for field, description in _COUNTS.items():
            meter.create_observable_counter(
                f"alhena.client.{field}", [self._reads_count(field)], "{event}", description
            )
        meter.create_observable_counter(
            "alhena.client.requests", [self._reads_count("requests")], "{request}", "Requests made"
        )
        for name, (unit, description, of) in _LEVELS.items():
            meter.create_observable_gauge(name, [self._reads(of)], unit, description)
        meter.create_observable_gauge(
            "alhena.client.breaker",
            [self._breakers],
            description="0: closed, 1: half open, 2: open",
        )
        for name, (unit, description, of_journal) in _JOURNAL_LEVELS.items():
            meter.create_observable_gauge(
                name, [self._reads_journal(of_journal)], unit, description
            )

    def _ended(self, _options: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
        self._hand_over()  # first, so that all of one collection tells of the same moment
        for (status, code), count in self.outcomes.copy().items():
            attributes = {"outcome": status.value} if code is None else {
                "outcome": status.value, "code": code
            }  # fmt: skip
            yield metrics.Observation(count, attributes)

    def _reads_count(self, field: str) -> Callable[..., Iterable[metrics.Observation]]:
        return self._reads(lambda now: _number(now.stats, field))

    def _reads(
        self, of: Callable[[Snapshot], float]
    ) -> Callable[..., Iterable[metrics.Observation]]:
        def read(_options: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
            return [metrics.Observation(of(self.snapshot()))]

        return read

    def _reads_journal(
        self, of: Callable[[JournalLevels], float]
    ) -> Callable[..., Iterable[metrics.Observation]]:
        def read(_options: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
            journal = self.snapshot().journal
            return [] if journal is None else [metrics.Observation(of(journal))]

        return read

    def _breakers(self, _options: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
        stats = self.snapshot().stats
        for endpoint, state in ("cart", stats.cart_breaker), ("checkout", stats.checkout_breaker):
            yield metrics.Observation(SEVERITY[state], {"endpoint": endpoint})


def _tracer_of(provider: trace.TracerProvider | None) -> trace.Tracer | None:
    """Return who makes spans; None where nobody would see them."""
    nobody = trace.ProxyTracerProvider | trace.NoOpTracerProvider
    if provider is None and isinstance(trace.get_tracer_provider(), nobody):
        return None
    return trace.get_tracer(_SCOPE, __version__, provider)


def _number(stats: Stats, field: str) -> int:
    number: int = getattr(stats, field)
    return number


@lru_cache(maxsize=1024)
def _attributes(destination: str, status: int | None, error: str) -> _Attributes:
    """Return what a request's duration is told by. Shared: nobody may change it."""
    url = urlsplit(destination)
    attributes: _Attributes = {"server.address": url.hostname or destination}
    if url.port is not None or url.scheme in _PORTS:
        attributes["server.port"] = url.port or _PORTS[url.scheme]
    if url.scheme in _PORTS:
        attributes["http.request.method"] = "POST"
    if status is not None:
        attributes["http.response.status_code"] = status
    if error:
        attributes["error.type"] = error
    return attributes


_PORTS: Final = {"http": 80, "https": 443}


def _details(destination: str, endpoint: Endpoint, number: int, reason: str) -> _Attributes:
    """Return what only a span tells of a request; of a customer, nothing."""
    details: _Attributes = {"url.full": f"{destination}{endpoint.value}"}
    if number > 1:
        details["http.request.resend_count"] = number - 1
    if reason in ErrorCode.__members__:
        details["alhena.code"] = reason
    return details


_OTHER: Final = "_OTHER"  # what the semantic conventions call the rest

_CAUSE: Final = re.compile(r"\((\w{1,100})\)")
_CAUSES: Final = frozenset(
    name
    for module in (aiohttp, builtins, ssl)
    for name, value in vars(module).items()
    if isinstance(value, type) and issubclass(value, Exception)
)
"""What may stand there: a transport of the user's own may say a customer's name."""


def _error_type(status: int | None, reason: str) -> str:
    """Return the class of an error, one of few."""
    if status is not None:
        return str(status) if status >= HTTPStatus.BAD_REQUEST else _OTHER
    if "in time" in reason:
        return "timeout"
    if reason == "cancelled":
        return reason
    cause = _CAUSE.search(reason)
    return cause[1] if cause and cause[1] in _CAUSES else _OTHER
