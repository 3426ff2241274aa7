"""Speaks ASGI to an application without a server between them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, MutableMapping
from typing import Any, NamedTuple

from alhena_async import Visitor
from alhena_async.browser import encode_visitor

Message = MutableMapping[str, Any]


class Answer(NamedTuple):
    """What an application answered."""

    status: int
    headers: dict[str, str]
    body: bytes


def claimed_by(visitor: Visitor) -> list[tuple[bytes, bytes]]:
    """The header of a visitor's claim."""
    return [(b"x-alhena-visitor", encode_visitor(visitor).encode())]


async def call(
    app: Any,
    path: str,
    *,
    method: str = "GET",
    headers: Iterable[tuple[bytes, bytes]] = (),
    root_path: str = "",
    state: dict[str, Any] | None = None,
) -> Answer:
    """Send a request without a body.

    Args:
        app: An ASGI application.
        path: As the server gives it.
        method: In capitals.
        headers: Names in lower case.
        root_path: What the server was told of it.
        state: That of the lifespan; None: the server knows no such thing.
    """
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": root_path,
        "headers": list(headers),
        "server": ("shop", 80),
    }
    if state is not None:
        scope["state"] = dict(state)
    sent: list[Message] = []
    inbox: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        if not inbox:
            await asyncio.Event().wait()  # nobody hangs up
        return inbox.pop()

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    names = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], names, body)


@contextlib.asynccontextmanager
async def running(app: Any) -> AsyncIterator[dict[str, Any]]:
    """Run an application's lifespan as a server does, and give the state of it."""
    state: dict[str, Any] = {}
    inbox: asyncio.Queue[Message] = asyncio.Queue()
    outbox: asyncio.Queue[Message] = asyncio.Queue()
    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": state}
    living = asyncio.create_task(app(scope, inbox.get, outbox.put), name="lifespan")
    await inbox.put({"type": "lifespan.startup"})
    started = await outbox.get()
    try:
        if started["type"] == "lifespan.startup.complete":
            yield state
    finally:
        await inbox.put({"type": "lifespan.shutdown"})
        await living
    assert (await outbox.get())["type"] == "lifespan.shutdown.complete"
