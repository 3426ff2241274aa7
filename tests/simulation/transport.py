"""The network, scripted: latency, and every way in which a request can go wrong."""

from __future__ import annotations

import asyncio
import random
import traceback
from collections.abc import Callable
from email.utils import formatdate
from math import ceil
from typing import Any

import attrs
import orjson

from alhena_async import Reply, TransportError
from alhena_async.transports import Endpoint
from tests.simulation.api import ModelApi, error_bodies
from tests.simulation.book import End
from tests.simulation.chance import EPOCH
from tests.simulation.oracle import Oracle

__all__ = ["Network", "ScriptedTransport"]

_SUCCESS = {
    Endpoint.CART: Reply(200, b'{"status":"success","event_type":"CART_EVENT_RECORDED"}'),
    Endpoint.CHECKOUT: Reply(200, b'{"status":"success","event_type":"CHECKOUT_EVENT_RECORDED"}'),
}
_FOREVER = 1e6
_NOT_THE_API = (b"", b"<html>welcome</html>", b'{"status":"succ', b'["success"]')

# Fault: whether the API hears of the request, and how likely it is among the faults.
_FAULTS: dict[str, tuple[bool, int]] = {
    "refused": (False, 4),
    "reset_before": (False, 4),
    "reset_after": (True, 4),
    "hang_before": (False, 2),
    "hang_after": (True, 2),
    "throttled": (False, 4),
    "not_processed": (False, 2),
    "error_before": (False, 3),
    "error_after": (True, 3),
    "proxy_before": (False, 1),
    "proxy_after": (True, 1),
    "foreign_before": (False, 1),
    "foreign_after": (True, 1),
    "called_off": (False, 1),
    "terminal": (False, 1),
}
_KINDS = list(_FAULTS)
_WEIGHTS = [weight for _, weight in _FAULTS.values()]


@attrs.frozen(kw_only=True)
class Network:
    """How the network behaves in one life.

    `outages` are spans of time in which nearly all requests meet one kind of fault.
    """

    latency: float
    grain: float = 0.0
    """Latencies are multiples of this, so that replies come together; 0: any."""
    faults: float = 0.0
    outages: tuple[tuple[float, float, str], ...] = ()
    retry_after_most: float = 5.0


