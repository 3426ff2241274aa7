"""Waits to the end of something whatever cancels, and tells requests to cancel apart.

asyncio delivers a request to cancel once. A scope of anyio delivers its one request again at every
turn of the loop, for as long as the task waits for anything.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["wait_out"]


async def wait_out(
    work: asyncio.Future[Any], on_cancelled: Callable[[], object]
) -> asyncio.CancelledError | None:
    """Wait until `work` is done, and never before that.

    The cancellation that is being handled by the caller, if there is one, is not a new request
    when it is delivered again.

    Args:
        work: A task of its own, which no scope of the caller's cuts.
        on_cancelled: Called at the first new request to cancel.

    Returns:
        The first new request, for the caller to raise; None if there was none.
    """
    handled = sys.exception()
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait({work})
        except asyncio.CancelledError as error:
            if cancelled is None and not _is_delivered_again(error, handled):
                cancelled = error
                on_cancelled()
    return cancelled


def _is_delivered_again(error: asyncio.CancelledError, handled: BaseException | None) -> bool:
    """Return whether it is the request that is being handled: anyio's scopes say whose it is."""
    while handled is not None and not isinstance(handled, asyncio.CancelledError):
        handled = handled.__context__
    return handled is not None and handled.args == error.args and "cancel scope" in str(error)
