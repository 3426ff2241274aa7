"""The emulator over real sockets: what it answers, records and refuses."""

import asyncio
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from io import BytesIO
from typing import Any

import aiohttp
import pytest

from alhena_async.emulator import (
    Emulator,
    EventKind,
    Fault,
    Handled,
    Preconditions,
    Recorded,
    Tickets,
)
from tests.patience import PATIENCE

CART: dict[str, Any] = {
    "company_key": "shop",
    "user_fingerprint": "fp",
    "user_faq_fingerprint": "faq",
    "type": "ITEM_ADDED",
    "product_id": "mug",
    "product_name": "Mug ☕",
    "value": 9.5,
    "currency": "EUR",
    "quantity": 1,
}
LINE = {
    "product_id": "mug",
    "product_name": "Mug",
    "quantity": 2,
    "value": 19.9,
    "currency": "EUR",
}
CHECKOUT: dict[str, Any] = {
    "company_key": "shop",
    "user_fingerprint": "fp",
    "user_faq_fingerprint": "faq",
    "value": 19.9,
    "currency": "EUR",
    "line_items": [LINE],
}


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def post(
    session: aiohttp.ClientSession, emulator: Emulator, body: dict[str, Any]
) -> tuple[int, Any]:
    kind = "checkout" if "line_items" in body else "cart"
    async with session.post(f"{emulator.url}analytics/{kind}_events", json=body) as reply:
        return reply.status, await reply.json()


async def test_success_bodies_are_the_documented_ones(session: aiohttp.ClientSession) -> None:
    """200, and exactly the body of the vendor's page, at each endpoint."""
    async with Emulator() as emulator:
        cart = {"status": "success", "event_type": "CART_EVENT_RECORDED"}
        checkout = {"status": "success", "event_type": "CHECKOUT_EVENT_RECORDED"}
        assert await post(session, emulator, CART) == (200, cart)
        assert await post(session, emulator, CHECKOUT) == (200, checkout)


async def test_what_was_sent_can_be_asked_for(session: aiohttp.ClientSession) -> None:
    """Tests read events, sums, carts and counts from the emulator."""
    async with Emulator() as emulator:
        await post(session, emulator, {**CART, "product_id": "bowl"})
        await post(session, emulator, {**CHECKOUT, "orderId": "1", "order_id": "1"})
        await post(session, emulator, {**CART, "type": "item_added"})
        assert emulator.requests == 3
        assert (emulator.recorded_count, emulator.refused_count) == (2, 1)
        assert emulator.revenue == {"EUR": Decimal("19.9")}
        assert emulator.carts == {("shop", ("fp", "faq"), "bowl"): 1}
        assert emulator.refusals == {"MISSING_REQUIRED_FIELDS": 1}
        first, second = emulator.recorded()
        assert (first.product_name, second.order_id) == ("Mug ☕", "1")
        assert emulator.recorded(kind="checkout", product_id="mug") == [second]
        assert emulator.recorded(kind=EventKind.CART, type="ITEM_ADDED") == [first]
        assert emulator.recorded(fingerprint="nobody") == []
        (refused,) = emulator.refused(code="MISSING_REQUIRED_FIELDS")
        assert (refused.type, refused.http_status) == ("item_added", 400)


@pytest.mark.parametrize(
    ("settings", "body", "status", "code"),
    [
        ({}, {**CART, "value": "9.5"}, 400, "MISSING_REQUIRED_FIELDS"),
        ({"companies": ["other"]}, CART, 404, "COMPANY_NOT_FOUND"),
        ({"tickets": Tickets.OPENED}, CHECKOUT, 404, "ACTIVE_TICKET_NOT_FOUND"),
        (
            {"preconditions": Preconditions.LENIENT},
            {**CART, "type": "ITEM_REMOVED"},
            409,
            "PREVIOUS_ITEM_ADDED_EVENT_NOT_FOUND",
        ),
    ],
)
async def test_refusals_carry_their_code(
    session: aiohttp.ClientSession,
    settings: dict[str, Any],
    body: dict[str, Any],
    status: int,
    code: str,
) -> None:
    """Each setting refuses with its documented code, in the default envelope."""
    async with Emulator(**settings) as emulator:
        got, answer = await post(session, emulator, body)
        assert (got, answer["status"], answer["error"]) == (status, "error", code)
        assert emulator.recorded() == []


