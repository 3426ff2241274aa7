"""The API, at a distance: requests that it has go on, whatever becomes of who sent them."""

from __future__ import annotations

import asyncio
import random
from typing import Any, Final

import attrs
import orjson

from alhena_async import Reply, TransportError
from alhena_async.transports import Endpoint
from tests.simulation.api import ModelApi, error_bodies
from tests.simulation.relay.oracle import Arrival
from tests.simulation.relay.processes import outside

__all__ = ["Api", "ApiTransport", "name_of"]

_SUCCESS: Final = {
    Endpoint.CART: Reply(200, b'{"status":"success","event_type":"CART_EVENT_RECORDED"}'),
    Endpoint.CHECKOUT: Reply(200, b'{"status":"success","event_type":"CHECKOUT_EVENT_RECORDED"}'),
}


@attrs.frozen
class _Fault:
    """A way in which a request fails."""

    answer: Reply | TransportError | None
    """None: there is none, ever."""
    is_heard: bool
    """Whether the API records it all the same."""
    weight: int


_RESET: Final = TransportError("connection lost")

_FAULTS: Final = {
    "refused": _Fault(TransportError("no connection", sent=False), is_heard=False, weight=4),
    "reset-before": _Fault(_RESET, is_heard=False, weight=4),
    "reset-after": _Fault(_RESET, is_heard=True, weight=4),
    "hang-before": _Fault(None, is_heard=False, weight=2),
    "hang-after": _Fault(None, is_heard=True, weight=2),
    "error-before": _Fault(Reply(500, b"upstream"), is_heard=False, weight=3),
    "error-after": _Fault(Reply(502, b"upstream"), is_heard=True, weight=3),
    "throttled": _Fault(Reply(429, b"", {"Retry-After": "2"}), is_heard=False, weight=2),
    "terminal": _Fault(Reply(400, b'{"message": "no"}'), is_heard=False, weight=1),
}

_KINDS: Final = list(_FAULTS)
_WEIGHTS: Final = [fault.weight for fault in _FAULTS.values()]

_OUTAGE: Final = _FAULTS["refused"], _FAULTS["reset-before"], _FAULTS["error-before"]


class Api:
    """Records what it gets, in its order.

    Args:
        latency: Seconds from a request to its answer, at most.
        faults: The share of requests that fail.
        rng: Decides which.
    """

    def __init__(self, *, latency: float, faults: float, rng: random.Random) -> None:
        self._model = ModelApi()
        self._latency = latency
        self._faults = faults
        self._rng = rng
        self._context = outside()
        self.is_away = False
        """Set it, and every request fails."""
        self.arrivals: list[Arrival] = []
        self.begun: list[tuple[float, str]] = []
        """When a request for which event began."""
        self.lost_answers = 0
        """Events recorded whose sender was not told."""
        self.refused: set[str] = set()
        """Events that were refused for good."""
        self.failures: dict[str, int] = {}
        """Requests that failed though the API was not away, by event."""

    def come_back(self) -> None:
        """End an outage."""
        self.is_away = False

    def heal(self) -> None:
        """Let nothing fail any more."""
        self.come_back()
        self._faults = 0.0

    def begin(
        self, endpoint: Endpoint, body: bytes, answer: asyncio.Future[Reply]
    ) -> asyncio.Task[None]:
        """Take a request; its answer comes in time, or never."""
        loop = asyncio.get_running_loop()
        payload = orjson.loads(body)
        self.begun.append((loop.time(), name_of(payload)))
        fault = self._draw()
        if fault is not None and not self.is_away:
            self.failures[name_of(payload)] = self.failures.get(name_of(payload), 0) + 1
        reply = _SUCCESS[endpoint]
        is_heard = fault is None or fault.is_heard
        is_early = is_heard and self._rng.random() < 0.5
        if is_early:
            reply = self._record(payload, reply)
        work = self._handle(payload, fault, reply, answer, hears=is_heard and not is_early)
        return loop.create_task(work, context=self._context)

    async def _handle(
        self,
        payload: dict[str, Any],
        fault: _Fault | None,
        reply: Reply,
        answer: asyncio.Future[Reply],
        *,
        hears: bool,
    ) -> None:
        await asyncio.sleep(self._rng.random() * self._latency)
        if hears:
            reply = self._record(payload, reply)
        self._answer(payload, fault, reply, answer)

    def _record(self, payload: dict[str, Any], success: Reply) -> Reply:
        code = self._model.record(payload)
        if code is not None:
            return Reply(*error_bodies(code, self._rng))
        self.arrivals.append(Arrival(name_of(payload), payload.get("order_id")))
        return success

    def _answer(
        self,
        payload: dict[str, Any],
        fault: _Fault | None,
        reply: Reply,
        answer: asyncio.Future[Reply],
    ) -> None:
        if fault is not None and fault.is_heard:
            self.lost_answers += 1
        outcome = reply if fault is None else fault.answer
        if outcome is _FAULTS["terminal"].answer:
            self.refused.add(name_of(payload))
        if answer.done():
            return
        if isinstance(outcome, TransportError):
            answer.set_exception(outcome)
        elif outcome is not None:
            answer.set_result(outcome)

    def _draw(self) -> _Fault | None:
        if self.is_away:
            return self._rng.choice(_OUTAGE)
        if self._rng.random() < self._faults:
            return _FAULTS[self._rng.choices(_KINDS, _WEIGHTS)[0]]
        return None


class ApiTransport:
    """Carries one relay's requests to the API."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.is_cut = False
        """Nothing is sent any more: its process is dead, and unwinds."""

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def send(self, endpoint: Endpoint, body: bytes) -> Reply:
        if self.is_cut:
            raise TransportError("no connection", sent=False)
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        request = self._api.begin(endpoint, body, answer)
        try:
            return await answer
        except asyncio.CancelledError:
            request.cancel()  # the connection is closed, and the API hears of it
            raise


def name_of(payload: dict[str, Any]) -> str:
    """Return the name of the event that a payload is of."""
    product = payload.get("product_id") or payload["line_items"][0]["product_id"]
    return str(product)
