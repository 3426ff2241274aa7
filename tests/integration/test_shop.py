"""The example shop from end to end: a click in a real browser, an event in the emulator."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_asyncio

from alhena_async.emulator import CartKey, Emulator, Fault, Recorded
from tests.chromium import needs_chromium, playwright
from tests.patience import PATIENCE
from tests.shop_process import SHOP_KEY, Customer, customer, running_shop, shop_command

pytestmark = needs_chromium
WIDGET = "**/gleenWidget.js"
TOLD = """window.told = []; new MutationObserver(() => told.push(trouble.textContent))
    .observe(document.querySelector("#trouble"), {childList: true})"""
BUY_TWICE = """async () => {
  const body = JSON.stringify({ key: crypto.randomUUID(), unplug: true });
  const headers = { "Content-Type": "application/json" };
  const buy = async () => (await fetch("/api/checkout", { method: "POST", headers, body })).json();
  return [await buy(), await buy()];
}"""


@attrs.frozen
class Street:
    """The shop's address, and the API that it reports to."""

    url: str
    emulator: Emulator


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def street() -> AsyncIterator[Street]:
    async with Emulator() as emulator, running_shop(emulator.url) as url:
        yield Street(url, emulator)


@pytest_asyncio.fixture(loop_scope="session")
async def ann(browser: Any, street: Street) -> AsyncIterator[Customer]:
    async with customer(browser, street.url, street.emulator) as ann:
        yield ann
        assert [one for one in ann.complaints if "ERR_FAILED" not in one] == []


def told(event: Recorded) -> str:
    """What a cart event says."""
    return f"{event.type} {event.product_id} {event.quantity} at {event.value}"


async def test_a_whole_visit_is_recorded_exactly(ann: Customer) -> None:
    """Add, change, remove, check out: these events and no other, to the cent, as this browser."""
    await ann.enter()
    await ann.consent(given=True)
    await ann.add("mug")
    await ann.recorded(1)
    await ann.act("mug", "more")
    await ann.recorded(2)
    await ann.act("mug", "more")
    await ann.recorded(3)
    await ann.act("mug", "fewer")
    await ann.recorded(4)
    await ann.add("kettle")
    await ann.add("towel")
    await ann.has(mug=2, kettle=1, towel=1)
    await ann.recorded(6)
    await ann.act("towel", "remove")
    await ann.has(mug=2, kettle=1)
    await playwright.expect(ann.page.locator("#total")).to_have_text("€137.90")
    await ann.recorded(7)
    order_id = await ann.check_out()

    *changes, order = await ann.recorded(8)
    assert [told(event) for event in changes] == [
        "ITEM_ADDED mug 1 at 24.00",
        "QUANTITY_INCREASED mug 2 at 24.00",
        "QUANTITY_INCREASED mug 3 at 24.00",
        "QUANTITY_DECREASED mug 2 at 24.00",
        "ITEM_ADDED kettle 1 at 89.90",
        "ITEM_ADDED towel 1 at 14.35",
        "ITEM_REMOVED towel 0 at 14.35",
    ]
    assert (order.order_id, str(order.value), order.currency) == (order_id, "137.90", "EUR")
    lines = [f"{line.quantity} {line.product_id} for {line.value}" for line in order.line_items]
    assert lines == ["2 mug for 48.00", "1 kettle for 89.90"]
    pair = await ann.fingerprints()
    assert {tuple(event.visitor) for event in (*changes, order)} == {pair}


async def test_two_quick_clicks_are_two_pieces(ann: Customer, street: Street) -> None:
    """A double click on "Add" leaves the same cart in the shop, on the page and at Alhena."""
    await ann.enter()
    await ann.consent(given=True)
    await ann.page.dblclick('#shelf [data-sku="tin"] .add')
    await ann.has(tin=2)
    events = await ann.recorded(2)
    assert [told(event) for event in events] == [
        "ITEM_ADDED tin 1 at 12.50",
        "QUANTITY_INCREASED tin 2 at 12.50",
    ]
    key = CartKey(SHOP_KEY, events[0].visitor, "tin")
    assert street.emulator.carts[key] == 2


async def test_two_quick_clicks_on_check_out_are_one_order(ann: Customer, street: Street) -> None:
    """Recorded once, and the page tells of no trouble."""
    await ann.enter()
    await ann.consent(given=True)
    await ann.add("whisk")
    await ann.has(whisk=1)
    await ann.page.dblclick("#checkout")
    await playwright.expect(ann.page.locator("#done")).to_be_visible()
    [order] = [event for event in await ann.recorded(2) if event.order_id]
    assert order.order_id == await ann.page.text_content("#order")
    assert await ann.page.is_hidden("#trouble")


async def test_the_same_browser_stays_the_same_visitor(ann: Customer) -> None:
    """After a reload the cart is there, and its events go on under the same pair."""
    await ann.enter()
    await ann.consent(given=True)
    await ann.add("mug")
    await ann.recorded(1)
    await ann.enter()
    await ann.has(mug=1)
    await ann.act("mug", "more")
    assert {event.visitor for event in await ann.recorded(2)} == {await ann.claimed_pair()}


