"""Starlette under uvicorn or hypercorn: `uvicorn starlette_app:app`."""

import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from alhena_async import CartEvent
from alhena_async.integrations.asgi import (
    VisitorMiddleware,
    alhena_lifespan,
    client_of,
    visitor_of,
)


async def add(request: Request) -> PlainTextResponse:
    """Put a product into the cart, and report it."""
    sku, alhena = request.path_params["sku"], client_of(request)
    if visitor := visitor_of(request):
        with alhena.reporting():
            await alhena.track(CartEvent.for_change(visitor, before=0, after=1, product_id=sku,
                product_name="Mug", value=9.5, currency="EUR"))
            return PlainTextResponse(f"tracked {sku} in {os.getpid()}")
    return PlainTextResponse("added")


app = Starlette(routes=[Route("/cart/{sku}", add, methods=["POST"])], lifespan=alhena_lifespan())
app.add_middleware(VisitorMiddleware)
