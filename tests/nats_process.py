"""A real NATS server with JetStream, on a free loopback port."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from alhena_async.relay._admin import connected, make
from alhena_async.relay._jetstream import JetStream
from alhena_async.relay._topology import Topology, plan
from tests.patience import PATIENCE

__all__ = ["NatsServer", "make_topology"]


def _program() -> str | None:
    beside = Path(sys.executable).with_name("nats-server")
    return str(beside) if beside.exists() else shutil.which("nats-server")


PROGRAM = _program()


class NatsServer:
    """One server; what it stored outlives `kill` and `start`.

    Args:
        directory: Where it stores, and says which port it has.
        settings: More lines of its configuration.
        jetstream: More of what it says of JetStream.
    """

    def __init__(self, directory: Path, settings: str = "", *, jetstream: str = "") -> None:
        self._directory = directory
        self._settings = settings
        self._jetstream = jetstream
        self._process: subprocess.Popen[bytes] | None = None
        self.port = -1

    @property
    def url(self) -> str:
        """Where it is."""
        return f"nats://127.0.0.1:{self.port}"

    async def start(self) -> Self:
        """Start it, on the port that it had before, and wait until it serves."""
        assert PROGRAM is not None
        store = self._directory / "store"
        config = self._directory / "nats.conf"
        config.write_text(
            f'listen: "127.0.0.1:{self.port}"\nports_file_dir: "{self._directory}"\n'
            f'jetstream {{ store_dir: "{store}"\n{self._jetstream} }}\n{self._settings}\n'
        )
        self._process = subprocess.Popen(  # noqa: ASYNC220  it is waited for below
            [PROGRAM, "-c", str(config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        ports = self._directory / f"nats-server_{self._process.pid}.ports"
        async with asyncio.timeout(PATIENCE):
            while not (ports.exists() and ports.read_text()):
                assert self._process.poll() is None, "the server ended at once"
                await asyncio.sleep(0.02)
        found: dict[str, Any] = json.loads(ports.read_text())
        self.port = int(found["nats"][0].rpartition(":")[2])
        return self

    def kill(self) -> None:
        """Kill it, as a machine that fails."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Let it answer nothing, its connections open; return once it does nothing more."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def go_on(self) -> None:
        """Let it answer again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it for good."""
        if self._process is not None:
            self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait()


async def make_topology(broker: JetStream, wanted: Topology) -> None:
    """Make streams and consumers, as `alhena relay init` does."""
    async with connected(broker) as connection:
        await make(connection, plan(wanted, None, has_letters=False), changes=False)
