"""A worker without a framework: reads orders as JSON lines from a pipe, and reports them.

    tail -f orders.jsonl | ALHENA_COMPANY_KEY=my-company python plain_worker.py

On SIGTERM it takes no more orders, delivers what it took for at most `DRAIN` seconds, and says
what it could not deliver. Give the supervisor more patience than that.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from alhena_async import AlhenaClient, CheckoutEvent, LineItem, Visitor

DRAIN = 10.0
log = logging.getLogger("worker")


async def main() -> None:
    """Consume and deliver until the input ends or this is cancelled."""
    alhena = AlhenaClient.from_env()
    await alhena.start()  # before the first order is read
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(alhena.run(drain_timeout=DRAIN), name="alhena")
            group.create_task(consume(alhena), name="orders")
    finally:
        report = await alhena.close()  # closed by now: this fetches the report
        log.info("alhena: %s", report.stats)
        if report.undelivered:
            log.error("alhena: %d events were not delivered", len(report.undelivered))


async def consume(alhena: AlhenaClient) -> None:
    """Take order after order; a full client makes this wait, and the pipe behind it too."""
    async for line in lines_of_stdin():
        await alhena.track(checkout(json.loads(line)))
    await alhena.close(DRAIN)  # lets `run` return, and with it the group end


def checkout(order: dict[str, Any]) -> CheckoutEvent:
    """Make the event of an order as this shop writes it."""
    return CheckoutEvent(
        visitor=Visitor(**order["visitor"]),
        value=order["total"],
        currency=order["currency"],
        order_id=order["id"],
        line_items=[LineItem(**line) for line in order["lines"]],
    )


async def lines_of_stdin() -> AsyncIterator[bytes]:
    """Read a pipe without blocking the loop."""
    reader = asyncio.StreamReader()
    pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    try:
        async for line in reader:
            yield line
    finally:
        pipe.close()


async def until_sigterm() -> None:
    """Run `main`, and let SIGTERM cancel it, as Ctrl-C does anyway."""
    task = asyncio.create_task(main(), name="main")
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with suppress(asyncio.CancelledError):
        await task


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(until_sigterm())
