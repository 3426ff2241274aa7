"""The mappings of docs/shop-data.md, each with its platform's payload and what it must become."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import attrs

from alhena_async import CheckoutEvent, LineItem, Visitor

PAGE = (Path(__file__).parents[1] / "docs" / "shop-data.md").read_text()
PAYLOADS = Path(__file__).parent / "shop_data"

ANN = Visitor(
    fingerprint="550e8400-e29b-41d4-a716-446655440000",
    faq_fingerprint="660e8400-e29b-41d4-a716-446655441111",
)


_BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
_CODE = compile("\n".join(_BLOCKS), "docs/shop-data.md", "exec")


def page() -> dict[str, Any]:
    """Run all Python blocks of the page as one module; give its names."""
    names: dict[str, Any] = {"__name__": "shop_data"}
    exec(_CODE, names)
    return names


def payload(name: str) -> Any:
    """Return a payload, read as a shop reads it: numbers with a point are floats."""
    return json.loads((PAYLOADS / f"{name}.json").read_text())


@attrs.frozen(kw_only=True)
class Order:
    """An order of a platform, and the event that its mapping must make of it."""

    platform: str
    payloads: tuple[str, ...]
    more: tuple[Any, ...] = ()
    """What else the mapping takes, before the visitor."""
    order_id: str
    value: str
    currency: str
    lines: tuple[tuple[str, str, str, str], ...]
    """Product id, name, quantity and value of each."""

    def mapped(self, **changed: Any) -> CheckoutEvent:
        """Return what the page's mapping makes of it; `changed` replaces payloads by name."""
        mapping = page()[f"{self.platform}_checkout"]
        given = [changed.get(name) or payload(name) for name in self.payloads]
        made = mapping(*given, *self.more, ANN)
        assert isinstance(made, CheckoutEvent)
        return made

    def expected(self) -> CheckoutEvent:
        """Return the event as it is written here, by hand."""
        return CheckoutEvent(
            visitor=ANN,
            order_id=self.order_id,
            value=Decimal(self.value),
            currency=self.currency,
            line_items=[
                LineItem(
                    product_id=product,
                    product_name=name,
                    quantity=Decimal(quantity),
                    value=Decimal(value),
                    currency=self.currency,
                )
                for product, name, quantity, value in self.lines
            ],
        )


