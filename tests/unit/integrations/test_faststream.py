"""FastStream runs the lifespan as its own: the client is there for handlers, and drained after."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from alhena_async import AlhenaClient, ClientClosedError
from alhena_async.integrations import asgi
from alhena_async.policies import QueuePolicy
from tests.scripted import Script, cart, client_over

faststream = pytest.importorskip("faststream", reason="FastStream is not installed")
integration = pytest.importorskip("alhena_async.integrations.faststream")


async def test_handlers_find_the_client_and_what_waits_is_delivered() -> None:
    """In the context under its name; the application's own lifespan runs inside."""
    script = Script()
    said: list[str] = []

    @asynccontextmanager
    async def own() -> AsyncIterator[None]:
        said.append("up")
        yield
        said.append("down")

    lifespan = integration.alhena_lifespan(
        client=lambda: client_over(script, queue=QueuePolicy(linger=600)), lifespan=own
    )
    app = faststream.FastStream(lifespan=lifespan)
    async with app.lifespan_context():
        client = app.context.get("alhena")
        assert isinstance(client, AlhenaClient)
        client.track_nowait(cart("ann"))
        assert (said, script.sent) == (["up"], [])
    assert said == ["up", "down"]
    assert script.what == ["mug:ITEM_ADDED:1"]
    with pytest.raises(ClientClosedError):
        client.track_nowait(cart("ann"))


async def test_the_lifespan_for_asgi_runs_there_too() -> None:
    """`client_of` finds its client by the loop."""
    script = Script()
    lifespan = asgi.alhena_lifespan(client=lambda: client_over(script))
    app = faststream.FastStream(lifespan=lifespan)
    async with app.lifespan_context():
        asgi.client_of({}).track_nowait(cart("ann"))
    assert script.what == ["mug:ITEM_ADDED:1"]


def test_arguments_that_cannot_work_are_refused_at_once() -> None:
    """Where the application is made."""
    with pytest.raises(TypeError, match="either a client, or a company key"):
        integration.alhena_lifespan("shop", client=AlhenaClient("shop"))
