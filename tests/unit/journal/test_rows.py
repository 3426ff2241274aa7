"""Rows: every digit comes back, and nothing is believed that was not written."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alhena_async import CartEvent
from alhena_async._wire import request_body
from alhena_async.events import Event
from alhena_async.journal import SendMark
from alhena_async.journal._rows import Stored, event_of, is_sound, seed_of, stored
from alhena_async.policies import OrderIdField
from tests.journals import KEY, cart, order, visitor

SEED = seed_of("http://127.0.0.1/")


def row(event: Event, **changed: Any) -> Stored:
    """Return an event's row."""
    facts = {"company_key": KEY, "order_id": None, "guard": SendMark.NONE, "accepted": 1.7e9}
    return stored(7, event, **(facts | changed), seed=SEED)


def sent(event: Event) -> bytes:
    """Return what a request of an event carries."""
    return request_body(event, company_key=KEY, order_id=None, order_id_field=OrderIdField.BOTH)


numbers = st.one_of(
    st.integers(0, 10**15 - 1),
    st.floats(0, 1e15, exclude_max=True, allow_nan=False),
    st.decimals(0, 10**15 - 1, places=9, allow_nan=False, allow_infinity=False),
    st.integers(0, 10**6).flatmap(
        lambda whole: st.integers(0, 9).map(lambda places: Decimal(whole).scaleb(-places))
    ),
)
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).filter(str.strip)


@given(value=numbers, name=texts, source=st.none() | texts)
def test_a_replayed_request_is_the_same_to_the_byte(
    value: Any, name: str, source: str | None
) -> None:
    """Ints, floats and decimals keep their digits over disk and back."""
    event = CartEvent(
        visitor=visitor(), type="ITEM_REMOVED", product_id=name, product_name=name,
        value=value, currency="EUR", quantity=value, source=source,
    )  # fmt: skip
    again = event_of(row(event).body)
    assert sent(again) == sent(event)


def test_a_checkout_comes_back_whole() -> None:
    """With its lines and its order id."""
    event = order(1, order_id="A1", value=Decimal("199.970"))
    assert event_of(row(event).body) == event


@pytest.mark.parametrize("place", range(9))
def test_no_column_may_change(place: int) -> None:
    """Each is covered by the checksum."""
    good = row(cart(1), order_id="A1", guard=SendMark.UNSENT)
    assert is_sound(good, SEED)
    value: Any = good[place]
    bad: list[Any] = list(good)
    bad[place] = value ^ 1 if isinstance(value, int) else value[:-1] + "~"
    assert not is_sound(bad, SEED)


def test_texts_cannot_flow_into_each_other() -> None:
    """A key and an order id are told apart, and none from an empty one."""
    seals = {
        row(cart(1), company_key="ab", order_id="c").seal,
        row(cart(1), company_key="a", order_id="bc").seal,
        row(cart(1), company_key="a", order_id="").seal,
        row(cart(1), company_key="a", order_id=None).seal,
    }
    assert len(seals) == 4


def test_a_row_is_meant_for_one_destination() -> None:
    """Another's seed does not fit."""
    assert not is_sound(row(cart(1)), seed_of("http://127.0.0.2/"))


@given(st.lists(st.none() | st.integers() | st.text() | st.binary() | st.floats(), max_size=10))
def test_nothing_that_is_no_row_is_believed(values: list[Any]) -> None:
    """Whatever the columns hold."""
    assert not is_sound(values, SEED)


@pytest.mark.parametrize(
    "body",
    [
        "", "nonsense", "[]", "null", "{}", '{"line_items": 3}', '{"value": NaN}',
        '{"user_fingerprint": "a"}', "[" * 100_000, '{"a": 1e999999999}', "1" * 6_000,
    ],
)  # fmt: skip
def test_a_body_that_is_no_event_is_told_apart(body: str) -> None:
    """By one kind of error, which does not quote it."""
    with pytest.raises(ValueError) as caught:
        event_of(body)
    assert len(str(caught.value)) < 400


def test_a_row_of_a_thousand_lines_comes_back() -> None:
    """Orders can be large."""
    event = order(1)
    many = type(event)(
        visitor=event.visitor, value=1, currency="EUR", line_items=event.line_items * 1000
    )
    assert event_of(row(many).body) == many
