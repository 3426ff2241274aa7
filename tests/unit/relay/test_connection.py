"""What a connection to a broker does in the moments in which two things happen at once."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from alhena_async.relay._connection import Connection


class Answering:
    """Waits for its answer as nats-py's client does."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def flush(self, timeout: float) -> None:
        await asyncio.wait_for(self.answer, timeout)


@pytest.mark.parametrize("steps", range(6))
async def test_a_ping_is_cancelled_even_as_its_answer_comes(steps: int) -> None:
    """Otherwise whoever waits for its task to end waits for ever."""
    client = Answering()
    ping = asyncio.create_task(Connection(cast("Any", client)).ping())
    for _ in range(4):
        await asyncio.sleep(0)
    client.answer.set_result(None)
    for _ in range(steps):
        await asyncio.sleep(0)
    was_done = ping.done()
    ping.cancel()
    await asyncio.wait({ping})
    assert ping.cancelled() or was_done
