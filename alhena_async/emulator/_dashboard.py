"""The page and the control endpoints under `/_emulator/`; all but the page want the token."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from decimal import Decimal
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from aiohttp import web

from alhena_async.emulator._assertions import RECORDED, REFUSED, Reader
from alhena_async.emulator._contract import UnreadableBodyError, Visitor, parse_json
from alhena_async.emulator._faults import Fault
from alhena_async.emulator._search import Search, found, listed
from alhena_async.emulator._security import TOKEN_HEADER, given_token, problem, token_matches
from alhena_async.emulator._snapshot import Filter, body_of, snapshot

if TYPE_CHECKING:
    from alhena_async.emulator._concurrency import Feed
    from alhena_async.emulator._endpoints import FaultQueue
    from alhena_async.emulator._ledger import Store
    from alhena_async.emulator._records import Recorded, Refused


# Read once, on import: serving the page then does no file I/O on the event loop.
_TEMPLATE = (files(__package__) / "page.html").read_text("utf-8")

_EVENTS_API = (files(__package__) / "openapi.json").read_bytes()

_CONTROL_API = (files(__package__) / "control.openapi.json").read_bytes()


def render(token: str, root: str) -> tuple[str, str]:
    """Fill in the page.

    Returns:
        The HTML, and the Content-Security-Policy that lets exactly its own script and style run.
    """
    nonce = secrets.token_urlsafe(18)
    text = (
        _TEMPLATE.replace("{{NONCE}}", nonce).replace("{{TOKEN}}", token).replace("{{ROOT}}", root)
    )
    policy = (
        "default-src 'none'; "
        f"script-src 'nonce-{nonce}'; "
        f"style-src 'nonce-{nonce}'; "
        "img-src data:; "
        "connect-src 'self'; "
        "base-uri 'none'; "
        "form-action 'none'; "
        "frame-ancestors 'none'; "
        # The page never turns text into markup, and from here on the browser sees to that.
        "require-trusted-types-for 'script'; "
        "trusted-types 'none'"
    )
    return text, policy


_MAX_CONTROL_BYTES = 64 * 1024

_PERIOD = 0.1

_HEARTBEAT = 10.0

_FACTS = ("status", "retry_after", "latency", "body", "headers")

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Control:
    """Handles the page and the control endpoints.

    Args:
        store: What is shown and reset.
        faults: Where faults are scripted.
        feed: Tells of changes.
        settings: Shown by the page as they are: text to text.
        token: The per-start token.
        root: The path of the page: "/", or with the token for an exposed emulator.
        reset: Resets the emulator.
        recover: Ends all faults.
        stopping: Set when the emulator stops; ends every stream.
    """

    def __init__(
        self,
        store: Store,
        faults: FaultQueue,
        feed: Feed,
        settings: Mapping[str, str],
        token: str,
        root: str,
        reset: Callable[[], None],
        recover: Callable[[], None],
        stopping: asyncio.Event,
    ) -> None:
        self._store = store
        self._faults = faults
        self._feed = feed
        self._settings = settings
        self._token = token
        self._root = root
        self._reset = reset
        self._recover = recover
        self._stopping = stopping

    def routes(self) -> list[web.RouteDef]:
        """The page's route and the control routes."""
        return [
            web.get("/", self._page),
            web.get("/openapi.json", _document(_EVENTS_API)),
            web.get("/_emulator/openapi.json", _document(_CONTROL_API)),
            web.get("/_emulator/state", self._guarded(self._state)),
            web.get("/_emulator/events", self._guarded(self._stream)),
            web.get("/_emulator/events/{seq:[0-9]{1,15}}", self._guarded(self._event)),
            web.get("/_emulator/recorded", self._guarded(self._recorded)),
            web.get("/_emulator/refused", self._guarded(self._refused)),
            web.post("/_emulator/tickets", self._guarded(self._tickets)),
            web.delete("/_emulator/tickets", self._guarded(self._close_ticket)),
            web.post("/_emulator/faults", self._guarded(self._script)),
            web.delete("/_emulator/faults", self._guarded(self._end_faults)),
            web.post("/_emulator/reset", self._guarded(self._clear)),
        ]

    def _guarded(self, handler: _Handler) -> _Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            if not token_matches(self._token, given_token(request)):
                return problem(403, f"a control request needs the token in {TOKEN_HEADER}")
            return await handler(request)

        return guarded

    async def _page(self, _: web.Request) -> web.Response:
        text, policy = render(self._token, self._root)
        headers = {"Content-Security-Policy": policy}
        return web.Response(text=text, content_type="text/html", headers=headers)

    async def _state(self, request: web.Request) -> web.Response:
        query = request.query
        only = Filter(kind=query.get("kind", ""), visitor=query.get("visitor", ""))
        return web.json_response(self._view(after=0, only=only))

    async def _event(self, request: web.Request) -> web.Response:
        body = body_of(self._store, int(request.match_info["seq"]))
        if body is None:
            return problem(404, "the history does not hold it any more")
        return web.json_response({"status": "success", "body": body})

    async def _recorded(self, request: web.Request) -> web.Response:
        return await self._find(request, RECORDED, lambda: self._store.recorded)

    async def _refused(self, request: web.Request) -> web.Response:
        return await self._find(request, REFUSED, lambda: self._store.refused)

    async def _find(
        self,
        request: web.Request,
        known: Mapping[str, Reader],
        records: Callable[[], Iterable[Recorded | Refused]],
    ) -> web.Response:
        try:
            search = Search.of(_once(request.query), known)
        except (TypeError, ValueError) as error:
            return problem(400, str(error))
        if search.wait and self._feed.full:
            return problem(503, "too many pages and searches are waiting")
        await self._wait(search, records)
        return web.json_response(listed(found(records(), search), search))

    async def _wait(
        self, search: Search, records: Callable[[], Iterable[Recorded | Refused]]
    ) -> None:
        """Wait until as many as wanted are there, as long as the search says."""
        if not search.wait:
            return
        with contextlib.suppress(TimeoutError), self._feed.listen() as changed:
            async with asyncio.timeout(search.wait):
                while not self._stopping.is_set() and not search.satisfied_by(records()):
                    changed.clear()
                    await changed.wait()
                    await asyncio.sleep(_PERIOD)  # a look at each change would cost too much

    async def _tickets(self, request: web.Request) -> web.Response:
        try:
            body = await _body(request)
            visitor = Visitor(_text(body, "fingerprint"), _text(body, "faq_fingerprint"))
        except ValueError as error:
            return problem(400, str(error))
        self._store.open_ticket(visitor)
        return web.json_response({"status": "success"})

    async def _close_ticket(self, request: web.Request) -> web.Response:
        try:
            given = _once(request.query)
            visitor = Visitor(_text(given, "fingerprint"), _text(given, "faq_fingerprint"))
        except ValueError as error:
            return problem(400, str(error))
        self._store.close_ticket(visitor)
        return web.json_response({"status": "success"})

    async def _end_faults(self, _: web.Request) -> web.Response:
        self._recover()
        self._feed.changed()
        return web.json_response({"status": "success"})

    async def _script(self, request: web.Request) -> web.Response:
        try:
            faults = read_faults(await _body(request))
        except ValueError as error:
            return problem(400, str(error))
        self._faults.script(faults)
        self._feed.changed()
        return web.json_response({"status": "success", "scripted": len(self._faults)})

    async def _clear(self, _: web.Request) -> web.Response:
        self._reset()
        return web.json_response({"status": "success"})

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        if self._feed.full:
            return problem(503, "too many pages are open")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        with self._feed.listen() as changed:
            await response.prepare(request)
            await self._send_states(response, changed)
        return response

    async def _send_states(self, response: web.StreamResponse, changed: asyncio.Event) -> None:
        # One state at most every period, however much happened: a slow tab holds up this loop
        # alone (write waits for it), and finds the latest state when it is back.
        seen, epoch = 0, self._store.epoch
        while not self._stopping.is_set():
            changed.clear()
            if epoch != self._store.epoch:
                seen, epoch = 0, self._store.epoch
            view = self._view(after=seen)
            seen = self._store.seq
            await response.write(f"data: {json.dumps(view)}\n\n".encode())
            await asyncio.sleep(_PERIOD)
            try:
                async with asyncio.timeout(_HEARTBEAT):
                    await changed.wait()
            except TimeoutError:
                # Also how a dead connection is found.
                continue

    def _view(self, *, after: int, only: Filter = Filter()) -> dict[str, Any]:  # noqa: B008  frozen
        view = snapshot(self._store, after=after, only=only)
        return {**view, "scripted": len(self._faults), "settings": dict(self._settings)}


