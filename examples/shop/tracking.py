"""What the shop tells Alhena.

Both functions return within microseconds, and never raise: with Alhena out of reach the shop is as
fast as ever, and what happened is sent later. A change of a cart is told once it has been made; an
order's event is committed together with the order, by `orders.py`.
"""

from __future__ import annotations

from alhena_async import AlhenaClient, CartEvent, CheckoutEvent, LineItem, Visitor
from examples.shop.catalogue import CURRENCY, Product
from examples.shop.orders import Order


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
    alhena: AlhenaClient, visitor: Visitor | None, order: Order
) -> CheckoutEvent | None:
    """Make what tells of an order, under the shop's own order id: Alhena records no id twice.

    None without a visitor. What breaks a rule of Alhena's makes a line of the log, and the order
    goes on.
    """
    if visitor is None:
        return None
    with alhena.reporting():
        items = [
            LineItem(
                product_id=line.product.sku,
                product_name=line.product.name,
                quantity=line.quantity,
                value=line.total,
                currency=CURRENCY,
            )
            for line in order.lines
        ]
        return CheckoutEvent(
            visitor=visitor,
            value=order.total,
            currency=CURRENCY,
            line_items=items,
            order_id=order.id,
        )
    return None
