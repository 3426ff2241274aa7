"""What the simulation found, each reduced to a few lines."""

from __future__ import annotations

import asyncio

from alhena_async._queue.admission import Admission


async def test_who_comes_while_another_is_called_in_is_given_the_room_that_is_left() -> None:
    """A caller never waits for a place while one is free that nobody else has a claim on."""
    admission = Admission(2)
    admission.take()
    admission.take()
    first = asyncio.create_task(admission.acquire())
    await asyncio.sleep(0)
    second = asyncio.create_task(admission.acquire())
    admission.release()
    admission.release()
    admission.grant()  # to the first, which has not come for it when the second begins to wait
    for _ in range(3):
        await asyncio.sleep(0)
    assert first.done()
    assert second.done()
    assert admission.outstanding == 2
