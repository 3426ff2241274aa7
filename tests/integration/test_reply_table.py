"""Every row of the contract's two tables, through the real client, over real sockets.

A stub answers each request with what its product id or order id asks for: one server and one
client carry many rows at once.
"""

import asyncio
import gzip
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from decimal import Decimal
from email.utils import formatdate
from typing import Any

import attrs
import pytest
from aiohttp import web

from alhena_async import (
    ActiveTicketNotFoundError,
    AlhenaClient,
    BreakerPolicy,
    CartEvent,
    CheckoutEvent,
    CompanyNotFoundError,
    DeliveryError,
    DeliveryExpiredError,
    Event,
    HttpPolicy,
    LineItem,
    MissingRequiredFieldsError,
    Observer,
    OrderAlreadyExistsError,
    OrderIdField,
    Outcome,
    OutcomeStatus,
    PreviousItemAddedEventNotFoundError,
    PreviousQuantityIncreasedEventNotFoundError,
    QueuePolicy,
    RejectedError,
    RetryPolicy,
    Visitor,
)
from tests.patience import PATIENCE

CART_SUCCESS = b'{"status":"success","event_type":"CART_EVENT_RECORDED"}'
CHECKOUT_SUCCESS = b'{"status":"success","event_type":"CHECKOUT_EVENT_RECORDED"}'

Answer = Callable[[web.Request, bytes], Awaitable[web.StreamResponse]]


