"""Counting and logging: an outage fills no disk, and names nobody."""

import logging

import pytest

from alhena_async import BreakerState, Endpoint, Outcome, OutcomeStatus
from alhena_async._watch import Watch
from tests.scripted import cart


def outcome(status: OutcomeStatus, code: str | None = None) -> Outcome:
    return Outcome(status=status, event=cart("secret"), code=code, attempts=2, http_status=400)


@pytest.mark.parametrize(
    "status",
    [
        OutcomeStatus.REJECTED,
        OutcomeStatus.EXPIRED,
        OutcomeStatus.UNKNOWN,
        OutcomeStatus.ABANDONED,
    ],
)
def test_the_1st_10th_and_100th_of_a_kind_are_warned_of(
    status: OutcomeStatus, caplog: pytest.LogCaptureFixture
) -> None:
    """The rest are debug lines."""
    watch = Watch(())
    caplog.set_level(logging.WARNING, logger="alhena_async")
    for _ in range(250):
        watch.settled(outcome(status))
    assert len(caplog.records) == 3
    assert "100 so far" in caplog.text
    assert watch.outcomes[status] == 250


@pytest.mark.parametrize(
    "status",
    [OutcomeStatus.RECORDED, OutcomeStatus.UNATTRIBUTED, OutcomeStatus.DUPLICATE],
)
def test_the_usual_cases_are_no_warnings(
    status: OutcomeStatus, caplog: pytest.LogCaptureFixture
) -> None:
    """Most visitors never chat."""
    caplog.set_level(logging.INFO, logger="alhena_async")
    Watch(()).settled(outcome(status))
    assert not caplog.records


def test_a_code_that_nobody_documented_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """It is text from outside, and may quote the payload."""
    caplog.set_level(logging.WARNING, logger="alhena_async")
    watch = Watch(())
    watch.settled(outcome(OutcomeStatus.REJECTED, "secret said the proxy"))
    watch.settled(outcome(OutcomeStatus.EXPIRED, "COMPANY_NOT_FOUND"))
    assert "secret" not in caplog.text
    assert "COMPANY_NOT_FOUND" in caplog.text


def test_a_breaker_that_moves_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Open is a warning, closed is good news."""
    caplog.set_level(logging.INFO, logger="alhena_async")
    watch = Watch(())
    watch.breaker_changed(Endpoint.CART, BreakerState.OPEN)
    watch.breaker_changed(Endpoint.CART, BreakerState.CLOSED)
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.INFO]
