"""A shop on aiohttp.web, for gunicorn to import or to run by itself."""

import asyncio
import os
import socket
from typing import Final

from aiohttp import web

from alhena_async import AlhenaClient, CartEvent, Visitor
from alhena_async.integrations.aiohttp import (
    alhena_cleanup_ctx,
    client_of,
    visitor_middleware,
    visitor_of,
)
from tests.web.waiting import WAITING


def _added(sku: str, visitor: Visitor) -> CartEvent:
    return CartEvent.for_change(
        visitor, before=0, after=1, product_id=sku, product_name="Mug", value=9.5, currency="EUR"
    )


async def add(request: web.Request) -> web.Response:
    if visitor := visitor_of(request):
        with client_of(request).reporting():
            client_of(request).track_nowait(_added(request.match_info["sku"], visitor))
    return web.Response(text=str(os.getpid()))


async def add_in_a_thread(request: web.Request) -> web.Response:
    def work(alhena: AlhenaClient, visitor: Visitor) -> None:
        with alhena.reporting():
            alhena.track_threadsafe(_added(request.match_info["sku"], visitor))

    if visitor := visitor_of(request):
        await asyncio.to_thread(work, client_of(request), visitor)
    return web.Response(text=str(os.getpid()))


app = web.Application(middlewares=[visitor_middleware()])
DRAIN: Final = float(os.environ.get("DRAIN", "5"))
app.cleanup_ctx.append(alhena_cleanup_ctx(queue=WAITING, drain_timeout=DRAIN))
app.router.add_post("/cart/{sku}", add)
app.router.add_post("/thread/{sku}", add_in_a_thread)

if __name__ == "__main__":
    web.run_app(app, sock=socket.create_server(("127.0.0.1", 0)))
