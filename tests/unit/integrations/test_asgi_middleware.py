"""`AlhenaMiddleware` around any application: with a lifespan, without one, and the client's end."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from alhena_async import AlhenaClient, ClientClosedError, current_client, current_visitor
from alhena_async.integrations.asgi import AlhenaMiddleware, client_of
from alhena_async.policies import QueuePolicy
from tests.scripted import HANG, Script, cart, client_over, visitor
from tests.web.asgi import call, claimed_by, running

ANN = visitor("ann")
CLAIM = [(name.decode(), value.decode()) for name, value in claimed_by(ANN)]
PATIENT = QueuePolicy(linger=600)


class Shop:
    """An application that tracks what is asked for.

    Args:
        lifespan: Whether it takes part in one; otherwise it raises, as Django does.
        failure: What its startup says of itself, if it fails.
    """

    def __init__(self, *, lifespan: bool = True, failure: str | None = None) -> None:
        self.calls: list[str] = []
        self._has_lifespan = lifespan
        self._failure = failure

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        self.calls.append(scope["path"])
        client = current_client()
        assert isinstance(client, AlhenaClient)
        assert client is client_of(scope)
        if found := current_visitor():
            client.track_nowait(cart(found.fingerprint, product=scope["path"]))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def _live(self, receive: Any, send: Any) -> None:
        if not self._has_lifespan:
            raise ValueError("only HTTP here")
        assert (await receive())["type"] == "lifespan.startup"
        if self._failure is not None:
            await send({"type": "lifespan.startup.failed", "message": self._failure})
            return
        self.calls.append("up")
        await send({"type": "lifespan.startup.complete"})
        assert (await receive())["type"] == "lifespan.shutdown"
        self.calls.append("down")
        await send({"type": "lifespan.shutdown.complete"})


def around(shop: Shop, script: Script, **arguments: Any) -> AlhenaMiddleware:
    return AlhenaMiddleware(shop, client=lambda: client_over(script, queue=PATIENT), **arguments)


@pytest.mark.parametrize("has_one", [True, False], ids=["with a lifespan", "without"])
async def test_the_client_lives_as_long_as_the_server(has_one: bool) -> None:
    """Whether the application knows of a lifespan or not; what waits is delivered at the end."""
    script = Script()
    shop = Shop(lifespan=has_one)
    app = around(shop, script)
    async with running(app) as state:
        await call(app, "/a", headers=claimed_by(ANN), state=state)
        client = state["alhena"]
        assert not script.sent
    assert script.what == ["/a:ITEM_ADDED:1"]
    assert shop.calls == (["up", "/a", "down"] if has_one else ["/a"])
    with pytest.raises(ClientClosedError):
        client.track_nowait(cart("ann"))


async def test_the_applications_own_failure_is_the_servers_to_hear() -> None:
    """The client is closed, and the message passed on."""
    script = Script()
    sent: list[Any] = []

    async def receive() -> dict[str, str]:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        sent.append(message)

    app = around(Shop(failure="no database"), script)
    scope = {"type": "lifespan", "state": {}}
    await app(scope, receive, send)
    assert sent == [{"type": "lifespan.startup.failed", "message": "no database"}]


@pytest.mark.parametrize("scope", [{"type": "lifespan", "state": {}}, {"type": "lifespan"}])
async def test_an_application_that_fails_to_start_is_no_application_without_a_lifespan(
    scope: dict[str, Any],
) -> None:
    """It raises once it has been told to start: the server hears so, and the client is closed."""
    script = Script()
    sent: list[Any] = []

    async def shop(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        raise ValueError("the database is down")

    async def receive() -> dict[str, str]:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        assert script.closed == 1
        sent.append(message)

    app = AlhenaMiddleware(shop, client=lambda: client_over(script))
    with pytest.raises(ValueError, match="the database is down"):
        await app(scope, receive, send)
    [failed] = sent
    assert failed["type"] == "lifespan.startup.failed"
    assert "the database is down" in failed["message"]


async def test_a_client_that_cannot_be_made_stops_the_start() -> None:
    """The server hears what is wrong, and the application of nothing."""
    sent: list[Any] = []

    async def receive() -> dict[str, str]:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        sent.append(message)

    shop = Shop()
    with pytest.raises(ValueError, match="region must be one of"):
        await AlhenaMiddleware(shop, "shop", region="mars")({"type": "lifespan"}, receive, send)
    assert sent[0]["type"] == "lifespan.startup.failed"
    assert "region must be one of" in sent[0]["message"]
    assert shop.calls == []


async def test_without_a_lifespan_the_first_request_begins_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Once for all, also where many come at once; the log says that no end will be told."""
    caplog.set_level(logging.INFO)
    script = Script()
    app = around(Shop(), script)

    async def ask(number: int) -> None:
        await call(app, f"/{number}", headers=claimed_by(ANN))

    await asyncio.gather(*map(ask, range(5)))
    [told] = [record for record in caplog.records if "no lifespan" in record.message]
    assert told.levelno == logging.WARNING  # this caller is no server that is known
    assert "AlhenaMiddleware.close()" in told.message
    await app.close()
    assert len(script.sent) == 5
    await call(app, "/again")  # a new life
    await app.close()


