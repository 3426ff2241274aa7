"""The workers' recipes, as real processes: told to stop in the middle, they lose nothing."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from alhena_async.emulator import Emulator, FaultPlan
from tests.patience import PATIENCE
from tests.redis_process import PROGRAM, redis_server

RECIPES = Path(__file__).parents[2] / "examples" / "workers"
BIN = Path(sys.executable).parent
SLOW = FaultPlan.parse(["latency=1:200ms"])  # long before all is done, the signal has come
HANGING = FaultPlan.parse(["hang=1"])

needs_redis = pytest.mark.skipif(
    PROGRAM is None, reason="redis-server is not installed (Debian: apt-get install redis-server)"
)


def order(number: int) -> dict[str, Any]:
    line = {"product_id": "mug", "product_name": "Mug", "quantity": 1, "value": 9.5}
    return {
        "id": f"ORD-{number}",
        "visitor": {"fingerprint": f"v{number}", "faq_fingerprint": f"faq-{number}"},
        "total": 9.5,
        "currency": "EUR",
        "lines": [{**line, "currency": "EUR"}],
    }


def change(number: int) -> dict[str, Any]:
    return {
        "visitor": {"fingerprint": f"v{number}", "faq_fingerprint": f"faq-{number}"},
        "before": 0,
        "after": 1,
        "product_id": f"p{number}",
        "product_name": "Mug",
        "value": 9.5,
        "currency": "EUR",
    }


@contextlib.asynccontextmanager
async def worker(
    *command: str | Path, emulator: Emulator, redis: str = "", stdin: int | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker's process; killed in the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        cwd=RECIPES,
        env={
            **os.environ,
            "ALHENA_COMPANY_KEY": "shop",
            "ALHENA_BASE_URL": emulator.url,
            "REDIS_URL": redis,
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        stdin=stdin or asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,  # what it forks ends with it
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()


async def told_to_stop(process: asyncio.subprocess.Process) -> str:
    """Send SIGTERM, wait, and return what it said."""
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(PATIENCE):
        said, _ = await process.communicate()
    return said.decode()


def counts_of(said: str) -> dict[str, int]:
    """The final counts that a recipe logs."""
    found = re.search(r"alhena: Stats\((.*)\)", said)
    assert found, said
    return {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)(?=[,)])", found[0])}


async def reached(emulator: Emulator, requests: int) -> None:
    await emulator.wait_until(lambda: emulator.requests >= requests, timeout=PATIENCE)


@pytest.fixture
def redis() -> Iterator[str]:
    with redis_server() as url:
        yield url


def recipe(name: str, monkeypatch: pytest.MonkeyPatch, redis: str) -> ModuleType:
    """A recipe's module in this process, which enqueues; of its own name, as a worker knows it."""
    monkeypatch.setenv("REDIS_URL", redis)
    spec = importlib.util.spec_from_file_location(name, RECIPES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


# --- without a framework ------------------------------------------------------------------------


def lines(*numbers: int) -> bytes:
    return b"".join(json.dumps(order(number)).encode() + b"\n" for number in numbers)


async def test_a_plain_worker_delivers_what_it_took_when_told_to_stop() -> None:
    """SIGTERM while most of it still waits: all that was accepted is recorded, once."""
    pipe = asyncio.subprocess.PIPE
    async with (
        Emulator(faults=SLOW) as emulator,
        worker(sys.executable, "plain_worker.py", emulator=emulator, stdin=pipe) as process,
    ):
        assert process.stdin is not None
        process.stdin.write(lines(*range(300)))
        await process.stdin.drain()
        await reached(emulator, 40)
        assert emulator.recorded_count < 300
        said = await told_to_stop(process)
        assert process.returncode == 0, said
        counts = counts_of(said)
        assert counts["accepted"] == counts["recorded"] == emulator.recorded_count
        assert counts["accepted"] >= 40
        emulator.assert_recorded(times=counts["accepted"])


async def test_a_plain_worker_reports_what_it_cannot_deliver(tmp_path: Path) -> None:
    """The API is down for good: the drain ends in time, and the rest is counted."""
    source = (RECIPES / "plain_worker.py").read_text().replace("DRAIN = 10.0", "DRAIN = 0.5")
    assert "DRAIN = 0.5" in source
    (tmp_path / "impatient.py").write_text(source)
    pipe = asyncio.subprocess.PIPE
    async with (
        Emulator(faults=HANGING) as emulator,
        worker(sys.executable, tmp_path / "impatient.py", emulator=emulator, stdin=pipe) as process,
    ):
        assert process.stdin is not None
        process.stdin.write(lines(*range(40)))
        await process.stdin.drain()
        await reached(emulator, 32)
        said = await told_to_stop(process)
        assert process.returncode == 0, said
        counts = counts_of(said)
        assert counts["accepted"] == counts["abandoned"] >= 32
        assert f"{counts['abandoned']} events were not delivered" in said


async def test_a_plain_worker_ends_with_its_input() -> None:
    """No signal needed."""
    pipe = asyncio.subprocess.PIPE
    async with (
        Emulator() as emulator,
        worker(sys.executable, "plain_worker.py", emulator=emulator, stdin=pipe) as process,
    ):
        async with asyncio.timeout(PATIENCE):
            said, _ = await process.communicate(lines(1, 2, 3))
        assert process.returncode == 0, said
        emulator.assert_recorded(times=3, kind="checkout")


# --- arq ----------------------------------------------------------------------------------------


@needs_redis
async def test_arq_told_to_stop_loses_nothing(redis: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it did is recorded, what it left the next worker does; every order counts once."""
    arq = pytest.importorskip("arq", reason="arq is not installed")
    settings = recipe("arq_worker", monkeypatch, redis).WorkerSettings
    pool = await arq.create_pool(settings.redis_settings)
    for number in range(60):
        await pool.enqueue_job("order_placed", order(number), _job_id=f"order-{number}")
        await pool.enqueue_job("cart_changed", change(number), _job_id=f"cart-{number}")
    command = (BIN / "arq", "arq_worker.WorkerSettings")
    async with Emulator(faults=SLOW) as emulator:
        async with worker(*command, emulator=emulator, redis=redis) as process:
            await reached(emulator, 15)
            said = await told_to_stop(process)
        done = {result.job_id for result in await pool.all_job_results()}
        left = {job.decode() for job in await pool.zrange(settings_queue(arq), 0, -1)}
        assert left  # it was in the middle
        counts = counts_of(said)
        assert counts["accepted"] == counts["recorded"] == emulator.recorded_count
        recorded = {
            f"order-{event.order_id[4:]}" for event in emulator.recorded() if event.order_id
        }
        recorded |= {f"cart-{event.fingerprint[1:]}" for event in emulator.recorded(kind="cart")}
        assert done <= recorded

        emulator.plan(FaultPlan())
        async with worker(*command, "--burst", emulator=emulator, redis=redis) as process:
            async with asyncio.timeout(PATIENCE):
                said_then, _ = await process.communicate()
        assert await pool.zcard(settings_queue(arq)) == 0, said_then.decode()
        for number in range(60):
            emulator.assert_recorded(order_id=f"ORD-{number}")
            emulator.assert_recorded(times=None, product_id=f"p{number}")
    await pool.aclose()


def settings_queue(arq: Any) -> str:
    name: str = arq.constants.default_queue_name
    return name


# --- taskiq -------------------------------------------------------------------------------------


@needs_redis
async def test_taskiq_told_to_stop_loses_nothing(
    redis: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that its tasks gave to the client is recorded before the worker is gone."""
    pytest.importorskip("taskiq_redis", reason="taskiq-redis is not installed")
    module = recipe("taskiq_worker", monkeypatch, redis)
    await module.broker.startup()
    for number in range(60):
        await module.order_placed.kiq(order(number))
        await module.cart_changed.kiq(change(number))
    command = (BIN / "taskiq", "worker", "--workers", "1", "--max-async-tasks", "4",
               "--shutdown-timeout", "30", "taskiq_worker:broker")  # fmt: skip
    async with Emulator(faults=SLOW) as emulator:
        async with worker(*command, emulator=emulator, redis=redis) as process:
            await reached(emulator, 15)
            said = await told_to_stop(process)
        counts = counts_of(said)
        assert 15 <= counts["accepted"] < 120, said
        assert counts["accepted"] == counts["recorded"] == emulator.recorded_count
        emulator.assert_recorded(times=counts["accepted"])
    await module.broker.shutdown()
