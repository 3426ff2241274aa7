"""`decide`: what an attempt's verdict means for its envelope, row by row."""

import pytest

from alhena_async import Event, OutcomeStatus, RetryPolicy
from alhena_async._delivery.attempts import End, Retry, decide
from alhena_async._queue.envelope import Envelope
from alhena_async._replies import Verdict, VerdictKind
from tests.scripted import cart, checkout, waiting_envelope

KINDS = {
    VerdictKind.RECORDED: OutcomeStatus.RECORDED,
    VerdictKind.ORDER_EXISTS: OutcomeStatus.DUPLICATE,
    VerdictKind.NO_TICKET: OutcomeStatus.UNATTRIBUTED,
    VerdictKind.PRECONDITION: OutcomeStatus.REJECTED,
    VerdictKind.REFUSED: OutcomeStatus.REJECTED,
}
LOST = Verdict(kind=VerdictKind.TRANSIENT, ambiguous=True, detail="connection lost")
NEVER_SENT = Verdict(kind=VerdictKind.TRANSIENT, detail="no connection")


def tried(event: Event, *, attempts: int = 1, order_id: str | None = None) -> Envelope:
    envelope = waiting_envelope(event, 0.0)
    details = envelope.details()
    details.attempts, details.order_id = attempts, order_id
    return envelope


def step(
    envelope: Envelope,
    verdict: Verdict,
    policy: RetryPolicy | None = None,
    *,
    remaining: float = 100.0,
    may_wait: bool = False,
) -> Retry | End:
    envelope.lane.waiting_checkouts = int(not may_wait)
    return decide(envelope, verdict, policy=policy or RetryPolicy(), remaining=remaining)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("remaining", [100.0, 0.0, -1.0])
def test_a_final_verdict_ends_it(kind: VerdictKind, remaining: float) -> None:
    """Never tried again; at the very deadline it still counts for what it says."""
    end = step(tried(checkout()), Verdict(kind=kind, detail="words"), remaining=remaining)
    assert isinstance(end, End)
    assert end.status is KINDS[kind]


def test_an_order_that_exists_after_an_ambiguous_attempt_is_ours() -> None:
    """And without one it is another's."""
    envelope = tried(checkout(), order_id="o")
    envelope.details().ambiguous = True
    assert step(envelope, Verdict(kind=VerdictKind.ORDER_EXISTS)) == End(
        status=OutcomeStatus.RECORDED
    )


@pytest.mark.parametrize("verdict", [LOST, NEVER_SENT])
def test_a_cart_event_is_repeated(verdict: Verdict) -> None:
    """Its quantity is a state: twice is as good as once."""
    retry = step(tried(cart()), verdict)
    assert isinstance(retry, Retry)
    assert 0 <= retry.delay <= 0.25
    assert retry.reason == verdict.detail
    assert not retry.precondition


@pytest.mark.parametrize(
    ("envelope", "repeated"),
    [
        (tried(cart()), False),
        (tried(checkout(), order_id="o"), True),
        (tried(checkout(order_id=None), order_id="auto-1"), True),
        (tried(checkout(order_id=None)), False),
    ],
    ids=["cart", "caller's id", "assigned id", "no id"],
)
def test_what_may_not_be_repeated_ends_unknown(envelope: Envelope, repeated: bool) -> None:
    """Only when ambiguous: what never left is always tried again."""
    policy = RetryPolicy(retry_ambiguous_carts=False)
    assert isinstance(step(envelope, NEVER_SENT, policy), Retry)
    after = step(envelope, LOST, policy)
    if repeated:
        assert isinstance(after, Retry)
    else:
        assert isinstance(after, End)
        assert after.status is OutcomeStatus.UNKNOWN
        assert "connection lost" in str(after.detail)


def test_max_attempts_ends_it() -> None:
    """At that number, not before."""
    policy = RetryPolicy(max_attempts=3)
    assert isinstance(step(tried(cart(), attempts=2), LOST, policy), Retry)
    end = step(tried(cart(), attempts=3), LOST, policy)
    assert isinstance(end, End)
    assert end.status is OutcomeStatus.EXPIRED
    assert "max_attempts=3" in str(end.detail)


@pytest.mark.parametrize("remaining", [5.0, 1.0, 0.0, -1.0])
def test_it_never_sleeps_past_its_deadline(remaining: float) -> None:
    """A delay that reaches the deadline ends it now."""
    throttled = Verdict(kind=VerdictKind.THROTTLED, retry_after=5.0)
    end = step(tried(cart()), throttled, remaining=remaining)
    assert isinstance(end, End)
    assert end.status is OutcomeStatus.EXPIRED
    assert "delivery timeout" in str(end.detail)
    assert isinstance(step(tried(cart()), throttled, remaining=6.0), Retry)


@pytest.mark.parametrize(("remaining", "ends"), [(0.011, False), (0.01, True), (1e-9, True)])
def test_the_last_moments_are_no_storm(remaining: float, ends: bool) -> None:
    """Jitter within what is left would try at ever shorter intervals."""
    for _ in range(100):
        made = step(tried(cart()), LOST, remaining=remaining)
        assert isinstance(made, End if ends else Retry)


PREVIOUS = Verdict(kind=VerdictKind.PRECONDITION, code="PREVIOUS_ITEM_ADDED_EVENT_NOT_FOUND")


def test_a_precondition_gets_its_retries_at_its_own_delay() -> None:
    """As many as the policy says."""
    policy = RetryPolicy(precondition_retries=2, precondition_delay=7.0)
    envelope = tried(cart())
    for tries in (0, 1):
        envelope.details().precondition_tries = tries
        retry = step(envelope, PREVIOUS, policy, may_wait=True)
        assert isinstance(retry, Retry)
        assert retry.precondition
        assert retry.delay == 7.0
    envelope.details().precondition_tries = 2
    assert isinstance(step(envelope, PREVIOUS, policy, may_wait=True), End)


@pytest.mark.parametrize(
    ("policy", "remaining", "may_wait"),
    [
        (RetryPolicy(), 100.0, False),
        (RetryPolicy(precondition_retries=0), 100.0, True),
        (RetryPolicy(max_attempts=1), 100.0, True),
        (RetryPolicy(), 2.0, True),
    ],
    ids=["lane", "policy", "attempts", "deadline"],
)
def test_a_precondition_is_final_where_no_retry_may_be(
    policy: RetryPolicy, remaining: float, may_wait: bool
) -> None:
    """`REJECTED`, since that is what the API said."""
    end = step(tried(cart()), PREVIOUS, policy, remaining=remaining, may_wait=may_wait)
    assert isinstance(end, End)
    assert end.status is OutcomeStatus.REJECTED
