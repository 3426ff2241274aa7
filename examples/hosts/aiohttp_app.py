"""aiohttp.web: `python -m aiohttp.web aiohttp_app:application`."""

import os

from aiohttp import web

from alhena_async import CartEvent
from alhena_async.integrations.aiohttp import (
    alhena_cleanup_ctx,
    client_of,
    visitor_middleware,
    visitor_of,
)


async def add(request: web.Request) -> web.Response:
    sku, alhena = request.match_info["sku"], client_of(request)
    if visitor := visitor_of(request):
        with alhena.reporting():
            await alhena.track(CartEvent.for_change(visitor, before=0, after=1, product_id=sku,
                product_name="Mug", value=9.5, currency="EUR"))
            return web.Response(text=f"tracked {sku} in {os.getpid()}")
    return web.Response(text="added")


def application(_: list[str]) -> web.Application:
    app = web.Application(middlewares=[visitor_middleware()])
    app.cleanup_ctx.append(alhena_cleanup_ctx())
    app.router.add_post("/cart/{sku}", add)
    return app
