"""When the next request may go: slots, breakers and the pause, behind one question."""

from math import inf
from typing import Any

import pytest

from alhena_async import BreakerPolicy, BreakerState, Endpoint, RetryPolicy
from alhena_async._delivery.throttling import RequestGate, gate_with
from alhena_async._replies import Verdict, VerdictKind
from alhena_async._telemetry.logbook import Logbook
from alhena_async._telemetry.telemetry import Telemetry

CART, CHECKOUT = Endpoint.CART, Endpoint.CHECKOUT
GOOD = Verdict(kind=VerdictKind.RECORDED, http_status=200)
LOST = Verdict(kind=VerdictKind.TRANSIENT)
REFUSED_BY_US = Verdict(kind=VerdictKind.REFUSED, detail="could not be encoded")


def has_slot(made: RequestGate) -> bool:
    return made.has_slot


def throttled(retry_after: float | None = None) -> Verdict:
    return Verdict(kind=VerdictKind.THROTTLED, http_status=429, retry_after=retry_after)


def gate(most: int = 2, **policy: Any) -> RequestGate:
    breaker = BreakerPolicy(min_calls=2, open_for=5.0)
    retry = RetryPolicy(breaker=breaker, **policy)
    return RequestGate(retry, max_in_flight=most, telemetry=Telemetry((), logbook=Logbook()))


def call(
    made: RequestGate, verdict: Verdict | None, *, endpoint: Endpoint = CART, now: float = 0.0
) -> None:
    made.end(endpoint, made.begin(endpoint, now), verdict, began=now, now=now)


def test_slots_are_taken_and_given_back_however_a_request_ends() -> None:
    """A verdict of any kind, or none at all."""
    made = gate(most=2)
    for verdict in (GOOD, REFUSED_BY_US, None):
        first, second = made.begin(CART, 0.0), made.begin(CHECKOUT, 0.0)
        assert not has_slot(made)
        made.end(CART, first, verdict, began=0.0, now=0.0)
        assert has_slot(made)
        made.end(CHECKOUT, second, verdict, began=0.0, now=0.0)


@pytest.mark.parametrize(("down", "up"), [(CART, CHECKOUT), (CHECKOUT, CART)])
@pytest.mark.parametrize("failure", [LOST, throttled()])
def test_each_endpoint_has_a_breaker_of_its_own(
    down: Endpoint, up: Endpoint, failure: Verdict
) -> None:
    """One is open, the other admits as many as ever."""
    made = gate()
    for _ in range(2):
        call(made, failure, endpoint=down)
    assert made.breaker(down) is BreakerState.OPEN
    assert made.opens_at(down) == 5.0
    assert made.breaker(up) is BreakerState.CLOSED
    made.begin(up, 0.0)
    assert made.opens_at(up) <= 0.0


def test_what_was_never_sent_shows_nothing_of_the_endpoint() -> None:
    """Our own failure to encode closes no breaker, and opens none."""
    made = gate()
    for _ in range(2):
        call(made, LOST)
    call(made, REFUSED_BY_US, now=5.0)
    assert made.breaker(CART) is BreakerState.HALF_OPEN
    call(made, GOOD, now=5.0)
    assert made.breaker(CART) is BreakerState.CLOSED


def test_what_this_machine_lacks_shows_nothing_of_the_endpoint() -> None:
    """A connector without a free place opens no breaker."""
    made = gate()
    for _ in range(5):
        call(made, Verdict(kind=VerdictKind.TRANSIENT, is_local=True))
    assert made.breaker(CART) is BreakerState.CLOSED


@pytest.mark.parametrize(("bound", "slots"), [(None, 2), (1, 1), (100, 2)])
def test_no_more_go_out_than_a_connector_lets_out(bound: int | None, slots: int) -> None:
    """Whoever waits within the connector would use up its own time."""
    made = gate(most=2)
    made.bound(bound)
    for _ in range(slots):
        assert made.has_slot
        made.begin(CART, 0.0)
    assert not made.has_slot


def test_a_pause_holds_for_both_endpoints_and_is_capped() -> None:
    """The API asked for peace, not for fewer carts."""
    made = gate(retry_after_cap=20.0)
    call(made, throttled(1_000.0))
    assert made.opens_at(CART) == made.opens_at(CHECKOUT) == 20.0


@pytest.mark.parametrize("second", [1.0, 9.0])
def test_the_longest_pause_holds(second: float) -> None:
    """A shorter one that comes later does not cut it."""
    made = gate()
    call(made, throttled(5.0))
    call(made, throttled(second), endpoint=CHECKOUT)
    assert made.opens_at(CHECKOUT) == max(5.0, second)


def test_a_pause_leaves_fewer_to_go_at_once_after_it() -> None:
    """And a success brings one back; the other endpoint is asked as before."""
    made = gate(most=4)
    call(made, throttled(1.0))
    out = [made.begin(CART, 2.0), made.begin(CART, 2.0)]
    assert made.opens_at(CART) == inf
    assert made.opens_at(CHECKOUT) == 1.0
    made.end(CART, out[0], GOOD, began=2.0, now=2.0)
    made.begin(CART, 2.0)
    assert made.opens_at(CART) == 1.0


def test_a_fence_holds_back_and_counts_nothing() -> None:
    """It is asked each time; the breakers hear nothing of it."""
    holds = [True]
    telemetry = Telemetry((), logbook=Logbook())
    made = gate_with(lambda: not holds[0], RetryPolicy(), max_in_flight=2, telemetry=telemetry)
    assert not has_slot(made)
    holds[0] = False
    assert has_slot(made)
    call(made, GOOD)
    assert made.breaker(CART) is BreakerState.CLOSED
    assert made.opens_at(CART) == -inf
    holds[0] = True
    assert not has_slot(made)
