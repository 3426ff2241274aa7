"""How an event ends: what counts as ok, and which error stands for which end."""

import attrs
import pytest

from alhena_async import errors
from alhena_async._replies import Verdict, VerdictKind
from alhena_async.events import CartEvent, Visitor
from alhena_async.observers import BreakerState, Observer, Stats
from alhena_async.outcomes import ErrorCode, Outcome, OutcomeStatus
from alhena_async.transports import Endpoint

EVENT = CartEvent(
    visitor=Visitor(
        fingerprint="550e8400-e29b-41d4-a716-446655440000",
        faq_fingerprint="660e8400-e29b-41d4-a716-446655441111",
    ),
    type="ITEM_ADDED",
    product_id="mug-1",
    product_name="Mug",
    value=9.5,
    currency="EUR",
    quantity=1,
)
OK = {OutcomeStatus.RECORDED, OutcomeStatus.PUBLISHED, OutcomeStatus.DUPLICATE}
ENDINGS = [status for status in OutcomeStatus if status is not OutcomeStatus.COALESCED]
ERROR_OF_STATUS: dict[OutcomeStatus, type[errors.DeliveryError]] = {
    OutcomeStatus.DUPLICATE: errors.OrderAlreadyExistsError,
    OutcomeStatus.UNATTRIBUTED: errors.ActiveTicketNotFoundError,
    OutcomeStatus.REJECTED: errors.RejectedError,
    OutcomeStatus.EXPIRED: errors.DeliveryExpiredError,
    OutcomeStatus.UNKNOWN: errors.DeliveryUnknownError,
    OutcomeStatus.DROPPED: errors.DeliveryDroppedError,
    OutcomeStatus.KEPT: errors.DeliveryAbandonedError,
    OutcomeStatus.ABANDONED: errors.DeliveryAbandonedError,
}
ERROR_OF_CODE: dict[str | None, type[errors.RejectedError]] = {
    "MISSING_REQUIRED_FIELDS": errors.MissingRequiredFieldsError,
    "COMPANY_NOT_FOUND": errors.CompanyNotFoundError,
    "ACTIVE_TICKET_NOT_FOUND": errors.ActiveTicketNotFoundError,
    "PREVIOUS_ITEM_ADDED_EVENT_NOT_FOUND": errors.PreviousItemAddedEventNotFoundError,
    "PREVIOUS_QUANTITY_INCREASED_EVENT_NOT_FOUND": (
        errors.PreviousQuantityIncreasedEventNotFoundError
    ),
    "ORDER_ALREADY_EXISTS": errors.OrderAlreadyExistsError,
    "SOMETHING_NEW": errors.RejectedError,
    "": errors.RejectedError,
    None: errors.RejectedError,
}


def outcome(
    status: OutcomeStatus, *, code: str | None = None, survivor: Outcome | None = None
) -> Outcome:
    return Outcome(status=status, event=EVENT, code=code, survivor=survivor)


def folded(ending: Outcome, times: int) -> Outcome:
    for _ in range(times):
        ending = outcome(OutcomeStatus.COALESCED, survivor=ending)
    return ending


def test_the_statuses_are_the_promised_ones() -> None:
    """Eleven ways to end, and no twelfth."""
    assert [status.name for status in OutcomeStatus] == [
        "RECORDED",
        "PUBLISHED",
        "DUPLICATE",
        "COALESCED",
        "UNATTRIBUTED",
        "REJECTED",
        "EXPIRED",
        "UNKNOWN",
        "DROPPED",
        "KEPT",
        "ABANDONED",
    ]
    assert all(status.value == status.name.lower() for status in OutcomeStatus)


def test_the_codes_are_the_documented_ones() -> None:
    """Six codes, each worth a class of its own."""
    assert {code.value for code in ErrorCode} == set(ERROR_OF_CODE) - {"SOMETHING_NEW", "", None}


@pytest.mark.parametrize("status", ENDINGS)
def test_ok_means_that_nothing_is_missing_at_the_api(status: OutcomeStatus) -> None:
    """Recorded now or before is ok, all else is not."""
    assert outcome(status).ok is (status in OK)


@pytest.mark.parametrize("status", ENDINGS)
@pytest.mark.parametrize("times", [1, 2, 5])
def test_a_folded_event_is_as_good_as_what_it_was_folded_into(
    status: OutcomeStatus, times: int
) -> None:
    """Through any number of folds: same ok, and the same error unless ok."""
    ending = folded(outcome(status), times)
    assert ending.ok is (status in OK)
    if status in OK:
        ending.raise_for_status()
        return
    with pytest.raises(ERROR_OF_STATUS[status]) as caught:
        ending.raise_for_status()
    assert type(caught.value) is ERROR_OF_STATUS[status]
    assert caught.value.outcome is ending


def test_events_that_cancelled_each_other_out_are_ok() -> None:
    """Folded into nothing, nothing is missing."""
    ending = outcome(OutcomeStatus.COALESCED)
    assert ending.ok
    ending.raise_for_status()


ARRIVED = [OutcomeStatus.RECORDED, OutcomeStatus.PUBLISHED]


@pytest.mark.parametrize("status", ARRIVED)
def test_what_arrived_raises_nothing(status: OutcomeStatus) -> None:
    """`raise_for_status` is quiet where all went well, at the API and at a broker."""
    outcome(status).raise_for_status()


