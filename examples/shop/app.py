"""The shop: one page, a cart, a checkout.

Run it as any FastAPI application; the client is set up by `ALHENA_*` in the environment:

$ ALHENA_COMPANY_KEY=my-company SHOP_DATABASE=shop.db uvicorn examples.shop.app:app
"""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import Body, FastAPI, HTTPException
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

from alhena_async.integrations.fastapi import (
    ClientDep,
    VisitorDep,
    VisitorMiddleware,
    alhena_lifespan,
)
from examples.shop import plug
from examples.shop.carts import MAX_QUANTITY, Cart, CartDep, Line
from examples.shop.catalogue import CURRENCY, PRODUCTS, Product
from examples.shop.orders import Order, Orders, OrdersDep
from examples.shop.tracking import cart_changed, order_placed

STATIC: Final = Path(__file__).parent / "static"
# The shop runs under a strict policy, and the visitor script needs no exception from it.
PAGE_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Cache-Control": "no-cache",
}


@asynccontextmanager
async def running(app: FastAPI, *, drain_timeout: float = 5.0) -> AsyncIterator[dict[str, Any]]:
    """Open the shop's database, and run the client that delivers what is committed there."""
    orders = Orders.from_env()
    await asyncio.to_thread(orders.create)
    alhena = alhena_lifespan(outbox=orders.outbox, drain_timeout=drain_timeout)
    async with alhena(app) as state:
        yield {**state, "orders": orders}


app = FastAPI(title="Kiln & Leaf", lifespan=running, openapi_url=None)
app.add_middleware(VisitorMiddleware)
app.mount("/static", StaticFiles(directory=STATIC))


@app.get("/")
async def page() -> FileResponse:
    """Show the shop."""
    return FileResponse(STATIC / "index.html", headers=PAGE_HEADERS)


@app.get("/api/products")
async def products() -> dict[str, Any]:
    """List what there is."""
    shelf = [_shown(product) for product in PRODUCTS.values()]
    return {"currency": CURRENCY, "products": shelf, "may_unplug": plug.MAY_BE_PULLED}


@app.get("/api/cart")
async def look(cart: CartDep) -> dict[str, Any]:
    """Show the visitor's cart."""
    return _content(cart)


@app.post("/api/cart/{sku}")
async def change(
    sku: str,
    by: Annotated[int, Body(embed=True, ge=-MAX_QUANTITY, le=MAX_QUANTITY)],
    cart: CartDep,
    alhena: ClientDep,
    visitor: VisitorDep,
) -> dict[str, Any]:
    """Put more of a product into the cart, or fewer."""
    product = _product(sku)
    before, after = cart.change(product, by)
    cart_changed(alhena, visitor, product, before=before, after=after)
    return _content(cart)


@app.delete("/api/cart/{sku}")
async def remove(sku: str, cart: CartDep, alhena: ClientDep, visitor: VisitorDep) -> dict[str, Any]:
    """Take a product out of the cart."""
    product = _product(sku)
    before, after = cart.change(product, -MAX_QUANTITY)
    cart_changed(alhena, visitor, product, before=before, after=after)
    return _content(cart)


@app.post("/api/checkout")
async def check_out(
    key: Annotated[str, Body(min_length=16, max_length=64)],
    unplug: Annotated[bool, Body()],
    cart: CartDep,
    orders: OrdersDep,
    alhena: ClientDep,
    visitor: VisitorDep,
) -> dict[str, Any]:
    """Buy what is in the cart, once under a key: a browser may repeat what was not answered."""
    placed = await orders.find(key)
    if placed is not None:
        return _answer(placed)
    total, lines = cart.total, cart.empty()
    if not lines:
        raise HTTPException(409, "the cart is empty")
    order = Order(id=f"KL-{secrets.token_hex(4).upper()}", key=key, total=total, lines=lines)
    try:
        await orders.place(order, order_placed(alhena, visitor, order))
    except sqlite3.Error as error:
        cart.refill(lines)
        raise HTTPException(503, "the order could not be kept: try again") from error
    if unplug:
        plug.pull()
    alhena.outbox_changed()
    return _answer(order)


@app.get("/api/orders/{key}")
async def look_up(key: str, orders: OrdersDep) -> dict[str, Any]:
    """Show an order to the page that knows its key."""
    order = await orders.find(key)
    if order is None:
        raise HTTPException(404, "no such order")
    return _answer(order)


def _product(sku: str) -> Product:
    product = PRODUCTS.get(sku)
    if product is None:
        raise HTTPException(404, "no such product")
    return product


def _shown(product: Product) -> dict[str, Any]:
    return {
        "sku": product.sku,
        "name": product.name,
        "note": product.note,
        "price": str(product.price),
        "list_price": product.list_price and str(product.list_price),
    }


def _line(line: Line) -> dict[str, Any]:
    return {
        "sku": line.product.sku,
        "name": line.product.name,
        "quantity": line.quantity,
        "total": str(line.total),
    }


def _answer(order: Order) -> dict[str, Any]:
    lines = [_line(line) for line in order.lines]
    return {"order_id": order.id, "total": str(order.total), "lines": lines}


def _content(cart: Cart) -> dict[str, Any]:
    return {"lines": [_line(line) for line in cart.lines], "total": str(cart.total)}