async def test_a_question_in_the_chat_is_followed(ann: Customer) -> None:
    """Chat and questions fire their events, and the cookie is read anew after them."""
    await ann.enter()
    await ann.consent(given=True)
    await ann.page.context.clear_cookies(name="alhena_visitor")
    await ann.page.click(".chat-launcher")
    await ann.page.fill(".chat input", "Which kettle?")
    await ann.page.press(".chat input", "Enter")
    await playwright.expect(ann.page.locator(".chat-log .theirs")).to_have_count(2)
    assert await ann.claimed_pair() == await ann.fingerprints()


async def test_consent_given_later_counts_from_then_on(ann: Customer) -> None:
    """What was done before it stays untold."""
    await ann.enter()
    declined = ann.page.locator("#declined")
    await playwright.expect(declined).to_have_text("")
    await ann.consent(given=False)
    await playwright.expect(declined).to_contain_text("nothing is sent to Alhena")
    await ann.add("mug")
    await ann.has(mug=1)
    assert await ann.claimed_pair() is None
    await ann.page.click("#privacy")
    await ann.consent(given=True)
    await playwright.expect(declined).to_have_text("")
    await ann.act("mug", "more")
    [event] = await ann.recorded(1)
    assert told(event) == "QUANTITY_INCREASED mug 2 at 24.00"


async def test_consent_taken_back_ends_it(ann: Customer) -> None:
    """The cookie is gone, and so is the claim of what follows."""
    await ann.enter()
    await ann.consent(given=True)
    await ann.add("mug")
    await ann.recorded(1)
    await ann.page.click("#privacy")
    await ann.consent(given=False)
    await playwright.expect(ann.page.locator("#privacy")).to_be_focused()
    assert await ann.claimed_pair() is None
    await ann.add("tin")
    await ann.has(mug=1, tin=1)
    await ann.check_out()
    await ann.recorded(1)


async def test_consent_taken_back_in_another_tab_ends_it_here_too(ann: Customer) -> None:
    """Though this one still remembers a yes."""
    await ann.enter()
    await ann.consent(given=True)
    other = await ann.page.context.new_page()
    await other.goto(ann.page.url)
    await other.click("#privacy")
    await other.click("#consent button[value=no]")
    await playwright.expect(ann.page.locator("#declined")).to_contain_text("nothing is sent")
    await ann.add("mug")
    await ann.has(mug=1)
    assert await ann.claimed_pair() is None
    assert await ann.page.evaluate("alhenaVisitor.header()") is None


async def test_a_late_widget_is_found(ann: Customer) -> None:
    """The shop is used before the widget is there; then its events begin."""
    released = asyncio.Event()

    async def hold(route: Any) -> None:
        await released.wait()
        await route.continue_()

    await ann.page.route(WIDGET, hold)
    await ann.page.add_init_script("localStorage.setItem('shop.consent', 'yes')")
    await ann.enter()
    await ann.add("mug")
    await ann.has(mug=1)
    released.set()
    await ann.page.wait_for_selector(".chat-launcher")
    await ann.act("mug", "more")
    [event] = await ann.recorded(1)
    assert told(event) == "QUANTITY_INCREASED mug 2 at 24.00"


async def test_nothing_is_sent_without_consent_or_without_the_widget(browser: Any) -> None:
    """All of them shop as usual; when the shop has ended, the API has seen no request."""
    async with Emulator() as emulator:
        async with running_shop(emulator.url) as url:
            for blocked in (None, WIDGET, "**/consent.js", "**/alhena-visitor.js"):
                async with customer(browser, url, emulator) as bob:
                    if blocked is not None:
                        await bob.page.route(blocked, lambda route: route.abort())
                    await bob.enter()
                    if blocked != "**/consent.js":
                        answer = "no" if blocked is None else "yes"
                        await bob.page.click(f"#consent button[value={answer}]")
                    await bob.add("mug")
                    await bob.act("mug", "more")
                    await bob.has(mug=2)
                    assert (await bob.check_out()).startswith("KL-")
                    names = {cookie["name"] for cookie in await bob.page.context.cookies()}
                    assert names == {"shop_session"}
                    assert [one for one in bob.complaints if "ERR_FAILED" not in one] == []
        assert emulator.requests == 0


async def test_while_the_api_hangs_the_shop_works_as_before(browser: Any) -> None:
    """Cart, checkout and the server's end are those of a shop without Alhena."""
    async with Emulator() as emulator:
        async with running_shop(emulator.url) as url, customer(browser, url, emulator) as bob:
            emulator.script(*[Fault("hang")] * 20)
            await bob.enter()
            await bob.consent(given=True)
            await bob.add("teapot")
            await bob.act("teapot", "more")
            await bob.has(teapot=2)
            assert (await bob.check_out()).startswith("KL-")
            await playwright.expect(bob.page.locator("#paid")).to_have_text("€136.00")
            assert bob.complaints == []
            await emulator.wait_until(lambda: emulator.requests > 0, timeout=PATIENCE)
        assert emulator.recorded() == []