@pytest.mark.parametrize(("status", "kind"), ERROR_OF_STATUS.items())
def test_every_other_status_raises_its_error(
    status: OutcomeStatus, kind: type[errors.DeliveryError]
) -> None:
    """A duplicate too: whoever asks wants to know."""
    ending = outcome(status)
    with pytest.raises(errors.DeliveryError) as caught:
        ending.raise_for_status()
    assert type(caught.value) is kind
    assert caught.value.outcome is ending


@pytest.mark.parametrize(("code", "kind"), ERROR_OF_CODE.items())
@pytest.mark.parametrize("times", [0, 1, 3])
def test_a_rejection_raises_the_class_of_its_code(
    code: str | None, kind: type[errors.RejectedError], times: int
) -> None:
    """One class per documented code, the parent for any other; also for a folded event."""
    with pytest.raises(errors.RejectedError) as caught:
        folded(outcome(OutcomeStatus.REJECTED, code=code), times).raise_for_status()
    assert type(caught.value) is kind


@pytest.mark.parametrize("status", [one for one in ENDINGS if one is not OutcomeStatus.REJECTED])
def test_a_code_does_not_change_the_class_of_another_status(status: OutcomeStatus) -> None:
    """An expired event may have met a code on its way: it expired all the same."""
    ending = outcome(status, code="COMPANY_NOT_FOUND")
    if status in ARRIVED:
        ending.raise_for_status()
        return
    with pytest.raises(ERROR_OF_STATUS[status]) as caught:
        ending.raise_for_status()
    assert type(caught.value) is ERROR_OF_STATUS[status]


def test_an_outcome_is_a_frozen_value() -> None:
    """It may be shared: nobody can change it, and equal facts are equal."""
    ending = outcome(OutcomeStatus.RECORDED)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        ending.code = "X"  # type: ignore[misc]
    assert ending == outcome(OutcomeStatus.RECORDED)
    assert (ending.attempts, ending.elapsed, ending.ambiguous) == (0, 0.0, False)
    assert (ending.code, ending.http_status, ending.detail) == (None, None, None)


@pytest.mark.parametrize(
    ("ending", "line"),
    [
        (Outcome(status=OutcomeStatus.DROPPED, event=EVENT), "DROPPED, 0 attempts"),
        (
            Outcome(status=OutcomeStatus.RECORDED, event=EVENT, http_status=200, attempts=1),
            "RECORDED, HTTP 200, 1 attempt",
        ),
        (
            Outcome(
                status=OutcomeStatus.REJECTED,
                event=EVENT,
                code="\x1b[31mRED\n\u202e",
                http_status=422,
                attempts=2,
                detail="a reply's body",
            ),
            "REJECTED, an undocumented code, HTTP 422, 2 attempts",
        ),
    ],
    ids=["bare", "recorded", "hostile-code"],
)
def test_an_outcome_explains_itself_in_one_line(ending: Outcome, line: str) -> None:
    """Status, code, attempts; nothing of event or body, and nothing a terminal would obey."""
    assert ending.explain() == line


def test_no_outcome_shows_a_fingerprint() -> None:
    """An outcome may be logged as it is."""
    ending = folded(outcome(OutcomeStatus.RECORDED), 2)
    assert "550e8400" not in repr(ending)
    assert "660e8400" not in repr(ending)


@pytest.mark.parametrize("kind", VerdictKind)
def test_only_transient_verdicts_call_for_another_attempt(kind: VerdictKind) -> None:
    """Whether another attempt can help is data on the kind."""
    assert kind.is_transient is (kind in {VerdictKind.TRANSIENT, VerdictKind.THROTTLED})


def test_a_verdict_claims_nothing_by_default() -> None:
    """No code, no status, not ambiguous, no wait."""
    assert attrs.astuple(Verdict(kind=VerdictKind.RECORDED)) == (
        VerdictKind.RECORDED,
        None,
        None,
        False,
        None,
        None,
        False,
        False,
    )


# --- what an observer is told -------------------------------------------------------------------


def test_stats_have_a_counter_per_status() -> None:
    """Its name in lower case, so that the accounting can be added up by anyone."""
    names = {field.name for field in attrs.fields(Stats)}
    assert {status.name.lower() for status in OutcomeStatus} <= names
    assert {"accepted", "replayed", "queued", "in_flight", "retries", "requests"} <= names
    assert {"breaker", "oldest_age"} <= set(dir(Stats()))


def test_stats_are_a_frozen_snapshot() -> None:
    """Nobody counts on a snapshot."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Stats().accepted = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("cart", "checkout", "worse"),
    [
        (cart, checkout, max(cart, checkout, key=["closed", "half_open", "open"].index))
        for cart in BreakerState
        for checkout in BreakerState
    ],
)
def test_the_breaker_of_the_stats_is_the_worse_one(
    cart: BreakerState, checkout: BreakerState, worse: BreakerState
) -> None:
    """One word for a health check: open beats half-open beats closed."""
    assert Stats(cart_breaker=cart, checkout_breaker=checkout).breaker is worse


def test_an_observer_may_override_as_little_as_it_likes() -> None:
    """Every method of the base class takes what it is told, and does nothing."""
    watch = Observer()
    watch.accepted(EVENT)
    watch.attempt(EVENT, 1)
    watch.retry(EVENT, 0.5, "HTTP 500")
    watch.outcome(outcome(OutcomeStatus.RECORDED))
    watch.breaker_changed(Endpoint.CART, BreakerState.OPEN)
    assert vars(watch) == {}
