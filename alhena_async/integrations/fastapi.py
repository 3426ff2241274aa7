"""FastAPI: the client and the visitor as dependencies of a handler.

`async def` handlers use `track_nowait`, `def` handlers `track_threadsafe`::

    app = FastAPI(lifespan=alhena_lifespan("my-company", region="eu"))
    app.add_middleware(VisitorMiddleware)

    @app.post("/cart/{sku}")
    async def add(sku: str, alhena: ClientDep, visitor: VisitorDep):
        if visitor:
            with alhena.reporting():
                alhena.track_nowait(CartEvent.for_change(visitor, before=0, after=1, ...))
"""

from __future__ import annotations

from typing import Annotated

try:
    from fastapi import Depends
    from fastapi.requests import HTTPConnection
except ModuleNotFoundError as error:
    if error.name != "fastapi":  # it is there, and lacks something of its own
        raise
    raise ModuleNotFoundError(
        "alhena_async.integrations.fastapi needs FastAPI: pip install 'alhena-async[fastapi]'",
        name=error.name,
    ) from error

from alhena_async.client import AlhenaClient
from alhena_async.events import Visitor
from alhena_async.integrations.asgi import (
    VisitorMiddleware,
    alhena_lifespan,
    client_of,
    visitor_of,
)

__all__ = [
    "ClientDep",
    "VisitorDep",
    "VisitorMiddleware",
    "alhena_client",
    "alhena_lifespan",
    "alhena_visitor",
    "client_of",
    "visitor_of",
]


# Both are `async def`: FastAPI would send each call of a plain function through a thread.


async def alhena_client(connection: HTTPConnection) -> AlhenaClient:
    """Give a handler the client; a test may put another in `app.dependency_overrides`.

    Raises:
        RuntimeError: The application has no `alhena_lifespan`, or it did not run.
    """
    return client_of(connection)


async def alhena_visitor(connection: HTTPConnection) -> Visitor | None:
    """Give a handler the visitor that the request's sender claims to be, or None."""
    return visitor_of(connection)


ClientDep = Annotated[AlhenaClient, Depends(alhena_client)]
"""A handler's parameter of this type is the worker's client."""

VisitorDep = Annotated[Visitor | None, Depends(alhena_visitor)]
"""A handler's parameter of this type is the visitor, or None where nothing usable was claimed."""
