"""`SyncAlhenaClient`: for code without an event loop, in threads, in forks, and at the end."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from alhena_async import (
    AlhenaError,
    AlhenaTimeoutError,
    CartEvent,
    CheckoutEvent,
    ClientClosedError,
    Event,
    JournalError,
    LineItem,
    Observer,
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
from tests.scripted import Script

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


def test_one_client_serves_every_invocation_of_a_function(emulator: EmulatorThread) -> None:
    """Also where the API has closed the kept connection meanwhile, and from a coroutine's run."""
    alhena = SyncAlhenaClient("shop", base_url=emulator.url, queue=QueuePolicy(linger=600))

    async def handle(number: int) -> None:
        await asyncio.to_thread(alhena.track, cart(number))

    for number in range(3):
        asyncio.run(handle(number))
        alhena.flush(PATIENCE)
        assert len(emulator.recorded()) == number + 1
        emulator.stop()
        emulator.start()
    alhena.close()


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


FORK_WHILE_IT_STARTS = """
from alhena_async.testing import MemoryTransport
opening, may_open = threading.Event(), threading.Event()
class Slow(MemoryTransport):
    async def open(self):
        opening.set()
        while os.getpid() == parent and not may_open.is_set():
            await asyncio.sleep(0.01)
        await super().open()
import asyncio
parent = os.getpid()
alhena = SyncAlhenaClient("shop", transport=Slow())
first = threading.Thread(target=lambda: alhena.track(order("parent")))
first.start()
opening.wait()
child = os.fork()
if child == 0:
    assert alhena.track(order("child")).result(60).status is OutcomeStatus.RECORDED
    assert alhena.close().stats.recorded == 1
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
may_open.set()
first.join()
assert alhena.close().stats.recorded == 1
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_while_another_thread_starts_the_client(emulator: EmulatorThread) -> None:
    """The child's own begins anew; the parent's goes on."""
    run(emulator, FORK_WHILE_IT_STARTS)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_after_a_failed_start(emulator: EmulatorThread, tmp_path: Path) -> None:
    """Neither the failure nor the thread that met it is in the child's way."""
    place = tmp_path / "file"
    place.write_text("no directory")
    run(
        emulator,
        f"place = {str(place)!r}\n"
        "with alhena.reporting(): alhena.track(order('parent'))\n"
        "os.unlink(place)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    alhena.record(order('child'))\n"
        "    sys.exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0\n",
        repr(str(place)),
    )
    assert [one.order_id for one in emulator.recorded()] == ["child"]


def test_a_start_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was accepted; the next call begins another client, and the late one is closed."""
    monkeypatch.setattr("alhena_async.sync._START_TIMEOUT", 0.05)
    gate = threading.Event()
    closed = threading.Event()

    class Slow(Script):
        async def open(self) -> None:
            await asyncio.to_thread(gate.wait)
            await super().open()

        async def close(self) -> None:
            await super().close()
            closed.set()

    alhena = SyncAlhenaClient("shop", transport=Slow())
    with pytest.raises(AlhenaTimeoutError, match="not started within") as caught:
        alhena.track(cart(1))
    assert not caught.value.accepted
    assert alhena.stats().not_accepted == 1
    gate.set()
    assert closed.wait(PATIENCE)
    monkeypatch.setattr("alhena_async.sync._START_TIMEOUT", PATIENCE)
    assert alhena.record(cart(2)).status is OutcomeStatus.RECORDED
    alhena.close()


def test_a_first_call_that_is_cut_off_is_no_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the client starts: that one is closed, and a later call begins another."""
    gate, closed = threading.Event(), threading.Event()

    class Slow(Script):
        async def open(self) -> None:
            await asyncio.to_thread(gate.wait)
            await super().open()

        async def close(self) -> None:
            await super().close()
            closed.set()

    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    alhena = SyncAlhenaClient("shop", transport=Slow())
    with monkeypatch.context() as patched:
        patched.setattr("alhena_async.sync.concurrent.futures.wait", cut_off)
        with pytest.raises(KeyboardInterrupt):
            alhena.track(cart(1))
    gate.set()
    assert closed.wait(PATIENCE)
    assert alhena.health().ready
    assert alhena.record(cart(2)).status is OutcomeStatus.RECORDED
    alhena.close()


