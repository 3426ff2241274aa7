"""Sending dead letters again, through the client's ordinary lanes, and noting what became of each.

One run at a time has a directory's letters. A letter is claimed in the moment its request goes
out, and given back if the API certainly has not got it: what a run that dies leaves as being
sent is in doubt, and nothing else is.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Container,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import suppress
from enum import Enum
from typing import Final, TypeVar

import attrs

from alhena_async import AlhenaClient, Outcome, OutcomeStatus
from alhena_async._wire import request_body
from alhena_async.cli._console import Screen
from alhena_async.cli._format import plural
from alhena_async.cli._input import Batch
from alhena_async.cli._lines import Reason, Record, Reject
from alhena_async.cli._options import CommandError, SendingOptions
from alhena_async.cli._sending import Notes, Sender, Trouble
from alhena_async.cli._signals import STOPPED
from alhena_async.cli._summary import endings, spaced
from alhena_async.cli._tally import Ending, Tally
from alhena_async.errors import JournalError
from alhena_async.journal import DeadLetter, DeadLetterFilter, DeadLetters
from alhena_async.policies import HttpPolicy, QueuePolicy, RetryPolicy
from alhena_async.relay import Channel, JetStream, Parcel, Publisher, Source
from alhena_async.relay._message import decode
from alhena_async.transports import Endpoint, Reply, Transport, TransportError

__all__ = [
    "ARRIVED",
    "FAILED_AGAIN",
    "SENDING",
    "ClaimingBroker",
    "ClaimingTransport",
    "Claims",
    "LetterReplay",
    "Replaying",
    "body_of",
]

SENDING: Final = "sending"
"""What a letter is marked with from its claim to its end; it stays so if the run dies."""

ARRIVED: Final = frozenset(
    {
        OutcomeStatus.RECORDED.value,
        OutcomeStatus.PUBLISHED.value,
        OutcomeStatus.DUPLICATE.value,
    }
)
"""How a letter ends that need not be sent again."""

FAILED_AGAIN: Final = tuple(one.value for one in OutcomeStatus if one.value not in ARRIVED)
"""How it ends otherwise."""

_BROKEN_OFF: Final = frozenset(
    {SENDING, OutcomeStatus.ABANDONED.value, OutcomeStatus.EXPIRED.value}
)
"""What has no answer: the run died, was stopped, or gave up, and a request had gone out."""

_UNANSWERED: Final = frozenset({OutcomeStatus.ABANDONED, OutcomeStatus.EXPIRED})
"""How an event ends that the API has not got, unless an attempt was ambiguous."""

_IN_DOUBT: Final = _BROKEN_OFF | {OutcomeStatus.UNKNOWN.value}

_SECONDS_BETWEEN_LOOKS: Final = 0.2


class _Standing(Enum):
    """Where a letter stands when nobody sends it; each has its words for the summary."""

    ARRIVED = "went before"
    WAITS = "not sent yet, or not for certain: the next run sends it"
    IN_DOUBT = "in doubt: perhaps recorded, and without an order id it may count twice"
    FAILED = "failed again"


def _standing(letter: DeadLetter) -> _Standing:
    """Return where a letter stands.

    What was broken off waits again where a repetition does no harm: an order with its id, which the
    API records once, and a cart event, whose quantity is a state.
    """
    status = letter.resent_status
    if status is None:
        return _Standing.WAITS
    if status in ARRIVED:
        return _Standing.ARRIVED
    if status in _BROKEN_OFF and (letter.kind == "cart" or letter.order_id is not None):
        return _Standing.WAITS
    return _Standing.IN_DOUBT if status in _IN_DOUBT else _Standing.FAILED


@attrs.frozen(kw_only=True)
class Replaying:
    """How letters are sent again."""

    again: bool
    """Also those that were sent again before."""
    sending: SendingOptions
    """Without a base URL and a region each letter goes where it was to go."""
    company_key: str | None
    """Under which key; None: each letter's own."""
    broker: JetStream | None
    """Where they are published instead; None: they are sent."""

    @property
    def goes_elsewhere(self) -> bool:
        """Whether the API is said to which all of them go."""
        return bool(self.sending.base_url or self.sending.region)


