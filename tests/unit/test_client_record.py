"""`record` and `record_all`: the final outcome, in order."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from alhena_async import (
    AlhenaError,
    CartEvent,
    ClientClosedError,
    CompanyNotFoundError,
    DeliveryAbandonedError,
    DeliveryError,
    DeliveryExpiredError,
    DeliveryUnknownError,
    Event,
    InvalidEvent,
    InvalidEventError,
    MissingRequiredFieldsError,
    Outcome,
    OutcomeStatus,
    PreviousItemAddedEventNotFoundError,
    PreviousQuantityIncreasedEventNotFoundError,
    QueuePolicy,
    RejectedError,
    RetryPolicy,
)
from alhena_async.testing import virtual
from tests.scripted import (
    HANG,
    OK,
    RESET,
    Script,
    balance,
    cart,
    checkout,
    client_over,
    code,
    status,
)

GOOD = {
    OutcomeStatus.RECORDED: OK,
    OutcomeStatus.DUPLICATE: code("ORDER_ALREADY_EXISTS"),
    OutcomeStatus.UNATTRIBUTED: code("ACTIVE_TICKET_NOT_FOUND"),
}
BAD: dict[type[DeliveryError], Any] = {
    MissingRequiredFieldsError: code("MISSING_REQUIRED_FIELDS"),
    CompanyNotFoundError: code("COMPANY_NOT_FOUND"),
    PreviousItemAddedEventNotFoundError: code("PREVIOUS_ITEM_ADDED_EVENT_NOT_FOUND"),
    PreviousQuantityIncreasedEventNotFoundError: code(
        "PREVIOUS_QUANTITY_INCREASED_EVENT_NOT_FOUND"
    ),
    RejectedError: status(404),
    DeliveryExpiredError: status(429),
    DeliveryUnknownError: RESET,
}


@pytest.mark.parametrize("ending", GOOD)
@virtual
async def test_record_returns_what_is_no_fault_of_the_shop(ending: OutcomeStatus) -> None:
    """Recorded, recorded before, or a visitor who never chatted."""
    async with client_over(Script(GOOD[ending])) as client:
        outcome = await client.record(checkout())
        assert outcome.status is ending
        assert outcome.attempts == 1


@pytest.mark.parametrize("error", BAD)
@virtual
async def test_record_raises_any_other_outcome_as_its_own_class(error: type[DeliveryError]) -> None:
    """Exactly that class, carrying the outcome, under `AlhenaError`."""
    retry = RetryPolicy(max_attempts=1, assign_order_ids=False)
    async with client_over(Script(otherwise=BAD[error]), retry=retry) as client:
        with pytest.raises(AlhenaError) as caught:
            await client.record(checkout(order_id=None))
        assert type(caught.value) is error
        assert isinstance(caught.value, DeliveryError)
        assert caught.value.outcome.attempts == 1
        balance(client)


@virtual
async def test_record_that_takes_too_long_leaves_the_event_queued() -> None:
    """`TimeoutError` says so, and the event is delivered later."""
    transport = Script(status(503, retry_after=20))
    async with client_over(transport) as client:
        with pytest.raises(TimeoutError, match=r"within 10.0 s; the event stays queued"):
            await client.record(cart())
        assert asyncio.get_running_loop().time() == pytest.approx(10.0)
        assert client.stats().in_flight == 1
        await client.flush()
        assert client.stats().recorded == 1


@virtual
async def test_record_that_finds_no_room_in_time_says_that_nothing_was_accepted() -> None:
    """The two timeouts read differently, for what to do next differs."""
    async with client_over(Script(HANG), queue=QueuePolicy(capacity=1)) as client:
        client.track_nowait(checkout())
        with pytest.raises(TimeoutError, match=r"within 3 s; no room, not accepted"):
            await client.record(cart(), timeout=3)
        assert client.stats().accepted == 1
        await client.close(timeout=0)


@virtual
async def test_record_without_a_timeout_waits_as_long_as_it_takes() -> None:
    """None: the event's own deadline is the only one."""
    transport = Script(status(503, retry_after=250))
    async with client_over(transport) as client:
        outcome = await client.record(cart(), timeout=None)
        assert outcome.elapsed >= 250


