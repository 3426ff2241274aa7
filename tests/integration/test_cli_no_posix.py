"""What POSIX alone has is missing, as on Windows: all but the journal works, and that says why."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

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


async def alhena(*arguments: str | Path) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WITHOUT, *map(str, arguments),
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
        status, out = await alhena("replay", day, *where)
        assert (status, emulator.recorded_count) == (0, 5), out
        status, out = await alhena("replay", day, *where, "--resume")
        assert (status, emulator.recorded_count) == (0, 5), out


@pytest.mark.parametrize("command", [("journal", "inspect"), ("dead-letters", "list")])
async def test_a_journal_is_refused_in_one_sentence(
    tmp_path: Path, command: tuple[str, str]
) -> None:
    """A directory that was copied from a server, for instance."""
    status, out = await alhena(*command, tmp_path)
    assert status == 2
    assert "needs a POSIX system" in out
    assert "Traceback" not in out