async def test_a_request_that_goes_away_does_not_take_the_start_with_it() -> None:
    """The first one is cancelled while the client starts; the second one gets the same client."""
    gate = asyncio.Event()
    made: list[AlhenaClient] = []

    class Slow(Script):
        async def open(self) -> None:
            await gate.wait()
            await super().open()

    script = Slow()

    def make() -> AlhenaClient:
        made.append(client_over(script, queue=PATIENT))
        return made[-1]

    app = AlhenaMiddleware(Shop(), client=make)
    first = asyncio.create_task(call(app, "/first"), name="first")
    second = asyncio.create_task(call(app, "/second"), name="second")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    first.cancel()
    gate.set()
    assert (await second).status == 204
    assert first.cancelled()
    assert len(made) == 1
    await app.close()


async def test_a_start_that_failed_is_tried_again_by_the_next_request() -> None:
    """Each failure of its arguments is the request's own."""
    script = Script()
    attempts: list[int] = []

    def make() -> AlhenaClient:
        attempts.append(1)
        if len(attempts) == 1:
            raise ValueError("not yet")
        return client_over(script)

    app = AlhenaMiddleware(Shop(), client=make)
    with pytest.raises(ValueError, match="not yet"):
        await call(app, "/a")
    assert (await call(app, "/b")).status == 204
    await app.close()


@pytest.fixture
def no_directory(tmp_path: Path) -> Path:
    """Where a journal should be, and cannot be."""
    place = tmp_path / "file"
    place.write_text("no directory")
    return place


async def test_a_shop_goes_on_where_its_journal_cannot_be_used(
    no_directory: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages are served, nothing is accepted, health says why; once it is mended, all is well."""
    caplog.set_level(logging.INFO)
    script = Script()
    accepted: list[bool] = []

    async def shop(scope: Any, receive: Any, send: Any) -> None:
        client = current_client()
        assert isinstance(client, AlhenaClient)
        accepted.append(False)
        with client.reporting():
            client.track_nowait(cart("ann"))
            accepted[-1] = True
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    app = AlhenaMiddleware(
        shop, client=lambda: client_over(script, journal=no_directory), health_path="/health"
    )
    for _ in range(3):
        assert (await call(app, "/")).status == 204
        health = await call(app, "/health")
        assert health.status == 503
        assert str(no_directory) in json.loads(health.body)["reason"]
    assert accepted == [False] * 3
    told = [one.message for one in caplog.records if "the client cannot start" in one.message]
    assert len(told) == 1  # one try, as the next one has to wait
    monkeypatch.setattr("alhena_async.integrations._lazily._RETRY_AFTER", 0.0)
    for _ in range(4):
        await call(app, "/")
    told = [one.message for one in caplog.records if "the client cannot start" in one.message]
    assert len(told) == 1  # sampled
    assert caplog.text.count("tells no start and no end") == 1
    await asyncio.to_thread(no_directory.unlink)
    assert (await call(app, "/")).status == 204
    assert accepted[-1]
    assert (await call(app, "/health")).status == 200
    await app.close()
    assert len(script.sent) == 1


async def test_health_tells_also_what_cannot_be_made() -> None:
    """503 and a reason, where another request fails; the script needs no client at all."""
    app = AlhenaMiddleware(Shop(), "shop", region="mars", health_path="/health")
    health = await call(app, "/health")
    assert health.status == 503
    assert "region must be one of" in json.loads(health.body)["reason"]
    assert (await call(app, "/alhena-visitor.js")).status == 200
    with pytest.raises(ValueError, match="region must be one of"):
        await call(app, "/")


async def test_the_script_begins_nothing() -> None:
    """It is the same whatever becomes of the client."""
    script = Script()
    app = around(Shop(), script)
    assert (await call(app, "/alhena-visitor.js")).status == 200
    assert script.opened == 0


def test_each_loop_has_a_client_of_its_own() -> None:
    """As in a test that runs each request on another loop."""
    script = Script()
    app = around(Shop(), script)

    async def request() -> None:
        await call(app, "/a", headers=claimed_by(ANN))
        await app.close()

    asyncio.run(request())
    asyncio.run(request())
    assert len(script.sent) == 2


def test_starlettes_test_client_without_its_with() -> None:
    """What a request tracked is delivered before it returns; within the `with`, at its end."""
    script = Script()
    browser = TestClient(around(Shop(), script), headers=dict(CLAIM))
    for number in range(2):
        browser.get(f"/{number}")
        assert len(script.sent) == number + 1
    with browser:
        browser.get("/2")
        assert len(script.sent) == 2
    assert len(script.sent) == 3


def test_a_websocket_of_starlettes_test_client() -> None:
    """Its loop ends with it as well: what was tracked is delivered before."""
    script = Script()

    async def shop(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        current_client().track_nowait(cart("ann"))  # type: ignore[union-attr]
        await send({"type": "websocket.send", "text": "tracked"})
        await send({"type": "websocket.close", "code": 1000})

    app = AlhenaMiddleware(shop, client=lambda: client_over(script, queue=PATIENT))
    with TestClient(app).websocket_connect("/") as socket:
        assert socket.receive_text() == "tracked"
        assert socket.receive()["type"] == "websocket.close"
        while not script.closed:
            socket.portal.call(asyncio.sleep, 0)
    assert len(script.sent) == 1


@pytest.mark.parametrize(
    "claims",
    [
        {"client": ("testclient", 50000)},
        {"client": ("testclient", 50000), "extensions": {"http.response.trailers": {}}},
        {"headers": [(b"user-agent", b"testclient"), (b"host", b"testserver")]},
    ],
)
async def test_no_request_can_have_the_client_closed(claims: dict[str, Any]) -> None:
    """Who asks is what a proxy was told; another customer's request goes on."""
    script = Script()
    made: list[AlhenaClient] = []

    def make() -> AlhenaClient:
        made.append(client_over(script))
        return made[-1]

    async def send(message: Any) -> None:
        pass

    app = AlhenaMiddleware(Shop(), client=make)
    scope = {"type": "http", "method": "GET", "path": "/a", "headers": [], **claims}
    for _ in range(2):
        await app(dict(scope), None, send)  # type: ignore[arg-type]
    assert len(made) == 1
    assert made[0].health().ready
    await app.close()


async def test_a_process_that_freezes_after_its_answer_has_delivered_before() -> None:
    """Mangum's scope: nothing lingers past the request, and the client serves the next one too."""
    script = Script()
    app = around(Shop(), script)

    async def invoke(path: str) -> None:
        async def send(message: Any) -> None:
            pass

        scope = {"type": "http", "method": "GET", "path": path, "headers": claimed_by(ANN)}
        await app({**scope, "aws.event": {}}, None, send)  # type: ignore[arg-type]

    for number in range(3):
        await invoke(f"/{number}")
        assert len(script.sent) == number + 1
    await app.close()


async def test_a_handler_that_raises_before_the_freeze_has_delivered_as_well() -> None:
    """Its error is the server's to hear, once what it tracked is delivered."""
    script = Script()

    async def shop(scope: Any, receive: Any, send: Any) -> None:
        current_client().track_nowait(cart("ann"))  # type: ignore[union-attr]
        raise ValueError("the handler failed")

    app = AlhenaMiddleware(shop, client=lambda: client_over(script, queue=PATIENT))
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "aws.event": {}}
    with pytest.raises(ValueError, match="the handler failed"):
        await app(scope, None, None)  # type: ignore[arg-type]
    assert len(script.sent) == 1
    await app.close()


