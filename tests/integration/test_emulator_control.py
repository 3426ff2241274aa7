"""The emulator's own addresses over HTTP: what a test in any language asks and steers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from alhena_async import AlhenaClient, CartEvent
from alhena_async import Visitor as OurVisitor
from alhena_async.emulator import Emulator, Fault, FaultKind, FaultPlan, Share, Tickets
from tests.patience import PATIENCE

VISITOR = {"user_fingerprint": "fp", "user_faq_fingerprint": "faq"}
CART: dict[str, Any] = {"company_key": "shop", **VISITOR, "type": "ITEM_ADDED"}
CART |= {"product_id": "mug", "product_name": "Mug", "value": 9.5, "currency": "EUR", "quantity": 1}
LINE = {
    name: CART[name] for name in ("product_id", "product_name", "quantity", "value", "currency")
}
ORDER = {"company_key": "shop", **VISITOR, "value": 19, "currency": "EUR", "order_id": "A1"}
ORDER |= {"line_items": [LINE]}
TOKEN = "a-token-of-the-tests"


class Remote:
    """What a test in another language has: HTTP and the token."""

    def __init__(self, session: aiohttp.ClientSession, emulator: Emulator) -> None:
        self.session = session
        self.emulator = emulator

    async def post(self, **body: Any) -> int:
        """Send an event."""
        path = "checkout_events" if "line_items" in body else "cart_events"
        where = f"{self.emulator.url}analytics/{path}"
        async with self.session.post(where, json=body) as reply:
            return reply.status

    async def ask(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        """Ask the emulator; return the answer's status and JSON."""
        async with self.session.request(
            method,
            f"{self.emulator.url}_emulator/{path}",
            json=body,
            params=query,
            headers={"X-Emulator-Token": self.emulator.token},
        ) as reply:
            return reply.status, await reply.json()


@pytest.fixture
async def remote() -> AsyncIterator[Remote]:
    async with (
        Emulator(tickets=Tickets.OPENED, token=TOKEN) as emulator,
        aiohttp.ClientSession() as session,
    ):
        emulator.open_ticket(("fp", "faq"))
        yield Remote(session, emulator)


async def test_recorded_events_are_found_by_their_facts(remote: Remote) -> None:
    """The facts of `recorded`, all of them at once; numbers by value, texts by their letters."""
    await remote.post(**CART)
    await remote.post(**CART | {"product_id": "cup", "value": 19})
    await remote.post(**ORDER)
    for query, found in (
        ({}, [1, 2, 3]),
        ({"kind": "cart"}, [1, 2]),
        ({"product_id": "mug"}, [1, 3]),
        ({"value": "19.00"}, [2, 3]),
        ({"value": "19", "kind": "checkout", "order_id": "A1", "fingerprint": "fp"}, [3]),
        ({"order_id": "A2"}, []),
        ({"after": "1", "limit": "1"}, [2]),
    ):
        _, answer = await remote.ask("GET", "recorded", **query)
        assert [event["seq"] for event in answer["events"]] == found, query
    assert (answer["count"], answer["more"]) == (3, True)


async def test_a_recorded_event_is_told_with_its_digits(remote: Remote) -> None:
    """Numbers as texts: no language rounds them."""
    await remote.post(**ORDER)
    _, answer = await remote.ask("GET", "recorded")
    [event] = answer["events"]
    assert isinstance(event.pop("at"), float)
    assert event == {
        "seq": 1,
        "kind": "checkout",
        "company_key": "shop",
        "fingerprint": "fp",
        "faq_fingerprint": "faq",
        "type": None,
        "product_id": None,
        "product_name": None,
        "order_id": "A1",
        "quantity": None,
        "value": "19",
        "currency": "EUR",
        "source": None,
        "line_items": [{**LINE, "quantity": "1", "value": "9.5"}],
    }


async def test_refused_requests_are_found_likewise(remote: Remote) -> None:
    """By their code, with status and words."""
    await remote.post(**CART | {"user_fingerprint": "another"})
    await remote.post(company_key="shop")
    _, answer = await remote.ask("GET", "refused", code="ACTIVE_TICKET_NOT_FOUND")
    [refused] = answer["events"]
    assert (refused["http_status"], refused["fingerprint"]) == (404, "another")