@cache
def orders() -> tuple[Order, ...]:
    """Return one order of each platform."""
    return (
        Order(
            platform="woocommerce",
            payloads=("woocommerce_order",),
            order_id="1042",
            value="60.43",
            currency="EUR",
            lines=(("41", "Desk lamp - Blue", "2", "35.99"), ("50", "50", "1", "20")),
        ),
        Order(
            platform="magento",
            payloads=("magento_order",),
            order_id="000000017",
            value="52.40",
            currency="EUR",
            lines=(("LAMP-B", "Desk lamp", "2", "33.98"), ("SET-1", "Tea set", "1", "13.52")),
        ),
        Order(
            platform="bigcommerce",
            payloads=("bigcommerce_order", "bigcommerce_products"),
            order_id="250",
            value="76.98",
            currency="EUR",
            lines=(("70", "Desk lamp", "2", "71.98"), ("Gift wrapping", "Gift wrapping", "1", "0")),
        ),
        Order(
            platform="prestashop",
            payloads=("prestashop_order",),
            more=({"1": "EUR", "2": "USD"},),
            order_id="5",
            value="73.90",
            currency="EUR",
            lines=(("2-10", "Desk lamp (Colour: Blue)", "1", "35"), ("3-0", "Cup", "3", "38.90")),
        ),
        Order(
            platform="shopware",
            payloads=("shopware_order",),
            order_id="10057",
            value="43.09",
            currency="EUR",
            lines=(("p-lamp", "Desk lamp", "2", "39.98"), ("p-mug", "Mug", "1", "3.12")),
        ),
        Order(
            platform="salla",
            payloads=("salla_order",),
            order_id="1955512345",
            value="225.40",
            currency="SAR",
            lines=(("720881993", "مصباح مكتب", "2", "213.90"),),
        ),
        Order(
            platform="shopify",
            payloads=("shopify_order",),
            order_id="5940139491234",
            value="68.40",
            currency="USD",
            lines=(
                ("9001", "Desk lamp - Blue", "2", "37.40"),
                ("Engraving", "Engraving", "1", "5.50"),
                ("9009", "Gift card - 20", "1", "20"),
            ),
        ),
        Order(
            platform="commercetools",
            payloads=("commercetools_order",),
            order_id="c5b1a1d0-5c0a-4b87-9d6d-6a2a5f0d1e11",
            value="5830",
            currency="JPY",
            lines=(("LAMP-B", "Desk lamp", "2", "4950"), ("p-2-1", "Tasse", "1", "300")),
        ),
        Order(
            platform="stripe",
            payloads=("stripe_event", "stripe_items"),
            order_id="cs_live_a1",
            value="50.75",
            currency="USD",
            lines=(("prod_Lamp", "Desk lamp", "2", "38.16"), ("prod_Mug", "prod_Mug", "1", "9.59")),
        ),
        Order(
            platform="square",
            payloads=("square_order",),
            order_id="CAISEM82RcpmcFBM0TfOyiHV3es",
            value="69.04",
            currency="USD",
            lines=(
                ("VAR-LAMP", "Desk lamp", "2", "39.04"),
                ("VAR-TEA", "Loose tea", "0.75", "24"),
                ("u3", "u3", "1", "1"),
            ),
        ),
        Order(
            platform="paypal",
            payloads=("paypal_order",),
            order_id="INV-77",
            value="13590",
            currency="HUF",
            lines=(("LAMP-B", "Desk lamp", "2", "12700"), ("Mug", "Mug", "1", "2000")),
        ),
        Order(
            platform="klarna",
            payloads=("klarna_order",),
            order_id="f3392f8b-6116-4073-ab96-e330819e2c07",
            value="500",
            currency="SEK",
            lines=(("LAMP-B", "Skrivbordslampa", "2", "450"), ("Mugg", "Mugg", "1", "50")),
        ),
        Order(
            platform="amazon",
            payloads=("amazon_order", "amazon_items"),
            order_id="902-3159896-1390916",
            value="42.97",
            currency="EUR",
            lines=(("LAMP-B", "Desk lamp", "2", "37.98"),),
        ),
        Order(
            platform="ga4",
            payloads=("ga4_purchase",),
            order_id="T-12345",
            value="67.61",
            currency="USD",
            lines=(("LAMP-B", "Desk lamp", "3", "53.97"), ("Mug", "Mug", "1", "4")),
        ),
        Order(
            platform="segment",
            payloads=("segment_order",),
            order_id="50314b8e9bcf000000000000",
            value="27.50",
            currency="USD",
            lines=(
                ("507f1f77bcf86cd799439011", "Desk lamp", "2", "19.50"),
                ("46493-32", "46493-32", "1", "3"),
            ),
        ),
        Order(
            platform="rudderstack",
            payloads=("rudderstack_row",),
            order_id="1234",
            value="1950",
            currency="JPY",
            lines=(("123", "Monopoly", "2", "1400"), ("345", "345", "1", "100")),
        ),
        Order(
            platform="snowplow",
            payloads=("snowplow_transaction",),
            order_id="T12345",
            value="84.48",
            currency="EUR",
            lines=(("LAMP-B", "Desk lamp", "2", "59.98"), ("MUG", "MUG", "1", "20")),
        ),
        Order(
            platform="spree",
            payloads=("spree_order",),
            order_id="R653163382",
            value="66.47",
            currency="USD",
            lines=(("184", "Mug", "1", "26.24"), ("183", "Desk lamp", "2", "35.23")),
        ),
    )


def name_of(order: Order) -> str:
    """Return the platform, for a test's id."""
    return order.platform
