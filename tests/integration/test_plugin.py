"""The pytest plugin's fixtures, in test runs of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

STRICT = """
    [pytest]
    asyncio_mode = strict
    asyncio_default_fixture_loop_scope = function
    filterwarnings = error
"""
AUTO = STRICT.replace("strict", "auto")
NO_ASYNCIO_PLUGIN = """
    [pytest]
    addopts = -p no:asyncio
    filterwarnings = error
"""

SHOP = """
    import asyncio
    import pytest
    from alhena_async import CartEvent, CheckoutEvent, ErrorCode, LineItem, QueuePolicy, Visitor

    VISITOR = Visitor(fingerprint="550e8400-e29b-41d4-a716-446655440000",
                      faq_fingerprint="660e8400-e29b-41d4-a716-446655441111")

    def cart(product="mug", after=1):
        return CartEvent.for_change(VISITOR, before=0, after=after, product_id=product,
            product_name="Mug", value=9.5, currency="EUR")

    def order(order_id):
        line = LineItem(product_id="mug", product_name="Mug", quantity=1, value=9.5, currency="EUR")
        return CheckoutEvent(visitor=VISITOR, value=9.5, currency="EUR", line_items=[line],
            order_id=order_id)
"""
BOTH_CLIENTS = """
    from shop import *

    MARK
    async def test_over_http(alhena_client, alhena_emulator):
        alhena_client.track_nowait(cart(after=2))
        await alhena_client.flush()
        alhena_emulator.assert_recorded(product_id="mug", quantity=2, value=9.5, visitor=VISITOR)

    MARK
    async def test_in_memory(alhena_memory_client, alhena_transport):
        outcome = await alhena_memory_client.record(order("ORD-1"))
        assert outcome.ok
        alhena_transport.assert_recorded(order_id="ORD-1")

    MARK
    async def test_both_on_the_running_loop(alhena_client, alhena_memory_client):
        await alhena_client.start()
        await alhena_memory_client.start()
"""


@pytest.fixture
def shop(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project whose tests may use `shop.py`; each run is a process of its own."""
    pytester.makepyfile(shop=SHOP)
    return pytester


def outcomes(shop: pytest.Pytester, ini: str, tests: str, *arguments: str) -> pytest.RunResult:
    shop.makeini(ini)
    shop.makepyfile(test_it=tests)
    return shop.runpytest_subprocess("-p", "no:randomly", *arguments)


@pytest.mark.parametrize(
    ("ini", "mark"),
    [(STRICT, "@pytest.mark.asyncio"), (AUTO, "")],
    ids=["strict", "auto"],
)
def test_under_pytest_asyncio(shop: pytest.Pytester, ini: str, mark: str) -> None:
    """The clients live on the test's loop, in both of the plugin's modes; no warning is given."""
    outcomes(shop, ini, BOTH_CLIENTS.replace("MARK", mark)).assert_outcomes(passed=3)


@pytest.mark.parametrize("ini", [STRICT, NO_ASYNCIO_PLUGIN], ids=["beside", "alone"])
def test_under_anyio(shop: pytest.Pytester, ini: str) -> None:
    """The same, beside pytest-asyncio and without it."""
    shop.makeconftest(
        """
        import pytest

        @pytest.fixture
        def anyio_backend():
            return "asyncio"
        """
    )
    tests = BOTH_CLIENTS.replace("MARK", "@pytest.mark.anyio")
    outcomes(shop, ini, tests).assert_outcomes(passed=3)


@pytest.mark.parametrize("scope", ["class", "module", "session"])
def test_in_a_loop_that_tests_share(shop: pytest.Pytester, scope: str) -> None:
    """Whichever loop the test runs on, the client's is that one."""
    mark = f"@pytest.mark.asyncio(loop_scope={scope!r})"
    if scope == "class":
        mark = "@pytest.mark.asyncio"
        tests = """
            from shop import *

            @pytest.mark.asyncio(loop_scope="class")
            class TestTwo:
                async def test_one(self, alhena_client, alhena_emulator):
                    await alhena_client.record(cart())

                async def test_two(self, alhena_client, alhena_emulator):
                    await alhena_client.record(cart())
                    assert alhena_emulator.requests == 1
        """
        outcomes(shop, STRICT, tests).assert_outcomes(passed=2)
    else:
        outcomes(shop, STRICT, BOTH_CLIENTS.replace("MARK", mark)).assert_outcomes(passed=3)


def test_in_the_loop_that_a_setting_names(shop: pytest.Pytester) -> None:
    """`asyncio_default_test_loop_scope` counts as well."""
    ini = AUTO + "    asyncio_default_test_loop_scope = session\n"
    outcomes(shop, ini, BOTH_CLIENTS.replace("MARK", "")).assert_outcomes(passed=3)


