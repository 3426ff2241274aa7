"""A shop on FastAPI, as a server imports it: `ALHENA_*` variables say where events go."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Final

from fastapi import FastAPI, Response
from fastapi.responses import StreamingResponse

from alhena_async import CartEvent, Visitor
from alhena_async.integrations.fastapi import (
    ClientDep,
    VisitorDep,
    VisitorMiddleware,
    alhena_lifespan,
)
from tests.web.waiting import WAITING

DRAIN: Final = float(os.environ.get("DRAIN", "5"))
app = FastAPI(lifespan=alhena_lifespan(queue=WAITING, drain_timeout=DRAIN))
app.add_middleware(VisitorMiddleware)


def _added(sku: str, visitor: Visitor) -> CartEvent:
    return CartEvent.for_change(
        visitor, before=0, after=1, product_id=sku, product_name="Mug", value=9.5, currency="EUR"
    )


@app.post("/cart/{sku}")
async def add(sku: str, alhena: ClientDep, visitor: VisitorDep) -> Response:
    if visitor:
        with alhena.reporting():
            alhena.track_nowait(_added(sku, visitor))
    return Response(str(os.getpid()))


@app.post("/thread/{sku}")
def add_in_a_thread(sku: str, alhena: ClientDep, visitor: VisitorDep) -> Response:
    if visitor:
        with alhena.reporting():
            alhena.track_threadsafe(_added(sku, visitor))
    return Response(str(os.getpid()))


@app.get("/stream")
async def stream() -> Response:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"still here\n"
            await asyncio.sleep(0.05)

    return StreamingResponse(endless())
