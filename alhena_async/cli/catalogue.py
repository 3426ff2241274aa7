"""A made-up shop's products and visitors' currencies. No real shop sells any of it."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Final

import attrs

_MATERIALS: Final = (
    "Oak", "Walnut", "Linen", "Brass", "Enamel", "Wool", "Slate", "Cork", "Copper", "Bamboo",
    "Felt", "Glass", "Rattan", "Tin", "Clay", "Ash", "Jute", "Marble",
)  # fmt: skip
_THINGS: Final = (
    "Spoon", "Bread Board", "Lantern", "Coat Hook", "Napkin Ring", "Candle", "Tea Caddy",
    "Plant Pot", "Door Stop", "Egg Cup", "Bookend", "Soap Dish", "Letter Rack", "Trivet",
    "Watering Can", "Key Bowl", "Picture Frame", "Jam Jar", "Doorbell", "Thimble",
)  # fmt: skip
_FORMS: Final = ("", ", Small", ", Large", " Set of 3", " (Pair)")

# What names look like in real shops, and what has broken software before.
_ODD_NAMES: Final = (
    "£5 Gift Card", "£25 Gift Card", "Gift Wrap  £1.50", "Baker's Apron", "Sailor's  Rope Mat",
    "Crème Brûlée Dish", "Café au Lait Bowl", "Łódź Poster", "Smörgås Board", "Ελιά Oil Jug",
    "日本茶 Tea Tin", "שלום Door Sign", "Мёд Honey Pot", "Tiny House 🏠 Magnet", "Naïve Cat Print",
    "TOAST RACK", "Toast Rack", "toast rack", "Salt & Pepper", 'Ruler 12"', "Mug <b>Bold</b>",
    "Mug {{name}}", "50% Wool Sock", "Back\\Slash Hook", "Trailing Candle ", " Leading Candle",
    "N/A", "null", "Ceramic—Dash Vase", "Nonbreaking\u00a0Space Jar", "O'Hara's 'Quoted' Tray",
    "Sample; please ignore", "=1+1 Notebook", "Combining e\u0301clair Box",
)  # fmt: skip


@attrs.frozen(kw_only=True)
class Product:
    """Something on sale."""

    id: str
    name: str
    cents: int
    """The unit price, in hundredths of the currency's unit."""
    mills: int = 0
    """Thousandths on top: some shops price per screw."""

    @property
    def price(self) -> Decimal:
        """The exact unit price."""
        return Decimal(self.cents * 10 + self.mills) / 1000


def products(chance: random.Random) -> list[Product]:
    """Return some 1,800 products in a random order; the first are the popular ones.

    Args:
        chance: Where all chance comes from: the same seed gives the same products.
    """
    names = [f"{m} {t}{f}" for m in _MATERIALS for t in _THINGS for f in _FORMS]
    made = [_product(chance, f"{1000 + place}", name) for place, name in enumerate(names)]
    # Two ids that differ by case only are two products.
    made += [_product(chance, id_, f"Hook {id_}") for id_ in ("AH-07a", "AH-07A", "ah-07a")]
    odd = [_product(chance, f"X{place:02}", name) for place, name in enumerate(_ODD_NAMES)]
    chance.shuffle(made)
    for place, product in enumerate(odd):
        made.insert(4 * place + 2, product)
    return made


def _product(chance: random.Random, id_: str, name: str) -> Product:
    cents = round(100 * min(max(chance.lognormvariate(1.5, 0.95), 0.08), 195))
    return Product(
        id=id_, name=name, cents=cents, mills=chance.choice((1, 5, 9)) * (chance.random() < 0.02)
    )
