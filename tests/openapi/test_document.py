"""The OpenAPI document tells the contract that the emulator judges by; it keeps to it."""

from __future__ import annotations

import json
from importlib.resources import files
from importlib.util import find_spec
from typing import Any

import aiohttp
import jsonschema
import pytest

from alhena_async.emulator import CartType, Emulator, EventKind, RefusalCode
from alhena_async.emulator._contract import Refusal, read_event
from alhena_async.emulator._ledger import STATUSES
from tests.openapi.run import CONTROL, EVENTS, hold

DOCUMENT: dict[str, Any] = json.loads((files("alhena_async.emulator") / "openapi.json").read_text())
OPERATIONS = {kind: DOCUMENT["paths"][kind.path]["post"] for kind in EventKind}


def body_schema(kind: EventKind) -> dict[str, Any]:
    """The schema of a body, with what it refers to."""
    content = OPERATIONS[kind]["requestBody"]["content"]["application/json"]
    return {**content["schema"], "components": DOCUMENT["components"]}


def example(kind: EventKind) -> dict[str, Any]:
    """The document's example of a body."""
    content = OPERATIONS[kind]["requestBody"]["content"]["application/json"]
    return dict(content["example"])


def codes_by_status(kind: EventKind) -> dict[str, int]:
    """Which codes an endpoint may answer with, and with which status."""
    found: dict[str, int] = {}
    shared = DOCUMENT["components"]["responses"]
    for status, written in OPERATIONS[kind]["responses"].items():
        response = shared[written["$ref"].rpartition("/")[2]] if "$ref" in written else written
        schema = response["content"]["application/json"]["schema"]["properties"]
        found |= dict.fromkeys(schema.get("error", {}).get("enum", ()), int(status))
    return found


def test_it_holds_the_two_endpoints_and_nothing_else() -> None:
    """One event a request: there is no third address."""
    assert set(DOCUMENT["paths"]) == {kind.path for kind in EventKind}
    assert DOCUMENT["openapi"].startswith("3.1.")


def test_every_documented_code_is_there_with_the_emulators_status() -> None:
    """The cart's five, the checkout's four; what the emulator adds is said to be its own."""
    own = {"BODY_TOO_SLOW": 408, "BODY_TOO_LONG": 413, "UNSUPPORTED_MEDIA_TYPE": 415}
    first = ("MISSING_REQUIRED_FIELDS", "COMPANY_NOT_FOUND", "ACTIVE_TICKET_NOT_FOUND")
    cart = {*first, *(code for code in RefusalCode if code.startswith("PREVIOUS_"))}
    expected = {EventKind.CART: cart, EventKind.CHECKOUT: {*first, "ORDER_ALREADY_EXISTS"}}
    for kind, codes in expected.items():
        assert codes_by_status(kind) == {**{code: STATUSES[code] for code in codes}, **own}
    assert {code for codes in expected.values() for code in codes} == set(RefusalCode)
    assert DOCUMENT["components"]["schemas"]["CartEventType"]["enum"] == list(CartType)


@pytest.mark.parametrize("kind", EventKind)
@pytest.mark.parametrize("wrong", ["", None, True, "1", 1, [], {}], ids=repr)
def test_document_and_emulator_agree_on_every_field(kind: EventKind, wrong: object) -> None:
    """Left out, or replaced by what it is not: both take it, or both refuse it."""
    sound, schema = example(kind), body_schema(kind)
    for name in sound:
        left_out = {key: value for key, value in sound.items() if key != name}
        for body in (left_out, {**sound, name: wrong}):
            refused = isinstance(read_event(kind, json.dumps(body).encode()), Refusal)
            assert refused == (not jsonschema.Draft202012Validator(schema).is_valid(body)), body


async def test_the_emulator_serves_it() -> None:
    """Without the token: it is in everybody's wheel. Its examples are recorded as they stand."""
    async with Emulator() as emulator, aiohttp.ClientSession() as session:
        async with session.get(f"{emulator.url}openapi.json") as reply:
            assert reply.content_type == "application/json"
            assert await reply.json() == DOCUMENT
        for kind in EventKind:
            where = f"{emulator.url.rstrip('/')}{kind.path}"
            async with session.post(where, json=example(kind)) as reply:
                assert (await reply.json())["event_type"] == kind.success
        assert emulator.recorded_count == len(EventKind)


@pytest.mark.parametrize(
    "number", [5e-324, 1.7976931348623157e308, -1e300, 1e-300, 0.1, 2**64, 10**60], ids=str
)
async def test_any_number_that_a_language_writes_is_a_number(number: float) -> None:
    """The contract names no bound; what is recorded has the digits that were sent."""
    async with Emulator() as emulator, aiohttp.ClientSession() as session:
        where = f"{emulator.url}analytics/checkout_events"
        for at in range(2):
            body = {**example(EventKind.CHECKOUT), "value": number, "order_id": str(at)}
            async with session.post(where, json=body) as reply:
                assert reply.status == 200
        emulator.assert_recorded(value=number, times=2)
        assert emulator.revenue["USD"] == 2 * emulator.recorded()[0].value


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "nowhere", 404), ("GET", "analytics/cart_events", 405), ("POST", "", 405)],
)
async def test_what_is_not_served_is_said_in_json(method: str, path: str, status: int) -> None:
    """Like every other answer, with the methods that are."""
    async with (
        Emulator() as emulator,
        aiohttp.ClientSession() as session,
        session.request(method, emulator.url + path) as reply,
    ):
        assert reply.status == status
        assert (await reply.json())["status"] == "error"
        assert ("Allow" in reply.headers) == (status == 405)


@pytest.mark.skipif(find_spec("schemathesis") is None, reason="schemathesis is not installed")
@pytest.mark.parametrize("document", [EVENTS, CONTROL])
def test_schemathesis_finds_nothing(document: str) -> None:
    """A short run; `make openapi` has 100,000 cases."""
    held = hold(document, cases=40, seed=1)
    assert held.status == 0, held.told
    assert held.cases >= (200 if document == EVENTS else 0)


def test_every_control_address_is_documented() -> None:
    """Whatever the emulator serves to those who have the token, and nothing else."""
    document = json.loads((files("alhena_async.emulator") / "control.openapi.json").read_text())
    documented = {
        (method.upper(), path) for path, item in document["paths"].items() for method in item
    }
    served = {
        (route.method, route.resource.canonical)
        for route in Emulator()._application().router.routes()
        if route.resource and route.method != "HEAD"
    }
    public = ("/_emulator/openapi.json",)
    assert documented == {
        (method, path)
        for method, path in served
        if path.startswith("/_emulator/") and path not in public
    }
