"""`SyncAlhenaClient`: for code without an event loop, in threads, in forks, and at the end."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from alhena_async import (
    AlhenaTimeoutError,
    CartEvent,
    CheckoutEvent,
    ClientClosedError,
    LineItem,
    OutcomeStatus,
    QueueFullError,
    QueuePolicy,
    RejectedError,
    Visitor,
)
from alhena_async.journal import SQLiteJournal
from alhena_async.sync import SyncAlhenaClient
from alhena_async.testing import EmulatorThread
from tests.patience import PATIENCE

VISITOR = Visitor(
    fingerprint="550e8400-e29b-41d4-a716-446655440000",
    faq_fingerprint="660e8400-e29b-41d4-a716-446655441111",
)


def cart(number: int, visitor: Visitor = VISITOR) -> CartEvent:
    return CartEvent.for_change(
        visitor, before=0, after=1, product_id=f"m{number}", product_name="M", value=9.5,
        currency="EUR",
    )  # fmt: skip


def order(order_id: str) -> CheckoutEvent:
    item = LineItem(product_id="m", product_name="M", quantity=1, value=19, currency="EUR")
    return CheckoutEvent(
        visitor=VISITOR, value=19, currency="EUR", line_items=[item], order_id=order_id
    )


@pytest.fixture
def emulator() -> Iterator[EmulatorThread]:
    with EmulatorThread() as running:
        yield running


def test_the_three_calls_of_a_shop(emulator: EmulatorThread) -> None:
    """Track, record and flush deliver, from code without a loop."""
    with SyncAlhenaClient("shop", base_url=emulator.url) as alhena:
        receipt = alhena.track(cart(1))
        assert alhena.record(order("o-1")).status is OutcomeStatus.RECORDED
        assert receipt.result(PATIENCE).status is OutcomeStatus.RECORDED
        assert receipt.done()
        assert receipt.outcome is not None
        alhena.track(cart(2))
        alhena.flush(PATIENCE)
        assert alhena.stats().recorded == 3
    assert len(emulator.recorded()) == 3


def test_nothing_is_begun_before_the_first_call(emulator: EmulatorThread) -> None:
    """Made at import time, it has no thread; closed unused, it reports nothing."""
    before = threading.active_count()
    alhena = SyncAlhenaClient("shop", base_url=emulator.url)
    alhena.flush()
    assert threading.active_count() == before
    assert alhena.close().stats.accepted == 0
    with pytest.raises(ClientClosedError):
        alhena.track(cart(1))


def test_its_thread_is_named_and_ends_with_it(emulator: EmulatorThread) -> None:
    """One daemon thread, gone after `close`."""
    alhena = SyncAlhenaClient("shop", base_url=emulator.url)
    alhena.track(cart(1))
    [thread] = [one for one in threading.enumerate() if one.name == "alhena-sync"]
    assert thread.daemon
    report = alhena.close()
    assert not thread.is_alive()
    assert report.stats.recorded == 1
    assert alhena.close() is report
    assert alhena.stats() == report.stats


async def test_on_a_running_loop_it_refuses_in_words(emulator: EmulatorThread) -> None:
    """It would block the loop: the message names the client that does not."""
    alhena = SyncAlhenaClient("shop", base_url=emulator.url)
    for call in (lambda: alhena.track(cart(1)), lambda: alhena.record(cart(1)), alhena.flush,
                 alhena.close):  # fmt: skip
        with pytest.raises(RuntimeError, match="use AlhenaClient there"):
            call()
    await asyncio.to_thread(alhena.close)


def test_what_is_no_event_is_told_at_once(emulator: EmulatorThread) -> None:
    """A TypeError at the call, not in a receipt that nobody looks at."""
    with (
        SyncAlhenaClient("shop", base_url=emulator.url) as alhena,
        pytest.raises(TypeError, match="expected CartEvent or CheckoutEvent, not dict"),
    ):
        alhena.track({})  # type: ignore[arg-type]


def test_an_event_without_room_is_counted_and_told(emulator: EmulatorThread) -> None:
    """The receipt raises, `stats` counts, and a `timeout` waits for room in vain."""
    policy = QueuePolicy(capacity=1, checkout_reserve=0, linger=60, flush_at=1000)
    with SyncAlhenaClient("shop", base_url=emulator.url, queue=policy) as alhena:
        alhena.track(cart(1))
        refused = alhena.track(cart(2))
        with pytest.raises(QueueFullError):
            refused.result(PATIENCE)
        assert refused.outcome is None
        assert alhena.stats().not_accepted == 1
        with pytest.raises(AlhenaTimeoutError) as caught:
            alhena.track(cart(3), timeout=0.01)
        assert not caught.value.accepted
        alhena.close(0)


def test_a_refusal_raises_from_record() -> None:
    """Errors are those of the async client; a receipt's outcome has it and raises nothing."""
    with (
        EmulatorThread(companies=["shop"]) as emulator,
        SyncAlhenaClient("another", base_url=emulator.url) as alhena,
    ):
        with pytest.raises(RejectedError):
            alhena.record(order("o-1"))
        assert alhena.track(order("o-2")).result(PATIENCE).status is OutcomeStatus.REJECTED


