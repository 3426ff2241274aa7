"""The aiohttp application: routes behind a guard, security headers on every reply."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from alhena_async.emulator.guard import refuse_sender

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Server": "alhena-emulator",
}


def build(routes: Iterable[web.RouteDef], known: Callable[[], frozenset[str]]) -> web.Application:
    """Put the routes behind the guard.

    Args:
        routes: All of them; each is guarded.
        known: Gives the `Host` values that are right; asked at each request, because a free port
            is known only once it is bound.
    """
    application = web.Application(middlewares=[_guard(known)])
    application.add_routes(routes)
    application.on_response_prepare.append(_secure)
    return application


def _guard(known: Callable[[], frozenset[str]]) -> Any:
    @web.middleware
    async def guard(
        request: web.Request, handler: Callable[[web.Request], Any]
    ) -> web.StreamResponse:
        reason = refuse_sender(
            known(),
            hosts=request.headers.getall("Host", []),
            origins=request.headers.getall("Origin", []),
            fetch_site=request.headers.get("Sec-Fetch-Site"),
            navigates=_opens_the_page(request),
        )
        if reason is not None:
            return web.json_response({"status": "error", "message": reason}, status=403)
        response: web.StreamResponse = await handler(request)
        return response

    return guard


def _opens_the_page(request: web.Request) -> bool:
    mode = request.headers.get("Sec-Fetch-Mode")
    return request.method == "GET" and request.path == "/" and mode == "navigate"


async def _secure(_: web.Request, response: web.StreamResponse) -> None:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
