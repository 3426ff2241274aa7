"""The hosts: what each needs, how it is run, and how an event comes to it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Mapping
from typing import Final

import attrs

from tests import nats_process, redis_process
from tests.hosts import senders

__all__ = ["HOSTS", "Host"]


@attrs.frozen(kw_only=True)
class Host:
    """A program in examples/hosts, as it is run in production."""

    packages: tuple[str, ...] = ()
    """What must be installed; the first one is what the host is called after."""
    command: tuple[str, ...]
    """After `python -m`; `{home}` is a directory of its own."""
    connect: senders.Connect = senders.requests
    broker: senders.Broker = senders.no_broker
    variable: str = "BROKER_URL"
    """Tells the host where its broker is."""
    delivers_at_once: bool = False
    """Nothing lingers: a kill may come between a recording and its mark on the disk."""
    program: Mapping[str, str | None] = attrs.field(factory=dict)
    """Other programs that must be there: name and path."""

    @property
    def version(self) -> str:
        """Of what it is called after."""
        return importlib.metadata.version(self.packages[0]) if self.packages else ""

    @property
    def missing(self) -> str:
        """Why it cannot be run here; empty if it can."""
        absent = [one for one in self.packages if importlib.util.find_spec(one) is None]
        absent += [name for name, path in self.program.items() if path is None]
        return f"not installed: {', '.join(absent)}" if absent else ""


_REDIS: Final = {"redis-server": redis_process.PROGRAM}
_NATS: Final = {"nats-server": nats_process.PROGRAM}
_GUNICORN: Final = (
    "gunicorn", "--no-control-socket", "--timeout", "600", "--workers", "2",
    "--bind", "unix:{home}/socket",
)  # fmt: skip

HOSTS: Final[Mapping[str, Host]] = {
    "Starlette, uvicorn": Host(
        packages=("starlette", "uvicorn"),
        command=("uvicorn", "examples.hosts.starlette_app:app", "--uds", "{home}/socket"),
    ),
    "FastAPI, uvicorn": Host(
        packages=("fastapi", "uvicorn"),
        command=("uvicorn", "examples.hosts.fastapi_app:app", "--uds", "{home}/socket"),
    ),
    "Litestar, granian": Host(
        packages=("litestar", "granian"),
        command=("granian", "--interface", "asgi", "--uds", "{home}/socket",
                 "examples.hosts.litestar_app:app"),
    ),
    "Litestar, granian's asginl": Host(
        packages=("litestar", "granian"),
        command=("granian", "--interface", "asginl", "--uds", "{home}/socket",
                 "examples.hosts.litestar_app:app"),
    ),
    "Litestar, uvicorn --lifespan off": Host(
        packages=("litestar", "uvicorn"),
        command=("uvicorn", "examples.hosts.litestar_app:app", "--lifespan", "off",
                 "--uds", "{home}/socket"),
    ),
    "Quart, hypercorn": Host(
        packages=("quart", "hypercorn"),
        command=("hypercorn", "examples.hosts.quart_app:app", "--bind", "unix:{home}/socket"),
    ),
    "Sanic": Host(
        packages=("sanic",),
        command=("sanic", "examples.hosts.sanic_app:app", "--single-process",
                 "--unix", "{home}/socket"),
    ),
    "Django ASGI, daphne": Host(
        packages=("django", "daphne"),
        command=("daphne", "-u", "{home}/socket", "examples.hosts.django_asgi:app"),
    ),
    "Django WSGI, gunicorn": Host(
        packages=("django", "gunicorn"),
        command=(*_GUNICORN, "examples.hosts.django_wsgi:app"),
    ),
    "Flask, gunicorn gthread": Host(
        packages=("flask", "gunicorn"),
        command=(*_GUNICORN, "--worker-class", "gthread", "--threads", "16",
                 "examples.hosts.flask_app:app"),
    ),
    "aiohttp.web": Host(
        packages=("aiohttp",),
        command=("aiohttp.web", "-U", "{home}/socket",
                 "examples.hosts.aiohttp_app:application"),
    ),
    "FastStream, NATS": Host(
        packages=("faststream", "nats"),
        command=("examples.hosts.faststream_app",),
        connect=senders.nats_messages, broker=senders.nats, variable="NATS_URL", program=_NATS,
    ),
    "Celery, processes": Host(
        packages=("celery",),
        command=("celery", "--app", "examples.hosts.celery_app", "worker", "--concurrency", "2"),
        connect=senders.celery_jobs, broker=senders.redis_of_celery, program=_REDIS,
    ),
    "Celery, threads": Host(
        packages=("celery",),
        command=("celery", "--app", "examples.hosts.celery_app", "worker", "--concurrency", "4",
                 "--pool", "threads"),
        connect=senders.celery_jobs, broker=senders.redis_of_celery, program=_REDIS,
    ),
    "arq": Host(
        packages=("arq",),
        command=("arq", "examples.hosts.arq_app.WorkerSettings"),
        connect=senders.arq_jobs, broker=senders.redis, variable="REDIS_URL", program=_REDIS,
    ),
    "taskiq": Host(
        packages=("taskiq", "taskiq_redis"),
        command=("taskiq", "worker", "--workers", "1", "--shutdown-timeout", "30",
                 "examples.hosts.taskiq_app:broker"),
        connect=senders.taskiq_jobs, broker=senders.redis, variable="REDIS_URL", program=_REDIS,
    ),
    "a script": Host(command=("examples.hosts.script",), connect=senders.lines),
    "a function that is frozen": Host(
        command=("tests.hosts.function_runtime",), connect=senders.invocations,
        delivers_at_once=True,
    ),
}  # fmt: skip
"""By name, as the page lists them."""
