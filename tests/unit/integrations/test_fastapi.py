"""The dependencies in FastAPI's handlers: plain, in threads, mounted, over WebSockets, in tests."""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Request, WebSocket

from alhena_async import AlhenaClient, Visitor
from alhena_async.browser import encode_visitor
from alhena_async.integrations.fastapi import (
    ClientDep,
    VisitorDep,
    VisitorMiddleware,
    alhena_client,
    alhena_lifespan,
    alhena_visitor,
)
from tests.scripted import Script, cart, client_over, visitor
from tests.web.asgi import call, claimed_by, running

ANN = visitor("ann")
router = APIRouter()


@router.post("/add")
async def add(alhena: ClientDep, visitor: VisitorDep) -> str:
    if visitor:
        alhena.track_nowait(cart(visitor.fingerprint))
    return "nobody" if visitor is None else visitor.fingerprint


@router.post("/thread")
def add_in_a_thread(alhena: ClientDep, visitor: VisitorDep) -> str:
    assert visitor is not None
    alhena.track_threadsafe(cart(visitor.fingerprint))
    return visitor.fingerprint


@router.websocket("/live")
async def live(socket: WebSocket, alhena: ClientDep, visitor: VisitorDep) -> None:
    await socket.accept()
    assert visitor is not None
    alhena.track_nowait(cart(visitor.fingerprint))
    await socket.close()


async def both(alhena: ClientDep, visitor: VisitorDep) -> tuple[AlhenaClient, Visitor | None]:
    return alhena, visitor


@router.get("/both")
async def look(
    found: Annotated[tuple[AlhenaClient, Visitor | None], Depends(both)], request: Request
) -> bool:
    return found == (request.state.alhena, ANN) and found[0] is request.app.state.alhena


@pytest.fixture
def script() -> Iterator[Script]:
    script = Script()
    yield script
    assert script.opened == script.closed


def shop(script: Script) -> FastAPI:
    """A shop with the same handlers in it, and in an application below it."""
    app = FastAPI(lifespan=alhena_lifespan("shop", transport=script))
    app.add_middleware(VisitorMiddleware)
    app.include_router(router)
    below = FastAPI()
    below.include_router(router)
    app.mount("/below", below)
    return app


@pytest.mark.parametrize("path", ["/add", "/thread", "/below/add", "/below/thread"])
async def test_a_handler_gets_client_and_visitor(script: Script, path: str) -> None:
    """An `async def` and a `def` one, in the application and in a mounted one."""
    app = shop(script)
    async with running(app) as state:
        answer = await call(app, path, method="POST", headers=claimed_by(ANN), state=state)
        assert (answer.status, answer.body) == (200, b'"ann"')
    assert script.of("ann") == ["mug:ITEM_ADDED:1"]


async def test_without_a_claim_the_visitor_is_none(script: Script) -> None:
    """A handler is called all the same: the shop works without the widget."""
    app = shop(script)
    async with running(app) as state:
        answer = await call(app, "/add", method="POST", state=state)
        assert (answer.status, answer.body) == (200, b'"nobody"')
    assert script.sent == []


async def test_the_dependencies_are_no_part_of_the_schema(script: Script) -> None:
    """Neither parameters nor models: the documentation of a shop's API stays its own."""
    app = shop(script)
    schema = app.openapi()
    assert schema["paths"]["/add"]["post"].get("parameters", []) == []
    assert "components" not in schema


async def test_a_websocket_gets_both(script: Script) -> None:
    """The visitor comes with the handshake."""
    app = shop(script)
    async with running(app) as state:
        scope = {
            "type": "websocket",
            "path": "/live",
            "query_string": b"",
            "headers": claimed_by(ANN),
            "state": dict(state),
        }
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            sent.append(message["type"])

        await app(scope, receive, send)
        assert sent == ["websocket.accept", "websocket.close"]
    assert script.of("ann") == ["mug:ITEM_ADDED:1"]


async def test_a_test_may_put_others_in_their_place(script: Script) -> None:
    """By FastAPI's own means; then no lifespan needs to run."""
    app = shop(script)
    async with client_over(script) as client:
        app.dependency_overrides[alhena_client] = lambda: client
        app.dependency_overrides[alhena_visitor] = lambda: visitor("bob")
        assert (await call(app, "/add", method="POST")).body == b'"bob"'
    assert script.of("bob") == ["mug:ITEM_ADDED:1"]


async def test_they_build_dependencies_of_your_own(script: Script) -> None:
    """One that combines the two; the client also stands where Starlette's users look for it."""
    app = shop(script)
    async with running(app) as state:
        answer = await call(app, "/both", headers=claimed_by(ANN), state=state)
        assert (answer.status, answer.body) == (200, b"true")


async def test_a_forgotten_lifespan_is_a_loud_mistake() -> None:
    """Raised at the request, with what to do."""
    app = FastAPI()
    app.include_router(router)
    with pytest.raises(RuntimeError, match=r"lifespan=alhena_lifespan\(\.\.\.\)"):
        await call(app, "/add", method="POST")


@pytest.mark.filterwarnings("ignore:Unclosed <MemoryObject:ResourceWarning")  # an old starlette's
def test_the_test_client_of_fastapi_runs_it_all(script: Script) -> None:
    """`with TestClient(app)`: the lifespan in a thread of its own, delivered when it ends."""
    testclient = pytest.importorskip("fastapi.testclient", reason="its HTTP client is missing")
    with testclient.TestClient(shop(script), cookies={"alhena_visitor": "ann:faq"}) as browser:
        assert browser.post("/add").json() == "ann"
        assert browser.post("/thread").json() == "ann"
        other = {"X-Alhena-Visitor": encode_visitor(visitor("bob"))}
        assert browser.post("/add", headers=other).json() == "bob"
        assert browser.get("/alhena-visitor.js").headers["etag"]
    assert len(script.of("ann")) == 1  # folded: the same product, added twice
    assert script.of("bob") == ["mug:ITEM_ADDED:1"]
    del browser
    gc.collect()  # what it left open is complained of here, and not in another test


def test_without_fastapi_the_import_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """And is a ModuleNotFoundError still, for who tries whether it is there."""
    name = "alhena_async.integrations.fastapi"
    monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(ModuleNotFoundError, match=r"alhena-async\[fastapi\]") as caught:
        importlib.import_module(name)
    assert caught.value.name == "fastapi"
