"""What every event passes before it is let in, in the caller's own frame."""

import re
from typing import Any

import pytest

from alhena_async import Event
from alhena_async._delivery.preparation import EventPreparer
from tests.scripted import cart, checkout


def intake(**arguments: Any) -> EventPreparer:
    return EventPreparer(
        **{"before_send": None, "enabled": True, "assign_order_ids": True, **arguments}
    )


@pytest.mark.parametrize("event", [cart(), checkout(order_id="o")])
def test_without_a_filter_the_event_goes_through_as_it_is(event: Event) -> None:
    """The very object."""
    admitted = intake().prepare(event, None)
    assert admitted.event is event
    assert admitted.dropped is None
    assert admitted.order_id == getattr(event, "order_id", None)


def test_a_checkout_without_an_order_id_gets_one() -> None:
    """`auto-` and a UUID, another one each time; the event itself is left alone."""
    ids = {intake().prepare(checkout(order_id=None), None).order_id for _ in range(10)}
    assert len(ids) == 10
    assert all(
        re.fullmatch(r"auto-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", str(one)) for one in ids
    )
    bare = intake(assign_order_ids=False).prepare(checkout(order_id=None), None)
    assert bare.order_id is None


def test_the_order_id_is_that_of_the_amended_event() -> None:
    """A filter may put one in, or take it out."""
    amended = intake(before_send=lambda _: checkout(order_id="mine"))
    assert amended.prepare(checkout(order_id=None), None).order_id == "mine"
    emptied = intake(before_send=lambda _: checkout(order_id=None))
    assert str(emptied.prepare(checkout(order_id="o"), None).order_id).startswith("auto-")


@pytest.mark.parametrize(
    ("arguments", "passes"),
    [({}, True), ({"before_send": lambda event: event}, False), ({"enabled": False}, False)],
)
def test_carts_pass_unasked_only_where_nothing_may_change_them(
    arguments: dict[str, Any], passes: bool
) -> None:
    """The hot path's short cut."""
    assert intake(**arguments).passes_carts is passes


@pytest.mark.parametrize("key", ["", " ", 5, b"shop", "\ud800", "shop\n", " shop", "sh\0op"])
def test_a_company_key_is_text(key: Any) -> None:
    """Non-empty, such that UTF-8 can carry it, and without the end of the line it was read from."""
    with pytest.raises(ValueError, match="company_key"):
        intake().prepare(cart(), key)


@pytest.mark.parametrize(
    "key", ['"shop"', "'shop'", "`shop`", '"shop', "shop'", "\u201cshop\u201d"]
)
def test_a_company_key_in_quotes_is_refused(key: str) -> None:
    """It would be sent as it stands, and every event refused later."""
    with pytest.raises(ValueError, match=r"company_key must not stand in quotes.*--env-file"):
        intake().prepare(cart(), key)


def test_a_quote_within_a_company_key_is_its_own_affair() -> None:
    """Nobody adds one there by mistake."""
    intake().prepare(cart(), "o'shop")
