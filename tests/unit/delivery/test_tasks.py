"""Where tasks are made: their names, their context, and what is heard of their end."""

import asyncio
import contextvars

import pytest

from alhena_async._delivery.tasks import Tasks
from alhena_async.testing import virtual

WHO = contextvars.ContextVar("WHO", default="nobody")


async def _wait() -> None:
    await asyncio.Event().wait()


async def _break() -> None:
    raise ZeroDivisionError


@virtual
async def test_a_task_runs_under_its_name_in_the_clients_own_context() -> None:
    """Not in that of the caller whose event happened to make it necessary."""
    seen: list[str] = []

    async def look() -> None:
        seen.append(WHO.get())

    tasks = Tasks(lambda _: None)
    WHO.set("a caller")
    task = tasks.spawn(look(), "looks")
    assert task.get_name() == "looks"
    assert seen == []
    await task
    assert seen == ["nobody"]


@virtual
async def test_an_error_and_a_cancellation_from_outside_are_heard_of() -> None:
    """With the cause; a task that came to its own end says nothing."""
    heard: list[str] = []
    own: list[str] = []
    tasks = Tasks(lambda error: heard.append(repr(error)))
    tasks.spawn(_break(), "breaks")
    tasks.spawn(asyncio.sleep(0), "ends")
    tasks.spawn(_break(), "breaks too", lambda error: own.append(repr(error)))
    cancelled = tasks.spawn(_wait(), "waits")
    await asyncio.sleep(0.1)
    cancelled.cancel()
    await asyncio.sleep(0.1)
    assert heard == ["ZeroDivisionError()", "RuntimeError('waits was cancelled from outside')"]
    assert own == ["ZeroDivisionError()"]


@virtual
async def test_what_its_owner_cancels_is_no_failure() -> None:
    """All end, each is cancelled once, and nothing is heard."""
    heard: list[BaseException] = []
    tasks = Tasks(heard.append)
    waiting = [tasks.spawn(_wait(), f"waits {number}") for number in range(3)]
    await asyncio.sleep(0)
    tasks.cancel()
    assert await tasks.cancel_all(1.0) == 0
    assert [task.cancelled() for task in waiting] == [True] * 3
    assert [task.cancelling() for task in waiting] == [1] * 3
    await asyncio.sleep(0)
    assert not heard


@virtual
async def test_one_that_will_not_end_is_counted() -> None:
    """It is waited for no longer than was said."""
    done = asyncio.Event()

    async def stay() -> None:
        while not done.is_set():
            try:
                await done.wait()
            except asyncio.CancelledError:
                continue

    tasks = Tasks(lambda _: None)
    tasks.spawn(stay(), "stays")
    tasks.spawn(_wait(), "waits")
    await asyncio.sleep(0)
    assert await tasks.cancel_all(2.0) == 1
    assert asyncio.get_running_loop().time() == 2.0
    done.set()
    await asyncio.sleep(0.1)
    assert await tasks.cancel_all(2.0) == 0


@virtual
async def test_nothing_begins_any_more_once_all_were_cancelled() -> None:
    """What a task does at its own end may make another one."""
    tasks, late = Tasks(lambda _: None), list[asyncio.Task[None]]()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            late.append(tasks.spawn(_break(), "comes too late"))

    tasks.spawn(work(), "works")
    await asyncio.sleep(0)
    assert await tasks.cancel_all(1.0) == 0
    await asyncio.wait(late)
    assert late[0].cancelled()


@virtual
async def test_a_task_aside_ends_nothing_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """The engine is not told: it goes on without it."""
    heard: list[str] = []
    tasks = Tasks(lambda error: heard.append(repr(error)))
    tasks.spawn_aside(_break(), "breaks", "this is over")
    for _ in range(3):
        await asyncio.sleep(0)
    assert heard == []
    assert "alhena: this is over: ZeroDivisionError" in caplog.text