class LetterReplay:
    """One run over a journal's letters.

    Args:
        box: Where the letters are; they are marked there.
        wanted: Which of them.
        how: Where to, under which key.
        screen: Where it is told.
    """

    def __init__(
        self, box: DeadLetters, wanted: DeadLetterFilter, how: Replaying, screen: Screen
    ) -> None:
        self._broker = how.broker
        self._box = box
        self._wanted = wanted
        self._again = how.again
        self._sending = how.sending
        self._goes_elsewhere = how.goes_elsewhere
        self._company_key = how.company_key
        self._screen = screen
        self._trouble = Trouble()
        self._tally = Tally()
        self._problem = ""

    async def run(self) -> int:
        """Send; return the exit status.

        Raises:
            CommandError: It could not begin.
            JournalError: The letters cannot be read.
        """
        chosen = self._box.list(self._wanted)
        if not self._due(chosen) and not any(one.resent_status == SENDING for one in chosen):
            return self._conclude_idle(chosen)
        await self._hold()  # what is being sent may be on its way: only who holds it can tell
        chosen = self._box.list(self._wanted)  # another run may have sent them meanwhile
        if not self._due(chosen):
            return self._conclude_idle(chosen)
        return await self._run(chosen)

    async def _hold(self) -> None:
        """Wait until no other run has the letters, and keep them from others.

        Raises:
            CommandError: The other run lasts too long.
            JournalError: The directory cannot be written.
        """
        try:
            async with asyncio.timeout(self._sending.give_up_after):
                if self._box.hold():
                    return
                self._screen.note("Another run sends letters: waiting for its end.")
                while not self._box.hold():  # noqa: ASYNC110  it is another process's
                    await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
        except TimeoutError:
            told = f"another run still sends the letters of {self._box.directory}"
            raise CommandError(told) from None

    def _due(self, letters: Iterable[DeadLetter]) -> list[DeadLetter]:
        return [one for one in letters if self._again or _standing(one) is _Standing.WAITS]

    async def _run(self, chosen: Sequence[DeadLetter]) -> int:
        due = self._due(chosen)
        if not (self._broker or self._goes_elsewhere):
            _check_destinations(due)
        groups = list(self._by_destination(due))
        senders = [(self._sender_for(letters), letters) for letters in groups]
        try:
            for sender, letters in senders:
                await self._send(sender, letters)
        except STOPPED:
            self._conclude(chosen)
            raise
        return self._conclude(chosen)

    def _by_destination(self, letters: Sequence[DeadLetter]) -> Iterator[list[DeadLetter]]:
        by_destination: dict[str, list[DeadLetter]] = {}
        for letter in letters:
            where = "" if self._goes_elsewhere or self._broker else letter.destination
            by_destination.setdefault(where, []).append(letter)
        return iter(by_destination.values())

    def _sender_for(self, letters: Sequence[DeadLetter]) -> Sender:
        sending = self._sending
        if self._broker is None and not self._goes_elsewhere:
            sending = attrs.evolve(sending, base_url=letters[0].destination)
        claims = Claims(self._box, letters)
        client = self._client_for(sending, claims, self._company_key or letters[0].company_key)
        return Sender(
            client,
            self._tally,
            self._trouble,
            self._screen,
            drain_timeout=sending.drain,
            outstanding=sending.max_in_flight,
            notes=claims,
            noun="letters",
        )

    def _client_for(
        self, sending: SendingOptions, claims: Claims, company_key: str
    ) -> AlhenaClient:
        # What had no order id went without; an id now would hide that it may be twice.
        if self._broker is None:
            return sending.client(
                company_key,
                observer=self._trouble,
                outstanding=sending.max_in_flight,
                assign_order_ids=False,
                carried_by=lambda transport: ClaimingTransport(transport, claims),
            )
        room = 2 * sending.max_in_flight
        return Publisher(
            company_key,
            broker=ClaimingBroker(self._broker, claims),
            queue=QueuePolicy(
                capacity=room, lane_capacity=room, max_in_flight=sending.max_in_flight
            ),
            retry=RetryPolicy(
                cart_delivery_timeout=sending.give_up_after,
                checkout_delivery_timeout=sending.give_up_after,
                assign_order_ids=False,
            ),
            coalescing="off",
            observers=[self._trouble],
        )

    async def _send(self, sender: Sender, letters: Sequence[DeadLetter]) -> None:
        if self._problem:
            return
        told = f"Sending {plural(len(letters), 'dead letter')} to {sender.destination}"
        self._screen.note(told)
        try:
            await sender.run(_Letters(self._box, letters, self._company_key))
        finally:
            self._problem = sender.problem

    def _conclude(self, chosen: Sequence[DeadLetter]) -> int:
        tally = self._tally
        self._screen.show(*spaced(endings(tally, self._trouble.given_up)))
        self._screen.say("")
        if tally.rejected:
            told = "no events any more and cannot be sent"
            self._screen.say(f"{plural(tally.rejected, 'letter')}: {told}.", "yellow")
        if self._problem:
            self._screen.say(f"It stopped: {self._problem}", "bold red")
        # As the disk has it: somebody may have deleted letters, or noted others, meanwhile.
        left = self._box.list(DeadLetterFilter(ids=tuple(one.id for one in chosen)))
        status = self._say_what_is_left(left)
        if not (status or self._problem):
            done = "recorded" if self._broker is None else "published"
            self._screen.say(f"Every one was {done}, now or before.", "bold green")
        return 1 if self._problem else status

    def _conclude_idle(self, chosen: Sequence[DeadLetter]) -> int:
        went = f": {plural(len(chosen), 'letter')} went before, --again sends them once more"
        self._screen.say(f"Nothing to send{went if chosen else ''}.")
        return self._say_what_is_left(chosen)

    def _say_what_is_left(self, letters: Sequence[DeadLetter]) -> int:
        """Say which letters have not arrived; return the exit status."""
        counts = Counter(_standing(one) for one in letters)
        arrived = counts.pop(_Standing.ARRIVED, 0)
        for standing in (_Standing.WAITS, _Standing.IN_DOUBT, _Standing.FAILED):
            if counts[standing]:
                told = f"{plural(counts[standing], 'letter')} {standing.value}."
                self._screen.say(told[0].upper() + told[1:], "bold yellow")
        return 1 if len(letters) > arrived else 0


