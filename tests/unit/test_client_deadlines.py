"""No attempt begins past an event's deadline, even when the loop was held up."""

from __future__ import annotations

import asyncio

import pytest

from alhena_async import OutcomeStatus, QueuePolicy, RetryPolicy
from alhena_async.testing import VirtualLoop, virtual
from tests.scripted import Script, cart, client_over


@pytest.mark.parametrize(("held_up", "sent"), [(4.0, 1), (5.0, 0), (60.0, 0)])
@virtual
async def test_a_loop_that_was_held_up_sends_nothing_late(held_up: float, sent: int) -> None:
    """The worker comes to its turn before any timer does: it looks at the deadline itself."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    transport = Script()
    retry = RetryPolicy(cart_delivery_timeout=5.0)
    async with client_over(transport, queue=QueuePolicy(linger=0.0), retry=retry) as client:
        receipt = client.track_nowait(cart())
        loop.pass_time(held_up)
        outcome = await receipt
        assert outcome.attempts == len(transport.sent) == sent
        assert outcome.status is (OutcomeStatus.RECORDED if sent else OutcomeStatus.EXPIRED)