def test_a_thread_that_fails_before_the_start_tells_whoever_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No event loop can be made, as no file can be opened any more."""

    def no_loop(work: Coroutine[Any, Any, None]) -> None:
        work.close()
        raise OSError("too many open files")

    alhena = SyncAlhenaClient("shop", transport=Script())
    with monkeypatch.context() as patched:
        patched.setattr("alhena_async.sync.asyncio.run", no_loop)
        with pytest.raises(OSError, match="too many open files"):
            alhena.track(cart(1))
    assert alhena.record(cart(2)).status is OutcomeStatus.RECORDED
    alhena.close()


def test_a_client_that_nobody_holds_any_more_loses_nothing(emulator: EmulatorThread) -> None:
    """Used within a function, and never closed: it ends with the process."""
    run(
        emulator,
        "import gc\n"
        "def job():\n"
        "    own = SyncAlhenaClient('shop', base_url=sys.argv[1], queue=QueuePolicy(linger=600))\n"
        "    for number in range(5): own.track(order(f'o-{number}'))\n"
        "job()\n"
        "gc.collect()\n",
    )
    assert len(emulator.recorded()) == 5


def test_a_closed_client_is_let_go(emulator: EmulatorThread) -> None:
    """And so is one that was never used."""
    used, unused = SyncAlhenaClient("shop", base_url=emulator.url), SyncAlhenaClient("shop")
    used.record(cart(1))
    used.close()
    gone = weakref.ref(used), weakref.ref(unused)
    del used, unused
    gc.collect()
    assert [one() for one in gone] == [None, None]


class Holding(Observer):
    """An observer that holds up the client's event loop, until it is let go."""

    def __init__(self) -> None:
        self.holds = threading.Event()
        self.may_go = threading.Event()

    def accepted(self, event: Event) -> None:
        self.holds.set()
        self.may_go.wait(PATIENCE)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[SyncAlhenaClient, Holding]]:
    """A client whose event loop does not turn."""
    monkeypatch.setattr("alhena_async.sync._MARGIN", 0.05)
    observer = Holding()
    alhena = SyncAlhenaClient("shop", transport=Script(), observers=[observer])
    alhena.track(cart(0))
    assert observer.holds.wait(PATIENCE)
    yield alhena, observer
    observer.may_go.set()
    monkeypatch.setattr("alhena_async.sync._MARGIN", PATIENCE)
    alhena.close()


Held = tuple[SyncAlhenaClient, Holding]


@pytest.mark.parametrize("call", ["track", "record"])
def test_an_event_that_a_held_loop_never_saw_is_withdrawn(held: Held, call: str) -> None:
    """The error is one of this package's, and tells the truth about the event."""
    alhena, observer = held
    with pytest.raises(AlhenaTimeoutError, match="it was not accepted") as caught:
        getattr(alhena, call)(cart(1), timeout=0.01)
    assert not caught.value.accepted
    with alhena.reporting():
        getattr(alhena, call)(cart(2), timeout=0.01)
    observer.may_go.set()
    alhena.flush(PATIENCE)
    stats = alhena.stats()
    assert (stats.accepted, stats.not_accepted) == (1, 1)


class Counting(Observer):
    """An observer that waits for what was not accepted."""

    def __init__(self) -> None:
        self.told = threading.Event()

    def not_accepted(self, error: AlhenaError) -> None:
        self.told.set()


