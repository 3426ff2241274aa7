"""What stands at a JetStream server, looked at and made: the I/O of `alhena relay`."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import attrs

from alhena_async.relay import _topology
from alhena_async.relay._topology import Plan, Request, Topology, TopologyError

if TYPE_CHECKING:
    from alhena_async.relay._connection import Connection
    from alhena_async.relay._jetstream import JetStream

__all__ = ["Standing", "connected", "look", "make", "moment"]

_REQUESTS_AT_ONCE: Final = 16


@attrs.frozen(kw_only=True)
class Standing:
    """What stands at a server."""

    topology: Topology | None
    """None: there is no stream of ours, and none of its name."""
    has_letters: bool
    waiting: int = 0
    """Events that are not acknowledged."""
    bytes: int = 0
    """What they take of the stream's bound."""
    oldest_at: dt.datetime | None = None
    """When the oldest of them was published; None if there is none."""
    dead_letters: int = 0


@asynccontextmanager
async def connected(broker: JetStream) -> AsyncIterator[Connection]:
    """Be connected while the block runs.

    Raises:
        TransportError: No server can be reached.
        ValueError: It can never work.
    """
    connection = await broker.dialler().connect()
    try:
        yield connection
    finally:
        await connection.close()


async def look(connection: Connection, prefix: str) -> Standing:
    """Return what stands.

    Raises:
        TopologyError: It is not ours, or of a newer version.
        TransportError: The server does not say.
    """
    events = await connection.stream(_topology.stream_name(prefix))
    letters = await connection.stream(_topology.letters_name(prefix))
    count = 0 if letters is None else int(letters["state"]["messages"])
    has_letters = letters is not None
    if events is None:
        return Standing(topology=None, has_letters=has_letters, dead_letters=count)
    state = events["state"]
    return Standing(
        topology=_topology.read(prefix, events["config"]),
        has_letters=has_letters,
        waiting=int(state["messages"]),
        bytes=int(state["bytes"]),
        oldest_at=moment(state["first_ts"]) if state["messages"] else None,
        dead_letters=count,
    )


async def make(connection: Connection, plan: Plan, *, changes: bool) -> None:
    """Do what a plan says.

    Args:
        connection: To the server.
        plan: What is missing, and what differs.
        changes: Whether what differs is changed too.

    Raises:
        TransportError: The server did not do it; what was done by then stays.
    """
    for request in (*(plan.changes if changes else ()), *plan.requests):
        if not _is_consumers(request):
            await connection.api(request.subject, request.payload)
    consumers = [one for one in plan.requests if _is_consumers(one)]
    if changes and plan.changes:
        consumers = [one for one in plan.changes if _is_consumers(one)]
    for start in range(0, len(consumers), _REQUESTS_AT_ONCE):
        some = consumers[start : start + _REQUESTS_AT_ONCE]
        await asyncio.gather(*(connection.api(one.subject, one.payload) for one in some))


def _is_consumers(request: Request) -> bool:
    return request.subject.startswith("CONSUMER.CREATE.")


def moment(text: str) -> dt.datetime:
    """Read a moment; the server's have nine digits behind the second."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    micro = int((fraction + "000000")[:6])
    return dt.datetime.fromisoformat(whole).replace(microsecond=micro, tzinfo=dt.UTC)


def topology_error_in(error: BaseException) -> TopologyError | None:
    """Return why a stream cannot be used, where that is behind an error."""
    cause = error.__cause__
    return cause if isinstance(cause, TopologyError) else None
