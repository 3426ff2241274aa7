"""A made-up shop's day, as lines of a file of events: the same lines for the same seed. Pure.

Nothing in it is real. The numbers below follow what two real shops' logs look like: how events
mix, how long visitors pause, how large orders are, and what goes wrong (removals that fire twice,
bursts of removals, removals from a cart of the day before, free orders, odd names).
"""

from __future__ import annotations

import json
import random
from bisect import bisect
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import accumulate
from typing import Any, Final

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


SEED: Final = 20
"""The day that `alhena demo` shows."""

_MIDNIGHT: Final = datetime(2024, 3, 14, tzinfo=UTC)

_CARTS: Final = 600
"""Visitors with a cart."""

_ORDERS: Final = 420
"""Orders of visitors whose cart was not recorded: by telephone, by trade customers, as guests."""

_HUGE_ORDERS: Final = (641, 318, 222)

_HOURS: Final = (1, 1, 0, 0, 0, 1, 3, 9, 40, 80, 110, 112, 130, 118, 112, 110, 80, 60, 45, 40, 38, 25, 12, 5)  # fmt: skip  # noqa: E501

_CURRENCIES: Final = {"GBP": 55, "EUR": 30, "USD": 12, "KWD": 3}

_CENT: Final = Decimal("0.01")


def day_lines(seed: int = SEED) -> Iterator[bytes]:
    """Yield a day's events as lines of JSON, sorted by time: about 6,500 of them.

    Args:
        seed: The same seed yields the same lines. Default: the day that `alhena demo` shows.
    """
    for event in sorted(_Day(random.Random(seed)).events(), key=lambda event: event["ts"]):
        yield json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


