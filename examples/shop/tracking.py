"""All that Alhena adds to the shop's server.

Both functions are called after the shop has done its own work, return within microseconds, and
never raise: with Alhena out of reach the shop is as fast as ever, and what happened is sent later.
"""

from __future__ import annotations

from decimal import Decimal

from alhena_async import AlhenaClient, CartEvent, CheckoutEvent, LineItem, Visitor
from examples.shop.carts import Line
from examples.shop.catalogue import CURRENCY, Product


def cart_changed(
    alhena: AlhenaClient, visitor: Visitor | None, product: Product, *, before: int, after: int
) -> None:
    """Tell of a product's quantity in a cart: added, more, fewer or removed.

    Without a visitor (no widget, no consent) there is nothing to tell, nor without a change.
    """
    if visitor is None or before == after:
        return
    with alhena.reporting():
        alhena.track_nowait(
            CartEvent.for_change(
                visitor,
                before=before,
                after=after,
                product_id=product.sku,
                product_name=product.name,
                value=product.price,
                currency=CURRENCY,
            )
        )


def order_placed(
    alhena: AlhenaClient,
    visitor: Visitor | None,
    *,
    order_id: str,
    lines: list[Line],
    total: Decimal,
) -> None:
    """Tell of an order, under the shop's own order id: Alhena records no id twice."""
    if visitor is None:
        return
    with alhena.reporting():
        items = [
            LineItem(
                product_id=line.product.sku,
                product_name=line.product.name,
                quantity=line.quantity,
                value=line.total,
                currency=CURRENCY,
            )
            for line in lines
        ]
        alhena.track_nowait(
            CheckoutEvent(
                visitor=visitor,
                value=total,
                currency=CURRENCY,
                line_items=items,
                order_id=order_id,
            )
        )
