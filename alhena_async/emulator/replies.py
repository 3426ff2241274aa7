"""Replies of the two endpoints, as bytes-to-be: pure, no sockets."""

from __future__ import annotations

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING

from attrs import field, frozen

from alhena_async.emulator.faults import Fault, FaultKind
from alhena_async.emulator.records import Recorded, Refused

if TYPE_CHECKING:
    from alhena_async.emulator.contract import EventKind

ErrorBody = Callable[[str, str], object]
"""Makes the JSON value of an error body from a code and a message."""

PROXY_PAGE = (
    "<!DOCTYPE html><html><head><title>Just a moment...</title></head>"
    "<body><h1>Checking your browser</h1><p>cdn-edge</p></body></html>"
)


@frozen
class Reply:
    """Status, body and headers of an answer."""

    status: int
    body: bytes
    headers: dict[str, str] = field(factory=dict)


def default_error_body(code: str, message: str) -> object:
    """The error envelope unless the constructor is given another; the vendor documents none."""
    return {"status": "error", "error": code, "message": message}


def reply_to(answer: Recorded | Refused, error_body: ErrorBody) -> Reply:
    """The contract's answer."""
    if isinstance(answer, Recorded):
        return Reply(200, success_body(answer.kind), _json_headers())
    body = json.dumps(error_body(answer.code, answer.message)).encode()
    return Reply(answer.http_status, body, _json_headers())


def success_body(kind: EventKind) -> bytes:
    """The documented success body."""
    return json.dumps({"status": "success", "event_type": kind.success}).encode()


def faulty_reply(fault: Fault) -> Reply:
    """What a STATUS, STATUS_AFTER or HTML fault answers."""
    if fault.kind is FaultKind.HTML:
        body = PROXY_PAGE if fault.body is None else fault.body
        headers = {"Content-Type": "text/html; charset=utf-8", **fault.reply_headers}
        return Reply(fault.status or 200, _bytes(body), headers)
    status = fault.status or 500
    if fault.body is not None:
        return Reply(status, _bytes(fault.body), {**_json_headers(), **fault.reply_headers})
    if status < 400:
        return Reply(status, b"", fault.reply_headers)
    # No documented code: a server in trouble seldom finds the words of its own contract.
    words = HTTPStatus(status).phrase if status in _KNOWN else "fault"
    body = json.dumps({"status": "error", "message": words})
    return Reply(status, body.encode(), {**_json_headers(), **fault.reply_headers})


def cut(reply: Reply, fault: Fault) -> tuple[bytes, int]:
    """What a TRUNCATED fault sends of a reply, and the length it promises.

    Returns:
        Half of the body, and the length of the whole.
    """
    body = reply.body if fault.body is None else _bytes(fault.body)
    return body[: len(body) // 2], max(len(body), 1)


_KNOWN = frozenset(HTTPStatus)


def _bytes(body: str | bytes) -> bytes:
    return body if isinstance(body, bytes) else body.encode("utf-8", "surrogatepass")


def _json_headers() -> dict[str, str]:
    return {"Content-Type": "application/json"}
