"""The visitor script in a real browser: what it reads, keeps and tolerates."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from alhena_async import Visitor
from alhena_async.browser import SCRIPT_PATH, encode_visitor, script_reply
from tests.chromium import needs_chromium, started_chromium
from tests.shop_pages import USUAL_CLAIM, Shop

pytestmark = needs_chromium
LONGEST = "a" * 256
NO_VALUES = [
    "null",
    "undefined",
    "''",
    "42",
    "true",
    "({})",
    "['fp']",
    "'a\\nb'",
    "'a\\u0000'",
    "'\\u0085'",
    "'\\ud83d'",
    f"'{LONGEST}a'",
    "Promise.resolve(null)",
    "Promise.reject(new Error('no'))",
    "new Promise(() => {})",
    "(() => { throw new Error('no') })()",
]
HOSTILE = [
    ("550e8400-e29b-41d4-a716-446655440000", "660e8400-e29b-41d4-a716-446655441111"),
    ("a:b", "c:d"),
    ("; path=/; domain=evil", "x=y, z"),
    ("<script>alert(1)</script>", '"quoted"'),
    ("%3A%00", "100%"),
    (" leading", "trailing "),
    ("mug ☕", "👩‍👩‍👧"),
    ("\u202egnp", "\u2028\u2029\ufeff"),
    (LONGEST, LONGEST),
    ("!*'()~-._", "+ /?#&"),
]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Any]:
    async with started_chromium() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shop(browser: Any) -> AsyncIterator[Shop]:
    async with Shop(browser).serving() as shop:
        yield shop


def widget(fingerprint: str, faq: str) -> str:
    """A widget whose getters return these expressions."""
    return f"window.gleenWidget = widget(() => {fingerprint}, () => {faq});"


async def test_the_pair_is_kept_in_one_cookie(shop: Shop) -> None:
    """First-party, Lax, for the whole shop and a day; header and cookie are the same."""
    async with shop.page() as shown:
        assert await shown.claim() == USUAL_CLAIM
        kept = await shown.cookie()
        assert kept is not None
        assert (kept["domain"], kept["path"]) == ("127.0.0.1", "/")
        assert (kept["sameSite"], kept["secure"]) == ("Lax", False)
        now = await shown.run("Date.now() / 1000")
        assert 86_000 < kept["expires"] - now <= 86_400
        assert len(await shown.page.context.cookies()) == 1
        assert shown.complaints == []


async def test_on_https_the_cookie_is_secure(browser: Any) -> None:
    """Never over plain http where the shop has https."""
    context = await browser.new_context()
    script = script_reply("GET").body.decode()
    getters = "getFingerprint: () => 'fp', getFAQFingerprint: () => 'faq'"
    page = f"<script>window.gleenWidget = {{ {getters} }};</script><script>{script}</script>"
    await context.route("**/*", lambda route: route.fulfill(body=page, content_type="text/html"))
    opened = await context.new_page()
    await opened.goto("https://shop.example/")
    [kept] = await context.cookies()
    await context.close()
    assert (kept["value"], kept["secure"]) == ("fp:faq", True)


@pytest.mark.parametrize(("fingerprint", "faq"), HOSTILE)
async def test_any_value_reaches_the_server_as_it_was(
    shop: Shop, fingerprint: str, faq: str
) -> None:
    """By cookie and by header, byte for byte; nothing else is set by it."""
    async with shop.page(widget(json.dumps(fingerprint), json.dumps(faq))) as shown:
        visitor = Visitor(fingerprint=fingerprint, faq_fingerprint=faq)
        assert await shown.claim() == encode_visitor(visitor)
        assert len(await shown.page.context.cookies()) == 1
        shop.visitors.clear()
        await shown.run("fetch('/visitor').then((reply) => reply.text())")
        await shown.run(
            """fetch("/visitor", {
              credentials: "omit",
              headers: { "X-Alhena-Visitor": alhenaVisitor.header() },
            }).then((reply) => reply.text())"""
        )
        assert shop.visitors == [visitor, visitor]
        assert shown.complaints == []


@pytest.mark.parametrize("no_value", NO_VALUES)
async def test_without_both_values_nothing_is_kept(shop: Shop, no_value: str) -> None:
    """Neither is made up, made fit, or copied from the other; and nothing is complained of."""
    async with shop.page(widget(no_value, "'faq'")) as shown:
        assert await shown.claim() is None
        await shown.run(widget("'fp'", no_value) + "calls.length = 0")
        await shown.page.click("button")
        assert await shown.run("calls.length") >= 2
        assert await shown.claim() is None
        assert shown.complaints == []


@pytest.mark.parametrize("getter", ["getFingerprint", "getFAQFingerprint"])
async def test_a_missing_getter_is_tolerated(shop: Shop, getter: str) -> None:
    """Also when it comes later."""
    late = f"window.late = gleenWidget.{getter}; delete gleenWidget.{getter};"
    async with shop.page(widget("'fp'", "'faq'") + late, clock=True) as shown:
        assert await shown.claim() is None
        await shown.run(f"gleenWidget.{getter} = window.late")
        await shown.page.clock.run_for(1_000)
        assert await shown.claim() == "fp:faq"
        assert shown.complaints == []


@pytest.mark.parametrize(("letters", "claim_length"), [(256 - 170, 1024), (256 - 169, None)])
async def test_a_claim_is_kept_up_to_the_servers_bound(
    shop: Shop, letters: int, claim_length: int | None
) -> None:
    """1 KiB, encoded."""
    fingerprint, faq = "é" * 85 + "a", "é" * 85 + "a" * (letters - 84)
    async with shop.page(widget(json.dumps(fingerprint), json.dumps(faq))) as shown:
        kept = await shown.claim()
        assert (kept and len(kept)) == claim_length


async def test_promises_are_awaited(shop: Shop) -> None:
    """Both getters may answer later."""
    async with shop.page(widget("Promise.resolve('fp')", "Promise.resolve('faq')")) as shown:
        assert await shown.claim() == "fp:faq"


async def test_values_that_come_late_are_found(shop: Shop) -> None:
    """Without any event of the widget."""
    late = "window.value = null;" + widget("'fp'", "window.value")
    async with shop.page(late, clock=True) as shown:
        await shown.page.clock.run_for(5_000)
        assert await shown.claim() is None
        await shown.run("window.value = 'faq'")
        await shown.page.clock.run_for(5_000)
        assert await shown.claim() == "fp:faq"


async def test_a_widget_that_comes_late_is_found(shop: Shop) -> None:
    """Its script may load after ours."""
    async with shop.page("", clock=True) as shown:
        await shown.page.clock.run_for(5_000)
        await shown.run("window.gleenWidget = widget(() => 'fp', () => 'faq')")
        await shown.page.clock.run_for(5_000)
        assert await shown.claim() == "fp:faq"
        assert shown.complaints == []


async def test_looking_is_bounded_and_a_click_begins_anew(shop: Shop) -> None:
    """Eight looks in half a minute; the page's own click handler then has the pair already."""
    async with shop.page(widget("window.value", "'faq'"), clock=True) as shown:
        await shown.page.clock.run_for(3_600_000)
        assert await shown.run("calls.length") == 16
        await shown.run("window.value = 'fp'")
        await shown.page.clock.run_for(3_600_000)
        assert await shown.claim() is None
        await shown.run(
            """document.querySelector("button").onclick =
              () => { window.atClick = document.cookie; }"""
        )
        await shown.page.click("button")
        assert await shown.run("window.atClick") == "alhena_visitor=fp:faq"


