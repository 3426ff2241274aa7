"""The processes of a fleet: publishers that answer, and workers that can be stopped and killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any, Final, Self

import aiohttp

from tests.cli_process import ALHENA
from tests.patience import PATIENCE

__all__ = ["Shop", "Worker", "free_ports"]

_ROOT: Final = Path(__file__).parents[2]


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback that are free now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Shop:
    """A web process: `tests.fleet.publisher`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._answers: dict[str, asyncio.Future[str]] = {}
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, servers: str) -> Self:
        """Start one."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.fleet.publisher", servers,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=_ROOT,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
        )  # fmt: skip
        return cls(process)

    async def track(self, visitor: str, name: str, order_id: str | None = None) -> str:
        """Let a visitor's request be served; return how its event ended."""
        assert self._process.stdin is not None
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._answers[name] = answer
        words = [visitor, name, *([order_id] if order_id else [])]
        self._process.stdin.write(" ".join(words).encode() + b"\n")
        await self._process.stdin.drain()
        return await answer

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            status, name = line.decode().split()
            self._answers.pop(name).set_result(status)

    async def end(self) -> None:
        """End it, all its events with it."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._reading


class Worker:
    """`alhena relay run`, and its health."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process = process
        self._port = port

    @classmethod
    async def start(cls, servers: str) -> Self:
        """Start one; it is not ready yet."""
        [port] = free_ports(1)
        process = await asyncio.create_subprocess_exec(
            ALHENA, "relay", "run", "--broker", servers, "--health", f"127.0.0.1:{port}",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL, cwd=_ROOT,
        )  # fmt: skip
        return cls(process, port)

    async def stats(self) -> dict[str, Any]:
        """Return what it counts, once it answers."""
        async with asyncio.timeout(PATIENCE), aiohttp.ClientSession() as session:
            while True:
                try:
                    async with session.get(f"http://127.0.0.1:{self._port}/stats") as reply:
                        found: dict[str, Any] = json.loads(await reply.text())
                        return found
                except aiohttp.ClientConnectionError:
                    await asyncio.sleep(0.1)

    async def ready(self) -> None:
        """Wait until it takes events."""
        async with asyncio.timeout(PATIENCE):
            while not (await self.stats())["connected"]:  # noqa: ASYNC110  another process
                await asyncio.sleep(0.1)

    def freeze(self) -> None:
        """Give it no turns."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Give it turns again, if it still lives."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGCONT)

    async def kill(self) -> None:
        """Kill it without a goodbye."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    async def terminate(self) -> int:
        """Tell it to end; return its status once it has."""
        self._process.terminate()
        async with asyncio.timeout(PATIENCE):
            return await self._process.wait()