@attrs.define
class Stub:
    """A server that plays rows: what is asked for under a key is what the key's event gets."""

    base_url: str = ""
    rows: dict[str, Answer] = attrs.Factory(dict)
    bodies: list[bytes] = attrs.Factory(list)
    requests: list[tuple[str, str, dict[str, str]]] = attrs.Factory(list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.bodies.append(body)
        self.requests.append((request.method, request.path, dict(request.headers)))
        event = json.loads(body)
        row = self.rows.get(event.get("product_id") or event.get("order_id") or "")
        if row is not None:
            return await row(request, body)
        cart = request.path.endswith("cart_events")
        return web.Response(body=CART_SUCCESS if cart else CHECKOUT_SUCCESS)

    def count(self, key: str) -> int:
        return sum(key.encode() in body for body in self.bodies)


@asynccontextmanager
async def stub_server() -> AsyncIterator[Stub]:
    stub = Stub()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", stub.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        stub.base_url = f"http://{host}:{port}/"
        yield stub
    finally:
        await runner.cleanup()


@pytest.fixture
async def stub() -> AsyncIterator[Stub]:
    async with stub_server() as server:
        yield server


def client(stub: Stub, *, attempts: int | None = 1, **arguments: Any) -> AlhenaClient:
    """A client that gives up a transient row after so many attempts, with tiny delays."""
    retry = RetryPolicy(
        base=1e-6,
        throttle_base=1e-6,
        cap=1e-6,
        retry_after_cap=1e-6,
        max_attempts=attempts,
        precondition_retries=0,
        breaker=BreakerPolicy(min_calls=1_000_000),
    )
    return AlhenaClient("my-company", base_url=stub.base_url, **({"retry": retry} | arguments))


def says(status: int, body: bytes | str = b"", **headers: str) -> Answer:
    raw = body.encode() if isinstance(body, str) else body
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    async def answer(request: web.Request, _: bytes) -> web.StreamResponse:
        return web.Response(status=status, body=raw, headers=named)

    return answer


def visitor(name: str = "v") -> Visitor:
    """A visitor of its own for each row: rows never wait for each other."""
    return Visitor(fingerprint=f"fp-{name}", faq_fingerprint=f"faq-{name}")


def cart(key: str, **changed: Any) -> CartEvent:
    fields: dict[str, Any] = {
        "visitor": visitor(key),
        "type": "ITEM_ADDED",
        "product_id": key,
        "product_name": "Mug",
        "value": 9.5,
        "currency": "EUR",
        "quantity": 1,
    }
    return CartEvent(**(fields | changed))


def checkout(key: str | None, **changed: Any) -> CheckoutEvent:
    line = LineItem(product_id="1", product_name="Mug", quantity=2, value=19, currency="EUR")
    fields: dict[str, Any] = {
        "visitor": visitor(str(key)),
        "value": 19,
        "currency": "EUR",
        "line_items": [line],
        "order_id": key,
    }
    return CheckoutEvent(**(fields | changed))


async def ending(alhena: AlhenaClient, event: Event) -> tuple[Outcome, type[Exception] | None]:
    """What `record` returned, or what it raised and the outcome in it."""
    try:
        return await alhena.record(event), None
    except DeliveryError as error:
        return error.outcome, type(error)


async def endings(
    alhena: AlhenaClient, events: Iterable[Event]
) -> list[tuple[Outcome, type[Exception] | None]]:
    return await asyncio.gather(*(ending(alhena, event) for event in events))


# --- the table of codes, envelopes and statuses -------------------------------------------------

ENVELOPES: dict[str, Callable[[str], object]] = {
    "error": lambda code: {"error": code},
    "error_code": lambda code: {"error_code": code},
    "code": lambda code: {"code": code},
    "status": lambda code: {"status": code},
    "event_type": lambda code: {"event_type": code},
    "message": lambda code: {"message": f"Refused: {code}."},
    "detail": lambda code: {"detail": code},
    "error.code": lambda code: {"error": {"code": code, "message": "No."}},
    "errors of strings": lambda code: {"errors": [code]},
    "errors of objects": lambda code: {"errors": [{"code": code}]},
    "deeper": lambda code: {"data": {"results": [{"why": code}]}},
    "plain text": lambda code: f"refused ({code})",
}
STATUSES = (200, 400, 404, 409, 422, 500)
ENDS: dict[str, tuple[OutcomeStatus, type[Exception] | None]] = {
    "MISSING_REQUIRED_FIELDS": (OutcomeStatus.REJECTED, MissingRequiredFieldsError),
    "COMPANY_NOT_FOUND": (OutcomeStatus.REJECTED, CompanyNotFoundError),
    "ACTIVE_TICKET_NOT_FOUND": (OutcomeStatus.UNATTRIBUTED, None),
    "PREVIOUS_ITEM_ADDED_EVENT_NOT_FOUND": (
        OutcomeStatus.REJECTED,
        PreviousItemAddedEventNotFoundError,
    ),
    "PREVIOUS_QUANTITY_INCREASED_EVENT_NOT_FOUND": (
        OutcomeStatus.REJECTED,
        PreviousQuantityIncreasedEventNotFoundError,
    ),
    "ORDER_ALREADY_EXISTS": (OutcomeStatus.DUPLICATE, None),
}


@pytest.mark.parametrize("build", [cart, checkout])
@pytest.mark.parametrize("envelope", ENVELOPES)
async def test_every_code_in_every_envelope_at_every_status(
    stub: Stub, envelope: str, build: Callable[[str], Event]
) -> None:
    """6 codes x 6 statuses: found, final at the first attempt, and of the promised class."""
    rows: dict[str, tuple[int, str]] = {}
    for status in STATUSES:
        for code in ENDS:
            body = ENVELOPES[envelope](code)
            text = body if isinstance(body, str) else json.dumps(body)
            key = f"{status}-{list(ENDS).index(code)}"
            stub.rows[key] = says(status, text)
            rows[key] = (status, code)
    async with client(stub, attempts=None) as alhena:
        results = await endings(alhena, [build(key) for key in rows])
    for (status, code), (outcome, error) in zip(rows.values(), results, strict=True):
        assert (outcome.status, error) == ENDS[code], (status, code)
        assert (outcome.code, outcome.http_status, outcome.attempts) == (code, status, 1)
        assert not outcome.ambiguous
    assert len(stub.bodies) == len(rows)


async def test_a_code_is_found_whatever_the_retries_and_the_content_type(stub: Stub) -> None:
    """A transient reply, then the code: the second attempt ends it."""
    seen: set[str] = set()

    async def first_busy(request: web.Request, body: bytes) -> web.StreamResponse:
        key = json.loads(body)["product_id"]
        if key in seen:
            return web.Response(status=404, text="COMPANY_NOT_FOUND", content_type="image/png")
        seen.add(key)
        return web.Response(status=int(key))

    keys = ["408", "425", "429", "500", "502", "503", "504"]
    stub.rows |= dict.fromkeys(keys, first_busy)
    async with client(stub, attempts=None) as alhena:
        results = await endings(alhena, map(cart, keys))
    for key, (outcome, error) in zip(keys, results, strict=True):
        assert (error, outcome.attempts) == (CompanyNotFoundError, 2), key
        assert outcome.ambiguous is (key in {"500", "502", "504"}), key


async def test_an_order_that_exists_after_an_ambiguous_attempt_is_ours(stub: Stub) -> None:
    """`ORDER_ALREADY_EXISTS` after a 500: the 500 had recorded it. After a 503 it had not."""
    seen: set[str] = set()

    async def recorded_unheard(request: web.Request, body: bytes) -> web.StreamResponse:
        key = json.loads(body)["order_id"]
        if key in seen:
            return web.json_response({"error": "ORDER_ALREADY_EXISTS"}, status=409)
        seen.add(key)
        return web.Response(status=int(key))

    stub.rows |= {"500": recorded_unheard, "503": recorded_unheard}
    async with client(stub, attempts=None) as alhena:
        [(first, _), (second, _)] = await endings(alhena, [checkout("500"), checkout("503")])
    assert (first.status, first.ambiguous) == (OutcomeStatus.RECORDED, True)
    assert (second.status, second.ambiguous) == (OutcomeStatus.DUPLICATE, False)


async def test_an_unknown_code_is_kept_and_its_status_decides(stub: Stub) -> None:
    """408, 425, 429 and 5xx are tried again; every other status is a refusal at once."""
    statuses = [200, 201, 300, 302, 400, 401, 403, 404, 405, 408, 409, 410, 413, 418, 422, 425,
                426, 428, 429, 431, 451, 500, 501, 502, 503, 504, 507, 511, 599]  # fmt: skip
    for status in statuses:
        stub.rows[str(status)] = says(status, '{"code": "Tea Pot №5", "message": "short"}')
    async with client(stub, attempts=2) as alhena:
        results = await endings(alhena, (cart(str(status)) for status in statuses))
    for status, (outcome, error) in zip(statuses, results, strict=True):
        transient = status in {408, 425, 429} or status >= 500
        assert outcome.code == "Tea Pot №5", status
        assert error is (DeliveryExpiredError if transient else RejectedError), status
        assert outcome.attempts == (2 if transient else 1), status
        assert stub.count(f'"product_id":"{status}"') == outcome.attempts


async def test_a_refusal_without_a_code_keeps_its_body(stub: Stub) -> None:
    """An unknown 4xx is final, its body kept, bounded and harmless to a terminal."""
    stub.rows["plain"] = says(410, "Bad\x1b[31m request: " + "y" * 10_000)
    stub.rows["json"] = says(403, '{"reason": "no"}')
    async with client(stub) as alhena:
        [(plain, error), (empty, _)] = await endings(alhena, [cart("plain"), cart("json")])
    assert error is RejectedError
    assert (plain.status, plain.code, plain.http_status) == (OutcomeStatus.REJECTED, None, 410)
    assert (plain.detail or "").startswith("Bad [31m request: yyy")
    assert len(plain.detail or "") <= 500
    assert (empty.status, empty.http_status) == (OutcomeStatus.REJECTED, 403)
    assert empty.detail == '{"reason": "no"}'


async def test_a_firewalls_bad_moment_ends_no_event(
    stub: Stub, caplog: pytest.LogCaptureFixture
) -> None:
    """A 4xx page is tried again until the API speaks, told with status and base URL; 410 is not."""
    pages = {
        "400": "<h1>400 Bad Request</h1><center>nginx</center>",
        "401": "",
        "403": "<title>Attention Required!</title>",
        "404": "default backend - 404",
        "405": "[]",
        "413": "null",
        "421": '{"error": "cut',
    }
    seen: set[str] = set()

    async def page_first(request: web.Request, body: bytes) -> web.StreamResponse:
        key = json.loads(body)["product_id"]
        if key in seen:
            return web.Response(body=CART_SUCCESS)
        seen.add(key)
        return web.Response(status=int(key), text=pages[key])

    stub.rows |= dict.fromkeys(pages, page_first)
    stub.rows["410"] = says(410, "<h1>Gone</h1>")
    async with client(stub, attempts=None, retry=RetryPolicy(
        base=1e-6, assign_order_ids=False, retry_ambiguous_carts=False
    )) as alhena:  # fmt: skip
        results = await endings(alhena, map(cart, [*pages, "410"]))
    *good, (gone, error) = results
    assert [(one.status, one.attempts, one.ambiguous) for one, _ in good] == [
        (OutcomeStatus.RECORDED, 2, False)
    ] * len(pages)
    assert (gone.http_status, error) == (410, RejectedError)
    lines = [one.message for one in caplog.records if "not the API's" in one.message]
    assert any(stub.base_url in line and "HTTP 403" in line for line in lines)
    assert not any("Attention" in line for line in caplog.messages)


# --- what counts as recorded --------------------------------------------------------------------


async def test_what_counts_as_recorded(stub: Stub) -> None:
    """2xx, a JSON object, no code, no other status than success; both documented bodies."""
    bodies = [
        CART_SUCCESS,
        CHECKOUT_SUCCESS,
        b"{}",
        b'\xef\xbb\xbf{ "event_type" : "CART_EVENT_RECORDED" }\r\n',
        b'{"status":"success","error":null,"errors":[]}',
        b'{"status":"success","product":{"name":"COMPANY_NOT_FOUND"}}',
    ]
    rows = {
        f"{status}-{number}": says(status, body)
        for status in (200, 201, 202)
        for number, body in enumerate(bodies)
    }
    stub.rows |= rows
    async with client(stub) as alhena:
        for build in (cart, checkout):
            for outcome, error in await endings(alhena, map(build, rows)):
                assert error is None
                assert outcome.status is OutcomeStatus.RECORDED
                assert (outcome.attempts, outcome.ambiguous, outcome.code) == (1, False, None)
        assert alhena.stats().recorded == 2 * len(rows)


NOT_THE_APIS = {
    "html": says(
        200, "<!doctype html><title>Checking your browser</title>", Content_Type="text/html"
    ),
    "empty": says(200),
    "no-content": says(204),
    "truncated": says(200, CART_SUCCESS[:-9]),
    "array": says(200, "[]"),
    "null": says(200, "null"),
    "pending": says(200, '{"status":"pending"}'),
    "gzip-garbage": says(200, b"\x1f\x8b\x08\x00garbage", Content_Encoding="gzip"),
    "gzip-bomb": says(200, gzip.compress(b" " * 5_000_000), Content_Encoding="gzip"),
    "binary": says(200, bytes(range(256))),
}


async def test_a_2xx_that_is_not_the_apis_is_tried_again(stub: Stub) -> None:
    """HTML of a proxy, an empty or a truncated body: transient, ambiguous, never a success."""
    stub.rows |= NOT_THE_APIS
    async with client(stub, attempts=3) as alhena:
        results = await endings(alhena, map(cart, NOT_THE_APIS))
    for key, (outcome, error) in zip(NOT_THE_APIS, results, strict=True):
        assert error is DeliveryExpiredError, key
        assert (outcome.status, outcome.ambiguous) == (OutcomeStatus.EXPIRED, True), key
        assert (outcome.attempts, stub.count(f'"product_id":"{key}"')) == (3, 3), key


def breaks_off(status: int, body: bytes, *, chunked: bool = False) -> Answer:
    async def answer(request: web.Request, _: bytes) -> web.StreamResponse:
        headers = {} if chunked else {"Content-Length": "1000"}
        response = web.StreamResponse(status=status, headers=headers)
        await response.prepare(request)
        await response.write(body)
        assert request.transport is not None
        request.transport.close()
        return response

    return answer


async def test_a_body_that_breaks_off_is_judged_by_what_came(stub: Stub) -> None:
    """Half a success is none, and half a refusal with its code is one."""
    stub.rows["success"] = breaks_off(200, CART_SUCCESS[:-1])
    stub.rows["whole"] = breaks_off(200, CART_SUCCESS)
    stub.rows["refusal"] = breaks_off(404, b'{"error":"COMPANY_NOT_FOUND"')
    async with client(stub, attempts=2) as alhena:
        [(half, _), (whole, _), (refusal, error)] = await endings(alhena, map(cart, stub.rows))
    assert (half.status, half.ambiguous, half.attempts) == (OutcomeStatus.EXPIRED, True, 2)
    assert (whole.status, whole.attempts) == (OutcomeStatus.RECORDED, 1)
    assert (error, refusal.attempts) == (CompanyNotFoundError, 1)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("status", [200, 302, 400, 404, 409, 410, 451, 500])
async def test_a_refusal_that_breaks_off_ends_nothing(
    stub: Stub, status: int, chunked: bool
) -> None:
    """An order that was recorded unheard, whose `ORDER_ALREADY_EXISTS` broke off, is ours."""
    body = b'{"error":"ORDER_ALREADY_EXISTS"}'
    answers = [
        breaks_off(status, body[:-8], chunked=chunked),
        says(409, body),
    ]

    async def in_turn(request: web.Request, raw: bytes) -> web.StreamResponse:
        return await answers.pop(0)(request, raw)

    stub.rows["o"] = in_turn
    async with client(stub, attempts=None) as alhena:
        outcome = await alhena.record(checkout("o"))
    assert (outcome.status, outcome.attempts) == (OutcomeStatus.RECORDED, 2)
    assert outcome.ambiguous


async def test_a_reply_that_inflates_to_a_success_is_one(stub: Stub) -> None:
    """A proxy may compress what nobody asked it to."""
    stub.rows["gzip"] = says(200, gzip.compress(CART_SUCCESS), Content_Encoding="gzip")
    async with client(stub) as alhena:
        assert (await alhena.record(cart("gzip"))).status is OutcomeStatus.RECORDED
    assert stub.requests[0][2]["Accept-Encoding"] == "identity"


# --- redirects, bounds, Retry-After -------------------------------------------------------------


async def test_a_redirect_is_never_followed(stub: Stub) -> None:
    """Not to another host, not to another path, whatever the status; it says what to check."""
    statuses = [301, 302, 303, 307, 308]
    async with stub_server() as elsewhere:
        for status in statuses:
            stub.rows[f"{status}-far"] = says(status, Location=elsewhere.base_url + "analytics")
            stub.rows[f"{status}-near"] = says(status, Location="/here")
        async with client(stub, attempts=5) as alhena:
            results = await endings(alhena, map(cart, list(stub.rows)))
        assert elsewhere.requests == []
    assert len(stub.requests) == 2 * len(statuses)
    for outcome, error in results:
        assert error is RejectedError
        assert outcome.attempts == 1
        assert "region" in (outcome.detail or "")
        assert "base URL" in (outcome.detail or "")


@pytest.mark.parametrize("status", [200, 400])
async def test_a_reply_is_read_up_to_its_bound(stub: Stub, status: int) -> None:
    """One byte too many and the end of the JSON is not seen; exactly the bound is fine."""
    pad = b" " * (1_000 - len(CART_SUCCESS))
    stub.rows["fits"] = says(status, CART_SUCCESS[:-1] + pad + b"}")
    stub.rows["over"] = says(status, CART_SUCCESS[:-1] + pad + b" }")
    stub.rows["code"] = says(status, pad + CART_SUCCESS + b"COMPANY_NOT_FOUND")
    stub.rows["far"] = says(status, b'{"error":"X"' + b" " * 1_000 + b"COMPANY_NOT_FOUND")
    async with client(stub, http=HttpPolicy(max_reply_bytes=1_000)) as alhena:
        results = await endings(alhena, map(cart, stub.rows))
    if status == 200:
        recorded, expired = OutcomeStatus.RECORDED, OutcomeStatus.EXPIRED
        assert [one.status for one, _ in results] == [recorded, expired, recorded, expired]
    else:
        assert [one.code for one, _ in results] == [None, None, None, None]


async def test_a_reply_without_end_is_left_alone(stub: Stub) -> None:
    """The client stops at its bound and hangs up: the server cannot go on sending."""
    hung_up = asyncio.Event()

    async def endless(request: web.Request, _: bytes) -> web.StreamResponse:
        response = web.StreamResponse(status=404)
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65_536)
        except ConnectionError:
            hung_up.set()
            raise

    stub.rows["endless"] = endless
    async with client(stub) as alhena:
        outcome, error = await ending(alhena, cart("endless"))
        assert (error, outcome.http_status) == (DeliveryExpiredError, 404)
        async with asyncio.timeout(PATIENCE):
            await hung_up.wait()
        assert (await alhena.record(cart("next"))).status is OutcomeStatus.RECORDED


