"""Replies as nearly all are: whole in one piece, with a length, and nothing that needs a thought.

All others, hostile ones first of all, are left to aiohttp's parser, so what is read here is what
that would have read.
"""

from __future__ import annotations

import re
from typing import Final

from multidict import CIMultiDict, CIMultiDictProxy

from alhena_async.transports import Reply

__all__ = ["read_plain"]

_MOST_BYTES: Final = 4096

_MOST_FIELDS: Final = 100

_NAME: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"  # RFC 9110, 5.6.2

_HEAD: Final = re.compile(
    rf"HTTP/1\.1 ([2-5][0-9][0-9]) [ -~]*+\r\n((?:{_NAME}:[ -~]*+\r\n)++)\r\n".encode()
)

_FIELD: Final = re.compile(rf"({_NAME}): *+([ -~]*+)\r\n")

_KEPT: Final[tuple[list[str], ...]] = (["keep-alive"], ["Keep-Alive"], [])
"""What the `Connection` field may be: as most write it, as Apache does, or not there."""

_WITHOUT_BODY: Final = frozenset({204, 304})


def read_plain(data: bytes | bytearray, room: int) -> Reply | None:
    """Return the reply that the bytes are; None if they are none that is whole, or not a plain one.

    Args:
        data: What came in answer to a request.
        room: How long a body may be.
    """
    if len(data) > _MOST_BYTES:
        return None
    head = _HEAD.match(data)
    if head is None:
        return None
    fields = _FIELD.findall(head[2].decode("ascii"))
    headers = CIMultiDict(fields)
    status, body = int(head[1]), bytes(data[head.end() :])  # some loops hand out bytearrays
    if (
        headers.getall("Content-Length", None) != [str(len(body))]
        or len(body) > room
        or status in _WITHOUT_BODY
        or len(fields) > _MOST_FIELDS
        or "Transfer-Encoding" in headers
        or headers.getall("Connection", []) not in _KEPT
        or "Proxy-Connection" in headers
        or b" \r\n" in head[2]  # not part of the field; rare enough to leave alone
    ):
        return None
    return Reply(status, body, CIMultiDictProxy(headers))
