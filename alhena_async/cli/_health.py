"""How a relay's worker is: for the probes of whoever runs it. Counts, and no event."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
from aiohttp import web

from alhena_async.cli._options import CommandError
from alhena_async.relay import Relay

__all__ = ["serving_health"]


@asynccontextmanager
async def serving_health(relay: Relay, address: tuple[str, int] | None) -> AsyncIterator[None]:
    """Serve `/healthz`, `/readyz` and `/stats` while the block runs; nothing without an address.

    Raises:
        CommandError: The address cannot be served on.
    """
    if address is None:
        yield
        return
    runner = web.AppRunner(_application(relay), access_log=None)
    await runner.setup()
    try:
        host, port = address
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise CommandError(f"cannot serve on {host}:{port}: {error.strerror}") from None
        yield
    finally:
        await runner.cleanup()


def _application(relay: Relay) -> web.Application:
    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        is_ready = relay.stats().connected
        return web.Response(text="ready\n" if is_ready else "not ready\n",
                            status=200 if is_ready else 503)  # fmt: skip

    async def stats(_: web.Request) -> web.Response:
        return web.json_response(
            attrs.asdict(relay.stats()) | {"client": attrs.asdict(relay.client_stats())}
        )

    application = web.Application()
    application.add_routes(
        [web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/stats", stats)]
    )
    return application
