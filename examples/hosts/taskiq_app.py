"""taskiq: `taskiq worker --shutdown-timeout 30 taskiq_app:broker`."""

import logging
import os
from typing import Annotated, Any

from taskiq import Context, TaskiqDepends, TaskiqEvents, TaskiqState
from taskiq_redis import ListQueueBroker

from alhena_async import AlhenaClient, CartEvent, Visitor

log = logging.getLogger("shop")
broker = ListQueueBroker(os.environ.get("REDIS_URL", "redis://localhost"))


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def startup(state: TaskiqState) -> None:
    state.alhena = AlhenaClient.from_env()
    await state.alhena.start()


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def shutdown(state: TaskiqState) -> None:
    await state.alhena.close(10)


@broker.task
async def cart_changed(change: dict[str, Any], ctx: Annotated[Context, TaskiqDepends()]) -> None:
    visitor = Visitor(**change.pop("visitor"))
    await ctx.state.alhena.track(CartEvent.for_change(visitor, **change))
    log.warning("tracked %s in %d", change["product_id"], os.getpid())
