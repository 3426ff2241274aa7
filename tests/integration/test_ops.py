"""What an operator loads into Grafana and Prometheus: it names metrics that exist, and works."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from alhena_async.integrations.prometheus import PrometheusObserver

OPS = Path(__file__).parents[2] / "ops"
DASHBOARD: dict[str, Any] = json.loads((OPS / "grafana-dashboard.json").read_text())
ALERTS = (OPS / "prometheus-alerts.yml").read_text()
PROMTOOL = shutil.which("promtool")

needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="there is no promtool: make programs")


def exposed() -> set[str]:
    """The names of all samples that the observer exposes."""
    registry = CollectorRegistry()
    observer = PrometheusObserver(registry)
    observer._metrics.requests.labels("cart", "200").observe(0.1)
    families = registry.collect()
    return {sample.name for family in families for sample in family.samples}


def named(text: str) -> set[str]:
    return set(re.findall(r"\balhena_[a-z_]+", text))


def expressions() -> Iterator[str]:
    """Every query of the dashboard, with Grafana's own variables filled in."""
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            query: str = target["expr"]
            query = query.replace("$__rate_interval", "5m")
            yield query.replace("$job", ".*").replace("$instance", ".*")


def test_the_dashboard_names_metrics_that_exist() -> None:
    """In its panels and in its variables; and leaves none of the counts out."""
    names = named(json.dumps(DASHBOARD))
    assert names <= exposed()
    left_out = {
        name for name in exposed() - names if not name.endswith(("_created", "_sum", "_count"))
    }
    assert left_out == set()


def test_the_alerts_name_metrics_that_exist() -> None:
    """The oldest age, the breaker, refusals by code, drops, invalid events, the disk."""
    names = named(re.sub(r"#.*", "", ALERTS))
    assert names <= exposed()
    assert names >= {
        "alhena_client_queue_oldest_age_seconds",
        "alhena_client_breaker",
        "alhena_client_events_total",
        "alhena_client_invalid_total",
        "alhena_client_not_accepted_total",
        "alhena_journal_writable",
        "alhena_journal_bytes",
    }


def test_the_dashboard_has_what_grafana_wants() -> None:
    """Ids and places of their own, queries with letters, and no data source of ours."""
    panels = DASHBOARD["panels"]
    assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)
    for panel in panels:
        letters = [target["refId"] for target in panel["targets"]]
        assert letters == sorted(set(letters))
        for target in panel["targets"]:
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    variables = {one["name"] for one in DASHBOARD["templating"]["list"]}
    assert variables == {"datasource", "job", "instance"}


def promtool(*arguments: str, cwd: Path = OPS) -> None:
    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, *arguments], cwd=cwd, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_the_alerts_ring_in_the_trouble_that_they_are_for() -> None:
    """And are silent on a quiet day: played through by Prometheus's own tool."""
    promtool("check", "rules", "prometheus-alerts.yml")
    promtool("test", "rules", "prometheus-alerts-test.yml")


@needs_promtool
def test_every_query_of_the_dashboard_is_one(tmp_path: Path) -> None:
    """Prometheus parses it."""
    rules = [
        {"record": f"panel:query{number}", "expr": query}
        for number, query in enumerate(expressions())
    ]
    assert len(rules) > 20
    text = json.dumps({"groups": [{"name": "dashboard", "rules": rules}]})  # JSON is YAML
    (tmp_path / "rules.yml").write_text(text)
    promtool("check", "rules", "rules.yml", cwd=tmp_path)
