"""The client and the visitor of the request that is being handled, for code deep in a service."""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, TypeAlias

from alhena_async.events import Visitor

if TYPE_CHECKING:
    from alhena_async.client import AlhenaClient
    from alhena_async.sync import SyncAlhenaClient

    Client: TypeAlias = AlhenaClient | SyncAlhenaClient

__all__ = ["begin_request", "current_client", "current_visitor", "end_request"]

_request: ContextVar[tuple[Client | None, Visitor | None]] = ContextVar("alhena_request")

_NONE = (None, None)


def current_client() -> AlhenaClient | SyncAlhenaClient | None:
    """Return the client of the request that is being handled here; None outside of one.

    Every middleware of `alhena_async.integrations` sets it: an `AlhenaClient` in asynchronous
    services, a `SyncAlhenaClient` behind `integrations.wsgi`. It is there in whatever the handler
    calls, awaits or starts as a task, and in `asyncio.to_thread`; not in threads started otherwise.
    """
    return _request.get(_NONE)[0]


def current_visitor() -> Visitor | None:
    """Return whom the sender of the request that is being handled here claims to be.

    None outside of a request, and where nobody usable was claimed.
    """
    return _request.get(_NONE)[1]


def begin_request(
    client: Client | None, visitor: Visitor | None
) -> Token[tuple[Client | None, Visitor | None]]:
    """Set both for the present context; `end_request` takes it back."""
    return _request.set((client, visitor))


def end_request(token: Token[tuple[Client | None, Visitor | None]]) -> None:
    """Let what stood before `begin_request` stand again."""
    _request.reset(token)
