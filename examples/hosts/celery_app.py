"""Celery, with processes or threads: `celery --app celery_app worker --pool threads`."""

import logging
import os
from typing import Any

from celery import Celery

from alhena_async import CartEvent, Visitor
from alhena_async.sync import SyncAlhenaClient

log = logging.getLogger("shop")
app = Celery("shop", broker=os.environ.get("BROKER_URL", "redis://localhost"))
alhena = SyncAlhenaClient.from_env()


@app.task
def cart_changed(change: dict[str, Any]) -> None:
    visitor = Visitor(**change.pop("visitor"))
    alhena.track(CartEvent.for_change(visitor, **change), timeout=30)
    log.warning("tracked %s in %d", change["product_id"], os.getpid())
