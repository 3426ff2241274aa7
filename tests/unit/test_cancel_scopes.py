"""The end of a client whose caller is cancelled: by asyncio, by a scope of anyio, under Starlette.

A scope of anyio cancels again at every turn of the loop. It is one request all the same.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest
from starlette.applications import Starlette

from alhena_async import AlhenaClient, QueuePolicy, Reply
from alhena_async.integrations.asgi import alhena_lifespan
from tests.patience import PATIENCE
from tests.scripted import HANG, OK, RESET, Script, cart, client_over

EVENTS = 20


def fill(client: AlhenaClient) -> None:
    for number in range(EVENTS):
        client.track_nowait(cart(f"visitor-{number}"))


async def until(state: str, client: AlhenaClient) -> None:
    while state not in repr(client):  # noqa: ASYNC110  there is no event to wait for
        await asyncio.sleep(0)


async def _asyncio_run(client: AlhenaClient) -> None:
    task = asyncio.create_task(client.run(drain_timeout=PATIENCE))
    await until("running", client)
    fill(client)
    task.cancel()
    await asyncio.wait({task})


async def _anyio_run(client: AlhenaClient) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(client.run)
        await until("running", client)
        fill(client)
        group.cancel_scope.cancel()


async def _asyncio_with(client: AlhenaClient) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.01), client:
            fill(client)
            await asyncio.Event().wait()


async def _anyio_with(client: AlhenaClient) -> None:
    with anyio.move_on_after(0.01):
        async with client:
            fill(client)
            await asyncio.Event().wait()


async def _anyio_finally(client: AlhenaClient) -> None:
    with anyio.CancelScope() as scope:
        try:
            await client.start()
            fill(client)
            scope.cancel()
            await asyncio.Event().wait()
        finally:
            try:
                raise ValueError  # whatever else is handled meanwhile
            except ValueError:
                await client.close(PATIENCE)


async def _starlette_lifespan(client: AlhenaClient) -> None:
    app = Starlette(lifespan=alhena_lifespan(client=client, drain_timeout=PATIENCE))
    with anyio.move_on_after(0.01):
        async with app.router.lifespan_context(app):
            fill(client)
            await asyncio.Event().wait()


ENDS: list[Callable[[AlhenaClient], Awaitable[None]]] = [
    _asyncio_run,
    _anyio_run,
    _asyncio_with,
    _anyio_with,
    _anyio_finally,
    _starlette_lifespan,
]


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__.strip("_"))
async def test_what_was_accepted_is_delivered_whoever_cancels(
    end: Callable[[AlhenaClient], Awaitable[None]],
) -> None:
    """And nothing of the client is left when the call returns."""
    client = client_over(Script(latency=0.02))
    await end(client)
    assert client.stats().recorded == EVENTS
    assert "closed" in repr(client)
    assert [one for one in asyncio.all_tasks() if "alhena" in one.get_name()] == []


async def test_a_second_scope_that_cancels_is_a_second_request() -> None:
    """It abandons what is left, and the call returns only when the client is closed."""
    client = client_over(Script(otherwise=RESET), queue=QueuePolicy(linger=0))
    async with anyio.create_task_group() as outer:
        async with anyio.create_task_group() as inner:
            inner.start_soon(client.run)
            await until("running", client)
            fill(client)
            inner.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await until("draining", client)
            outer.cancel_scope.cancel()
        assert "closed" in repr(client)
    assert client.stats().abandoned == EVENTS


async def test_a_second_cancellation_by_asyncio_is_a_second_request() -> None:
    """It delivers each request once."""
    client = client_over(Script(otherwise=RESET), queue=QueuePolicy(linger=0))
    task = asyncio.create_task(client.run(drain_timeout=PATIENCE))
    await until("running", client)
    fill(client)
    task.cancel()
    await until("draining", client)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert client.stats().abandoned == EVENTS


@pytest.mark.parametrize("first", [OK, HANG])
async def test_close_that_a_scope_cancels_waits_for_its_own_end(
    tmp_path: Path, first: Reply | None
) -> None:
    """What is left is in the journal before it returns, and nothing is abandoned."""
    client = client_over(
        Script(first, otherwise=RESET), queue=QueuePolicy(linger=0), journal=tmp_path / "journal"
    )
    await client.start()
    fill(client)
    with anyio.move_on_after(0.05) as scope:
        await client.close(PATIENCE)
    assert scope.cancelled_caught
    assert "closed" in repr(client)
    stats = client.stats()
    assert stats.abandoned == 0
    assert stats.kept + stats.recorded == EVENTS
