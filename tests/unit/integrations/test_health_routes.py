"""The health of a client as an orchestrator's probe sees it: opt-in, 200 or 503, and why."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

from alhena_async.integrations._health import health_reply
from alhena_async.integrations.asgi import AlhenaMiddleware as AsgiMiddleware
from alhena_async.integrations.asgi import VisitorMiddleware
from alhena_async.integrations.wsgi import AlhenaMiddleware
from alhena_async.sync import SyncAlhenaClient
from tests.scripted import Script, client_over
from tests.web.asgi import call

WELL = {"ready": True, "alive": True, "reason": ""}


async def missing(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI application without a page."""
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def test_an_asgi_probe_is_answered_where_the_shop_wants_it() -> None:
    """503 before the client runs and after, 200 in between; below a root path too."""
    client = client_over(Script())
    app = VisitorMiddleware(missing, health_path="/health")
    before = await call(app, "/health", state={"alhena": client})
    assert before.status == 503
    assert json.loads(before.body)["reason"] == "the client is not started"
    async with client:
        answer = await call(app, "/shop/health", root_path="/shop", state={"alhena": client})
        assert (answer.status, json.loads(answer.body)) == (200, WELL)
        assert answer.headers["cache-control"] == "no-store"
    after = await call(app, "/health", state={"alhena": client})
    assert (after.status, json.loads(after.body)["reason"]) == (503, "the client is closed")
    assert (await call(app, "/health")).status == 503


async def test_the_middleware_that_runs_the_client_serves_its_health() -> None:
    """Where the server gives no lifespan, the probe begins it."""
    app = AsgiMiddleware(missing, client=lambda: client_over(Script()), health_path="/health")
    answer = await call(app, "/health")
    assert (answer.status, json.loads(answer.body)) == (200, WELL)
    await app.close()


async def test_without_a_path_health_is_the_shop_s_business() -> None:
    """The request passes."""
    async with client_over(Script()) as client:
        state = {"alhena": client}
        assert (await call(VisitorMiddleware(missing), "/health", state=state)).status == 404


def wsgi(app: Any, path: str, query: str = "") -> tuple[str, bytes]:
    told: list[str] = []

    def start_response(status: str, headers: list[tuple[str, str]]) -> None:
        told.append(status)

    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "QUERY_STRING": query}
    body: Iterable[bytes] = app(environ, start_response)
    return told[0], b"".join(body)


def bare(environ: Any, start_response: Any) -> Iterable[bytes]:
    """A WSGI application without a page."""
    start_response("404 Not Found", [])
    return [b""]


def test_a_wsgi_probe_is_answered_where_the_shop_wants_it() -> None:
    """A client that nothing was tracked with yet is ready: else nobody would send it anything."""
    client = SyncAlhenaClient("shop", transport=Script())
    app = AlhenaMiddleware(bare, client=client, health_path="/health")
    status, body = wsgi(app, "/health")
    assert (status, json.loads(body)) == ("200 OK", WELL)
    assert wsgi(AlhenaMiddleware(bare, client=client), "/health")[0] == "404 Not Found"
    client.close()
    assert wsgi(app, "/health", "alive")[0] == "503 Service Unavailable"


async def test_liveness_is_asked_for_by_name() -> None:
    """A client that is busy lives: an orchestrator is not to restart what waits for the API."""

    class Busy:
        def health(self) -> Any:
            return type(running.health())(ready=False, alive=True, reason="no room")

    async with client_over(Script()) as running:
        assert health_reply(Busy(), b"").status == 503
        assert health_reply(Busy(), b"alive").status == 200
        assert health_reply(Busy(), b"x=1&alive").status == 200


@pytest.mark.parametrize("make", [VisitorMiddleware, AlhenaMiddleware])
def test_a_path_that_cannot_be_served_is_refused(make: Any) -> None:
    """In words."""
    client = SyncAlhenaClient("shop", transport=Script())
    arguments = {"client": client} if make is AlhenaMiddleware else {}
    with pytest.raises(ValueError, match="health_path must begin with a slash"):
        make(bare, health_path="health", **arguments)
    client.close()
