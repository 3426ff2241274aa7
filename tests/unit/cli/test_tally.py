"""The account of a run: exact, and honest about what may have been sent before."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from alhena_async import CheckoutEvent, LineItem, Outcome, OutcomeStatus
from alhena_async.cli._lines import Kind, Reason, Record, Reject, Worth, visitor_of
from alhena_async.cli._options import allowance
from alhena_async.cli._tally import NO_EVENT, Amount, Tally, is_settled


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
    assert tally.recorded.sums == {"EUR": Decimal("10.0")}
    for number in range(3):
        tally.take_outcome(
            number, outcome(OutcomeStatus.RECORDED, value="999999999999999.123456789")
        )
    assert tally.recorded.sums == {"EUR": Decimal("3000000000000007.370370367")}


def test_only_what_was_recorded_counts() -> None:
    """Every other outcome adds nothing to the sums of what was recorded."""
    tally = Tally()
    for number, status in enumerate(OutcomeStatus):
        tally.take_outcome(number, outcome(status))
    assert tally.recorded.sums == {"EUR": Decimal("10.10")}
    assert tally.statuses.total() == len(OutcomeStatus)


def test_what_a_killed_run_sent_counts_once() -> None:
    """An order that a killed run may have sent counts when the API has it, and only once."""
    tally = Tally(doubtful_upto=10)
    assert tally.take_outcome(9, outcome(OutcomeStatus.DUPLICATE)).was_here
    assert not tally.take_outcome(10, outcome(OutcomeStatus.DUPLICATE)).was_here
    assert not tally.take_outcome(11, outcome(OutcomeStatus.DUPLICATE)).was_here
    assert tally.recorded.sums == {"EUR": Decimal("10.10")}
    assert tally.before == Amount(orders=2, sums={"EUR": Decimal("20.20")})
    assert tally.kinds["checkout"] == {"recorded": 1, "duplicate": 2}


def test_going_on_keeps_what_was() -> None:
    """A run that goes on has the sums and counts of the earlier ones, however they ended."""
    now, then = Tally(), Tally()
    for number, status in enumerate(OutcomeStatus):
        for one in (outcome(status), outcome(OutcomeStatus.COALESCED, survivor=outcome(status))):
            then.take_earlier(now.take_outcome(number, one))
    assert then.recorded == now.recorded
    assert then.before == now.before
    assert then.missing == now.missing
    assert (then.statuses, then.kinds, then.codes) == (now.statuses, now.kinds, now.codes)
    assert (then.refused, then.unsettled) == (now.refused, now.unsettled)


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
    assert (tally.unanswered, tally.unsettled) == (6, 5)
    tally.take_outcome(99, Outcome(status=OutcomeStatus.REJECTED, event=order(), code="NO"))
    assert (tally.unanswered, tally.unsettled) == (6, 5)


@pytest.mark.parametrize("code", ["MISSING_REQUIRED_FIELDS", "MADE_UP_CODE"])
def test_a_refusal_is_settled_by_its_code(code: str) -> None:
    """A refusal with a code, documented or not, is the API's answer: it is not sent again."""
    assert is_settled(Outcome(status=OutcomeStatus.REJECTED, event=order(), code=code))


def test_an_unknown_company_settles_nothing() -> None:
    """It says something of the key, and nothing of the event."""
    refused = Outcome(status=OutcomeStatus.REJECTED, event=order(), code="COMPANY_NOT_FOUND")
    assert not is_settled(refused)


@pytest.mark.parametrize(
    ("statuses", "rejected", "allowed", "status"),
    [
        ({"recorded": 9}, 0, "0", 0),
        ({"recorded": 1, "duplicate": 8}, 0, "0", 0),
        ({"duplicate": 9}, 0, "0", 0),
        ({"coalesced": 9}, 0, "0", 0),
        ({"recorded": 1, "unattributed": 8}, 0, "0", 0),
        ({"unattributed": 9}, 0, "100%", 1),
        ({}, 0, "0", 1),
        ({}, 9, "100%", 1),
        ({"recorded": 9}, 1, "0", 1),
        ({"recorded": 9}, 1, "1", 0),
        ({"recorded": 9}, 1, "10%", 0),
        ({"recorded": 9}, 1, "9.9%", 1),
        ({"recorded": 8, "rejected": 1}, 0, "0", 1),
        ({"recorded": 8, "rejected": 1}, 1, "1", 1),
        ({"recorded": 8, "rejected": 1}, 1, "2", 0),
        ({"recorded": 8, "rejected": 1}, 1, "20%", 0),
        ({"recorded": 8, "expired": 1}, 0, "100%", 1),
        ({"recorded": 8, "unknown": 1}, 0, "100%", 1),
        ({"recorded": 8, "dropped": 1}, 0, "100%", 1),
    ],
)
def test_the_exit_status_tells_the_truth(
    statuses: dict[str, int], rejected: int, allowed: str, status: int
) -> None:
    """0 only if something was recorded, and all that is missing was allowed to be."""
    tally = Tally()
    for name, number in statuses.items():
        for _ in range(number):
            code = "NO" if name == "rejected" else None
            how = Outcome(status=OutcomeStatus(name), event=order(), code=code)
            tally.take_outcome(1, how)
    for _ in range(rejected):
        tally.take_reject(Reject(number=1, reasons=(Reason("kind", "is missing"),), raw=b""))
    assert tally.exit_status(allowance(allowed)) == status


def test_an_order_that_was_folded_into_a_refused_one_is_refused() -> None:
    """Whatever it is called, it is not at the API."""
    refused = Outcome(status=OutcomeStatus.REJECTED, event=order(), code="NO")
    tally = Tally()
    tally.take_outcome(1, outcome(OutcomeStatus.COALESCED, survivor=refused))
    assert (tally.refused, tally.missing.orders, tally.before.orders) == (1, 1, 0)
    assert tally.kinds["checkout"] == {"rejected": 1}


def test_the_worth_of_what_is_no_event_is_missing() -> None:
    """As far as it can be read; of cart events nothing is in the revenue."""
    tally = Tally()
    reasons = (Reason("line_items", "is missing"),)
    lines: list[tuple[Kind | None, Worth | None]] = [
        ("checkout", Worth(Decimal("5.50"), "EUR")),
        ("checkout", None),
        ("cart", Worth(Decimal(7), "EUR")),
        (None, None),
    ]
    for kind, worth in lines:
        tally.take_reject(Reject(number=1, reasons=reasons, raw=b"", kind=kind, worth=worth))
    assert tally.offered == tally.missing == Amount(orders=1, sums={"EUR": Decimal("5.50")})
    assert (tally.rejected, tally.unread) == (4, 1)
    assert tally.kinds == {"cart": {NO_EVENT: 1}, "checkout": {NO_EVENT: 2}}


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
    tally.take_reject(Reject(number=1, reasons=(Reason("kind", "is missing"),), raw=b""))
    for number in (2, 3):
        tally.take_record(Record(number=number, event=order()))
    tally.take_outcome(2, outcome(OutcomeStatus.RECORDED))
    assert (tally.done, tally.outstanding) == (2, 1)
    assert tally.offered.sums == {"EUR": Decimal("20.20")}
    assert tally.causes == {"kind is missing": 1}