async def test_what_happened_during_an_outage_is_recorded_after_it(
    ann: Customer, street: Street
) -> None:
    """The shop works as before; the order is recorded once, under the id that the customer saw."""
    await ann.enter()
    await ann.consent(given=True)
    await street.emulator.stop()
    try:
        await ann.add("teapot")
        order_id = await ann.check_out()
        await playwright.expect(ann.page.locator("#paid")).to_have_text("€68.00")
    finally:
        await street.emulator.start()
    events = await ann.recorded(2)  # cart and order are sent beside each other
    assert {event.order_id or event.type for event in events} == {"ITEM_ADDED", order_id}


async def test_an_order_survives_a_kill_between_commit_and_answer(
    browser: Any, tmp_path: Path
) -> None:
    """The page tells that the shop went away, and finds the order; Alhena records it once."""
    database = tmp_path / "shop.db"
    expect = playwright.expect
    async with (
        shop_command(database) as (server, url, emulator_url),
        customer(browser, url) as bob,
        customer(browser, emulator_url) as watcher,
    ):
        ledger = watcher.page
        await ledger.goto(emulator_url)
        await bob.enter()
        await bob.consent(given=True)
        await bob.add("mug")
        await expect(ledger.locator("#cart_events")).to_have_text("1")
        await bob.page.check("#unplug")
        await bob.page.evaluate(TOLD)
        killed = await bob.check_out()
        await expect(bob.page.locator("#survived")).to_be_visible()
        await expect(bob.page.locator("#trouble")).to_be_hidden()
        assert "went away" in (await bob.page.evaluate("told"))[0]
        await server.written("was killed", times=1)

        await bob.page.click("#again")  # a visitor's orders keep their order: no repeat is to come
        await bob.add("tin")
        await expect(bob.page.locator("#unplug")).not_to_be_checked()
        orders = {killed, await bob.check_out()}
        await expect(bob.page.locator("#survived")).to_be_hidden()
        await expect(ledger.locator("#checkouts")).to_have_text("2")
        for order_id in orders:
            await expect(ledger.locator("#events .name", has_text=order_id)).to_have_count(1)
        with closing(sqlite3.connect(database)) as own:
            assert {order_id for (order_id,) in own.execute("SELECT id FROM orders")} == orders
        assert [one for one in bob.complaints if "net::ERR_" not in one] == []
        server.send(signal.SIGINT)
        assert await server.ended() == 0


async def test_a_shop_in_service_has_no_plug_and_a_repeat_is_no_second_order(
    ann: Customer,
) -> None:
    """Whatever a request asks for; and the first answer is given again."""
    await ann.enter()
    await ann.consent(given=True)
    await ann.add("mug")
    await ann.has(mug=1)
    await playwright.expect(ann.page.locator("#plug")).to_be_hidden()
    first, second = await ann.page.evaluate(BUY_TWICE)
    assert first == second
    assert {event.order_id for event in await ann.recorded(2)} == {None, first["order_id"]}


async def test_what_fails_is_told_where_it_is_seen(ann: Customer) -> None:
    """Also where the cart is out of sight; and no longer once it works."""
    await ann.page.set_viewport_size({"width": 390, "height": 844})
    await ann.enter()
    await ann.consent(given=True)
    await ann.page.route("**/api/cart/mug", lambda route: route.abort())
    await ann.add("mug")
    trouble = ann.page.locator("#trouble")
    await playwright.expect(trouble).to_have_text("That did not work. Please try again.")
    await playwright.expect(trouble).to_be_in_viewport()
    await ann.page.unroute("**/api/cart/mug")
    await ann.add("mug")
    await ann.has(mug=1)
    await playwright.expect(trouble).to_be_hidden()


@pytest.mark.parametrize("width", [390, 1280])
async def test_the_page_fits_and_works_by_keyboard(ann: Customer, width: int) -> None:
    """Nothing scrolls sideways; a product is added and bought without a pointer."""
    await ann.page.set_viewport_size({"width": width, "height": 844})
    await ann.enter()
    await ann.consent(given=True)
    await ann.page.focus('#shelf [data-sku="mug"] .add')
    await ann.page.keyboard.press("Enter")
    await ann.has(mug=1)
    await ann.page.focus('#lines [data-sku="mug"] [data-act=more]')
    for quantity in (2, 3):  # the focus stays where it was
        await ann.page.keyboard.press("Enter")
        await ann.has(mug=quantity)
    overflow = "document.scrollingElement.scrollWidth - document.documentElement.clientWidth"
    assert await ann.page.evaluate(overflow) == 0
    await ann.page.focus("#checkout")
    await ann.page.keyboard.press("Enter")
    await playwright.expect(ann.page.locator("#thanks")).to_be_focused()
    assert await ann.page.evaluate(overflow) == 0
