"""WSGI: Flask, Django and any other framework whose handlers are plain functions.

Nothing here imports a framework::

    alhena = SyncAlhenaClient("my-company", region="eu")
    app.wsgi_app = AlhenaMiddleware(app.wsgi_app, client=alhena)     # Flask
    application = AlhenaMiddleware(get_wsgi_application(), client=alhena)     # Django

    def add():                                   # a handler, or whatever it calls
        if visitor := current_visitor():
            with alhena.reporting():
                alhena.track(CartEvent(visitor=visitor, ...))
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any, Final, Self

from alhena_async._context import begin_request
from alhena_async.browser import (
    COOKIE_NAME,
    HEADER_NAME,
    SCRIPT_PATH,
    ScriptReply,
    VisitorReader,
    script_reply,
)
from alhena_async.events import Visitor
from alhena_async.integrations._health import health_reply
from alhena_async.integrations._serving import checked_path
from alhena_async.sync import SyncAlhenaClient

__all__ = ["AlhenaMiddleware"]

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
App = Callable[[Environ, StartResponse], Iterable[bytes]]

_VISITOR: Final = "alhena.visitor"
_CLIENT: Final = "alhena.client"


class AlhenaMiddleware:
    """Serves the browser's script, and gives each request its client and its visitor.

    Both stand in `environ["alhena.client"]` and `environ["alhena.visitor"]`, and are what
    `alhena_async.current_client()` and `current_visitor()` return until the response is over.

    Args:
        app: The WSGI application behind it.
        client: The shop's client. It begins at the first event, in each worker process; it is
            closed, and what waits is delivered, as the process ends.
        script_path: Where the script is served, below the application's root; None: not.
        cookie_name: The cookie that the visitor is read from.
        header_name: The header that wins over it.
        health_path: Where the client's health is served, below the application's root, as
            `docs/observability.md` tells. None (default): nowhere.

    Raises:
        TypeError: The client is none.
        ValueError: A path or a name cannot work.
    """

    def __init__(
        self,
        app: App,
        *,
        client: SyncAlhenaClient,
        script_path: str | None = SCRIPT_PATH,
        cookie_name: str = COOKIE_NAME,
        header_name: str = HEADER_NAME,
        health_path: str | None = None,
    ) -> None:
        if not isinstance(client, SyncAlhenaClient):
            raise TypeError(f"client must be a SyncAlhenaClient, not {type(client).__name__}")
        self.app = app
        self.client = client
        self._health_path = checked_path("health_path", health_path)
        self._script_path = checked_path("script_path", script_path)
        self._reader = VisitorReader(cookie_name=cookie_name, header_name=header_name)
        self._variables = {
            f"HTTP_{name.upper().replace('-', '_')}": name.encode()
            for name in ("cookie", header_name)
        }

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Handle one request."""
        if self._script_path is not None and environ.get("PATH_INFO") == self._script_path:
            return _script(environ, start_response)
        if self._health_path is not None and environ.get("PATH_INFO") == self._health_path:
            query = environ.get("QUERY_STRING", "").encode("latin-1", "replace")
            return _respond(health_reply(self.client, query), start_response)
        environ[_CLIENT] = self.client
        environ[_VISITOR] = visitor = self._visitor_of(environ)
        context = contextvars.copy_context()
        context.run(begin_request, self.client, visitor)
        body = context.run(self.app, environ, start_response)
        if isinstance(body, list | tuple) or _is_file(body, environ):
            return body  # made already: a server does better with what it knows
        return _Body(body, context)

    def _visitor_of(self, environ: Environ) -> Visitor | None:
        return self._reader.read(
            (name, environ[variable].encode("latin-1", errors="replace"))
            for variable, name in self._variables.items()
            if variable in environ
        )


class _Body:
    """A response's body, made in the context of its request: it may be a generator.

    Args:
        body: The application's.
        context: Of its request.
    """

    def __init__(self, body: Iterable[bytes], context: contextvars.Context) -> None:
        self._body = body
        self._context = context
        self._parts: Iterator[bytes] | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        if self._parts is None:
            self._parts = self._context.run(iter, self._body)
        return self._context.run(next, self._parts)

    def close(self) -> None:
        """Close the application's body, as WSGI asks for."""
        close = getattr(self._body, "close", None)
        if close is not None:
            self._context.run(close)


def _is_file(body: object, environ: Environ) -> bool:
    wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(wrapper, type) and isinstance(body, wrapper)


def _script(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    reply = script_reply(
        environ["REQUEST_METHOD"], if_none_match=environ.get("HTTP_IF_NONE_MATCH", "")
    )
    return _respond(reply, start_response)


def _respond(reply: ScriptReply, start_response: StartResponse) -> Iterable[bytes]:
    status = HTTPStatus(reply.status)
    start_response(f"{status.value} {status.phrase}", list(reply.headers))
    return [reply.body]
