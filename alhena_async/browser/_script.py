"""The browser's script as it goes over the wire: read once, revalidated by its hash."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Final

import attrs

__all__ = ["SCRIPT_PATH", "ScriptReply", "script_reply"]

SCRIPT_PATH: Final = "/alhena-visitor.js"
"""Where the script is served unless you say otherwise."""

# Read once, on import: serving the script then does no file I/O on the event loop.
_BODY: Final = files(__package__).joinpath("alhena-visitor.js").read_bytes()

_ETAG: Final = f'"{hashlib.sha256(_BODY).hexdigest()[:32]}"'

_MAX_CONDITION_CHARACTERS: Final = 1_024

# An hour: the path has no version in it, and a new release must reach the browsers of a shop.
_CACHING: Final = (
    ("cache-control", "public, max-age=3600, stale-while-revalidate=86400"),
    ("etag", _ETAG),
    ("x-content-type-options", "nosniff"),
)

_ENTITY: Final = (
    ("content-type", "text/javascript; charset=utf-8"),
    ("content-length", str(len(_BODY))),
)


@attrs.frozen(kw_only=True)
class ScriptReply:
    """A reply, to be sent by whatever framework serves it."""

    status: int
    """200, 304 or 405."""
    headers: tuple[tuple[str, str], ...]
    """Names in lower case; nothing needs to be added."""
    body: bytes
    """Empty for HEAD, where `content-length` still tells the script's length."""


def script_reply(method: str, *, if_none_match: str = "") -> ScriptReply:
    """Return the reply to a request for the script. Does no I/O.

    Args:
        method: The request's, in capitals; GET and HEAD are served.
        if_none_match: The request's `If-None-Match` as it came; empty without one.
    """
    if method not in {"GET", "HEAD"}:
        refusal = (("allow", "GET, HEAD"), ("content-length", "0"))
        return ScriptReply(status=405, headers=refusal, body=b"")
    if _names_our_etag(if_none_match):
        return ScriptReply(status=304, headers=_CACHING, body=b"")
    body = _BODY if method == "GET" else b""
    return ScriptReply(status=200, headers=(*_ENTITY, *_CACHING), body=body)


def _names_our_etag(condition: str) -> bool:
    tags = condition[:_MAX_CONDITION_CHARACTERS].split(",")
    return any(tag.strip(" \t").removeprefix("W/") in {_ETAG, "*"} for tag in tags)
