"""Real servers, real workers, and SIGTERM in the middle of load: nothing accepted is lost."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from typing import NamedTuple

import aiohttp
import pytest

from alhena_async.emulator import Emulator, FaultPlan
from tests.web.serving import Server, served
from tests.web.shoppers import Crowd

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="these servers need a POSIX system")


class Case(NamedTuple):
    """How a shop is served."""

    workers: int
    ready: str
    """What the log says of each worker that is ready."""
    command: tuple[str, ...]


FASTAPI, AIOHTTP = "tests.web.fastapi_shop:app", "tests.web.aiohttp_shop:app"
STARTED = "startup complete"
# Whoever watches the workers has more patience than any test: what it killed would be lost, and be
# seen to be; and on a busy machine a worker takes its time to start.
UVICORN = (
    "uvicorn", FASTAPI, "--port", "0", "--no-access-log", "--timeout-worker-healthcheck", "600",
)  # fmt: skip
GUNICORN = (
    "gunicorn", "-b", "127.0.0.1:0", "--no-control-socket",
    "--timeout", "600", "--graceful-timeout", "600",
)  # fmt: skip
GUNICORN_UVICORN = (*GUNICORN, "-w", "2", "-k", "uvicorn_worker.UvicornWorker", FASTAPI)
GUNICORN_AIOHTTP = (*GUNICORN, "-w", "2", "-k", "aiohttp.GunicornWebWorker", AIOHTTP)
GTHREAD_FLASK = (
    *GUNICORN, "-w", "2", "-k", "gthread", "--threads", "64", "--keep-alive", "600",
    "--worker-connections", "100",
    "tests.web.flask_shop:app",
)  # fmt: skip
CASES = {
    "uvicorn": Case(1, STARTED, UVICORN),
    "uvicorn, 4 workers": Case(4, STARTED, (*UVICORN, "--workers", "4")),
    "gunicorn, 2 uvicorn workers": Case(2, STARTED, GUNICORN_UVICORN),
    "gunicorn, 2 uvicorn workers, preload": Case(2, STARTED, (*GUNICORN_UVICORN, "--preload")),
    "aiohttp": Case(1, "Running on", ("tests.web.aiohttp_shop",)),
    "gunicorn, 2 aiohttp workers": Case(2, "Booting worker", GUNICORN_AIOHTTP),
    "gunicorn, 2 gthread workers": Case(2, "the shop is loaded", GTHREAD_FLASK),
    "gunicorn, 2 gthread workers, preload": Case(
        2, "Booting worker", (*GTHREAD_FLASK, "--preload")
    ),
}
ENDED_BY_SIGTERM = {0, -signal.SIGTERM}  # uvicorn ends by the signal once more, having cleaned up


@contextlib.asynccontextmanager
async def shop(case: Case, emulator: Emulator, **environment: str) -> AsyncIterator[Server]:
    """A shop that reports to the emulator; up when this returns."""
    settings = {"ALHENA_BASE_URL": emulator.url, "DRAIN": "45", **environment}
    async with served(*case.command, settings=settings) as server:
        await server.written(r"127\.0\.0\.1:[1-9]")
        await server.written(case.ready, times=case.workers)
        yield server


@contextlib.asynccontextmanager
async def stopped_under_load(
    server: Server, case: Case, *, events: int = 300, by: signal.Signals = signal.SIGTERM
) -> AsyncIterator[Crowd]:
    """A crowd in the middle of its shopping; then a signal, and the server's end."""
    crowd = Crowd()
    async with asyncio.TaskGroup() as group:
        group.create_task(crowd.shop(server.port, workers=case.workers), name="crowd")
        await crowd.busy(events, workers=case.workers)
        yield crowd
        server.send(by)
    assert await server.ended() in ENDED_BY_SIGTERM, server.log


@pytest.mark.parametrize("name", CASES)
async def test_what_waits_when_the_server_is_told_to_stop_is_recorded(name: str) -> None:
    """Every 200 of an `async def` or a `def` handler: once, in order, out of every worker.

    Nothing is sent before SIGTERM, so that all of it depends on the drain.
    """
    case = CASES[name]
    async with (
        Emulator() as emulator,
        shop(case, emulator, ALHENA_LINGER="600") as server,
        stopped_under_load(server, case) as crowd,
    ):
        assert emulator.recorded_count == 0
    crowd.check(emulator)


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGQUIT])
async def test_gunicorns_quick_end_of_aiohttp_workers_loses_nothing(by: signal.Signals) -> None:
    """As docs/aiohttp.md says; under uvicorn's it is otherwise, as docs/fastapi.md says."""
    case = CASES["gunicorn, 2 aiohttp workers"]
    async with (
        Emulator() as emulator,
        shop(case, emulator, ALHENA_LINGER="600") as server,
        stopped_under_load(server, case, by=by) as crowd,
    ):
        assert emulator.recorded_count == 0
    crowd.check(emulator)


