"""How long the event loop is held up while much is admitted and drained."""

from __future__ import annotations

import asyncio
import time
from functools import partial

from alhena_async import AlhenaClient, Coalescing, HttpPolicy, QueuePolicy, Transport, Visitor
from benchmarks.scenario import Case, Claim, Figures, Measured, Scenario
from benchmarks.shop import Silent, cart, visitors
from benchmarks.sink import Sink
from benchmarks.size import sized

__all__ = ["SCENARIO"]

_EVENTS = sized(10_000)
_WARM = sized(500)


class Probe:
    """Measures every turn of the loop.

    A callback that schedules itself again runs once in each turn; the time between two runs is
    how long anything else that was ready had to wait. Both by the clock, which the machine's
    other work disturbs, and by the CPU time of this thread, which it does not.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._wall: list[float] = []
        self._cpu: list[float] = []
        self._running = True
        self._last = (time.perf_counter(), time.thread_time())
        self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        now = (time.perf_counter(), time.thread_time())
        self._wall.append(now[0] - self._last[0])
        self._cpu.append(now[1] - self._last[1])
        self._last = now
        if self._running:
            self._loop.call_soon(self._turn)

    def stop(self) -> Figures:
        """Return what was seen, in milliseconds."""
        self._running = False
        figures: Figures = {"turns": float(len(self._wall))}
        for clock, turns in (("wall", self._wall), ("cpu", self._cpu)):
            figures[f"{clock}_max_ms"] = max(turns) * 1e3
        return figures


async def _stalls(
    url: str | None = None, http: HttpPolicy | None = None, transport: Transport | None = None
) -> Figures:
    people = visitors(500)
    queue = QueuePolicy(capacity=_EVENTS, checkout_reserve=0.0)
    async with AlhenaClient(
        "bench",
        base_url=url,
        http=http,
        transport=transport,
        queue=queue,
        coalescing=Coalescing.OFF,
    ) as client:
        await _flood(client, people, _WARM)
        began = time.perf_counter()
        for number in range(_EVENTS):
            client.track_nowait(cart(people[number % 500], f"sku-{number}"))
        admitted = time.perf_counter() - began
        probe = Probe()
        await client.flush()
        figures = probe.stop()
        assert client.stats().recorded == _EVENTS + _WARM
    return {**figures, "admission_ms": admitted * 1e3}


async def _flood(client: AlhenaClient, people: list[Visitor], count: int) -> None:
    for number in range(count):
        client.track_nowait(cart(people[number % 500], f"sku-{number}"))
    await client.flush()


async def _to_a_sink(*, tls: bool) -> Figures:
    with Sink(tls=tls) as sink:
        return await _stalls(sink.url, HttpPolicy(ssl=sink.trust))


async def _to_nowhere() -> Figures:
    transport = Silent()
    transport.gate.set()
    return await _stalls(transport=transport)


_AIMS = {
    "over TLS": 3.0,
    "over TLS, uvloop": 3.0,
    "over HTTP": 5.0,
    "by a transport that answers at once": 5.0,
}
"""Case to milliseconds."""


def _claims(measured: Measured) -> list[Claim]:
    return [
        Claim.of_turns(
            f"longest loop stall, {_EVENTS:,} events admitted and drained {case}",
            measured.turns(case, "wall_max_ms"),
            unit="ms",
            at_most=aim,
        )
        for case, aim in _AIMS.items()
        if case in measured
    ]


SCENARIO = Scenario(
    title="Stalls of the event loop",
    how=(
        f"{_EVENTS:,} events are admitted in one go, which is the caller's own time "
        "(`admission`), and drained. Meanwhile a callback that schedules itself again runs once in "
        "each turn of the loop: the time from one run to the next is how long anything else that "
        "is ready has to wait. By the clock, and by the thread's CPU time, which other work on the "
        "machine does not disturb."
    ),
    cases={
        "over TLS": Case(measure=partial(_to_a_sink, tls=True)),
        "over TLS, uvloop": Case(
            measure=partial(_to_a_sink, tls=True), needs=("uvloop",), uvloop=True
        ),
        "over HTTP": Case(measure=partial(_to_a_sink, tls=False)),
        "by a transport that answers at once": Case(measure=_to_nowhere),
    },
    claims=_claims,
    figures={
        "wall_max_ms": "worst, ms",
        "cpu_max_ms": "worst of CPU, ms",
        "turns": "turns",
        "admission_ms": "admission, ms",
    },
)
