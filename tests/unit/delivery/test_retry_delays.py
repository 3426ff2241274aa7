"""Delays: the cap before the jitter, and `Retry-After` as a floor."""

import pytest

from alhena_async import RetryPolicy
from alhena_async._delivery.attempts import delay_before_retry
from alhena_async._replies import Verdict, VerdictKind

POLICY = RetryPolicy(base=1.0, throttle_base=4.0, cap=10.0, retry_after_cap=100.0)
LOST = Verdict(kind=VerdictKind.TRANSIENT)


def throttled(retry_after: float | None = None) -> Verdict:
    return Verdict(kind=VerdictKind.THROTTLED, retry_after=retry_after)


def delays(attempts: int, verdict: Verdict, policy: RetryPolicy = POLICY) -> list[float]:
    return [delay_before_retry(policy, attempts=attempts, verdict=verdict) for _ in range(500)]


@pytest.mark.parametrize(
    ("attempts", "bound"), [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 10.0), (500, 10.0)]
)
def test_full_jitter_below_a_bound_that_doubles_up_to_the_cap(attempts: int, bound: float) -> None:
    """The whole range is used; capped first, so that late delays do not pile up at the cap."""
    drawn = delays(attempts, LOST)
    assert 0 <= min(drawn) < 0.1 * bound
    assert 0.9 * bound < max(drawn) <= bound
    assert 0.4 * bound < sum(drawn) / len(drawn) < 0.6 * bound


def test_a_throttled_one_starts_from_its_own_base() -> None:
    """429 and 503 wait longer from the first time on."""
    assert 3.6 < max(delays(1, throttled())) <= 4.0
    assert max(delays(3, throttled())) <= 10.0


@pytest.mark.parametrize("asked", [0.5, 3.0, 50.0])
def test_retry_after_is_a_floor_that_jitter_never_lowers(asked: float) -> None:
    """Nor does the cap of the delays."""
    drawn = delays(1, throttled(asked))
    assert min(drawn) >= asked
    assert max(drawn) <= max(asked, 4.0)


def test_retry_after_has_a_cap_of_its_own() -> None:
    """A day becomes `retry_after_cap`."""
    assert set(delays(1, throttled(86_400.0))) == {100.0}