@pytest.mark.parametrize("name", ["gunicorn, 2 uvicorn workers", "aiohttp"])
async def test_what_is_being_sent_to_a_failing_api_then_is_recorded(name: str) -> None:
    """Deliveries, retries and backoff in the middle of it: once, and in order."""
    case = CASES[name]
    faults = FaultPlan.parse(["error=0.03", "unavailable=0.03:0", "latency=0.3:0.01"], seed=3)
    async with (
        Emulator(faults=faults) as emulator,
        shop(case, emulator, ALHENA_LINGER="0") as server,
        stopped_under_load(server, case) as crowd,
    ):
        assert emulator.recorded_count
    crowd.check(emulator)


@pytest.mark.parametrize(
    "command", [(*UVICORN, "--workers", "2"), GUNICORN_UVICORN], ids=["uvicorn", "gunicorn"]
)
async def test_a_deploy_loses_nothing(command: tuple[str, ...]) -> None:
    """SIGHUP replaces every worker under load: what the old ones and the new accepted is there."""
    case = Case(2, STARTED, command)
    async with Emulator() as emulator:
        async with shop(case, emulator, ALHENA_LINGER="600") as server:
            before, after = Crowd(), Crowd()
            shopping = asyncio.create_task(before.shop(server.port, workers=case.workers))
            await before.busy(200, workers=case.workers)
            old = frozenset(before.workers)
            server.send(signal.SIGHUP)
            await server.written(case.ready, times=2 * case.workers)
            await shopping
            again = asyncio.create_task(after.shop(server.port, workers=case.workers, old=old))
            await after.busy(200, workers=case.workers, old=old)
            server.send(signal.SIGTERM)
            await again
            assert await server.ended() in ENDED_BY_SIGTERM, server.log
        before.check(emulator)
        after.check(emulator)


@pytest.mark.parametrize("name", ["uvicorn", "gunicorn, 2 uvicorn workers", "aiohttp"])
async def test_a_dead_api_does_not_hold_up_the_end(name: str) -> None:
    """The server ends by itself once the drain timeout is over, and its log counts the lost."""
    case = CASES[name]
    async with (
        Emulator(faults=FaultPlan.parse(["hang=1"])) as emulator,
        shop(case, emulator, ALHENA_LINGER="0", DRAIN="0.3") as server,
    ):
        async with stopped_under_load(server, case, events=100):
            pass
        assert server.log.count("undelivered when the client closed") == case.workers, server.log


async def test_a_stream_that_never_ends_costs_no_event() -> None:
    """Uvicorn cuts it off after its graceful timeout, and the client still gets its drain."""
    case = Case(1, STARTED, (*UVICORN, "--timeout-graceful-shutdown", "1"))
    async with Emulator() as emulator, shop(case, emulator, ALHENA_LINGER="600") as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /stream HTTP/1.1\r\nHost: shop\r\n\r\n")
        await reader.readuntil(b"still here")
        async with stopped_under_load(server, case, events=50) as crowd:
            pass
        writer.close()
    crowd.check(emulator)


# An older aiohttp's worker ends with 0, whatever the reason, and gunicorn starts the next.
_STARTED_OVER_AND_OVER = {"gunicorn, 2 aiohttp workers"} if aiohttp.__version__ < "3.14" else set()


@pytest.mark.parametrize("name", ["uvicorn", "gunicorn, 2 aiohttp workers", "aiohttp"])
@pytest.mark.parametrize(
    ("setting", "value", "complaint"),
    [
        ("ALHENA_COMPANY_KEY", "", "ALHENA_COMPANY_KEY is not set"),
        ("ALHENA_REGION", "mars", "ALHENA_REGION must be one of us, eu"),
    ],
)
async def test_a_setting_that_cannot_work_stops_the_start(
    name: str, setting: str, value: str, complaint: str
) -> None:
    """The server ends with an error that names it, and never serves."""
    async with served(*CASES[name].command, settings={setting: value}) as server:
        if name in _STARTED_OVER_AND_OVER:
            await server.written(complaint)
        else:
            assert await server.ended() not in ENDED_BY_SIGTERM
    assert complaint in server.log