async def test_a_search_waits_for_what_comes(remote: Remote) -> None:
    """Until as many as wanted are there, and no longer."""
    search = asyncio.create_task(remote.ask("GET", "recorded", wait="60", times="2"))
    await remote.post(**CART)
    await remote.post(**CART)
    async with asyncio.timeout(PATIENCE):
        _, answer = await search
    assert answer["count"] == 2


async def test_a_search_that_finds_nothing_ends_all_the_same(remote: Remote) -> None:
    """After the time that it was given."""
    assert await remote.ask("GET", "recorded", wait="0.01") == (
        200,
        {"status": "success", "count": 0, "more": False, "events": []},
    )


@pytest.mark.parametrize(
    "query",
    [
        {"colour": "red"},
        {"visitor": "fp"},
        {"kind": "order"},
        {"value": "much"},
        {"value": "true"},
        {"after": "-1"},
        {"limit": "0"},
        {"limit": "1001"},
        {"limit": "1.5"},
        {"wait": "61"},
        {"wait": "NaN"},
        {"times": "0"},
    ],
    ids=str,
)
async def test_a_wrong_question_is_no_empty_answer(remote: Remote, query: dict[str, str]) -> None:
    """A misspelt fact would pass every "nothing was recorded"."""
    status, answer = await remote.ask("GET", "recorded", **query)
    assert (status, answer["status"]) == (400, "error")


async def test_a_fact_that_comes_twice_is_refused(remote: Remote) -> None:
    """Which one is meant cannot be known."""
    status, _ = await remote.ask("GET", "recorded?kind=cart&kind=checkout")
    assert status == 400


async def test_tickets_are_opened_and_closed(remote: Remote) -> None:
    """As a conversation begins, and as it ends."""
    ticket = {"fingerprint": "fp-2", "faq_fingerprint": "faq-2"}
    visitor = {"user_fingerprint": "fp-2", "user_faq_fingerprint": "faq-2"}
    assert await remote.post(**CART | visitor) == 404
    await remote.ask("POST", "tickets", ticket)
    assert await remote.post(**CART | visitor) == 200
    await remote.ask("DELETE", "tickets", **ticket)
    assert await remote.post(**CART | visitor) == 404


async def test_all_faults_can_be_ended(remote: Remote) -> None:
    """The scripted and the random ones."""
    remote.emulator.plan(FaultPlan((Share(Fault(FaultKind.STATUS, status=500), 1.0),)))
    await remote.ask("POST", "faults", {"faults": [{"kind": "status", "status": 503}]})
    assert await remote.post(**CART) == 503
    assert await remote.post(**CART) == 500
    await remote.ask("DELETE", "faults")
    assert await remote.post(**CART) == 200


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 200.5},
        {"kind": "html", "headers": []},
        {"kind": "html", "headers": ""},
        {"kind": "html", "headers": {"X": "caf\u00e9"}},
        {"kind": "html", "retry_after": "\u2028"},
    ],
    ids=str,
)
async def test_a_fault_that_cannot_be_played_is_refused(remote: Remote, fault: Any) -> None:
    """None is taken for something else."""
    status, _ = await remote.ask("POST", "faults", {"faults": [fault]})
    assert status == 400


async def test_a_given_token_holds_over_a_restart(remote: Remote) -> None:
    """A script knows it before the emulator starts."""
    assert remote.emulator.token == TOKEN
    await remote.emulator.stop()
    await remote.emulator.start()
    assert remote.emulator.token == TOKEN


@pytest.mark.parametrize(
    "token", ["", "short", "x" * 129, "a-token with a space", "a/token/of/paths"]
)
def test_a_token_that_is_no_secret_is_refused(token: str) -> None:
    """Nor one that would not fit into a path."""
    with pytest.raises(ValueError, match="16 to 128"):
        Emulator(token=token)


