"""`make shop`'s command: both servers until Ctrl-C."""

from __future__ import annotations

import re
import signal
import socket
from uuid import uuid4

import aiohttp

from tests.web.serving import served


async def test_both_addresses_answer_until_ctrl_c() -> None:
    """A shop that works, the emulator's page, and an end without a traceback."""
    ports = "--port", "0", "--emulator-port", "0"
    async with (
        served("examples.shop", *ports, settings={}) as server,
        aiohttp.ClientSession() as http,
    ):
        await server.written("Ctrl-C ends both.")
        shop, emulator = re.findall(r"http://\S+", server.log)
        async with http.get(emulator) as page:
            assert "emulator" in await page.text()
        async with http.get(shop) as page:
            assert "Kiln &amp; Leaf" in await page.text()
        claim = {"X-Alhena-Visitor": f"{uuid4()}:{uuid4()}"}
        async with http.post(f"{shop}api/cart/mug", json={"by": 1}, headers=claim) as cart:
            assert (await cart.json())["total"] == "24.00"
        server.send(signal.SIGINT)
        assert await server.ended() == 0
    assert server.log.count("\n") == 3


async def test_a_taken_port_is_told() -> None:
    """In one line that says what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = "--port", str(taken.getsockname()[1]), "--emulator-port", "0"
        async with served("examples.shop", *ports, settings={}) as server:
            assert await server.ended() == 1
    [line] = server.log.splitlines()
    assert "in use" in line
    assert line.endswith("choose other ports with --port and --emulator-port")
