"""The lifespan and the middleware, under plain ASGI and under Starlette."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from alhena_async import (
    AlhenaClient,
    ClientClosedError,
    OutcomeStatus,
    QueueFullError,
    QueuePolicy,
)
from alhena_async.integrations.asgi import (
    VisitorMiddleware,
    alhena_lifespan,
    client_of,
    visitor_of,
)
from tests.scripted import HANG, Script, cart, client_over, visitor
from tests.virtual_time import virtual
from tests.web.asgi import call, claimed_by, running

ANN = visitor("ann")


def application() -> Any:
    return SimpleNamespace(state=SimpleNamespace())


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COMPANY_KEY", "REGION", "BASE_URL", "CAPACITY", "LINGER", "ENABLED"):
        monkeypatch.delenv(f"ALHENA_{name}", raising=False)


# --- the lifespan ------------------------------------------------------------------------------


@virtual
async def test_the_client_runs_between_startup_and_shutdown() -> None:
    """In the application's state and in the lifespan's; what waits at the end is delivered."""
    app, script = application(), Script()
    async with alhena_lifespan("shop", transport=script)(app) as state:
        assert state == {"alhena": app.state.alhena}
        app.state.alhena.track_nowait(cart())
        assert script.sent == []
    assert script.what == ["mug:ITEM_ADDED:1"]
    assert (script.opened, script.closed) == (1, 1)
    with pytest.raises(ClientClosedError):
        app.state.alhena.track_nowait(cart())


@virtual
async def test_the_applications_own_lifespan_runs_inside() -> None:
    """It finds the client, its state is passed on, and it may still track when it ends."""
    app, script = application(), Script()

    @asynccontextmanager
    async def own(its: Any) -> AsyncIterator[dict[str, int]]:
        assert its is app
        its.state.alhena.track_nowait(cart(product="first"))
        yield {"database": 7}
        its.state.alhena.track_nowait(cart(product="last"))

    async with alhena_lifespan("shop", transport=script, lifespan=own)(app) as state:
        assert state == {"database": 7, "alhena": app.state.alhena}
    assert script.what == ["first:ITEM_ADDED:1", "last:ITEM_ADDED:1"]


@virtual
async def test_a_lifespan_that_yields_nothing_is_fine_too() -> None:
    """The usual kind."""
    app = application()

    @asynccontextmanager
    async def own(_: Any) -> AsyncIterator[None]:
        yield

    async with alhena_lifespan("shop", transport=Script(), lifespan=own)(app) as state:
        assert state == {"alhena": app.state.alhena}


@virtual
@pytest.mark.parametrize("when", ["startup", "shutdown"])
async def test_an_application_that_fails_leaves_no_client_behind(when: str) -> None:
    """Its error goes on to the server, and what was tracked is delivered."""
    script = Script()

    @asynccontextmanager
    async def own(its: Any) -> AsyncIterator[None]:
        its.state.alhena.track_nowait(cart())
        if when == "startup":
            raise LookupError("no database")
        yield
        raise LookupError("no database")

    with pytest.raises(LookupError, match="no database"):
        async with alhena_lifespan("shop", transport=script, lifespan=own)(application()):
            pass
    assert len(script.sent) == script.closed == 1


@virtual
async def test_each_run_has_a_client_of_its_own() -> None:
    """A test suite starts one application many times."""
    app, lifespan = application(), alhena_lifespan("shop", transport=Script())
    async with lifespan(app) as first:
        pass
    async with lifespan(app) as second:
        assert first["alhena"] is not second["alhena"] is app.state.alhena
        second["alhena"].track_nowait(cart())


@virtual
async def test_a_client_of_your_own() -> None:
    """Made by your function in the worker; or ready, and closed here."""
    made: list[AlhenaClient] = []

    def make() -> AlhenaClient:
        made.append(client_over(Script()))
        return made[-1]

    lifespan = alhena_lifespan(client=make)
    assert made == []
    async with lifespan(application()) as state:
        assert [state["alhena"]] == made
    ready = client_over(Script())
    async with alhena_lifespan(client=ready)(application()) as state:
        assert state["alhena"] is ready
    with pytest.raises(ClientClosedError):
        ready.track_nowait(cart())


@pytest.mark.parametrize(
    "arguments",
    [
        {"company_key": "shop", "client": client_over},
        {"client": client_over, "region": "eu"},
        {"client": "shop"},
        {"company_key": "shop", "drain_timeout": "5"},
        {"company_key": "shop", "drain_timeout": True},
    ],
)
def test_arguments_that_contradict_each_other_are_refused_at_once(
    arguments: dict[str, Any],
) -> None:
    """Where they stand, and not when the server starts or ends."""
    with pytest.raises(TypeError, match=r"client|drain_timeout"):
        alhena_lifespan(**arguments)


@pytest.mark.parametrize("seconds", [-1, float("nan")])
def test_a_drain_timeout_that_is_no_time_is_refused_at_once(seconds: float) -> None:
    """It would be needed only when the server stops."""
    with pytest.raises(ValueError, match="drain_timeout must be 0 or more"):
        alhena_lifespan("shop", drain_timeout=seconds)


async def test_settings_that_cannot_work_stop_the_start() -> None:
    """The error names the setting; the worker does not begin to serve."""
    with pytest.raises(ValueError, match="region must be one of us, eu"):
        await alhena_lifespan("shop", region="mars")(application()).__aenter__()
    with pytest.raises(ValueError, match="ALHENA_COMPANY_KEY is not set"):
        await alhena_lifespan()(application()).__aenter__()


@virtual
async def test_without_a_key_the_environment_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments win over it, and the numbers of the operator hold."""
    monkeypatch.setenv("ALHENA_COMPANY_KEY", "from-env")
    monkeypatch.setenv("ALHENA_BASE_URL", "http://127.0.0.1:9/")
    monkeypatch.setenv("ALHENA_CAPACITY", "1")
    script = Script()
    async with alhena_lifespan(transport=script)(application()) as state:
        client: AlhenaClient = state["alhena"]
        assert client.base_url == "http://127.0.0.1:9/"
        client.track_nowait(cart())
        assert client.track_nowait(cart(product="cup")).done()
    assert script.sent[0].body["company_key"] == "from-env"


