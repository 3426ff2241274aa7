"""arq: `arq arq_app.WorkerSettings`."""

import logging
import os
from typing import Any

from arq.connections import RedisSettings

from alhena_async import AlhenaClient, CartEvent, Visitor

log = logging.getLogger("shop")


async def startup(ctx: dict[str, Any]) -> None:
    ctx["alhena"] = AlhenaClient.from_env()
    await ctx["alhena"].start()


async def shutdown(ctx: dict[str, Any]) -> None:
    await ctx["alhena"].close(10)


async def cart_changed(ctx: dict[str, Any], change: dict[str, Any]) -> None:
    visitor = Visitor(**change.pop("visitor"))
    await ctx["alhena"].track(CartEvent.for_change(visitor, **change))
    log.warning("tracked %s in %d", change["product_id"], os.getpid())


class WorkerSettings:
    functions = (cart_changed,)
    on_startup, on_shutdown = startup, shutdown
    job_completion_wait = 10
    redis_settings = RedisSettings.from_dsn(os.environ.get("REDIS_URL", "redis://localhost"))
