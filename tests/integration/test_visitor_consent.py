"""The visitor script in a real browser: consent, options, what a single-page shop asks of it."""

import pytest

from tests.chromium import needs_chromium
from tests.shop_pages import USUAL_CLAIM, USUAL_WIDGET, Shop

pytestmark = needs_chromium
NO = "window.alhenaVisitor = { consent: () => false };"
ANSWERING = "window.answer = false; window.alhenaVisitor = { consent: () => answer };"
ASKING = """window.answers = [];
window.alhenaVisitor = { consent: () => new Promise((done) => answers.push(done)) };"""
NO_CONSENT = [
    "() => false",
    "() => undefined",
    "() => 'yes'",
    "() => 1",
    "() => { throw new Error('no') }",
    "() => Promise.resolve(false)",
    "() => Promise.reject(new Error('no'))",
    "() => new Promise(() => {})",
    "false",
    "true",
    "undefined",
    "null",
]
WITH_COOKIE = f"document.cookie = 'alhena_visitor={USUAL_CLAIM};path=/';"


@pytest.mark.parametrize("hook", NO_CONSENT)
async def test_without_a_clear_yes_nothing_is_read_or_kept(shop: Shop, hook: str) -> None:
    """Whatever a consent hook is that does not answer `true`, the widget is not even asked."""
    async with shop.page(options=f"window.alhenaVisitor = {{ consent: {hook} }};") as shown:
        await shown.page.click("button")
        assert await shown.claim() is None
        assert await shown.run("calls.length + gleenWidget.listeners.length") == 0
        assert shown.complaints == []


@pytest.mark.parametrize("hook", ["() => true", "async () => true"])
async def test_with_a_yes_the_pair_is_kept(shop: Shop, hook: str) -> None:
    """At once or later."""
    async with shop.page(options=f"window.alhenaVisitor = {{ consent: {hook} }};") as shown:
        assert await shown.claim() == USUAL_CLAIM


async def test_a_hook_may_use_this(shop: Shop) -> None:
    """It is called as the method it is written as."""
    options = "window.alhenaVisitor = { given: true, consent() { return this.given; } };"
    async with shop.page(options=options) as shown:
        assert await shown.claim() == USUAL_CLAIM


async def test_consent_can_be_given_later(shop: Shop) -> None:
    """The pair is there as soon as the page says so."""
    async with shop.page(options=ANSWERING) as shown:
        assert await shown.claim() is None
        await shown.run("window.answer = true; alhenaVisitor.consent(true)")
        assert await shown.claim() == USUAL_CLAIM


async def test_consent_given_begins_the_looking_anew(shop: Shop) -> None:
    """A widget that is loaded only after consent is found, and a hook that is late to know."""
    async with shop.page("", ANSWERING, clock=True) as shown:
        await shown.page.clock.run_for(3_600_000)
        await shown.run("alhenaVisitor.consent(true)")
        await shown.page.clock.run_for(5_000)
        await shown.run("window.answer = true;" + USUAL_WIDGET)
        await shown.page.clock.run_for(5_000)
        assert await shown.claim() == USUAL_CLAIM


async def test_a_yes_of_the_page_never_outweighs_the_hook(shop: Shop) -> None:
    """Taken back in another tab, or on a later page: this one must not go on with its old yes."""
    async with shop.page(options=ANSWERING) as shown:
        await shown.run("alhenaVisitor.consent(true)")
        assert await shown.claim() is None
        await shown.run("window.answer = true; alhenaVisitor.consent(true)")
        assert await shown.claim() == USUAL_CLAIM
        await shown.run("window.answer = false")
        await shown.page.click("button")
        assert await shown.claim() is None


@pytest.mark.parametrize("late", ["", "window.alhenaVisitor = { consent: () => true };"])
async def test_where_the_tag_asks_for_consent_a_missing_hook_is_a_no(shop: Shop, late: str) -> None:
    """Its file may be blocked, or come after the script; and no later yes opens the door."""
    async with shop.page(tag="data-consent") as shown:
        await shown.run(f"window.script = alhenaVisitor; {late}")
        await shown.page.click("button")
        await shown.run("script.consent(true)")
        assert await shown.run("script.header()") is None
        assert await shown.cookie() is None
        assert await shown.run("calls.length") == 0


