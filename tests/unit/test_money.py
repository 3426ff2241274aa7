"""`money.from_minor`: cents become euros, and yen stay yen."""

from decimal import Decimal, localcontext
from typing import Any

import pytest

from alhena_async import CheckoutEvent, InvalidEventError, LineItem, Visitor
from alhena_async.money import EXPONENTS, from_minor


@pytest.mark.parametrize(
    ("amount", "currency", "major"),
    [
        (50000, "usd", "500.00"),
        (1999, "EUR", "19.99"),
        (1, "EUR", "0.01"),
        (0, "EUR", "0.00"),
        (500, "JPY", "500"),
        (500, "krw", "500"),
        (1234, "KWD", "1.234"),
        (12345, "CLF", "1.2345"),
        (-250, "EUR", "-2.50"),
        (10**18 - 1, "EUR", "9999999999999999.99"),
        (999, "BGN", "9.99"),
    ],
)
def test_minor_units_become_major_units(amount: int, currency: str, major: str) -> None:
    """With the digits that ISO 4217 gives the currency, exactly, whatever the decimal context."""
    with localcontext(prec=2):
        value, code = from_minor(amount, currency)
    assert (str(value), code) == (major, currency.upper())


def test_a_provider_may_count_otherwise() -> None:
    """The exponent can be given, also for what the table does not know."""
    assert from_minor(5, "MGA") == (Decimal("0.05"), "MGA")
    assert from_minor(5, "MGA", exponent=0) == (Decimal(5), "MGA")
    assert from_minor(5, "xbt", exponent=8) == (Decimal("5E-8"), "XBT")


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"amount": 19.99}, "amount"),
        ({"amount": 1999.0}, "amount"),
        ({"amount": Decimal("19.99")}, "amount"),
        ({"amount": "1999"}, "amount"),
        ({"amount": None}, "amount"),
        ({"amount": True}, "amount"),
        ({"amount": 10**19}, "amount"),
        ({"currency": "XAU"}, "currency"),
        ({"currency": "\u017fSD"}, "currency"),
        ({"currency": ""}, "currency"),
        ({"currency": None}, "currency"),
        ({"exponent": 2.0}, "exponent"),
        ({"exponent": -1}, "exponent"),
        ({"exponent": 10}, "exponent"),
    ],
    ids=ascii,
)
def test_what_is_no_minor_unit_is_refused(given: dict[str, Any], field: str) -> None:
    """As an event would be, so that `reporting` catches it too."""
    fields: dict[str, Any] = {"amount": 1999, "currency": "EUR"}
    with pytest.raises(InvalidEventError) as caught:
        from_minor(**(fields | given))
    assert caught.value.field == field
    assert str(caught.value).startswith(f"from_minor.{field} must be ")


def test_the_table_is_whole() -> None:
    """Three letters each, none of them twice."""
    assert len(EXPONENTS) == 17 + 139 + 6 + 7 + 2
    assert all(len(code) == 3 and code.isupper() for code in EXPONENTS)


def test_its_result_is_what_events_take() -> None:
    """Value and currency, as they come out."""
    value, currency = from_minor(50000, "usd")
    lamp = LineItem(product_id=7, product_name="Lamp", quantity=1, value=value, currency=currency)
    visitor = Visitor(fingerprint="a", faq_fingerprint="b")
    order = CheckoutEvent(visitor=visitor, value=value, currency=currency, line_items=[lamp])
    assert (order.value, order.currency) == (500, "USD")
