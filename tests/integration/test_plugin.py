"""The pytest plugin's fixtures, in test runs of their own.

A run is a process, and its start is what costs: those that need the same settings share one.
"""

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
ANYIO_ON_ASYNCIO = """
    import pytest

    @pytest.fixture
    def anyio_backend():
        return "asyncio"
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
SHARED_LOOP = """
    from shop import *

    @pytest.mark.asyncio(loop_scope="class")
    class TestTwo:
        async def test_one(self, alhena_client, alhena_emulator):
            await alhena_client.record(cart())

        async def test_two(self, alhena_client, alhena_emulator):
            await alhena_client.record(cart())
            assert alhena_emulator.requests == 1
"""
AROUND = """
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
WAITING = """
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
OPTIONS = """
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
FAULTS = """
    from shop import *
    from alhena_async.emulator import Fault, FaultKind

    async def test_down(alhena_client, alhena_emulator):
        alhena_emulator.fault("error=1:502")
        receipt = alhena_client.track_nowait(order("ORD-1"))
        await alhena_emulator.wait_until(lambda emulator: emulator.requests > 2, timeout=60)
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
SERVICE = """
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
WEB = """
    import warnings
    import pytest

    def test_add(alhena_emulator, monkeypatch):
        pytest.importorskip("fastapi", reason="FastAPI is not installed")
        pytest.importorskip("httpx2", reason="httpx2 is not installed")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the framework itself warns of is not ours
            from fastapi.testclient import TestClient
        from service import app

        monkeypatch.setenv("ALHENA_COMPANY_KEY", "shop")
        monkeypatch.setenv("ALHENA_BASE_URL", alhena_emulator.url)
        with TestClient(app) as browser:
            assert browser.post("/cart/mug-1").status_code == 200
        alhena_emulator.assert_recorded(type="ITEM_ADDED", product_id="mug-1")
"""
PARALLEL = """
    from shop import *

    @pytest.mark.parametrize("number", range(12))
    async def test_alone(number, alhena_client, alhena_emulator):
        for turn in range(5):
            await alhena_client.record(order(f"ORD-{turn}"))
        assert alhena_emulator.requests == 5
"""
PLAIN = """
    def test_plain(alhena_client):
        pass

    def test_plain_in_memory(alhena_memory_client):
        pass
"""
WRONG = """
    from shop import *

    async def test_wrong(alhena_memory_client, alhena_transport):
        alhena_transport.refuse(ErrorCode.ACTIVE_TICKET_NOT_FOUND, product_id="cup")
        for event in (cart(after=2), cart("cup"), order("ORD-1")):
            await alhena_memory_client.record(event)
        alhena_transport.assert_recorded(product_id="mug", quantity=3)
"""
ON_BACKEND = """
    import pytest

    @pytest.fixture
    def anyio_backend():
        return BACKEND

    @pytest.mark.anyio
    async def test_it(alhena_memory_client):
        pass
"""
VIRTUAL = """
    from shop import *

    MARK
    async def test_outage(alhena_memory_client, alhena_transport):
        alhena_transport.fail(sent=False, times=None)
        receipt = alhena_memory_client.track_nowait(order("ORD-1"))
        await asyncio.sleep(6 * 3600)
        assert not receipt.done()
        alhena_transport.recover()
        assert (await receipt).elapsed > 6 * 3600

    MARK
    async def test_sockets(alhena_client):
        pass
"""


@pytest.fixture
def shop(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project whose tests may use `shop.py`; each run is a process of its own."""
    pytester.makepyfile(shop=SHOP)
    return pytester


def run(shop: pytest.Pytester, ini: str, *arguments: str, **files: str) -> pytest.RunResult:
    shop.makeini(ini)
    shop.makepyfile(**files)
    return shop.runpytest_subprocess("-p", "no:randomly", *arguments)


def test_in_strict_mode_and_beside_anyio(shop: pytest.Pytester) -> None:
    """The clients live on the test's loop, whoever runs it and whoever shares it; no warning."""
    shop.makeconftest(ANYIO_ON_ASYNCIO)
    marks = {
        "test_anyio": "@pytest.mark.anyio",
        "test_function": "@pytest.mark.asyncio",
        "test_module": "@pytest.mark.asyncio(loop_scope='module')",
        "test_session": "@pytest.mark.asyncio(loop_scope='session')",
    }
    files = {name: BOTH_CLIENTS.replace("MARK", mark) for name, mark in marks.items()}
    result = run(shop, STRICT, test_class=SHARED_LOOP, **files)
    result.assert_outcomes(passed=3 * len(files) + 2)


def test_under_anyio_alone(shop: pytest.Pytester) -> None:
    """The same without pytest-asyncio; a loop that is not asyncio's is refused with the reason."""
    shop.makeconftest(ANYIO_ON_ASYNCIO)
    result = run(
        shop,
        NO_ASYNCIO_PLUGIN,
        test_both=BOTH_CLIENTS.replace("MARK", "@pytest.mark.anyio"),
        test_trio=ON_BACKEND.replace("BACKEND", "'trio'"),
    )
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["*alhena_memory_client needs anyio's asyncio backend, not trio*"])


