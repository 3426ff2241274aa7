"""Who may speak to the emulator: decisions on headers alone.

The emulator runs on an engineer's machine beside a browser with hostile tabs. Such a tab can send
requests to a loopback port (cross-site), and can make its own host name resolve to 127.0.0.1 (DNS
rebinding). The first is told by `Origin` and `Sec-Fetch-Site`, the second by `Host`.
"""

from __future__ import annotations

import hmac
import ipaddress
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


_SAFE_SITES = frozenset({"same-origin", "none"})


def loopback_host(host: str) -> str:
    """Check that a host to bind is loopback.

    Returns:
        The address to bind: "localhost" becomes 127.0.0.1, so that one port serves one address.

    Raises:
        ValueError: Not loopback, or a name whose meaning a resolver decides.
    """
    if host.lower() == "localhost":
        return "127.0.0.1"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise ValueError(
            f"the emulator binds loopback only: give 127.0.0.1 or ::1, not {host!r}"
        ) from None
    if not address.is_loopback:
        raise ValueError(
            f"the emulator binds loopback only (it has no login): give 127.0.0.1 or ::1, not {host}"
        )
    return str(address)


def authority(host: str, port: int) -> str:
    """Write host and port as they stand in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def known_hosts(host: str, port: int) -> frozenset[str]:
    """Every `Host` header by which a browser may rightly reach the bound address."""
    hosts = {authority(host, port), f"localhost:{port}"}
    if port == 80:
        hosts |= {known.rpartition(":")[0] for known in hosts}
    return frozenset(hosts)


def refuse_sender(
    known: frozenset[str],
    *,
    hosts: Sequence[str],
    origins: Sequence[str],
    fetch_site: str | None,
    navigates: bool,
) -> str | None:
    """Say why a request may not be served; None when it may.

    Args:
        known: From `known_hosts`.
        hosts: All `Host` headers of the request.
        origins: All `Origin` headers; a server sends none.
        fetch_site: The `Sec-Fetch-Site` header; a server sends none.
        navigates: Whether this is a GET that opens the page in a tab, which may well be reached
            by a link from elsewhere.
    """
    if len(hosts) != 1 or hosts[0].lower() not in known:
        return "the Host header does not name this emulator"
    if len(origins) > 1 or (origins and origins[0].lower() != f"http://{hosts[0].lower()}"):
        return "requests from other origins are refused"
    if fetch_site is not None and fetch_site not in _SAFE_SITES and not navigates:
        return "requests from other sites are refused"
    return None


def token_matches(expected: str, given: str | None) -> bool:
    """Compare a control token without telling by time how much of it is right."""
    return given is not None and hmac.compare_digest(
        expected.encode(), given.encode("utf-8", "surrogateescape")
    )


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
