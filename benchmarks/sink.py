"""A fast sink: reads requests off raw sockets and answers each the same, in its own process.

It does as little as HTTP allows, so that whoever sends is what limits the rate, with TLS or
without. The parent starts it with `Sink`, on the other core where there are two; it lives until
its standard input closes, and leaves its counts behind.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import ssl
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from benchmarks.certificates import certificate
from benchmarks.machine import SINK_CORE, pin

_RECORDED = b'{"status":"success","event_type":"CART_EVENT_RECORDED"}'
_TRACKED = b'{"status":1}'  # what Mixpanel's own consumer wants to read


def _reply(status: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


_SUCCESS = _reply("200 OK", _RECORDED)
_MIXPANEL = _reply("200 OK", _TRACKED)
_FAULTS = (_reply("500 Internal Server Error", b"{}"), _reply("502 Bad Gateway", b"{}"), None)
"""What a faulty answer is; None closes the connection without one."""


class _Answering(asyncio.Protocol):
    """One connection, pipelining or not."""

    requests = 0
    connections = 0

    def __init__(self, latency: float, faults: float) -> None:
        self._latency = latency
        self._faults = faults
        self._chance = random.Random(20)
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no child of it
        self._loop = asyncio.get_running_loop()
        _Answering.connections += 1
        self._chance.seed(_Answering.connections)

    def data_received(self, data: bytes) -> None:
        unread = self._unread + data if self._unread else data
        while unread:
            length = _length_of_first(unread)
            if length is None or len(unread) < length:
                break
            self._answer(unread)
            unread = unread[length:]
        self._unread = unread

    def _answer(self, request: bytes) -> None:
        _Answering.requests += 1
        reply: bytes | None = _SUCCESS
        if self._faults and self._chance.random() < self._faults:
            reply = self._chance.choice(_FAULTS)
        elif request.startswith(b"POST /track"):
            reply = _MIXPANEL
        if self._latency:
            self._loop.call_later(self._latency, self._send, reply)
        else:
            self._send(reply)

    def _send(self, reply: bytes | None) -> None:
        if reply is None:
            self._transport.close()
        elif not self._transport.is_closing():
            self._transport.write(reply)


def _length_of_first(unread: bytes) -> int | None:
    """Return how many bytes the first request has, head and body; None if its head is cut."""
    end = unread.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = unread[:end]
    place = head.lower().find(b"\r\ncontent-length:")
    if place < 0:
        return end + 4
    digits = head[place + 17 :].split(b"\r\n", 1)[0]
    return end + 4 + int(digits)


async def _serve(latency: float, faults: float, chain: Path | None) -> None:
    loop = asyncio.get_running_loop()
    tls = _server_side(chain) if chain else None
    server = await loop.create_server(lambda: _Answering(latency, faults), "127.0.0.1", 0, ssl=tls)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()
    counts = {"requests": _Answering.requests, "connections": _Answering.connections}
    print(json.dumps(counts), flush=True)


def _server_side(chain: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return context


class Sink:
    """Runs a sink for as long as the block lasts.

    Args:
        latency: Seconds from a request to its reply.
        faults: The share of requests that meet a 500, a 502 or a closed connection.
        tls: Whether it speaks TLS, with a certificate made for it; meanwhile the environment
            trusts that.
    """

    def __init__(self, *, latency: float = 0.0, faults: float = 0.0, tls: bool = False) -> None:
        self._arguments = ["--latency", str(latency), "--faults", str(faults)]
        self._tls = tls
        self._stack = contextlib.ExitStack()
        self.address = ""
        """Host and port."""
        self.port = 0
        self.trust: ssl.SSLContext | None = None
        """What trusts it; None without TLS."""
        self.counts: dict[str, int] = {}
        """Requests and connections, once the block is left."""

    @property
    def scheme(self) -> str:
        return "https" if self._tls else "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.address}/"

    def __enter__(self) -> Self:
        with self._stack as stack:
            arguments = list(self._arguments)
            if self._tls:
                made = stack.enter_context(certificate())
                self.trust = made.trust
                arguments += ["--chain", str(made.chain)]
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.sink", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            assert self._process.stdout is not None
            self.port = int(self._process.stdout.readline())
            self.address = f"127.0.0.1:{self.port}"
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._stack:
            rest, _ = self._process.communicate(timeout=30)
        if rest:
            self.counts = json.loads(rest)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--faults", type=float, default=0.0)
    parser.add_argument("--chain", type=Path, metavar="PEM", help="speak TLS with it")
    arguments = parser.parse_args()
    pin(SINK_CORE)
    serving = _serve(arguments.latency, arguments.faults, arguments.chain)
    try:
        import uvloop

        uvloop.run(serving)
    except ImportError:
        asyncio.run(serving)