@pytest.fixture
async def exposed() -> AsyncIterator[Remote]:
    async with (
        Emulator(exposed=True, token=TOKEN) as emulator,
        aiohttp.ClientSession() as session,
    ):
        yield Remote(session, emulator)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "openapi.json"),
        ("GET", "nowhere"),
        ("POST", "analytics/cart_events"),
        ("GET", "_emulator/state"),
        ("POST", "_emulator/reset"),
    ],
)
@pytest.mark.parametrize("given", ["", "another-token-of-16/", "a-token-of-the-test/"])
async def test_exposed_everything_needs_the_token(
    exposed: Remote, method: str, path: str, given: str
) -> None:
    """Events, the page and its documents too; it says how the token is given."""
    bare = exposed.emulator.url.removesuffix(f"{TOKEN}/")
    async with exposed.session.request(method, bare + given + path, json=CART) as reply:
        assert reply.status == 403
        assert "needs the token" in (await reply.json())["message"]
    assert exposed.emulator.requests == 0


@pytest.mark.parametrize("host", ["alhena:8787", "10.0.0.7:8787", "emulator.test"])
async def test_exposed_it_is_reached_by_any_name(exposed: Remote, host: str) -> None:
    """A container does not know its names; the token stands in for that check."""
    where = exposed.emulator.url + "analytics/cart_events"
    async with exposed.session.post(where, json=CART, headers={"Host": host}) as reply:
        assert reply.status == 200
    bare = where.replace(f"{TOKEN}/", "")
    headers = {"Host": host, "X-Emulator-Token": TOKEN}
    async with exposed.session.post(bare, json=CART, headers=headers) as reply:
        assert reply.status == 200


@pytest.mark.parametrize("target", ["*", "nowhere", "http://127.0.0.1/", "//", "/%2e%2e/"])
async def test_exposed_an_odd_target_is_refused_too(exposed: Remote, target: str) -> None:
    """Whatever stands where a path should: no token, no answer but that."""
    port = int(exposed.emulator.url.split("/")[2].rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"OPTIONS {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    async with asyncio.timeout(PATIENCE):
        answer = await reader.read()
    writer.close()
    assert int(answer.split()[1]) in {400, 403}


async def test_exposed_another_sites_page_gets_nothing(exposed: Remote) -> None:
    """Even one that knows the token."""
    where = exposed.emulator.url + "_emulator/state"
    async with exposed.session.get(where, headers={"Origin": "http://evil.example"}) as reply:
        assert reply.status == 403


async def test_a_client_needs_nothing_but_the_url(exposed: Remote) -> None:
    """The token is in the base URL, as `url` gives it."""
    visitor = OurVisitor(fingerprint="fp", faq_fingerprint="faq")
    event = CartEvent(
        visitor=visitor, type="ITEM_ADDED", product_id="mug", product_name="Mug", value=9.5,
        currency="EUR", quantity=1,
    )  # fmt: skip
    async with AlhenaClient("shop", base_url=exposed.emulator.url) as client:
        outcome = await client.record(event)
    assert outcome.ok
    exposed.emulator.assert_recorded(product_id="mug")


@pytest.mark.parametrize(("host", "shown"), [("0.0.0.0", "127.0.0.1"), ("::", "[::1]")])
def test_all_addresses_are_reached_by_the_loopback(host: str, shown: str) -> None:
    """What is bound everywhere has no one address; nothing is bound in this test."""
    from alhena_async.emulator._security import any_host, authority, reachable  # noqa: PLC0415

    assert authority(reachable(any_host(host)), 8787) == f"{shown}:8787"


@pytest.mark.parametrize("host", ["example.com", "", "127.1"])
def test_exposed_it_binds_addresses_and_no_names(host: str) -> None:
    """A name's meaning is a resolver's."""
    with pytest.raises(ValueError, match="binds an address"):
        Emulator(host, exposed=True)


def test_nothing_but_exposed_leaves_the_machine() -> None:
    """A token alone opens no port to others."""
    with pytest.raises(ValueError, match="loopback only"):
        Emulator("0.0.0.0", token=TOKEN)
