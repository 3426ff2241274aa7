"""How many requests folding saves on real shop data, by how long events wait for company."""

from __future__ import annotations

import asyncio
import datetime as dt
import gzip
import json
import uuid
from functools import partial
from pathlib import Path
from typing import Any

from alhena_async import (
    AlhenaClient,
    CartEvent,
    Coalescing,
    Event,
    InvalidEventError,
    QueuePolicy,
    Visitor,
)
from alhena_async.testing import VirtualLoop
from benchmarks.scenario import Case, Claim, Figures, Measured, Scenario
from benchmarks.shop import Silent

__all__ = ["SCENARIO"]

_TRACE = Path(__file__).resolve().parents[3] / "shared" / "data" / "cosmetics_cart.jsonl.gz"
_LINGERS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_ASKED = (0.5, 2.0, 10.0)
_MODES = (Coalescing.DUPLICATES, Coalescing.LATEST, Coalescing.NET)


def _events() -> list[tuple[float, Event]]:
    """Return the trace's cart events with their seconds; those that break a rule are left out."""
    people: dict[str, Visitor] = {}
    events: list[tuple[float, Event]] = []
    with gzip.open(_TRACE, "rt") as lines:
        for line in map(json.loads, lines):
            if line["kind"] != "cart":
                continue
            name = line["visitor"]
            if name not in people:
                people[name] = Visitor(
                    fingerprint=str(uuid.uuid5(uuid.NAMESPACE_OID, name)),
                    faq_fingerprint=str(uuid.uuid5(uuid.NAMESPACE_URL, name)),
                )
            at = dt.datetime.fromisoformat(line["ts"]).timestamp()
            try:
                event = CartEvent(
                    visitor=people[name],
                    type=line["type"],
                    product_id=line["product_id"],
                    product_name=line["product_name"] or line["product_id"],
                    value=line["value"],
                    currency=line["currency"],
                    quantity=line["quantity"],
                )
            except InvalidEventError:
                continue
            events.append((at, event))
    return events


async def _requests(events: list[tuple[float, Event]], mode: Coalescing, linger: float) -> int:
    transport = Silent()
    transport.gate.set()
    queue = QueuePolicy(capacity=len(events), linger=linger, checkout_reserve=0.0)
    loop = asyncio.get_running_loop()
    async with AlhenaClient("bench", transport=transport, queue=queue, coalescing=mode) as client:
        began = events[0][0] - loop.time()
        for at, event in events:
            if at - began > loop.time():
                await asyncio.sleep(at - began - loop.time())
            client.track_nowait(event)
    return client.stats().requests


def _saved(mode: Coalescing) -> Figures:
    events = _events()
    figures: Figures = {"events": float(len(events))}
    for linger in _LINGERS:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            requests = runner.run(_requests(events, mode, linger))
        figures[_figure(linger)] = 100 * (1 - requests / len(events))
    return figures


def _figure(linger: float) -> str:
    return f"saved_at_{linger:g}_s_percent"


def _claims(measured: Measured) -> list[Claim]:
    return [
        Claim(
            what=f"requests saved by `{mode.name}` at a linger of {linger:g} s",
            value=measured.median(mode.name, _figure(linger)),
            unit="%",
        )
        for mode in (Coalescing.LATEST, Coalescing.NET)
        for linger in _ASKED
        if mode.name in measured
    ]


def _draw(measured: Measured, axes: Any) -> None:
    for mode in _MODES:
        if mode.name in measured:
            saved = [measured.median(mode.name, _figure(linger)) for linger in _LINGERS]
            axes.plot(_LINGERS, saved, marker="o", label=mode.name)
    axes.set_xscale("log")
    axes.set_xticks(_LINGERS, [f"{linger:g}" for linger in _LINGERS])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("linger, seconds")
    axes.set_ylabel("requests saved, %")
    axes.set_title("Folding on a cosmetics shop's carts")
    axes.legend(frameon=False)


def _cases() -> dict[str, Case]:
    return {mode.name: Case(measure=partial(_saved, mode), rounds=1) for mode in _MODES}


SCENARIO = Scenario(
    title="Requests saved by coalescing",
    how=(
        "The cart events that a cosmetics shop really saw, at the seconds at which they came, on a "
        "virtual clock. Requests against events. The data is not part of this project: without it "
        "the scenario is skipped."
    ),
    cases=_cases() if _TRACE.exists() else {},
    claims=_claims,
    figures={_figure(linger): f"{linger:g} s" for linger in _LINGERS},
    draw=_draw,
)
