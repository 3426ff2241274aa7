"""Report cart and checkout events from a taskiq worker.

    ALHENA_COMPANY_KEY=my-company REDIS_URL=redis://localhost \
        taskiq worker --shutdown-timeout 30 taskiq_worker:broker

One client for each worker process: started with it, closed with it. On SIGTERM taskiq lets what
runs finish and then calls `shutdown`, which delivers what was accepted, for `--shutdown-timeout`
seconds at most: the default of 5 would cut `DRAIN` short.
"""

from __future__ import annotations

import logging
import os
from typing import Annotated, Any

from taskiq import Context, SimpleRetryMiddleware, TaskiqDepends, TaskiqEvents, TaskiqState
from taskiq_redis import ListQueueBroker

from alhena_async import AlhenaClient, CartEvent, CheckoutEvent, LineItem, Visitor

DRAIN = 20.0
log = logging.getLogger("worker")

broker = ListQueueBroker(os.environ.get("REDIS_URL", "redis://localhost"))
broker.add_middlewares(SimpleRetryMiddleware(default_retry_count=5))


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def startup(state: TaskiqState) -> None:
    """Make the process's client, on its event loop."""
    state.alhena = AlhenaClient.from_env()
    await state.alhena.start()


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def shutdown(state: TaskiqState) -> None:
    """Deliver what was accepted, and say what could not be."""
    report = await state.alhena.close(DRAIN)
    log.info("alhena: %s", report.stats)
    if report.undelivered:
        log.error("alhena: %d events were not delivered", len(report.undelivered))


def running_client(context: Annotated[Context, TaskiqDepends()]) -> AlhenaClient:
    """Give a task the client of its process."""
    alhena: AlhenaClient = context.state.alhena
    return alhena


Alhena = Annotated[AlhenaClient, TaskiqDepends(running_client)]


@broker.task
async def cart_changed(change: dict[str, Any], alhena: Alhena) -> None:
    """Done once the event is accepted: fast, and lost if the worker is killed outright."""
    visitor = Visitor(**change.pop("visitor"))
    await alhena.track(CartEvent.for_change(visitor, **change))


@broker.task(retry_on_error=True)
async def order_placed(order: dict[str, Any], alhena: Alhena) -> str:
    """Done once Alhena has answered; a `TimeoutError` is tried again.

    The order id makes that safe: Alhena records an order once, and says so the second time.
    """
    event = CheckoutEvent(
        visitor=Visitor(**order["visitor"]),
        value=order["total"],
        currency=order["currency"],
        order_id=order["id"],
        line_items=[LineItem(**line) for line in order["lines"]],
    )
    outcome = await alhena.record(event, timeout=60)
    return str(outcome.status)