def test_the_client_is_started_before_and_closed_after_what_uses_it(shop: pytest.Pytester) -> None:
    """An async fixture that asks for it may use it from its first line to its last."""
    tests = """
        from shop import *

        @pytest.fixture
        async def visit(alhena_client, alhena_emulator):
            await alhena_client.record(cart("early"))
            yield
            await alhena_client.record(cart("late"))
            alhena_emulator.assert_recorded(product_id="late")

        async def test_between(visit, alhena_emulator):
            alhena_emulator.assert_recorded(product_id="early")
    """
    outcomes(shop, AUTO, tests).assert_outcomes(passed=1)


def test_what_still_waits_is_delivered_when_the_test_ends(shop: pytest.Pytester) -> None:
    """Closing is the fixture's business, and leaves no client unclosed."""
    tests = """
        from shop import *

        @pytest.fixture
        def alhena_client_options():
            return {"queue": QueuePolicy(linger=60.0)}

        @pytest.fixture(autouse=True)
        def sees_the_end(alhena_emulator):
            yield
            alhena_emulator.assert_recorded(product_id="mug")

        async def test_forgets_to_flush(alhena_client, alhena_emulator):
            alhena_client.track_nowait(cart())
            await asyncio.sleep(0)
            alhena_emulator.assert_nothing_recorded()
    """
    outcomes(shop, AUTO, tests).assert_outcomes(passed=1)


def test_options_are_overridden_by_fixtures(shop: pytest.Pytester) -> None:
    """Of the client as of the emulator."""
    tests = """
        from shop import *

        @pytest.fixture
        def alhena_client_options():
            return {"company_key": "mine", "enabled": True, "coalescing": "off"}

        @pytest.fixture
        def alhena_emulator_options():
            return {"companies": {"theirs"}}

        async def test_refused(alhena_client, alhena_emulator):
            outcome = await alhena_client.track_nowait(cart())
            assert outcome.code == ErrorCode.COMPANY_NOT_FOUND
            assert alhena_emulator.refused(company_key="mine")
    """
    outcomes(shop, AUTO, tests).assert_outcomes(passed=1)


def test_faults_belong_to_one_test(shop: pytest.Pytester) -> None:
    """The next test's emulator knows nothing of them, nor of what was recorded."""
    tests = """
        from shop import *
        from alhena_async.emulator import Fault, FaultKind

        async def test_down(alhena_client, alhena_emulator):
            alhena_emulator.fault("error=1:502")
            receipt = alhena_client.track_nowait(order("ORD-1"))
            await alhena_emulator.wait_until(lambda emulator: emulator.requests > 2)
            assert not receipt.done()
            alhena_emulator.recover()
            assert (await receipt).attempts > 3

        async def test_scripted(alhena_client, alhena_emulator):
            alhena_emulator.assert_nothing_recorded()
            alhena_emulator.script(Fault(FaultKind.RESET_AFTER), Fault("status", status=429))
            outcome = await alhena_client.record(order("ORD-1"))
            assert (outcome.attempts, outcome.ambiguous) == (3, True)
            alhena_emulator.assert_recorded(order_id="ORD-1")

        async def test_well(alhena_client, alhena_emulator):
            assert (await alhena_client.record(order("ORD-1"))).attempts == 1
    """
    outcomes(shop, AUTO, tests).assert_outcomes(passed=3)


def test_a_plain_test_of_a_web_application(shop: pytest.Pytester) -> None:
    """A framework's test client runs the application elsewhere; the emulator does not mind."""
    pytest.importorskip("fastapi", reason="FastAPI is not installed")
    pytest.importorskip("httpx2", reason="httpx2 is not installed")
    shop.makepyfile(
        service="""
        from contextlib import asynccontextmanager
        from fastapi import FastAPI, Request
        from alhena_async import AlhenaClient
        from shop import cart

        @asynccontextmanager
        async def lifespan(app):
            async with AlhenaClient.from_env() as app.state.alhena:
                yield

        app = FastAPI(lifespan=lifespan)

        @app.post("/cart/{sku}")
        async def add(sku: str, request: Request):
            request.app.state.alhena.track_nowait(cart(sku))
        """
    )
    tests = """
        from fastapi.testclient import TestClient
        from service import app

        def test_add(alhena_emulator, monkeypatch):
            monkeypatch.setenv("ALHENA_COMPANY_KEY", "shop")
            monkeypatch.setenv("ALHENA_BASE_URL", alhena_emulator.url)
            with TestClient(app) as browser:
                assert browser.post("/cart/mug-1").status_code == 200
            alhena_emulator.assert_recorded(type="ITEM_ADDED", product_id="mug-1")
    """
    # What the framework itself warns of is not ours.
    ini = AUTO.replace("filterwarnings = error", "filterwarnings = error:.*alhena")
    outcomes(shop, ini, tests).assert_outcomes(passed=1)


def test_a_plain_test_cannot_have_a_client(shop: pytest.Pytester) -> None:
    """It has no event loop to live on, and the error says what to use."""
    tests = """
        def test_plain(alhena_client):
            pass

        def test_plain_in_memory(alhena_memory_client):
            pass
    """
    result = outcomes(shop, AUTO, tests)
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(
        [
            "*alhena_client lives on the test's event loop*`async def`*alhena_emulator.url*",
            "*alhena_memory_client lives on the test's event loop*",
        ]
    )


