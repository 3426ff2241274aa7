"""Sanic, by its own server or another: one call that gives the application client and visitor.

Under another server `integrations.asgi.AlhenaMiddleware` does as well::

    app = Sanic("shop")
    setup_alhena(app, "my-company", region="eu")

    @app.post("/cart/<sku>")
    async def add(request, sku):
        if visitor := visitor_of(request):
            with client_of(request).reporting():
                client_of(request).track_nowait(CartEvent(visitor=visitor, ...))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

try:
    from sanic.response import raw
except ModuleNotFoundError as _error:
    if _error.name != "sanic":  # it is there, and lacks something of its own
        raise
    raise ModuleNotFoundError(
        "alhena_async.integrations.sanic needs Sanic: pip install sanic", name=_error.name
    ) from _error

from alhena_async._context import begin_request
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
    from sanic import HTTPResponse, Request

__all__ = ["client_of", "setup_alhena", "visitor_of"]


def setup_alhena(
    app: Any,
    company_key: str | None = None,
    *,
    client: MakeClient | None = None,
    drain_timeout: float | None = DRAIN_TIMEOUT,
    script_path: str | None = SCRIPT_PATH,
    cookie_name: str = COOKIE_NAME,
    header_name: str = HEADER_NAME,
    **arguments: Any,
) -> None:
    """Let one client run in each of an application's worker processes.

    It also serves the browser's script, and reads each request's visitor: within a request
    `alhena_async.current_client()` and `current_visitor()` return both.

    Args:
        app: The `Sanic` application.
        company_key: The organisation's public key. None, without `client`: the client is made by
            `AlhenaClient.from_env`, and `ALHENA_LINGER` and `ALHENA_CAPACITY` hold.
        client: Instead, a function that makes the client. It is closed here.
        drain_timeout: Seconds to deliver what is left, default 5; None: as long as it takes. It
            must fit into Sanic's `GRACEFUL_SHUTDOWN_TIMEOUT`.
        script_path: Where the script is served; None: not.
        cookie_name: The cookie that the visitor is read from.
        header_name: The header that wins over it.
        **arguments: Further arguments of `AlhenaClient`, as for `asgi.alhena_lifespan`.

    Raises:
        TypeError, ValueError: The arguments of this function cannot work. Those of the client
            are checked when a worker starts, and stop it.
    """
    make = client_maker(company_key, client, arguments)
    check_drain_timeout(drain_timeout)
    reader = VisitorReader(cookie_name=cookie_name, header_name=header_name)
    path = checked_path("script_path", script_path)

    async def start(app: Any) -> None:
        serving = Serving(make, drain_timeout)
        app.ctx.alhena = await serving.__aenter__()
        app.ctx.alhena_serving = serving

    async def stop(app: Any) -> None:
        if hasattr(app.ctx, "alhena_serving"):  # it is called also where the start has failed
            await app.ctx.alhena_serving.__aexit__()

    async def begin(request: Any) -> None:
        request.ctx.alhena_visitor = visitor = reader.read(_headers(request))
        begin_request(request.app.ctx.alhena, visitor)  # in a context of this request's alone

    app.register_listener(start, "before_server_start")
    app.register_listener(stop, "after_server_stop")
    app.register_middleware(begin, "request")
    if path is not None:
        app.add_route(_script, path, methods=["GET", "HEAD"], name="alhena_script")


def client_of(request: Request) -> AlhenaClient:
    """Return the client that serves a request.

    Raises:
        RuntimeError: There is none.
    """
    client: AlhenaClient | None = getattr(request.app.ctx, "alhena", None)
    if client is None:
        raise RuntimeError("no Alhena client here: call setup_alhena(app, ...) as it is made")
    return client


def visitor_of(request: Request) -> Visitor | None:
    """Return the visitor that the sender of a request claims to be; None if nobody usable."""
    try:
        visitor: Visitor | None = request.ctx.alhena_visitor
    except AttributeError:
        return read_visitor(_headers(request))
    return visitor


def _headers(request: Any) -> list[tuple[bytes, bytes]]:
    return [
        (name.encode(), value.encode("latin-1", "replace"))
        for name, value in request.headers.items()
    ]


async def _script(request: Any) -> HTTPResponse:
    condition = ",".join(request.headers.getall("if-none-match", []))
    reply = script_reply(request.method, if_none_match=condition)
    return raw(reply.body, status=reply.status, headers=dict(reply.headers))
