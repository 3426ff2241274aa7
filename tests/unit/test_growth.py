"""What a call costs does not grow with what waits: steps counted, no time taken.

A step is a line of the package's own code that is run, or a call into C that it makes. In every
mode, and under every shape of load that a hostile visitor can make, `n` calls on a queue of `n`
events cost no more steps each than ten times as many on a queue ten times as long.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final

import attrs
import pytest

import alhena_async
from alhena_async import (
    AlhenaClient,
    BreakerPolicy,
    Coalescing,
    Event,
    Overflow,
    QueueFullError,
    QueuePolicy,
    RetryPolicy,
)
from alhena_async.testing import run_virtually
from tests.scripted import HANG, Script, cart, checkout, client_over, status

FEW, MANY = 50, 500
PACKAGE = str(Path(alhena_async.__file__).parent)


class Steps:
    """Counts steps of the package's own code while it is on."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> None:
        sys.settrace(self._trace)
        sys.setprofile(self._profile)

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self._line if frame.f_code.co_filename.startswith(PACKAGE) else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        self.count += event == "line"
        return self._line

    def _profile(self, frame: FrameType, event: str, argument: Any) -> None:
        self.count += event == "c_call" and frame.f_code.co_filename.startswith(PACKAGE)


@attrs.frozen
class Load:
    """A shape of load: what fills the queue with `n` events, and what comes then, call by call."""

    fill: Callable[[int], Event]
    act: Callable[[int], Event]
    capacity: Callable[[int], int] = lambda n: 20 * n
    lane_capacity: Callable[[int], int] = lambda n: 20 * n
    is_down: bool = False
    """Every event that waits has been tried, and is in backoff."""


def click(number: int, *, who: str = "v", product: str = "mug") -> Event:
    """One product is changed again and again, up and down in turn."""
    kind = ("QUANTITY_INCREASED", "QUANTITY_DECREASED")[number % 2]
    return cart(who, product=product, type=kind, quantity=number + 1)


def pair(number: int, product: str) -> Event:
    """It is added and removed again, in turn."""
    if number % 2:
        return cart(product=product, type="ITEM_REMOVED", quantity=0)
    return cart(product=product)


def products(number: int) -> Event:
    return cart(product=f"p{number}")


def visitors(number: int) -> Event:
    return cart(f"v{number}")


def newcomers(number: int) -> Event:
    return cart(f"w{number}", product="hat")


def orders(number: int) -> Event:
    return checkout(order_id=f"o{number}")


def full(n: int) -> int:
    return n


