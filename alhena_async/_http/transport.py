"""The real transport: the only client-side aiohttp, and the one place that knows its errors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.request import getproxies, proxy_bypass

import aiohttp
import yarl

from alhena_async._http.connections import ConnectionPool, no_connection, read_bounded
from alhena_async._http.exchange import (
    Exchange,
    FencedExchange,
    can_exchange,
    held_back,
    is_known,
    is_watched,
)
from alhena_async._version import __version__
from alhena_async.policies import PROXY_FROM_ENVIRONMENT, HttpPolicy, check_proxy
from alhena_async.transports import Endpoint, Reply, TransportError, Wire

__all__ = ["HttpTransport", "proxy_in_environment"]

_log = logging.getLogger("alhena_async")
_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",  # replies are tiny; nothing to inflate on the event loop
    "Content-Type": "application/json",
    "User-Agent": f"alhena-async/{__version__}",
}

_NEVER_SENT = (
    aiohttp.ClientConnectorError,  # name look-up, TCP, TLS, the proxy's connection
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,  # the proxy refused the tunnel
    aiohttp.InvalidURL,
)


class HttpTransport:
    """Kept-alive connections to one base URL. Follows no redirect, keeps no cookie.

    Args:
        base_url: What the endpoints' paths are appended to; ends with a slash.
        policy: Timeouts, proxy, headers, TLS, the bound on replies.
        may_send: Asked once there is a connection, right before it is written to; None: always.

    Raises:
        ValueError: The proxy that the environment names cannot work.
    """

    def __init__(
        self, base_url: str, policy: HttpPolicy, *, may_send: Callable[[], bool] | None = None
    ) -> None:
        self._urls = {endpoint: yarl.URL(base_url + endpoint.value) for endpoint in Endpoint}
        self._policy = policy
        self._may_send = may_send
        self._headers = {**_HEADERS, **policy.headers}
        self._proxy = policy.proxy
        if policy.proxy == PROXY_FROM_ENVIRONMENT:
            self._proxy = proxy_in_environment(yarl.URL(base_url))
        self._ssl = True if policy.ssl is None else policy.ssl
        # It must end before the attempt does: only then is it known that nothing was sent.
        self._patience = 0.9 * policy.request_timeout
        self._timeout = aiohttp.ClientTimeout(
            total=None,
            connect=self._patience,  # with the wait for a place and for the name's address
            sock_connect=min(policy.connect_timeout, 0.8 * policy.request_timeout),
        )
        self.max_requests: int | None = None
        """How many requests the connector lets out at once; None: any number."""
        self._session: aiohttp.ClientSession | None = None
        self._exchanges: dict[Endpoint, Exchange] = {}
        self._pool: ConnectionPool | None = None
        self.wire: Wire | None = None
        """How requests travel; None before `open`."""

    async def open(self) -> None:
        """Make the session; connections come with the first requests."""
        connector = self._policy.connector
        owned = not isinstance(connector, aiohttp.BaseConnector)
        if connector is None:
            connector = aiohttp.TCPConnector(limit=0)  # the dispatcher bounds requests already
        elif not isinstance(connector, aiohttp.BaseConnector):
            connector = connector()
        bounds = [bound for bound in (connector.limit, connector.limit_per_host) if bound]
        self.max_requests = min(bounds, default=None)
        self._session = session = aiohttp.ClientSession(
            connector=connector,
            connector_owner=owned,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self._headers,
            auto_decompress=False,
            timeout=self._timeout,
        )
        if self._proxy is None and can_exchange(connector) and not is_watched(session):
            self._pool = ConnectionPool(
                connector,
                timeout=self._timeout,
                patience=self._patience,
                keeps=self._policy.connector is None,
            )
            self._exchanges = {
                endpoint: self._exchange(url, self._pool, session)
                for endpoint, url in self._urls.items()
            }
            self.wire = "short"
        else:
            self.wire = "session"
            self._say_if_newer()
            session.trace_configs.append(_noting_what_is_sent())
            if self._may_send is not None:
                session.trace_configs.append(_asking(self._may_send))

    def _say_if_newer(self) -> None:
        if not is_known():
            _log.info(
                "alhena: aiohttp %s is newer than this version knows: requests go through its "
                "session, which takes more CPU for each; update alhena-async",
                aiohttp.__version__,
            )

    def _exchange(
        self, url: yarl.URL, pool: ConnectionPool, session: aiohttp.ClientSession
    ) -> Exchange:
        request = aiohttp.ClientRequest(
            "POST", url, headers=self._headers, session=session, ssl=self._ssl
        )
        room = self._policy.max_reply_bytes
        if self._may_send is None:
            return Exchange(request, pool, max_reply_bytes=room)
        return FencedExchange(request, pool, max_reply_bytes=room, may_send=self._may_send)

    def send(self, endpoint: Endpoint, body: bytes) -> Coroutine[Any, Any, Reply]:
        """POST and return the reply, its body cut at `max_reply_bytes`.

        On a kept-alive connection that the server had given up, it may be sent twice, at once.

        Raises:
            TransportError: There was none.
        """
        return self._send(endpoint, body, once=False)

    def send_once(self, endpoint: Endpoint, body: bytes) -> Coroutine[Any, Any, Reply]:
        """POST as `send` does, but certainly not twice, and on a new connection.

        A session (behind a proxy, under a tracer) cannot be told to take a new one.
        """
        return self._send(endpoint, body, once=True)

    async def _send(self, endpoint: Endpoint, body: bytes, *, once: bool) -> Reply:
        exchange = self._exchanges.get(endpoint)
        try:
            if exchange is not None:
                return await exchange.post(body, once=once)
            return await self._post(endpoint, body)
        except _NEVER_SENT as error:
            raise no_connection(error) from error
        except (aiohttp.ClientError, OSError) as error:
            raise TransportError(f"connection lost ({type(error).__name__})") from error

    async def _post(self, endpoint: Endpoint, body: bytes) -> Reply:
        """Post through the session, where `Exchange` is not known to work, or somebody watches."""
        session, sent = self._session, list[bool]()
        if session is None:
            raise TransportError("the transport is not open", sent=False)
        if session.closed:
            raise TransportError("no connection (the connector is closed)", sent=False)
        try:
            response = await session.post(
                self._urls[endpoint],
                data=body,
                allow_redirects=False,
                proxy=self._proxy,
                ssl=self._ssl,
                trace_request_ctx=sent,
            )
        except OSError as error:
            if sent or isinstance(error, aiohttp.ServerConnectionError):
                raise
            raise no_connection(error) from error  # a connector with a proxy of its own
        async with response:
            data, broke_off = await read_bounded(response.content, self._policy.max_reply_bytes)
            if not response.content.is_eof():
                response.close()  # whatever else it has to say is not read
            return Reply(response.status, data, response.headers, broke_off)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            try:
                await self._session.close()
            finally:
                if self._pool is not None:
                    self._pool.forget()
            self._session = None
            self._exchanges = {}


def proxy_in_environment(url: yarl.URL) -> str | None:
    """Return the proxy that the environment names for a URL; None: a direct connection.

    Found as aiohttp's `trust_env` finds it, but once and without `.netrc`, which holds passwords
    for hosts and not for us.

    Raises:
        ValueError: What it names is no proxy's URL; the message has the variable.
    """
    proxy = getproxies().get(url.scheme)
    if not proxy or any(map(proxy_bypass, (url.host or "", f"{url.host}:{url.port}"))):
        return None
    check_proxy(f"{url.scheme.upper()}_PROXY", proxy)
    return proxy


def _noting_what_is_sent() -> aiohttp.TraceConfig:
    """Return what appends to a request's `trace_request_ctx` once it has a connection."""

    async def note(_session: object, context: Any, _parameters: object) -> None:
        sent = context.trace_request_ctx
        if isinstance(sent, list):
            sent.append(True)

    config = aiohttp.TraceConfig()
    config.on_request_headers_sent.append(note)
    config.freeze()
    return config


def _asking(may_send: Callable[[], bool]) -> aiohttp.TraceConfig:
    """Return what lets a request end once it has a connection, if it may not be sent any more."""

    async def ask(_session: object, _context: object, _parameters: object) -> None:
        if not may_send():
            raise held_back()

    config = aiohttp.TraceConfig()
    config.on_connection_create_end.append(ask)
    config.on_connection_reuseconn.append(ask)
    config.freeze()
    return config
