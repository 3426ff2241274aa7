"""A function that is frozen between its invocations, as on AWS Lambda."""

from typing import Any

from alhena_async import CartEvent, Visitor
from alhena_async.sync import SyncAlhenaClient

alhena = SyncAlhenaClient.from_env()  # serves every invocation of the process


def handler(event: dict[str, Any], context: object = None) -> str:
    visitor = Visitor(**event.pop("visitor"))
    with alhena.reporting():
        alhena.track(CartEvent.for_change(visitor, **event))
        alhena.flush(timeout=5)  # the process may be frozen as soon as it has answered
    return "added"
