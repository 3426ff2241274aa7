"""What the shop sells. Prices are `Decimal`, and arrive at Alhena with the digits they have."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import attrs

CURRENCY: Final = "EUR"


@attrs.frozen(kw_only=True)
class Product:
    """One thing on the shelf."""

    sku: str
    name: str
    note: str
    price: Decimal
    """What it costs now, after discounts."""
    list_price: Decimal | None = None
    """What it cost before; None where there is no discount."""


_SHELF: Final = (
    Product(sku="mug", name="Stoneware mug", note="300 ml, speckled", price=Decimal("24.00")),
    Product(sku="teapot", name="Ash-glaze teapot", note="Pours four cups", price=Decimal("68.00")),
    Product(
        sku="kettle",
        name="Gooseneck kettle",
        note="Steel, 0.9 litres",
        price=Decimal("89.90"),
        list_price=Decimal("109.90"),
    ),
    Product(sku="whisk", name="Bamboo whisk", note="Eighty tines", price=Decimal("18.95")),
    Product(sku="tin", name="Tea tin", note="Keeps 100 g dry", price=Decimal("12.50")),
    Product(sku="towel", name="Linen towel", note="Washed, 50 x 70", price=Decimal("14.35")),
)
PRODUCTS: Final = {product.sku: product for product in _SHELF}
