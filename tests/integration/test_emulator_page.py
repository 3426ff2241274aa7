"""The emulator's page in a real browser: live, bounded, and safe from what it shows."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from alhena_async.emulator import Emulator, Fault, Tickets
from tests.chromium import Watched, needs_chromium, playwright

pytestmark = needs_chromium
HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    "\u202egnp.exe\u202e",
    "x" * 5000,
    "mug ☕ 👩‍👩‍👧 😀",
    "{{TOKEN}} ${alert(3)} javascript:alert(4)",
    "lone \ud83d surrogate",
    "line\nbreak\x00\x1b[31m",
]


@pytest_asyncio.fixture(loop_scope="session")
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator() as emulator:
        yield emulator


@pytest_asyncio.fixture(loop_scope="session")
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest_asyncio.fixture(loop_scope="session")
async def watched(browser: Any, emulator: Emulator) -> AsyncIterator[Watched]:
    page = await browser.new_page(viewport={"width": 1280, "height": 900})
    watched = Watched(page, emulator.url)
    await page.goto(emulator.url)
    await playwright.expect(page.locator("#link")).to_have_text("Live")
    yield watched
    await page.close()


async def add(session: aiohttp.ClientSession, emulator: Emulator, **fields: Any) -> int:
    """Post a cart event, with a mug where nothing else is said."""
    body: dict[str, Any] = {"company_key": "shop", "user_fingerprint": "fp"}
    body |= {"user_faq_fingerprint": "faq", "type": "ITEM_ADDED", "product_id": "mug"}
    body |= {"product_name": "Mug", "value": 9.5, "currency": "EUR", "quantity": 1}
    where = f"{emulator.url}analytics/cart_events"
    async with session.post(where, json=body | fields) as reply:
        return reply.status


async def buy(session: aiohttp.ClientSession, emulator: Emulator, **fields: Any) -> int:
    """Post a checkout of a mug."""
    line = {"product_id": "mug", "product_name": "Mug", "quantity": 1, "value": 1}
    body: dict[str, Any] = {"company_key": "shop", "user_fingerprint": "fp", "value": 1}
    body |= {"user_faq_fingerprint": "faq", "currency": "EUR"}
    body |= {"line_items": [line | {"currency": "EUR"}]}
    where = f"{emulator.url}analytics/checkout_events"
    async with session.post(where, json=body | fields) as reply:
        return reply.status


async def test_an_empty_emulator_tells_what_to_do(watched: Watched, emulator: Emulator) -> None:
    """Examples with the real address stand there until the first event."""
    page = watched.page
    expect = playwright.expect
    await expect(page.locator("#welcome")).to_be_visible()
    await expect(page.locator("#board")).to_be_hidden()
    await expect(page.locator("#curl")).to_contain_text(f"{emulator.url}analytics/cart_events")
    await expect(page.locator("#python")).to_contain_text(f'URL = "{emulator.url}"')
    await expect(page.locator("#ticket-hint")).to_be_hidden()
    assert watched.complaints == []


async def test_the_python_example_is_python(watched: Watched) -> None:
    """What the empty page offers to copy compiles."""
    compile(await watched.page.text_content("#python"), "example", "exec")


async def test_events_appear_as_they_arrive(
    watched: Watched, emulator: Emulator, session: aiohttp.ClientSession
) -> None:
    """Recorded and refused events, counts, carts and codes, without a reload."""
    page, expect = watched.page, playwright.expect
    await add(session, emulator, quantity=3)
    await expect(page.locator("#events li")).to_have_count(1)
    await expect(page.locator("#events li .name")).to_have_text("Mug")
    await expect(page.locator("#carts li")).to_contain_text("\N{MULTIPLICATION SIGN} 3")
    await expect(page.locator("#welcome")).to_be_hidden()
    await add(session, emulator, value="9.5")
    await expect(page.locator("#events li").first).to_contain_text("MISSING_REQUIRED_FIELDS")
    await expect(page.locator("#events li").first).to_contain_text("value must be a number")
    await expect(page.locator("#codes li")).to_contain_text("MISSING_REQUIRED_FIELDS")
    await expect(page.locator("#refused")).to_have_text("1")
    await expect(page.locator("#requests")).to_have_text("2")
    await expect(page.locator("#chart rect.good")).not_to_have_count(0)
    assert watched.complaints == []


async def test_revenue_is_shown_to_the_cent(
    watched: Watched, emulator: Emulator, session: aiohttp.ClientSession
) -> None:
    """Sums no float could hold, by currency."""
    for value in (9007199254740993, 0.1, 0.2):
        await buy(session, emulator, value=value)
    await buy(session, emulator, value=1234.5, currency="USD")
    money = watched.page.locator("#money li")
    await playwright.expect(money).to_have_text(["9,007,199,254,740,993.30EUR", "1,234.50USD"])
    await playwright.expect(watched.page.locator("#money-note")).to_have_text("From 4 checkouts")


async def test_hostile_texts_stay_texts(
    watched: Watched, emulator: Emulator, session: aiohttp.ClientSession
) -> None:
    """Markup in any field is shown as it is, runs nothing, and breaks no policy."""
    page, expect = watched.page, playwright.expect
    for text in HOSTILE:
        fields = {"product_id": text, "product_name": text, "user_fingerprint": text}
        assert await add(session, emulator, **fields, currency=text) == 200
        assert await buy(session, emulator, currency=text, orderId=text) == 200
        assert await add(session, emulator, **fields, type=text) == 400
    await expect(page.locator("#events li")).to_have_count(len(HOSTILE) * 3)
    names = await page.locator("#events .name").all_text_contents()
    assert HOSTILE[0] in names
    assert f"Order {HOSTILE[1]}" in names
    assert max(len(name) for name in names) < 200
    assert await page.evaluate("document.images.length + document.scripts.length") == 1
    assert watched.complaints == []


@pytest.mark.parametrize("width", [390, 1280])
async def test_nothing_scrolls_sideways(
    watched: Watched, emulator: Emulator, session: aiohttp.ClientSession, width: int
) -> None:
    """Neither empty nor full of hostile texts, on a phone or a desk."""
    page = watched.page
    overflow = "document.scrollingElement.scrollWidth - document.documentElement.clientWidth"
    await page.set_viewport_size({"width": width, "height": 844})
    assert await page.evaluate(overflow) == 0
    for text in HOSTILE:
        await add(session, emulator, product_id=text, product_name=text, value=1e20)
        await buy(session, emulator, currency=text[:40], value=123456789012345.678)
        await add(session, emulator, type="", product_name=text)
    await playwright.expect(page.locator("#events li")).to_have_count(len(HOSTILE) * 3)
    assert await page.evaluate(overflow) == 0
    widest = """Math.max(...[...document.querySelectorAll(".card, .tiles")]
        .map((card) => card.getBoundingClientRect().right))"""
    assert await page.evaluate(widest) <= width


async def test_a_burst_leaves_a_bounded_page(
    watched: Watched, emulator: Emulator, session: aiohttp.ClientSession
) -> None:
    """After thousands of events the counts are right and the list is short."""
    page, expect = watched.page, playwright.expect

    async def some(visitor: int) -> None:
        for number in range(250):
            await add(session, emulator, product_id=str(number), user_fingerprint=str(visitor))

    await asyncio.gather(*(some(visitor) for visitor in range(8)))
    await expect(page.locator("#cart_events")).to_have_text("2,000")
    await expect(page.locator("#carts-note")).to_have_text("latest 10 of 2,000")
    assert await page.locator("#events li").count() == 60
    assert await page.evaluate("document.querySelectorAll('*').length") < 2000


async def test_a_paused_list_stands_still(
    watched: Watched, emulator: Emulator, session: aiohttp.ClientSession
) -> None:
    """Pause holds the list and says how much it misses; resume shows it."""
    page, expect = watched.page, playwright.expect
    await add(session, emulator)
    await expect(page.locator("#events li")).to_have_count(1)
    await page.click("#pause")
    await add(session, emulator)
    await expect(page.locator("#held")).to_have_text("1 more since")
    await expect(page.locator("#cart_events")).to_have_text("2")
    await expect(page.locator("#events li")).to_have_count(1)
    await page.click("#pause")
    await expect(page.locator("#events li")).to_have_count(2)


async def test_the_page_arms_a_fault(
    watched: Watched, emulator: Emulator, session: aiohttp.ClientSession
) -> None:
    """The next request meets what was chosen, and only that one."""
    page, expect = watched.page, playwright.expect
    await add(session, emulator)
    await page.select_option("#fault", label="429, retry after 2 s")
    await page.click("#arm")
    await expect(page.locator("#armed")).to_have_text("1 armed")
    assert [await add(session, emulator) for _ in range(2)] == [429, 200]
    await expect(page.locator("#faulted")).to_have_text("1")
    await expect(page.locator("#armed")).to_have_text("")


async def test_a_reset_wants_a_second_click(
    watched: Watched, emulator: Emulator, session: aiohttp.ClientSession
) -> None:
    """The first click asks, the second forgets, and the page is empty again."""
    page, expect = watched.page, playwright.expect
    await add(session, emulator)
    await expect(page.locator("#board")).to_be_visible()
    await page.click("#reset")
    await expect(page.locator("#reset")).to_have_text("Forget everything?")
    assert emulator.requests == 1
    await page.click("#reset")
    await expect(page.locator("#welcome")).to_be_visible()
    await add(session, emulator)
    await expect(page.locator("#events li")).to_have_count(1)


async def test_a_lost_connection_is_said_and_mended(
    watched: Watched, emulator: Emulator, session: aiohttp.ClientSession
) -> None:
    """The last numbers stay, marked as such, until the emulator is back at its address."""
    page, expect = watched.page, playwright.expect
    await add(session, emulator)
    await expect(page.locator("#requests")).to_have_text("1")
    await emulator.stop()
    await expect(page.locator("#lost")).to_be_visible()
    await expect(page.locator("#requests")).to_have_text("1")
    await emulator.start()
    await expect(page.locator("#link")).to_have_text("Live")
    await expect(page.locator("#lost")).to_be_hidden()
    await add(session, emulator)
    await expect(page.locator("#requests")).to_have_text("2")


async def test_faults_alone_are_no_empty_emulator(
    watched: Watched, emulator: Emulator, session: aiohttp.ClientSession
) -> None:
    """When every request met a fault the page says so."""
    emulator.script(Fault("status", status=500))
    await add(session, emulator)
    note = watched.page.locator("#no-events")
    await playwright.expect(note).to_contain_text("Every request so far met a fault")


async def test_a_ticketed_emulator_says_so(browser: Any) -> None:
    """With Tickets.OPENED the empty page tells what else is needed."""
    async with Emulator(tickets=Tickets.OPENED) as emulator:
        page = await browser.new_page()
        await page.goto(emulator.url)
        await playwright.expect(page.locator("#ticket-hint")).to_be_visible()
        await page.close()


ATTACK = """<!doctype html><title>evil</title><body><script>
const send = (path, options) => fetch(TARGET + path, options).then(() => "sent", () => "failed");
const frame = document.createElement("iframe");
frame.src = TARGET;
document.body.append(frame);
const json = { "Content-Type": "application/json" };
const form = new Blob(["{}"], { type: "text/plain" });
window.result = Promise.all([
  send("analytics/cart_events", { method: "POST", mode: "no-cors", body: "{}" }),
  send("analytics/cart_events", { method: "POST", headers: json, body: "{}" }),
  send("_emulator/state"),
  send("_emulator/state", { mode: "no-cors" }),
  send("", { mode: "no-cors" }),
  send("_emulator/reset", { method: "POST", mode: "no-cors", body: "{}" }),
  navigator.sendBeacon(TARGET + "analytics/checkout_events", form),
  new Promise((done) => { frame.onload = () => done("framed"); }),
]).then((ends) => JSON.stringify(ends));
</script>"""


async def test_a_hostile_tab_reads_and_records_nothing(
    browser: Any, emulator: Emulator, session: aiohttp.ClientSession
) -> None:
    """A page of another origin, with all a browser lets it do, leaves no trace in the emulator."""
    await add(session, emulator)

    async def attack(_: web.Request) -> web.Response:
        text = ATTACK.replace("TARGET", repr(emulator.url))
        return web.Response(text=text, content_type="text/html")

    application = web.Application()
    application.router.add_get("/", attack)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    page = await browser.new_page()
    try:
        await page.goto(f"http://127.0.0.1:{runner.addresses[0][1]}/")
        ends = await page.evaluate("window.result")
        frames = [frame for frame in page.frames if frame.url.startswith(emulator.url)]
    finally:
        await page.close()
        await runner.cleanup()
    # The beacon is sent and refused; an empty error page is what was framed.
    assert json.loads(ends) == ["failed"] * 6 + [True, "framed"]
    assert frames == []
    assert (emulator.requests, emulator.recorded_count, emulator.refused_count) == (1, 1, 0)


async def test_an_event_opens_to_what_was_sent(
    watched: Watched, emulator: Emulator, session: aiohttp.ClientSession
) -> None:
    """Its JSON, with the digits that were sent, and closes again; hostile text stays text."""
    page, expect = watched.page, playwright.expect
    await add(session, emulator, product_name='<b>"mug"</b>, {5}', value=9.50)
    shown = page.locator("#events li pre")
    await page.click("#events li .name button")
    await expect(shown).to_contain_text(
        '  "product_name": "<b>\\"mug\\"</b>, {5}",\n  "value": 9.5,'
    )
    await page.click("#events li .name button")
    await expect(shown).to_have_count(0)


async def test_an_event_that_is_not_kept_any_more_says_so(
    watched: Watched, emulator: Emulator, session: aiohttp.ClientSession
) -> None:
    """The list may show what the history has let go."""
    page, expect = watched.page, playwright.expect
    await add(session, emulator)
    await expect(page.locator("#events li")).to_have_count(1)
    emulator._store.recorded.clear()
    await page.click("#events li .name button")
    await expect(page.locator("#events li pre")).to_contain_text("Not kept any more")


async def test_filters_by_kind_and_visitor(
    watched: Watched, emulator: Emulator, session: aiohttp.ClientSession
) -> None:
    """They look through the whole history, and hold for what comes later."""
    page, expect = watched.page, playwright.expect
    await add(session, emulator, user_fingerprint="anna", product_name="Old")
    for number in range(80):
        await add(session, emulator, product_id=str(number))
    await buy(session, emulator)
    await expect(page.locator("#cart_events")).to_have_text("81")
    await page.fill("#visitor", "ann")
    await expect(page.locator("#events li")).to_have_count(1)
    await expect(page.locator("#events li")).to_contain_text("Old")
    await add(session, emulator, user_fingerprint="anna", product_name="New")
    await add(session, emulator, product_id="other")
    await expect(page.locator("#cart_events")).to_have_text("83")
    await expect(page.locator("#events li")).to_have_count(2)
    await page.fill("#visitor", "")
    await page.select_option("#kind", "checkout")
    await expect(page.locator("#events li")).to_have_count(1)
    await expect(page.locator("#events li")).to_contain_text("Order without id")
    await page.select_option("#kind", "refused")
    await expect(page.locator("#no-events")).to_have_text("None that the filter lets through.")


async def test_faults_are_told_by_kind(
    watched: Watched, emulator: Emulator, session: aiohttp.ClientSession
) -> None:
    """Which were played, and how often."""
    page, expect = watched.page, playwright.expect
    emulator.script(*[Fault("status", status=503)] * 2, Fault("status-after", status=500))
    for _ in range(3):
        await add(session, emulator)
    await expect(page.locator("#faults li")).to_have_text(["status2", "status-after1"])


async def test_the_carts_clip_nothing(
    watched: Watched, emulator: Emulator, session: aiohttp.ClientSession
) -> None:
    """However long a product's name or however many carts: all of what is listed can be read."""
    page, expect = watched.page, playwright.expect
    for number in range(10):
        await add(session, emulator, product_id=str(number), product_name="Long name " * 15)
    await expect(page.locator("#carts li")).to_have_count(10)
    cut = """[...document.querySelectorAll("#carts, #carts *")].filter((node) =>
        node.scrollHeight > node.clientHeight + 1 && getComputedStyle(node).overflowY !== "visible"
        || node.scrollWidth > node.clientWidth + 1 && getComputedStyle(node).overflowX !== "visible"
    ).length"""
    assert await page.evaluate(cut) == 0


async def test_the_page_of_an_exposed_one_works_below_its_token(
    browser: Any, session: aiohttp.ClientSession
) -> None:
    """It is live, its buttons act, and the address that it shows is the one that clients need."""
    async with Emulator(exposed=True) as emulator:
        page = await browser.new_page()
        watched = Watched(page, emulator.url.removesuffix(f"{emulator.token}/"))
        await page.goto(emulator.url)
        await playwright.expect(page.locator("#link")).to_have_text("Live")
        await playwright.expect(page.locator("#curl")).to_contain_text(emulator.url)
        assert await add(session, emulator) == 200
        await playwright.expect(page.locator("#events li")).to_have_count(1)
        await page.click("#reset")
        await page.click("#reset")
        await playwright.expect(page.locator("#events li")).to_have_count(0)
        await page.close()
        assert watched.complaints == []
