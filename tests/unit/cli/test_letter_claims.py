"""A letter is claimed in the moment its request goes out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from alhena_async import Outcome, OutcomeStatus
from alhena_async._wire import endpoint_of
from alhena_async.cli._dead_letters_replay import ClaimingTransport, Claims, body_of
from alhena_async.cli._lines import Record
from alhena_async.cli._tally import Tally
from alhena_async.journal import DeadLetter, DeadLetters
from alhena_async.transports import Endpoint, Reply, TransportError
from tests.journals import KEY, cart, opened, order
from tests.journals import ended as ending


class Wire:
    """Carries nothing: does what the test says, and keeps what was marked meanwhile."""

    def __init__(self, box: DeadLetters) -> None:
        self.box = box
        self.answers: list[Callable[[], Reply]] = []
        self.marks: list[list[str | None]] = []

    async def open(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do."""

    async def send(self, endpoint: Endpoint, body: bytes) -> Reply:
        """Look at the marks, and answer."""
        self.marks.append(marks(self.box))
        return self.answers.pop(0)()


def marks(box: DeadLetters) -> list[str | None]:
    """Return what each letter is marked with."""
    return [letter.resent_status for letter in box.list()]


def refused() -> Reply:
    raise TransportError("no connection", sent=False)


def lost() -> Reply:
    raise TransportError("the connection was lost")


def answered() -> Reply:
    return Reply(503)


class Sending:
    """Two letters with the same request, and one without an order id, handed to a client."""

    def __init__(self, box: DeadLetters) -> None:
        self.box = box
        self.letters = box.list()
        self.claims = Claims(box, self.letters)
        self.wire = Wire(box)
        self.transport = ClaimingTransport(self.wire, self.claims)
        self.records = [record_of(letter) for letter in self.letters]
        for record in self.records:
            self.claims.sending(record)

    async def send(self, number: int, *answers: Callable[[], Reply]) -> None:
        """Make attempts at a letter."""
        record = self.records[number - 1]
        for answer in answers:
            self.wire.answers.append(answer)
            with suppress(TransportError):
                await self.transport.send(endpoint_of(record.event), body_of(record))

    def end(self, number: int, status: OutcomeStatus, *, ambiguous: bool = False) -> None:
        """Tell that a letter has ended."""
        record = self.records[number - 1]
        outcome = Outcome(status=status, event=record.event, attempts=1, ambiguous=ambiguous)
        self.claims.ended(record, outcome, Tally().take_outcome(number, outcome))


def record_of(letter: DeadLetter) -> Record:
    event = letter.event()
    assert event is not None
    return Record(number=letter.id, event=event, company_key=KEY)


@pytest.fixture
async def sending(tmp_path: Path) -> AsyncIterator[Sending]:
    async with opened(tmp_path / "j") as journal:
        for event in (cart(1), cart(1), order(3)):
            journal.settle([ending(None, OutcomeStatus.EXPIRED, event=event)])
        await journal.sync()
    with DeadLetters(tmp_path / "j") as box:
        yield Sending(box)


async def test_it_is_marked_when_its_request_goes_out(sending: Sending) -> None:
    """Not when the client takes it: whatever waits has no mark."""
    assert marks(sending.box) == [None] * 3
    await sending.send(3, answered)
    assert sending.wire.marks == [[None, None, "sending"]]
    sending.end(3, OutcomeStatus.RECORDED)
    assert marks(sending.box) == [None, None, "recorded"]


async def test_what_never_left_is_given_back(sending: Sending) -> None:
    """A refused connection leaves no mark, and the next attempt claims it again."""
    await sending.send(3, refused, refused)
    assert sending.wire.marks == [[None, None, "sending"]] * 2
    assert marks(sending.box) == [None] * 3
    sending.end(3, OutcomeStatus.EXPIRED)
    assert marks(sending.box) == [None] * 3


@pytest.mark.parametrize("first", [lost, answered])
async def test_what_may_have_left_is_not(sending: Sending, first: Callable[[], Reply]) -> None:
    """However often connections are refused afterwards."""
    await sending.send(3, first, refused)
    assert marks(sending.box) == [None, None, "sending"]
    sending.end(3, OutcomeStatus.EXPIRED, ambiguous=True)
    assert marks(sending.box) == [None, None, "expired"]


async def test_what_was_answered_and_not_recorded_waits(sending: Sending) -> None:
    """Nothing is in doubt about a 503 that was given up on."""
    await sending.send(3, answered)
    sending.end(3, OutcomeStatus.EXPIRED)
    assert marks(sending.box) == [None] * 3


async def test_of_two_with_the_same_request_the_older_goes_first(sending: Sending) -> None:
    """Each is marked by its own request."""
    await sending.send(1, answered)
    assert marks(sending.box) == ["sending", None, None]
    sending.end(1, OutcomeStatus.RECORDED)
    await sending.send(2, answered)
    assert marks(sending.box) == ["recorded", "sending", None]


async def test_what_cannot_be_claimed_is_not_sent(sending: Sending) -> None:
    """Nor is somebody else's note on it written over."""
    sending.box.note(3, "recorded", "by hand")
    await sending.send(3, answered)
    assert sending.wire.marks == []
    sending.end(3, OutcomeStatus.EXPIRED)
    assert marks(sending.box) == [None, None, "recorded"]


async def test_a_timeout_that_is_due_comes_before_the_request(sending: Sending) -> None:
    """A disk that takes all the time there was does not leave a letter in doubt."""
    sender = asyncio.create_task(sending.send(3, answered))
    asyncio.get_running_loop().call_soon(sender.cancel)
    with pytest.raises(asyncio.CancelledError):
        await sender
    assert (sending.wire.marks, marks(sending.box)) == ([], [None] * 3)
