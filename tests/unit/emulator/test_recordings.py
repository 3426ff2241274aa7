"""What a test asks of recorded events, and what it is told when there are others."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from alhena_async import Visitor
from alhena_async.emulator import EventKind, Facts, FaultKind, Recordings, RefusedFacts
from alhena_async.emulator._assertions import RECORDED, REFUSED, T
from alhena_async.emulator._ledger import Store
from tests.unit.emulator.test_records import send, store


class Book(Recordings):
    """Three events of two visitors, one of them refused, and a checkout."""

    def __init__(self) -> None:
        self.store = store()
        send(self.store, product_id="a", quantity=2, value=199.97)
        send(self.store, product_id="b", type="ITEM_REMOVED", user_fingerprint="other")
        send(self.store, product_id="c", product_name="")
        send(self.store, EventKind.CHECKOUT, orderId="1")

    def _look(self, read: Callable[[Store], T]) -> T:
        return read(self.store)


@pytest.mark.parametrize(
    ("facts", "seqs"),
    [
        ({}, [1, 2, 4]),
        ({"kind": "cart"}, [1, 2]),
        ({"kind": EventKind.CHECKOUT}, [4]),
        ({"type": "ITEM_REMOVED"}, [2]),
        ({"product_id": "a", "fingerprint": "fp"}, [1]),
        ({"product_id": "a", "fingerprint": "other"}, []),
        ({"product_id": "p"}, [4]),
        ({"order_id": "1"}, [4]),
        ({"visitor": ("fp", "faq")}, [1, 4]),
        ({"visitor": Visitor(fingerprint="other", faq_fingerprint="faq")}, [2]),
        ({"quantity": 2}, [1]),
        ({"quantity": Decimal("2.0")}, [1]),
        ({"value": 199.97}, [1]),
        ({"currency": "EUR", "company_key": "shop", "source": None}, [1, 2, 4]),
    ],
)
def test_facts_select(facts: dict[str, Any], seqs: list[int]) -> None:
    """Every given fact must be met; a float means its digits; None is not asked."""
    assert [record.seq for record in Book().recorded(**facts)] == seqs


def test_facts_select_refused_ones() -> None:
    """By what they held, and by their code."""
    book = Book()
    [record] = book.refused(code="MISSING_REQUIRED_FIELDS", product_id="c")
    assert record.seq == 3
    assert book.refused(code="COMPANY_NOT_FOUND") == []
    assert book.refused(type="no such type") == []


def test_every_declared_fact_can_be_asked() -> None:
    """What a type checker lets pass, and what is read, are the same."""
    assert Facts.__optional_keys__ == RECORDED.keys()
    assert RefusedFacts.__optional_keys__ == REFUSED.keys()


@pytest.mark.parametrize(
    ("facts", "error", "words"),
    [
        ({"product": "a"}, TypeError, "no such fact: 'product'; there are .*product_id"),
        ({"code": "X"}, TypeError, "no such fact: 'code'"),
        ({"quantity": "2"}, TypeError, "quantity must be a number, not str"),
        ({"quantity": True}, TypeError, "quantity must be a number, not bool"),
        ({"visitor": "fp"}, TypeError, "expected a visitor or a pair of fingerprints, not str"),
        ({"kind": "carts"}, ValueError, "carts"),
        ({"type": "added"}, ValueError, "added"),
        ({"order_id": 7}, TypeError, "order_id must be a text, not int"),
    ],
)
def test_a_misspelled_question_is_no_empty_answer(
    facts: dict[str, Any], error: type[Exception], words: str
) -> None:
    """It would pass every assertion that nothing was recorded."""
    with pytest.raises(error, match=words):
        Book().recorded(**facts)
    with pytest.raises(error, match=words):
        Book().assert_nothing_recorded(**facts)


def test_an_assertion_returns_what_it_found() -> None:
    """As many as asked for, oldest first."""
    book = Book()
    [record] = book.assert_recorded(product_id="a", value=199.97)
    assert record.seq == 1
    assert [record.seq for record in book.assert_recorded(times=3)] == [1, 2, 4]
    assert len(book.assert_recorded(times=None, kind="cart")) == 2
    book.assert_nothing_recorded(product_id="z")
    assert book.assert_recorded(times=0, product_id="z") == []


def failure(check: Callable[..., object], **facts: Any) -> list[str]:
    with pytest.raises(AssertionError) as caught:
        check(**facts)
    return str(caught.value).splitlines()


def test_a_failure_names_the_nearest_and_lists_the_rest() -> None:
    """The one that lacks the fewest facts, and in which."""
    book = Book()
    book.store.count_request()
    book.store.count_fault(FaultKind.HANG)
    assert failure(book.assert_recorded, type="ITEM_ADDED", product_id="a", quantity=3) == [
        "expected 1 event recorded with type='ITEM_ADDED', product_id='a', quantity=3, found none",
        "nearest: #1 ITEM_ADDED 'a', quantity 2, 199.97 EUR, visitor 'fp': quantity is 2, not 3",
        "recorded:",
        "  #1 ITEM_ADDED 'a', quantity 2, 199.97 EUR, visitor 'fp'",
        "  #2 ITEM_REMOVED 'b', quantity 1, 1 EUR, visitor 'other'",
        "  #4 checkout '1', 1 EUR for 'p', visitor 'fp'",
        "refused:",
        "  #3 ITEM_ADDED 'c', MISSING_REQUIRED_FIELDS (product_name is empty), visitor 'fp'",
        "requests: 1, faults played: 1 hang",
    ]


@pytest.mark.parametrize(
    ("facts", "nearest"),
    [
        ({"order_id": "2", "kind": "checkout"}, "order_id is '1', not '2'"),
        ({"order_id": "1", "product_id": "a"}, "no line has product_id 'a'"),
        ({"product_id": "z", "visitor": ("fp", "faq")}, "product_id is 'a', not 'z'"),
        ({"type": "ITEM_REMOVED", "product_id": "b", "visitor": ("x", "y")},
         "visitor is ('other', 'faq'), not ('x', 'y')"),
    ],
)  # fmt: skip
def test_a_miss_in_words(facts: dict[str, Any], nearest: str) -> None:
    """Every kind of fact says what it is and what it should have been."""
    assert failure(Book().assert_recorded, **facts)[1].endswith(f": {nearest}")


def test_too_many_are_a_failure() -> None:
    """Counted once is what a shop wants."""
    book = Book()
    send(book.store, product_id="a")
    assert failure(book.assert_recorded, product_id="a")[0] == (
        "expected 1 event recorded with product_id='a', found 2"
    )
    assert failure(book.assert_nothing_recorded)[0] == "expected no events recorded, found 4"
    assert failure(book.assert_recorded, times=None, order_id="9")[0] == (
        "expected at least 1 event recorded with order_id='9', found none"
    )


def test_without_a_request_it_asks_whether_the_event_still_waits() -> None:
    """The usual mistake is to look before the client has sent."""
    book = Book()
    book.store.clear()
    assert failure(book.assert_recorded, product_id="a") == [
        "expected 1 event recorded with product_id='a', found none",
        "recorded:",
        "  nothing",
        "refused:",
        "  nothing",
        "requests: 0, faults played: none",
        "Does the event still wait in the client? Flush or close it first.",
    ]


def test_a_long_list_is_cut() -> None:
    """A failure after a day of events can still be read."""
    book = Book()
    for number in range(50):
        send(book.store, product_id=f"{number}")
    lines = failure(book.assert_recorded, product_id="z")
    assert "recorded, the last 10 of 53:" in lines
    assert len(lines) < 20
