"""What tracking costs a request: one FastAPI handler under real uvicorn, with it and without.

    python benchmarks/handler.py [--broker] [ROUNDS] [REQUESTS]

Four servers in processes of their own: without tracking, with it while the API answers, with it
while nothing listens where the API should be, and with a handler that waits for the journal's disk.
One visitor asks them in turns, in random order and at a steady pace, over kept-alive connections:
what else runs on the machine meets all of them alike. Figures are medians over the rounds. Every
request tracks an event that nothing folds with. `--broker` adds one that publishes to NATS.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from fastapi import FastAPI

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a file

from alhena_async import CartEvent, Visitor
from alhena_async.integrations.fastapi import (
    ClientDep,
    VisitorDep,
    VisitorMiddleware,
    alhena_lifespan,
)
from alhena_async.relay import Publisher
from benchmarks.broker import serving

_PACE = 200.0  # requests a second and server: a worker of a busy shop
_BASE = "no tracking"
_REPLY = b'{"status":"success","event_type":"CART_EVENT_RECORDED"}'


def plain() -> FastAPI:
    """The shop before anyone thought of tracking."""
    app = FastAPI()

    @app.post("/cart/{sku}")
    async def add(sku: str) -> dict[str, str]:
        return {"added": sku}

    return app


def tracked() -> FastAPI:
    """The same with the lines from the documentation."""
    return _tracking(_shop_with_alhena())


def _tracking(app: FastAPI) -> FastAPI:
    app.add_middleware(VisitorMiddleware)

    @app.post("/cart/{sku}")
    async def add(sku: str, alhena: ClientDep, visitor: VisitorDep) -> dict[str, str]:
        if visitor:
            with alhena.reporting():
                alhena.track_nowait(_added(sku, visitor))
        return {"added": sku}

    return app


def published() -> FastAPI:
    """The same with a broker where the API was."""
    return _tracking(FastAPI(lifespan=alhena_lifespan(client=Publisher.from_env, drain_timeout=0)))


def durable() -> FastAPI:
    """The same, but it answers once the event is on disk."""
    app = _shop_with_alhena()
    app.add_middleware(VisitorMiddleware)

    @app.post("/cart/{sku}")
    async def add(sku: str, alhena: ClientDep, visitor: VisitorDep) -> dict[str, str]:
        if visitor:
            with alhena.reporting():
                await alhena.track(_added(sku, visitor))
        return {"added": sku}

    return app


def _shop_with_alhena() -> FastAPI:
    return FastAPI(lifespan=alhena_lifespan(drain_timeout=0))


def _added(sku: str, visitor: Visitor) -> CartEvent:
    return CartEvent.for_change(
        visitor, before=0, after=1, product_id=sku, product_name="Mug", value=9.5, currency="EUR"
    )


class _Api(asyncio.Protocol):
    """Answers each request at once, at next to no cost: the real one runs on another machine."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        for _ in range(data.count(b"POST /")):
            self._transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (len(_REPLY), _REPLY)
            )


async def _serve_api() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Api, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(f"http://127.0.0.1:{port}", flush=True)
    await server.serve_forever()


@contextlib.contextmanager
def _process(*command: str, **settings: str) -> Iterator[int]:
    """Run Python with these arguments; give the port that it says it serves."""
    environment = {**os.environ, "ALHENA_COMPANY_KEY": "shop", **settings}
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=Path(__file__).parent,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                yield int(found[1])
                return
        raise RuntimeError(f"{command} ended before it served")
    finally:
        process.terminate()
        process.communicate()


def api_in_a_process() -> contextlib.AbstractContextManager[int]:
    """Run the API in a process of its own; give its port."""
    return _process(__file__, "api")


def _shop(application: str, **settings: str) -> contextlib.AbstractContextManager[int]:
    server = ("-m", "uvicorn", "--factory", f"handler:{application}", "--port", "0")
    return _process(*server, "--no-access-log", "--timeout-keep-alive", "600", **settings)


