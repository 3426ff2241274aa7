"""`with client.reporting()`: no error of ours leaves it, and none of them is hidden."""

import asyncio
import concurrent.futures
import logging
import threading
from decimal import Decimal
from typing import Any

import pytest

from alhena_async import (
    AlhenaClient,
    AlhenaError,
    AlhenaTimeoutError,
    CartEvent,
    ClientClosedError,
    DeliveryError,
    InvalidEventError,
    JournalError,
    Observer,
    Outcome,
    OutcomeStatus,
    QueueFullError,
    QueuePolicy,
    errors,
)
from alhena_async.money import from_minor
from alhena_async.testing import virtual
from tests.memory_journal import MemoryJournal
from tests.scripted import HANG, Script, balance, cart, checkout, client_over, code, visitor

MARK = "Xyzzy"
VISITOR = visitor("v")  # made here: that it is no UUID is said once, and belongs to no test
NOW = QueuePolicy(linger=0.0)


class Reports(Observer):
    """Writes down what was caught, and in which thread it was told."""

    def __init__(self) -> None:
        self.invalids: list[InvalidEventError] = []
        self.refused: list[AlhenaError] = []
        self.threads: set[str] = set()

    def invalid(self, error: InvalidEventError) -> None:
        self.invalids.append(error)
        self.threads.add(threading.current_thread().name)

    def not_accepted(self, error: AlhenaError) -> None:
        self.refused.append(error)
        self.threads.add(threading.current_thread().name)


def change(**changed: Any) -> CartEvent:
    fields: dict[str, Any] = {
        "before": 0,
        "after": 1,
        "product_id": "sku",
        "product_name": "Mug",
        "value": Decimal("9.50"),
        "currency": "EUR",
    }
    return CartEvent.for_change(VISITOR, **(fields | changed))


MISTAKES: dict[str, dict[str, Any]] = {
    "lower case": {"currency": "eur"},
    "text for a price": {"value": "9.50"},
    "no price": {"value": None},
    "no name": {"product_name": ""},
    "no id": {"product_id": None},
    "negative": {"after": -1},
    "several": {"currency": "eur", "value": "9.50", "product_name": None},
}


@pytest.mark.parametrize("mistake", MISTAKES)
@virtual
async def test_a_mistake_leaves_a_trace(mistake: str, caplog: pytest.LogCaptureFixture) -> None:
    """The handler goes on; log, count and observer have it, and nothing was sent or accepted."""
    caplog.set_level(logging.WARNING, logger="alhena_async")
    reports, transport = Reports(), Script()
    async with client_over(transport, observers=[reports], queue=NOW) as client:
        with client.reporting():
            client.track_nowait(change(**MISTAKES[mistake]))
        with client.reporting():
            client.track_nowait(change())
        await client.flush()
        stats = client.stats()
        balance(client)
    assert (stats.invalid, stats.accepted, stats.recorded) == (1, 1, 1)
    assert len(transport.sent) == 1
    [error] = reports.invalids
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    for field, rule, _ in error.problems:
        assert field in record.getMessage()
        assert rule in record.getMessage()
    assert "test_reporting.py:" in record.getMessage()  # where in the shop's code
    assert (vars(record)["alhena_field"], vars(record)["alhena_rule"]) == (error.field, error.rule)


@virtual
async def test_nothing_of_a_value_is_logged_above_debug(caplog: pytest.LogCaptureFixture) -> None:
    """Not even what the error itself may show."""
    caplog.set_level(logging.INFO, logger="alhena_async")
    async with client_over(Script(), queue=NOW) as client:
        for changed in ({"currency": "xyz"}, {"product_name": [MARK]}, {"after": -9}):
            with client.reporting():
                change(product_id=MARK, **changed)
        with client.reporting():
            CartEvent.changes(None, before=[], after=[])  # type: ignore[arg-type]
    lines = [record.getMessage() for record in caplog.records if record.levelno > logging.INFO]
    assert len(lines) == 4
    assert not any(MARK in line or '"xyz"' in line or "-9" in line for line in lines)


@virtual
async def test_a_flood_cannot_drown_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Each field and rule is said at its 1st, 10th, 100th time: a new mistake is never mute."""
    caplog.set_level(logging.WARNING, logger="alhena_async")
    async with client_over(Script()) as client:
        for number in range(1_000):
            with client.reporting():
                change(currency="eur")
            if number == 500:
                with client.reporting():
                    change(currency="eur", product_name="")
        assert client.stats().invalid == 1_001
    assert len(caplog.records) == 5
    assert [record for record in caplog.messages if "product_name is empty" in record]


@virtual
async def test_the_places_of_lines_are_no_mistakes_of_their_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An order of 500 nameless lines is one line of the log, and so are 500 such orders."""
    caplog.set_level(logging.WARNING, logger="alhena_async")
    async with client_over(Script()) as client:
        lines = [{"product_id": number, "quantity": 1} for number in range(500)]
        for number in range(9):
            with client.reporting():
                CartEvent.changes(VISITOR, before=[], after=lines[number:])
    assert len(caplog.records) <= 4


