"""FastStream: a lifespan, and the client in each handler's context.

app = FastStream(broker, lifespan=alhena_lifespan("my-company", region="eu"))

@broker.subscriber("cart")
async def cart_changed(change: Change, alhena: Annotated[AlhenaClient, Context()]) -> None:
    await alhena.track(to_event(change))
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any

try:
    from faststream import ContextRepo
except ModuleNotFoundError as _error:
    if _error.name != "faststream":  # it is there, and lacks something of its own
        raise
    raise ModuleNotFoundError(
        "alhena_async.integrations.faststream needs FastStream: pip install faststream",
        name=_error.name,
    ) from _error

from alhena_async.client import AlhenaClient
from alhena_async.integrations._serving import (
    DRAIN_TIMEOUT,
    MakeClient,
    Serving,
    check_drain_timeout,
    client_maker,
)

__all__ = ["alhena_lifespan"]


def alhena_lifespan(
    company_key: str | None = None,
    *,
    client: AlhenaClient | MakeClient | None = None,
    lifespan: Callable[[], AbstractAsyncContextManager[Any]] | None = None,
    drain_timeout: float | None = DRAIN_TIMEOUT,
    **arguments: Any,
) -> Callable[..., AbstractAsyncContextManager[None]]:
    """Return a lifespan for `FastStream(lifespan=...)` that runs one client in each process.

    Handlers find it in FastStream's context under the name `alhena`. It is closed after the broker
    has stopped: what handlers tracked until then is delivered.

    Args:
        company_key: The organisation's public key. None, without `client`: the client is made by
            `AlhenaClient.from_env`.
        client: Instead, a function that makes the client; or a client that is not started yet,
            which serves one run of the application only. It is closed here.
        lifespan: The application's own lifespan, without parameters; it runs inside.
        drain_timeout: Seconds to deliver what is left, default 5; None: as long as it takes.
        **arguments: Further arguments of `AlhenaClient`, as for `asgi.alhena_lifespan`.

    Raises:
        TypeError, ValueError: The arguments of this function cannot work. Those of the client
            are checked when the application starts, and stop it.
    """
    make = client_maker(company_key, client, arguments)
    check_drain_timeout(drain_timeout)

    @asynccontextmanager
    async def running(context: ContextRepo) -> AsyncIterator[None]:
        async with Serving(make, drain_timeout) as started:
            context.set_global("alhena", started)
            async with nullcontext() if lifespan is None else lifespan():
                yield

    # FastStream reads the annotation itself, and a text it could not resolve in here.
    running.__wrapped__.__annotations__["context"] = ContextRepo  # type: ignore[attr-defined]
    return running