@virtual
async def test_record_cancelled_leaves_the_delivery_alone() -> None:
    """Once accepted, the event is delivered, whoever stopped waiting."""
    transport = Script(latency=1.0)
    async with client_over(transport) as client:
        waiting = asyncio.create_task(client.record(cart()))
        await asyncio.sleep(0.5)
        waiting.cancel()
        await asyncio.sleep(1.0)
        assert waiting.cancelled()
        assert client.stats().recorded == 1


@virtual
async def test_record_of_an_abandoned_event_raises() -> None:
    """The client closed first."""
    async with client_over(Script(HANG)) as client:
        waiting = asyncio.create_task(client.record(cart()))
        await asyncio.sleep(0.5)
        await client.close(timeout=0)
        with pytest.raises(DeliveryAbandonedError):
            await waiting


async def _later(events: list[Event]) -> AsyncIterator[Event]:
    for event in events:
        await asyncio.sleep(0.01)
        yield event


@pytest.mark.parametrize("kind", ["list", "iterator", "async iterator"])
@virtual
async def test_record_all_yields_the_outcomes_in_the_order_of_the_events(kind: str) -> None:
    """Whatever order they are settled in, and whatever kind of iterable they come from."""
    endings = {"a": code("COMPANY_NOT_FOUND"), "b": status(429), "c": OK, "d": OK}
    transport = Script(otherwise=lambda sent: endings.pop(sent.fingerprint, OK), latency=0.1)
    events: list[Event] = [cart(who, quantity=n) for n, who in enumerate("abcdaabbdd", start=1)]
    source: Any = {"list": events, "iterator": iter(events), "async iterator": _later(events)}
    async with client_over(transport) as client:
        outcomes = [outcome async for outcome in client.record_all(source[kind])]
        balance(client)
    assert [outcome.event for outcome in outcomes] == events
    assert outcomes[0].status is OutcomeStatus.REJECTED
    assert {outcome.status for outcome in outcomes[1:]} == {OutcomeStatus.RECORDED}


@virtual
async def test_record_all_reads_no_further_than_its_window() -> None:
    """A source of a million is never in memory at once, and the window is used in full."""
    transport = Script(latency=0.1)
    read = yielded = 0
    ahead: list[int] = []

    def source() -> Iterator[Event]:
        nonlocal read
        for number in range(200):
            read += 1
            ahead.append(read - yielded)
            yield cart(f"v{number}")

    async with client_over(transport) as client:
        async for _ in client.record_all(source(), window=8):
            yielded += 1
    assert yielded == 200
    assert max(ahead) <= 9
    assert transport.max_in_flight == 8


@virtual
async def test_record_all_stopped_early_leaves_what_was_read_queued() -> None:
    """What was read is delivered; nothing more is read."""
    read = 0

    def source() -> Iterator[Event]:
        nonlocal read
        for number in range(100):
            read += 1
            yield cart(f"v{number}")

    async with client_over(Script(latency=0.1)) as client:
        outcomes = client.record_all(source(), window=10)
        async for _ in outcomes:
            break
        await outcomes.aclose()  # type: ignore[attr-defined]  # an async generator
        accepted = client.stats().accepted
        assert read == accepted == 10
        await client.flush()
        assert client.stats().recorded == accepted


@pytest.mark.parametrize("wrong", ["raises", "is no event"])
@virtual
async def test_record_all_tells_all_outcomes_before_its_source_fails(wrong: str) -> None:
    """As a loop over `record` would: else an import could not tell what was recorded."""

    def source() -> Iterator[Any]:
        yield cart("a")
        yield cart("b")
        if wrong == "raises":
            raise LookupError("row 3")
        yield "row 3"

    outcomes: list[Outcome] = []
    async with client_over(Script(latency=0.1)) as client:

        async def consume() -> None:
            async for outcome in client.record_all(source()):
                outcomes.append(outcome)  # noqa: PERF401  what came before the error is kept

        with pytest.raises(LookupError if wrong == "raises" else TypeError):
            await consume()
    assert [outcome.event for outcome in outcomes] == [cart("a"), cart("b")]


@virtual
async def test_record_all_waits_for_room() -> None:
    """A window wider than the queue is no fault."""
    async with client_over(Script(latency=0.1), queue=QueuePolicy(capacity=3)) as client:
        events = [cart(f"v{number}") for number in range(20)]
        outcomes = [outcome async for outcome in client.record_all(events)]
    assert len(outcomes) == 20


