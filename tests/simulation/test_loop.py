"""The virtual loop keeps asyncio's promises; the seed decides only what asyncio leaves open."""

from __future__ import annotations

import asyncio

import pytest

from tests.simulation.loop import Deadlock, new_loop


def test_time_passes_only_when_there_is_nothing_to_do() -> None:
    """An hour's sleep takes exactly an hour of the loop's time, and none of ours."""

    async def sleep() -> float:
        await asyncio.sleep(3600.0)
        return asyncio.get_running_loop().time()

    assert new_loop().run_until_complete(sleep()) == 3600.0


def test_callbacks_run_in_the_order_in_which_they_were_called() -> None:
    """`call_soon` is first in, first out, whatever the seed."""
    seen: list[int] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for number in range(100):
            loop.call_soon(seen.append, number)
        await asyncio.sleep(0)

    for seed in range(3):
        seen.clear()
        new_loop(seed).run_until_complete(main())
        assert seen == list(range(100))


def test_timers_fire_in_the_order_of_their_times() -> None:
    """A timer that is due earlier fires earlier, in whatever order they were set."""
    seen: list[float] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for delay in (3.0, 1.0, 2.0):
            loop.call_later(delay, seen.append, delay)
        await asyncio.sleep(4.0)

    new_loop().run_until_complete(main())
    assert seen == [1.0, 2.0, 3.0]


def _order_of_ties(seed: int) -> list[int]:
    seen: list[int] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for number in range(20):
            loop.call_at(1.0, seen.append, number)
        await asyncio.sleep(2.0)

    new_loop(seed).run_until_complete(main())
    return seen


def test_the_seed_decides_the_order_of_timers_that_are_due_together() -> None:
    """Nobody promises an order among equal times: seeds differ, one seed does not."""
    assert _order_of_ties(1) == _order_of_ties(1)
    assert _order_of_ties(1) != _order_of_ties(2)
    assert sorted(_order_of_ties(1)) == list(range(20))


def test_a_cancelled_timer_does_not_fire_and_does_not_move_the_clock() -> None:
    """Whoever is called off is forgotten."""
    seen: list[int] = []

    async def main() -> float:
        loop = asyncio.get_running_loop()
        loop.call_later(5.0, seen.append, 1).cancel()
        await asyncio.sleep(1.0)
        return loop.time()

    assert new_loop().run_until_complete(main()) == 1.0
    assert seen == []


def test_timeouts_and_cancellations_are_asyncio_s_own() -> None:
    """`asyncio.timeout` ends a wait at its time, and `cancel` ends it at once."""

    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.5):
                await loop.create_future()
        task = loop.create_task(asyncio.sleep(100.0))
        loop.call_later(1.0, task.cancel)
        await asyncio.wait({task})
        return [loop.time()]

    assert new_loop().run_until_complete(main()) == [3.5]


def test_a_deadlock_is_told_and_not_waited_for() -> None:
    """Nothing ready and no timer: nobody can ever wake the program again."""

    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    loop = new_loop()
    with pytest.raises(Deadlock, match="nothing can happen"):
        loop.run_until_complete(main())


def test_an_exception_that_nobody_fetches_is_kept() -> None:
    """What asyncio would only log is a finding."""

    async def main() -> None:
        asyncio.get_running_loop().call_exception_handler({"message": "lost"})

    loop = new_loop()
    loop.run_until_complete(main())
    assert loop.failures == [{"message": "lost"}]