def _check_destinations(letters: Iterable[DeadLetter]) -> None:
    """Return if all of them were to go to an API.

    Raises:
        CommandError: One was to be published.
    """
    for letter in letters:
        if not letter.destination.startswith(("http:", "https:")):
            raise CommandError(
                f"these letters were to go to a broker ({letter.destination}): give --broker URL"
            )


class _Letters:
    """Dead letters, read as the lines of a file would be; each is known by its number.

    Args:
        box: Where they are.
        letters: What to send, oldest first.
        company_key: Under which key; None: each letter's own.
    """

    def __init__(
        self, box: DeadLetters, letters: Sequence[DeadLetter], company_key: str | None
    ) -> None:
        self._box = box
        self._letters = letters
        self._company_key = company_key
        self.total: int | None = len(letters)

    async def batches(self, skip: Container[int] = ()) -> AsyncGenerator[Batch, None]:
        """Yield them one by one, those passed over that were deleted or noted since."""
        for letter in self._letters:
            if letter.id in skip:
                continue
            stands = self._box.list(DeadLetterFilter(ids=(letter.id,))) == [letter]
            items = (self._item(letter),) if stands else ()
            yield Batch(items=items, skipped=int(not stands), upto=letter.id)

    def _item(self, letter: DeadLetter) -> Record | Reject:
        event = letter.event()
        if event is None:
            reasons = (Reason("the letter", "is no event any more"),)
            return Reject(number=letter.id, reasons=reasons, raw=letter.body.encode())
        key = self._company_key or letter.company_key
        return Record(number=letter.id, event=event, company_key=key)


