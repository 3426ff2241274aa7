"""Runs a shop under a real server in processes of its own, the way it is run in production."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from tests.patience import PATIENCE

_ROOT = Path(__file__).resolve().parents[2]
_ADDRESS = re.compile(r"http://127\.0\.0\.1:([1-9]\d*)")


class Server:
    """A running server and all that it wrote."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._news = asyncio.Event()
        self.log = ""

    @property
    def port(self) -> int:
        address = _ADDRESS.search(self.log)
        assert address is not None, self.log
        return int(address[1])

    async def written(self, pattern: str, *, times: int = 1) -> None:
        """Wait until the log holds a pattern so many times."""
        async with asyncio.timeout(PATIENCE):
            while len(re.findall(pattern, self.log)) < times:
                assert self._process.returncode is None, self.log
                self._news.clear()
                await self._news.wait()

    @property
    def is_running(self) -> bool:
        """Whether its first process has not ended."""
        return self._process.returncode is None

    async def news(self) -> AsyncIterator[None]:
        """Yield now, and whenever it has written something, until it has ended."""
        while self.is_running:
            yield
            self._news.clear()
            await self._news.wait()

    def write(self, line: bytes) -> None:
        """Give it a line on its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(line)

    def send(self, signal_number: int) -> None:
        """Send a signal to the server's first process, as a supervisor does."""
        self._process.send_signal(signal_number)

    def kill(self) -> None:
        """End all of its processes at once, as a machine that fails."""
        os.killpg(self._process.pid, signal.SIGKILL)

    def interrupt(self) -> None:
        """Ctrl-C: a terminal tells all of its processes."""
        os.killpg(self._process.pid, signal.SIGINT)

    def has_left_processes(self) -> bool:
        """Whether any process that it started still runs, once it has ended."""
        try:
            os.killpg(self._process.pid, 0)
        except ProcessLookupError:
            return False
        return True

    async def ended(self) -> int:
        """Wait for the server's end, and return its exit status."""
        async with asyncio.timeout(PATIENCE):
            return await self._process.wait()

    async def read(self) -> None:
        """Keep what it writes, until it and its workers have ended."""
        assert self._process.stdout is not None
        while part := await self._process.stdout.read(65_536):
            self.log += part.decode()
            self._news.set()
        await self._process.wait()
        self._news.set()


@contextlib.asynccontextmanager
async def served(
    *command: str,
    settings: Mapping[str, str],
    cwd: Path = _ROOT,
    stdin: int = asyncio.subprocess.DEVNULL,
) -> AsyncIterator[Server]:
    """Run `python -m COMMAND`; at the end what still runs of it is killed, workers included.

    Args:
        *command: The module and its arguments.
        settings: Environment variables.
        cwd: Where it runs.
        stdin: What it reads; a pipe for `Server.write`.
    """
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("ALHENA_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *command,
        cwd=cwd,
        env={**inherited, "PYTHONUNBUFFERED": "1", "ALHENA_COMPANY_KEY": "shop", **settings},
        stdin=stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,  # a process group of its own, which is ours to kill
    )
    server = Server(process)
    reading = asyncio.create_task(server.read(), name=f"log of {command[0]}")
    try:
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await reading