def read_faults(body: Mapping[str, object]) -> tuple[Fault, ...]:
    """Read the body of a faults request: `{"faults": [{"kind": "status", "status": 503}, ...]}`.

    Raises:
        ValueError: Says what is wrong.
    """
    items = body.get("faults")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ValueError("faults must be an array of objects")
    if len(items) > 1000:
        raise ValueError("at most 1000 faults at once")
    return tuple(_fault(item) for item in items)


def _fault(item: Mapping[str, Any]) -> Fault:
    unknown = item.keys() - {"kind", *_FACTS}
    if unknown or "kind" not in item:
        raise ValueError(
            "a fault has a kind, and may have status, retry_after, latency, body, headers"
        )
    try:
        return Fault(
            item["kind"],
            status=None if item.get("status") is None else _whole(item, "status"),
            retry_after=_retry_after(item),
            latency=float(_number(item, "latency")),
            body=item.get("body"),
            headers=_headers(item),
        )
    except (TypeError, AttributeError) as error:
        raise ValueError(f"a field of the fault has the wrong type: {error}") from error


def _retry_after(item: Mapping[str, Any]) -> float | str | None:
    given = item.get("retry_after")
    return given if isinstance(given, str | None) else float(_number(item, "retry_after"))


def _headers(item: Mapping[str, Any]) -> dict[str, str]:
    headers = item.get("headers")
    if headers is not None and not isinstance(headers, dict):
        raise ValueError("headers must be an object")
    return headers or {}


