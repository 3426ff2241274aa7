"""What every integration does: make the client, start it, and drain it within the grace period."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import attrs

from alhena_async.client import AlhenaClient
from alhena_async.policies import Overflow, QueuePolicy, check_plain

__all__ = [
    "DRAIN_TIMEOUT",
    "MakeClient",
    "Serving",
    "check_drain_timeout",
    "checked_path",
    "client_maker",
]

DRAIN_TIMEOUT: Final = 5.0
"""Seconds: half of the shortest usual grace period (10 s, `docker stop`). The other half is for
the requests that are still running when the server is told to stop."""

TRACK_TIMEOUT: Final = 0.5
"""Seconds: without it, a handler that awaits `track` would hang for as long as an outage lasts once
the queue is full."""

MakeClient = Callable[[], AlhenaClient]


def client_maker(
    company_key: str | None,
    client: AlhenaClient | MakeClient | None,
    arguments: Mapping[str, Any],
) -> MakeClient:
    """Return what makes a worker's client; it is called in the worker, when that starts.

    Args:
        company_key: The organisation's public key; None: `AlhenaClient.from_env`.
        client: Instead, a client that is not started yet, or a function that makes one.
        arguments: Further arguments of the client. Without a `queue` a full one drops;
            one without a `track_timeout` gets `TRACK_TIMEOUT`.

    Raises:
        TypeError: `client` comes together with a key or arguments, which it would ignore.
    """
    if client is not None:
        if company_key is not None or arguments:
            raise TypeError("give either a client, or a company key and the client's arguments")
        return _maker_of(client)
    given = {"queue": QueuePolicy(overflow=Overflow.DROP), **arguments}
    given["queue"] = _with_track_timeout(given["queue"])
    if company_key is None:
        return lambda: AlhenaClient.from_env(**given)
    return lambda: AlhenaClient(company_key, **given)


class Serving:
    """Runs a client for as long as a worker serves: `async with Serving(...) as client`.

    No generator: a loop that ends without having ended the server closes all of its asynchronous
    generators at once, and one within another would be in the way of the outer one's end.

    Args:
        make: From `client_maker`.
        drain_timeout: Seconds to deliver what is left at the end; None: as long as it takes.

    Raises:
        ValueError, TypeError, JournalError: On entering: the client cannot be made or started;
            the worker must not begin to serve.
    """

    def __init__(self, make: MakeClient, drain_timeout: float | None) -> None:
        self._make = make
        self._drain_timeout = drain_timeout

    async def __aenter__(self) -> AlhenaClient:
        self._client = self._make()
        await self._client.start()
        return self._client

    async def __aexit__(self, *_: object) -> None:
        await self._client.close(self._drain_timeout)


def check_drain_timeout(drain_timeout: Any) -> None:
    """Check a timeout that is needed only when the server stops, which is late to find out.

    Raises:
        TypeError, ValueError: It is neither None nor a number of seconds, 0 or more.
    """
    if drain_timeout is None:
        return
    if isinstance(drain_timeout, bool) or not isinstance(drain_timeout, int | float):
        kind = type(drain_timeout).__name__
        raise TypeError(f"drain_timeout must be a number of seconds or None, not {kind}")
    if not drain_timeout >= 0:
        raise ValueError(f"drain_timeout must be 0 or more, not {drain_timeout!r}")


def _with_track_timeout(queue: Any) -> Any:
    if not isinstance(queue, QueuePolicy) or queue.track_timeout is not None:
        return queue  # what is no policy is refused by the client
    return attrs.evolve(queue, track_timeout=TRACK_TIMEOUT)


def _maker_of(client: Any) -> MakeClient:
    if isinstance(client, AlhenaClient):
        return lambda: client
    if not callable(client):
        kind = type(client).__name__
        raise TypeError(f"client must be an AlhenaClient or a function that makes one, not {kind}")
    check_plain("client", client)
    return cast("MakeClient", client)


def checked_path(name: str, path: str | None) -> str | None:
    """Return a path that can be served; None: nothing is served.

    Args:
        name: What it was given as.
        path: Where.

    Raises:
        ValueError: It does not begin with a slash.
    """
    if path is not None and not path.startswith("/"):
        raise ValueError(f"{name} must begin with a slash, or be None, not {path!r}")
    return path