class FirstDelay(Observer):
    """Remembers how long the first retry waits."""

    def __init__(self) -> None:
        self.delay: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def retry(self, event: Event, delay: float, reason: str) -> None:
        if not self.delay.done():
            self.delay.set_result(delay)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        pytest.param(lambda now: "90", 90, 90, id="seconds"),
        pytest.param(lambda now: formatdate(now + 3_600, usegmt=True), 3_500, 3_600, id="date"),
        pytest.param(lambda now: formatdate(now - 3_600, usegmt=True), 0, 0.001, id="past-date"),
        pytest.param(lambda now: "9" * 100, 7_200, 7_200, id="capped"),
        pytest.param(lambda now: "soon", 0, 0.001, id="garbage"),
    ],
)
async def test_retry_after_is_honoured_in_both_forms(
    stub: Stub, status: int, text: Callable[[float], str], least: float, most: float
) -> None:
    """Seconds or a date: a floor that jitter never lowers, bounded by the policy's cap."""
    stub.rows["busy"] = says(status, Retry_After=text(time.time()))
    retry = RetryPolicy(
        throttle_base=0.001, cap=0.001, retry_after_cap=7_200, cart_delivery_timeout=86_400
    )
    watch = FirstDelay()
    async with client(stub, retry=retry, observers=[watch], queue=QueuePolicy(linger=0)) as alhena:
        receipt = alhena.track_nowait(cart("busy"))
        async with asyncio.timeout(PATIENCE):
            delay = await watch.delay
        await alhena.close(timeout=0)
    assert least <= delay <= most
    assert (await receipt).status is OutcomeStatus.ABANDONED


