"""`make shop`'s command: both servers until Ctrl-C."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from tests.patience import PATIENCE
from tests.web.serving import Server, served

_PORTS = "--port", "0", "--emulator-port", "0"


async def addresses(server: Server) -> tuple[str, str]:
    """Where the shop and the emulator are, once they are told."""
    await server.written("Ctrl-C ends both.")
    shop, emulator = re.findall(r"http://\S+", server.log)
    return shop, emulator


def shopper() -> aiohttp.ClientSession:
    """A customer with a chat, who keeps the shop's cookie."""
    claim = {"X-Alhena-Visitor": f"{uuid4()}:{uuid4()}"}
    return aiohttp.ClientSession(headers=claim, cookie_jar=aiohttp.CookieJar(unsafe=True))


async def test_both_addresses_answer_until_ctrl_c() -> None:
    """A shop that works, the emulator's page, and an end without a traceback or a trace."""
    async with served("examples.shop", *_PORTS, settings={}) as server, shopper() as http:
        shop, emulator = await addresses(server)
        async with http.get(emulator) as page:
            assert "emulator" in await page.text()
        async with http.get(shop) as page:
            assert "Kiln &amp; Leaf" in await page.text()
        async with http.post(f"{shop}api/cart/mug", json={"by": 1}) as cart:
            assert (await cart.json())["total"] == "24.00"
        server.send(signal.SIGINT)
        assert await server.ended() == 0
        assert not server.has_left_processes()
    assert server.log.count("\n") == 4
    database = re.search(r"orders: +(\S+)", server.log)
    assert database is not None
    assert not Path(database[1]).parent.exists()


async def test_ctrl_c_ends_all_of_it_while_the_shop_still_starts() -> None:
    """A terminal tells the command and the shop; neither says more than it did."""
    async with served("examples.shop", *_PORTS, settings={}) as server:
        await addresses(server)
        server.interrupt()
        assert await server.ended() == 0
        assert not server.has_left_processes()
    assert server.log.count("\n") == 4


async def test_a_killed_shop_is_started_again_with_its_orders(tmp_path: Path) -> None:
    """Also the one that it could not answer; its address stays, and Ctrl-C ends all of it."""
    database = tmp_path / "shop.db"
    options = *_PORTS, "--database", str(database)
    async with served("examples.shop", *options, settings={}) as server, shopper() as http:
        shop, _ = await addresses(server)
        async with http.post(f"{shop}api/cart/mug", json={"by": 2}) as cart:
            assert cart.status == 200
        key = str(uuid4())
        with pytest.raises(aiohttp.ClientError):
            await http.post(f"{shop}api/checkout", json={"key": key, "unplug": True})
        order = await answered(http, f"{shop}api/orders/{key}")
        assert order["total"] == "48.00"
        async with http.post(f"{shop}api/checkout", json={"key": key, "unplug": True}) as repeat:
            assert await repeat.json() == order
        server.interrupt()
        assert await server.ended() == 0
        assert not server.has_left_processes()
    assert server.log.count("was killed") == 1
    assert server.log.count("\n") == 5
    assert database.exists()


async def answered(http: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    """Ask until there is somebody to answer."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                async with http.get(url) as reply:
                    found: dict[str, Any] = await reply.json()
                    return found
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)


async def test_a_taken_port_is_told() -> None:
    """In one line that says what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = "--port", str(taken.getsockname()[1]), "--emulator-port", "0"
        async with served("examples.shop", *ports, settings={}) as server:
            assert await server.ended() == 1
    [line] = server.log.splitlines()
    assert "in use" in line
    assert line.endswith("choose other ports with --port and --emulator-port")


async def test_a_database_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    """In one line that names it."""
    path = tmp_path / "no" / "shop.db"
    async with served("examples.shop", *_PORTS, "--database", str(path), settings={}) as server:
        assert await server.ended() == 1
    [line] = server.log.splitlines()
    assert str(path) in line
