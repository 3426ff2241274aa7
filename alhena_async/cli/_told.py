"""What keeps a command from its work at a broker or a database, in one line."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from alhena_async.cli._options import CommandError
from alhena_async.errors import OutboxError
from alhena_async.relay._topology import TopologyError
from alhena_async.transports import TransportError

__all__ = ["told"]

Result = TypeVar("Result")


async def told(work: Awaitable[Result]) -> Result:
    """Await, and say in one line what keeps a command from its work.

    Raises:
        CommandError: The exit status is 2.
    """
    try:
        return await work
    except (
        TransportError,
        TopologyError,
        OutboxError,
        ValueError,
        ModuleNotFoundError,
    ) as error:
        raise CommandError(str(error)) from None
