"""`current_client` and `current_visitor`: there in a request, gone after it."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from alhena_async import AlhenaClient, Visitor, current_client, current_visitor
from alhena_async.browser import encode_visitor
from alhena_async.integrations.aiohttp import alhena_cleanup_ctx, visitor_middleware
from alhena_async.integrations.asgi import VisitorMiddleware
from tests.scripted import visitor
from tests.web.asgi import call, claimed_by

ANN, BOB = visitor("ann"), visitor("bob")

Seen = tuple[object, Visitor | None]


async def test_behind_asgi_each_request_has_its_own() -> None:
    """Two at once, in tasks and threads of theirs; without a lifespan there is no client."""
    client = AlhenaClient("shop", enabled=False)
    seen: dict[str, list[Seen]] = {"/ann": [], "/bob": []}
    both = asyncio.Barrier(2)

    def look() -> Seen:
        return current_client(), current_visitor()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await both.wait()
        mine = seen[scope["path"]]
        mine.append(look())
        mine.append(await asyncio.to_thread(look))
        mine.append(await asyncio.create_task(asyncio.to_thread(look)))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    shop = VisitorMiddleware(app)
    await asyncio.gather(
        call(shop, "/ann", headers=claimed_by(ANN), state={"alhena": client}),
        call(shop, "/bob", headers=claimed_by(BOB)),
    )
    assert seen == {"/ann": [(client, ANN)] * 3, "/bob": [(None, BOB)] * 3}
    assert look() == (None, None)


async def test_behind_aiohttp() -> None:
    """The cleanup context's client, the middleware's visitor."""
    seen: list[Seen] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((current_client(), current_visitor()))
        return web.Response()

    client = AlhenaClient("shop", enabled=False)
    app = web.Application(middlewares=[visitor_middleware()])
    app.cleanup_ctx.append(alhena_cleanup_ctx(client=client))
    app.router.add_get("/", handler)
    async with TestClient(TestServer(app)) as browser:
        await browser.get("/", headers={"X-Alhena-Visitor": encode_visitor(ANN)})
    assert seen == [(client, ANN)]
    assert current_client() is None
