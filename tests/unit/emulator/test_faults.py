"""Faults, their shares and their text form."""

from typing import Any

import pytest

from alhena_async.emulator import Fault, FaultKind, FaultPlan, Share


def kinds(plan: FaultPlan, count: int) -> list[FaultKind | None]:
    draw = plan.sampler()
    return [fault.kind if (fault := draw()) else None for _ in range(count)]


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("error=0.1", [Share(Fault("status", status=500), 0.1)]),
        ("error=10%:502", [Share(Fault("status", status=502), 0.1)]),
        ("error-after=1", [Share(Fault("status-after", status=500), 1)]),
        ("throttle=0.01", [Share(Fault("status", status=429, retry_after=1.0), 0.01)]),
        ("throttle=0.01:2s", [Share(Fault("status", status=429, retry_after=2.0), 0.01)]),
        ("unavailable=.5:250ms", [Share(Fault("status", status=503, retry_after=0.25), 0.5)]),
        (
            "reset=0.1",
            [Share(Fault("reset-before"), 0.05), Share(Fault("reset-after"), 0.05)],
        ),
        ("reset-after=0.1", [Share(Fault("reset-after"), 0.1)]),
        ("hang=0.1", [Share(Fault("hang"), 0.1)]),
        ("hang-after=0.1", [Share(Fault("hang-after"), 0.1)]),
        ("truncated=0.1", [Share(Fault("truncated"), 0.1)]),
        (" html = 0.1 ", [Share(Fault("html"), 0.1)]),
        ("latency=0.05:0.2s", [Share(Fault("latency", latency=0.2), 0.05)]),
        ("latency=5%", [Share(Fault("latency", latency=0.2), 0.05)]),
    ],
)
def test_a_text_is_read_as_its_table_says(text: str, shares: list[Share]) -> None:
    """Each kind of the table in `FaultPlan.parse` gives its faults."""
    assert FaultPlan.parse([text]).shares == tuple(shares)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no kind is called ''"),
        ("eror=0.1", "no kind is called 'eror'"),
        ("error", "a share is missing"),
        ("error=", "the share must be from 0 to 1"),
        ("error=2", "the share must be from 0 to 1"),
        ("error=-0.1", "the share must be from 0 to 1"),
        ("error=nan", "the share must be from 0 to 1"),
        ("error=101%", "the share must be from 0 to 1"),
        ("error=0.1:teapot", "a status is a number from 200 to 599"),
        ("error=0.1:99", "a status is a number from 200 to 599"),
        ("reset=0.1:5", "reset takes nothing after the share"),
        ("latency=0.1:fast", "a time is written 0.2s or 200ms"),
        ("latency=0.1:9999s", "a time is written 0.2s or 200ms"),
        ("latency=0.1:", "a time is written 0.2s or 200ms"),
    ],
)
def test_a_bad_text_is_refused_with_its_reason_and_the_kinds(text: str, reason: str) -> None:
    """The error names the text, what is wrong with it, and what kinds there are."""
    with pytest.raises(ValueError) as caught:
        FaultPlan.parse([text])
    said = str(caught.value)
    assert repr(text) in said
    assert reason in said
    assert "error, error-after, throttle, unavailable, reset," in said


def test_shares_beyond_one_are_refused() -> None:
    """A request meets one fault at most, so the shares are parts of one whole."""
    with pytest.raises(ValueError, match=r"add up to 1\.2"):
        FaultPlan.parse(["error=0.6", "reset=0.6"])


def test_a_seed_means_the_same_sequence() -> None:
    """Two samplers of one seeded plan draw alike; another seed draws otherwise."""
    plan = FaultPlan.parse(["error=0.2", "reset=0.2"], seed=7)
    other = FaultPlan.parse(["error=0.2", "reset=0.2"], seed=8)
    assert kinds(plan, 200) == kinds(plan, 200)
    assert kinds(plan, 200) != kinds(other, 200)


def test_shares_are_met() -> None:
    """Over many requests each fault gets about its share."""
    drawn = kinds(FaultPlan.parse(["error=0.1", "reset=0.2"], seed=1), 10_000)
    assert 900 < drawn.count(FaultKind.STATUS) < 1100
    assert 900 < drawn.count(FaultKind.RESET_BEFORE) < 1100
    assert 900 < drawn.count(FaultKind.RESET_AFTER) < 1100


def test_no_plan_means_no_fault() -> None:
    """The default plan leaves every request alone."""
    assert kinds(FaultPlan(), 100) == [None] * 100


@pytest.mark.parametrize(
    "facts",
    [
        {"kind": "status"},
        {"kind": "status-after"},
        {"kind": "status", "status": 199},
        {"kind": "status", "status": 600},
        {"kind": "latency", "latency": -1},
        {"kind": "latency", "latency": float("nan")},
        {"kind": "nonsense"},
    ],
)
def test_an_impossible_fault_is_refused(facts: dict[str, Any]) -> None:
    """A fault that could not be played is a ValueError when it is made."""
    with pytest.raises(ValueError):
        Fault(**facts)


@pytest.mark.parametrize(
    ("given", "header"),
    [(2, "2"), (0.5, "0.5"), ("Wed, 21 Oct 2026 07:28:00 GMT",) * 2, ("soon", "soon")],
)
def test_retry_after_is_written_as_given(given: float | str, header: str) -> None:
    """Seconds become digits, text (a date, nonsense) goes as it is."""
    fault = Fault(FaultKind.STATUS, status=429, retry_after=given)
    assert fault.reply_headers == {"Retry-After": header}