async def test_a_repeated_order_is_refused(session: aiohttp.ClientSession) -> None:
    """The same order id won't be recorded twice, under whichever name it comes."""
    async with Emulator() as emulator:
        await post(session, emulator, {**CHECKOUT, "orderId": "1"})
        status, answer = await post(session, emulator, {**CHECKOUT, "order_id": "1"})
        assert (status, answer["error"]) == (409, "ORDER_ALREADY_EXISTS")
        assert emulator.revenue == {"EUR": Decimal("19.9")}


async def test_a_strict_emulator_wants_an_increase_first(session: aiohttp.ClientSession) -> None:
    """PREVIOUS_QUANTITY_INCREASED_EVENT_NOT_FOUND comes over the wire too."""
    async with Emulator(preconditions=Preconditions.STRICT) as emulator:
        await post(session, emulator, CART)
        body = {**CART, "type": "QUANTITY_DECREASED"}
        _, answer = await post(session, emulator, body)
        assert answer["error"] == "PREVIOUS_QUANTITY_INCREASED_EVENT_NOT_FOUND"


async def test_an_opened_ticket_lets_a_visitor_in(session: aiohttp.ClientSession) -> None:
    """Tickets.OPENED records those, and only those, for whom one was opened."""
    async with Emulator(tickets=Tickets.OPENED) as emulator:
        emulator.open_ticket(("fp", "faq"))
        assert (await post(session, emulator, CART))[0] == 200
        assert (await post(session, emulator, {**CART, "user_fingerprint": "x"}))[0] == 404


async def test_envelope_and_status_can_be_chosen(session: aiohttp.ClientSession) -> None:
    """The vendor documents neither: a test may try any."""
    async with Emulator(
        error_statuses={"MISSING_REQUIRED_FIELDS": 200},
        error_body=lambda code, message: {"errors": [{"code": code}]},
    ) as emulator:
        status, answer = await post(session, emulator, {**CART, "currency": ""})
        assert (status, answer) == (200, {"errors": [{"code": "MISSING_REQUIRED_FIELDS"}]})


async def test_a_body_over_one_mebibyte_is_413(session: aiohttp.ClientSession) -> None:
    """With a declared length and without; one of exactly 1 MiB is read."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 65_536

    async with Emulator() as emulator:
        where = f"{emulator.url}analytics/cart_events"
        headers = {"Content-Type": "application/json"}
        for data, status in (
            (BytesIO(b"x" * (1024 * 1024 + 1)), 413),
            (chunks(), 413),
            (BytesIO(b"x" * 1024 * 1024), 400),
        ):
            async with session.post(where, data=data, headers=headers) as reply:
                assert reply.status == status
        assert emulator.refusals == {"BODY_TOO_LONG": 2, "MISSING_REQUIRED_FIELDS": 1}
        assert emulator.requests == 3


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
)
async def test_only_plain_json_is_read(
    session: aiohttp.ClientSession, headers: dict[str, str]
) -> None:
    """A form or text is what a foreign page can send unasked; a compressed body can be a bomb."""
    async with Emulator() as emulator:
        where = f"{emulator.url}analytics/cart_events"
        async with session.post(where, data=json.dumps(CART).encode(), headers=headers) as reply:
            assert 400 <= reply.status < 500
        assert emulator.recorded() == []


@pytest.mark.parametrize("body", [b"[" * 1_000_000, b"\xff", b'{"value": 1e99999999}', b""])
async def test_a_hostile_body_is_no_server_error(
    session: aiohttp.ClientSession, body: bytes
) -> None:
    """What cannot be read is a 400, never a 500."""
    async with Emulator() as emulator:
        where = f"{emulator.url}analytics/checkout_events"
        headers = {"Content-Type": "application/json"}
        async with session.post(where, data=body, headers=headers) as reply:
            assert (reply.status, (await reply.json())["error"]) == (400, "MISSING_REQUIRED_FIELDS")


async def test_the_account_survives_a_restart_at_the_same_address(
    session: aiohttp.ClientSession,
) -> None:
    """Stop and start are an outage: same port, same account, another token."""
    emulator = Emulator()
    await emulator.start()
    url, token = emulator.url, emulator.token
    await post(session, emulator, {**CHECKOUT, "orderId": "1"})
    await emulator.stop()
    await emulator.stop()
    with pytest.raises(aiohttp.ClientConnectionError):
        await session.post(f"{url}analytics/cart_events", json=CART)
    with pytest.raises(RuntimeError, match="does not serve"):
        _ = emulator.url
    async with emulator:
        assert emulator.url == url
        assert emulator.token != token
        _, answer = await post(session, emulator, {**CHECKOUT, "orderId": "1"})
        assert answer["error"] == "ORDER_ALREADY_EXISTS"


async def test_starting_twice_is_an_error() -> None:
    """Two servers would share one state."""
    async with Emulator() as emulator:
        with pytest.raises(RuntimeError, match="serves already"):
            await emulator.start()


async def test_a_taken_port_leaves_nothing_behind() -> None:
    """The error is the system's, and the emulator can be started again later."""
    async with Emulator() as first:
        port = int(first.url.rstrip("/").rpartition(":")[2])
        second = Emulator(port=port)
        with pytest.raises(OSError, match=str(port)):
            await second.start()
    async with second:
        assert second.url == f"http://127.0.0.1:{port}/"


