"""aiohttp.web: a cleanup context, a middleware, and what finds client and visitor.

app = web.Application(middlewares=[visitor_middleware()])
app.cleanup_ctx.append(alhena_cleanup_ctx("my-company", region="eu"))

async def add(request: web.Request) -> web.Response:
    if visitor := visitor_of(request):
        with client_of(request).reporting():
            client_of(request).track_nowait(CartEvent(visitor=visitor, ...))
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from alhena_async._context import begin_request, end_request
from alhena_async.browser import (
    COOKIE_NAME,
    HEADER_NAME,
    SCRIPT_PATH,
    VisitorReader,
    read_visitor,
    script_reply,
)
from alhena_async.client import AlhenaClient
from alhena_async.events import Visitor
from alhena_async.integrations._serving import (
    DRAIN_TIMEOUT,
    MakeClient,
    Serving,
    check_drain_timeout,
    checked_path,
    client_maker,
)

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler, Middleware

__all__ = ["CLIENT", "alhena_cleanup_ctx", "client_of", "visitor_middleware", "visitor_of"]

CLIENT: Final = web.AppKey("alhena_client", AlhenaClient)
"""Where the application keeps its client: `app[CLIENT]`, for what runs beside the requests."""

# aiohttp has typed keys for requests only since 3.14, where it warns of others.
_VISITOR: Final[Any] = (
    web.RequestKey("alhena_visitor", object) if hasattr(web, "RequestKey") else "alhena_visitor"
)


def alhena_cleanup_ctx(
    company_key: str | None = None,
    *,
    client: AlhenaClient | MakeClient | None = None,
    drain_timeout: float | None = DRAIN_TIMEOUT,
    **arguments: Any,
) -> Callable[[web.Application], AsyncIterator[None]]:
    """Return an entry for `app.cleanup_ctx` that runs one client in each worker process.

    Append it first: what follows it is cleaned up before, and may still track then.

    Args:
        company_key: The organisation's public key. None, without `client`: the client is made by
            `AlhenaClient.from_env`, and the variables of `QueuePolicy` hold.
        client: Instead, a function that makes the client; or a client that is not started yet,
            which serves one run of the application only. It is closed here.
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

    async def running(app: web.Application) -> AsyncIterator[None]:
        async with Serving(make, drain_timeout) as started:
            app[CLIENT] = started
            yield

    return running


def visitor_middleware(
    *,
    script_path: str | None = SCRIPT_PATH,
    cookie_name: str = COOKIE_NAME,
    header_name: str = HEADER_NAME,
) -> Middleware:
    """Return a middleware that serves the browser's script, and reads each request's visitor.

    Within a request `alhena_async.current_visitor()` and `current_client()` return what it found.

    Args:
        script_path: Where the script is served, as the browser asks for it (in a sub-application
            with its prefix); None: not.
        cookie_name: The cookie that the visitor is read from.
        header_name: The header that wins over it.

    Raises:
        ValueError: The path or a name cannot work.
    """
    path = checked_path("script_path", script_path)
    reader = VisitorReader(cookie_name=cookie_name, header_name=header_name)

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path == path:
            return _script(request)
        request[_VISITOR] = visitor = reader.read(request.raw_headers)
        token = begin_request(request.config_dict.get(CLIENT), visitor)
        try:
            return await handler(request)
        finally:
            end_request(token)

    return middleware


def client_of(request: web.Request) -> AlhenaClient:
    """Return the client that serves a request, also within a sub-application.

    Raises:
        RuntimeError: There is none.
    """
    client = request.config_dict.get(CLIENT)
    if client is None:
        raise RuntimeError(
            "no Alhena client here: app.cleanup_ctx.append(alhena_cleanup_ctx(...)) "
            "on this application or one above it"
        )
    return client


def visitor_of(request: web.Request) -> Visitor | None:
    """Return the visitor that the sender of a request claims to be; None if nobody usable.

    Behind a `visitor_middleware` that is what it found, with its names for cookie and header;
    without one, the request is read with the usual names.
    """
    try:
        visitor: Visitor | None = request[_VISITOR]
    except KeyError:
        return read_visitor(request.raw_headers)
    return visitor


def _script(request: web.Request) -> web.Response:
    condition = ",".join(request.headers.getall("If-None-Match", []))
    reply = script_reply(request.method, if_none_match=condition)
    return web.Response(status=reply.status, headers=dict(reply.headers), body=reply.body)
