"""Django's ASGI: `daphne django_asgi:app`, or any other server."""

import os

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse
from django.urls import path

from alhena_async import CartEvent
from alhena_async.integrations.asgi import AlhenaMiddleware, client_of, visitor_of

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"])


async def add(request: ASGIRequest, sku: str) -> HttpResponse:
    alhena = client_of(request.scope)
    if visitor := visitor_of(request.scope):
        with alhena.reporting():
            await alhena.track(CartEvent.for_change(visitor, before=0, after=1, product_id=sku,
                product_name="Mug", value=9.5, currency="EUR"))
            return HttpResponse(f"tracked {sku} in {os.getpid()}")
    return HttpResponse("added")


urlpatterns = [path("cart/<sku>", add)]
app = AlhenaMiddleware(get_asgi_application())