def test_reporting_hides_nothing_and_raises_nothing(emulator: EmulatorThread) -> None:
    """A handler goes on with a bad event, which is counted."""
    with SyncAlhenaClient("shop", base_url=emulator.url) as alhena:
        with alhena.reporting():
            alhena.track(order(""))
        assert alhena.stats().invalid == 1


def test_many_threads_share_it_and_each_visitor_keeps_its_order(emulator: EmulatorThread) -> None:
    """Eight threads, a visitor each: nothing is lost, nothing out of order."""
    visitors = [
        Visitor(fingerprint=f"550e8400-e29b-41d4-a716-44665544000{number}",
                faq_fingerprint=f"660e8400-e29b-41d4-a716-44665544111{number}")
        for number in range(8)
    ]  # fmt: skip
    with SyncAlhenaClient("shop", base_url=emulator.url, coalescing="off") as alhena:

        def shop(visitor: Visitor) -> None:
            for number in range(25):
                alhena.track(cart(number, visitor))

        threads = [threading.Thread(target=shop, args=(one,)) for one in visitors]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        alhena.flush(PATIENCE)
    for visitor in visitors:
        own = [one for one in emulator.recorded() if one.fingerprint == visitor.fingerprint]
        assert [one.product_id for one in own] == [f"m{number}" for number in range(25)]


def test_with_a_journal_a_timeout_means_on_disk(emulator: EmulatorThread, tmp_path: Path) -> None:
    """`track(timeout=...)` returns once the event is on disk."""
    with SyncAlhenaClient("shop", base_url=emulator.url, journal=tmp_path) as alhena:
        receipt = alhena.track(cart(1), timeout=PATIENCE)
        assert receipt.result(PATIENCE).status is OutcomeStatus.RECORDED


def test_a_start_that_fails_says_so_at_each_call(emulator: EmulatorThread, tmp_path: Path) -> None:
    """And a later call tries again: the directory may be there by then."""
    place = tmp_path / "file"
    place.write_text("no directory")
    with SyncAlhenaClient("shop", base_url=emulator.url, journal=SQLiteJournal(place)) as alhena:
        for _ in range(2):
            with pytest.raises(Exception, match="file"):
                alhena.track(cart(1))
        place.unlink()
        assert alhena.record(cart(1)).status is OutcomeStatus.RECORDED


SHOP = """
import os, sys, threading, time
from alhena_async import *
from alhena_async.sync import SyncAlhenaClient
from tests.unit.test_sync import cart, order
alhena = SyncAlhenaClient("shop", base_url=sys.argv[1], journal={journal})
{body}
"""


