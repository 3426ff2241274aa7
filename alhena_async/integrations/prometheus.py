"""Metrics for Prometheus; extra `prometheus`, which brings prometheus-client.

    client = AlhenaClient("my-company", region="eu", observers=[PrometheusObserver()])

They are on the shop's own page. In multi-process mode (`PROMETHEUS_MULTIPROC_DIR`:
workers of gunicorn) each process writes its levels down, once a second while its client runs.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Final, Literal

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.registry import Collector

from alhena_async._telemetry.telemetry import log_foreign
from alhena_async._wire import endpoint_of
from alhena_async.events import Event
from alhena_async.integrations._tally import OTHER, Tally, bounded_code, sum_of
from alhena_async.observers import SEVERITY, Snapshot, Stats
from alhena_async.outcomes import ErrorCode, Outcome, OutcomeStatus

__all__ = ["PrometheusObserver"]

_SECONDS_BETWEEN_LOOKS: Final = 1.0

_COUNTS: Final = {
    "accepted": "Events that were accepted.",
    "replayed": "Events of earlier processes that were taken in from the journal.",
    "requests": "Requests made.",
    "retries": "Requests that repeat an earlier one of the same event.",
    "failed_attempts": "Requests without an answer that settles their event.",
    "invalid": "Events that were refused where they were to be built.",
    "not_accepted": "Events that found no room, or a closed client.",
}

_Mode = Literal["livesum", "livemax", "livemin"]

_LEVELS: Final[dict[str, tuple[_Mode, str, Callable[[Snapshot], float]]]] = {
    "alhena_client_queue_size": ("livesum", "Events that wait.", lambda now: now.stats.queued),
    "alhena_client_queue_in_flight": (
        "livesum",
        "Events on the wire or in backoff.",
        lambda now: now.stats.in_flight,
    ),
    "alhena_client_queue_spilled": (
        "livesum",
        "Events that the journal's disk alone has.",
        lambda now: now.stats.spilled,
    ),
    "alhena_client_queue_oldest_age_seconds": (
        "livemax",
        "Age of the oldest unsettled event.",
        lambda now: now.stats.oldest_age,
    ),
    "alhena_client_queue_capacity": (
        "livesum",
        "Events that there is room for.",
        lambda now: now.capacity,
    ),
    "alhena_client_paused": (
        "livemax",
        "1 while nothing is sent, as `pause` asked for.",
        lambda now: float(now.stats.paused),
    ),
    "alhena_journal_rows": (
        "livesum",
        "Unsettled events on disk.",
        lambda now: now.journal.rows if now.journal else 0,
    ),
    "alhena_journal_bytes": (
        "livesum",
        "Size of the journal's files.",
        lambda now: now.journal.bytes if now.journal else 0,
    ),
    "alhena_journal_max_bytes": (
        "livesum",
        "How large they may become.",
        lambda now: now.journal.max_bytes if now.journal else 0,
    ),
    "alhena_journal_writable": (
        "livemin",
        "1 while the disk takes what is written, 0 while it does not.",
        lambda now: float(now.journal is None or (now.journal.is_writing and now.journal.is_alive)),
    ),
    "alhena_journal_dead_letters": (
        "livemax",
        "Events that ended badly and are kept.",
        lambda now: now.journal.dead_letters if now.journal else 0,
    ),
}

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class PrometheusObserver(Tally):
    """Shows Prometheus how events, requests, queue and journal fare.

    One observer may serve several clients, and several observers one registry: counts add up.

    Args:
        registry: Where the metrics are registered; None (default): the one that prometheus-client
            exposes by itself.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        super().__init__()
        self._metrics = _metrics_of(REGISTRY if registry is None else registry)
        self._metrics.observers.add(self)
        self._told = Stats()

    def started(self, look: Callable[[], Snapshot | None]) -> None:
        """See `Instrument`."""
        super().started(look)
        self._metrics.refresh()
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:  # there, nobody asks when a page is made
            self._look_again(look)

    def _begin_anew(self) -> None:
        super()._begin_anew()
        self._told = Stats()
        self._metrics.begin_anew()

    def closed(self, look: Callable[[], Snapshot | None]) -> None:
        """See `Instrument`."""
        super().closed(look)
        self._metrics.refresh()

    def outcome(self, outcome: Outcome) -> None:
        """See `Observer`."""
        code = outcome.code
        self._metrics.ended(outcome.status, "" if code is None else bounded_code(code), 1)

    def ended_on_disk(self, counts: Mapping[OutcomeStatus, int]) -> None:
        """See `Instrument`."""
        for status, count in counts.items():
            self._metrics.ended(status, "", count)

    def attempt_ended(
        self,
        event: Event,
        number: int,  # noqa: ARG002
        seconds: float,
        status: int | None,
        reason: str,  # noqa: ARG002
    ) -> None:
        """See `Observer`."""
        endpoint = endpoint_of(event).name.lower()
        self._metrics.requests.labels(endpoint, _status(status)).observe(seconds)

    def journal_committed(self, events: int, seconds: float) -> None:  # noqa: ARG002
        """See `Observer`."""
        self._metrics.commits.observe(seconds)

    def untold(self) -> tuple[Snapshot, Stats]:
        """Return the levels, and the counts that were told before; from now on, those of now."""
        now, told = self.snapshot(), self._told
        self._told = now.stats
        return now, told

    def _look_again(self, look: Callable[[], Snapshot | None]) -> None:
        if not self.has(look):
            return
        loop = asyncio.get_running_loop()
        loop.call_later(_SECONDS_BETWEEN_LOOKS, self._look_again, look)
        try:
            self._metrics.refresh()
        except Exception as error:  # noqa: BLE001  a full disk's, say: the next look may do
            log_foreign("Prometheus's files could not be written", error)


