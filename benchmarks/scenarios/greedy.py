"""What one greedy visitor costs all others."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
from typing import Final

from alhena_async import AlhenaClient, CheckoutEvent, LineItem, QueueFullError, Receipt, Visitor
from benchmarks.scenario import Case, Claim, Figures, Measured, Scenario
from benchmarks.shop import cart, visitors
from benchmarks.sink import Sink

__all__ = ["SCENARIO"]

_SECONDS = 45.0
_LATENCY = 0.05
_GREEDY_PER_SECOND = 250
_HONEST = 200
_CALM, _GREEDY, _WAITING = "nobody greedy", "250 clicks/s", "250 awaited clicks/s"
_BEFORE: Final = {"lost": 215.0, "p99_ms": 15_900.0}
"""Without a lane's share: of 200 carts and 200 orders; and of an order behind 300 waiting calls."""


def _order(visitor: Visitor, number: int) -> CheckoutEvent:
    line = LineItem(product_id="p", product_name="Mug", quantity=1, value=9.5, currency="EUR")
    return CheckoutEvent(
        visitor=visitor, value=9.5, currency="EUR", line_items=[line], order_id=f"order-{number}"
    )


class _Shop:
    """Two hundred honest visitors, each with a click and an order, and perhaps a greedy one."""

    def __init__(self, client: AlhenaClient) -> None:
        self._client = client
        self._receipts: list[Receipt] = []
        self._waits: list[float] = []
        self._people = visitors(_HONEST + 1)

    async def honest(self) -> None:
        """Let one honest visitor after the other come, over all the time."""
        async with asyncio.TaskGroup() as group:
            for number in range(_HONEST):
                group.create_task(self._visit(number))
                await asyncio.sleep(_SECONDS / _HONEST)

    async def _visit(self, number: int) -> None:
        visitor, loop = self._people[number], asyncio.get_running_loop()
        with contextlib.suppress(QueueFullError):
            self._receipts.append(self._client.track_nowait(cart(visitor, "sku-1")))
        began = loop.time()
        self._receipts.append(await self._client.track(_order(visitor, number)))
        self._waits.append(loop.time() - began)

    async def greedy(self, *, waits: bool) -> None:
        """Let one visitor click as fast as a script can, on ever other products."""
        visitor, loop = self._people[_HONEST], asyncio.get_running_loop()
        began, waiting = loop.time(), set[asyncio.Task[Receipt]]()
        for number in range(int(_SECONDS * _GREEDY_PER_SECOND)):
            await asyncio.sleep(max(0.0, began + number / _GREEDY_PER_SECOND - loop.time()))
            event = cart(visitor, f"sku-{number}")
            if waits:
                waiting.add(asyncio.create_task(self._client.track(event)))
                continue
            with contextlib.suppress(QueueFullError):
                self._client.track_nowait(event)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    async def figures(self) -> Figures:
        """Return what became of the honest ones."""
        outcomes = [await receipt for receipt in self._receipts]
        lost = 2 * _HONEST - sum(outcome.ok for outcome in outcomes)
        p99 = statistics.quantiles(self._waits, n=100)[-1]
        return {"lost": float(lost), "p99_ms": p99 * 1e3, "worst_ms": max(self._waits) * 1e3}


async def _measured(*, greedy: bool, waits: bool = False) -> Figures:
    with Sink(latency=_LATENCY) as sink:
        client = AlhenaClient("bench", base_url=sink.url)
        await client.start()
        shop = _Shop(client)
        async with asyncio.TaskGroup() as group:
            group.create_task(shop.honest())
            if greedy:
                group.create_task(shop.greedy(waits=waits))
        figures = await shop.figures()
        await client.close(timeout=0)
    return figures


async def _nobody() -> Figures:
    return await _measured(greedy=False)


async def _clicks() -> Figures:
    return await _measured(greedy=True)


async def _awaited_clicks() -> Figures:
    return await _measured(greedy=True, waits=True)


def _claims(measured: Measured) -> list[Claim]:
    claims = []
    for case in (_GREEDY, _WAITING):
        lost = max(run["lost"] for run in measured.runs[case])
        what = f"honest events lost of 400 beside one visitor's {case}"
        claims.append(Claim(what=what, value=lost, unit="", at_most=0))
        slower = measured.ratios(case, _CALM, "p99_ms")
        what = f"p99 of an honest order's `track` beside {case}, over that without"
        claims.append(Claim.of_turns(what, slower, at_most=2.0))
    return claims


SCENARIO = Scenario(
    title="One greedy visitor",
    how=(
        f"All defaults, an API that answers in {_LATENCY * 1e3:g} ms. In {_SECONDS:g} s "
        f"{_HONEST} visitors come, one after the other, each with a click (`track_nowait`) and an "
        "order (`await track`). Meanwhile one visitor sends 250 clicks a second on ever other "
        "products, by `track_nowait` or each awaited in a request of its own. Lost is what did not "
        "end well. Before there were shares, that cost the others "
        f"{_BEFORE['lost']:g} of 400 events and {_BEFORE['p99_ms'] / 1e3:g} s."
    ),
    cases={
        _CALM: Case(measure=_nobody, rounds=1),
        _GREEDY: Case(measure=_clicks, rounds=1),
        _WAITING: Case(measure=_awaited_clicks, rounds=1),
    },
    claims=_claims,
    figures={
        "lost": "honest events lost, of 400",
        "p99_ms": "p99 of track, ms",
        "worst_ms": "worst, ms",
    },
)
