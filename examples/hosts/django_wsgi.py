"""Django's WSGI: `gunicorn django_wsgi:app`."""

import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

from alhena_async import CartEvent, current_visitor
from alhena_async.integrations.wsgi import AlhenaMiddleware
from alhena_async.sync import SyncAlhenaClient

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"])
alhena = SyncAlhenaClient.from_env()


def add(request: HttpRequest, sku: str) -> HttpResponse:
    if visitor := current_visitor():
        with alhena.reporting():
            alhena.track(CartEvent.for_change(visitor, before=0, after=1, product_id=sku,
                product_name="Mug", value=9.5, currency="EUR"), timeout=1)
            return HttpResponse(f"tracked {sku} in {os.getpid()}")
    return HttpResponse("added")


urlpatterns = [path("cart/<sku>", add)]
app = AlhenaMiddleware(get_wsgi_application(), client=alhena)
