"""The account of a run: exact, and honest about what may have been sent before."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from alhena_async import CheckoutEvent, LineItem, Outcome, OutcomeStatus
from alhena_async.cli._lines import Record, Reject, visitor_of
from alhena_async.cli._progress import Earlier
from alhena_async.cli._tally import Tally, is_settled


def order(value: str = "10.10", order_id: str | None = "A1") -> CheckoutEvent:
    line = LineItem(product_id="p", product_name="Mug", quantity=1, value=1, currency="EUR")
    return CheckoutEvent(
        visitor=visitor_of("v"),
        value=Decimal(value),
        currency="EUR",
        line_items=[line],
        order_id=order_id,
    )


def outcome(
    status: OutcomeStatus, survivor: Outcome | None = None, value: str = "10.10"
) -> Outcome:
    return Outcome(status=status, event=order(value), survivor=survivor)


def test_sums_are_exact() -> None:
    """A hundred times 0.1 is 10, and fifteen digits before the point lose none after it."""
    tally = Tally()
    for number in range(100):
        tally.take_outcome(number, outcome(OutcomeStatus.RECORDED, value="0.1"))
    assert tally.revenue == {"EUR": Decimal("10.0")}
    for number in range(3):
        tally.take_outcome(
            number, outcome(OutcomeStatus.RECORDED, value="999999999999999.123456789")
        )
    assert tally.revenue == {"EUR": Decimal("3000000000000007.370370367")}


def test_only_what_was_recorded_counts() -> None:
    """Every other outcome adds nothing to the sums of what was recorded."""
    tally = Tally()
    for number, status in enumerate(OutcomeStatus):
        tally.take_outcome(number, outcome(status))
    assert tally.revenue == {"EUR": Decimal("10.10")}
    assert tally.statuses.total() == len(OutcomeStatus)


def test_what_a_killed_run_sent_counts_once() -> None:
    """An order that a killed run may have sent counts when the API has it, and only once."""
    tally = Tally.going_on(Earlier(upto=10))
    assert tally.take_outcome(9, outcome(OutcomeStatus.DUPLICATE)) == Decimal("10.10")
    assert tally.take_outcome(10, outcome(OutcomeStatus.DUPLICATE)) is None
    assert tally.take_outcome(11, outcome(OutcomeStatus.DUPLICATE)) is None
    assert tally.revenue == {"EUR": Decimal("10.10")}


def test_going_on_keeps_what_was() -> None:
    """A run that goes on begins with the sums and counts of the earlier ones."""
    earlier = Earlier(revenue={"EUR": Decimal(5)})
    earlier.statuses["recorded"] = 3
    tally = Tally.going_on(earlier)
    tally.take_outcome(4, outcome(OutcomeStatus.RECORDED))
    assert tally.revenue == {"EUR": Decimal("15.10")}
    assert tally.statuses["recorded"] == 4
    assert earlier.revenue == {"EUR": Decimal(5)}


@pytest.mark.parametrize(
    ("status", "settled"),
    [
        (OutcomeStatus.RECORDED, True),
        (OutcomeStatus.DUPLICATE, True),
        (OutcomeStatus.UNATTRIBUTED, True),
        (OutcomeStatus.REJECTED, False),  # without a code: see below
        (OutcomeStatus.UNKNOWN, True),
        (OutcomeStatus.EXPIRED, False),
        (OutcomeStatus.DROPPED, False),
        (OutcomeStatus.ABANDONED, False),
        (OutcomeStatus.KEPT, False),
    ],
)
def test_what_is_sent_again(status: OutcomeStatus, settled: bool) -> None:
    """What was answered, or may not be repeated, is not sent again; folded events follow suit."""
    ending = outcome(status)
    assert is_settled(ending) is settled
    folded = outcome(OutcomeStatus.COALESCED, survivor=ending)
    assert is_settled(folded) is settled
    assert is_settled(outcome(OutcomeStatus.COALESCED, survivor=folded)) is settled


def test_events_that_cancelled_each_other_out_are_settled() -> None:
    """Folded into nothing is settled."""
    assert is_settled(outcome(OutcomeStatus.COALESCED))


def test_missing_is_what_nobody_answered_for() -> None:
    """Only success, a refusal with a code and a missing conversation are answers."""
    tally = Tally()
    for number, status in enumerate(OutcomeStatus):
        tally.take_outcome(number, outcome(status))
    assert (tally.missing, tally.unsettled) == (6, 5)
    tally.take_outcome(99, Outcome(status=OutcomeStatus.REJECTED, event=order(), code="NO"))
    assert (tally.missing, tally.unsettled) == (6, 5)


@pytest.mark.parametrize("code", ["COMPANY_NOT_FOUND", "MADE_UP_CODE"])
def test_a_refusal_is_settled_by_its_code(code: str) -> None:
    """A refusal with a code, documented or not, is the API's answer: it is not sent again."""
    assert is_settled(Outcome(status=OutcomeStatus.REJECTED, event=order(), code=code))


@pytest.mark.parametrize(
    ("told", "cause"),
    [
        ({"code": "NO", "http_status": 400}, "NO"),
        ({"http_status": 404, "detail": "<html>"}, "HTTP 404"),
        ({"http_status": 302, "detail": "a redirect"}, "HTTP 302: a redirect"),
        ({"detail": "could not be encoded"}, "could not be encoded"),
        ({}, "no reason given"),
    ],
)
def test_every_refusal_has_a_cause(told: dict[str, Any], cause: str) -> None:
    """A refusal is counted by its code, or else by what the reply was."""
    tally = Tally()
    tally.take_outcome(1, Outcome(status=OutcomeStatus.REJECTED, event=order(), **told))
    assert tally.codes == {cause: 1}


def test_codes_that_a_server_makes_up_are_bounded() -> None:
    """A new code for every event does not fill the memory."""
    tally = Tally()
    for number in range(1000):
        code = f"CODE_{number}"
        tally.take_outcome(number, Outcome(status=OutcomeStatus.REJECTED, event=order(), code=code))
    assert tally.codes.total() == 1000
    assert len(tally.codes) <= 60


def test_lines_add_up() -> None:
    """Done = blank + skipped + rejected + finished, and outstanding is what has no outcome."""
    tally = Tally()
    tally.take_reject(Reject(number=1, reasons=(("kind", "is missing"),), raw=b""))
    for number in (2, 3):
        tally.take_record(Record(number=number, event=order()))
    tally.take_outcome(2, outcome(OutcomeStatus.RECORDED))
    assert (tally.done, tally.outstanding) == (2, 1)
    assert tally.offered == {"EUR": Decimal("20.20")}
    assert tally.causes == {"kind is missing": 1}