async def test_what_could_not_be_delivered_before_the_freeze_is_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The API does not answer: the request is answered all the same, after the drain's time."""
    script = Script(otherwise=HANG)
    app = around(Shop(), script, drain_timeout=0.01)

    async def send(message: Any) -> None:
        pass

    scope = {"type": "http", "method": "GET", "path": "/a", "headers": claimed_by(ANN)}
    await app({**scope, "aws.event": {}}, None, send)  # type: ignore[arg-type]
    assert "1 events were not delivered within 0.01 s" in caplog.text
    await app.close(0)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are a POSIX matter")
def test_a_server_that_dies_by_its_signal_hears_of_it_once_all_is_delivered() -> None:
    """A stand-in for uvicorn's module and handler; the second signal is passed on at once."""
    script = Script()
    app = around(Shop(), script)
    heard: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    twice = asyncio.Event()

    def server(number: int, _: object) -> None:
        heard.append(number)
        if len(heard) == 2:
            twice.set()

    signal.signal(signal.SIGTERM, server)
    namespace = {"__name__": "uvicorn.stand_in", "call": call}
    exec("async def request(*args, **kwargs): return await call(*args, **kwargs)", namespace)
    request: Any = namespace["request"]

    async def main() -> None:
        await request(app, "/a", headers=claimed_by(ANN))
        signal.raise_signal(signal.SIGTERM)
        assert heard == []
        signal.raise_signal(signal.SIGTERM)
        assert heard == [signal.SIGTERM]
        await call(app, "/b", headers=claimed_by(ANN))  # told to end: delivered before its answer
        assert len(script.sent) == 2
        await twice.wait()
        await app.close()

    try:
        asyncio.run(main())
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_arguments_that_cannot_work_are_refused_at_once() -> None:
    """Where the application is made, not where it is served."""
    with pytest.raises(TypeError, match="either a client, or a company key"):
        AlhenaMiddleware(Shop(), "shop", client=AlhenaClient("shop"))
    with pytest.raises(ValueError, match="drain_timeout"):
        AlhenaMiddleware(Shop(), "shop", drain_timeout=-1)
    with pytest.raises(ValueError, match="script_path"):
        AlhenaMiddleware(Shop(), "shop", script_path="alhena.js")