@virtual
async def test_an_unchanged_quantity_is_no_mistake(caplog: pytest.LogCaptureFixture) -> None:
    """A cart that is saved twice: a debug line, and nothing is counted."""
    caplog.set_level(logging.DEBUG, logger="alhena_async")
    reports = Reports()
    async with client_over(Script(), observers=[reports]) as client:
        with client.reporting():
            client.track_nowait(change(before=2, after=2))
        assert client.stats().invalid == 0
    assert reports.invalids == []
    assert {record.levelno for record in caplog.records} == {logging.DEBUG, logging.INFO}
    assert "nothing changed" in caplog.text


@virtual
async def test_minor_units_that_are_none_end_there_too() -> None:
    """A price is converted inside the block."""
    async with client_over(Script()) as client:
        with client.reporting():
            from_minor("1999", "EUR")  # type: ignore[arg-type]
        assert client.stats().invalid == 1


FOREIGN: list[BaseException] = [
    ValueError("mine"),
    KeyError("price"),
    TimeoutError(),
    RuntimeError("elsewhere"),
    asyncio.CancelledError(),
    KeyboardInterrupt(),
    SystemExit(3),
    ExceptionGroup("group", [InvalidEventError("value", "must be", "str")]),
]


@pytest.mark.parametrize("error", FOREIGN, ids=lambda error: type(error).__name__)
def test_nothing_else_is_caught(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """A shop's own errors are the shop's, and a cancellation is nobody's to keep."""
    client = client_over(Script())
    with pytest.raises(type(error)) as caught, client.reporting():
        raise error
    assert caught.value is error
    assert client.stats().invalid == client.stats().not_accepted == 0
    assert not caplog.records


@virtual
async def test_blocks_stand_within_one_another() -> None:
    """The inner one ends the error, once; what follows in the outer one runs."""
    async with client_over(Script(), queue=NOW) as client:
        with client.reporting():
            with client.reporting():
                change(currency="eur")
            client.track_nowait(change())
        assert client.stats().invalid == 1
        assert client.stats().accepted == 1
        block = client.reporting()
        with block, block:
            change(currency="eur")
        assert client.stats().invalid == 2


@virtual
async def test_a_full_queue_is_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    """By its own number: such an event was right, and found no room."""
    caplog.set_level(logging.WARNING, logger="alhena_async")
    reports = Reports()
    queue = QueuePolicy(capacity=1)
    async with client_over(Script(HANG), observers=[reports], queue=queue) as client:
        for _ in range(12):
            with client.reporting():
                client.track_nowait(checkout("v"))
        await asyncio.sleep(0)
        stats = client.stats()
        assert (stats.accepted, stats.not_accepted, stats.invalid) == (1, 11, 0)
        await client.close(timeout=0)
    assert [type(error) for error in reports.refused] == [QueueFullError] * 11
    lines = [line for line in caplog.messages if "not accepted" in line]
    assert len(lines) == 2  # the 1st and the 10th
    assert "QueuePolicy.capacity" in lines[0]


@virtual
@pytest.mark.parametrize("call", ["track", "record"])
async def test_a_wait_for_room_that_ends_is_counted_and_logged(
    call: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It neither fails the request nor vanishes: the event was not accepted."""
    caplog.set_level(logging.WARNING, logger="alhena_async")
    reports = Reports()
    queue = QueuePolicy(capacity=1)
    async with client_over(Script(HANG), observers=[reports], queue=queue) as client:
        client.track_nowait(checkout("v"))
        for _ in range(2):
            with client.reporting():
                await getattr(client, call)(checkout("v"), timeout=0.5)
        await asyncio.sleep(0)
        stats = client.stats()
        assert (stats.accepted, stats.not_accepted, stats.invalid) == (1, 2, 0)
        await client.close(timeout=0)
    assert [type(error) for error in reports.refused] == [AlhenaTimeoutError] * 2
    [line] = [line for line in caplog.messages if "an event was not accepted" in line]
    assert "no room" in line or "no outcome" in line


@virtual
async def test_an_accepted_event_that_is_late_is_only_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """On a slow disk, or waited for with `record` or `flush`, it goes on its way."""
    caplog.set_level(logging.WARNING, logger="alhena_async")
    reports = Reports()
    async with client_over(
        Script(HANG), observers=[reports], journal=MemoryJournal(latency=10.0), queue=NOW
    ) as client:
        with client.reporting():
            await client.track(checkout("v"), timeout=0.5)
        with client.reporting():
            await client.record(checkout("w"), timeout=0.5)
        with client.reporting():
            await client.flush(timeout=0.5)
        stats = client.stats()
        assert (stats.accepted, stats.not_accepted, stats.invalid) == (2, 0, 0)
        balance(client)
        await client.close(timeout=0)
    assert reports.refused == []
    [line] = [line for line in caplog.messages if "not in time" in line]
    assert "the event was accepted and stays queued" in line


@virtual
async def test_a_closed_client_is_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A request that comes in while the server stops: the customer must not see it."""
    caplog.set_level(logging.WARNING, logger="alhena_async")
    reports = Reports()
    client = client_over(Script(), observers=[reports])
    async with client:
        pass
    with client.reporting():
        client.track_nowait(cart())
    with client.reporting():
        await client.track(cart())
    with client.reporting():
        client.track_threadsafe(cart())
    await asyncio.sleep(0)
    assert client.stats().not_accepted == 3
    assert [type(error) for error in reports.refused] == [ClientClosedError] * 3
    assert len([line for line in caplog.messages if "not accepted" in line]) == 1


@virtual
async def test_a_thread_that_does_not_wait_is_heard_of(caplog: pytest.LogCaptureFixture) -> None:
    """The future has the error, and nobody looks at it: number and line are there all the same."""
    reports = Reports()
    queue = QueuePolicy(capacity=1)
    async with client_over(Script(HANG), observers=[reports], queue=queue) as client:
        client.track_nowait(cart())
        future = client.track_threadsafe(cart())
        await asyncio.wait({asyncio.wrap_future(future)})
        await asyncio.sleep(0)
        assert client.stats().not_accepted == 1
        with client.reporting():
            future.result()  # who looks is told the same error, which counts once
        await asyncio.sleep(0)
        assert client.stats().not_accepted == len(reports.refused) == 1
        await client.close(timeout=0)
    assert "not accepted" in caplog.text


@virtual
async def test_what_is_counted_elsewhere_is_not_counted_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An outcome's error has its outcome, a journal's error has the journal's own line."""
    caplog.set_level(logging.DEBUG, logger="alhena_async")
    reports = Reports()
    async with client_over(
        Script(code("COMPANY_NOT_FOUND")), observers=[reports], queue=NOW
    ) as client:
        with client.reporting():
            await client.record(cart())
        with client.reporting():
            raise JournalError("the disk is full")
        assert client.stats().rejected == 1
        assert client.stats().invalid == client.stats().not_accepted == 0
    assert reports.invalids == reports.refused == []
    levels = {
        record.levelno
        for record in caplog.records
        if "CompanyNotFoundError" in record.getMessage() or "JournalError" in record.getMessage()
    }
    assert levels == {logging.DEBUG}


async def test_handlers_in_threads_may_use_it() -> None:
    """A `def` handler runs in a thread: observers hear on the loop, and every mistake counts."""
    reports = Reports()
    client = AlhenaClient("shop", transport=Script(), observers=[reports])

    def handler(number: int) -> None:
        with client.reporting():
            client.track_threadsafe(change(currency="eur" if number % 2 else "EUR"))

    async with client:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            loop = asyncio.get_running_loop()
            await asyncio.gather(*(loop.run_in_executor(pool, handler, n) for n in range(400)))
        await client.flush()
        assert client.stats().invalid == 200
        assert client.stats().accepted == 200
    assert len(reports.invalids) == 200
    assert reports.threads == {threading.current_thread().name}


def test_before_the_start_it_works_as_well() -> None:
    """A client that is made and not started has no loop: observers are told there and then."""
    reports = Reports()
    client = AlhenaClient("shop", transport=Script(), observers=[reports])
    with client.reporting():
        change(currency="eur")
    assert client.stats().invalid == len(reports.invalids) == 1


def test_after_the_loop_is_gone_it_works_as_well() -> None:
    """A thread may outlive the loop."""
    reports = Reports()

    async def live() -> AlhenaClient:
        async with AlhenaClient("shop", transport=Script(), observers=[reports]) as client:
            return client

    client = asyncio.run(live())
    with client.reporting():
        change(currency="eur")
    with client.reporting():
        client.track_threadsafe(change())
    assert (client.stats().invalid, client.stats().not_accepted) == (1, 1)
    assert (len(reports.invalids), len(reports.refused)) == (1, 1)


@virtual
async def test_an_observer_that_raises_harms_nothing() -> None:
    """As with every other call."""

    class Raises(Observer):
        def invalid(self, error: InvalidEventError) -> None:
            raise ZeroDivisionError

    async with client_over(Script(), observers=[Raises()]) as client:
        with client.reporting():
            change(currency="eur")
        await asyncio.sleep(0)
        assert client.stats().invalid == 1


def test_every_error_of_ours_ends_there() -> None:
    """The whole tree, whatever its class."""
    client = client_over(Script())
    kinds = [getattr(errors, name) for name in errors.__all__ if name.endswith("Error")]
    for kind in kinds:
        with client.reporting():
            raise _made(kind)
    assert len(kinds) > 15


def _made(kind: type[AlhenaError]) -> AlhenaError:
    if issubclass(kind, InvalidEventError):
        return kind("value", "must be", "str")
    if issubclass(kind, DeliveryError):
        return kind(Outcome(status=OutcomeStatus.REJECTED, event=cart()))
    return kind(1) if issubclass(kind, QueueFullError) else kind("closed")
