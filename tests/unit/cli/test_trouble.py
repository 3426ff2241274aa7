"""Why nothing gets through."""

from __future__ import annotations

import pytest

from alhena_async import CartEvent, CartEventType, Outcome, OutcomeStatus
from alhena_async.cli._lines import visitor_of
from alhena_async.cli._sending import Trouble

EVENT = CartEvent(
    visitor=visitor_of("v"),
    type=CartEventType.ITEM_ADDED,
    product_id="p",
    product_name="Mug",
    value=1,
    currency="EUR",
    quantity=1,
)


def expired(detail: str | None) -> Outcome:
    return Outcome(status=OutcomeStatus.EXPIRED, event=EVENT, detail=detail)


def test_the_last_reason_is_kept() -> None:
    """Of several failures the last one that had a reason is told."""
    trouble = Trouble()
    assert trouble.last == ""
    for reason in ("HTTP 500", "connection refused", ""):
        trouble.retry(EVENT, 1.0, reason)
    assert trouble.last == "connection refused"


def test_expired_events_are_counted_by_reason() -> None:
    """Each counts under its own last reason, or else under the one that holds for all."""
    trouble = Trouble()
    trouble.outcome(expired("not delivered in time"))
    trouble.retry(EVENT, 1.0, "HTTP 500")
    trouble.outcome(expired("not delivered in time; the last: connection refused"))
    trouble.outcome(expired("not delivered in time"))
    trouble.outcome(expired(None))
    assert trouble.given_up == {"it never had its turn": 1, "connection refused": 3}


@pytest.mark.parametrize("status", [s for s in OutcomeStatus if s is not OutcomeStatus.EXPIRED])
def test_other_outcomes_are_not_given_up(status: OutcomeStatus) -> None:
    """Only expired events are counted."""
    trouble = Trouble()
    trouble.outcome(Outcome(status=status, event=EVENT, detail="; the last: x"))
    assert not trouble.given_up
