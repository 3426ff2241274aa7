"""The two documented endpoints on aiohttp, faults included."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web
from attrs import evolve, field, frozen

from alhena_async.emulator._contract import (
    Cart,
    Checkout,
    Event,
    EventKind,
    Refusal,
    read_event,
)
from alhena_async.emulator._faults import Fault, FaultKind, FaultPlan
from alhena_async.emulator._records import Recorded, Refused

if TYPE_CHECKING:
    from alhena_async.emulator._concurrency import Gauge
    from alhena_async.emulator._ledger import Store


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


@frozen(kw_only=True)
class Handled:
    """What became of one request."""

    kind: EventKind
    record: Recorded | Refused | None
    """What was recorded or refused; None where a fault came first."""
    fault: FaultKind | None = None
    """The fault that it met."""
    status: int | None = None
    """The HTTP status that it is answered with; None where no answer comes."""
    latency: float = 0.0
    """Seconds from its arrival to now, when its answer is about to go."""
    fingerprint: str | None = None
    """The visitor's; None, as the two next, where the body did not say."""
    product_id: str | None = None
    order_id: str | None = None

    def __str__(self) -> str:
        if self.record is None:
            return f"{self.kind}: fault {self.fault}, not recorded"
        verdict = "refused" if isinstance(self.record, Refused) else "recorded"
        met = "" if self.fault is None else f", and met fault {self.fault}"
        return f"{verdict} {self.record}{met}"


def handled(
    kind: EventKind, about: Recorded | Refused | Event | Refusal, fault: Fault | None, status: int
) -> Handled:
    """Return what became of a request.

    Args:
        kind: The endpoint.
        about: What was recorded or refused; what was read, where a fault came first.
        fault: What it met.
        status: What is answered, if an answer comes.
    """
    visitor = about.visitor if isinstance(about, Cart | Checkout) else about
    return Handled(
        kind=kind,
        record=about if isinstance(about, Recorded | Refused) else None,
        fault=None if fault is None else fault.kind,
        status=None if fault is not None and fault.kind in _RESETS else status,
        fingerprint=getattr(visitor, "fingerprint", None),
        product_id=getattr(about, "product_id", None),
        order_id=getattr(about, "order_id", None),
    )


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


MAX_BODY_BYTES = 1024 * 1024

_BODY_TIMEOUT = 30.0

# l_onoff=1, l_linger=0: closing such a socket sends RST and drops what was not sent yet.
_RESET = struct.pack("ii", 1, 0)


class _UnreadableError(Exception):
    """A request whose body is not read to its end; carries the refusal."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class FaultQueue:
    """Which fault meets the next request: the scripted ones first, then the random plan."""

    def __init__(self, plan: FaultPlan) -> None:
        self._scripted: deque[Fault] = deque()
        self.plan(plan)

    def __len__(self) -> int:
        return len(self._scripted)

    def plan(self, plan: FaultPlan) -> None:
        """Replace the random plan, and begin its sequence."""
        self._draw = plan.sampler()

    def script(self, faults: tuple[Fault, ...]) -> None:
        """Add faults for the next requests, in order."""
        self._scripted.extend(faults)

    def clear(self) -> None:
        """Forget the scripted faults."""
        self._scripted.clear()

    def take(self) -> Fault | None:
        """Take the next request's fault."""
        return self._scripted.popleft() if self._scripted else self._draw()