# --- what goes out ------------------------------------------------------------------------------


async def test_requests_are_what_the_page_documents(stub: Stub) -> None:
    """POST, the two paths, JSON, and no more than one event in each."""
    async with client(stub) as alhena:
        await endings(alhena, [cart("a"), checkout("b")])
    assert sorted((method, path) for method, path, _ in stub.requests) == [
        ("POST", "/analytics/cart_events"),
        ("POST", "/analytics/checkout_events"),
    ]
    for _, _, headers in stub.requests:
        assert headers["Content-Type"] == "application/json"
        assert "Cookie" not in headers
        assert "Authorization" not in headers


async def test_a_cart_event_on_the_wire(stub: Stub) -> None:
    """Byte for byte: names, order, numbers and letters as given, `source` only when given."""
    odd = '\u0422ee „groß“ 茶 🫖 "\\\u2028</script>'
    plain = cart("p-1", value=Decimal("199.970"), quantity=Decimal("1.5"), product_name=odd)
    async with client(stub) as alhena:
        await alhena.record(plain)
        await alhena.record(attrs.evolve(plain, source="SHOP"))
    expected = (
        '{"company_key":"my-company","user_fingerprint":"fp-p-1","user_faq_fingerprint":'
        '"faq-p-1","type":"ITEM_ADDED","product_id":"p-1","product_name":'
        '"\u0422ee „groß“ 茶 🫖 \\"\\\\\u2028</script>","value":199.970,'
        '"currency":"EUR","quantity":1.5'
    )
    assert [body.decode() for body in stub.bodies] == [
        expected + "}",
        expected + ',"source":"SHOP"}',
    ]


