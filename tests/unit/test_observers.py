"""The observer protocol: what a request came to, what the disk took, and who is asked at all."""

import asyncio
import gc
import weakref
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from alhena_async import (
    Event,
    Instrument,
    InvalidEventError,
    Observer,
    Outcome,
    OutcomeStatus,
    QueuePolicy,
    RetryPolicy,
    Snapshot,
)
from alhena_async._queue.envelope import Envelope
from alhena_async.testing import virtual
from tests.scripted import HANG, OK, RESET, Script, cart, client_over, code, status


class Attempts(Observer):
    """Writes down how each request ended."""

    def __init__(self) -> None:
        self.ended: list[tuple[int, float, int | None, str]] = []

    def attempt_ended(
        self, event: Event, number: int, seconds: float, status: int | None, reason: str
    ) -> None:
        self.ended.append((number, round(seconds, 6), status, reason))


@pytest.mark.parametrize(
    ("answer", "status_code", "reason"),
    [
        (OK, 200, ""),
        (code("ACTIVE_TICKET_NOT_FOUND"), 404, "ACTIVE_TICKET_NOT_FOUND"),
        (code("COMPANY_NOT_FOUND"), 404, "COMPANY_NOT_FOUND"),
        (status(418), 418, "{}"),
    ],
)
@virtual
async def test_a_request_that_is_answered_ends_with_its_status(
    answer: Any, status_code: int, reason: str
) -> None:
    """And with why it did not succeed: the API's code where there is one."""
    seen = Attempts()
    async with client_over(Script(answer, latency=0.25), observers=[seen]) as client:
        await client.track_nowait(cart())
    [(number, seconds, told, why)] = seen.ended
    assert (number, seconds, why) == (1, 0.25, reason)
    assert told is not None
    assert told // 100 == status_code // 100


@virtual
async def test_a_request_without_a_reply_has_no_status() -> None:
    """A reset, a timeout, and one that the closing client cuts off: each is told, once."""
    seen = Attempts()
    script = Script(RESET, HANG, HANG)
    retry = RetryPolicy(base=0.1, cap=0.1)
    async with client_over(script, observers=[seen], retry=retry) as client:
        client.track_nowait(cart())
        while client.stats().requests < 3:  # noqa: ASYNC110  virtual time
            await asyncio.sleep(1)
        await client.close(timeout=0)
    assert [(number, told) for number, _, told, _ in seen.ended] == [
        (1, None),
        (2, None),
        (3, None),
    ]
    assert [bool(why) for *_, why in seen.ended] == [True] * 3
    assert [why for *_, why in seen.ended][1:] == ["no reply in time", "cancelled"]
    assert client.stats().requests == len(seen.ended)


class Duck:
    """No observer of ours, with one method of theirs."""

    def __init__(self) -> None:
        self.heard: list[Outcome] = []

    def outcome(self, outcome: Outcome) -> None:
        self.heard.append(outcome)


@virtual
async def test_a_class_with_some_of_the_methods_will_do() -> None:
    """What it lacks it is not asked for."""
    duck = Duck()
    async with client_over(Script(), observers=[duck]) as client:
        await client.record(cart())
    assert [outcome.status for outcome in duck.heard] == [OutcomeStatus.RECORDED]


@virtual
async def test_which_methods_there_are_is_looked_up_once() -> None:
    """As the client is made: what is put there later is not heard of."""
    duck = Duck()
    async with client_over(Script(), observers=[duck]) as client:
        duck.accepted = Mock()  # type: ignore[attr-defined]
        await client.record(cart())
        duck.accepted.assert_not_called()  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["attempt_ended", "invalid", "journal_committed"])
def test_a_duck_s_coroutine_function_is_refused(name: str) -> None:
    """In words, where the client is made."""

    async def method(self: object, *facts: object) -> None:
        pass

    duck = type("Quack", (), {name: method})()
    with pytest.raises(TypeError, match=f"Quack.{name} must be a plain function, not a corout"):
        client_over(Script(), observers=[duck])


@virtual
async def test_what_nobody_overrides_is_not_even_noted() -> None:
    """An observer of outcomes costs nothing where an event is accepted."""
    duck = Duck()
    async with client_over(Script(), observers=[duck]) as client:
        client.track_nowait(cart())
        assert not client._telemetry._news
        await client.flush()
    assert duck.heard


