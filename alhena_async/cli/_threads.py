"""Runs what may block for ever beside the event loop, such that nothing waits for it at the end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = ["in_thread"]

Result = TypeVar("Result")


async def in_thread(call: Callable[[], Result]) -> Result:
    """Run what may block for ever in a thread that holds nobody up at the end."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def end(result: Result | None, problem: Exception | None) -> None:
        if future.cancelled():
            return
        if problem is not None:
            future.set_exception(problem)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # it is one, without a problem

    def run() -> None:
        result, problem = None, None
        try:
            result = call()
        except Exception as raised:  # noqa: BLE001  whoever waits gets it
            problem = raised
        if not loop.is_closed():
            loop.call_soon_threadsafe(end, result, problem)

    threading.Thread(target=run, name="alhena-looking", daemon=True).start()
    return await future
