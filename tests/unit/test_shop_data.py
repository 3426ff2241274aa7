"""The mappings of docs/shop-data.md: what they make of each platform's payload. Nothing is sent."""

from __future__ import annotations

import re
from copy import deepcopy
from decimal import Decimal
from typing import Any

import pytest

from alhena_async import InvalidEventError
from alhena_async.browser import decode_visitor
from tests.shop_data_page import ANN, PAGE, PAYLOADS, Order, name_of, orders, page, payload

each_platform = pytest.mark.parametrize("order", orders(), ids=name_of)
SECTIONS = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)


def by_name(platform: str) -> Order:
    return next(order for order in orders() if order.platform == platform)


def test_there_are_eighteen_platforms() -> None:
    """Each with a section, and no mapping on the page that is not tested here."""
    mappings = {name for name in page() if name.endswith("_checkout")}
    assert mappings == {f"{order.platform}_checkout" for order in orders()}
    assert len(orders()) == 18
    sections = {section.split()[0].lower() for section in SECTIONS}
    assert {order.platform for order in orders()} <= sections


def test_every_payload_is_used() -> None:
    """None lies about that no test reads."""
    used = {name for order in orders() for name in order.payloads} | {name for name, _ in CARTS}
    used |= {name for name, _ in STREAMS}
    assert {path.stem for path in PAYLOADS.iterdir()} == used


def test_every_link_within_the_page_leads_somewhere() -> None:
    """The list of platforms at its top too."""
    titles = re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}
    assert set(re.findall(r"\]\(#([^)]+)\)", PAGE)) <= anchors


@each_platform
def test_an_order_becomes_this_event(order: Order) -> None:
    """Total to the cent, currency, order id, and every line with its id, name and quantity."""
    assert order.mapped() == order.expected()


@each_platform
def test_an_order_that_comes_twice_is_the_same_order(order: Order) -> None:
    """Nothing in it is made up: the API sees one id, and one total."""
    assert order.mapped() == order.mapped()