EVALUATED = (
    """fetch("/alhena-visitor.js").then((reply) => reply.text()).then((text) => (0, eval)(text));"""
)
FETCHED = """const request = new XMLHttpRequest();
request.open("GET", "/alhena-visitor.js", false);
request.send();
"""
ADDED = """const tag = document.createElement("script");
tag.src = "/alhena-visitor.js";
document.head.append(tag);"""
LOADED_WITHOUT_A_TAG = {
    "module": '<script type="module" src="/alhena-visitor.js" data-consent></script>',
    "module, no attribute": '<script type="module" src="/alhena-visitor.js"></script>',
    "import": '<script type="module" data-consent>import("/alhena-visitor.js")</script>',
    "import from a classic script": '<script data-consent>import("/alhena-visitor.js")</script>',
    "evaluated later": f"<script data-consent>{EVALUATED}</script>",
    "evaluated at once": f"<script>{FETCHED}(0, eval)(request.responseText);</script>",
    "function": f"<script>{FETCHED}new Function(request.responseText)();</script>",
    "evaluated beside a tag that is none": (
        f'<script type="text/plain" src="/alhena-visitor.js" data-consent></script>'
        f"<script>{EVALUATED}</script>"
    ),
}


@pytest.mark.parametrize("way", LOADED_WITHOUT_A_TAG)
async def test_a_script_that_cannot_see_its_tag_does_nothing_without_a_hook(
    shop: Shop, way: str
) -> None:
    """Nobody can say whether the tag asked for consent: nothing is read, nothing is kept."""
    async with shop.page(script=LOADED_WITHOUT_A_TAG[way]) as shown:
        await shown.page.wait_for_function("!!window.alhenaVisitor?.header")
        await shown.page.click("button")
        await shown.run("alhenaVisitor.consent(true)")
        assert await shown.claim() is None
        assert await shown.run("calls.length + gleenWidget.listeners.length") == 0


@pytest.mark.parametrize("way", LOADED_WITHOUT_A_TAG)
async def test_a_script_that_cannot_see_its_tag_heeds_the_hook(shop: Shop, way: str) -> None:
    """With a yes it works as from a classic tag."""
    options = "window.alhenaVisitor = { consent: () => true };"
    async with shop.page(options=options, script=LOADED_WITHOUT_A_TAG[way]) as shown:
        await shown.page.wait_for_function("document.cookie")
        assert await shown.claim() == USUAL_CLAIM


async def test_a_tag_that_a_script_adds_is_a_tag(shop: Shop) -> None:
    """Tag managers do so, and the script sees it."""
    async with shop.page(script=f"<script>{ADDED}</script>") as shown:
        await shown.page.wait_for_function("document.cookie")
        assert await shown.claim() == USUAL_CLAIM
    asking = ADDED.replace("document.head", "tag.dataset.consent = '';\ndocument.head")
    async with shop.page(script=f"<script>{asking}</script>") as shown:
        await shown.page.wait_for_function("!!window.alhenaVisitor?.header")
        await shown.page.click("button")
        assert await shown.claim() is None


async def test_where_the_tag_asks_for_consent_the_hook_gives_it(shop: Shop) -> None:
    """As without it."""
    options = "window.alhenaVisitor = { consent: () => true };"
    async with shop.page(options=options, tag="data-consent") as shown:
        assert await shown.claim() == USUAL_CLAIM


async def test_consent_taken_back_removes_the_cookie(shop: Shop) -> None:
    """In the very turn, for good until it is given again."""
    async with shop.page() as shown:
        assert (
            await shown.run("[alhenaVisitor.consent(false), alhenaVisitor.header()]") == [None] * 2
        )
        assert await shown.cookie() is None
        await shown.run("gleenWidget.fire('widget:loaded')")
        await shown.page.click("button")
        assert await shown.claim() is None
        await shown.run("alhenaVisitor.consent(true)")
        assert await shown.claim() == USUAL_CLAIM


async def test_a_hook_that_changes_its_mind_is_followed(shop: Shop) -> None:
    """Both ways, at the next look."""
    async with shop.page(options=ANSWERING) as shown:
        for answer, claim in (("true", USUAL_CLAIM), ("undefined", None), ("true", USUAL_CLAIM)):
            await shown.run(f"window.answer = {answer}")
            await shown.page.click("button")
            assert await shown.claim() == claim