LOADS: Final[dict[str, Load]] = {
    "one lane of ever other products": Load(products, lambda i: cart(product=f"q{i}")),
    "one product that grows": Load(
        products, lambda i: cart(product="x", type="QUANTITY_INCREASED", quantity=i + 1)
    ),
    "one product up and down": Load(products, lambda i: click(i, product="x")),
    "one product added and removed": Load(products, lambda i: pair(i, "x")),
    "one product removed and added": Load(products, lambda i: pair(i + 1, "x")),
    "ever other products added and removed": Load(products, lambda i: pair(i, f"x{i // 2}")),
    "two products in turn behind an order": Load(
        lambda i: orders(i) if i % 2 else products(i), lambda i: pair(i // 2, f"x{i % 2}")
    ),
    "one order again and again": Load(orders, lambda _: checkout(order_id="same")),
    "ever other orders": Load(orders, lambda i: checkout(order_id=f"p{i}")),
    "ever other visitors": Load(visitors, newcomers),
    "a full lane of products": Load(products, lambda i: cart(product=f"q{i}"), lane_capacity=full),
    "a full lane of one product": Load(click, lambda i: click(i + 1), lane_capacity=full),
    "a full lane of orders": Load(orders, products, lane_capacity=full),
    "a full queue of one lane": Load(products, newcomers, capacity=full),
    "a full queue of orders and a few carts": Load(
        lambda i: visitors(i) if i % 10 == 9 else checkout(f"v{i}"), newcomers, capacity=full
    ),
    "a full queue of many lanes": Load(visitors, newcomers, capacity=full),
    "a full queue in backoff": Load(visitors, newcomers, capacity=full, is_down=True),
}
MODES = list(itertools.product(Overflow, Coalescing))


async def _filled(load: Load, n: int, overflow: Overflow, coalescing: Coalescing) -> AlhenaClient:
    policy = QueuePolicy(
        capacity=load.capacity(n),
        lane_capacity=load.lane_capacity(n),
        checkout_reserve=0.0,
        linger=0.0 if load.is_down else 1e3,
        flush_at=None,
        overflow=overflow,
    )
    never = BreakerPolicy(min_calls=10**9)
    retry = RetryPolicy(base=3e5, cap=3e5, cart_delivery_timeout=1e6, breaker=never)
    transport = Script(otherwise=status(500) if load.is_down else HANG)
    client = client_over(transport, queue=policy, retry=retry, coalescing=coalescing)
    await client.start()
    for number in range(n):
        client.track_nowait(load.fill(number))
    if load.is_down:
        await asyncio.sleep(1.0)
        assert client.stats().in_flight == n
    return client


async def _cost(load: Load, n: int, overflow: Overflow, coalescing: Coalescing) -> float:
    """Return how many steps a call takes, on the average of as many calls as events wait."""
    client = await _filled(load, n, overflow, coalescing)
    events = [load.act(number) for number in range(n)]
    steps = Steps()
    for event in events:
        with contextlib.suppress(QueueFullError), steps:
            client.track_nowait(event)
    await client.close(timeout=0)
    return steps.count / n


@contextlib.contextmanager
def _untraced() -> Iterator[None]:
    """Put aside what else may trace, such as a measurement of coverage."""
    traced, profiled = sys.gettrace(), sys.getprofile()
    try:
        yield
    finally:
        sys.settrace(traced)
        sys.setprofile(profiled)


@pytest.mark.parametrize("shape", LOADS)
@pytest.mark.parametrize(("overflow", "coalescing"), MODES)
def test_a_call_costs_the_same_however_much_waits(
    shape: str, overflow: Overflow, coalescing: Coalescing
) -> None:
    """Constant, or as good as: walks through what waits would be ten times as long."""
    load = LOADS[shape]
    with _untraced():
        few = run_virtually(lambda: _cost(load, FEW, overflow, coalescing))
        many = run_virtually(lambda: _cost(load, MANY, overflow, coalescing))
    assert many <= 1.3 * few + 10, f"{few:.0f} steps with {FEW} events, {many:.0f} with {MANY}"


async def _waiting_cost(n: int, *, lanes: bool) -> float:
    """Let `n` callers wait, of as many visitors or of one; then let half of them go away."""
    policy = QueuePolicy(capacity=1 if lanes else 20 * n, lane_capacity=1, linger=100.0)
    steps = Steps()
    async with client_over(Script(HANG), queue=policy) as client:
        for _ in range(1 if lanes else 2):
            client.track_nowait(cart("v0"))
            await asyncio.sleep(1)  # the first is under way then
        tasks = []
        for number in range(n):
            event = cart(f"v{number}" if lanes else "v0", product=f"p{number}")
            with steps:
                task = asyncio.create_task(client.track(event))
                await asyncio.sleep(0)
            tasks.append(task)
        for task in tasks[::2]:
            task.cancel()
            with steps:
                await asyncio.sleep(0)
                await asyncio.sleep(0)
        with pytest.raises(QueueFullError), steps:
            client.track_nowait(cart("v0", product="late"))
        await client.close(timeout=0)
    await asyncio.gather(*tasks, return_exceptions=True)
    return steps.count / n


@pytest.mark.parametrize("lanes", [False, True], ids=["one lane", "many lanes"])
def test_a_caller_that_waits_costs_the_same_however_many_wait(lanes: bool) -> None:
    """Whoever begins to wait, and whoever goes away again."""
    with _untraced():
        few = run_virtually(lambda: _waiting_cost(FEW, lanes=lanes))
        many = run_virtually(lambda: _waiting_cost(MANY, lanes=lanes))
    assert many <= 1.3 * few + 10, f"{few:.0f} steps with {FEW} callers, {many:.0f} with {MANY}"
