"""Counting and logging: an outage fills no disk, and names nobody."""

import logging

import pytest

from alhena_async import BreakerState, Endpoint, Outcome, OutcomeStatus
from alhena_async._replies import Verdict, VerdictKind
from alhena_async._telemetry.logbook import Logbook, Situation
from alhena_async._telemetry.telemetry import Telemetry
from tests.scripted import cart

EVENT = cart("secret")  # made here: that it is no UUID is said once, and belongs to no test
LOST = Verdict(kind=VerdictKind.TRANSIENT, detail="no connection (ClientConnectorError)")


def outcome(status: OutcomeStatus, code: str | None = None) -> Outcome:
    return Outcome(status=status, event=EVENT, code=code, attempts=2, http_status=400)


SITUATION = Situation(waiting=3, oldest_age=1.0, expires_in=899.0, room=9_997)


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
    telemetry = Telemetry((), logbook=Logbook())
    caplog.set_level(logging.WARNING, logger="alhena_async")
    for _ in range(250):
        telemetry.settled(outcome(status))
    assert len(caplog.records) == 3
    assert "100 so far" in caplog.text
    assert telemetry.outcomes[status] == 250


@pytest.mark.parametrize(
    "status",
    [OutcomeStatus.RECORDED, OutcomeStatus.UNATTRIBUTED, OutcomeStatus.DUPLICATE],
)
def test_the_usual_cases_are_no_warnings(
    status: OutcomeStatus, caplog: pytest.LogCaptureFixture
) -> None:
    """Most visitors never chat."""
    caplog.set_level(logging.INFO, logger="alhena_async")
    Telemetry((), logbook=Logbook()).settled(outcome(status))
    assert not caplog.records


def test_a_code_that_nobody_documented_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """It is text from outside, and may quote the payload."""
    caplog.set_level(logging.WARNING, logger="alhena_async")
    telemetry = Telemetry((), logbook=Logbook())
    telemetry.settled(outcome(OutcomeStatus.REJECTED, "secret said the proxy"))
    telemetry.settled(outcome(OutcomeStatus.EXPIRED, "COMPANY_NOT_FOUND"))
    assert "secret" not in caplog.text
    assert "COMPANY_NOT_FOUND" in caplog.text


def test_a_breaker_that_moves_is_a_debug_line(caplog: pytest.LogCaptureFixture) -> None:
    """The outage that it belongs to is told by itself."""
    caplog.set_level(logging.DEBUG, logger="alhena_async")
    Telemetry((), logbook=Logbook()).breaker_changed(Endpoint.CART, BreakerState.OPEN)
    assert [record.levelno for record in caplog.records] == [logging.DEBUG]


def test_a_repeated_request_is_a_retry_and_a_failed_one_is_not() -> None:
    """Requests are counted as they go out, failures as they come back."""
    telemetry = Telemetry((), logbook=Logbook())
    for number in (1, 2, 3):
        telemetry.attempt(EVENT, number)
    telemetry.attempt_failed(LOST, SITUATION, 0.0)
    figures = telemetry.requests, telemetry.retries, telemetry.failed_attempts
    assert figures == (3, 2, 1)