def run(emulator: EmulatorThread, body: str, journal: str = "None") -> str:
    """Run a shop's program, and return what it said; its warnings are errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning", "-c",
         SHOP.format(body=body, journal=journal), emulator.url],
        capture_output=True, text=True, timeout=PATIENCE, check=False,
        cwd=Path(__file__).parents[2], env={**os.environ, "PYTHONPATH": "."},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert "Exception ignored" not in done.stderr, done.stderr
    return done.stdout


def test_a_script_that_just_ends_loses_nothing(emulator: EmulatorThread) -> None:
    """At the interpreter's end what waits is delivered, over connections yet to be made."""
    run(emulator, "for number in range(50): alhena.track(order(f'o-{number}'))")
    assert len(emulator.recorded()) == 50


def test_a_script_that_raises_loses_nothing(emulator: EmulatorThread) -> None:
    """Nor does one that ends by `sys.exit` in the middle."""
    run(emulator, "alhena.track(order('o-1'))\nsys.exit(0)")
    assert len(emulator.recorded()) == 1


FORKS = """
alhena.track(order("parent-0"))
children = []
for number in range(3):
    child = os.fork()
    if child == 0:
        alhena.track(order(f"child-{number}"))
        alhena.flush(60)
        assert alhena.stats().recorded == 1, alhena.stats()
        sys.exit(0)
    children.append(child)
for child in children:
    assert os.waitpid(child, 0)[1] == 0
alhena.track(order("parent-1"))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("journal", ["None", "a directory", "a journal"])
def test_each_child_of_a_fork_begins_anew(
    emulator: EmulatorThread, tmp_path: Path, journal: str
) -> None:
    """Children deliver their own and nothing of the parent's, which goes on."""
    place = repr(str(tmp_path / "journal"))
    given = {
        "None": "None",
        "a directory": place,
        "a journal": f"__import__('alhena_async.journal').journal.SQLiteJournal({place})",
    }[journal]
    run(emulator, FORKS, given)
    ids = sorted(str(one.order_id) for one in emulator.recorded())
    assert ids == ["child-0", "child-1", "child-2", "parent-0", "parent-1"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_of_multiprocessing_delivers_at_its_end(emulator: EmulatorThread) -> None:
    """It ends without `atexit`, and loses nothing all the same."""
    run(
        emulator,
        "import multiprocessing\n"
        "def work(number): alhena.track(order(f'child-{number}'))\n"
        "alhena.track(order('parent'))\n"
        "context = multiprocessing.get_context('fork')\n"
        "several = [context.Process(target=work, args=(n,)) for n in range(3)]\n"
        "[one.start() for one in several]; [one.join() for one in several]\n",
    )
    assert len(emulator.recorded()) == 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_while_another_thread_makes_the_first_call(emulator: EmulatorThread) -> None:
    """A lock that a thread held as the process forked holds up no child."""
    run(
        emulator,
        "alhena._lock.acquire()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    alhena.record(order('child'))\n"
        "    sys.exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "alhena._lock.release()\n",
    )
    assert [one.order_id for one in emulator.recorded()] == ["child"]


@pytest.mark.parametrize(
    ("patched", "patch"),
    [
        ("gevent", "from gevent.monkey import patch_all; patch_all()"),
        ("eventlet", "import eventlet; eventlet.monkey_patch()"),
    ],
)
def test_where_threads_are_patched_it_says_so_when_it_is_made(patched: str, patch: str) -> None:
    """Its loop would run in the caller's own thread, and hold up every greenlet."""
    pytest.importorskip(patched, reason=f"{patched} is not installed")
    program = f"""
{patch}
from alhena_async.sync import SyncAlhenaClient
try:
    SyncAlhenaClient("shop")
except RuntimeError as error:
    assert "{patched} has patched threading" in str(error)
    print("refused")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE,
        check=False,
    )  # fmt: skip
    assert done.stdout == "refused\n", done.stderr
