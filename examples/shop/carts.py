"""Carts, kept in memory by session. A real shop has a database here; nothing else would change."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from decimal import Decimal
from typing import Annotated, Final

import attrs
from fastapi import Depends, Request, Response

from examples.shop.catalogue import PRODUCTS, Product

SESSION_COOKIE: Final = "shop_session"
MAX_QUANTITY: Final = 99
_MAX_CARTS: Final = 10_000


@attrs.frozen
class Line:
    """One product in a cart or order, and how many of it."""

    product: Product
    quantity: int

    @property
    def total(self) -> Decimal:
        """The line's price."""
        return self.product.price * self.quantity


class Cart:
    """What one visitor is about to buy."""

    def __init__(self) -> None:
        self._quantities: dict[str, int] = {}

    @property
    def lines(self) -> list[Line]:
        """The products in the order in which they came in."""
        return [Line(PRODUCTS[sku], quantity) for sku, quantity in self._quantities.items()]

    @property
    def total(self) -> Decimal:
        """What all of it costs."""
        return sum((line.total for line in self.lines), Decimal("0.00"))

    def change(self, product: Product, by: int) -> tuple[int, int]:
        """Put more of a product in, or take some out; return how many there were and are now."""
        before = self._quantities.get(product.sku, 0)
        after = min(max(before + by, 0), MAX_QUANTITY)
        if after:
            self._quantities[product.sku] = after
        else:
            self._quantities.pop(product.sku, None)
        return before, after

    def empty(self) -> list[Line]:
        """Take everything out, and return what it was."""
        lines = self.lines
        self._quantities.clear()
        return lines

    def refill(self, lines: list[Line]) -> None:
        """Put back what `empty` took out."""
        for line in lines:
            self.change(line.product, line.quantity)


_carts: OrderedDict[str, Cart] = OrderedDict()


async def _cart_of(request: Request, response: Response) -> Cart:
    """Find the cart of the request's session, or begin a session; the longest unused cart goes."""
    session = request.cookies.get(SESSION_COOKIE, "")
    if session not in _carts:
        session = secrets.token_urlsafe(24)
        secure = request.url.scheme == "https"
        response.set_cookie(SESSION_COOKIE, session, httponly=True, samesite="lax", secure=secure)
        _carts[session] = Cart()
        if len(_carts) > _MAX_CARTS:
            _carts.popitem(last=False)
    _carts.move_to_end(session)
    return _carts[session]


CartDep = Annotated[Cart, Depends(_cart_of)]
"""A handler's parameter of this type is the visitor's cart."""