@pytest.mark.parametrize(
    "event",
    [
        "widget:loaded",
        "ticket:message_submitted",
        "ticket:bot_response_finished",
        "faqs:bot_response_finished",
    ],
)
async def test_the_widgets_events_are_followed(shop: Shop, event: str) -> None:
    """After chat and questions the values are read again, at once and for half a minute."""
    async with shop.page(widget("window.value", "'faq'"), clock=True) as shown:
        await shown.page.clock.run_for(3_600_000)
        await shown.run(f"window.value = 'fp'; gleenWidget.fire('{event}')")
        assert await shown.claim() == "fp:faq"
        await shown.run("window.value = 'later'")
        await shown.page.clock.run_for(40_000)
        assert await shown.claim() == "later:faq"
        assert await shown.run("gleenWidget.listeners.length") == 4  # once each


async def test_many_events_do_not_multiply_the_looks(shop: Shop) -> None:
    """Each looks once, and only the last begins anew."""
    async with shop.page(clock=True) as shown:
        await shown.page.clock.run_for(3_600_000)
        await shown.run("calls.length = 0")
        await shown.run("for (let n = 0; n < 10; n++) gleenWidget.fire('widget:loaded')")
        await shown.page.clock.run_for(3_600_000)
        assert await shown.run("calls.length / 2") == 10 + 7


async def test_a_good_pair_outlives_a_bad_answer(shop: Shop) -> None:
    """Null or rubbish never replaces what was read before."""
    async with shop.page(widget("window.bad ? window.bad() : 'fp'", "'faq'")) as shown:
        for no_value in NO_VALUES:
            await shown.run(f"window.bad = () => {no_value}; gleenWidget.fire('widget:loaded')")
            assert await shown.claim() == "fp:faq", no_value
        assert shown.complaints == []