def test_an_event_that_a_held_loop_has_begun_with_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its caller hears that it must not be repeated; what finds no room after all is counted."""
    holds, may_go = threading.Event(), threading.Event()

    def hold(event: Event) -> Event:
        holds.set()
        may_go.wait(PATIENCE)
        return event

    def late(_: object, timeout: float | None) -> bool:
        assert holds.wait(PATIENCE)
        return False

    observer = Counting()
    queue = QueuePolicy(capacity=1, checkout_reserve=0, linger=600)
    alhena = SyncAlhenaClient(
        "shop", transport=Script(), queue=queue, before_send=hold, observers=[observer]
    )
    for number in range(2):
        holds.clear()
        may_go.clear()
        with monkeypatch.context() as patched:
            patched.setattr("alhena_async.sync._is_over", late)
            with pytest.raises(AlhenaTimeoutError, match="on its way in") as caught:
                alhena.track(cart(number), timeout=0.1)
        assert caught.value.accepted
        may_go.set()
    assert observer.told.wait(PATIENCE)
    stats = alhena.close().stats
    assert (stats.accepted, stats.recorded, stats.not_accepted) == (1, 1, 1)


@pytest.mark.parametrize("call", ["flush", "pause", "resume", "close"])
def test_no_call_to_a_held_loop_leaves_the_tree_of_errors(held: Held, call: str) -> None:
    """Whoever catches `AlhenaError` catches it; what was asked for is done in the end."""
    alhena, _ = held
    steered = {} if call in {"pause", "resume"} else {"timeout": 0.01}
    with pytest.raises(AlhenaTimeoutError, match=f"{call}: the client's event loop"):
        getattr(alhena, call)(**steered)


def test_counts_are_told_also_where_the_loop_is_held(held: Held) -> None:
    """From plain code after a while, and on an event loop without waiting."""
    alhena, _ = held

    async def look() -> int:
        return alhena.stats().accepted

    assert asyncio.run(look()) == 1
    assert alhena.stats().accepted == 1


async def test_counts_are_asked_for_on_a_loop_without_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The client's own loop is not asked."""
    alhena = SyncAlhenaClient("shop", transport=Script())
    await asyncio.to_thread(alhena.record, cart(1))
    with monkeypatch.context() as patched:
        patched.setattr("alhena_async.sync._Home.call", None)
        assert alhena.stats().recorded == 1
    await asyncio.to_thread(alhena.close)


def test_threads_that_wait_for_one_start_share_its_failure() -> None:
    """Each of them hears why, and each event is counted."""
    gate = threading.Event()

    class Failing(Script):
        async def open(self) -> None:
            await asyncio.to_thread(gate.wait)
            raise JournalError("the disk is gone")

    alhena = SyncAlhenaClient("shop", transport=Failing())
    failures: list[str] = []

    def shop() -> None:
        try:
            alhena.track(cart(1))
        except JournalError as error:
            failures.append(str(error))

    threads = [threading.Thread(target=shop) for _ in range(5)]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join()
    assert failures == ["the disk is gone"] * 5
    assert alhena.stats().not_accepted == 5


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


def test_it_can_be_paused_and_go_on(emulator: EmulatorThread) -> None:
    """Also before the first event; that begins nothing."""
    before = threading.active_count()
    with SyncAlhenaClient("shop", base_url=emulator.url) as alhena:
        alhena.pause()
        assert threading.active_count() == before
        assert alhena.stats().paused
        receipt = alhena.track(order("o-1"))
        with pytest.raises(AlhenaTimeoutError, match="the client is paused"):
            alhena.flush(0.05)
        assert emulator.recorded() == []
        alhena.resume()
        assert receipt.result(PATIENCE).status is OutcomeStatus.RECORDED
        alhena.pause()
        alhena.track(cart(1))
        assert len(alhena.close().undelivered) == 1
    with pytest.raises(ClientClosedError):
        alhena.resume()


PAUSED_FORK = """
alhena.track(order("parent")).result(60)
alhena.pause()
child = os.fork()
if child == 0:
    receipt = alhena.track(order("child"))
    assert alhena.stats().paused
    alhena.resume()
    receipt.result(60)
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
assert alhena.stats().paused
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_of_a_paused_client_is_paused(emulator: EmulatorThread) -> None:
    """Its own word lets it go on, and not the parent."""
    run(emulator, PAUSED_FORK)
    assert sorted(str(one.order_id) for one in emulator.recorded()) == ["child", "parent"]