class Claims(Notes):
    """Which letters are with the client, and which of them are claimed.

    Args:
        box: Where the letters are marked.
        letters: As they were read.
    """

    def __init__(self, box: DeadLetters, letters: Sequence[DeadLetter]) -> None:
        self._box = box
        self._letters = {letter.id: letter for letter in letters}
        self._by_body: dict[bytes, list[int]] = {}
        self._claimed: set[int] = set()

    def sending(self, record: Record) -> None:
        """Hear that the client gets a letter: its request goes out later."""
        self._by_body.setdefault(body_of(record), []).append(record.number)

    def not_sent(self, record: Record) -> None:
        """Hear that the client did not take it."""
        self._forget(record)

    def ended(self, record: Record, outcome: Outcome, ending: Ending) -> None:  # noqa: ARG002
        """Note how a letter ended, if a request of it has gone out.

        Raises:
            JournalError: It cannot be noted.
        """
        self._forget(record)
        if record.number not in self._claimed:
            return
        if outcome.status in _UNANSWERED and not outcome.ambiguous:
            self.give_back(record.number)
        else:
            told = outcome.code or outcome.detail
            self._box.note(record.number, outcome.status.value, told)

    def _forget(self, record: Record) -> None:
        body = body_of(record)
        self._by_body[body].remove(record.number)
        if not self._by_body[body]:
            del self._by_body[body]

    def letter_with(self, body: bytes) -> int:
        """Return the letter of a request: of several that are the same, the oldest goes first."""
        return self._by_body[body][0]

    def has(self, number: int) -> bool:
        """Return whether a letter is claimed: an earlier request of it may have arrived."""
        return number in self._claimed

    def claim(self, number: int) -> None:
        """Mark a letter as being sent.

        Raises:
            TransportError: It cannot be marked, or does not stand as it was read.
        """
        try:
            stood = self._box.claim(self._letters[number])
        except JournalError as error:
            raise TransportError(str(error), sent=False) from None
        if not stood:
            raise TransportError("the letter was noted or deleted meanwhile", sent=False)
        self._claimed.add(number)

    def give_back(self, number: int) -> None:
        """Let a letter stand as it was read: the API certainly has not got it."""
        letter = self._letters[number]
        with suppress(JournalError):  # then it stays in doubt
            self._box.note(number, letter.resent_status, letter.resent_detail, at=letter.resent)
            self._claimed.remove(number)


def body_of(record: Record) -> bytes:
    """Return what a letter's request carries."""
    assert record.company_key is not None  # noqa: S101  for mypy; a letter has its own
    return request_body(
        record.event,
        company_key=record.company_key,
        order_id=getattr(record.event, "order_id", None),
        order_id_field=HttpPolicy().order_id_field,
    )


class _Claiming:
    """Lets letters go out, each claimed in that moment.

    Args:
        claims: What claims them.
    """

    def __init__(self, claims: Claims) -> None:
        self._claims = claims

    async def claimed(self, body: bytes, send: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """Claim the letter with this body, and send it.

        Raises:
            TransportError: There was no answer, or the letter could not be claimed.
        """
        number = self._claims.letter_with(body)
        was_claimed = self._claims.has(number)
        if not was_claimed:
            await self._claim(number)
        try:
            return await send()
        except TransportError as error:
            if not (error.sent or was_claimed):
                self._claims.give_back(number)
            raise

    async def _claim(self, number: int) -> None:
        self._claims.claim(number)
        try:
            # The disk may have taken all the time there was: let a timeout that is due come now,
            # while nothing has gone out.
            for _ in range(_TURNS_FOR_A_TIMEOUT):
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            self._claims.give_back(number)
            raise


_Answer = TypeVar("_Answer")


class ClaimingBroker:
    """Publishes letters, each claimed in the moment that it goes out: a `Broker`.

    Args:
        inner: Where they are published.
        claims: What claims them.
    """

    def __init__(self, inner: JetStream, claims: Claims) -> None:
        self._inner = inner
        self._claims = claims
        self.name = inner.name

    def __str__(self) -> str:
        return str(self._inner)

    def channel(self) -> Channel:
        """See `Broker`."""
        return _ClaimingChannel(self._inner.channel(), self._claims)

    def source(self) -> Source:
        """See `Broker`."""
        return self._inner.source()


class _ClaimingChannel(_Claiming):
    def __init__(self, inner: Channel, claims: Claims) -> None:
        super().__init__(claims)
        self._inner = inner
        self.open = inner.open
        self.close = inner.close

    async def publish(self, parcel: Parcel) -> None:
        message = decode(parcel.body)
        record = Record(number=0, event=message.event, company_key=message.company_key)
        await self.claimed(body_of(record), lambda: self._inner.publish(parcel))


class ClaimingTransport(_Claiming):
    """Carries letters, each claimed in the moment that its request goes out.

    Args:
        inner: What carries them.
        claims: What claims them.
    """

    def __init__(self, inner: Transport, claims: Claims) -> None:
        super().__init__(claims)
        self._inner = inner

    async def open(self) -> None:
        """Open what carries them."""
        await self._inner.open()

    async def close(self) -> None:
        """Close it."""
        await self._inner.close()

    async def send(self, endpoint: Endpoint, body: bytes) -> Reply:
        """Claim the letter, and send it.

        Raises:
            TransportError: There was no reply, or the letter could not be claimed.
        """
        return await self.claimed(body, lambda: self._inner.send(endpoint, body))


_TURNS_FOR_A_TIMEOUT: Final = 3
