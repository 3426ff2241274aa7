"""Any ASGI framework under any ASGI server: one middleware around the application.

Nothing here imports a framework::

    app = AlhenaMiddleware(app, "my-company", region="eu")     # Litestar, Quart, Django, Sanic, ...

    async def add(request):                                    # a handler, or whatever it calls
        if visitor := current_visitor():
            with current_client().reporting():
                current_client().track_nowait(CartEvent(visitor=visitor, ...))

Where a framework takes a lifespan and middleware of its own, as Starlette and FastAPI do, there are
`alhena_lifespan` and `VisitorMiddleware`. FastAPI's dependencies stand in `integrations.fastapi`,
which has all of these names too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextlib import (
    AbstractAsyncContextManager,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from typing import Any, Final

from alhena_async._context import begin_request, end_request
from alhena_async.browser import (
    COOKIE_NAME,
    HEADER_NAME,
    SCRIPT_PATH,
    ScriptReply,
    VisitorReader,
    read_visitor,
    script_reply,
)
from alhena_async.client import AlhenaClient
from alhena_async.events import Visitor
from alhena_async.integrations._health import health_reply
from alhena_async.integrations._lazily import ClientOfLoop, deliver, ends_with_its_request
from alhena_async.integrations._serving import (
    DRAIN_TIMEOUT,
    MakeClient,
    Serving,
    check_drain_timeout,
    checked_path,
    client_maker,
)

__all__ = ["AlhenaMiddleware", "VisitorMiddleware", "alhena_lifespan", "client_of", "visitor_of"]

_log = logging.getLogger("alhena_async")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[..., Awaitable[None]]  # each framework types the three arguments its own way
State = Mapping[str, Any]
Lifespan = Callable[[Any], AbstractAsyncContextManager[State | None]]

_CLIENT: Final = "alhena"
_OF_REQUEST: Final = "alhena_client"
_FREEZES: Final = "aws.event"
"""In the scope where the process stops as soon as it has answered (Mangum on AWS Lambda)."""
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
            `AlhenaClient.from_env`, and the variables of `QueuePolicy` hold.
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
    async def running(app: Any = None) -> AsyncIterator[State]:  # FastStream gives none
        async with Serving(make, drain_timeout) as started:
            own = nullcontext() if lifespan is None else lifespan(app)
            with _known_to(app, started):
                async with own as state:
                    yield {**(state or {}), _CLIENT: started}

    return running


@contextmanager
def _known_to(app: Any, client: AlhenaClient) -> Iterator[None]:
    """Keep the client where `client_of` finds it, should the server pass on no state."""
    state = getattr(app, "state", None)
    if state is not None:
        earlier = getattr(state, _CLIENT, None)
        setattr(state, _CLIENT, client)
        try:
            yield
        finally:
            if earlier is not None and getattr(state, _CLIENT, None) is client:
                setattr(state, _CLIENT, earlier)
        return
    loop = asyncio.get_running_loop()
    clients = _of_stateless.setdefault(loop, [])
    clients.append(client)
    try:
        yield
    finally:
        clients.remove(client)
        if not clients:
            del _of_stateless[loop]


_of_stateless: dict[asyncio.AbstractEventLoop, list[AlhenaClient]] = {}
"""Of applications without a `state`, as Quart's and FastStream's: by the loop that they run on, the
latest last, as several may run on one."""


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
            "`with TestClient(app)` does, or set app.state.alhena; or wrap it in AlhenaMiddleware"
        )
    return client


def _client_in(connection: Mapping[str, Any]) -> AlhenaClient | None:
    client: AlhenaClient | None = connection.get(_OF_REQUEST)
    if client is None:
        client = (connection.get("state") or {}).get(_CLIENT)
    if client is None:
        client = getattr(getattr(connection.get("app"), "state", None), _CLIENT, None)
    if client is None and _of_stateless:
        clients = _of_stateless.get(asyncio.get_running_loop())
        client = clients[-1] if clients else None
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
    Where a framework looks for a route before its middleware runs (Litestar), it serves no script
    unless it stands around the whole application, as `AlhenaMiddleware` does.

    Args:
        app: The ASGI application behind it.
        script_path: Where the script is served, below the application's root path; None: not.
        cookie_name: The cookie that the visitor is read from.
        header_name: The header that wins over it.
        health_path: Where the client's health is served, below the application's root path, as
            `docs/observability.md` tells. None (default): nowhere.

    Raises:
        ValueError: A path or a name cannot work.
    """

    def __init__(
        self,
        app: App,
        *,
        script_path: str | None = SCRIPT_PATH,
        cookie_name: str = COOKIE_NAME,
        header_name: str = HEADER_NAME,
        health_path: str | None = None,
    ) -> None:
        self.app = app
        self._health_path = checked_path("health_path", health_path)
        self._script_path = checked_path("script_path", script_path)
        self._reader = VisitorReader(cookie_name=cookie_name, header_name=header_name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        kind = scope["type"]
        if self.asks_for_script(scope):
            await _send_script(scope, send)
            return
        if self.asks_for_health(scope):
            await _send(send, health_reply(_client_in(scope), scope.get("query_string", b"")))
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

    def asks_for_script(self, scope: Scope) -> bool:
        """Return whether a request is for the browser's script."""
        return scope["type"] == "http" and _path_below_root(scope) == self._script_path

    def asks_for_health(self, scope: Scope) -> bool:
        """Return whether a request is for the client's health."""
        return scope["type"] == "http" and _path_below_root(scope) == self._health_path


class AlhenaMiddleware:
    """Runs the client, serves the browser's script, and gives each request client and visitor.

    It goes around the whole application: `app = AlhenaMiddleware(app, "my-company")`. The client
    starts and ends with the server, whether the application knows of a lifespan or not. A server
    that has none (daphne, granian's `asginl`, uvicorn with `--lifespan off`) lets it begin with the
    first request; what waits is delivered as the process ends, and where an unknown server may
    leave no time for that, the log says so. Under Mangum all that a request tracked is delivered
    before it is answered, also where its handler raises.

    A client that cannot start stops the start of a server with a lifespan. Without one the requests
    are answered all the same where it is its journal or its outbox that cannot be used: until that
    is mended, which is tried every 5 seconds, their client is a closed one, which accepts nothing
    (`track_nowait` raises `ClientClosedError`, which ends in a `reporting()` block). With arguments
    that cannot work each request fails. The log says why, and so does the health's 503.

    Args:
        app: The ASGI application.
        company_key: The organisation's public key. None, without `client`: the client is made by
            `AlhenaClient.from_env`, and `ALHENA_LINGER` and `ALHENA_CAPACITY` hold.
        client: Instead, a function that makes the client; or a client that is not started yet,
            which serves one run of the application only. It is closed here.
        drain_timeout: Seconds to deliver what is left, default 5; None: as long as it takes. With
            the longest request it must fit into the server's grace period.
        script_path: Where the script is served, below the application's root path; None: not.
        cookie_name: The cookie that the visitor is read from.
        header_name: The header that wins over it.
        health_path: Where the client's health is served; see `VisitorMiddleware`.
        **arguments: Further arguments of `AlhenaClient`, as for `alhena_lifespan`.

    Raises:
        TypeError, ValueError: The arguments of this function cannot work. Those of the client
            are checked when it starts.
    """

    def __init__(
        self,
        app: App,
        company_key: str | None = None,
        *,
        client: AlhenaClient | MakeClient | None = None,
        drain_timeout: float | None = DRAIN_TIMEOUT,
        script_path: str | None = SCRIPT_PATH,
        cookie_name: str = COOKIE_NAME,
        header_name: str = HEADER_NAME,
        health_path: str | None = None,
        **arguments: Any,
    ) -> None:
        self._make = client_maker(company_key, client, arguments)
        check_drain_timeout(drain_timeout)
        self._drain_timeout = drain_timeout
        self._clients = ClientOfLoop(self._make, drain_timeout)
        self.app = app
        self._requests = VisitorMiddleware(
            app,
            script_path=script_path,
            cookie_name=cookie_name,
            header_name=header_name,
            health_path=health_path,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection, or the lifespan."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        elif scope["type"] in {"http", "websocket"}:
            await self._serve(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request with this loop's client; the script needs none."""
        if self._requests.asks_for_script(scope):
            await self._requests(scope, receive, send)
            return
        is_for_health = self._requests.asks_for_health(scope)
        get = self._clients.look if is_for_health else self._clients.get
        scope[_OF_REQUEST] = client = await get()
        try:
            await self._requests(scope, receive, send)
        finally:
            if _FREEZES in scope or self._clients.is_ending:
                if isinstance(client, AlhenaClient):
                    await deliver(client, self._drain_timeout)
            elif ends_with_its_request(scope):
                await self._clients.close(self._drain_timeout)

    async def close(self, timeout: float | None = DRAIN_TIMEOUT) -> None:
        """Close the client of this event loop: for tests, and servers without a lifespan.

        The next request begins another.

        Args:
            timeout: Seconds to deliver what is left, default 5; None: as long as it takes.
        """
        await self._clients.close(timeout)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the client around the application's own lifespan, if it has one."""
        started = await receive()
        serving = Serving(self._make, self._drain_timeout)
        try:
            client = await serving.__aenter__()
        except Exception as error:  # whatever it is, the server has to hear of it
            await send({"type": "lifespan.startup.failed", "message": f"alhena: {error!r}"})
            raise
        self._clients.give(client)
        if "state" in scope:
            scope["state"][_CLIENT] = client
        await _Lifespan(self.app, serving, started, receive, send).run(scope)


class _Lifespan:
    """An application's lifespan with a client around it; its end waits for the client's.

    Args:
        app: The application.
        serving: Has the client, which runs.
        started: The server's first message, which the application gets.
        receive: The server's.
        send: The server's.
    """

    def __init__(
        self, app: App, serving: Serving, started: Message, receive: Receive, send: Send
    ) -> None:
        self._app = app
        self._serving = serving
        self._first: Message | None = started
        self._receive = receive
        self._send = send
        self._has_answered = False

    async def run(self, scope: Scope) -> None:
        """Run the application's lifespan; where it has none, be one in its place."""
        try:
            try:
                await self._app(scope, self._next, self._heard)
            except Exception as error:
                if self._has_answered:
                    raise
                if self._first is None:  # it knows of a lifespan, and has failed to start
                    failed = {"type": "lifespan.startup.failed", "message": repr(error)}
                    await self._heard(failed)
                    raise
                _log.debug("alhena: the application has no lifespan: %r", error)
            if not self._has_answered:
                await self._send({"type": "lifespan.startup.complete"})
                await self._receive()
                await self._heard({"type": "lifespan.shutdown.complete"})
        finally:
            await self._serving.__aexit__()  # at once, where it is closed already

    async def _next(self) -> Message:
        first, self._first = self._first, None
        return await self._receive() if first is None else first

    async def _heard(self, message: Message) -> None:
        self._has_answered = True
        if message["type"] != "lifespan.startup.complete":
            await self._serving.__aexit__()
        await self._send(message)


def _path_below_root(scope: Scope) -> str:
    """Return the path without the root path, which some servers and frameworks leave in."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    return path.removeprefix(root) if path.startswith(f"{root}/") else path


async def _send_script(scope: Scope, send: Send) -> None:
    conditions = [value for name, value in scope["headers"] if name.lower() == b"if-none-match"]
    reply = script_reply(scope["method"], if_none_match=b",".join(conditions).decode("latin-1"))
    await _send(send, reply)


async def _send(send: Send, reply: ScriptReply) -> None:
    headers = [(name.encode(), value.encode()) for name, value in reply.headers]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