class _Day:
    """The shop, and everything that happens in it on one day."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._products = products(chance)
        # Zipf's law, bent a little: a few sell all the time, most of them hardly ever.
        self._shares = list(accumulate(1 / (rank + 8) for rank in range(len(self._products))))
        self._orders = 70_000

    def events(self) -> Iterator[dict[str, Any]]:
        for place in range(_CARTS):
            yield from _Shopper(self, f"v{10_000 + place}").events()
        for place in range(_ORDERS):
            huge = _HUGE_ORDERS[place] if place < len(_HUGE_ORDERS) else 0
            yield self._order_alone(f"guest:{place}" if place % 5 else f"trade-{place % 40}", huge)

    def product(self) -> Product:
        return self._products[bisect(self._shares, self._chance.random() * self._shares[-1])]

    def currency(self) -> str:
        return self._chance.choices(list(_CURRENCIES), list(_CURRENCIES.values()))[0]

    def moment(self) -> float:
        """Seconds since midnight at which somebody comes."""
        hour = self._chance.choices(range(24), _HOURS)[0]
        return 3600 * (hour + self._chance.random() * 0.9)

    def order_id(self) -> str:
        self._orders += 1
        return f"A{self._orders}"

    def checkout(
        self, at: float, visitor: str, currency: str, bought: list[tuple[Product, int]]
    ) -> dict[str, Any]:
        lines = [
            {
                "product_id": product.id,
                "product_name": product.name,
                "quantity": quantity,
                "value": _number(product.price * quantity),
                "currency": currency,
            }
            for product, quantity in bought
        ]
        total = sum((product.price * quantity for product, quantity in bought), Decimal(0))
        return {
            "ts": _timestamp(at),
            "visitor": visitor,
            "kind": "checkout",
            "order_id": self.order_id(),
            "value": _number(self._charged(total, currency)),
            "currency": currency,
            "line_items": lines,
        }

    def _charged(self, total: Decimal, currency: str) -> Decimal:
        """What a customer pays for goods of this total: discounts, shipping, gifts."""
        luck = self._chance.random()
        if luck < 0.01:
            return Decimal(0)
        if luck < 0.15:
            total *= Decimal("0.9")
        elif luck < 0.4:
            total += Decimal("3.95")
        # The dinar has three decimals.
        return total.quantize(Decimal("0.001") if currency == "KWD" else _CENT)

    def _order_alone(self, visitor: str, lines: int) -> dict[str, Any]:
        chance = self._chance
        lines = lines or min(round(chance.lognormvariate(2.5, 1.1)) + 1, 400)
        bought = [(self.product(), self._order_quantity()) for _ in range(lines)]
        return self.checkout(self.moment(), visitor, self.currency(), bought)

    def _order_quantity(self) -> int:
        if self._chance.random() < 0.35:
            return 1
        return min(round(self._chance.lognormvariate(1.4, 1.0)) + 1, 2400)


class _Shopper:
    """One visitor's cart, from the first click to the last."""

    def __init__(self, day: _Day, visitor: str) -> None:
        self._day = day
        self._chance = day._chance  # noqa: SLF001  one stream of chance for the whole day
        self._visitor = visitor
        self._currency = day.currency()
        self._at = day.moment()
        self._cart: dict[Product, int] = {}

    def events(self) -> Iterator[dict[str, Any]]:
        clicks = min(round(self._chance.lognormvariate(1.55, 1.15)) + 1, 90)
        if self._chance.random() < 0.05:
            yield from self._remove(self._day.product())  # out of yesterday's cart
        while clicks > 0:
            for event in self._click():
                clicks -= 1
                yield event
        if self._cart and self._chance.random() < 0.2:
            self._pause()
            bought = list(self._cart.items())
            yield self._day.checkout(self._at, self._visitor, self._currency, bought)

    def _click(self) -> Iterator[dict[str, Any]]:
        luck = self._chance.random()
        several = [product for product, quantity in self._cart.items() if quantity > 1]
        if not self._cart or luck < 0.61:
            yield from self._add(self._day.product())
        elif luck < 0.66:
            yield from self._change(self._any(), +1)
        elif luck < 0.74 and several:
            yield from self._change(self._chance.choice(several), -1)
        elif luck < 0.93:
            yield from self._remove(self._any())
        else:
            yield from self._clear()

    def _add(self, product: Product) -> Iterator[dict[str, Any]]:
        self._pause()
        if product in self._cart:
            self._cart[product] += 1
            yield self._event("QUANTITY_INCREASED", product, self._cart[product])
            return
        self._cart[product] = 1
        yield self._event("ITEM_ADDED", product, 1)
        if self._chance.random() < 0.02:
            yield self._event("ITEM_ADDED", product, 1)  # a double click

    def _change(self, product: Product, by: int) -> Iterator[dict[str, Any]]:
        self._pause()
        self._cart[product] += by
        name = "QUANTITY_INCREASED" if by > 0 else "QUANTITY_DECREASED"
        yield self._event(name, product, self._cart[product])

    def _remove(self, product: Product, *, pause: bool = True) -> Iterator[dict[str, Any]]:
        if pause:
            self._pause()
        self._cart.pop(product, None)
        yield self._event("ITEM_REMOVED", product, 0)
        if self._chance.random() < 0.3:  # fired twice, in the same second or the next
            self._at += self._chance.choice((0, 0, 0.9))
            yield self._event("ITEM_REMOVED", product, 0)

    def _clear(self) -> Iterator[dict[str, Any]]:
        """A burst: everything out of the cart within seconds."""
        self._pause()
        for product in list(self._cart):
            self._at += self._chance.choice((0, 0.3, 0.4, 1))
            yield from self._remove(product, pause=False)

    def _any(self) -> Product:
        return self._chance.choice(list(self._cart))

    def _pause(self) -> None:
        """Half of all pauses are under 11 seconds, one in ten is over two and a half minutes."""
        if self._chance.random() > 0.18:
            self._at += min(self._chance.lognormvariate(2.75, 1.75), 3600)

    def _event(self, name: str, product: Product, quantity: int) -> dict[str, Any]:
        return {
            "ts": _timestamp(self._at),
            "visitor": self._visitor,
            "kind": "cart",
            "type": name,
            "product_id": product.id,
            "product_name": product.name,
            "value": _number(product.price),
            "currency": self._currency,
            "quantity": quantity,
        }


def _timestamp(seconds: float) -> str:
    # The log closes at midnight, as a day's log does.
    moment = _MIDNIGHT + timedelta(seconds=min(int(seconds), 86_399))
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _number(value: Decimal) -> float | int:
    # Below 1e12 with three decimals a float's shortest digits are the decimal's own.
    return int(value) if value == int(value) else float(value)
