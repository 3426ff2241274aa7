"""A real redis-server for one test: on a socket in a directory of its own, with nothing kept."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.patience import PATIENCE

PROGRAM = shutil.which("redis-server")


@contextmanager
def redis_server() -> Iterator[str]:
    """Serve while the block runs.

    Returns:
        Its URL, `unix://...`: no port, so nobody else's can be met.
    """
    assert PROGRAM is not None
    with tempfile.TemporaryDirectory(prefix="redis-") as home:  # a socket's path must be short
        path = Path(home) / "redis.sock"
        settings = ["--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700"]
        settings += ["--save", "", "--appendonly", "no", "--dir", home]
        with subprocess.Popen([PROGRAM, *settings], stdout=subprocess.DEVNULL) as server:
            try:
                _wait_for(path, server)
                yield f"unix://{path}"
            finally:
                server.terminate()
                server.wait(PATIENCE)


def _wait_for(path: Path, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except OSError:
                assert server.poll() is None, "redis-server ended at once"
                time.sleep(0.02)
            else:
                return
    raise TimeoutError("redis-server did not listen in time")
