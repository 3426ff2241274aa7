"""The cleanup context and the middleware, under a real aiohttp server on port 0."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from alhena_async import AlhenaClient, ClientClosedError
from alhena_async.browser import encode_visitor
from alhena_async.integrations.aiohttp import (
    CLIENT,
    alhena_cleanup_ctx,
    client_of,
    visitor_middleware,
    visitor_of,
)
from tests.scripted import HANG, Script, cart, client_over, visitor

CLAIM = {"X-Alhena-Visitor": encode_visitor(visitor("ann"))}


async def add(request: web.Request) -> web.Response:
    who = visitor_of(request)
    if who is not None:
        client_of(request).track_nowait(cart(who.fingerprint))
    return web.Response(text="nobody" if who is None else who.fingerprint)


def shop(script: Script, *middlewares: Any, **arguments: Any) -> web.Application:
    """A shop with the same handler in it, and in an application below it."""
    app = web.Application(middlewares=middlewares)
    app.cleanup_ctx.append(alhena_cleanup_ctx("shop", transport=script, **arguments))
    app.router.add_get("/add", add)
    below = web.Application()
    below.router.add_get("/add", add)
    app.add_subapp("/below", below)
    return app


class Answer(NamedTuple):
    """What the shop answered."""

    status: int
    headers: Mapping[str, str]
    text: str


@asynccontextmanager
async def visited(app: web.Application) -> AsyncIterator[Callable[..., Awaitable[Answer]]]:
    """Serve an application, and give what sends it a request."""
    async with TestServer(app) as server, ClientSession() as session:

        async def ask(path: str, method: str = "GET", **arguments: Any) -> Answer:
            async with session.request(method, server.make_url(path), **arguments) as reply:
                return Answer(reply.status, reply.headers, await reply.text())

        yield ask


@pytest.mark.parametrize("middlewares", [[visitor_middleware()], []], ids=["middleware", "none"])
@pytest.mark.parametrize("path", ["/add", "/below/add"])
async def test_client_and_visitor_are_found(path: str, middlewares: list[Any]) -> None:
    """In the application and in a mounted one, with the middleware and without; then drained."""
    script = Script()
    async with visited(shop(script, *middlewares)) as ask:
        assert (await ask(path, headers=CLAIM)).text == "ann"
        assert (await ask(path, cookies={"alhena_visitor": "bob:faq"})).text == "bob"
        assert (await ask(path)).text == "nobody"
    assert sorted(sent.fingerprint for sent in script.sent) == ["ann", "bob"]
    assert (script.opened, script.closed) == (1, 1)


async def test_the_script_is_served() -> None:
    """With its caching headers; HEAD, 304 and 405 as they should be."""
    async with visited(shop(Script(), visitor_middleware())) as ask:
        full = await ask("/alhena-visitor.js")
        assert full.status == 200
        assert full.headers["Content-Type"] == "text/javascript; charset=utf-8"
        assert full.headers["X-Content-Type-Options"] == "nosniff"
        assert full.headers["Content-Length"] == str(len(full.text))
        head = await ask("/alhena-visitor.js", "HEAD")
        assert (head.status, head.headers["Content-Length"]) == (
            200,
            full.headers["Content-Length"],
        )
        known = {"If-None-Match": full.headers["ETag"]}
        again = await ask("/alhena-visitor.js", headers=known)
        assert (again.status, again.headers["ETag"]) == (304, full.headers["ETag"])
        refused = await ask("/alhena-visitor.js", "POST")
        assert (refused.status, refused.headers["Allow"]) == (405, "GET, HEAD")
        assert (await ask("/alhena-visitor.jsx")).status == 404


async def test_path_and_names_of_your_own() -> None:
    """All three; and without a path no script is served."""
    mine = visitor_middleware(script_path="/v.js", cookie_name="v", header_name="X-V")
    async with visited(shop(Script(), mine)) as ask:
        assert (await ask("/v.js")).status == 200
        assert (await ask("/alhena-visitor.js")).status == 404
        assert (await ask("/add", headers={"X-V": "a:b"})).text == "a"
        assert (await ask("/add", cookies={"v": "a:b"})).text == "a"
        assert (await ask("/add", headers=CLAIM)).text == "nobody"
    async with visited(shop(Script(), visitor_middleware(script_path=None))) as ask:
        assert (await ask("/alhena-visitor.js")).status == 404


@pytest.mark.parametrize(
    "arguments", [{"script_path": "v.js"}, {"cookie_name": "a b"}, {"header_name": "a:b"}]
)
def test_a_path_or_name_that_cannot_work_is_refused(arguments: dict[str, str]) -> None:
    """At once."""
    with pytest.raises(ValueError, match=next(iter(arguments))):
        visitor_middleware(**arguments)


async def test_what_cleans_up_after_it_may_still_track() -> None:
    """The client, appended first, is closed last."""
    script = Script()
    app = shop(script)

    async def database(app: web.Application) -> AsyncIterator[None]:
        yield
        app[CLIENT].track_nowait(cart(product="last"))

    app.cleanup_ctx.append(database)
    async with visited(app):
        pass
    assert script.what == ["last:ITEM_ADDED:1"]
    with pytest.raises(ClientClosedError):
        app[CLIENT].track_nowait(cart())


def test_a_start_that_fails_further_on_still_delivers(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody cleans up then: what was tracked is sent as the loop ends, without another error."""
    script = Script()
    app = shop(script)

    async def database(app: web.Application) -> None:
        app[CLIENT].track_nowait(cart())
        raise LookupError("no database")

    app.on_startup.append(database)
    with pytest.raises(LookupError, match="no database"):
        asyncio.run(web.AppRunner(app).setup())
    assert script.what == ["mug:ITEM_ADDED:1"]
    assert script.closed == 1
    assert "closing of asynchronous generator" not in caplog.text


async def test_a_client_of_your_own() -> None:
    """Made by your function when the worker starts."""
    made: list[AlhenaClient] = []

    def make() -> AlhenaClient:
        made.append(client_over(Script()))
        return made[-1]

    app = web.Application()
    app.cleanup_ctx.append(alhena_cleanup_ctx(client=make))
    assert made == []
    async with visited(app):
        assert [app[CLIENT]] == made
    with pytest.raises(TypeError, match="client"):
        alhena_cleanup_ctx("shop", client=make)
    with pytest.raises(TypeError, match="drain_timeout"):
        alhena_cleanup_ctx("shop", drain_timeout="5")  # type: ignore[arg-type]


async def test_settings_that_cannot_work_stop_the_start() -> None:
    """The error names the setting; nothing is served."""
    app = web.Application()
    app.cleanup_ctx.append(alhena_cleanup_ctx("shop", region="mars"))
    with pytest.raises(ValueError, match="region must be one of us, eu"):
        await TestServer(app).start_server()


async def test_what_could_not_be_delivered_in_time_is_counted_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A dead API holds up the end for the drain timeout only."""
    async with visited(shop(Script(otherwise=HANG), drain_timeout=0)) as ask:
        await ask("/add", headers=CLAIM)
    told = [record for record in caplog.records if "undelivered" in record.message]
    assert [record.levelno for record in told] == [logging.WARNING]


async def test_without_a_client_the_error_says_what_to_do(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is a mistake of the program, so it is loud."""
    app = web.Application()
    app.router.add_get("/add", add)
    async with visited(app) as ask:
        assert (await ask("/add", headers=CLAIM)).status == 500
    assert "app.cleanup_ctx.append(alhena_cleanup_ctx(...))" in caplog.text
