"""A process that is stopped gets no turns while time runs; one that is killed gets none again."""

from __future__ import annotations

import asyncio

import pytest

from tests.simulation.relay.processes import Killed, Process, new_loop


async def ticks(seen: list[float]) -> None:
    while True:
        await asyncio.sleep(1.0)
        seen.append(asyncio.get_running_loop().time())


def test_what_became_due_while_it_stood_still_comes_late() -> None:
    """And the clock has moved; whatever is not of it goes on."""
    mine: list[float] = []
    others: list[float] = []

    async def main() -> None:
        process, other = Process("mine"), Process("other")
        tasks = [process.spawn(ticks(mine)), other.spawn(ticks(others))]
        await asyncio.sleep(1.5)
        process.stop()
        await asyncio.sleep(3.0)
        process.go_on()
        await asyncio.sleep(1.2)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    new_loop().run_until_complete(main())
    assert mine == [1.0, 4.5, 5.5]
    assert others == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_who_asks_a_dead_process_is_told() -> None:
    """What it did last, nobody knows."""
    done: list[int] = []

    async def work() -> int:
        await asyncio.sleep(2.0)
        done.append(1)
        return 7

    async def main() -> None:
        process = Process("mine")
        assert await process.ask(work()) == 7
        asyncio.get_running_loop().call_later(1.0, process.kill)
        with pytest.raises(Killed):
            await process.ask(work())
        await asyncio.sleep(10.0)
        assert done == [1]
        process.bury()
        await asyncio.sleep(3.0)

    new_loop().run_until_complete(main())