@pytest.mark.parametrize(
    ("field", "names"),
    [
        (OrderIdField.BOTH, ["orderId", "order_id"]),
        (OrderIdField.CAMEL, ["orderId"]),
        (OrderIdField.SNAKE, ["order_id"]),
    ],
)
async def test_an_order_id_travels_under_the_chosen_names(
    stub: Stub, field: OrderIdField, names: list[str]
) -> None:
    """Both with the same value by default; a setting picks one, for the caller's id and ours."""
    async with client(stub, http=HttpPolicy(order_id_field=field)) as alhena:
        await alhena.record(checkout("ORD-7890"))
        await alhena.record(checkout(None))
    for body, start in zip(stub.bodies, ["ORD-7890", "auto-"], strict=True):
        sent = json.loads(body)
        assert [name for name in sent if "order" in name.lower()] == names
        assert len({sent[name] for name in names}) == 1
        assert sent[names[0]].startswith(start)


async def test_no_order_id_is_sent_where_none_is_wanted(stub: Stub) -> None:
    """`assign_order_ids=False` and none given: neither name stands in the body."""
    async with client(stub, retry=RetryPolicy(assign_order_ids=False)) as alhena:
        await alhena.record(checkout(None))
    assert b"order" not in stub.bodies[0]


async def test_an_assigned_order_id_stays_the_same_over_all_attempts(stub: Stub) -> None:
    """That is what makes a retry of a checkout safe."""
    calls = 0

    async def fails_twice(request: web.Request, _: bytes) -> web.StreamResponse:
        nonlocal calls
        calls += 1
        return web.Response(status=500) if calls < 3 else web.Response(body=CHECKOUT_SUCCESS)

    stub.rows = _Any(fails_twice)
    async with client(stub, attempts=None) as alhena:
        outcome = await alhena.record(checkout(None))
    assert (outcome.attempts, outcome.ambiguous) == (3, True)
    assert len(set(stub.bodies)) == 1
    assert json.loads(stub.bodies[0])["order_id"].startswith("auto-")