# | platform | where it is written | `how it is read back` |
WAITING = re.findall(r"^\| (\w+) \| [^|]+ \| `([^`]+)` \|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("platform", "where"), WAITING)
def test_the_visitor_is_found_where_the_table_says(platform: str, where: str) -> None:
    """Under that expression stands the visitor, or the key under which a shop has kept them."""
    read = payload(by_name(platform.lower()).payloads[0])
    names = dict.fromkeys(("order", "event", "payload", "row"), read)
    found = eval(where, names)
    assert decode_visitor(found) == ANN or str(found).isalnum() or str(found).count("-") == 4


def test_the_table_of_visitors_has_every_platform_but_one() -> None:
    """Amazon's orders have no visitor: its section says so."""
    named = {platform.lower() for platform, _ in WAITING}
    assert {order.platform for order in orders()} - named == {"amazon"}


# The slips of integrators, at the event that a mapping makes; what the message must say.
def slipped(order: Order, slip: str) -> None:
    """Build the order's event anew, with one slip in it."""
    event = order.mapped()
    given = {"value": event.value, "currency": event.currency, "order_id": event.order_id}
    line: dict[str, Any] = {
        name: getattr(event.line_items[0], name)
        for name in ("product_id", "product_name", "quantity", "value", "currency")
    }
    changed, wrong = SLIPS[slip]
    (given if changed == "order" else line).update(wrong(given | {"line": line}))
    make = page()
    first = make["LineItem"](**line)
    make["CheckoutEvent"](visitor=ANN, line_items=[first, *event.line_items[1:]], **given)


SLIPS: dict[str, tuple[str, Any]] = {
    "currency": ("order", lambda order: {"currency": order["currency"].lower()}),
    "line currency": ("line", lambda order: {"currency": order["currency"].lower()}),
    "text": ("order", lambda order: {"value": f"{order['value']:.2f}"}),
    "line text": ("line", lambda order: {"value": f"{order['line']['value']:.2f}"}),
    "name": ("line", lambda _: {"product_name": ""}),
    "quantity": ("line", lambda _: {"quantity": -1}),
    "decimals": ("order", lambda order: {"value": order["value"] + Decimal("1e-10")}),
    "discount": ("line", lambda _: {"value": Decimal("-5.00")}),
    "int id": ("line", lambda _: {"product_id": 40}),
    "int order id": ("order", lambda _: {"order_id": 1042}),
}
CURES = {
    "currency": "must be upper case",
    "line currency": "must be upper case",
    "text": 'Decimal("',
    "line text": 'Decimal("',
    "name": "pass the product's id",
    "quantity": "refunds cannot be recorded",
    "decimals": 'quantize(Decimal("0.01"))',
    "discount": "a discount is no line",
}


@each_platform
@pytest.mark.parametrize("slip", CURES)
def test_a_slip_is_told_its_cure(order: Order, slip: str) -> None:
    """Whatever the platform, the message says what to do."""
    with pytest.raises(InvalidEventError) as refused:
        slipped(order, slip)
    assert CURES[slip] in str(refused.value)


@each_platform
@pytest.mark.parametrize("slip", ["int id", "int order id"])
def test_whole_numbers_are_ids_too(order: Order, slip: str) -> None:
    """Most platforms count; nothing has to be made text of."""
    slipped(order, slip)


CARTS = [
    ("woocommerce_cart", [("41", "Desk lamp – Blue", 2, "19.99", "EUR")]),  # noqa: RUF001 - HTML's
    (
        "magento_cart",
        [("LAMP-B", "Desk lamp", 2, "19.99", "EUR"), ("SET-1", "Tea set", 1, "13.52", "EUR")],
    ),
    ("bigcommerce_cart", [("70", "Desk lamp", 2, "39.99", "EUR"), ("75", "Manual", 1, "7", "EUR")]),
    ("shopware_cart", [("p-lamp", "Desk lamp", 2, "19.99", "EUR")]),
    ("commercetools_cart", [("LAMP-B", "Desk lamp", 2, "6.250", "KWD")]),
    ("spree_order", [("184", "Mug", 1, "24.99", "USD"), ("183", "Desk lamp", 2, "19.99", "USD")]),
    ("medusa_cart", [("variant_1", "Desk lamp", 2, "19.99", "EUR")]),
    ("saleor_checkout", [("UHJvZHVjdFZhcmlhbnQ6NA==", "Desk lamp", 2, "19.99", "EUR")]),
]


def lines_of(name: str) -> list[dict[str, Any]]:
    """What the page makes of a cart."""
    mapping = page()[f"{name.partition('_')[0]}_cart"]
    more = ("EUR",) if name == "shopware_cart" else ()
    made = mapping(payload(name), *more)
    assert isinstance(made, list)
    return made


@pytest.mark.parametrize(("name", "expected"), CARTS)
def test_a_cart_that_fills_adds_its_products(name: str, expected: list[tuple[Any, ...]]) -> None:
    """Each with the price of one, in major units, and how many there are."""
    added = page()["cart_changed"](ANN, "cart", 1, lines_of(name))
    assert [event.type for event in added] == ["ITEM_ADDED"] * len(expected)
    told = [(e.product_id, e.product_name, e.quantity, e.value, e.currency) for e in added]
    assert told == [(i, n, q, Decimal(v), c) for i, n, q, v, c in expected]


@pytest.mark.parametrize("name", [name for name, _ in CARTS])
def test_a_cart_that_changes_tells_each_change_once(name: str) -> None:
    """More of a product, then none; twice, and an older one that comes late: nothing more."""
    changed, one = page()["cart_changed"], lines_of(name)
    more = deepcopy(one)
    more[0]["quantity"] += 1
    changed(ANN, "cart", 1, one)
    assert [event.type for event in changed(ANN, "cart", 2, more)] == ["QUANTITY_INCREASED"]
    assert changed(ANN, "cart", 2, more) == []
    assert changed(ANN, "cart", 1, one) == []
    gone = changed(ANN, "cart", 3, [])
    assert [event.type for event in gone] == ["ITEM_REMOVED"] * len(one)


STREAMS = [
    ("ga4_cart", ("LAMP-B", "17.99", "USD")),
    ("segment_cart", ("507f1f77bcf86cd799439011", "9.75", "USD")),
    ("snowplow_cart", ("LAMP-B", "29.99", "EUR")),
]


@pytest.mark.parametrize(("name", "expected"), STREAMS)
def test_additions_are_counted_up(name: str, expected: tuple[str, str, str]) -> None:
    """Two and two more are four: the API wants how many there are."""
    mapping = page()[name]
    events = [told for _ in range(2) for told in as_list(mapping(payload(name), ANN))]
    assert [(event.type, event.quantity) for event in events] == [
        ("ITEM_ADDED", 2),
        ("QUANTITY_INCREASED", 4),
    ]
    told = [(event.product_id, event.value, event.currency) for event in events]
    assert told == [(expected[0], Decimal(expected[1]), expected[2])] * 2


@pytest.mark.parametrize(
    ("name", "path", "word"),
    [
        ("ga4_cart", ("events", 0, "name"), "remove_from_cart"),
        ("segment_cart", ("event",), "Product Removed"),
        ("snowplow_cart", (page()["SNOWPLOW_ACTION"], "type"), "remove_from_cart"),
    ],
)
def test_a_removal_takes_away(name: str, path: tuple[Any, ...], word: str) -> None:
    """As many as were there: the product is out of the cart. Once more: nothing changed."""
    mapping, removal = page()[name], payload(name)
    *way, last = path
    place = removal
    for step in way:
        place = place[step]
    place[last] = word
    as_list(mapping(payload(name), ANN))
    (event,) = as_list(mapping(removal, ANN))
    assert (event.type, event.quantity) == ("ITEM_REMOVED", 0)
    with pytest.raises(InvalidEventError, match="nothing changed"):
        as_list(mapping(removal, ANN))


def as_list(made: Any) -> list[Any]:
    return list(made) if hasattr(made, "__next__") else [made]


def test_yen_of_a_shop_that_shows_decimals_are_yen() -> None:
    """WooCommerce's minor unit is the shop's, not the currency's."""
    prices = {"price": "150000", "currency_code": "JPY", "currency_minor_unit": 2}
    assert page()["woocommerce_price"](prices) == (Decimal(1500), "JPY")


@pytest.mark.parametrize(
    ("amount", "currency", "value"),
    [
        (1000, "jpy", "1000"),
        (9990, "kwd", "9.990"),
        (500, "ugx", "5"),
        (10000, "isk", "100"),
        (5000, "mga", "5000"),
        (1999, "huf", "19.99"),
    ],
)
def test_stripe_has_decimals_of_its_own(amount: int, currency: str, value: str) -> None:
    """Where its decimals are not those of ISO 4217, the page's table says so."""
    assert page()["stripe_money"](amount, currency) == (Decimal(value), currency.upper())


def test_lines_of_a_net_shop_get_their_tax() -> None:
    """Shopware's totals have it already; its lines have not."""
    order = payload("shopware_order")
    order["taxStatus"] = "net"
    lines = by_name("shopware").mapped(shopware_order=order).line_items
    assert [line.value for line in lines] == [Decimal("46.36"), Decimal("3.62")]


def test_an_order_without_items_is_one_line() -> None:
    """PayPal's items are optional, and units may be several: the total is their sum."""
    order = payload("paypal_order")
    bare = {"reference_id": "two", "amount": {"currency_code": "HUF", "value": "1000"}}
    order["purchase_units"].append(bare)
    event = by_name("paypal").mapped(paypal_order=order)
    assert event.value == 14590
    assert event.line_items[-1].product_id == "two"


def test_an_edited_order_keeps_its_first_total() -> None:
    """Refunds and edits move other fields than those that the mappings read."""
    shopify, klarna = payload("shopify_order"), payload("klarna_order")
    shopify["current_total_price"], klarna["order_amount"] = "0.00", 0
    for name, order in (("shopify", shopify), ("klarna", klarna)):
        assert by_name(name).mapped(**{f"{name}_order": order}) == by_name(name).expected()


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("60.43", "60.43"),
        ("69.900000", "69.9"),
        (43.089999999999996, "43.09"),
        (7, "7"),
        (None, "0"),
        ("", "0"),
    ],
)
def test_amounts_of_any_kind_become_decimals(given: object, value: str) -> None:
    """Text, floats with noise, null and empty text."""
    assert page()["decimal"](given) == Decimal(value)
