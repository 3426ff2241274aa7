"""The timeouts: `asyncio.timeout_at` for many at once, on one timer."""

import asyncio
import contextvars
import time
from collections.abc import Callable

import pytest

from alhena_async._delivery.timers import AttemptTimeout, AttemptTimeouts
from alhena_async.testing import VirtualLoop, virtual


def make() -> AttemptTimeouts:
    return AttemptTimeouts(contextvars.copy_context())


def timers() -> int:
    """How many timers the loop still holds."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return sum(not timer.cancelled() for timer in loop._scheduled)  # type: ignore[attr-defined]


async def ends_at(timeouts: AttemptTimeouts, until: float, work: float) -> tuple[str, float]:
    loop = asyncio.get_running_loop()
    try:
        with timeouts.of_this_task(until):
            await asyncio.sleep(work)
    except TimeoutError:
        return "late", loop.time()
    return "done", loop.time()


@virtual
async def test_each_ends_at_its_own_deadline() -> None:
    """Whatever the order in which they began, and whoever is done before."""
    timeouts = make()
    ends = await asyncio.gather(
        ends_at(timeouts, 9.0, 100.0),
        ends_at(timeouts, 3.0, 100.0),
        ends_at(timeouts, 5.0, 1.0),
        ends_at(timeouts, 3.0, 100.0),
        ends_at(timeouts, 30.0, 20.0),
    )
    assert list(ends) == [
        ("late", 9.0),
        ("late", 3.0),
        ("done", 1.0),
        ("late", 3.0),
        ("done", 20.0),
    ]


@virtual
async def test_a_deadline_that_is_past_ends_it_at_once() -> None:
    """As soon as it waits for anything."""
    await asyncio.sleep(5.0)
    assert await ends_at(make(), 1.0, 100.0) == ("late", 5.0)


@virtual
async def test_one_timer_serves_all_and_none_is_left() -> None:
    """A forgotten client is kept alive by no timer."""
    timeouts = make()
    stays = [asyncio.create_task(ends_at(timeouts, 10.0 + n, 2.0)) for n in range(50)]
    await asyncio.sleep(1.0)
    assert timers() == 50 + 1  # the sleeps, and ours
    await asyncio.gather(*stays)
    timeouts.rest()
    assert timers() == 0


@virtual
async def test_a_cancellation_is_no_timeout() -> None:
    """It ends what it is meant for, long before the time is over."""
    task = asyncio.create_task(ends_at(make(), 10.0, 100.0))
    await asyncio.sleep(1.0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("is_first", [True, False])
@virtual
async def test_a_cancellation_in_the_turn_of_a_timeout_is_heard(
    monkeypatch: pytest.MonkeyPatch, is_first: bool
) -> None:
    """Whichever of the two comes first, before the task gets its turn."""
    expire = AttemptTimeout.expire

    def with_another(timeout: AttemptTimeout) -> None:
        order: list[Callable[[], object]] = [lambda: expire(timeout), task.cancel]
        for cancel in reversed(order) if is_first else order:
            cancel()

    monkeypatch.setattr(AttemptTimeout, "expire", with_another)
    task = asyncio.create_task(ends_at(make(), 10.0, 100.0))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelling() == 1  # ours is taken back, the other one stands


@virtual
async def test_work_that_swallows_the_call_leaves_no_cancellation_behind() -> None:
    """The task goes on as if it had not been called off."""
    timeouts = make()
    with timeouts.of_this_task(1.0):
        try:
            await asyncio.sleep(5.0)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@pytest.mark.parametrize("turns", [1, 2, 3])
async def test_a_reply_that_is_there_is_read_before_a_late_timeout(turns: int) -> None:
    """The loop stood still: what came meanwhile is no fault of who sent it."""
    timeouts = make()
    loop = asyncio.get_running_loop()
    reply = loop.create_future()

    def arrive(left: int) -> None:
        if left > 1:
            loop.call_soon(arrive, left - 1)
        else:
            reply.set_result("there")

    async def wait() -> str:
        with timeouts.of_this_task(loop.time() + 0.01):
            return str(await reply)

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    loop.call_soon(arrive, turns)
    time.sleep(0.05)  # noqa: ASYNC251  stands still
    assert await waiting == "there"
