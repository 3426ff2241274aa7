"""A receipt: settled exactly once, told to all who wait, harmed by none of them."""

import asyncio

import pytest

from alhena_async import Outcome, OutcomeStatus, Receipt
from alhena_async._queue.envelope import EnvelopeState
from alhena_async.testing import virtual
from tests.scripted import cart, waiting_envelope

EVENT = cart()
RECORDED = Outcome(status=OutcomeStatus.RECORDED, event=EVENT)


async def outcome_of(receipt: Receipt) -> Outcome:
    return await receipt


@virtual
async def test_settling_wakes_every_awaiter() -> None:
    """Any number may wait, before and after."""
    envelope = waiting_envelope(EVENT, 0.0)
    waiting = [asyncio.ensure_future(outcome_of(envelope)) for _ in range(3)]
    await asyncio.sleep(0)
    assert not envelope.done()
    envelope.settle(RECORDED)
    assert envelope.done()
    assert await asyncio.gather(*waiting) == [RECORDED] * 3
    assert await envelope is RECORDED
    assert envelope.state is EnvelopeState.SETTLED


@virtual
async def test_it_is_settled_once() -> None:
    """The second outcome is refused, and the first one stays."""
    envelope = waiting_envelope(EVENT, 0.0)
    envelope.settle(RECORDED)
    with pytest.raises(RuntimeError, match="settled twice"):
        envelope.settle(Outcome(status=OutcomeStatus.EXPIRED, event=EVENT))
    assert envelope.outcome is RECORDED


@virtual
async def test_a_cancelled_awaiter_harms_nobody() -> None:
    """The others get the outcome, and settling does not stumble over it."""
    envelope = waiting_envelope(EVENT, 0.0)
    gone, stays = (asyncio.ensure_future(outcome_of(envelope)) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait({gone})
    envelope.settle(RECORDED)
    assert await stays is RECORDED


@virtual
async def test_an_awaiter_cancelled_in_the_moment_of_the_outcome_is_cancelled() -> None:
    """No cancellation is swallowed, though the outcome is there."""
    envelope = waiting_envelope(EVENT, 0.0)
    waiting = asyncio.ensure_future(outcome_of(envelope))
    await asyncio.sleep(0)
    envelope.settle(RECORDED)
    waiting.cancel()
    await asyncio.wait({waiting})
    assert waiting.cancelled()


@virtual
async def test_callbacks_run_soon_and_never_within_settle() -> None:
    """Added before or after: each is called once, with the receipt."""
    envelope = waiting_envelope(EVENT, 0.0)
    called: list[Receipt] = []
    envelope.add_done_callback(called.append)
    envelope.settle(RECORDED)
    envelope.add_done_callback(called.append)
    assert called == []
    await asyncio.sleep(0)
    assert called == [envelope, envelope]


def test_ids_are_short_and_unique() -> None:
    """Made when first asked for, and the same ever after."""
    receipts = [waiting_envelope(EVENT, 0.0) for _ in range(100)]
    ids = [receipt.id for receipt in receipts]
    assert len(set(ids)) == 100
    assert [receipt.id for receipt in receipts] == ids
    assert all(len(name) < 8 for name in ids)


@virtual
async def test_repr_tells_the_state_and_nothing_of_the_event() -> None:
    """`<Receipt 1f unsettled>`, then the status."""
    envelope = waiting_envelope(cart("secret"), 0.0)
    assert repr(envelope) == f"<Receipt {envelope.id} unsettled>"
    envelope.settle(RECORDED)
    assert repr(envelope) == f"<Receipt {envelope.id} recorded>"


def test_a_waiting_event_is_one_slotted_object() -> None:
    """No dict, no weak reference, and nothing more until it is needed."""
    envelope = waiting_envelope(EVENT, 0.0)
    assert not hasattr(envelope, "__dict__")
    assert not hasattr(envelope, "__weakref__")
    assert envelope._details is None
