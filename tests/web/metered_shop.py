"""A shop under gunicorn with several workers, and one page of metrics for all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from alhena_async.integrations.asgi import alhena_lifespan, client_of
from alhena_async.integrations.prometheus import PrometheusObserver
from tests.scripted import cart

__all__ = ["CONFIG", "app", "child_exit"]

CONFIG = Path(__file__)


def child_exit(_server: Any, worker: Any) -> None:
    """Gunicorn's hook: the levels of a worker that is gone are nobody's."""
    mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


async def add(request: Request) -> Response:
    """Track one event of a visitor."""
    client_of(request).track_nowait(cart(request.path_params["visitor"]))
    return PlainTextResponse("added")


def metrics(_request: Request) -> Response:
    """The counts of all workers together."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return PlainTextResponse(generate_latest(registry))


app = Starlette(
    routes=[Route("/add/{visitor}", add), Route("/metrics", metrics)],
    lifespan=alhena_lifespan(observers=[PrometheusObserver()]),
)
