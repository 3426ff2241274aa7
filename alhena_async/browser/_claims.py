"""A request's raw headers -> the visitor that its sender claims to be, or None.

Whatever is wrong with a claim, the answer is None: the sender is a browser, and a browser can send
anything. Nothing here raises for it, and nothing logs it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from alhena_async.errors import InvalidEventError
from alhena_async.events import Visitor

__all__ = [
    "COOKIE_NAME",
    "HEADER_NAME",
    "VisitorReader",
    "decode_visitor",
    "encode_visitor",
    "read_visitor",
]

COOKIE_NAME: Final = "alhena_visitor"
"""The first-party cookie in which the script keeps the pair."""

HEADER_NAME: Final = "X-Alhena-Visitor"
"""The header in which an app or a single-page shop sends the same value."""

MAX_CLAIM_BYTES: Final = 1_024

MAX_COOKIE_BYTES: Final = 16_384  # twice what the usual proxies let through

# What encodeURIComponent writes, twice, and the one colon that it never writes; servers differ in
# whether they leave the spaces around a header's value.
_COMPONENT: Final = rb"(?:[A-Za-z0-9\-_.!~*'()]|%[0-9A-Fa-f]{2})+"

_CLAIM: Final = re.compile(rb"[ \t]*(%b):(%b)[ \t]*" % (_COMPONENT, _COMPONENT))

_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")


def encode_visitor(visitor: Visitor) -> str:
    """Return a visitor as the cookie and the header carry it.

    It is `encodeURIComponent(fingerprint) + ":" + encodeURIComponent(faq_fingerprint)`.
    """
    return f"{_component(visitor.fingerprint)}:{_component(visitor.faq_fingerprint)}"


def decode_visitor(claim: object) -> Visitor | None:
    """Return the visitor that a cookie's or header's value tells of; None if it is not sound.

    Args:
        claim: Text or bytes as they came, still encoded, at most 1 KiB; both parts must meet
            `Visitor`'s rules. Anything else is not sound either, None for instance.
    """
    if not isinstance(claim, bytes | str) or len(claim) > MAX_CLAIM_BYTES:
        return None
    try:
        parts = _CLAIM.fullmatch(claim.encode("ascii") if isinstance(claim, str) else claim)
        if parts is None:
            return None
        fingerprint, faq_fingerprint = (unquote_to_bytes(part).decode() for part in parts.groups())
        return Visitor(fingerprint=fingerprint, faq_fingerprint=faq_fingerprint)
    except (UnicodeError, InvalidEventError):
        return None


class VisitorReader:
    """Reads visitors from requests whose cookie or header has a name of your own.

    Args:
        cookie_name: The cookie; its case matters.
        header_name: The header; its case does not matter.

    Raises:
        ValueError: A name is none that HTTP allows.
    """

    __slots__ = ("_cookie", "_header")

    def __init__(self, *, cookie_name: str = COOKIE_NAME, header_name: str = HEADER_NAME) -> None:
        cookie = re.escape(_token("cookie_name", cookie_name))
        self._cookie = re.compile(rb"(?:^|;)[ \t]*%b=([^;]*)" % cookie)
        self._header = _token("header_name", header_name).lower()

    def read(self, headers: Iterable[tuple[bytes, bytes]]) -> Visitor | None:
        """Return the visitor that a request's sender claims to be.

        A header that claims anything wins over the cookie, also when the claim is not sound: who
        sends the header means it, and the cookie may be another visitor's. An empty header claims
        nothing. A header or cookie that comes twice is ambiguous, so nobody is meant.

        Args:
            headers: Names and values as they came; both `scope["headers"]` of ASGI and
                `raw_headers` of aiohttp are right.
        """
        claims: list[bytes] = []
        cookies: list[bytes] = []
        for name, value in headers:
            lower = name.lower()
            if lower == self._header:
                claims.append(value)
            elif lower == b"cookie":
                cookies.append(value)
        if not any(_claims_anything(claim) for claim in claims):
            claims = self._claims_of(cookies)
        return decode_visitor(claims[0]) if len(claims) == 1 else None

    def _claims_of(self, cookies: list[bytes]) -> list[bytes]:
        """Return the values of the cookie, two at most."""
        if sum(map(len, cookies)) > MAX_COOKIE_BYTES:
            return []
        found = (match[1] for cookie in cookies for match in self._cookie.finditer(cookie))
        return list(islice(found, 2))


def read_visitor(headers: Iterable[tuple[bytes, bytes]]) -> Visitor | None:
    """Return the visitor of a request whose cookie and header have their usual names.

    Args:
        headers: As for `VisitorReader.read`.
    """
    return _USUAL.read(headers)


def _claims_anything(value: bytes) -> bool:
    return len(value) > MAX_CLAIM_BYTES or bool(value.strip(b" \t"))


def _token(argument: str, name: object) -> bytes:
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):
        raise ValueError(f"{argument} must be a name that HTTP allows, not {name!r}")
    return name.encode()


def _component(text: str) -> str:
    return quote(text, safe="!*'()")


_USUAL: Final = VisitorReader()
