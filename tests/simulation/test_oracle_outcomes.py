"""The oracle notices false outcomes, late returns and wrong accounts."""

from __future__ import annotations

from typing import Any

import pytest

from alhena_async.outcomes import OutcomeStatus
from tests.simulation.book import End
from tests.simulation.oracle import Violation
from tests.simulation.play import LOST, Play, broken


@pytest.mark.parametrize(
    ("status", "facts", "promise"),
    [
        (OutcomeStatus.RECORDED, {}, "never sent"),
        (OutcomeStatus.DUPLICATE, {}, "only an order"),
        (OutcomeStatus.UNATTRIBUTED, {}, "nobody said so"),
        (OutcomeStatus.REJECTED, {}, "nobody refused"),
        (OutcomeStatus.EXPIRED, {}, "before its deadline"),
        (OutcomeStatus.UNKNOWN, {}, "not ambiguous"),
        (OutcomeStatus.DROPPED, {}, "not one to be shed"),
        (OutcomeStatus.KEPT, {}, "no journal"),
        (OutcomeStatus.ABANDONED, {}, "nobody closed"),
        (OutcomeStatus.COALESCED, {}, "only NET"),
        (OutcomeStatus.ABANDONED, {"attempts": 3}, "miscounted"),
        (OutcomeStatus.ABANDONED, {"ambiguous": True}, "ambiguous is not the truth"),
        (OutcomeStatus.ABANDONED, {"elapsed": 7.0}, "elapsed"),
    ],
)
def test_an_outcome_that_is_not_so(
    status: OutcomeStatus, facts: dict[str, Any], promise: str
) -> None:
    """No status is claimed without its reason, and no fact is wrong."""
    play = Play()
    play.settle(play.cart(), status, **facts)
    broken(play, promise)


def test_a_claim_of_recording_that_the_api_knows_nothing_of() -> None:
    """RECORDED is the API's word."""
    play = Play()
    entry = play.cart()
    play.attempt(entry, End("transient"))
    play.settle(entry, OutcomeStatus.RECORDED)
    broken(play, "the last reply said otherwise")


def test_a_second_outcome() -> None:
    """An event is settled once."""
    play = Play()
    entry = play.cart()
    play.attempt(entry)
    play.settle(entry, OutcomeStatus.RECORDED)
    play.settle(entry, OutcomeStatus.RECORDED)
    broken(play, "settled twice")


def test_an_event_that_outlives_its_deadline() -> None:
    """One deadline, over queue, backoff and attempts."""
    play = Play(cart_timeout=5.0)
    entry = play.cart()
    play.time_now = 6.0
    play.settle(entry, OutcomeStatus.EXPIRED)
    broken(play, "past its deadline")


def test_a_fold_across_a_checkout() -> None:
    """A checkout between two events keeps them apart."""
    play = Play()
    first = play.cart(kind="QUANTITY_INCREASED")
    play.checkout()
    second = play.cart(kind="QUANTITY_INCREASED")
    play.oracle.lanes["ours", "a"].waiting.remove(first)
    checkout = play.oracle.lanes["ours", "a"].checkouts[0]
    play.time_now = 1.0
    play.attempt(checkout)
    play.settle(checkout, OutcomeStatus.RECORDED)
    play.attempt(second)
    play.settle(second, OutcomeStatus.RECORDED)
    survivor = second.outcome
    play.settle(first, OutcomeStatus.COALESCED, survivor=survivor)
    play.oracle.folds.finish()
    broken(play, "no such fold")


def test_a_flush_that_returns_before_its_time() -> None:
    """`flush` waits for everything accepted before it."""
    play = Play()
    play.cart()
    flush = play.oracle.callers.flush(0.0, None)
    flush.returned = True
    broken(play, "flush returned before")


def test_a_flush_that_does_not_return() -> None:
    """`flush` returns once all is settled."""
    play = Play()
    entry = play.cart()
    play.oracle.callers.flush(0.0, None)
    play.attempt(entry)
    play.settle(entry, OutcomeStatus.RECORDED)
    broken(play, "and flush waits")


def test_an_event_that_nobody_sends() -> None:
    """What is due is sent as soon as there is a slot."""
    play = Play(linger=0.5)
    play.cart()
    play.end()
    play.time_now = 1.0
    play.oracle.steps += 1
    broken(play, "nobody sends it")


def test_a_close_that_comes_too_late() -> None:
    """`close` ends at its deadline, but for the second that the transport is granted."""
    play = Play()
    play.oracle.callers.close_by(1.0)
    play.time_now = 3.0
    play.oracle.callers.closed(())
    play.oracle.steps += 1
    broken(play, "after its deadline")


@pytest.mark.parametrize("field", ["accepted", "queued", "in_flight", "requests", "recorded"])
def test_accounts_that_are_off_by_one(field: str) -> None:
    """The accounts are exact at every step."""
    play = Play()
    entry = play.cart()
    play.attempt(entry, LOST)
    play.cart("b")
    with pytest.raises(Violation, match="the accounts differ"):
        play.end(**{field: 7})
