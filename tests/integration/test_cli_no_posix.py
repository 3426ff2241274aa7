"""What POSIX alone has is missing, as on Windows: all but the journal works, and that says why."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

import alhena_async.cli
from alhena_async.emulator import Emulator
from tests.cli_process import cart, lines_of
from tests.patience import PATIENCE

WITHOUT = """
import os, sys
from asyncio import unix_events
sys.modules["fcntl"] = None
for name in ("geteuid", "fchmod", "pwrite", "statvfs",
             "O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW"):
    delattr(os, name)
del unix_events._UnixSelectorEventLoop.add_signal_handler  # the base class's raises
sys.modules["uvloop"] = None
from alhena_async.cli import main
main()
"""


async def alhena(*arguments: str | Path, cwd: Path) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WITHOUT, *map(str, arguments), cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(PATIENCE):
        out, _ = await process.communicate()
    return process.returncode, out.decode()


async def test_a_file_of_events_is_replayed(tmp_path: Path) -> None:
    """With progress and rejects, and the second run finds that all is done."""
    day = tmp_path / "day.jsonl"
    day.write_bytes(lines_of(*map(cart, range(5))) + b"nonsense\n")
    async with Emulator() as emulator:
        where = ("--base-url", emulator.url, "--company-key", "shop", "--allow-rejects", "1")
        status, out = await alhena("replay", day, *where, cwd=tmp_path)
        assert (status, emulator.recorded_count) == (0, 5), out
        status, out = await alhena("replay", day, *where, "--resume", cwd=tmp_path)
        assert (status, emulator.recorded_count) == (0, 5), out


IMPORTS = """
import asyncio, os, signal, sys
for name in ("fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty", "uvloop"):
    sys.modules[name] = None
for name in ("fork", "geteuid", "getuid", "fchmod", "fchown", "pread", "pwrite", "statvfs",
             "register_at_fork", "O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK"):
    delattr(os, name)
for name in ("SIGHUP", "SIGKILL", "SIGUSR1", "SIGALRM", "SIGSTOP"):
    delattr(signal, name)
import importlib, pkgutil
import alhena_async.cli, alhena_async.journal, alhena_async.sync
names = [one.name for package in (alhena_async.cli, alhena_async.journal)
         for one in pkgutil.iter_modules(package.__path__, package.__name__ + ".")]
for name in names:
    importlib.import_module(name)
print(len([name for name in names if name.startswith("alhena_async.cli.")]))
"""


def test_every_module_of_the_command_can_be_imported() -> None:
    """None needs what Windows lacks; what a command cannot do there, it says when it is called."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len([*Path(alhena_async.cli.__file__).parent.glob("_[!_]*.py")])


@pytest.mark.parametrize(
    "command",
    [
        ("journal", "inspect"),
        ("journal", "deliver"),
        ("dead-letters", "list"),
        ("forget", "--visitor", "550e8400-e29b-41d4-a716-446655440000", "660e8400"),
        ("status",),
        ("tail",),
    ],
)
async def test_a_journal_is_refused_in_one_sentence(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    """A directory that was copied from a server, for instance."""
    status, out = await alhena(*command, tmp_path, cwd=tmp_path)
    assert status == 2
    assert "needs a POSIX system" in out
    assert "Traceback" not in out


async def test_the_doctor_says_so_too(tmp_path: Path) -> None:
    """And looks at all the rest."""
    status, out = await alhena(
        "doctor",
        *("--journal", tmp_path, "--base-url", "https://x.invalid", "--company-key", "k"),
        cwd=tmp_path,
    )
    assert status == 1
    assert "journal: it needs a POSIX system" in out
    assert "DNS: x.invalid" in out
