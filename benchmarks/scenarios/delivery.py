"""Events delivered, one request each, beside what sends the same without us; with TLS too."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import Any

from alhena_async import AlhenaClient, Coalescing, HttpPolicy, QueuePolicy
from benchmarks.loops import LOOPS, Loop, Send
from benchmarks.peers import BATCHING, SENDERS, posthog_loop
from benchmarks.scenario import Case, Claim, Figures, Measured, Ratio, Scenario
from benchmarks.shop import cart, visitors
from benchmarks.sink import Sink
from benchmarks.size import sized

__all__ = ["SCENARIO", "case_name", "ours"]

_OURS = "alhena-async"
_BARE, _TUNED, _RAW = "bare aiohttp", "tuned aiohttp", "raw sockets"
_FAST = (_OURS, _BARE, _TUNED, _RAW)
_AT_ONCE = 32
_CPU = "cpu_us_per_event"


def case_name(who: str, *, tls: bool = False, uvloop: bool = False) -> str:
    """Return the name of who sends, how, and on which loop."""
    return f"{who}{', TLS' if tls else ''}{', uvloop' if uvloop else ''}"


@contextlib.asynccontextmanager
async def ours(sink: Sink, people: list[str], at_once: int) -> AsyncIterator[Send]:
    """Send with our client, started and connected."""
    known = visitors(len(people))
    queue = QueuePolicy(
        capacity=20_000, checkout_reserve=0.0, linger=0.0, flush_at=None, max_in_flight=at_once
    )
    async with AlhenaClient(
        "bench",
        base_url=sink.url,
        queue=queue,
        http=HttpPolicy(ssl=sink.trust),
        coalescing=Coalescing.OFF,
    ) as client:

        async def send(count: int) -> None:
            before = client.stats().recorded
            for number in range(count):
                client.track_nowait(cart(known[number % len(known)], f"sku-{number % 997}"))
            await client.flush()
            assert client.stats().recorded == before + count

        yield send


async def _measure_loop(loop: Loop, count: int, *, tls: bool) -> Figures:
    people = [visitor.fingerprint for visitor in visitors(500)]
    warm = max(count // 8, _AT_ONCE)
    with Sink(tls=tls) as sink:
        async with loop(sink, people, _AT_ONCE) as send:
            await send(warm)  # connects
            figures = await _cost(send, count)
    assert sink.counts["requests"] == count + warm
    return figures


async def _cost(send: Callable[[int], Awaitable[None]], count: int) -> Figures:
    began, spent = time.perf_counter(), time.process_time()
    await send(count)
    return _figures(count, time.perf_counter() - began, time.process_time() - spent)


def _figures(count: int, took: float, spent: float) -> Figures:
    return {"per_second": count / took, _CPU: spent / count * 1e6}


def _measure_peer(name: str, count: int, *, tls: bool) -> Figures:
    with Sink(tls=tls) as sink, SENDERS[name][1](sink) as send:
        send(2 * _AT_ONCE)
        began, spent = time.perf_counter(), time.process_time()
        send(count)
        figures = _figures(count, time.perf_counter() - began, time.process_time() - spent)
    assert sink.counts["requests"] >= count + 2 * _AT_ONCE
    return figures


def _claims(measured: Measured) -> list[Claim]:
    return [*_over_tls(measured), *_over_http(measured)]


def _over_tls(measured: Measured) -> Iterator[Claim]:
    for uvloop in (False, True):
        ours, bare, tuned, raw = (case_name(one, tls=True, uvloop=uvloop) for one in _FAST)
        on = "uvloop" if uvloop else "asyncio"
        if measured.has(ours, bare):
            yield Claim.of_turns(
                f"CPU per event over TLS on {on}, a bare aiohttp loop's against ours",
                measured.ratios(bare, ours, _CPU),
                at_least=2.0,
            )
        if measured.has(ours, tuned):
            yield Claim.of_turns(
                f"CPU per event over TLS on {on}, a hand-tuned aiohttp loop's against ours",
                measured.ratios(tuned, ours, _CPU),
            )
        if measured.has(ours, raw):
            yield Claim.of_turns(
                f"CPU per event over TLS on {on}, ours against raw TLS sockets",
                measured.ratios(ours, raw, _CPU),
                at_most=3.0,
            )


def _over_http(measured: Measured) -> Iterator[Claim]:
    for uvloop in (False, True):
        ours, bare, tuned, _ = (case_name(one, uvloop=uvloop) for one in _FAST)
        on = "uvloop" if uvloop else "asyncio"
        if measured.has(ours, bare):
            yield Claim.of_turns(
                f"delivered/s over HTTP on {on}, against a bare aiohttp loop",
                measured.ratios(ours, bare, "per_second"),
                at_least=1.15,
            )
        if measured.has(ours, tuned):
            yield Claim.of_turns(
                f"delivered/s over HTTP on {on}, against a hand-tuned aiohttp loop",
                measured.ratios(ours, tuned, "per_second"),
                at_least=0.9 if uvloop else 0.95,
            )


def _draw(measured: Measured, axes: Any) -> None:
    """Draw the CPU of an event over TLS, a bar for each loop; threads of the peers count too."""
    names = [name for name in (*_ON_A_LOOP, *SENDERS) if case_name(name, tls=True) in measured]
    bars: dict[str, Any] = {}
    for place, name in enumerate(names):
        for uvloop, shift in ((False, -0.2), (True, 0.2)):
            case = case_name(name, tls=True, uvloop=uvloop)
            if name in SENDERS and not uvloop:
                bars["threads"] = _bar(axes, measured, case, place, "0.7")
            elif case in measured:
                label, colour = ("uvloop", "C2") if uvloop else ("asyncio", "C0")
                bars[label] = _bar(axes, measured, case, place + shift, colour)
    axes.set_yticks(range(len(names)), names)
    axes.get_yticklabels()[0].set_fontweight("bold")
    axes.set_xscale("log")
    axes.set_xlim(left=10)
    axes.invert_yaxis()
    axes.margins(x=0.14, y=0.02)
    axes.set_xlabel("microseconds of CPU per event over TLS, one request each, all threads")
    axes.set_title("Delivering events")
    axes.legend(bars.values(), bars.keys(), frameon=False)
    axes.figure.set_size_inches(8, 1.2 + 0.5 * len(names))


def _bar(axes: Any, measured: Measured, case: str, place: float, colour: str) -> Any:
    turns = [run[_CPU] for run in measured.runs[case]]
    median = measured.median(case, _CPU)
    bar = axes.barh(place, median, 0.38, color=colour)
    right_of_all = (max(median, *turns), place)
    axes.annotate(f"{median:,.0f}", right_of_all, (5, 0), textcoords="offset points", va="center")
    axes.plot(turns, [place] * len(turns), "|", color="black", markersize=6, alpha=0.6)
    return bar


_ON_A_LOOP: dict[str, tuple[Loop, int, int, tuple[str, ...]]] = {
    _OURS: (ours, sized(4_000), 5, ()),
    _BARE: (LOOPS[_BARE], sized(4_000), 5, ()),
    _TUNED: (LOOPS[_TUNED], sized(4_000), 5, ()),
    _RAW: (LOOPS[_RAW], sized(4_000), 5, ()),
    "httpx": (LOOPS["httpx"], sized(400), 2, ("httpx",)),
    "AsyncPosthog": (posthog_loop, sized(400), 2, ("posthog", "httpx")),
}
"""Name to what sends, how many events, how many turns, and what must be installed."""


def _cases() -> dict[str, Case]:
    cases: dict[str, Case] = {}
    for tls in (True, False):
        for uvloop in (False, True):
            for name, (loop, count, rounds, needs) in _ON_A_LOOP.items():
                cases[case_name(name, tls=tls, uvloop=uvloop)] = Case(
                    measure=partial(_measure_loop, loop, count, tls=tls),
                    rounds=rounds,
                    needs=(*needs, "uvloop") if uvloop else needs,
                    uvloop=uvloop,
                )
        for name, (need, _) in SENDERS.items():
            cases[case_name(name, tls=tls)] = Case(
                measure=partial(_measure_peer, name, sized(400), tls=tls), rounds=2, needs=(need,)
            )
    return cases


def _same_way(case: str) -> str:
    """Return our own case with the same scheme, on the same loop."""
    return case_name(_OURS, tls=", TLS" in case, uvloop=", uvloop" in case)


SCENARIO = Scenario(
    title="Delivery",
    how=(
        "A sink in a process of its own, on the other core, answers at once, over TLS (1.3, with a "
        "certificate made for the run) or plain; 32 requests at a time over connections made "
        "before, and no coalescing. CPU is user and system time of the sending process, with all "
        "its threads. Ours is measured from the first `CartEvent(...)` to the end of `flush`. The "
        "loops build the same fields and send them from 32 tasks, without a queue, an order, a "
        "retry or an outcome: `bare` as aiohttp's first page shows it (`json=`, "
        "`await response.json()`), `tuned` with everything that its public API offers. "
        "`raw sockets` parses nothing and is the floor, not a client. The peers send one request "
        "per event from as many threads or tasks as they allow. The claims are medians of the "
        "ratios, turn by turn, with the least and the most of them."
    ),
    cases=_cases(),
    claims=_claims,
    figures={"per_second": "events/s", _CPU: "CPU us per event"},
    ratio=Ratio(heading="CPU against ours", figure=_CPU, reference=_same_way),
    cannot=BATCHING,
    draw=_draw,
)
