"""`make shop`'s command: both servers until Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path
from uuid import uuid4

import aiohttp

ROOT = Path(__file__).resolve().parents[2]


async def start(*ports: str) -> asyncio.subprocess.Process:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ALHENA_")}
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "examples.shop", *ports),
        cwd=ROOT,
        env=kept,
        stdout=pipe,
        stderr=pipe,
    )


async def test_both_addresses_answer_until_ctrl_c() -> None:
    """A shop that works, the emulator's page, and an end without a traceback."""
    process = await start("--port", "0", "--emulator-port", "0")
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60), aiohttp.ClientSession() as session:
            lines = [(await process.stdout.readline()).decode() for _ in range(3)]
            shop, emulator = (line.split()[-1] for line in lines[:2])
            async with session.get(emulator) as page:
                assert "emulator" in await page.text()
            claim = {"X-Alhena-Visitor": f"{uuid4()}:{uuid4()}"}
            async with session.post(f"{shop}api/cart/mug", json={"by": 1}, headers=claim) as cart:
                assert (await cart.json())["total"] == "24.00"
            async with session.get(shop) as page:
                assert "Kiln &amp; Leaf" in await page.text()
            process.send_signal(signal.SIGINT)
            _, complaints = await process.communicate()
        assert (process.returncode, complaints) == (0, b"")
    finally:
        if process.returncode is None:
            process.kill()


async def test_a_taken_port_is_told() -> None:
    """In one line that says what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = await start("--port", str(taken.getsockname()[1]), "--emulator-port", "0")
        async with asyncio.timeout(60):
            _, complaints = await process.communicate()
    assert process.returncode == 1
    [line] = complaints.decode().splitlines()
    assert "in use" in line
    assert line.endswith("choose other ports with --port and --emulator-port")
