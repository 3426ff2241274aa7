"""The example shop, which gives up sooner on an API that does not answer.

$ uvicorn tests.web.example_shop:app
"""

from alhena_async.integrations.fastapi import alhena_lifespan
from examples.shop.app import app

__all__ = ["app"]

app.router.lifespan_context = alhena_lifespan(drain_timeout=0.5)
