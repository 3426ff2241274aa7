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

from typing import Annotated, Any

try:
    from fastapi import Body, Depends
    from fastapi.requests import HTTPConnection
    from pydantic_core import core_schema
except ModuleNotFoundError as _error:
    if _error.name != "fastapi":  # it is there, and lacks something of its own
        raise
    raise ModuleNotFoundError(
        "alhena_async.integrations.fastapi needs FastAPI: pip install 'alhena-async[fastapi]'",
        name=_error.name,
    ) from _error

from alhena_async._stored import json_schema
from alhena_async.client import AlhenaClient
from alhena_async.events import Event, Visitor, event_from_dict
from alhena_async.integrations.asgi import (
    VisitorMiddleware,
    alhena_lifespan,
    client_of,
    visitor_of,
)

__all__ = [
    "ClientDep",
    "EventBody",
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


class _EitherKind:
    """Tells pydantic which kind a form is of, so that it is judged by that kind's rules alone."""

    def __get_pydantic_core_schema__(self, _source: Any, _handler: Any) -> Any:
        return core_schema.no_info_plain_validator_function(_event_of)

    def __get_pydantic_json_schema__(self, _core_schema: Any, _handler: Any) -> dict[str, Any]:
        return json_schema("Event")


def _event_of(given: Any) -> Event:
    return given if isinstance(given, Event) else event_from_dict(given)


EventBody = Annotated[Event, _EitherKind(), Body()]
"""A handler's parameter of this type is the event that the request's body holds.

Of one kind alone: `Annotated[CartEvent, Body()]`. Without `Body()` FastAPI looks for it in the
query.
"""
