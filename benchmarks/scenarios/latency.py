"""How near to `max_in_flight / latency` the client comes when the API's latency rules."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from alhena_async import AlhenaClient, Coalescing, HttpPolicy, QueuePolicy
from benchmarks.loops import post_all, raw_post
from benchmarks.scenario import Case, Claim, Figures, Measured, Scenario
from benchmarks.shop import cart, visitors
from benchmarks.sink import Sink
from benchmarks.size import sized

__all__ = ["SCENARIO"]

_AT_ONCE = 32
_PLAN = {0.01: sized(6_400), 0.1: sized(1_280), 1.0: sized(160)}
"""Seconds of latency, and how many events are sent: whole rounds of 32."""
_AIMS = {0.01: 0.97, 0.1: 0.95, 1.0: 0.95}
_SHORTEST = min(_PLAN)
_BODY_BYTES = 300


def _figures(latency: float, per_second: float) -> Figures:
    return {"per_second": per_second, "of_the_possible": per_second / (_AT_ONCE / latency)}


async def _rate(latency: float, count: int, *, tls: bool = False) -> Figures:
    people = visitors(500)
    queue = QueuePolicy(
        capacity=count, checkout_reserve=0.0, linger=0.0, flush_at=None, max_in_flight=_AT_ONCE
    )
    with Sink(latency=latency, tls=tls) as sink:
        async with AlhenaClient(
            "bench",
            base_url=sink.url,
            queue=queue,
            http=HttpPolicy(ssl=sink.trust),
            coalescing=Coalescing.OFF,
        ) as client:
            for number in range(_AT_ONCE):  # connects
                client.track_nowait(cart(people[number], "sku"))
            await client.flush()
            began = time.perf_counter()
            for number in range(count):
                client.track_nowait(cart(people[number % 500], f"sku-{number}"))
            await client.flush()
            took = time.perf_counter() - began
            assert client.stats().recorded == count + _AT_ONCE
    return _figures(latency, count / took)


async def _raw_rate(latency: float, count: int, *, tls: bool = False) -> Figures:
    body = b"x" * _BODY_BYTES
    with Sink(latency=latency, tls=tls) as sink:
        async with raw_post(sink, _AT_ONCE) as post:
            began = time.perf_counter()
            await post_all(post, body, _AT_ONCE, count)
            took = time.perf_counter() - began
    return _figures(latency, count / took)


def _name(latency: float, *, tls: bool = False, raw: bool = False) -> str:
    return f"{latency * 1e3:g} ms{', TLS' if tls else ''}{', raw sockets' if raw else ''}"


def _claims(measured: Measured) -> list[Claim]:
    against = "of `max_in_flight / latency`"
    aims: dict[str, float | None] = {_name(latency): aim for latency, aim in _AIMS.items()}
    aims[_name(_SHORTEST, tls=True)] = _AIMS[_SHORTEST]
    for raw in (_name(_SHORTEST, raw=True), _name(_SHORTEST, tls=True, raw=True)):
        aims[raw] = None
    return [
        Claim.of_turns(
            f"{case}: delivered/s {against}",
            measured.turns(case, "of_the_possible"),
            at_least=aim,
        )
        for case, aim in aims.items()
        if case in measured
    ]


def _draw(measured: Measured, axes: Any) -> None:
    names = [_name(latency) for latency in _PLAN]
    possible = [_AT_ONCE / latency for latency in _PLAN]
    rates = [measured.median(name, "per_second") for name in names]
    places = range(len(names))
    axes.bar([place - 0.2 for place in places], possible, 0.4, color="0.8", label="possible")
    bars = axes.bar([place + 0.2 for place in places], rates, 0.4, color="C1", label="measured")
    axes.bar_label(bars, labels=[f"{rate:,.0f}" for rate in rates], padding=3)
    axes.set_xticks(list(places), names)
    axes.set_yscale("log")
    axes.margins(y=0.15)
    axes.set_ylabel("events per second")
    axes.set_xlabel("latency of the API")
    axes.set_title("When the API's latency rules")
    axes.legend(frameon=False)


SCENARIO = Scenario(
    title="Latency of the API",
    how=(
        "32 requests at once to a sink that answers after so long, over connections made before, "
        "with TLS and without. At 10 ms, raw sockets that parse nothing tell how much of the "
        "possible this machine's timers and wake-ups leave to anybody."
    ),
    cases={
        **{
            _name(latency): Case(
                measure=partial(_rate, latency, count), rounds=3 if latency < 1 else 1
            )
            for latency, count in _PLAN.items()
        },
        **{
            _name(_SHORTEST, tls=tls, raw=raw): Case(
                measure=partial(measure, _SHORTEST, _PLAN[_SHORTEST], tls=tls), rounds=3
            )
            for measure, raw, tls in (
                (_rate, False, True),
                (_raw_rate, True, False),
                (_raw_rate, True, True),
            )
        },
    },
    claims=_claims,
    figures={"per_second": "events/s", "of_the_possible": "of 32 / latency"},
    draw=_draw,
)
