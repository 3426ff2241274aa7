"""FastStream, here with NATS: `python -m examples.hosts.faststream_app`."""

import asyncio
import logging
import os
from typing import Annotated, Any

from faststream import Context, FastStream
from faststream.nats import NatsBroker

from alhena_async import AlhenaClient, CartEvent, Visitor
from alhena_async.integrations.faststream import alhena_lifespan

log = logging.getLogger("shop")
broker = NatsBroker(os.environ.get("NATS_URL", "nats://localhost"))
app = FastStream(broker, lifespan=alhena_lifespan())


@broker.subscriber("cart")
async def cart_changed(change: dict[str, Any], alhena: Annotated[AlhenaClient, Context()]) -> None:
    visitor = Visitor(**change.pop("visitor"))
    await alhena.track(CartEvent.for_change(visitor, **change))
    log.warning("tracked %s in %d", change["product_id"], os.getpid())


if __name__ == "__main__":
    asyncio.run(app.run())