async def test_a_slow_answer_never_replaces_a_later_one(shop: Shop) -> None:
    """The order of the questions counts, not that of the answers."""
    slow = "window.answers = []; window.promise = () => new Promise((done) => answers.push(done));"
    async with shop.page(slow + widget("promise()", "'faq'"), clock=True) as shown:
        await shown.run("gleenWidget.fire('widget:loaded')")
        await shown.run("answers[1]('new')")
        assert await shown.claim() == "new:faq"
        await shown.run("answers[0]('old')")
        assert await shown.claim() == "new:faq"


async def test_a_replaced_widget_is_followed(shop: Shop) -> None:
    """Its values and its events, instead of the old one's."""
    async with shop.page(widget("'old'", "'faq'"), clock=True) as shown:
        await shown.page.clock.run_for(3_600_000)
        await shown.run("window.gleenWidget = widget(() => window.value || 'new', () => 'faq-2')")
        await shown.page.click("button")
        assert await shown.claim() == "new:faq-2"
        await shown.run("window.value = 'newer'; gleenWidget.fire('ticket:message_submitted')")
        assert await shown.claim() == "newer:faq-2"


async def test_a_removed_widget_leaves_the_pair(shop: Shop) -> None:
    """What it said stays true."""
    async with shop.page() as shown:
        await shown.run("gleenWidget = null")
        await shown.page.click("button")
        assert await shown.claim() == USUAL_CLAIM
        assert shown.complaints == []


@pytest.mark.parametrize(
    "on", ["undefined", "() => { throw new Error('no') }", "(name, act) => act({})"]
)
async def test_a_widget_with_an_odd_on_is_read_all_the_same(shop: Shop, on: str) -> None:
    """One that is missing, throws, or calls back at once."""
    odd = f"window.gleenWidget = widget(() => 'fp', () => 'faq', {{ on: {on} }});"
    async with shop.page(odd) as shown:
        assert await shown.claim() == "fp:faq"
        assert shown.complaints == []


async def test_a_page_without_the_widget_claims_what_an_earlier_one_read(shop: Shop) -> None:
    """The checkout may load no widget."""
    async with shop.page() as shown:
        await shown.page.goto(shop.add_page(widget=""))
        assert await shown.claim() == USUAL_CLAIM


async def test_what_another_tab_read_later_counts(shop: Shop) -> None:
    """On a page whose own widget says nothing, header and cookie are the same again at a click."""
    async with shop.page() as shown:
        await shown.run("gleenWidget = null; document.cookie = 'alhena_visitor=fp-2:faq-2;path=/'")
        await shown.page.click("button")
        assert await shown.claim() == "fp-2:faq-2"


@pytest.mark.parametrize("value", ["a", "a:b:c", "a:b c", "a:ü", ":", "a:", "null"])
async def test_a_foreign_cookie_is_not_passed_on(shop: Shop, value: str) -> None:
    """Only what could be the script's own goes into a header."""
    async with shop.page(widget="") as shown:
        await shown.run(f"document.cookie = 'alhena_visitor={value};path=/'")
        await shown.run("document.cookie = 'my-alhena_visitor=a:b;path=/'")
        await shown.page.goto(shop.add_page(widget=""))
        assert await shown.header() is None
        assert shown.complaints == []


async def test_without_cookies_the_header_still_works(shop: Shop) -> None:
    """In a frame that may keep none, nothing breaks."""
    async with shop.page(widget="") as shown:
        await shown.run(
            f"""new Promise((loaded) => {{
              const frame = document.createElement("iframe");
              frame.sandbox = "allow-scripts";
              frame.src = "{shop.add_page()}";
              frame.onload = () => loaded(null);
              document.body.append(frame);
            }})"""
        )
        framed = shown.page.frames[1]
        assert await framed.evaluate("alhenaVisitor.header()") == USUAL_CLAIM
        await framed.evaluate("alhenaVisitor.consent(false)")
        assert await framed.evaluate("alhenaVisitor.header()") is None
        assert shown.complaints == []


async def test_the_page_is_otherwise_left_alone(shop: Shop) -> None:
    """One global, no storage, nothing evaluated, no request but the script's own."""
    before = "window.before = Object.keys(window); localStorage.setItem('vendor', 'its own');"
    async with shop.page(options=before) as shown:
        await shown.page.click("button")
        new = await shown.run("Object.keys(window).filter((name) => !before.includes(name))")
        assert sorted(new) == ["alhenaVisitor", "before", "gleenWidget"]
        assert await shown.run("JSON.stringify(localStorage)") == '{"vendor":"its own"}'
        assert await shown.run("sessionStorage.length") == 0
        assert shown.complaints == []


async def test_the_script_may_be_included_twice(shop: Shop) -> None:
    """The second time nothing happens."""
    async with shop.page() as shown:
        await shown.run("window.first = alhenaVisitor")
        await shown.page.add_script_tag(url=SCRIPT_PATH)
        assert await shown.run("first === alhenaVisitor && gleenWidget.listeners.length") == 4
        assert await shown.claim() == USUAL_CLAIM
