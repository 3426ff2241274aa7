"""`AlhenaMiddleware` around the frameworks' own applications, and under Mangum."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from alhena_async import AlhenaClient, current_client, current_visitor
from alhena_async.integrations.asgi import AlhenaMiddleware
from tests.scripted import Script, cart, client_over, visitor
from tests.web.asgi import call, claimed_by, running

ANN = visitor("ann")
ROOT = Path(__file__).parents[3]


def track() -> None:
    """What a handler does, or anything that it calls."""
    client, who = current_client(), current_visitor()
    assert isinstance(client, AlhenaClient)
    assert who is not None
    client.track_nowait(cart(who.fingerprint))


def starlette() -> Any:

    async def add(request: Any) -> Response:
        track()
        return Response()

    return Starlette(routes=[Route("/add", add, methods=["POST"])])


def fastapi() -> Any:

    app = FastAPI()

    @app.post("/add")
    async def add() -> None:
        track()

    return app


def litestar() -> Any:
    litestar: Any = pytest.importorskip("litestar", reason="Litestar is not installed")

    async def add() -> None:
        track()

    return litestar.Litestar([litestar.post("/add")(add)])


def quart() -> Any:
    quart: Any = pytest.importorskip("quart", reason="Quart is not installed")
    app = quart.Quart("shop")

    async def add() -> str:
        track()
        return ""

    app.post("/add")(add)
    return app


@pytest.mark.parametrize("make", [starlette, fastapi, litestar, quart])
async def test_in_each_framework(make: Any) -> None:
    """Deep in a handler client and visitor are there, and the script is served."""
    script = Script()
    app = AlhenaMiddleware(make(), client=lambda: client_over(script))
    async with running(app) as state:
        answer = await call(app, "/add", method="POST", headers=claimed_by(ANN), state=state)
        assert answer.status < 300
        assert (await call(app, "/alhena-visitor.js", state=state)).status == 200
    assert script.what == ["mug:ITEM_ADDED:1"]


def run(program: str) -> dict[str, Any]:
    """Run a program that sets the process up for good, and return what it prints last."""
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_in_djangos_plain_views() -> None:
    """They run in a thread: client and visitor are there, and `track_nowait` names the call."""
    pytest.importorskip("django", reason="Django is not installed")
    found = run("""
        import asyncio, json
        from django.conf import settings
        from django.core.asgi import get_asgi_application
        from django.http import JsonResponse
        from django.urls import path
        from alhena_async import current_client, current_visitor
        from alhena_async.integrations.asgi import AlhenaMiddleware
        from tests.scripted import Script, cart, client_over, visitor
        from tests.web.asgi import call, claimed_by, running

        settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"])

        def add(request):
            event = cart(current_visitor().fingerprint)
            try:
                current_client().track_nowait(event)
            except RuntimeError as error:
                current_client().track_threadsafe(event)
                return JsonResponse({"error": str(error)})

        urlpatterns = [path("add", add)]
        script = Script()
        app = AlhenaMiddleware(get_asgi_application(), client=lambda: client_over(script))

        async def main():
            async with running(app) as state:
                answer = await call(app, "/add", headers=claimed_by(visitor("ann")), state=state)
            print(json.dumps({**json.loads(answer.body), "sent": script.what}))

        asyncio.run(main())
    """)
    assert "from another thread use track_threadsafe" in found["error"]
    assert found["sent"] == ["mug:ITEM_ADDED:1"]


SANIC = """
    import asyncio, json
    from sanic import Sanic, text
    from alhena_async import current_client, current_visitor
    from alhena_async.integrations.asgi import AlhenaMiddleware
    from alhena_async.integrations.sanic import client_of, setup_alhena, visitor_of
    from tests.scripted import Script, cart, client_over, visitor
    from tests.web.asgi import call, claimed_by, running

    script, app = Script(), Sanic("shop")
    within = WITHIN

    @app.get("/add")
    async def add(request):
        if within:
            assert client_of(request) is current_client()
            assert visitor_of(request) == current_visitor()
        current_client().track_nowait(cart(current_visitor().fingerprint))
        return text("")

    if within:
        setup_alhena(app, client=lambda: client_over(script))
    else:
        app = AlhenaMiddleware(app, client=lambda: client_over(script))

    async def main():
        async with running(app) as state:
            answers = [
                await call(app, path, headers=claimed_by(visitor("ann")), state=state)
                for path in ("/add", "/alhena-visitor.js")
            ]
        print(json.dumps({"answers": [one.status for one in answers], "sent": script.what}))

    asyncio.run(main())
"""


@pytest.mark.parametrize("within", [True, False], ids=["its own listeners", "the middleware"])
def test_in_sanic_under_another_server(within: bool) -> None:
    """In a process of its own: Sanic starts but one application in each."""
    pytest.importorskip("sanic", reason="Sanic is not installed")
    found = run(SANIC.replace("WITHIN", str(within)))
    assert found == {"answers": [200, 200], "sent": ["mug:ITEM_ADDED:1"]}


@pytest.mark.parametrize("lifespan", ["off", "auto"])
def test_under_mangum_all_is_delivered_before_the_answer(lifespan: str) -> None:
    """Invocation after invocation; with a lifespan each has a client of its own."""
    pytest.importorskip("mangum", reason="Mangum is not installed")
    found = run(f"""
        import asyncio, json
        from mangum import Mangum
        from alhena_async import QueuePolicy
        from alhena_async.integrations.asgi import AlhenaMiddleware
        from tests.scripted import Script, client_over, visitor
        from tests.unit.integrations.test_asgi_frameworks import starlette
        from tests.web.asgi import claimed_by

        script, sent = Script(), []
        app = AlhenaMiddleware(
            starlette(), client=lambda: client_over(script, queue=QueuePolicy(linger=60))
        )
        handler = Mangum(app, lifespan={lifespan!r})
        claim = {{name.decode(): value.decode() for name, value in claimed_by(visitor("ann"))}}
        http = {{"method": "POST", "path": "/add", "sourceIp": "10.0.0.1"}}
        event = {{
            "version": "2.0", "rawPath": "/add", "rawQueryString": "", "headers": claim,
            "requestContext": {{"http": http}}, "isBase64Encoded": False,
        }}
        for _ in range(3):
            assert handler(event, None)["statusCode"] == 200
            sent.append(len(script.sent))
        print(json.dumps({{"sent": sent}}))
    """)
    assert found["sent"] == [1, 2, 3]
