"""`alhena emulate` tells each request in a line, as users see it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import signal
import struct
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from alhena_async.cli._emulate import request_line
from alhena_async.emulator import EventKind, FaultKind, Handled
from tests.cli_process import ALHENA, alhena
from tests.patience import PATIENCE

CART: dict[str, Any] = {
    "company_key": "shop",
    "user_fingerprint": "550e8400-e29b-41d4-a716-446655440000",
    "user_faq_fingerprint": "660e8400-e29b-41d4-a716-446655441111",
    "type": "ITEM_ADDED",
    "product_id": "mug-1",
    "product_name": "Mug",
    "value": 9.5,
    "currency": "EUR",
    "quantity": 1,
}
LINE = {name: CART[name] for name in list(CART)[4:]}
ORDER = {**{name: CART[name] for name in list(CART)[:3]}, "value": 9.5, "currency": "EUR"}
ORDER |= {"order_id": "A-1001", "line_items": [LINE]}


class Emulating:
    """A running `alhena emulate` and what it writes."""

    def __init__(self, process: asyncio.subprocess.Process, output: int) -> None:
        self._process = process
        self._output = output
        self._rest = b""
        self.lines: list[str] = []
        self.url = ""

    async def read(self, until: str) -> str:
        """Read lines until one matches, and return it."""
        async with asyncio.timeout(PATIENCE):
            while True:
                line = await self._line()
                self.lines.append(line)
                if re.search(until, line):
                    return line

    async def _line(self) -> str:
        while b"\n" not in self._rest:
            chunk = await asyncio.to_thread(os.read, self._output, 65_536)
            assert chunk, self.lines
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode().rstrip("\r")

    async def post(self, session: aiohttp.ClientSession, body: dict[str, Any]) -> int:
        """Send an event; return the status of the answer."""
        path = "checkout_events" if "line_items" in body else "cart_events"
        async with session.post(f"{self.url}analytics/{path}", json=body) as reply:
            return reply.status

    def end(self) -> None:
        """Press Ctrl-C."""
        self._process.send_signal(signal.SIGINT)


@asynccontextmanager
async def emulating(
    *options: str, cwd: Path, terminal: int | None = None, token: str = ""
) -> AsyncIterator[Emulating]:
    """Start it on a free port, into a pipe or a terminal of so many columns."""
    output, its_end = os.pipe() if terminal is None else pty.openpty()
    if terminal is not None:
        fcntl.ioctl(its_end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, terminal, 0, 0))
    process = await asyncio.create_subprocess_exec(
        str(ALHENA), "emulate", "--port", "0", *options,
        cwd=cwd, stdout=its_end, stderr=its_end,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "", "ALHENA_EMULATOR_TOKEN": token},
    )  # fmt: skip
    os.close(its_end)
    emulating = Emulating(process, output)
    try:
        told = await emulating.read("Open")
        found = re.search(r"http://\S+", told)
        assert found
        emulating.url = found[0]
        await emulating.read("gone then")
        yield emulating
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        os.close(output)


async def test_each_request_has_its_line(tmp_path: Path) -> None:
    """Recorded, refused, faulted: time, answer, visitor, order, product; nothing steers."""
    hostile = CART | {"product_id": "\x1b[2Jmug\r\n\u202e2", "user_fingerprint": "\x07\x1b[31mjane"}
    async with (
        emulating("--preconditions", "strict", cwd=tmp_path) as emulator,
        aiohttp.ClientSession() as session,
    ):
        for body in (CART, CART | {"type": "ITEM_REMOVED", "product_id": "cup"}, hostile, ORDER):
            await emulator.post(session, body)
        await emulator.post(session, ORDER)
        await emulator.read("ORDER_ALREADY_EXISTS")
        emulator.end()
        await emulator.read("Requests +5")
    told = [line for line in emulator.lines if "POST" in line]
    who = "visitor 550e8400"
    assert [re.sub(r"^\d\d:\d\d:\d\d|\d+ ms", "_", line) for line in told] == [
        f"_ POST cart_events     200  _  {who}  product mug-1",
        f"_ POST cart_events     409  PREVIOUS_ITEM_ADDED_EVENT_NOT_FOUND  _  {who}  product cup",
        "_ POST cart_events     200  _  visitor ja  product mug 2",
        f"_ POST checkout_events 200  _  {who}  order A-1001",
        f"_ POST checkout_events 409  ORDER_ALREADY_EXISTS  _  {who}  order A-1001",
    ]


async def test_a_fault_is_told_by_its_kind(tmp_path: Path) -> None:
    """With the visitor whose request met it, and `---` where no answer came."""
    async with (
        emulating("--fault", "reset=1", cwd=tmp_path) as emulator,
        aiohttp.ClientSession() as session,
    ):
        try:
            await emulator.post(session, CART)
        except aiohttp.ClientError:
            line = await emulator.read("POST")
    assert re.search(r"cart_events     ---  fault reset-\w+  \d+ ms  visitor 550e8400", line)


async def test_quiet_tells_no_request(tmp_path: Path) -> None:
    """The summary at the end is there all the same."""
    async with (
        emulating("--quiet", cwd=tmp_path) as emulator,
        aiohttp.ClientSession() as session,
    ):
        await emulator.post(session, CART)
        emulator.end()
        await emulator.read("Requests +1")
    assert not any("POST" in line for line in emulator.lines)


async def test_a_terminal_gets_one_line_for_each(tmp_path: Path) -> None:
    """What is longer than the terminal is wide is cut, and ends in an ellipsis."""
    async with (
        emulating(cwd=tmp_path, terminal=60) as emulator,
        aiohttp.ClientSession() as session,
    ):
        await emulator.post(session, CART | {"product_id": "long" * 50})
        line = await emulator.read("POST")
    assert (len(line), line[-1]) == (60, "…")


async def test_a_reader_that_stops_does_not_stop_it(tmp_path: Path) -> None:
    """A full pipe costs lines, which are counted, and never an answer."""
    sent = 1_000
    async with emulating(cwd=tmp_path) as emulator, aiohttp.ClientSession() as session:
        async with asyncio.timeout(PATIENCE):
            for _ in range(sent):
                assert await emulator.post(session, CART) == 200
        # Only a line that comes once the pipe has room again can say how many were left out.
        while "not shown" not in await emulator.read("cart_events|not shown"):
            await emulator.post(session, CART)
            sent += 1
        emulator.end()
        await emulator.read(f"Requests +{sent:,}")
    told = sum("POST" in line for line in emulator.lines)
    left_out = re.findall(r"\((\d+) lines? not shown\)", "\n".join(emulator.lines))
    assert told + sum(map(int, left_out)) == sent


def test_an_unreadable_request_has_a_line_too() -> None:
    """No visitor, no product: what is not known is left out."""
    became = Handled(kind=EventKind.CART, record=None, fault=FaultKind.HANG, latency=0.0021)
    assert request_line(became, 0.0)[8:] == " POST cart_events     ---  fault hang  2 ms"


async def test_an_exposed_one_says_so_first_and_wants_the_token(tmp_path: Path) -> None:
    """What it means, where it is, how a client and how a test reaches it."""
    token = "a-token-of-the-tests"
    async with (
        emulating("--expose", "--host", "127.0.0.1", cwd=tmp_path, token=token) as emulator,
        aiohttp.ClientSession() as session,
    ):
        assert emulator.lines[0].startswith("EXPOSED on 127.0.0.1")
        assert emulator.url.endswith(f"/{token}/")
        assert any(f"X-Emulator-Token: {token}" in line for line in emulator.lines)
        assert await emulator.post(session, CART) == 200
        emulator.url = emulator.url.removesuffix(f"{token}/")
        assert await emulator.post(session, CART) == 403
        emulator.end()
        await emulator.read("Requests +1")


async def test_a_token_that_is_no_secret_is_refused(tmp_path: Path) -> None:
    """Before anything is served."""
    done = await alhena("emulate", "--port", "0", "--token", "short", cwd=tmp_path)
    assert done.status == 2
    assert "16 to 128" in done.err