def _whole(item: Mapping[str, Any], name: str) -> int:
    number = _number(item, name)
    if number != number.to_integral_value():
        raise ValueError(f"{name} must be a whole number")
    return int(number)


def _number(item: Mapping[str, Any], name: str) -> Decimal:
    number = item.get(name, Decimal(0))
    if not isinstance(number, Decimal):
        raise ValueError(f"{name} must be a number")  # noqa: TRY004 - all bad bodies are ValueErrors
    return number


def _document(body: bytes) -> _Handler:
    """Serve an OpenAPI document; it is on every user's disk anyway, and wants no token."""

    async def document(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type="application/json")

    return document


def _once(query: Mapping[str, str]) -> dict[str, str]:
    """Return a query without the token.

    Raises:
        ValueError: A name comes twice.
    """
    given = dict(query)
    if len(given) != len(query):
        raise ValueError("a name of the query comes twice")
    given.pop("token", None)
    return given


async def _body(request: web.Request) -> dict[str, object]:
    if request.content_type != "application/json":
        raise ValueError("Content-Type must be application/json")
    raw = await request.content.read(_MAX_CONTROL_BYTES + 1)
    while len(raw) <= _MAX_CONTROL_BYTES and (more := await request.content.readany()):
        raw += more
    if len(raw) > _MAX_CONTROL_BYTES:
        raise ValueError(f"the body exceeds {_MAX_CONTROL_BYTES} bytes")
    body = parse_json(raw)
    if not isinstance(body, dict):
        raise UnreadableBodyError("the body must be a JSON object")
    return body


def _text(body: Mapping[str, object], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} must be a non-empty string")
    return value
