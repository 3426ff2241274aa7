"""A shop on FastAPI that answers once an event is on disk, and stamps each with its process."""

import os
from typing import Final

from fastapi import FastAPI, Response

from alhena_async import CartEvent, CheckoutEvent, LineItem
from alhena_async.integrations.fastapi import (
    ClientDep,
    VisitorDep,
    VisitorMiddleware,
    alhena_lifespan,
)
from alhena_async.policies import BreakerPolicy, QueuePolicy, RetryPolicy
from tests.patience import PATIENCE

# After an outage of the test's length, not of the real world's, everything is tried again soon.
SOON: Final = RetryPolicy(base=0.05, cap=0.3, breaker=BreakerPolicy(open_for=0.2, open_cap=0.4))
WORKER: Final = str(os.getpid())

PATIENT: Final = QueuePolicy(track_timeout=PATIENCE)  # a busy machine's disk takes its time
DRAIN: Final = float(os.environ["DRAIN"])

app = FastAPI(lifespan=alhena_lifespan(retry=SOON, queue=PATIENT, drain_timeout=DRAIN))
app.add_middleware(VisitorMiddleware)


@app.post("/cart/{sku}")
async def add(sku: str, alhena: ClientDep, visitor: VisitorDep) -> Response:
    assert visitor is not None
    await alhena.track(
        CartEvent.for_change(
            visitor,
            before=0,
            after=1,
            product_id=sku,
            product_name="Mug",
            value=9.5,
            currency="EUR",
            source=WORKER,
        )
    )
    return Response(WORKER)


@app.post("/orders/{number}")
async def order(number: str, alhena: ClientDep, visitor: VisitorDep) -> Response:
    assert visitor is not None
    mug = LineItem(product_id=WORKER, product_name="Mug", quantity=1, value=9.5, currency="EUR")
    await alhena.track(
        CheckoutEvent(visitor=visitor, value=9.5, currency="EUR", order_id=number, line_items=[mug])
    )
    return Response(WORKER)
