"""Counting and logging: an outage fills no disk, and names nobody."""

import logging

import pytest

from alhena_async import BreakerState, Endpoint, Outcome, OutcomeStatus
from alhena_async._replies import Verdict, VerdictKind
from alhena_async._telemetry import Telemetry
from tests.scripted import cart

EVENT = cart("secret")  # made here: that it is no UUID is said once, and belongs to no test
LOST = Verdict(kind=VerdictKind.TRANSIENT, detail="no connection (ClientConnectorError)")


def outcome(status: OutcomeStatus, code: str | None = None) -> Outcome:
    return Outcome(status=status, event=EVENT, code=code, attempts=2, http_status=400)


def fail(telemetry: Telemetry, times: int, verdict: Verdict = LOST, *, now: float = 0.0) -> None:
    for _ in range(times):
        telemetry.retry(EVENT, 0.5, verdict.detail or "", verdict, now=now)


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
    telemetry = Telemetry(())
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
    Telemetry(()).settled(outcome(status))
    assert not caplog.records


def test_a_code_that_nobody_documented_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """It is text from outside, and may quote the payload."""
    caplog.set_level(logging.WARNING, logger="alhena_async")
    telemetry = Telemetry(())
    telemetry.settled(outcome(OutcomeStatus.REJECTED, "secret said the proxy"))
    telemetry.settled(outcome(OutcomeStatus.EXPIRED, "COMPANY_NOT_FOUND"))
    assert "secret" not in caplog.text
    assert "COMPANY_NOT_FOUND" in caplog.text


def test_a_breaker_that_moves_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Open is a warning, closed is good news."""
    caplog.set_level(logging.INFO, logger="alhena_async")
    telemetry = Telemetry(())
    telemetry.breaker_changed(Endpoint.CART, BreakerState.OPEN)
    telemetry.breaker_changed(Endpoint.CART, BreakerState.CLOSED)
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.INFO]


def test_an_api_out_of_reach_is_warned_of_after_three_attempts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Long before the first event expires, with the reason; then at the 30th, 300th and so on."""
    caplog.set_level(logging.WARNING, logger="alhena_async")
    telemetry = Telemetry(())
    fail(telemetry, 2)
    assert not caplog.records
    fail(telemetry, 298)
    assert [record.message.split()[0] for record in caplog.records] == ["3", "30", "300"]
    assert "no connection (ClientConnectorError)" in caplog.text


def test_an_api_that_fails_now_and_then_fills_no_disk(caplog: pytest.LogCaptureFixture) -> None:
    """At 10% of 10,000 requests a second, three in a row are met ten times a second."""
    caplog.set_level(logging.WARNING, logger="alhena_async")
    telemetry = Telemetry(())
    for second in range(90):
        fail(telemetry, 5, now=float(second))
        telemetry.settled(outcome(OutcomeStatus.RECORDED))
    assert len(caplog.records) == 2
    fail(telemetry, 30, now=90.0)
    assert len(caplog.records) == 3


def test_failures_between_which_the_api_answers_are_no_warnings(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What the client settles by itself is no answer; every failure is a debug line."""
    caplog.set_level(logging.DEBUG, logger="alhena_async")
    telemetry = Telemetry(())
    for _ in range(5):
        fail(telemetry, 2)
        telemetry.settled(outcome(OutcomeStatus.RECORDED))
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}
    assert len(caplog.records) == 10
    fail(telemetry, 2)
    telemetry.settled(Outcome(status=OutcomeStatus.DROPPED, event=EVENT))
    fail(telemetry, 1)
    assert caplog.records[-1].levelno == logging.WARNING


def test_what_a_server_replied_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Its HTTP status is: the body may quote the payload. A precondition's retry is no failure."""
    caplog.set_level(logging.INFO, logger="alhena_async")
    telemetry = Telemetry(())
    fail(telemetry, 3, Verdict(kind=VerdictKind.TRANSIENT, http_status=502, detail="secret"))
    fail(telemetry, 30, Verdict(kind=VerdictKind.PRECONDITION, http_status=400, code="secret"))
    [record] = caplog.records
    assert "HTTP 502" in record.message
    assert "secret" not in caplog.text
