"""FastAPI: `uvicorn fastapi_app:app`."""

import os

from fastapi import FastAPI

from alhena_async import CartEvent
from alhena_async.integrations.fastapi import (
    ClientDep,
    VisitorDep,
    VisitorMiddleware,
    alhena_lifespan,
)

app = FastAPI(lifespan=alhena_lifespan())
app.add_middleware(VisitorMiddleware)


@app.post("/cart/{sku}")
async def add(sku: str, alhena: ClientDep, visitor: VisitorDep) -> str:
    if visitor:
        with alhena.reporting():
            await alhena.track(CartEvent.for_change(visitor, before=0, after=1, product_id=sku,
                product_name="Mug", value=9.5, currency="EUR"))
            return f"tracked {sku} in {os.getpid()}"
    return "added"