class Refusals(Observer):
    """Writes down what never became an event."""

    def __init__(self) -> None:
        self.told: list[InvalidEventError] = []

    def invalid(self, error: InvalidEventError) -> None:
        self.told.append(error)


@virtual
async def test_an_invalid_event_is_told_with_its_error() -> None:
    """As `reporting` catches it."""
    seen = Refusals()
    async with client_over(Script(), observers=[seen]) as client:
        with client.reporting():
            client.track_nowait(cart(quantity=-1))
        await asyncio.sleep(0)
        assert len(seen.told) == client.stats().invalid == 1


class Commits(Observer):
    """Writes down what the disk took."""

    def __init__(self) -> None:
        self.told: list[tuple[int, float]] = []

    def journal_committed(self, events: int, seconds: float) -> None:
        self.told.append((events, seconds))


async def test_each_commit_is_told_with_its_events(tmp_path: Path) -> None:
    """The sum is what was accepted, and the disk took some time."""
    seen = Commits()
    async with client_over(Script(), observers=[seen], journal=tmp_path / "j") as client:
        for number in range(30):
            await client.track(cart(f"v{number}"))
        await client.flush()
    assert sum(events for events, _ in seen.told) == 30
    assert all(seconds > 0 for _, seconds in seen.told)


class Levels(Instrument):
    """Looks at the client's levels, keeps a number with each event, and writes both down."""

    captures = True

    def __init__(self) -> None:
        self.looks: list[Any] = []
        self.last: list[Snapshot | None] = []
        self.number = 0
        self.sent: list[tuple[str, int, tuple[Any, ...]]] = []

    def started(self, look: Any) -> None:
        self.looks.append(look)

    def closed(self, look: Any) -> None:
        assert look is self.looks[-1]
        self.last.append(look())

    def capture(self) -> object | None:
        self.number += 1
        return self.number if self.number % 2 else None

    def attempted(self, destination: str, event: Event, number: int, *facts: Any) -> None:
        self.sent.append((destination, number, tuple(facts[-1])))


async def test_an_instrument_reads_levels_until_the_end(tmp_path: Path) -> None:
    """While the client runs, and once more when it has ended; it keeps no client alive."""
    seen = Levels()
    queue = QueuePolicy(capacity=500, linger=0.0)
    client = client_over(Script(), observers=[seen], journal=tmp_path / "j", queue=queue)
    async with client:
        await client.record(cart())
        now = seen.looks[0]()
        assert (now.capacity, now.stats) == (500, client.stats())
        assert now.journal is not None
        assert now.journal.is_alive
        assert now.journal.is_writing
        assert now.journal.max_bytes == 1 << 30
    assert [one.stats for one in seen.last if one] == [client.stats()]
    gone = weakref.ref(client)
    del client
    gc.collect()
    assert gone() is None
    assert seen.looks[0]() is None


@virtual
async def test_what_was_captured_comes_back_with_each_attempt() -> None:
    """Of all that the request stands for; what captured nothing keeps nothing."""
    seen = Levels()
    script = Script(status(500), OK)
    async with client_over(script, observers=[seen], base_url="https://api.test/") as client:
        kept = client.track_nowait(cart("v", type="QUANTITY_INCREASED", quantity=2))
        bare = client.track_nowait(cart("v", type="QUANTITY_INCREASED", quantity=3))
        folded = client.track_nowait(cart("v", type="QUANTITY_INCREASED", quantity=4))
        assert isinstance(kept, Envelope)
        assert isinstance(bare, Envelope)
        assert len(bare.captured()) == 0
        await folded
    assert [number for _, number, _ in seen.sent] == [1, 2]
    assert {where for where, _, _ in seen.sent} == {"https://api.test/"}
    assert {tuple(sorted(captured)) for _, _, captured in seen.sent} == {(1, 3)}


@virtual
async def test_what_goes_unobserved_keeps_nothing_with_a_waiting_event() -> None:
    """No details, no wrapper around an attempt, no other submitter."""
    async with client_over(Script(), observers=[Duck()]) as client:
        receipt = client.track_nowait(cart())
        assert isinstance(receipt, Envelope)
        assert receipt._details is None
