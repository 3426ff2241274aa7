"""The middleware under plain ASGI, and all of it under Starlette."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from alhena_async.integrations.asgi import (
    VisitorMiddleware,
    alhena_lifespan,
    client_of,
    visitor_of,
)
from tests.scripted import Script, cart, client_over, visitor
from tests.web.asgi import call, claimed_by, running

ANN = visitor("ann")


class Inner:
    """A plain ASGI application that keeps the scopes it was called with."""

    def __init__(self) -> None:
        self.scopes: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})


async def test_the_visitor_stands_in_the_scope() -> None:
    """Of requests and of WebSockets, None included; the server's state stays as it was."""
    inner = Inner()
    app = VisitorMiddleware(inner)
    await call(app, "/", headers=claimed_by(ANN), state={"a": 1})
    await call(app, "/")
    await app({"type": "websocket", "path": "/", "headers": claimed_by(ANN)}, None, None)  # type: ignore[arg-type]
    assert [scope["alhena_visitor"] for scope in inner.scopes] == [ANN, None, ANN]
    assert [visitor_of(scope) for scope in inner.scopes] == [ANN, None, ANN]
    assert inner.scopes[0]["state"] == {"a": 1}


async def test_other_kinds_of_scope_pass_untouched() -> None:
    """A lifespan, and what ASGI may invent."""
    inner = Inner()
    scope = {"type": "lifespan", "asgi": {"version": "3.0"}}
    await VisitorMiddleware(inner)(dict(scope), None, None)  # type: ignore[arg-type]
    assert inner.scopes == [scope]


@pytest.mark.parametrize(
    ("root_path", "path"),
    [
        ("", "/alhena-visitor.js"),
        ("/shop", "/shop/alhena-visitor.js"),
        ("/shop", "/alhena-visitor.js"),
        ("/shop/", "/shop/alhena-visitor.js"),
        ("/a", "/alhena-visitor.js"),
    ],
)
async def test_the_script_is_served_below_the_root_path(root_path: str, path: str) -> None:
    """Whether the server leaves the root path in the path or not; and never reaches the app."""
    inner = Inner()
    app = VisitorMiddleware(inner)
    answer = await call(app, path, root_path=root_path)
    assert (answer.status, inner.scopes) == (200, [])
    assert answer.headers["content-length"] == str(len(answer.body))
    assert (await call(app, path, root_path=root_path, method="HEAD")).body == b""
    assert (await call(app, path, root_path=root_path, method="POST")).status == 405
    known = [(b"if-none-match", b'"x"'), (b"if-none-match", answer.headers["etag"].encode())]
    assert (await call(app, path, root_path=root_path, headers=known)).status == 304
    assert inner.scopes == []


@pytest.mark.parametrize(
    ("root_path", "path"),
    [
        ("", "/"),
        ("", "/alhena-visitor.js/"),
        ("", "/alhena-visitor.jsx"),
        ("", "/shop/alhena-visitor.js"),
        ("/shop", "/shopalhena-visitor.js"),
        ("/shop", "/shop"),
    ],
)
async def test_any_other_path_is_the_applications(root_path: str, path: str) -> None:
    """The script is served under its own path only."""
    assert (await call(VisitorMiddleware(Inner()), path, root_path=root_path)).status == 204


async def test_path_and_names_of_your_own() -> None:
    """All three; and without a path no script is served."""
    inner = Inner()
    app = VisitorMiddleware(inner, script_path="/v.js", cookie_name="v", header_name="X-V")
    assert (await call(app, "/v.js")).status == 200
    assert (await call(app, "/alhena-visitor.js")).status == 204
    await call(app, "/", headers=[(b"cookie", b"v=a:b")])
    await call(app, "/", headers=[(b"x-v", b"a:b")])
    await call(app, "/", headers=claimed_by(ANN))
    found = [visitor_of(scope) for scope in inner.scopes[1:]]
    assert [one and one.fingerprint for one in found] == ["a", "a", None]
    assert (await call(VisitorMiddleware(Inner(), script_path=None), "/alhena-visitor.js"))[
        0
    ] == 204


@pytest.mark.parametrize(
    "arguments", [{"script_path": "v.js"}, {"cookie_name": "a b"}, {"header_name": "a:b"}]
)
def test_a_path_or_name_that_cannot_work_is_refused(arguments: dict[str, str]) -> None:
    """At once."""
    with pytest.raises(ValueError, match=next(iter(arguments))):
        VisitorMiddleware(Inner(), **arguments)


async def add(request: Request) -> PlainTextResponse:
    who = visitor_of(request)
    if who is not None:
        client_of(request).track_nowait(cart(who.fingerprint))
    return PlainTextResponse("added")


@pytest.fixture
def script() -> Iterator[Script]:
    script = Script()
    yield script
    assert script.opened == script.closed


def starlette(script: Script, *, middleware: bool = True) -> Starlette:
    routes = [Route("/add", add), Mount("/sub", app=Starlette(routes=[Route("/add", add)]))]
    app = Starlette(routes=routes, lifespan=alhena_lifespan("shop", transport=script))
    if middleware:
        app.add_middleware(VisitorMiddleware)
    return app


@pytest.mark.parametrize("middleware", [True, False], ids=["middleware", "no middleware"])
@pytest.mark.parametrize("path", ["/add", "/sub/add"])
async def test_client_and_visitor_are_found(script: Script, path: str, *, middleware: bool) -> None:
    """In the application and in a mounted one, with the middleware and without."""
    app = starlette(script, middleware=middleware)
    async with running(app) as state:
        answer = await call(app, path, headers=claimed_by(ANN), state=state)
    assert answer.status == 200
    assert script.of("ann") == ["mug:ITEM_ADDED:1"]


async def test_a_mounted_application_serves_the_script_below_its_path() -> None:
    """With a middleware of its own."""
    inner = Starlette()
    inner.add_middleware(VisitorMiddleware)
    app = Starlette(routes=[Mount("/sub", app=inner)])
    assert (await call(app, "/sub/alhena-visitor.js")).status == 200
    assert (await call(app, "/alhena-visitor.js")).status == 404


async def test_a_client_set_by_hand_is_found(script: Script) -> None:
    """As a test without a lifespan does it."""
    app = starlette(script)
    async with client_over(script) as app.state.alhena:
        await call(app, "/add", headers=claimed_by(ANN))
    assert script.of("ann") == ["mug:ITEM_ADDED:1"]


async def test_without_a_client_the_error_says_what_to_do(script: Script) -> None:
    """It is a mistake of the program, so it is loud; a request without a visitor is none."""
    app = starlette(script)
    assert (await call(app, "/add")).status == 200
    states: tuple[dict[str, Any] | None, ...] = (None, {})
    for state in states:
        with pytest.raises(RuntimeError, match=r"lifespan=alhena_lifespan\(\.\.\.\)"):
            await call(app, "/add", headers=claimed_by(ANN), state=state)
