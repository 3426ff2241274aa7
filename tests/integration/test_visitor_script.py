"""The visitor script in a real browser: what it reads, keeps and tolerates."""

import json
from typing import Any

import pytest

from alhena_async import Visitor
from alhena_async.browser import SCRIPT_PATH, encode_visitor, script_reply
from tests.chromium import needs_chromium
from tests.shop_pages import USUAL_CLAIM, USUAL_WIDGET, Shop, widget

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
    getters = "getFingerprint: () => 'fp', getFAQFingerprint: () => 'faq'"
    widget = f"<script>window.gleenWidget = {{ {getters} }};</script>"
    page = f"{widget}<script src='/alhena-visitor.js'></script>"

    async def serve(route: Any) -> None:
        if route.request.url.endswith(".js"):
            script = script_reply("GET").body.decode()
            await route.fulfill(body=script, content_type="text/javascript")
        else:
            await route.fulfill(body=page, content_type="text/html")

    await context.route("**/*", serve)
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


async def test_a_good_pair_outlives_a_bad_answer(shop: Shop) -> None:
    """Null or rubbish never replaces what was read before."""
    async with shop.page(widget("window.bad ? window.bad() : 'fp'", "'faq'")) as shown:
        for no_value in NO_VALUES:
            await shown.run(f"window.bad = () => {no_value}; gleenWidget.fire('widget:loaded')")
            assert await shown.claim() == "fp:faq", no_value
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


@pytest.mark.parametrize(
    "before",
    [
        "document.body.innerHTML += '<form id=alhenaVisitor><input name=consent></form>'",
        "document.body.innerHTML += '<a id=gleenWidget></a><form id=gleenWidget></form>'",
        "Object.assign(Object.prototype, { consent: false, path: '/x', maxAge: 1, known: 1 })",
    ],
    ids=["our name", "the widget's name", "prototype"],
)
async def test_elements_and_prototypes_change_no_option(shop: Shop, before: str) -> None:
    """An element's id makes a global, too: the real widget's comes over it, and is found."""
    async with shop.page("", before, clock=True) as shown:
        assert await shown.claim() is None
        await shown.run(USUAL_WIDGET)
        await shown.page.clock.run_for(1_000)
        kept = await shown.cookie()
        assert kept is not None
        assert (kept["value"], kept["path"]) == (USUAL_CLAIM, "/")
        assert shown.complaints == []


async def test_the_script_may_be_included_twice(shop: Shop) -> None:
    """The second time nothing happens."""
    async with shop.page() as shown:
        await shown.run("window.first = alhenaVisitor")
        await shown.page.add_script_tag(url=SCRIPT_PATH)
        assert await shown.run("first === alhenaVisitor && gleenWidget.listeners.length") == 4
        assert await shown.claim() == USUAL_CLAIM