class EventEndpoints:
    """Handles the POSTs.

    Args:
        store: Judges and records.
        faults: Says which request meets which fault.
        gauge: Counts what is handled at once.
        error_body: Makes error bodies.
        stopping: Set when the emulator stops; ends every wait in here.
        on_request: Called with what became of each request, before it is answered.
    """

    def __init__(
        self,
        store: Store,
        faults: FaultQueue,
        gauge: Gauge,
        error_body: ErrorBody,
        stopping: asyncio.Event,
        on_request: Callable[[Handled], object],
    ) -> None:
        self._on_request = on_request
        self._store = store
        self._faults = faults
        self._gauge = gauge
        self._error_body = error_body
        self._stopping = stopping

    def routes(self) -> list[web.RouteDef]:
        """The two routes."""
        return [
            web.post(EventKind.CART.path, self._cart),
            web.post(EventKind.CHECKOUT.path, self._checkout),
        ]

    async def _cart(self, request: web.Request) -> web.StreamResponse:
        return await self._handle(EventKind.CART, request)

    async def _checkout(self, request: web.Request) -> web.StreamResponse:
        return await self._handle(EventKind.CHECKOUT, request)

    async def _handle(self, kind: EventKind, request: web.Request) -> web.StreamResponse:
        arrived = time.monotonic()
        self._store.count_request()
        try:
            raw = await _read(request)
        except _UnreadableError as error:
            refused = self._store.refuse(kind, error.code, error.status, str(error))
            self._tell(handled(kind, refused, None, error.status), arrived)
            response = _response(reply_to(refused, self._error_body))
            response.force_close()  # what is left of the body is not worth reading
            return response
        reading = read_event(kind, raw)
        with self._gauge.handling(_lane(reading)):
            fault = self._faults.take()
            record = None
            if fault is None or fault.kind.records:
                record = self._store.settle(kind, raw, reading)
            reply = self._reply(record, fault)
            became = handled(kind, record or reading, fault, reply.status)
            if fault is None:
                self._tell(became, arrived)
                return _response(reply)
            self._store.count_fault(fault.kind)
            try:
                await self._pause(fault.latency)
            finally:  # a peer that leaves meanwhile does not undo what became of its request
                self._tell(became, arrived)
            return await self._play(request, fault, reply)

    def _reply(self, record: Recorded | Refused | None, fault: Fault | None) -> Reply:
        if record is None:
            assert fault is not None  # noqa: S101  nothing else comes before the record
            return faulty_reply(fault)
        reply = reply_to(record, self._error_body)
        if fault is None:
            return reply
        if fault.kind is FaultKind.STATUS_AFTER:
            return faulty_reply(fault)
        status = reply.status
        if fault.kind is FaultKind.TRUNCATED:
            status = fault.status or status
        return evolve(reply, status=status, headers={**reply.headers, **fault.reply_headers})

    def _tell(self, became: Handled, arrived: float) -> None:
        self._on_request(evolve(became, latency=time.monotonic() - arrived))

    async def _pause(self, seconds: float) -> None:
        if seconds <= 0:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    async def _play(self, request: web.Request, fault: Fault, reply: Reply) -> web.StreamResponse:
        if fault.kind in _HANGS:
            # A peer that leaves cancels this handler, see the runner's handler_cancellation.
            await self._stopping.wait()
        if fault.kind in _RESETS:
            _reset_connection(request)
        if fault.kind is FaultKind.TRUNCATED:
            return await _truncate(request, fault, reply)
        return _response(reply)  # after a reset it goes nowhere: the connection is gone


_HANGS = frozenset({FaultKind.HANG, FaultKind.HANG_AFTER})

# A hang that ends because the emulator stops must not be answered after all.
_RESETS = _HANGS | {FaultKind.RESET_BEFORE, FaultKind.RESET_AFTER}


async def _truncate(request: web.Request, fault: Fault, reply: Reply) -> web.StreamResponse:
    sent, promised = cut(reply, fault)
    response = web.StreamResponse(status=reply.status, headers=reply.headers)
    response.content_length = promised
    response.force_close()
    await response.prepare(request)
    await response.write(sent)
    if request.transport is not None:
        request.transport.close()
    return response


async def _read(request: web.Request) -> bytes:
    """Read a body of at most 1 MiB.

    Raises:
        _UnreadableError: Not declared as plain JSON, too long, or too slow.
    """
    if request.content_type != "application/json" or "Content-Encoding" in request.headers:
        raise _UnreadableError(
            415, "UNSUPPORTED_MEDIA_TYPE", "Content-Type must be application/json, not encoded"
        )
    too_long = _UnreadableError(413, "BODY_TOO_LONG", f"the body exceeds {MAX_BODY_BYTES} bytes")
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise too_long
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_TIMEOUT):
            while chunk := await request.content.readany():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise too_long
    except TimeoutError:
        raise _UnreadableError(408, "BODY_TOO_SLOW", "the body did not arrive in time") from None
    return bytes(body)


def _lane(reading: Event | Refusal) -> tuple[str, str, str] | None:
    if isinstance(reading, Refusal):
        return None
    return (reading.company_key, *reading.visitor)


def _response(reply: Reply) -> web.Response:
    return web.Response(status=reply.status, body=reply.body, headers=reply.headers)


def _reset_connection(request: web.Request) -> None:
    transport = request.transport
    if transport is None:
        return
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()