class _Metrics:
    """The metrics of one registry.

    Args:
        registry: Where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.observers: weakref.WeakSet[PrometheusObserver] = weakref.WeakSet()
        self._lock = threading.Lock()
        registry.register(_Refresher(self))  # ahead of what it refreshes
        self._events = Counter(
            "alhena_client_events", "Events that ended.", ["outcome", "code"], registry=registry
        )
        for status in OutcomeStatus:  # a count that begins with 1 is no increase to a rule
            self._events.labels(status.value, "")
        for code in (*ErrorCode, OTHER):
            self._events.labels(OutcomeStatus.REJECTED.value, code)
        self._counts = {
            field: Counter(f"alhena_client_{field}", text, registry=registry)
            for field, text in _COUNTS.items()
        }
        self._levels = {
            name: Gauge(name, text, registry=registry, multiprocess_mode=mode)
            for name, (mode, text, _) in _LEVELS.items()
        }
        self._breaker = Gauge(
            "alhena_client_breaker",
            "0: closed, 1: half open, 2: open.",
            ["endpoint"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.requests = Histogram(
            "alhena_client_request_duration_seconds",
            "Duration of requests to the API, by the reply's status.",
            ["endpoint", "status"],
            registry=registry,
            buckets=_SECONDS,
        )
        self.commits = Histogram(
            "alhena_journal_commit_duration_seconds",
            "Time that the disk takes for a commit.",
            registry=registry,
            buckets=_SECONDS,
        )

    def ended(self, status: OutcomeStatus, code: str, count: int) -> None:
        """Count events that ended; the code is "" where there is none."""
        self._events.labels(status.value, code).inc(count)

    def refresh(self) -> None:
        """Bring counts and levels up to date. From any thread."""
        with self._lock:
            found = [observer.untold() for observer in self.observers]
            for now, told in found:
                for field, counter in self._counts.items():
                    counter.inc(getattr(now.stats, field) - getattr(told, field))
            now = sum_of([now for now, _ in found])
            for name, (_, _, of) in _LEVELS.items():
                self._levels[name].set(of(now))
            self._breaker.labels("cart").set(SEVERITY[now.stats.cart_breaker])
            self._breaker.labels("checkout").set(SEVERITY[now.stats.checkout_breaker])

    def begin_anew(self) -> None:
        """Forget, in a fork, who held the lock in the parent."""
        self._lock = threading.Lock()


class _Refresher(Collector):
    """Has no metric of its own: it brings those up to date that are collected after it.

    Args:
        metrics: Those.
    """

    def __init__(self, metrics: _Metrics) -> None:
        self._metrics = metrics

    def describe(self) -> Iterable[Metric]:
        """Return what it would collect: nothing."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Refresh, and return nothing."""
        self._metrics.refresh()
        return []


_of_registries: weakref.WeakKeyDictionary[CollectorRegistry, _Metrics] = weakref.WeakKeyDictionary()


def _metrics_of(registry: CollectorRegistry) -> _Metrics:
    """Return a registry's metrics, registered with the first observer."""
    metrics = _of_registries.get(registry)
    if metrics is None:
        metrics = _of_registries[registry] = _Metrics(registry)
    return metrics


_STATUSES: Final = frozenset(HTTPStatus)


def _status(status: int | None) -> str:
    """Return a label that is one of few, whatever the other side says."""
    if status is None:
        return "none"
    return str(status) if status in _STATUSES else OTHER