class _Visitor:
    """Asks a shop over one kept-alive connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._asked = 0

    def ask(self) -> float:
        """Add a product, and return the seconds until the whole reply was there."""
        self._asked += 1
        claim = f"{uuid.uuid4()}:{uuid.uuid4()}"
        request = (
            f"POST /cart/sku-{self._asked} HTTP/1.1\r\nHost: shop\r\nContent-Length: 0\r\n"
            f"Cookie: theme=dark; alhena_visitor={claim}; cart=7f3a\r\n"
            "User-Agent: benchmark\r\nAccept: */*\r\n\r\n"
        ).encode()
        began = time.perf_counter()
        self._socket.sendall(request)
        reply = b""
        while not reply.endswith(b"}"):
            part = self._socket.recv(65_536)
            if not part:
                raise ConnectionError("the shop closed the connection")
            reply += part
        took = time.perf_counter() - began
        assert reply.startswith(b"HTTP/1.1 200"), reply
        return took


def _round(visitors: dict[str, _Visitor], requests: int) -> dict[str, tuple[float, float]]:
    """Return p50 and p99 of each server's requests, in seconds."""
    times: dict[str, list[float]] = {name: [] for name in visitors}
    due = time.perf_counter()
    for _ in range(requests):
        for name in random.sample(list(visitors), len(visitors)):
            due += 1 / (_PACE * len(visitors))
            time.sleep(max(0.0, due - time.perf_counter()))
            times[name].append(visitors[name].ask())
    cuts = {name: statistics.quantiles(taken, n=100) for name, taken in times.items()}
    return {name: (of[49], of[98]) for name, of in cuts.items()}


def main(rounds: int, requests: int, *, has_broker: bool = False) -> None:
    """Measure, and print a table."""
    with contextlib.ExitStack() as stack:
        api = stack.enter_context(api_in_a_process())
        unused = stack.enter_context(socket.socket())  # bound, and nothing listens on it
        unused.bind(("127.0.0.1", 0))
        dead = unused.getsockname()[1]
        journal = stack.enter_context(tempfile.TemporaryDirectory(dir=Path.cwd()))  # no RAM disk
        ports = {
            _BASE: stack.enter_context(_shop("plain")),
            "tracking, API up": stack.enter_context(
                _shop("tracked", ALHENA_BASE_URL=f"http://127.0.0.1:{api}/")
            ),
            "tracking, API dead": stack.enter_context(
                _shop("tracked", ALHENA_BASE_URL=f"http://127.0.0.1:{dead}/")
            ),
            "`await track`, journal, API up": stack.enter_context(
                _shop(
                    "durable",
                    ALHENA_BASE_URL=f"http://127.0.0.1:{api}/",
                    ALHENA_JOURNAL=f"{journal}/alhena",
                )
            ),
        }
        if has_broker:
            broker = stack.enter_context(serving(f"http://127.0.0.1:{api}/"))
            ports["tracking, Publisher"] = stack.enter_context(
                _shop("published", ALHENA_BROKER=broker.url)
            )
        visitors = {name: _Visitor(port) for name, port in ports.items()}
        _round(visitors, 200)  # warm
        _print_table([_round(visitors, requests) for _ in range(rounds)])


def _print_table(rounds: list[dict[str, tuple[float, float]]]) -> None:
    print("| one request, ms | p50 | more | p99 | more |\n|---|---|---|---|---|")
    for name in rounds[0]:
        cells: list[str] = []
        for which in (0, 1):
            own = statistics.median(found[name][which] for found in rounds)
            more = statistics.median(found[name][which] - found[_BASE][which] for found in rounds)
            cells += [f"{own * 1e3:.2f}", "" if name == _BASE else f"{more * 1e3:+.2f}"]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    if sys.argv[1:] == ["api"]:
        asyncio.run(_serve_api())
    else:
        given = [int(argument) for argument in sys.argv[1:] if argument != "--broker"]
        main(*(given or [7, 1_000]), has_broker="--broker" in sys.argv)