class _Any(dict[str, Answer]):
    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self._answer = answer

    def get(self, key: str, default: Any = None) -> Any:
        return self._answer


async def test_a_checkout_on_the_wire_keeps_every_digit(stub: Stub) -> None:
    """199.97 stays 199.97, in the total and in each line."""
    lines = [
        LineItem(
            product_id="1",
            product_name="Ü",
            quantity=Decimal("0.250"),
            value=Decimal("199.97"),
            currency="USD",
        ),
        LineItem(
            product_id="2",
            product_name="\x00\t",
            quantity=3,
            value=Decimal("1E+2"),
            currency="EUR",
        ),
    ]
    event = checkout(
        "A-1", value=Decimal("123456789012345.123456789"), currency="USD", line_items=lines
    )
    async with client(stub) as alhena:
        await alhena.record(event)
    assert stub.bodies[0].decode() == (
        '{"company_key":"my-company","user_fingerprint":"fp-A-1","user_faq_fingerprint":'
        '"faq-A-1","value":123456789012345.123456789,"currency":"USD","line_items":['
        '{"product_id":"1","product_name":"Ü","quantity":0.250,"value":199.97,"currency":"USD"},'
        '{"product_id":"2","product_name":"\\u0000\\t","quantity":3,"value":100,"currency":"EUR"}'
        '],"orderId":"A-1","order_id":"A-1"}'
    )


