"""What the simulation found, each reduced to a few lines."""

from __future__ import annotations

import asyncio

from alhena_async import QueuePolicy
from alhena_async._queue.admission import Admission
from alhena_async._queue.lane import Lane
from tests.scripted import cart


async def test_who_comes_while_another_is_called_in_is_given_the_room_that_is_left() -> None:
    """A caller never waits for a place while one is free that nobody else has a claim on."""
    admission = Admission(QueuePolicy(capacity=2))
    lane, event = Lane(("v", "faq-v", "shop")), cart()
    admission.take(lane, event)
    admission.take(lane, event)
    first = asyncio.create_task(admission.acquire(lane, event))
    await asyncio.sleep(0)
    second = asyncio.create_task(admission.acquire(lane, event))
    admission.release(lane, event)
    admission.release(lane, event)
    admission.grant()  # to the first, which has not come for it when the second begins to wait
    for _ in range(3):
        await asyncio.sleep(0)
    assert first.done()
    assert second.done()
    assert admission.outstanding == 2