async def test_wait_until_wakes_on_a_change(session: aiohttp.ClientSession) -> None:
    """A test waits for a state, not for a time."""
    async with Emulator() as emulator:
        waiting = asyncio.ensure_future(
            emulator.wait_until(lambda: emulator.recorded_count == 2, timeout=PATIENCE)
        )
        await post(session, emulator, CART)
        assert not waiting.done()
        await post(session, emulator, CART)
        await waiting
        with pytest.raises(TimeoutError):
            await emulator.wait_until(lambda: False, timeout=0.01)


async def test_wait_until_takes_no_coroutine_function() -> None:
    """A coroutine is true, whatever it would say: the test would wait for nothing."""

    async def never() -> bool:
        return False

    wrong: Any = never
    async with Emulator() as emulator:
        with pytest.raises(TypeError, match="condition must be a plain function"):
            await emulator.wait_until(wrong)


async def test_reset_forgets_events_and_keeps_tickets(session: aiohttp.ClientSession) -> None:
    """After a reset the account is new, and who had a ticket still has it."""
    async with Emulator(tickets=Tickets.OPENED, preconditions=Preconditions.LENIENT) as emulator:
        emulator.open_ticket(("fp", "faq"))
        await post(session, emulator, CART)
        emulator.reset()
        assert (emulator.requests, emulator.recorded(), emulator.carts) == (0, [], {})
        _, answer = await post(session, emulator, {**CART, "type": "ITEM_REMOVED"})
        assert answer["error"] == "PREVIOUS_ITEM_ADDED_EVENT_NOT_FOUND"


async def test_many_events_are_counted_exactly(session: aiohttp.ClientSession) -> None:
    """Concurrent requests lose no cent and no count, past the history's bound too."""
    async with Emulator(history=10) as emulator:
        bodies = [{**CHECKOUT, "value": 0.1, "orderId": str(n)} for n in range(200)]
        await asyncio.gather(*(post(session, emulator, body) for body in bodies))
        assert emulator.revenue == {"EUR": Decimal("20.0")}
        assert emulator.requests == emulator.recorded_count == 200
        assert len(emulator.recorded()) == 10
        assert all(isinstance(record, Recorded) for record in emulator.recorded())


async def test_each_request_is_told_in_one_line(session: aiohttp.ClientSession) -> None:
    """Recorded, refused, faulted and unreadable ones, before they are answered."""
    told: list[str] = []
    async with Emulator(on_request=lambda handled: told.append(str(handled))) as emulator:
        emulator.script(Fault("status", status=503), Fault("status-after", status=500))
        for body in (CART, CART, CHECKOUT, {**CART, "product_id": ""}):
            await post(session, emulator, body)
        async with session.post(f"{emulator.url}analytics/cart_events", data=b"no json"):
            pass
    begins = ["cart: fault status, not recorded", "recorded #1 ITEM_ADDED ", "recorded #2 checkout"]
    begins += ["refused #3 ITEM_ADDED", "refused #4 cart"]
    assert [line[: len(begin)] for line, begin in zip(told, begins, strict=True)] == begins
    assert told[1].endswith(", and met fault status-after")
    assert not any("\n" in line for line in told)


async def test_a_request_that_met_a_fault_is_told_with_what_it_was(
    session: aiohttp.ClientSession,
) -> None:
    """Whose it was and about what, the answer's status or none, and how long it took."""
    told: list[Handled] = []
    async with Emulator(on_request=told.append) as emulator:
        emulator.script(Fault("status", status=503, latency=0.01), Fault("reset-after"))
        await post(session, emulator, CART)
        with pytest.raises(aiohttp.ClientError):
            await post(session, emulator, CHECKOUT)
    fault, reset = told
    assert (fault.record, fault.status, fault.product_id) == (None, 503, CART["product_id"])
    assert fault.fingerprint == CART["user_fingerprint"]
    assert fault.latency >= 0.01
    assert (type(reset.record), reset.status) == (Recorded, None)
    assert (reset.fingerprint, reset.order_id, reset.product_id) == ("fp", None, None)
