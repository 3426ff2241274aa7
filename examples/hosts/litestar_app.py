"""Litestar: `uvicorn litestar_app:app`."""

import os
from typing import Any

from litestar import Litestar, Request, post

from alhena_async import CartEvent
from alhena_async.integrations.asgi import AlhenaMiddleware, client_of, visitor_of


@post("/cart/{sku:str}")
async def add(sku: str, request: Request[Any, Any, Any]) -> str:
    alhena = client_of(request.scope)
    if visitor := visitor_of(request.scope):
        with alhena.reporting():
            await alhena.track(CartEvent.for_change(visitor, before=0, after=1, product_id=sku,
                product_name="Mug", value=9.5, currency="EUR"))
            return f"tracked {sku} in {os.getpid()}"
    return "added"


app = AlhenaMiddleware(Litestar([add]))
