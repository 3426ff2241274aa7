"""A shop on Flask, as a server imports it: `ALHENA_*` variables say where events go."""

import os

from flask import Flask

from alhena_async import CartEvent, current_visitor
from alhena_async.integrations.wsgi import AlhenaMiddleware
from alhena_async.sync import SyncAlhenaClient
from tests.web.waiting import WAITING

app = Flask("shop")
alhena = SyncAlhenaClient.from_env(queue=WAITING)
app.wsgi_app = AlhenaMiddleware(app.wsgi_app, client=alhena)  # type: ignore[method-assign]


@app.post("/cart/<sku>")
@app.post("/thread/<sku>")
def add(sku: str) -> str:
    if visitor := current_visitor():
        with alhena.reporting():
            alhena.track(CartEvent.for_change(
                visitor, before=0, after=1, product_id=sku, product_name="Mug", value=9.5,
                currency="EUR",
            ))  # fmt: skip
    return str(os.getpid())


print("the shop is loaded", flush=True)  # noqa: T201  which the test waits for
