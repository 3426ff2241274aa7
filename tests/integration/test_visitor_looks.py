"""The visitor script in a real browser: when it looks, and what it does as a widget changes."""

import pytest

from tests.chromium import needs_chromium
from tests.shop_pages import USUAL_CLAIM, Shop, widget

pytestmark = needs_chromium
AN_HOUR = 3_600_000  # milliseconds


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
        await shown.page.clock.run_for(AN_HOUR)
        assert await shown.run("calls.length") == 16
        await shown.run("window.value = 'fp'")
        await shown.page.clock.run_for(AN_HOUR)
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
        await shown.page.clock.run_for(AN_HOUR)
        await shown.run(f"window.value = 'fp'; gleenWidget.fire('{event}')")
        assert await shown.claim() == "fp:faq"
        await shown.run("window.value = 'later'")
        await shown.page.clock.run_for(40_000)
        assert await shown.claim() == "later:faq"
        assert await shown.run("gleenWidget.listeners.length") == 4  # once each


async def test_many_events_do_not_multiply_the_looks(shop: Shop) -> None:
    """Each looks once, and only the last begins anew."""
    async with shop.page(clock=True) as shown:
        await shown.page.clock.run_for(AN_HOUR)
        await shown.run("calls.length = 0")
        await shown.run("for (let n = 0; n < 10; n++) gleenWidget.fire('widget:loaded')")
        await shown.page.clock.run_for(AN_HOUR)
        assert await shown.run("calls.length / 2") == 10 + 7


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
        await shown.page.clock.run_for(AN_HOUR)
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
