"""The breaker's moves and the throttle's limit, on a clock that is an argument."""

from math import inf

import pytest

from alhena_async import BreakerPolicy, BreakerState
from alhena_async._delivery.throttling import Breaker, ConcurrencyLimit

POLICY = BreakerPolicy(failure_ratio=0.5, min_calls=4, window=10.0, open_for=5.0, open_cap=12.0)


def call(breaker: Breaker, *, failed: bool | None, now: float = 0.0) -> None:
    breaker.end(breaker.begin(), failed=failed, now=now)


def state_of(breaker: Breaker) -> BreakerState:
    return breaker.state


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker(POLICY)
    for _ in range(4):
        call(breaker, failed=True, now=now)
    assert state_of(breaker) is BreakerState.OPEN
    return breaker


def test_closed_lets_everything_through() -> None:
    """Side by side, however many."""
    breaker = Breaker(POLICY)
    for _ in range(100):
        assert breaker.admits_at() == -inf
        breaker.begin()


def test_it_opens_at_the_ratio_and_not_before_min_calls() -> None:
    """Three failures are too few to mean anything; half of four is enough."""
    breaker = Breaker(POLICY)
    for _ in range(3):
        call(breaker, failed=True)
    assert state_of(breaker) is BreakerState.CLOSED
    breaker = Breaker(POLICY)
    for failed in (False, False, True):
        call(breaker, failed=failed)
    call(breaker, failed=True)
    assert state_of(breaker) is BreakerState.OPEN
    breaker = Breaker(POLICY)
    for failed in (False, False, False, True, True):
        call(breaker, failed=failed)
    assert state_of(breaker) is BreakerState.CLOSED


def test_only_the_window_counts() -> None:
    """Failures of long ago do not add up with those of today."""
    breaker = Breaker(POLICY)
    for _ in range(3):
        call(breaker, failed=True, now=0.0)
    call(breaker, failed=True, now=10.0)
    assert state_of(breaker) is BreakerState.CLOSED
    for _ in range(3):
        call(breaker, failed=True, now=12.0)
    assert state_of(breaker) is BreakerState.OPEN


def test_open_admits_nobody_until_its_time_and_then_one_probe() -> None:
    """The second waits for the end of the first."""
    breaker = opened(now=1.0)
    assert breaker.admits_at() == 6.0
    breaker.begin()
    assert state_of(breaker) is BreakerState.HALF_OPEN
    assert breaker.admits_at() == inf


def test_a_probe_that_meets_the_api_closes() -> None:
    """And the failures of before are forgotten."""
    breaker = opened()
    call(breaker, failed=False, now=5.0)
    assert state_of(breaker) is BreakerState.CLOSED
    assert breaker.admits_at() == -inf
    call(breaker, failed=True, now=5.0)
    assert state_of(breaker) is BreakerState.CLOSED


def test_open_doubles_up_to_its_cap_and_begins_anew_after_a_success() -> None:
    """5, 10, 12, 12; after a good probe 5 again."""
    breaker = opened()
    now = 0.0
    for pause in (5.0, 10.0, 12.0, 12.0):
        assert breaker.admits_at() == now + pause
        now += pause
        call(breaker, failed=True, now=now)
    call(breaker, failed=False, now=now + 12.0)
    for _ in range(4):
        call(breaker, failed=True, now=50.0)
    assert breaker.admits_at() == 55.0


def test_a_probe_that_was_called_off_shows_nothing() -> None:
    """The next may go at once, and the time does not double."""
    breaker = opened()
    call(breaker, failed=None, now=5.0)
    assert state_of(breaker) is BreakerState.HALF_OPEN
    assert breaker.admits_at() == -inf
    call(breaker, failed=True, now=6.0)
    assert breaker.admits_at() == 16.0


def test_replies_of_before_a_move_do_not_count() -> None:
    """A late success closes no open breaker, a late failure opens no closed one."""
    breaker = Breaker(POLICY)
    late = [breaker.begin() for _ in range(8)]
    for generation in late[:4]:
        breaker.end(generation, failed=True, now=0.0)
    breaker.end(late[4], failed=False, now=1.0)
    assert state_of(breaker) is BreakerState.OPEN
    assert breaker.admits_at() == 5.0
    probe = breaker.begin()
    breaker.end(late[5], failed=True, now=5.0)
    assert state_of(breaker) is BreakerState.HALF_OPEN
    assert breaker.admits_at() == inf
    breaker.end(probe, failed=False, now=5.0)
    for generation in late[6:]:
        breaker.end(generation, failed=True, now=6.0)
    assert state_of(breaker) is BreakerState.CLOSED


def test_what_was_called_off_while_closed_counts_for_nothing() -> None:
    """Neither call nor failure."""
    breaker = Breaker(POLICY)
    for _ in range(50):
        call(breaker, failed=None)
    for failed in (True, True, True):
        call(breaker, failed=failed)
    assert state_of(breaker) is BreakerState.CLOSED


def test_the_count_is_bounded_whatever_the_rate() -> None:
    """A hundred thousand replies in a window take no more room than a few."""
    breaker = Breaker(POLICY)
    for number in range(10_000):
        call(breaker, failed=False, now=number / 1_000)
    assert len(breaker._buckets) <= 11


def test_the_throttle_shrinks_by_0_7_and_never_below_one() -> None:
    """32, 22, 15, ... 1."""
    throttle = ConcurrencyLimit(32)
    limits = [throttle.limit]
    for now in range(1, 15):
        throttle.throttled(began=now - 0.5, now=float(now), pause=0.0)
        limits.append(throttle.limit)
    assert limits[:4] == [32, 22, 15, 10]
    assert limits[-1] == 1


def test_requests_that_were_out_together_shrink_it_once() -> None:
    """One burst of refusals is one piece of news."""
    throttle = ConcurrencyLimit(10)
    for _ in range(10):
        throttle.throttled(began=0.0, now=1.0, pause=0.0)
    assert throttle.limit == 7
    throttle.throttled(began=1.0, now=2.0, pause=0.0)
    assert throttle.limit == 4


def test_it_grows_back_by_one_for_each_full_round_of_successes() -> None:
    """Up to where it was, and no further."""
    throttle = ConcurrencyLimit(10)
    throttle.throttled(began=0.0, now=1.0, pause=0.0)
    for limit in (7, 8, 9):
        for _ in range(limit):
            assert throttle.limit == limit
            throttle.succeeded()
    assert throttle.limit == 10
    for _ in range(100):
        throttle.succeeded()
    assert throttle.limit == 10


@pytest.mark.parametrize("second", [1.0, 9.0])
def test_the_longest_pause_holds(second: float) -> None:
    """A shorter one that comes later does not cut it."""
    throttle = ConcurrencyLimit(10)
    throttle.throttled(began=0.0, now=0.0, pause=5.0)
    throttle.throttled(began=0.0, now=0.0, pause=second)
    assert throttle.paused_until == max(5.0, second)
