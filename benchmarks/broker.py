"""A NATS server for the measurements, and what processes cost, read from outside."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import attrs

__all__ = ["ALHENA", "Broker", "cpu_seconds", "is_there", "serving"]

ALHENA = str(Path(sys.executable).with_name("alhena"))

_PATIENCE = 30.0  # seconds


def _program() -> str | None:
    beside = Path(sys.executable).with_name("nats-server")
    return str(beside) if beside.exists() else shutil.which("nats-server")


def is_there() -> bool:
    """Return whether there is a server to run."""
    return _program() is not None


def cpu_seconds(pid: int) -> float:
    """Return what a process has used of any core."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@attrs.frozen
class Broker:
    """A server with the streams."""

    url: str
    pid: int


@contextlib.contextmanager
def serving(api: str, *, sync: str = "2m") -> Iterator[Broker]:
    """Run a server with 64 partitions, whose relays deliver to an API.

    Args:
        api: The base URL.
        sync: The server's `sync_interval`.
    """
    program = _program()
    assert program is not None
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:  # no RAM disk
        config = Path(folder) / "nats.conf"
        config.write_text(
            f'listen: "127.0.0.1:-1"\nports_file_dir: "{folder}"\n'
            f'jetstream {{ store_dir: "{folder}/store", sync_interval: {sync} }}\n'
        )
        process = subprocess.Popen([program, "-c", str(config)], stderr=subprocess.DEVNULL)
        try:
            url = _url_in(Path(folder) / f"nats-server_{process.pid}.ports")
            _alhena("relay", "init", "--broker", url, "--base-url", api)
            yield Broker(url, process.pid)
        finally:
            process.kill()
            process.wait()


def _url_in(ports: Path) -> str:
    until = time.monotonic() + _PATIENCE
    while not (ports.exists() and ports.read_text()):
        if time.monotonic() > until:
            raise TimeoutError("the server did not start")
        time.sleep(0.02)
    url: str = json.loads(ports.read_text())["nats"][0]
    return url


def _alhena(*arguments: str) -> str:
    return subprocess.run([ALHENA, *arguments], capture_output=True, text=True, check=True).stdout