def test_in_the_loop_that_a_setting_names(shop: pytest.Pytester) -> None:
    """`asyncio_default_test_loop_scope` counts as well."""
    ini = AUTO + "    asyncio_default_test_loop_scope = session\n"
    run(shop, ini, test_it=BOTH_CLIENTS.replace("MARK", "")).assert_outcomes(passed=3)


def test_in_auto_mode_and_in_parallel(shop: pytest.Pytester) -> None:
    """What the clients and the emulator promise, each test with a server and port of its own.

    A client may be used by an async fixture from its first line to its last (`around`); what still
    waits is delivered when the test ends (`waiting`); options are overridden by fixtures; faults
    end with their test; a framework's test client may run the application elsewhere (`web`).
    """
    files = {
        "test_both": BOTH_CLIENTS.replace("MARK", ""),
        "test_around": AROUND,
        "test_waiting": WAITING,
        "test_options": OPTIONS,
        "test_faults": FAULTS,
        "test_web": WEB,
        "test_parallel": PARALLEL,
    }
    result = run(shop, AUTO, "-n", "2", "-rs", service=SERVICE, **files)
    skipped = result.parseoutcomes().get("skipped", 0)
    result.assert_outcomes(passed=3 + 1 + 1 + 1 + 3 + 1 + 12 - skipped, skipped=skipped)
    assert skipped <= 1


def test_what_cannot_be_is_refused_and_what_fails_says_why(shop: pytest.Pytester) -> None:
    """A plain test has no loop, one that two plugins claim has two.

    A failed assertion names the nearest event and the refused ones, and points at the test's line.
    """
    result = run(
        shop,
        AUTO,
        test_claimed=ON_BACKEND.replace("BACKEND", "'asyncio'"),
        test_plain=PLAIN,
        test_wrong=WRONG,
    )
    result.assert_outcomes(failed=1, errors=3)
    result.stdout.fnmatch_lines(
        [
            "*alhena_memory_client can live on one event loop*both claim this test*",
            "*alhena_client lives on the test's event loop*`async def`*alhena_emulator.url*",
            "*alhena_memory_client lives on the test's event loop*",
        ]
    )
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
            "test_wrong.py:*: AssertionError",
        ]
    )
    result.stdout.no_fnmatch_line("*recordings.py*")


def test_hours_of_backoff_on_virtual_time(shop: pytest.Pytester) -> None:
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
    marks = ("asyncio", "anyio")
    files = {f"test_{mark}": VIRTUAL.replace("MARK", f"@pytest.mark.{mark}") for mark in marks}
    result = run(shop, STRICT, **files)
    result.assert_outcomes(passed=2, errors=2)
    result.stdout.fnmatch_lines(["*virtual time would jump*use alhena_memory_client*"] * 2)


LOADED = """
    import sys

    def test_nothing_of_ours_is_imported():
        assert "pytest_alhena" in sys.modules
        assert not {"alhena_async", "aiohttp", "cattrs", "backoff"} & set(sys.modules)
"""


def test_who_uses_no_fixture_imports_nothing(shop: pytest.Pytester) -> None:
    """A run in which every plugin of the environment is loaded, ours by its entry point."""
    run(shop, STRICT, "-W", "error", test_it=LOADED).assert_outcomes(passed=1)


def test_the_plugin_imports_nothing_but_pytest() -> None:
    """As the interpreter's own account of imports says."""
    code = "import pytest, sys; print('pytest is here', file=sys.stderr); import pytest_alhena"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=True
    )
    account = done.stderr.partition("pytest is here\n")[2].splitlines()
    assert [line.rpartition("|")[2].strip() for line in account] == ["pytest_alhena"]
