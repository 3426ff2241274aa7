"""Sanic, by its own server: `sanic sanic_app:app --single-process`."""

import os

from sanic import HTTPResponse, Request, Sanic, text

from alhena_async import CartEvent
from alhena_async.integrations.sanic import client_of, setup_alhena, visitor_of

app = Sanic("shop")
setup_alhena(app)


@app.post("/cart/<sku>")
async def add(request: Request, sku: str) -> HTTPResponse:
    alhena = client_of(request)
    if visitor := visitor_of(request):
        with alhena.reporting():
            await alhena.track(CartEvent.for_change(visitor, before=0, after=1, product_id=sku,
                product_name="Mug", value=9.5, currency="EUR"))
            return text(f"tracked {sku} in {os.getpid()}")
    return text("added")
