"""Who may speak to the emulator: decisions on headers alone.

The emulator runs on an engineer's machine beside a browser with hostile tabs. Such a tab can send
requests to a loopback port (cross-site), and can make its own host name resolve to 127.0.0.1 (DNS
rebinding). The first is told by `Origin` and `Sec-Fetch-Site`, the second by `Host`.

An exposed one is reached by names that nobody can list, so `Host` tells nothing there: whatever is
asked of it must carry the token.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


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


def any_host(host: str) -> str:
    """Check that a host to bind is an address, this machine's or all of them.

    Returns:
        As `loopback_host`.

    Raises:
        ValueError: A name whose meaning a resolver decides.
    """
    if host.lower() == "localhost":
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        raise ValueError(
            f"the emulator binds an address: give 0.0.0.0 (all), :: or one, not {host!r}"
        ) from None


def reachable(host: str) -> str:
    """Return the address by which this machine reaches what is bound there."""
    address = ipaddress.ip_address(host)
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"


def checked_token(token: str | None) -> str:
    """Return a token that is fit to guard with; None makes one.

    Raises:
        ValueError: Too short to be a secret, or not fit for a URL.
    """
    if token is None:
        return secrets.token_urlsafe(24)
    if not _TOKEN.fullmatch(token):
        raise ValueError("the emulator's token must be 16 to 128 of the characters A-Z a-z 0-9 _ -")
    return token


_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,128}")

TOKEN_HEADER = "X-Emulator-Token"  # noqa: S105 - a header's name


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
    known: frozenset[str] | None,
    *,
    hosts: Sequence[str],
    origins: Sequence[str],
    fetch_site: str | None,
    navigates: bool,
) -> str | None:
    """Say why a request may not be served; None when it may.

    Args:
        known: From `known_hosts`; None: any name will do.
        hosts: All `Host` headers of the request.
        origins: All `Origin` headers; a server sends none.
        fetch_site: The `Sec-Fetch-Site` header; a server sends none.
        navigates: Whether this is a GET that opens the page in a tab, which may well be reached
            by a link from elsewhere.
    """
    if len(hosts) != 1 or (known is not None and hosts[0].lower() not in known):
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


def given_token(request: web.Request) -> str | None:
    """Return the token that a request carries.

    An EventSource cannot set headers, hence the query parameter; the client of a shop knows a base
    URL and nothing else, hence the path's beginning, which is a route of an exposed emulator alone.
    """
    given = request.headers.get(TOKEN_HEADER) or request.query.get("token")
    return given or request.path.removeprefix("/").partition("/")[0]


def build(
    routes: Sequence[web.RouteDef],
    known: Callable[[], frozenset[str] | None],
    *,
    token: str | None = None,
) -> web.Application:
    """Put the routes behind the guard.

    Args:
        routes: All of them; each is guarded.
        known: Gives the `Host` values that are right, None for any; asked at each request, because
            a free port is known only once it is bound.
        token: What every request must carry: in the header, the query, or as the beginning of its
            path. None: the guard asks for none.
    """
    middlewares = [_guard(known)] if token is None else [_guard(known), _wall(token)]
    application = web.Application(middlewares=middlewares)
    application.add_routes(routes)
    if token is not None:
        application.add_routes([_below(f"/{token}", route) for route in routes])
    application.on_response_prepare.append(_secure)
    return application


def _below(prefix: str, route: web.RouteDef) -> web.RouteDef:
    return web.RouteDef(route.method, prefix + route.path, route.handler, route.kwargs)


def _wall(token: str) -> Any:
    @web.middleware
    async def wall(
        request: web.Request, handler: Callable[[web.Request], Any]
    ) -> web.StreamResponse:
        if not token_matches(token, given_token(request)):
            return problem(
                403, f"exposed: everything needs the token, in {TOKEN_HEADER} or in the path"
            )
        response: web.StreamResponse = await handler(request)
        return response

    return wall


def problem(status: int, message: str, **headers: str) -> web.Response:
    """Answer with an error that is not one of the contract."""
    body = {"status": "error", "message": message}
    return web.json_response(body, status=status, headers=headers)


def _guard(known: Callable[[], frozenset[str] | None]) -> Any:
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
            return problem(403, reason)
        try:
            response: web.StreamResponse = await handler(request)
        except web.HTTPNotFound:
            return problem(404, "nothing is served here; /openapi.json tells what is")
        except web.HTTPMethodNotAllowed as error:
            return problem(405, "another method is served here", Allow=error.headers["Allow"])
        return response

    return guard


def _opens_the_page(request: web.Request) -> bool:
    mode = request.headers.get("Sec-Fetch-Mode")
    # The page's path alone ends in a slash, with the token before it or without.
    return request.method == "GET" and request.path.endswith("/") and mode == "navigate"


async def _secure(_: web.Request, response: web.StreamResponse) -> None:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