@pytest.mark.parametrize(
    ("ini", "backend", "reason"),
    [
        (NO_ASYNCIO_PLUGIN, "trio", "needs anyio's asyncio backend, not trio"),
        (AUTO, "asyncio", "can live on one event loop*both claim this test"),
    ],
    ids=["trio", "claimed twice"],
)
def test_a_loop_that_the_client_cannot_live_on_is_refused(
    shop: pytest.Pytester, ini: str, backend: str, reason: str
) -> None:
    """Another backend's, or one of two that plugins would run the test on."""
    tests = f"""
        import pytest

        @pytest.fixture
        def anyio_backend():
            return {backend!r}

        @pytest.mark.anyio
        async def test_it(alhena_memory_client):
            pass
    """
    result = outcomes(shop, ini, tests)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*alhena_memory_client {reason}*"])


def test_a_failure_tells_what_was_recorded_instead(shop: pytest.Pytester) -> None:
    """It names the nearest event, the refused ones, and points at the test's own line."""
    tests = """
        from shop import *

        async def test_wrong(alhena_memory_client, alhena_transport):
            alhena_transport.refuse(ErrorCode.ACTIVE_TICKET_NOT_FOUND, product_id="cup")
            for event in (cart(after=2), cart("cup"), order("ORD-1")):
                await alhena_memory_client.record(event)
            alhena_transport.assert_recorded(product_id="mug", quantity=3)
    """
    result = outcomes(shop, AUTO, tests)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            ">*alhena_transport.assert_recorded(product_id=*mug*, quantity=3)",
            "E*expected 1 event recorded with product_id='mug', quantity=3, found none",
            "E*nearest: #1 ITEM_ADDED 'mug', quantity 2, 9.5 EUR,*: quantity is 2, not 3",
            "E*recorded:",
            "E*#1 ITEM_ADDED 'mug', quantity 2*",
            "E*#3 checkout 'ORD-1', 9.5 EUR for 'mug'*",
            "E*refused:",
            "E*#2 ITEM_ADDED 'cup', ACTIVE_TICKET_NOT_FOUND*",
            "E*requests: 3, faults played: none",
            "test_it.py:*: AssertionError",
        ]
    )
    result.stdout.no_fnmatch_line("*recordings.py*")


@pytest.mark.parametrize("mark", ["@pytest.mark.asyncio", "@pytest.mark.anyio"])
def test_hours_of_backoff_on_virtual_time(shop: pytest.Pytester, mark: str) -> None:
    """Each plugin takes the virtual loop; a real server on it is refused with the reason."""
    shop.makeconftest(
        """
        import asyncio
        import pytest
        from alhena_async.testing import VirtualLoop

        def pytest_asyncio_loop_factories(config, item):
            return {"virtual": VirtualLoop}

        @pytest.fixture
        def anyio_backend():
            return "asyncio", {"loop_factory": VirtualLoop}

        @pytest.fixture
        def alhena_client_options():
            from alhena_async import RetryPolicy
            return {"retry": RetryPolicy()}
        """
    )
    tests = f"""
        from shop import *

        {mark}
        async def test_outage(alhena_memory_client, alhena_transport):
            alhena_transport.fail(sent=False, times=None)
            receipt = alhena_memory_client.track_nowait(order("ORD-1"))
            await asyncio.sleep(6 * 3600)
            assert not receipt.done()
            alhena_transport.recover()
            assert (await receipt).elapsed > 6 * 3600

        {mark}
        async def test_sockets(alhena_client):
            pass
    """
    result = outcomes(shop, STRICT, tests)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*virtual time would jump*use alhena_memory_client*"])


def test_in_parallel(shop: pytest.Pytester) -> None:
    """Every test has a server and a port of its own."""
    tests = """
        from shop import *

        @pytest.mark.parametrize("number", range(12))
        async def test_alone(number, alhena_client, alhena_emulator):
            for turn in range(5):
                await alhena_client.record(order(f"ORD-{turn}"))
            assert alhena_emulator.requests == 5
    """
    outcomes(shop, AUTO, tests, "-n", "2").assert_outcomes(passed=12)


LOADED = """
    import sys

    def test_nothing_of_ours_is_imported():
        assert "pytest_alhena" in sys.modules
        assert not {"alhena_async", "aiohttp", "cattrs", "backoff"} & set(sys.modules)
"""


def test_who_uses_no_fixture_imports_nothing(shop: pytest.Pytester) -> None:
    """A run in which every plugin of the environment is loaded, ours by its entry point."""
    outcomes(shop, STRICT, LOADED, "-W", "error").assert_outcomes(passed=1)


def test_the_plugin_imports_nothing_but_pytest() -> None:
    """As the interpreter's own account of imports says."""
    code = "import pytest, sys; print('pytest is here', file=sys.stderr); import pytest_alhena"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=True
    )
    account = done.stderr.partition("pytest is here\n")[2].splitlines()
    assert [line.rpartition("|")[2].strip() for line in account] == ["pytest_alhena"]
