"""The client's health as a reply, for orchestrators: 200 or 503, and why in JSON."""

from __future__ import annotations

import json
from typing import Protocol

from alhena_async.browser import ScriptReply
from alhena_async.observers import Health

__all__ = ["health_reply"]

_NO_CLIENT = Health(ready=False, alive=False, reason="no client runs in this process")


class HasHealth(Protocol):
    """A client of either kind."""

    def health(self) -> Health:
        """See `AlhenaClient.health`."""
        ...


def health_reply(client: HasHealth | None, query: bytes) -> ScriptReply:
    """Return the reply to a request for a client's health: 200 if it is ready, otherwise 503.

    Args:
        client: Whose; None where none runs.
        query: The request's. With `alive` in it the status tells whether it lives, instead.
    """
    health = _NO_CLIENT if client is None else client.health()
    is_well = health.alive if b"alive" in query.split(b"&") else health.ready
    told = {"ready": health.ready, "alive": health.alive, "reason": health.reason}
    body = json.dumps(told).encode() + b"\n"
    headers = (
        ("content-type", "application/json"),
        ("content-length", str(len(body))),
        ("cache-control", "no-store"),
    )
    return ScriptReply(status=200 if is_well else 503, headers=headers, body=body)