async def test_an_earlier_visits_cookie_goes_without_consent(shop: Shop) -> None:
    """What was kept with consent is removed once the hook says no."""
    async with shop.page(options=WITH_COOKIE + NO) as shown:
        assert await shown.claim() is None


async def test_while_the_visitor_is_asked_nothing_is_claimed(shop: Shop) -> None:
    """An earlier cookie stays where it is, and is not passed on before the answer."""
    async with shop.page(options=WITH_COOKIE + ASKING) as shown:
        assert await shown.header() is None
        assert await shown.cookie() is not None
        await shown.run("answers.forEach((answer) => answer(true))")
        assert await shown.claim() == USUAL_CLAIM


async def test_a_late_yes_of_the_hook_does_not_undo_a_revocation(shop: Shop) -> None:
    """The last word is the page's."""
    async with shop.page(options=ASKING) as shown:
        await shown.run("alhenaVisitor.consent(false)")
        await shown.run("answers.forEach((answer) => answer(true))")
        assert await shown.claim() is None


async def test_a_late_no_of_the_hook_does_not_undo_a_grant(shop: Shop) -> None:
    """The same the other way round, also where no widget tells the pair anew."""
    async with shop.page("", WITH_COOKIE + ASKING) as shown:
        await shown.run("window.first = answers.length; alhenaVisitor.consent(true)")
        await shown.run("answers.forEach((answer, n) => answer(n >= first))")
        assert await shown.claim() == USUAL_CLAIM


async def test_values_that_come_after_a_revocation_are_not_kept(shop: Shop) -> None:
    """Nor when the getters were asked before it."""
    slow = """window.gleenWidget = widget(
      () => new Promise((done) => { window.tell = () => done("fp"); }), () => "faq");"""
    async with shop.page(slow, clock=True) as shown:
        await shown.run("alhenaVisitor.consent(false)")
        await shown.run("window.tell()")
        assert await shown.claim() is None


@pytest.mark.parametrize(
    ("options", "tag"),
    [
        ("window.alhenaVisitor = { path: '/shop', maxAge: 600 };", ""),
        ("", "data-path=/shop data-max-age=600"),
        ("window.alhenaVisitor = { path: '/shop', maxAge: 600 };", "data-path=/ data-max-age=1"),
    ],
)
async def test_path_and_lifetime_are_the_shops(shop: Shop, options: str, tag: str) -> None:
    """From the global, else from the tag; consent taken back removes that cookie."""
    async with shop.page(options=options, tag=tag) as shown:
        kept = await shown.cookie()
        assert kept is not None
        assert kept["path"] == "/shop"
        assert 500 < kept["expires"] - await shown.run("Date.now() / 1000") <= 600
        await shown.run("alhenaVisitor.consent(false)")
        assert await shown.cookie() is None


async def test_ready_gives_the_pair_as_soon_as_there_is_one(shop: Shop) -> None:
    """An app may await it before its first request."""
    async with shop.page("", clock=True) as shown:
        await shown.run("void alhenaVisitor.ready.then((value) => { window.ready = [value]; })")
        await shown.page.clock.run_for(5_000)
        assert await shown.run("window.ready") is None
        await shown.run(USUAL_WIDGET)
        await shown.page.clock.run_for(5_000)
        assert await shown.run("window.ready") == [USUAL_CLAIM]


async def test_ready_does_not_wait_for_a_widget_where_the_pair_is_known(shop: Shop) -> None:
    """From the cookie of an earlier page."""
    async with shop.page("", WITH_COOKIE, clock=True) as shown:
        assert await shown.run("alhenaVisitor.ready") == USUAL_CLAIM


async def test_ready_gives_null_when_nobody_came(shop: Shop) -> None:
    """After half a minute, so that no app hangs."""
    async with shop.page("", clock=True) as shown:
        await shown.page.clock.run_for(33_000)
        assert await shown.run("alhenaVisitor.ready") is None


async def test_ready_gives_null_without_consent(shop: Shop) -> None:
    """At once."""
    async with shop.page(options=NO, clock=True) as shown:
        assert await shown.run("alhenaVisitor.ready") is None
