"""What `alhena doctor` says of the way to the API: name, proxy, TLS, host, key, clock.

One request goes out, with a body that no reading of the API can record: nothing but the company
key is in it.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import yarl

from alhena_async._http.transport import HttpTransport, proxy_in_environment
from alhena_async._replies import read
from alhena_async.cli._doctor_settings import Setup
from alhena_async.cli._findings import Finding, Level, error, info, ok, warning
from alhena_async.cli._threads import in_thread
from alhena_async.outcomes import ErrorCode
from alhena_async.policies import PROXY_FROM_ENVIRONMENT
from alhena_async.transports import Endpoint, Reply, TransportError

__all__ = ["judge", "network"]


async def network(setup: Setup, environ: Mapping[str, str]) -> list[Finding]:
    """Look at the way to the API step by step, as far as it leads."""
    try:
        _proxy(setup)
    except ValueError as problem:
        return [error(f"proxy: {problem}", "correct that variable")]
    findings: list[Finding] = []
    for check in (_name, _connection, _api):
        findings += await check(setup)
        if any(one.level is Level.ERROR for one in findings):
            findings += _perhaps_a_proxy(setup, environ)
            break
    return findings


# --- the steps ----------------------------------------------------------------------------------


def _first_hop(setup: Setup) -> tuple[SplitResult, str]:
    """Return where a connection goes first, and what it is called."""
    proxy = _proxy(setup)
    if proxy is not None:
        return urlsplit(proxy), "the proxy"
    return urlsplit(setup.base_url), "the API"


def _proxy(setup: Setup) -> str | None:
    """Return the proxy that a request goes through."""
    if setup.http.proxy != PROXY_FROM_ENVIRONMENT:
        return setup.http.proxy
    return proxy_in_environment(yarl.URL(setup.base_url))


def _port(url: SplitResult) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


async def _name(setup: Setup) -> list[Finding]:
    url, what = _first_hop(setup)
    host = url.hostname or ""
    try:
        found = await in_thread(
            lambda: socket.getaddrinfo(host, _port(url), type=socket.SOCK_STREAM)
        )
    except (OSError, UnicodeError) as problem:
        why = getattr(problem, "strerror", None) or "it is no name"
        return [
            error(
                f"DNS: {host} ({what}) has no address here: {why}",
                "correct the name, or let this machine's resolver (/etc/resolv.conf, the pod's "
                "dnsPolicy) reach the internet",
            )
        ]
    addresses = sorted({str(address[0]) for *_, address in found})
    return [ok(f"DNS: {host} ({what}) is {', '.join(addresses[:4])}")]


async def _connection(setup: Setup) -> list[Finding]:
    """Connect to the first hop, with TLS where it speaks it."""
    url, what = _first_hop(setup)
    where = f"{url.hostname}:{_port(url)} ({what})"
    tls: ssl.SSLContext | None = None
    if url.scheme == "https":
        tls = setup.http.ssl or await in_thread(ssl.create_default_context)
    try:
        async with asyncio.timeout(setup.http.connect_timeout):
            _, writer = await asyncio.open_connection(
                url.hostname, _port(url), ssl=tls, server_hostname=url.hostname if tls else None
            )
    except ssl.SSLCertVerificationError as problem:
        return [_bad_certificate(where, problem)]
    except ssl.SSLError as problem:
        return [
            error(
                f"TLS: {where} speaks no TLS that this Python takes ({problem.reason})",
                "see that the port is right, and that nothing in between answers in its place",
            )
        ]
    except (OSError, TimeoutError) as problem:
        return [_unreachable(where, problem)]
    try:
        certificate = writer.get_extra_info("peercert")
    finally:
        writer.close()
    if tls is None:
        return [ok(f"connection: {where} takes connections; plain http, without TLS")]
    return [ok(f"connection: {where} takes connections"), _lasting(certificate, time.time())]


def _unreachable(where: str, problem: Exception) -> Finding:
    why = "no answer in time" if isinstance(problem, TimeoutError) else type(problem).__name__
    return error(
        f"connection: {where} cannot be reached: {why}",
        "see that it runs, and that firewall, security group or network policy lets this machine "
        "out to it",
    )


def _bad_certificate(where: str, problem: ssl.SSLCertVerificationError) -> Finding:
    return error(
        f"TLS: the certificate of {where} is not trusted: {problem.verify_message}",
        "install the system's CA certificates; behind a proxy that opens TLS, name its CA "
        "(SSL_CERT_FILE, or HttpPolicy(ssl=...)); see that this machine's clock is right",
    )


_DAY: Final = 86_400

_SOON: Final = 7 * _DAY


def _lasting(certificate: Mapping[str, Any] | None, now: float) -> Finding:
    """Judge how long a certificate that is trusted goes on to be."""
    until = (certificate or {}).get("notAfter")
    if not isinstance(until, str):
        return ok("TLS: the certificate is trusted")
    left = ssl.cert_time_to_seconds(until) - now
    days = f"{max(0, int(left // _DAY))} days"
    if left < _SOON:
        return warning(f"TLS: the certificate ends in {days}", "tell whoever runs that host")
    return ok(f"TLS: the certificate is trusted, for {days} to come")


async def _api(setup: Setup) -> list[Finding]:
    """Send a body that cannot be recorded, as the client sends; judge what is answered."""
    key = setup.company_key
    body = json.dumps({} if key is None else {"company_key": key}).encode()
    transport = HttpTransport(setup.base_url, setup.http)
    await transport.open()
    try:
        before = time.time()
        async with asyncio.timeout(setup.http.request_timeout):
            reply = await transport.send_once(Endpoint.CHECKOUT, body)
        now = (before + time.time()) / 2
    except (TransportError, TimeoutError) as problem:
        return [_no_reply(setup, problem)]
    finally:
        await transport.close()
    return judge(reply, has_key=key is not None, behind_proxy=_proxy(setup) is not None, now=now)


def _no_reply(setup: Setup, problem: Exception) -> Finding:
    why = str(problem) or "no answer in time"
    if _proxy(setup) is None:
        return error(
            f"API: {setup.base_url} gives no answer: {why}",
            "see what stands between this machine and the API",
        )
    return error(
        f"proxy: no answer through it: {why}",
        "see that it permits CONNECT to the API's host, and that user and password are right",
    )


# --- what is answered ---------------------------------------------------------------------------

_WANTS_LOGIN: Final = 407

_REDIRECTS: Final = range(300, 400)


def judge(reply: Reply, *, has_key: bool, behind_proxy: bool, now: float) -> list[Finding]:
    """Return what a reply to an event without any field says of host, key and clock.

    Args:
        reply: What was answered.
        has_key: A company key was in the body.
        behind_proxy: The request went through a proxy.
        now: Seconds since the epoch, by our clock.
    """
    clock = _clock(reply.headers.get("Date"), now)
    reading = read(reply.body, reply.headers.get("Content-Encoding", ""))
    code = reading.code_in_field or reading.code_in_text
    if code is not None:
        return [ok("API: it answers as documented"), _key(code, has_key=has_key), *clock]
    return [_not_the_api(reply.status, behind_proxy=behind_proxy), *clock]


def _not_the_api(status: int, *, behind_proxy: bool) -> Finding:
    if status == _WANTS_LOGIN:
        cure = "put user and password into the proxy's URL"
        return error("proxy: it wants a login (HTTP 407)", cure)
    if status in _REDIRECTS:
        cure = "check region and base URL: redirects are never followed"
        return error(f"API: the host answers with a redirect (HTTP {status})", cure)
    who = "the proxy, or " if behind_proxy else ""
    return error(
        f"API: what answers (HTTP {status}) carries no code of the API's",
        f"check region and base URL; see whether {who}a firewall answers in the API's place",
    )


def _key(code: ErrorCode, *, has_key: bool) -> Finding:
    if code is ErrorCode.COMPANY_NOT_FOUND:
        return error(
            "key: the API knows no such company key",
            "take ALHENA_COMPANY_KEY from your organisation's settings at Alhena, and see that "
            "the region is the organisation's",
        )
    if not has_key:
        return info("key: there is none to look at")
    if code is ErrorCode.MISSING_REQUIRED_FIELDS:
        return info(
            "key: cannot tell. The API looks for missing fields before it looks at the key, and "
            "a body with all fields could be recorded",
            "send one real event: COMPANY_NOT_FOUND says that the key is wrong",
        )
    return ok("key: the API knows it")


_CLOCKS_DIFFER: Final = 30.0
"""Seconds; the header counts whole ones, and a reply takes its time."""


def _clock(date: str | None, now: float) -> Sequence[Finding]:
    if date is None:
        return [info("clock: cannot tell, as the reply has no date")]
    try:
        ahead = now - parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return [info("clock: cannot tell, as the reply's date is none")]
    if abs(ahead) < _CLOCKS_DIFFER:
        return [ok("clock: it agrees with the API's")]
    direction = "ahead of" if ahead > 0 else "behind"
    return [
        warning(
            f"clock: this machine's is {abs(ahead):,.0f} s {direction} the API's",
            "run NTP (chrony, systemd-timesyncd): the age of what a journal keeps, and which "
            "certificates are valid, go by it",
        )
    ]


def _perhaps_a_proxy(setup: Setup, environ: Mapping[str, str]) -> Sequence[Finding]:
    named = [one for one in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY") if environ.get(one)]
    if setup.http.proxy is not None or not named:
        return []
    return [
        info(
            f"proxy: {named[0]} is set, and the client of these settings goes without a proxy",
            'ALHENA_PROXY=env, or HttpPolicy(proxy="env"), makes it take that one',
        )
    ]
