"""The example shop, which gives up sooner on an API that does not answer.

$ uvicorn tests.web.example_shop:app
"""

from functools import partial

from examples.shop.app import app, running

__all__ = ["app"]

app.router.lifespan_context = partial(running, drain_timeout=0.5)