async def test_a_fingerprint_travels_as_it_is(stub: Stub) -> None:
    """Any text without control characters, 256 at most; neither is made of the other."""
    who = Visitor(fingerprint="é" * 256, faq_fingerprint="a b\u2028")
    async with client(stub) as alhena:
        await alhena.record(cart("x", visitor=who))
    sent = json.loads(stub.bodies[0])
    assert sent["user_fingerprint"] == "é" * 256
    assert sent["user_faq_fingerprint"] == "a b\u2028"


async def test_no_fingerprint_and_no_payload_is_logged(
    stub: Stub, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the replies say, even when they echo it all: nothing above DEBUG."""
    caplog.set_level(logging.INFO)

    async def echo(request: web.Request, body: bytes) -> web.StreamResponse:
        return web.Response(status=int(json.loads(body)["product_id"].split("-")[1]), body=body)

    keys = [f"Xyzzy-{status}" for status in (200, 302, 404, 429, 500)]
    stub.rows |= dict.fromkeys(keys, echo)
    async with client(stub) as alhena:
        await endings(alhena, [cart(key, product_name="Plugh") for key in keys])
    assert "Xyzzy" not in caplog.text
    assert "Plugh" not in caplog.text


async def test_no_ticket_is_the_usual_case(stub: Stub, caplog: pytest.LogCaptureFixture) -> None:
    """`record` returns it, the log is silent above DEBUG, and it still raises on demand."""
    caplog.set_level(logging.INFO)
    stub.rows["none"] = says(404, '{"error":"ACTIVE_TICKET_NOT_FOUND"}')
    async with client(stub) as alhena:
        caplog.clear()
        outcome = await alhena.record(cart("none", visitor=VISITOR))
        assert alhena.stats().unattributed == 1
    assert outcome.status is OutcomeStatus.UNATTRIBUTED
    assert not caplog.records
    with pytest.raises(ActiveTicketNotFoundError):
        outcome.raise_for_status()


async def test_a_duplicate_order_is_returned_and_raises_on_demand(stub: Stub) -> None:
    """Nothing is missing, so `record` returns it."""
    stub.rows["A-1"] = says(409, '{"error":"ORDER_ALREADY_EXISTS"}')
    async with client(stub) as alhena:
        outcome = await alhena.record(checkout("A-1"))
    assert outcome.ok
    with pytest.raises(OrderAlreadyExistsError):
        outcome.raise_for_status()


VISITOR = Visitor(
    fingerprint="550e8400-e29b-41d4-a716-446655440000",
    faq_fingerprint="660e8400-e29b-41d4-a716-446655441111",
)
