"""Virtual time: waits are exact and take none; what hangs is found."""

from __future__ import annotations

import asyncio
import threading

import pytest

from alhena_async.testing import VirtualLoop, run_virtually, virtual


def test_a_result_comes_back_and_time_was_exact() -> None:
    """Hours pass at once, to the second."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(6 * 3600)
        async with asyncio.timeout(60):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.Event().wait(), 59)
        return loop.time()

    assert run_virtually(main) == 6 * 3600 + 59


def test_sleepers_wake_in_order_of_time() -> None:
    """As on a real clock."""
    woken: list[float] = []

    async def sleeper(delay: float) -> None:
        await asyncio.sleep(delay)
        woken.append(delay)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for delay in (300.0, 1.0, 20.0):
                group.create_task(sleeper(delay))

    run_virtually(main)
    assert woken == [1.0, 20.0, 300.0]


def test_a_left_task_is_a_failure_unless_allowed() -> None:
    """Whoever starts a task ends it."""
    tasks: set[asyncio.Task[object]] = set()

    async def main() -> None:
        tasks.add(asyncio.create_task(asyncio.sleep(1), name="forgotten"))

    with pytest.raises(AssertionError, match="forgotten"):
        run_virtually(main)
    run_virtually(main, leaves_tasks=True)


def test_what_only_the_loop_was_told_is_a_failure() -> None:
    """An exception in a callback would go unseen."""

    async def main() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await asyncio.sleep(0)

    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        run_virtually(main)


def test_another_thread_is_waited_for() -> None:
    """It lives on real time; virtual time stands still meanwhile."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(done.set))
        thread.start()
        await done.wait()
        thread.join()
        return loop.time()

    assert run_virtually(main) < 1e-6


def test_a_deadlock_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing could ever happen: an error, not a hanging test."""
    monkeypatch.setattr("alhena_async.testing._clock._PATIENCE", 0.01)

    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="hangs"):
        run_virtually(main)


def test_time_can_be_made_to_pass() -> None:
    """As if something had held up the loop."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.pass_time(5.0)
        return loop.time()

    assert run_virtually(main) == 5.0


@pytest.mark.parametrize("seconds", [1.0, 1000.0])
@virtual
async def test_a_decorated_test_is_a_plain_one(seconds: float, tmp_path: object) -> None:
    """With its parameters and fixtures."""
    assert tmp_path
    await asyncio.sleep(seconds)
    assert asyncio.get_running_loop().time() == seconds


def test_what_is_no_coroutine_function_is_refused() -> None:
    """Where it is decorated; it would fail later, and say less."""

    def plain() -> None: ...

    with pytest.raises(TypeError, match="only an `async def` runs on virtual time"):
        virtual(plain)  # type: ignore[arg-type]
