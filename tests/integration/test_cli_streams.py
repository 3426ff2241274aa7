"""Streams that are closed, broken or full: a run goes on, and no traceback is shown."""

from __future__ import annotations

import asyncio
import gzip
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import IO

import aiohttp
import pytest

from alhena_async.emulator import Emulator
from tests.cli_process import ALHENA, Ended, alhena, cart, lines_of
from tests.patience import PATIENCE

PIPE = asyncio.subprocess.PIPE


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator() as emulator:
        yield emulator


@pytest.fixture
def replay(tmp_path: Path, emulator: Emulator) -> list[str]:
    (tmp_path / "day.jsonl").write_bytes(lines_of(*map(cart, range(50))))
    file = str(tmp_path / "day.jsonl")
    progress = str(tmp_path / "progress.jsonl")
    where = ["--base-url", emulator.url, "--company-key", "shop"]
    return ["replay", file, *where, "--progress", progress]


@pytest.fixture
def broken() -> Iterator[int]:
    """A pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.fixture
def full() -> Iterator[IO[bytes]]:
    """A disk without room."""
    with Path("/dev/full").open("wb") as file:
        yield file


async def run(
    *command: str, stdout: int | IO[bytes] = PIPE, stderr: int | IO[bytes] = PIPE
) -> Ended:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=stdout, stderr=stderr, stdin=asyncio.subprocess.DEVNULL
    )
    async with asyncio.timeout(PATIENCE):
        out, err = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, (out or b"").decode(), (err or b"").decode())


async def test_without_a_reader_of_notes_it_goes_on(
    replay: list[str], emulator: Emulator, broken: int
) -> None:
    """A closed pipe at standard error loses the notes only: all is sent and told."""
    result = await run(str(ALHENA), *replay, stderr=broken)
    assert (result.status, emulator.recorded_count) == (0, 50)
    assert "50 of 50 cart events recorded." in result.out


async def test_without_a_reader_of_results_it_goes_on(
    replay: list[str], emulator: Emulator, broken: int
) -> None:
    """A closed pipe at standard output (`| head`) changes nothing of the exit status."""
    result = await run(str(ALHENA), *replay, stdout=broken)
    assert (result.status, emulator.recorded_count) == (0, 50)
    assert "50 of 50 lines" in result.err
    assert "Error" not in result.err


async def test_results_that_cannot_be_written_are_a_failure(
    replay: list[str], emulator: Emulator, full: IO[bytes]
) -> None:
    """On a full disk all is sent, a line says what is lost, and the status is 1."""
    result = await run(str(ALHENA), *replay, stdout=full)
    assert (result.status, emulator.recorded_count) == (1, 50), result
    assert result.err.count("The results cannot be written: No space left") == 1
    assert "Traceback" not in result.err
    assert "Exception" not in result.err


async def test_rejects_that_cannot_be_written_are_a_failure(
    tmp_path: Path, replay: list[str]
) -> None:
    """A full disk under the rejects stops the run with its reason and status 1."""
    (tmp_path / "day.jsonl").write_bytes(lines_of(cart(1)) + b"{\n")
    result = await run(str(ALHENA), *replay, "--rejects", "/dev/full")
    assert result.status == 1, result
    assert "No space left" in result.out
    assert "Traceback" not in result.err
    assert "Exception" not in result.err


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
async def test_closed_descriptors_harm_nothing(
    replay: list[str], emulator: Emulator, closed: str
) -> None:
    """Started with closed standard streams, it sends everything all the same."""
    result = await run("sh", "-c", f'exec "$0" "$@" {closed}', str(ALHENA), *replay)
    assert (result.status, emulator.recorded_count) == (0, 50), result
    assert "Traceback" not in result.err


@pytest.mark.parametrize("command", ["replay", "demo"])
async def test_closed_standard_input_cannot_be_read(
    replay: list[str], emulator: Emulator, command: str
) -> None:
    """Reading from a closed standard input is an error, not an empty file."""
    arguments = ["replay", "-", *replay[2:]] if command == "replay" else ["demo", "-"]
    result = await run("sh", "-c", 'exec "$0" "$@" <&-', str(ALHENA), *arguments)
    assert (result.status, emulator.recorded_count) == (2, 0), result
    assert "cannot read -" in result.err
    assert "Traceback" not in result.err


async def test_a_day_that_breaks_off_at_once_cannot_begin(tmp_path: Path) -> None:
    """A gzip that is cut off before its first line ends with status 2 and one clear text."""
    content = gzip.compress(lines_of(cart(1)))[:20]
    result = await alhena("demo", "-", cwd=tmp_path, stdin=content)
    assert result.status == 2, result
    assert "cannot read -" in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize(("stream", "status"), [("broken", 0), ("full", 1)])
async def test_the_emulator_serves_on(
    stream: str, status: int, request: pytest.FixtureRequest
) -> None:
    """Whatever becomes of standard output, the emulator goes on serving until Ctrl-C."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        str(ALHENA), "emulate", "--port", str(port),
        stdout=request.getfixturevalue(stream), stderr=PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(PATIENCE):
            await reached(f"http://127.0.0.1:{port}/")
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    assert process.returncode == status
    assert b"Traceback" not in err


async def reached(url: str) -> None:
    """Wait until a page answers."""
    async with aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(url) as reply:
                    assert reply.status == 200
                    return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)
