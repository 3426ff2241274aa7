"""The blocks of docs/observability.md, run as they stand but for the address."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import REGISTRY, CollectorRegistry
from starlette.testclient import TestClient

from alhena_async import Instrument, Observer
from alhena_async.emulator import Emulator
from alhena_async.integrations.opentelemetry import OpenTelemetryObserver
from alhena_async.integrations.prometheus import PrometheusObserver
from alhena_async.testing import EmulatorThread
from tests.scripted import cart

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "observability.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
[OTEL, PROMETHEUS, GUNICORN, METRICS_PAGE, HEALTH, ROUTE, OWN] = BLOCKS


def run(block: str, url: str = "http://127.0.0.1:9/") -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(block.replace('region="eu"', f"base_url={url!r}"), names)
    return names


@pytest.mark.parametrize("block", [OTEL, PROMETHEUS], ids=["OpenTelemetry", "Prometheus"])
async def test_one_line_registers(block: str) -> None:
    """The client delivers, and is counted where the page says."""
    name = "alhena_client_events_total"
    labels = {"outcome": "recorded", "code": ""}
    before = REGISTRY.get_sample_value(name, labels) or 0.0
    async with Emulator() as emulator, run(block, emulator.url)["client"] as client:
        await client.record(cart())
    if block == PROMETHEUS:
        assert REGISTRY.get_sample_value(name, labels) == before + 1


def test_the_page_of_several_workers_is_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And gunicorn's hook takes what gunicorn gives."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    assert run(METRICS_PAGE)["metrics"]() == b""
    run(GUNICORN)["child_exit"](None, SimpleNamespace(pid=1))


async def test_health_is_printed_as_the_page_shows(capsys: pytest.CaptureFixture[str]) -> None:
    """The block and what stands below it."""
    async with Emulator() as emulator:
        await run(HEALTH, emulator.url)["main"]()
    [shown] = re.findall(r"^```text\n(Health.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert capsys.readouterr().out == shown


def test_health_is_served_as_the_page_says() -> None:
    """Both ways of asking."""
    with EmulatorThread() as emulator, TestClient(run(ROUTE, emulator.url)["app"]) as shop:
        for path in ("/alhena/health", "/alhena/health?alive"):
            answer = shop.get(path)
            assert (answer.status_code, answer.json()["ready"]) == (200, True)


def test_a_class_of_the_shops_own_observes(capsys: pytest.CaptureFixture[str]) -> None:
    """It is called with what the page says."""
    names = run(OWN)
    names["SlowRequests"]().attempt_ended(cart(), 2, 1.5, None, "no reply in time")
    assert capsys.readouterr().out == "attempt 2 took 1.5 s: no reply in time\n"


def spelled_out(cell: str) -> set[str]:
    """`a.b.c`, `.d` in a cell of a table: the second one is `a.b.d`."""
    names: list[str] = re.findall(r"`([a-z_.]+)`", cell)
    stem = names[0].rpartition(".")[0]
    return {f"{stem}{name}" if name.startswith(".") else name for name in names}


async def test_the_table_has_every_instrument() -> None:
    """And no other."""
    section = PAGE.partition("## OpenTelemetry")[2].partition("## Prometheus")[0]
    rows = re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE)
    told = set().union(*map(spelled_out, rows))
    made: set[str] = set()

    provider = MeterProvider(metric_readers=[InMemoryMetricReader()], shutdown_on_exit=False)
    real = provider.get_meter

    def get_meter(*arguments: Any, **settings: Any) -> Any:
        meter = real(*arguments, **settings)
        kinds = [kind for kind in dir(meter) if kind.startswith("create_")]
        for kind in kinds:
            make = getattr(meter, kind)

            def noted(name: str, *rest: Any, make: Any = make, **more: Any) -> Any:
                made.add(name)
                return make(name, *rest, **more)

            setattr(meter, kind, noted)
        return meter

    provider.get_meter = get_meter  # type: ignore[method-assign]
    OpenTelemetryObserver(provider)
    assert told == made


def test_the_metrics_that_are_named_for_prometheus_exist() -> None:
    """With their labels."""
    registry = CollectorRegistry()
    PrometheusObserver(registry)
    families = {family.name for family in registry.collect()}
    section = PAGE.partition("## Prometheus")[2].partition("### Several")[0]
    for name in re.findall(r"`(alhena_(?:client|journal)_\w+)", section):
        assert name.removesuffix("_total") in families


def test_each_alert_is_explained() -> None:
    """And there is no other."""
    rules = re.findall(r"alert: (\w+)", (ROOT / "ops" / "prometheus-alerts.yml").read_text())
    section = PAGE.partition("### Dashboard")[2].partition("## Health")[0]
    assert set(re.findall(r"`(Alhena\w+)`", section)) == set(rules)


def test_each_method_of_an_observer_is_explained() -> None:
    """With its arguments."""
    section = PAGE.partition("## An observer")[2]
    told = set(re.findall(r"`(\w+)\([\w, ]+\)`", section))
    assert told == {name for name in vars(Observer) if not name.startswith("_")}
    more = {name for name in vars(Instrument) if not name.startswith("_")}
    assert set(re.findall(r"`(started|closed|capture|attempted)`", section)) <= more
