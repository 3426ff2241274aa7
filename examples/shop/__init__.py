"""A small shop that reports its carts and orders to Alhena; `make shop` runs it.

Read `tracking.py` first, then `orders.py`, where an order is committed together with its event:
with the lifespan in `app.py` that is all that Alhena adds to the server. `static/consent.js` and
the last lines of `static/index.html` are all that it adds to the page.
"""
