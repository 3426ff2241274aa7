"""Report cart and checkout events from an arq worker.

    ALHENA_COMPANY_KEY=my-company REDIS_URL=redis://localhost arq arq_worker.WorkerSettings

One client for the whole worker: started with it, closed with it. On SIGTERM arq picks no more jobs,
gives those that run `job_completion_wait` seconds, keeps the rest in its queue for the next worker,
and then calls `shutdown`, which delivers what was accepted. arq waits for `shutdown` as long as it
takes; give the supervisor more patience than both together.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from arq import Retry
from arq.connections import RedisSettings

from alhena_async import AlhenaClient, CartEvent, CheckoutEvent, LineItem, Visitor

DRAIN = 20.0
log = logging.getLogger("arq.alhena")  # arq's own logging shows it


async def startup(ctx: dict[str, Any]) -> None:
    """Make the worker's client, on the worker's event loop."""
    ctx["alhena"] = AlhenaClient.from_env()
    await ctx["alhena"].start()


async def shutdown(ctx: dict[str, Any]) -> None:
    """Deliver what was accepted, and say what could not be."""
    report = await ctx["alhena"].close(DRAIN)
    log.info("alhena: %s", report.stats)
    if report.undelivered:
        log.error("alhena: %d events were not delivered", len(report.undelivered))


async def cart_changed(ctx: dict[str, Any], change: dict[str, Any]) -> None:
    """Done once the event is accepted: fast, and lost if the worker is killed outright."""
    visitor = Visitor(**change.pop("visitor"))
    await ctx["alhena"].track(CartEvent.for_change(visitor, **change))


async def order_placed(ctx: dict[str, Any], order: dict[str, Any]) -> str:
    """Done once Alhena has answered; whenever the worker is killed, arq runs it again.

    The order id makes that safe: Alhena records an order once, and says so the second time.
    """
    event = CheckoutEvent(
        visitor=Visitor(**order["visitor"]),
        value=order["total"],
        currency=order["currency"],
        order_id=order["id"],
        line_items=[LineItem(**line) for line in order["lines"]],
    )
    try:
        outcome = await ctx["alhena"].record(event, timeout=60)
    except TimeoutError:  # it stays queued in this worker; the next try asks for its outcome
        raise Retry(defer=30) from None
    return str(outcome.status)


class WorkerSettings:
    """What `arq` is pointed at."""

    functions = (cart_changed, order_placed)
    on_startup = startup
    on_shutdown = shutdown
    # Not 0, its default: a job that is cancelled while arq still fetches it from Redis ends the
    # worker with a CancelledError (arq 0.28), and `on_shutdown` is never called.
    job_completion_wait = 10
    redis_settings = RedisSettings.from_dsn(os.environ.get("REDIS_URL", "redis://localhost"))