@virtual
async def test_a_full_queue_drops_unless_yours_says_otherwise() -> None:
    """A handler never meets `QueueFullError` by default."""
    script = Script(otherwise=HANG)
    async with alhena_lifespan("shop", transport=script, drain_timeout=0)(application()) as state:
        for _ in range(10_000):
            state["alhena"].track_nowait(cart())
        assert (await state["alhena"].track_nowait(cart())).status is OutcomeStatus.DROPPED
    mine = QueuePolicy(capacity=1)
    async with alhena_lifespan("shop", transport=Script(), queue=mine)(application()) as state:
        state["alhena"].track_nowait(cart())
        with pytest.raises(QueueFullError):
            state["alhena"].track_nowait(cart())


@virtual
async def test_what_could_not_be_delivered_in_time_is_counted_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Once, with what to do about it; the end comes when the drain timeout is over."""
    began = asyncio.get_running_loop().time()
    async with alhena_lifespan("shop", transport=Script(otherwise=HANG), drain_timeout=3)(
        application()
    ) as state:
        for number in range(3):
            state["alhena"].track_nowait(cart(product=f"p{number}"))
    assert asyncio.get_running_loop().time() - began == pytest.approx(3, abs=0.1)
    told = [record for record in caplog.records if "undelivered" in record.message]
    assert [(record.levelno, record.message[:24]) for record in told] == [
        (logging.WARNING, "3 events were undelivere")
    ]


@virtual
async def test_the_default_drain_fits_into_ten_seconds() -> None:
    """`docker stop` waits for 10: half of them are left for the requests."""
    began = asyncio.get_running_loop().time()
    async with alhena_lifespan("shop", transport=Script(otherwise=HANG))(application()) as state:
        state["alhena"].track_nowait(cart())
    assert asyncio.get_running_loop().time() - began == pytest.approx(5, abs=0.1)


# --- the middleware ----------------------------------------------------------------------------


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


# --- Starlette ---------------------------------------------------------------------------------


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
