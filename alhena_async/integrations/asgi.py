"""Starlette and other ASGI frameworks: a lifespan, a middleware, and what finds client and visitor.

Nothing here imports a framework. FastAPI's dependencies stand in `integrations.fastapi`, which has
all of these names too::

    app = Starlette(routes=routes, lifespan=alhena_lifespan("my-company", region="eu"))
    app.add_middleware(VisitorMiddleware)

    async def add(request: Request) -> Response:
        if visitor := visitor_of(request):
            with client_of(request).reporting():
                client_of(request).track_nowait(CartEvent(visitor=visitor, ...))
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, Final

from alhena_async._context import begin_request, end_request
from alhena_async.browser import (
    COOKIE_NAME,
    HEADER_NAME,
    SCRIPT_PATH,
    VisitorReader,
    read_visitor,
    script_reply,
)
from alhena_async.browser._script import checked_script_path
from alhena_async.client import AlhenaClient
from alhena_async.events import Visitor
from alhena_async.integrations._serving import (
    DRAIN_TIMEOUT,
    MakeClient,
    Serving,
    check_drain_timeout,
    client_maker,
)

__all__ = ["VisitorMiddleware", "alhena_lifespan", "client_of", "visitor_of"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
State = Mapping[str, Any]
Lifespan = Callable[[Any], AbstractAsyncContextManager[State | None]]

_CLIENT: Final = "alhena"
_VISITOR: Final = "alhena_visitor"


def alhena_lifespan(
    company_key: str | None = None,
    *,
    client: AlhenaClient | MakeClient | None = None,
    lifespan: Lifespan | None = None,
    drain_timeout: float | None = DRAIN_TIMEOUT,
    **arguments: Any,
) -> Callable[[Any], AbstractAsyncContextManager[State]]:
    """Return a lifespan that runs one client in each worker process.

    The client is made and started in the worker, so a server that forks after loading the
    application is fine. When the server stops, the application's own lifespan ends first (and may
    still track), then the client delivers what is left.

    Args:
        company_key: The organisation's public key. None, without `client`: the client is made by
            `AlhenaClient.from_env`, and `ALHENA_LINGER` and `ALHENA_CAPACITY` hold.
        client: Instead, a function that makes the client; or a client that is not started yet,
            which serves one run of the application only. It is closed here.
        lifespan: The application's own lifespan; it runs inside, and its state is passed on.
        drain_timeout: Seconds to deliver what is left, default 5; None: as long as it takes. With
            the longest request it must fit into the server's grace period.
        **arguments: Further arguments of `AlhenaClient`. Without a `queue` a full one drops the
            new event; a `QueuePolicy` of yours brings its own `overflow`. `await track`
            gives up after 0.5 s unless the `queue` has a `track_timeout`; a `client` has its own.

    Raises:
        TypeError, ValueError: The arguments of this function cannot work. Those of the client
            are checked when the application starts, and stop it.
    """
    make = client_maker(company_key, client, arguments)
    check_drain_timeout(drain_timeout)

    @asynccontextmanager
    async def running(app: Any) -> AsyncIterator[State]:
        async with Serving(make, drain_timeout) as started:
            app.state.alhena = started
            async with nullcontext() if lifespan is None else lifespan(app) as state:
                yield {**(state or {}), _CLIENT: started}

    return running


def client_of(connection: Mapping[str, Any]) -> AlhenaClient:
    """Return the client that serves a request or WebSocket.

    Args:
        connection: A Starlette `Request` or `WebSocket`, or an ASGI scope. Within a mounted
            application, that of the outermost one's lifespan is found.

    Raises:
        RuntimeError: There is none.
    """
    client = _client_in(connection)
    if client is None:
        raise RuntimeError(
            "no Alhena client here: give the outermost application "
            "lifespan=alhena_lifespan(...), and in a test run its lifespan, as "
            "`with TestClient(app)` does, or set app.state.alhena"
        )
    return client


def _client_in(connection: Mapping[str, Any]) -> AlhenaClient | None:
    client: AlhenaClient | None = (connection.get("state") or {}).get(_CLIENT)
    if client is None:
        client = getattr(getattr(connection.get("app"), "state", None), _CLIENT, None)
    return client


def visitor_of(connection: Mapping[str, Any]) -> Visitor | None:
    """Return the visitor that the sender of a request claims to be; None if nobody usable.

    Behind a `VisitorMiddleware` that is what it found, with its names for cookie and header;
    without one, the request is read with the usual names.

    Args:
        connection: A Starlette `Request` or `WebSocket`, or an ASGI scope.
    """
    try:
        visitor: Visitor | None = connection[_VISITOR]
    except KeyError:
        return read_visitor(connection["headers"])
    return visitor


class VisitorMiddleware:
    """Serves the browser's script, and reads each request's visitor.

    Within a request `alhena_async.current_visitor()` and `current_client()` return what it found.

    Args:
        app: The ASGI application behind it.
        script_path: Where the script is served, below the application's root path; None: not.
        cookie_name: The cookie that the visitor is read from.
        header_name: The header that wins over it.

    Raises:
        ValueError: The path or a name cannot work.
    """

    def __init__(
        self,
        app: App,
        *,
        script_path: str | None = SCRIPT_PATH,
        cookie_name: str = COOKIE_NAME,
        header_name: str = HEADER_NAME,
    ) -> None:
        self.app = app
        self._script_path = checked_script_path(script_path)
        self._reader = VisitorReader(cookie_name=cookie_name, header_name=header_name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        kind = scope["type"]
        if kind == "http" and _path_below_root(scope) == self._script_path:
            await _send_script(scope, send)
            return
        if kind in {"http", "websocket"}:
            # Not in scope["state"], which a server might share between requests; and in place,
            # as frameworks do, so that what stands outside still sees what the inside adds.
            scope[_VISITOR] = visitor = self._reader.read(scope["headers"])
            token = begin_request(_client_in(scope), visitor)
            try:
                await self.app(scope, receive, send)
            finally:
                end_request(token)
            return
        await self.app(scope, receive, send)


def _path_below_root(scope: Scope) -> str:
    """Return the path without the root path, which some servers and frameworks leave in."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    return path.removeprefix(root) if path.startswith(f"{root}/") else path


async def _send_script(scope: Scope, send: Send) -> None:
    conditions = [value for name, value in scope["headers"] if name.lower() == b"if-none-match"]
    reply = script_reply(scope["method"], if_none_match=b",".join(conditions).decode("latin-1"))
    headers = [(name.encode(), value.encode()) for name, value in reply.headers]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
