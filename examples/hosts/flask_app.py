"""Flask: `gunicorn --worker-class gthread flask_app:app`."""

import os

from flask import Flask

from alhena_async import CartEvent, current_visitor
from alhena_async.integrations.wsgi import AlhenaMiddleware
from alhena_async.sync import SyncAlhenaClient

app = Flask(__name__)
alhena = SyncAlhenaClient.from_env()
app.wsgi_app = AlhenaMiddleware(app.wsgi_app, client=alhena)  # type: ignore[method-assign]


@app.post("/cart/<sku>")
def add(sku: str) -> str:
    if visitor := current_visitor():
        with alhena.reporting():
            alhena.track(CartEvent.for_change(visitor, before=0, after=1, product_id=sku,
                product_name="Mug", value=9.5, currency="EUR"), timeout=1)
            return f"tracked {sku} in {os.getpid()}"
    return "added"
