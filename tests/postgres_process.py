"""A real Postgres server for tests: Debian's, on a free loopback port, in its own directory."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.patience import PATIENCE

__all__ = ["MISSING", "PostgresServer", "free_port", "pgbouncer", "postgres_server", "replica_of"]


def _programs() -> Path | None:
    """Return where initdb and postgres are: the newest of Debian's, or what the path has."""
    versions = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda one: one.parts[-3].zfill(4)
    )
    if versions:
        return versions[-1].parent
    found = shutil.which("postgres")
    return Path(found).parent if found and shutil.which("initdb") else None


PROGRAMS: Final = _programs()


def _user() -> str | None:
    """Return whom the server has to run as: it refuses root."""
    if os.geteuid() != 0:
        return None
    import pwd  # noqa: PLC0415  not on every system that these tests are collected on

    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    return None


def as_user() -> list[str]:
    """Return what lets a program run as that user; no shell between, so that signals reach it."""
    user = _user()
    return [] if user is None else ["setpriv", "--reuid", user, "--clear-groups"]


MISSING: Final = "there is no postgres (Debian: postgresql)" if PROGRAMS is None else ""
"""Why there is no server; empty where there is one."""

_SETTINGS: Final = """
listen_addresses = '127.0.0.1'
max_connections = 60
shared_buffers = 32MB
wal_level = replica
max_wal_senders = 4
hot_standby = on
autovacuum = on
log_min_messages = warning
"""


class PostgresServer:
    """One server; what it stored outlives `kill` and `start`.

    Args:
        home: An empty directory that is its own.
        durable: Whether a commit is on disk when it is answered, as a kill of the server must show.
    """

    def __init__(self, home: Path, *, durable: bool = False) -> None:
        assert PROGRAMS is not None
        self._programs = PROGRAMS
        self._home = home
        self._data = home / "data"
        self._durable = durable
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    @property
    def url(self) -> str:
        """Where it is, as its superuser."""
        return self.url_of("postgres")

    def url_of(self, user: str, database: str = "postgres") -> str:
        """Return where it is, as somebody else or with another database."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def new_database(self, *options: str) -> str:
        """Make a database of its own, and return its URL."""
        name = f"shop_{secrets.token_hex(6)}"
        self._run(
            "createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", *options, name
        )
        return self.url_of("postgres", name)

    def make(self) -> None:
        """Make its files."""
        self._give()
        self._run("initdb", "-D", str(self._data), "-U", "postgres", "-A", "trust", "-N",
                  "--no-instructions", "-E", "UTF8", "--locale", "C")  # fmt: skip
        self._configure()

    def copy(self, *, of: PostgresServer) -> None:
        """Be a replica of another server."""
        self._give()
        self._run(
            "pg_basebackup", "-D", str(self._data), "-d", of.url, "-R", "-X", "stream", "-c", "fast"
        )
        self._configure()

    def _configure(self) -> None:
        fsync = "on" if self._durable else "off"
        with (self._data / "postgresql.auto.conf").open("a") as file:
            file.write(
                f"{_SETTINGS}port = {self.port}\nunix_socket_directories = ''\n"
                f"fsync = {fsync}\nfull_page_writes = {fsync}\n"
            )

    def start(self) -> PostgresServer:
        """Start it, on the port that it had before, and wait until it serves; once is enough."""
        if self._process is not None:
            return self
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*as_user(), str(self._programs / "postgres"), "-D", str(self._data)],
                stdout=subprocess.DEVNULL,
                stderr=log,
                cwd=self._home,
            )
        deadline = time.monotonic() + PATIENCE
        ready = [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(ready, check=False).returncode:
            assert self._process.poll() is None, (self._home / "log").read_text()
            assert time.monotonic() < deadline, "postgres did not serve in time"
            time.sleep(0.02)
        return self

    def kill(self) -> None:
        """Kill all of it, as a machine that fails."""
        self._end(signal.SIGQUIT)

    def stop(self) -> None:
        """End it; every connection breaks."""
        self._end(signal.SIGINT)

    def pause(self) -> None:
        """Let it answer nothing, its connections open."""
        self._signal_all(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it answer again."""
        self._signal_all(signal.SIGCONT)

    def wait_for(self, table: str) -> None:
        """Wait until a replica has a table."""
        deadline = time.monotonic() + PATIENCE
        asked = ["psql", self.url, "-qAtc", f"SELECT 1 FROM {table}"]
        while subprocess.run(asked, check=False, capture_output=True).stdout != b"1\n":
            assert time.monotonic() < deadline, "the replica did not get it in time"
            time.sleep(0.05)

    def promote(self) -> None:
        """Let a replica be the one that is written to."""
        self._run("pg_ctl", "promote", "-D", str(self._data), "-w")

    def _signal_all(self, number: signal.Signals) -> None:
        main = int((self._data / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
        for process in (main, *map(int, children)):
            os.kill(process, number)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait(PATIENCE)

    def _give(self) -> None:
        user = _user()
        if user is not None:
            shutil.chown(self._home, user)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [*as_user(), str(self._programs / program), *arguments],
            check=False, capture_output=True, cwd=self._home,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()


def free_port() -> int:
    """Return a port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def postgres_server(*, durable: bool = False) -> Iterator[PostgresServer]:
    """Serve while the block runs."""
    with tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as home:
        server = PostgresServer(Path(home), durable=durable)
        server.make()
        server.start()
        try:
            yield server
        finally:
            server.kill()


@contextmanager
def replica_of(primary: PostgresServer) -> Iterator[PostgresServer]:
    """Let a replica serve while the block runs."""
    with tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as home:
        replica = PostgresServer(Path(home))
        replica.copy(of=primary)
        replica.start()
        try:
            yield replica
        finally:
            replica.kill()


@contextmanager
def pgbouncer(server: PostgresServer) -> Iterator[int]:
    """Let PgBouncer serve while the block runs, in transaction mode; its port."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("there is no pgbouncer")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="pgbouncer-") as home:
        config = Path(home) / "pgbouncer.ini"
        config.write_text(
            f"[databases]\n* = host=127.0.0.1 port={server.port} user=postgres\n[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            "auth_type = any\npool_mode = transaction\ndefault_pool_size = 3\n"
        )
        config.chmod(0o644)
        Path(home).chmod(0o755)
        with subprocess.Popen([*as_user(), program, "-q", str(config)]) as process:
            try:
                _wait_for_port(port, process)
                yield port
            finally:
                process.terminate()
                process.wait(PATIENCE)


def _wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            assert process.poll() is None, "pgbouncer ended at once"
            assert time.monotonic() < deadline, "pgbouncer did not listen in time"
            time.sleep(0.02)
        else:
            return