class ScriptedTransport:
    """Carries requests to the model, and tells the oracle what truly happened."""

    def __init__(self, network: Network, api: ModelApi, oracle: Oracle, rng: random.Random) -> None:
        self._network = network
        self._api = api
        self._oracle = oracle
        self._rng = rng
        self._time = asyncio.get_running_loop().time
        self.is_open = False
        self.opened = asyncio.Event()
        self.close_hangs = False
        self.injected = 0

    async def open(self) -> None:
        self.is_open = True
        self.opened.set()
        if self._rng.random() < 0.2:
            await asyncio.sleep(self._network.latency)

    async def close(self) -> None:
        self._oracle.expect(self.is_open, "the transport was closed twice, or never opened")
        self._oracle.expect(not self._oracle.wire.under_way, "closed with requests on the wire")
        self.is_open = False
        if self.close_hangs:
            await asyncio.sleep(3600.0)

    async def send(self, endpoint: Endpoint, body: bytes) -> Reply:
        payload = orjson.loads(body)
        try:
            entry = self._oracle.wire.begin(payload, checkout=endpoint is Endpoint.CHECKOUT)
        except Exception:  # the engine takes it for a fault of the network
            self._oracle.failed(traceback.format_exc())
            raise
        self._oracle.expect(self.is_open, "sent through a transport that is not open")
        fault, latency = self._draw()
        heard = fault is None or _FAULTS[fault][0]
        hangs = fault is not None and fault.startswith("hang")
        early = hangs or self._rng.random() < 0.5
        code = None
        try:
            if heard and early:
                code = self._hear(entry, payload)
            await asyncio.sleep(_FOREVER if hangs else latency)
            if heard and not early:
                code = self._hear(entry, payload)
        except asyncio.CancelledError:
            self._oracle.wire.cancelled(entry)
            raise
        if fault is None:
            return self._reply(entry, endpoint, code)
        return self._fail(entry, fault)

    def _hear(self, entry: Any, payload: dict[str, Any]) -> str | None:
        code = self._api.record(payload)
        if code is None:
            self._oracle.wire.recorded(entry)
        return code

    def _draw(self) -> tuple[str | None, float]:
        network, rng = self._network, self._rng
        latency = rng.expovariate(1.0) * network.latency
        if network.grain:
            latency = ceil(latency / network.grain) * network.grain
        now = self._time()
        for began, ended, kind in network.outages:
            if began <= now < ended and rng.random() < 0.95:
                self.injected += 1
                return kind, latency
        if rng.random() < network.faults:
            self.injected += 1
            return rng.choices(_KINDS, _WEIGHTS)[0], latency
        return None, latency

    def _reply(self, entry: Any, endpoint: Endpoint, code: str | None) -> Reply:
        if code is None:
            self._oracle.wire.end(entry, End("recorded", status=200))
            return _SUCCESS[endpoint]
        status, body = error_bodies(code, self._rng)
        self._oracle.wire.end(entry, End("code", code=code, status=status))
        return Reply(status, body)

    def _fail(self, entry: Any, fault: str) -> Reply:
        return _WAYS[fault.partition("_")[0]](self, entry)

    # --- the ways to fail, by a fault's first word ---------------------------------------------

    def _refuse(self, entry: Any) -> Reply:
        self._oracle.wire.end(entry, End("transient"))
        raise TransportError("no connection", sent=False)

    def _reset(self, entry: Any) -> Reply:
        self._oracle.wire.end(entry, End("transient", ambiguous=True))
        raise TransportError("connection lost")

    def _raise_foreign(self, entry: Any) -> Reply:
        self._oracle.wire.end(entry, End("transient", ambiguous=True))
        raise ValueError("a transport of another make")

    def _call_off(self, entry: Any) -> Reply:
        self._oracle.wire.end(entry, End("transient", ambiguous=True))
        raise asyncio.CancelledError

    def _throttle(self, entry: Any) -> Reply:
        rng = self._rng
        status = rng.choice((429, 429, 503))
        headers = {}
        pause = 0.0
        if rng.random() < 0.5:
            pause = float(ceil(rng.random() * self._network.retry_after_most))
            headers["Retry-After"] = str(int(pause))
            if rng.random() < 0.3:
                wall = EPOCH + self._time()
                date = ceil(wall + pause)
                headers = {"retry-after": formatdate(date, usegmt=True)}
                pause = date - wall
        self._oracle.wire.end(entry, End("transient", status=status, pause=pause, throttled=True))
        return Reply(status, b"slow down", headers)

    def _not_process(self, entry: Any) -> Reply:
        status = self._rng.choice((408, 425))
        self._oracle.wire.end(entry, End("transient", status=status))
        return Reply(status, b"")

    def _err(self, entry: Any) -> Reply:
        status = self._rng.choice((500, 502, 504))
        self._oracle.wire.end(entry, End("transient", ambiguous=True, status=status))
        return Reply(status, b"upstream")

    def _be_a_proxy(self, entry: Any) -> Reply:
        self._oracle.wire.end(entry, End("transient", ambiguous=True, status=200))
        return Reply(200, self._rng.choice(_NOT_THE_API))

    def _refuse_for_good(self, entry: Any) -> Reply:
        status = self._rng.choice((302, 400, 410, 413))
        if status == 413 and self._rng.random() < 0.5:  # a firewall's word, not the API's
            self._oracle.wire.end(entry, End("transient", status=status))
            return Reply(status, b"<html>too large</html>")
        self._oracle.wire.end(entry, End("terminal", status=status))
        return Reply(status, b"gone" if status in {302, 410} else b'{"message": "no"}')


_WAYS: dict[str, Callable[[ScriptedTransport, Any], Reply]] = {
    "refused": ScriptedTransport._refuse,
    "reset": ScriptedTransport._reset,
    "foreign": ScriptedTransport._raise_foreign,
    "called": ScriptedTransport._call_off,
    "throttled": ScriptedTransport._throttle,
    "not": ScriptedTransport._not_process,
    "error": ScriptedTransport._err,
    "proxy": ScriptedTransport._be_a_proxy,
    "terminal": ScriptedTransport._refuse_for_good,
}
