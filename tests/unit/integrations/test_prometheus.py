"""Prometheus: one line to register, counts that are `stats()`, labels that are few."""

from __future__ import annotations

import asyncio
import gc
import sys
from pathlib import Path

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from alhena_async import AlhenaClient, Observer, QueuePolicy, Snapshot, Stats
from alhena_async.emulator import Emulator
from alhena_async.integrations import prometheus as module
from alhena_async.integrations.prometheus import PrometheusObserver, _metrics_of
from alhena_async.outcomes import ErrorCode
from alhena_async.testing import virtual
from tests.patience import PATIENCE
from tests.scripted import (
    NEVER_SENT,
    OK,
    Script,
    cart,
    checkout,
    client_over,
    code,
    status,
)
from tests.web.metered_shop import CONFIG
from tests.web.serving import served

AT_ONCE = QueuePolicy(linger=0.0)

Page = dict[tuple[str, ...], float]


def page(text: str) -> Page:
    """Every sample of a page, by its name and its labels' values in the labels' order."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scraped(registry: CollectorRegistry) -> Page:
    return page(generate_latest(registry).decode())


@virtual
async def test_what_is_scraped_is_stats_at_that_moment() -> None:
    """Counts and levels are read as the page is made."""
    registry = CollectorRegistry()
    script = Script(status(500), code("ACTIVE_TICKET_NOT_FOUND"), latency=0.5)
    observer = PrometheusObserver(registry)
    async with client_over(script, observers=[observer], queue=AT_ONCE) as client:
        with client.reporting():
            client.track_nowait(cart(quantity=-1))
        await client.track_nowait(cart())
        client.track_nowait(checkout())
        client.track_nowait(cart())
        await asyncio.sleep(0.25)
        now, stats = scraped(registry), client.stats()
        for field in ("accepted", "requests", "retries", "failed_attempts", "invalid"):
            assert now[f"alhena_client_{field}_total",] == getattr(stats, field) > 0, field
        assert now["alhena_client_queue_in_flight",] == stats.in_flight == 1
        assert now["alhena_client_queue_size",] == stats.queued == 1
        assert now["alhena_client_queue_oldest_age_seconds",] == stats.oldest_age == 0.25
        assert now["alhena_client_queue_capacity",] == 10_000
        assert now["alhena_client_breaker", "cart"] == 0
    now = scraped(registry)
    assert now["alhena_client_events_total", "ACTIVE_TICKET_NOT_FOUND", "unattributed"] == 1
    assert now["alhena_client_events_total", "", "recorded"] == client.stats().recorded == 2
    assert now["alhena_client_request_duration_seconds_count", "cart", "500"] == 1
    assert now["alhena_client_queue_capacity",] == 0


@virtual
async def test_labels_are_few_whatever_the_other_side_says() -> None:
    """An undocumented code is `other`, and so is a status that HTTP does not know."""
    registry = CollectorRegistry()
    answers = [code(f"MADE_UP_{number}") for number in range(20)]
    answers += [status(460 + number) for number in range(20)]
    answers += [code(name) for name in ErrorCode]
    script = Script(NEVER_SENT, *answers)
    observer = PrometheusObserver(registry)
    async with client_over(script, observers=[observer], queue=AT_ONCE) as client:
        for number in range(len(answers) + 1):
            await client.track_nowait(cart(f"v{number}"))
    found = scraped(registry)
    codes = {labels[1] for labels in found if labels[0] == "alhena_client_events_total"}
    assert codes <= {*ErrorCode, "other", ""}
    assert "other" in codes
    durations = "alhena_client_request_duration_seconds_count"
    statuses = {labels[2] for labels in found if labels[0] == durations}
    assert statuses == {"none", "200", "400", "other"}


@virtual
async def test_several_observers_of_one_registry_add_up() -> None:
    """A second client of a process needs no registry of its own."""
    registry = CollectorRegistry()
    for _ in range(2):
        observers = [PrometheusObserver(registry)]
        async with client_over(Script(), observers=observers, queue=AT_ONCE) as client:
            await client.record(cart())
    assert scraped(registry)["alhena_client_events_total", "", "recorded"] == 2
    assert scraped(registry)["alhena_client_accepted_total",] == 2


@virtual
async def test_two_clients_at_once_share_the_levels() -> None:
    """Capacities and queues are those of all."""
    registry = CollectorRegistry()
    first, second = PrometheusObserver(registry), PrometheusObserver(registry)
    async with (
        client_over(Script(), observers=[first]) as one,
        client_over(Script(), observers=[second]) as other,
    ):
        one.track_nowait(cart())
        other.track_nowait(cart())
        assert scraped(registry)["alhena_client_queue_size",] == 2
        assert scraped(registry)["alhena_client_queue_capacity",] == 20_000


def test_a_client_that_nobody_closed_stays_counted() -> None:
    """Counters only grow."""
    observer = PrometheusObserver(CollectorRegistry())
    levels: list[Snapshot | None] = [Snapshot(stats=Stats(accepted=3, queued=2), capacity=5)]
    observer.started(lambda: levels[0])
    assert observer.snapshot().capacity == 5
    levels[0] = None
    assert observer.snapshot() == Snapshot(stats=Stats(accepted=3), capacity=0)


async def test_the_journal_is_on_the_page(tmp_path: Path) -> None:
    """Commits as they come, levels as it is left."""
    registry = CollectorRegistry()
    observer = PrometheusObserver(registry)
    journal = tmp_path / "journal"
    async with client_over(Script(OK), observers=[observer], journal=journal) as client:
        await client.track(cart())
        now = scraped(registry)
        assert now["alhena_journal_rows",] == 1
        assert now["alhena_journal_writable",] == 1
        assert now["alhena_journal_max_bytes",] == 1 << 30
        await client.flush()
    assert scraped(registry)["alhena_journal_commit_duration_seconds_count",] >= 1


async def test_a_look_that_fails_is_not_the_last(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Where workers share files: a disk that was full for a moment freezes no gauge."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    monkeypatch.setattr(module, "_SECONDS_BETWEEN_LOOKS", 0.0)
    observer = PrometheusObserver(CollectorRegistry())
    looks = 0
    seen = asyncio.Event()

    def refresh() -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            raise OSError(28, "No space left on device")
        if looks > 3:
            seen.set()

    monkeypatch.setattr(observer._metrics, "refresh", refresh)
    async with client_over(Script(), observers=[observer]):
        async with asyncio.timeout(PATIENCE):
            await seen.wait()
    assert "Prometheus's files could not be written: OSError" in caplog.text


def test_a_registry_is_let_go_of() -> None:
    """Tests make many."""
    registry = CollectorRegistry()
    metrics = _metrics_of(registry)
    assert _metrics_of(registry) is metrics
    PrometheusObserver(registry)
    del registry
    gc.collect()
    assert not list(metrics.observers)


def test_it_is_an_observer_of_one_line() -> None:
    """The registry that prometheus-client exposes by itself, with nothing to say."""
    assert isinstance(PrometheusObserver(), Observer)
    AlhenaClient("shop", observers=[PrometheusObserver()])


@pytest.mark.skipif(sys.platform == "win32", reason="gunicorn needs a POSIX system")
async def test_two_workers_of_gunicorn_are_one_page(tmp_path: Path) -> None:
    """In multi-process mode each writes its own down; whoever is asked tells of both."""
    events = 40
    command = (
        "gunicorn", "-b", "127.0.0.1:0", "--no-control-socket", "-w", "2",
        "-k", "uvicorn_worker.UvicornWorker", "-c", str(CONFIG), "tests.web.metered_shop:app",
    )  # fmt: skip
    async with Emulator() as emulator:
        settings = {
            "ALHENA_BASE_URL": emulator.url,
            "ALHENA_LINGER": "0",
            "PROMETHEUS_MULTIPROC_DIR": str(tmp_path),
        }
        async with served(*command, settings=settings) as server, asyncio.timeout(PATIENCE):
            await server.written("startup complete", times=2)
            url = f"http://127.0.0.1:{server.port}"
            for number in range(events):
                # A connection each, or one worker would get all of them.
                async with aiohttp.request("GET", f"{url}/add/v{number}") as reply:
                    assert reply.status == 200
            recorded = ("alhena_client_events_total", "", "recorded")
            now: Page = {}
            while now.get(recorded) != events or now["alhena_client_accepted_total",] != events:
                async with aiohttp.request("GET", f"{url}/metrics") as reply:
                    now = page(await reply.text())
                await asyncio.sleep(0.05)
            assert now["alhena_client_queue_capacity",] == 2 * 10_000
            assert now["alhena_client_queue_size",] == 0
            assert now["alhena_client_request_duration_seconds_count", "cart", "200"] == events
            assert len(emulator.recorded()) == events
