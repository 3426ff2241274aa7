"""The breaker's moves and how many go at once, on a clock that is an argument."""

import random
from math import inf
from typing import Any

import pytest

from alhena_async import BreakerPolicy, BreakerState
from alhena_async._delivery.throttling import Breaker, ConcurrencyLimit
from alhena_async.observers import MOVES

POLICY = BreakerPolicy(min_calls=4, open_for=5.0, open_cap=12.0)


def made(most: int = 32, **policy: Any) -> Breaker:
    return Breaker(BreakerPolicy(**policy) if policy else POLICY, most)


def call(breaker: Breaker, *, failed: bool | None, now: float = 0.0) -> None:
    breaker.end(breaker.begin(), failed=failed, now=now)


def state_of(breaker: Breaker) -> BreakerState:
    return breaker.state


def opened(now: float = 0.0) -> Breaker:
    breaker = made()
    for _ in range(4):
        call(breaker, failed=True, now=now)
    assert state_of(breaker) is BreakerState.OPEN
    return breaker


def test_closed_lets_as_many_through_as_may_be_on_the_wire() -> None:
    """Side by side; one more when one has come back."""
    breaker = made(most=3)
    out = []
    for _ in range(3):
        assert breaker.admits_at() == -inf
        out.append(breaker.begin())
    assert breaker.admits_at() == inf
    breaker.end(out[0], failed=False, now=0.0)
    assert breaker.admits_at() == -inf


def test_it_opens_at_so_many_failures_in_a_row() -> None:
    """And not before the last of them."""
    breaker = made()
    for _ in range(3):
        call(breaker, failed=True)
    assert state_of(breaker) is BreakerState.CLOSED
    call(breaker, failed=True)
    assert state_of(breaker) is BreakerState.OPEN


@pytest.mark.parametrize("failures", [1, 3])
def test_a_success_wipes_out_the_failures_before_it(failures: int) -> None:
    """However often, nine of ten or one of two: no share of failures opens it."""
    breaker = made()
    for _ in range(100):
        for _ in range(failures):
            call(breaker, failed=True)
        call(breaker, failed=False)
    assert state_of(breaker) is BreakerState.CLOSED


def test_by_default_nine_of_ten_failing_by_chance_open_nothing() -> None:
    """A hundred thousand requests, at each tenth."""
    for tenth in range(10):
        breaker, chance = made(min_calls=150), random.Random(tenth)
        for _ in range(100_000):
            call(breaker, failed=chance.random() < tenth / 10)
            assert state_of(breaker) is BreakerState.CLOSED


@pytest.mark.parametrize(("ratio", "opens"), [(0.5, True), (0.7, False), (1.0, False)])
def test_with_a_smaller_ratio_failures_beyond_it_add_up(ratio: float, *, opens: bool) -> None:
    """Two of three fail: that is beyond a half, and within seven tenths."""
    breaker = made(failure_ratio=ratio, min_calls=10)
    for _ in range(30):
        for failed in (True, True, False):
            if state_of(breaker) is BreakerState.CLOSED:
                call(breaker, failed=failed)
    assert (state_of(breaker) is BreakerState.OPEN) is opens


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
    for _ in range(3):
        call(breaker, failed=True, now=5.0)
    assert state_of(breaker) is BreakerState.CLOSED


def test_after_an_outage_twice_as_many_go_with_each_round_trip() -> None:
    """2, 4, 8, 16, 20: quick, and no storm."""
    breaker = made(most=20, min_calls=1)
    call(breaker, failed=True)
    call(breaker, failed=False, now=5.0)
    rounds = []
    for _ in range(6):
        out = []
        while breaker.admits_at() == -inf:
            out.append(breaker.begin())
        rounds.append(len(out))
        for generation in out:
            breaker.end(generation, failed=False, now=6.0)
    assert rounds == [2, 4, 8, 16, 20, 20]


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
    breaker = made()
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


def test_requests_that_hang_from_before_hold_up_no_probe() -> None:
    """What was on the wire when it opened takes no place of those that come after."""
    breaker = made(most=8)
    hanging = [breaker.begin() for _ in range(4)]
    for _ in range(4):
        call(breaker, failed=True)
    probe = breaker.begin()
    breaker.end(probe, failed=False, now=5.0)
    assert breaker.admits_at() == -inf
    for generation in hanging:
        breaker.end(generation, failed=True, now=6.0)
    assert state_of(breaker) is BreakerState.CLOSED


def test_what_was_called_off_while_closed_counts_for_nothing() -> None:
    """Neither as a failure nor against those before it."""
    breaker = made()
    for _ in range(3):
        call(breaker, failed=True)
        call(breaker, failed=None)
    assert state_of(breaker) is BreakerState.CLOSED
    call(breaker, failed=True)
    assert state_of(breaker) is BreakerState.OPEN


def test_the_table_of_moves_is_the_whole_of_it() -> None:
    """No way from open to closed; all that a thousand random calls do is in the table."""
    assert set(MOVES) == set(BreakerState)
    assert BreakerState.CLOSED not in MOVES[BreakerState.OPEN]
    breaker, chance, seen = made(), random.Random(3), set()
    for now in range(1_000):
        before = state_of(breaker)
        generation = breaker.begin()
        seen.add((before, state_of(breaker)))
        before = state_of(breaker)
        breaker.end(generation, failed=chance.choice((True, True, True, False)), now=float(now))
        seen.add((before, state_of(breaker)))
    moves = {(one, other) for one, other in seen if one is not other}
    assert moves == {(one, other) for one, others in MOVES.items() for other in others}


# --- how many at once --------------------------------------------------------------------------


def refuse(limit: ConcurrencyLimit, *, now: float, began: float | None = None) -> None:
    limit.refused(asked_for_pause=False, began=now if began is None else began, now=now)


def test_a_wish_for_peace_shrinks_by_0_7_and_never_below_one() -> None:
    """32, 22, 15, ... 1."""
    limit = ConcurrencyLimit(32)
    limits = [limit.limit]
    for now in range(1, 15):
        limit.refused(asked_for_pause=True, began=now - 0.5, now=float(now))
        limits.append(limit.limit)
    assert limits[:4] == [32, 22, 15, 10]
    assert limits[-1] == 1


@pytest.mark.parametrize(("most", "row"), [(100, 100), (50, 50), (32, 50), (1, 50)])
def test_a_full_round_of_refusals_shrinks_it(most: int, row: int) -> None:
    """One short of it does not: where only few may go, so many come by chance."""
    limit = ConcurrencyLimit(most)
    for _ in range(row - 1):
        refuse(limit, now=1.0)
    assert limit.limit == most
    refuse(limit, now=1.0)
    assert limit.limit == max(1, int(most * 0.7))


def test_refusals_among_successes_shrink_nothing() -> None:
    """Fewer at once would only mean fewer successes."""
    limit = ConcurrencyLimit(32)
    for now in range(100):
        for _ in range(49):
            refuse(limit, now=float(now))
        assert limit.limit == 32
        limit.accepted()


def test_requests_that_were_out_together_shrink_it_once() -> None:
    """One burst of refusals is one piece of news."""
    limit = ConcurrencyLimit(10)
    for _ in range(10):
        limit.refused(asked_for_pause=True, began=0.0, now=1.0)
    assert limit.limit == 7
    limit.refused(asked_for_pause=True, began=1.0, now=2.0)
    assert limit.limit == 4


def test_it_grows_back_by_one_with_each_success() -> None:
    """Up to where it was, and no further."""
    limit = ConcurrencyLimit(10)
    limit.restart()
    for expected in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 10):
        assert limit.limit == expected
        limit.accepted()
