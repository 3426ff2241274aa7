"""How long an event takes from `track_nowait` to the kernel when nothing else is going on."""

from __future__ import annotations

import asyncio
import socket
import statistics
import time
from contextlib import AbstractContextManager
from functools import partial
from typing import Any
from unittest import mock

import aiohttp

from alhena_async import AlhenaClient, HttpPolicy, QueuePolicy
from benchmarks.scenario import Case, Claim, Figures, Measured, Scenario
from benchmarks.shop import cart, visitors
from benchmarks.sink import Sink
from benchmarks.size import sized

__all__ = ["SCENARIO"]

_EVENTS = sized(600)
_WARM = sized(100, least=8)
_PAUSE = 0.003  # seconds in which the loop has nothing to do
_AIMS = {"p50_us": 150.0, "p99_us": 1_000.0}


class _Noting(socket.socket):
    """A socket that notes when it has handed bytes to the kernel."""

    sent_at = 0.0

    def send(self, data: Any, flags: int = 0, /) -> int:
        sent = super().send(data, flags)
        _Noting.sent_at = time.perf_counter()
        return sent


def _noting_sockets() -> AbstractContextManager[object]:
    """Have every connector make such sockets; one that is given would be pooled another way."""
    make = partial(aiohttp.TCPConnector, socket_factory=lambda info: _Noting(*info[:3]))
    return mock.patch.object(aiohttp, "TCPConnector", make)


async def _measure(*, tls: bool) -> Figures:
    with Sink(tls=tls) as sink, _noting_sockets():
        http = HttpPolicy(ssl=sink.trust)
        queue = QueuePolicy(linger=0.0, flush_at=None)
        async with AlhenaClient("bench", base_url=sink.url, http=http, queue=queue) as client:
            await _taken(client, _WARM)
            taken = await _taken(client, _EVENTS)
    cuts = statistics.quantiles(taken, n=100)
    return {"p50_us": cuts[49] * 1e6, "p99_us": cuts[98] * 1e6}


async def _taken(client: AlhenaClient, count: int) -> list[float]:
    """Return the seconds of each event, one at a time, every one of them after a rest."""
    [visitor] = visitors(1)
    taken = []
    for number in range(count):
        event = cart(visitor, f"sku-{number}")
        await asyncio.sleep(_PAUSE)
        began = time.perf_counter()
        outcome = await client.track_nowait(event)
        assert outcome.ok
        assert _Noting.sent_at > began
        taken.append(_Noting.sent_at - began)
    return taken


def _claims(measured: Measured) -> list[Claim]:
    return [
        Claim.of_turns(
            f"`track_nowait` to bytes on the wire, idle, {case}, {figure.removesuffix('_us')}",
            measured.turns(case, figure),
            unit="us",
            at_most=aim,
        )
        for case in ("TLS", "plain")
        if case in measured
        for figure, aim in _AIMS.items()
    ]


SCENARIO = Scenario(
    title="From `track_nowait` to the wire",
    how=(
        f"A linger of 0, and {_EVENTS:,} events, each after {_PAUSE * 1e3:g} ms in which the loop "
        "had nothing to do, over a connection that is there. From the call until the socket's "
        "`send` has returned: wake-up, turn, encoding, TLS and the write. On asyncio, since "
        "uvloop's sockets cannot be looked into."
    ),
    cases={
        "TLS": Case(measure=partial(_measure, tls=True), rounds=3),
        "plain": Case(measure=partial(_measure, tls=False), rounds=3),
    },
    claims=_claims,
    figures={"p50_us": "p50, us", "p99_us": "p99, us"},
)
