"""The error tree: what is caught by what, and what an error says."""

import copy
import pickle
import re
import traceback
from typing import Any

import attrs
import pytest

from alhena_async import errors
from alhena_async.errors import (
    AlhenaError,
    DeliveryError,
    InvalidEventError,
    Problem,
    QueueFullError,
    RejectedError,
)
from alhena_async.events import CartEvent, Visitor
from alhena_async.outcomes import Outcome, OutcomeStatus

MARK = "Xyzzy"
EVENT = CartEvent(
    visitor=Visitor(fingerprint=f"{MARK}-1", faq_fingerprint=f"{MARK}-2"),
    type="ITEM_ADDED",
    product_id=f"{MARK}-3",
    product_name=f"{MARK}-4",
    value=9.5,
    currency="EUR",
    quantity=1,
)
OUTCOME = Outcome(
    status=OutcomeStatus.REJECTED,
    event=EVENT,
    code="COMPANY_NOT_FOUND",
    http_status=404,
    attempts=1,
    detail=f"{MARK}-5",
)
CLASSES: list[type[Exception]] = [
    getattr(errors, name) for name in errors.__all__ if name.endswith("Error")
]


def sample(kind: type[Exception]) -> Exception:
    facts: tuple[Any, ...] = ("closed",)
    if issubclass(kind, DeliveryError):
        facts = (OUTCOME,)
    elif issubclass(kind, InvalidEventError):
        facts = ("value", "must be 0 or more", "int")
    elif issubclass(kind, QueueFullError):
        facts = (10_000,)
    return kind(*facts)


def test_the_drawn_tree_is_the_real_one() -> None:
    """The tree on top of the module shows every class, below its parent."""
    drawn: dict[str, str | None] = {}
    ancestors: list[str] = []
    for text in (errors.__doc__ or "").splitlines():
        found = re.match(r"([│├└─ ]*)([A-Z]\w+Error)\b", text)
        if found:
            depth = len(found.group(1)) // 4
            ancestors[depth:] = [found.group(2)]
            drawn[found.group(2)] = ancestors[depth - 1] if depth else None
    real = {
        kind.__name__: None if kind is AlhenaError else kind.__mro__[1].__name__ for kind in CLASSES
    }
    assert drawn == real


def test_the_tree_is_the_promised_one() -> None:
    """Every name of the contract exists, in its place."""
    assert {kind.__name__ for kind in AlhenaError.__subclasses__()} == {
        "InvalidEventError",
        "QueueFullError",
        "ClientClosedError",
        "JournalError",
        "OutboxError",
        "AlhenaTimeoutError",
        "DeliveryError",
    }
    assert {kind.__name__ for kind in DeliveryError.__subclasses__()} == {
        "RejectedError",
        "DeliveryExpiredError",
        "DeliveryUnknownError",
        "DeliveryDroppedError",
        "DeliveryAbandonedError",
    }
    assert {kind.__name__ for kind in RejectedError.__subclasses__()} == {
        "MissingRequiredFieldsError",
        "CompanyNotFoundError",
        "ActiveTicketNotFoundError",
        "PreviousItemAddedEventNotFoundError",
        "PreviousQuantityIncreasedEventNotFoundError",
        "OrderAlreadyExistsError",
    }


@pytest.mark.parametrize("kind", CLASSES)
def test_one_except_catches_them_all(kind: type[Exception]) -> None:
    """`except AlhenaError` is enough for a shop that wants to go on whatever happens."""
    with pytest.raises(AlhenaError):
        raise sample(kind)


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_says_what_it_means(kind: type[Exception]) -> None:
    """Each class has a docstring of its own."""
    assert kind.__doc__
    assert kind.__doc__ != kind.__mro__[1].__doc__


@pytest.mark.parametrize("kind", CLASSES)
def test_errors_travel_between_processes(kind: type[Exception]) -> None:
    """Through pickle and copy an error keeps its facts."""
    error = sample(kind)
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is kind
        assert str(twin) == str(error)
        assert twin.args == error.args
        assert vars(twin) == vars(error)


def test_a_refusal_names_field_rule_and_type() -> None:
    """One readable line, and each fact as a field."""
    error = InvalidEventError("line_items[2].quantity", "must be more than 0", "Decimal")
    assert str(error) == "line_items[2].quantity must be more than 0 (got Decimal)"
    assert error.field == "line_items[2].quantity"
    assert error.rule == "must be more than 0"
    assert error.value_type == "Decimal"


def test_a_refusal_of_many_rules_travels_whole() -> None:
    """Object, place and what is shown go through pickle with the problems."""
    problems = [Problem("currency", "must be upper case", "str")]
    problems.append(Problem("line_items[2].value", "must be 0 or more", "int"))
    error = InvalidEventError(
        *problems[0],
        subject="CheckoutEvent",
        problems=problems,
        shown=['"eur"', ""],
        line_count=12,
    )
    told = (
        '2 problems: CheckoutEvent.currency "eur" must be upper case; '
        "LineItem 3 of 12: value must be 0 or more"
    )
    for twin in (error, pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert str(twin) == told
        assert twin.problems == tuple(problems)
        assert twin.rule == "must be upper case"


def test_a_full_queue_says_what_to_do() -> None:
    """The message holds the capacity and the three ways out."""
    error = QueueFullError(10_000)
    assert error.capacity == 10_000
    for word in ("10000", "track()", "QueuePolicy.capacity", "QueuePolicy.overflow"):
        assert word in str(error)


def test_a_delivery_error_carries_its_outcome_and_shows_no_payload() -> None:
    """`str(error)` goes into logs: status, code and attempts, nothing of event or reply."""
    error = DeliveryError(OUTCOME)
    assert error.outcome is OUTCOME
    assert str(error) == "REJECTED, COMPANY_NOT_FOUND, HTTP 404, 1 attempt"
    assert MARK not in str(error)


@pytest.mark.parametrize("kind", [one for one in CLASSES if issubclass(one, DeliveryError)])
def test_no_delivery_error_quotes_event_or_reply(kind: type[DeliveryError]) -> None:
    """Neither in its text, nor in its repr, nor in a traceback, whatever the server echoed."""
    echoed = attrs.evolve(OUTCOME, code=f"550e8400 {MARK}-6")
    folded = attrs.evolve(OUTCOME, status=OutcomeStatus.COALESCED, survivor=echoed)
    for outcome in (OUTCOME, echoed, folded):
        error = kind(outcome)
        assert error.outcome is outcome
        texts = [str(error), repr(error), outcome.explain(), f"{[error]}"]
        texts += traceback.format_exception(error)
        assert all(MARK not in text and "550e8400" not in text for text in texts)
        assert repr(error).startswith(f"{kind.__name__}('")
        assert pickle.loads(pickle.dumps(error)).outcome == outcome