@virtual
async def test_record_all_on_a_client_that_closes_ends_with_its_error() -> None:
    """What was accepted has an outcome, and the rest is refused loudly."""
    async with client_over(Script(latency=1.0)) as client:
        outcomes: list[Outcome] = []

        async def consume() -> None:
            events = [cart(f"v{number}") for number in range(10)]
            async for outcome in client.record_all(events, window=2):
                outcomes.append(outcome)  # noqa: PERF401  what came before the error is kept

        consumer = asyncio.create_task(consume())
        await asyncio.sleep(0.5)
        await client.close()
        with pytest.raises(ClientClosedError):
            await consumer
        assert outcomes[0].status is OutcomeStatus.RECORDED


@virtual
async def test_record_all_wants_a_window_of_one_or_more() -> None:
    """0 would wait for ever."""
    async with client_over(Script()) as client:
        with pytest.raises(ValueError, match="window"):
            async for _ in client.record_all([cart()], window=0):
                pass


def _to_event(row: dict[str, Any]) -> Event:
    return cart(row["who"], quantity=row["quantity"], product=row["name"].strip())


ROWS = [
    {"who": "a", "quantity": 1, "name": "Lamp"},
    {"who": "b", "quantity": -1, "name": ""},
    {"who": "c", "quantity": 1},
    {"who": "d", "quantity": 1, "name": None},
    {"who": "e", "quantity": 2, "name": "Lamp"},
]


async def _rows() -> AsyncIterator[dict[str, Any]]:
    for row in ROWS:
        await asyncio.sleep(0.01)
        yield row


@pytest.mark.parametrize("window", [1, 2, 256])
@pytest.mark.parametrize("kind", ["list", "generator", "async iterator"])
@virtual
async def test_a_bad_row_has_its_place_among_the_outcomes(kind: str, window: int) -> None:
    """It yields what is wrong with it and its number, and the import goes on."""
    source: Any = {"list": ROWS, "generator": (row for row in ROWS), "async iterator": _rows()}
    transport = Script(latency=0.1)
    async with client_over(transport) as client:
        results = [
            one async for one in client.record_all(source[kind], make=_to_event, window=window)
        ]
        balance(client)
        assert client.stats().invalid == 3
        assert client.stats().recorded == len(transport.sent) == 2
    assert [result.ok for result in results] == [True, False, False, False, True]
    bad = [result for result in results if isinstance(result, InvalidEvent)]
    assert [result.number for result in bad] == [2, 3, 4]
    assert [problem.field for problem in bad[0].error.problems][::2] == ["product_id", "quantity"]
    assert bad[1].error.rule == "makes no event: KeyError"
    assert isinstance(bad[1].error.__cause__, KeyError)
    assert "row 3" in bad[1].explain()
    with pytest.raises(InvalidEventError, match="makes no event: AttributeError"):
        bad[2].raise_for_status()


@pytest.mark.parametrize(
    "made", [None, {}, [cart()], CartEvent], ids=["None", "dict", "list", "class"]
)
@virtual
async def test_a_row_that_makes_something_else_is_told(made: Any) -> None:
    """`make` that forgets its `return` costs no outcome unseen."""
    async with client_over(Script()) as client:
        [result] = [one async for one in client.record_all([1], make=lambda _: made)]
    assert isinstance(result, InvalidEvent)
    assert result.error.rule == f"makes no event: make returned {type(made).__name__}"


@virtual
async def test_a_source_of_rows_that_breaks_ends_the_import() -> None:
    """Only `make` may fail: what comes from the source's own trouble is raised, after the rest."""

    def rows() -> Iterator[dict[str, Any]]:
        yield ROWS[0]
        raise OSError("the file is gone")

    results: list[Any] = []
    async with client_over(Script()) as client:
        with pytest.raises(OSError, match="gone"):
            await _extend(results, client.record_all(rows(), make=_to_event))
    assert [result.ok for result in results] == [True]


async def _extend(results: list[Any], source: AsyncIterator[Any]) -> None:
    async for result in source:
        results.append(result)  # noqa: PERF401  what came before an error is kept


@virtual
async def test_make_is_a_plain_function() -> None:
    """A coroutine function would make no event of any row."""

    async def make(row: Any) -> Event:
        return cart()

    async with client_over(Script()) as client:
        with pytest.raises(TypeError, match="make must be a plain function"):
            async for _ in client.record_all(ROWS, make=make):  # type: ignore[arg-type]
                pass
