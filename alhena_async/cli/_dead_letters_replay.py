"""Sending dead letters again, through the client's ordinary lanes, and noting what became of each.

A letter is marked before it is sent: should this process die, it is not sent once more unknowingly.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Container, Sequence
from typing import Final

import attrs

from alhena_async import Outcome, OutcomeStatus
from alhena_async.cli._console import Screen
from alhena_async.cli._format import plural
from alhena_async.cli._input import Batch
from alhena_async.cli._lines import Reason, Record, Reject
from alhena_async.cli._options import SendingOptions
from alhena_async.cli._sending import Notes, Sender, Trouble
from alhena_async.cli._signals import STOPPED
from alhena_async.cli._summary import endings, spaced
from alhena_async.cli._tally import Ending, Tally
from alhena_async.journal import DeadLetter, DeadLetters

__all__ = ["LetterReplay"]

_SENDING: Final = "sending"
"""What a letter is marked with while it is under way; it stays so if this process dies."""

_UNSENT: Final = frozenset({OutcomeStatus.ABANDONED, OutcomeStatus.DROPPED})


class LetterReplay:
    """One run.

    Args:
        box: Where the letters are; they are marked there.
        letters: What to send, oldest first.
        sending: How. Without a base URL and a region each letter goes where it was to go.
        company_key: Under which key; None: each letter's own.
        screen: Where it is told.
    """

    def __init__(
        self,
        box: DeadLetters,
        letters: Sequence[DeadLetter],
        *,
        sending: SendingOptions,
        company_key: str | None,
        screen: Screen,
    ) -> None:
        self._box = box
        self._letters = letters
        self._sending = sending
        self._company_key = company_key
        self._screen = screen
        self._trouble = Trouble()
        self._tally = Tally()
        self._problem = ""

    async def run(self) -> int:
        """Send; return the exit status.

        Raises:
            CommandError: It could not begin.
        """
        senders = [(self._sender_for(letters[0]), letters) for letters in self._by_destination()]
        try:
            for sender, letters in senders:
                await self._send(sender, letters)
        except STOPPED:
            self._conclude()
            raise
        return self._conclude()

    def _by_destination(self) -> list[list[DeadLetter]]:
        if self._sending.base_url or self._sending.region:
            return [list(self._letters)]
        by_destination: dict[str, list[DeadLetter]] = {}
        for letter in self._letters:
            by_destination.setdefault(letter.destination, []).append(letter)
        return list(by_destination.values())

    def _sender_for(self, letter: DeadLetter) -> Sender:
        sending = self._sending
        if not (sending.base_url or sending.region):
            sending = attrs.evolve(sending, base_url=letter.destination)
        client = sending.client(
            self._company_key or letter.company_key,
            observer=self._trouble,
            outstanding=sending.max_in_flight,
            # What had no order id went without; an id now would hide that it may be twice.
            assign_order_ids=False,
        )
        return Sender(
            client,
            self._tally,
            self._trouble,
            self._screen,
            drain_timeout=sending.drain,
            outstanding=sending.max_in_flight,  # what waits is not marked yet
            notes=_LetterNotes(self._box, self._letters),
            noun="letters",
        )

    async def _send(self, sender: Sender, letters: Sequence[DeadLetter]) -> None:
        if self._problem:
            return
        told = f"Sending {plural(len(letters), 'dead letter')} to {sender.destination}"
        self._screen.note(told)
        try:
            await sender.run(_Letters(letters, self._company_key))
        finally:
            self._problem = sender.problem

    def _conclude(self) -> int:
        tally = self._tally
        self._screen.show(*spaced(endings(tally, self._trouble.given_up)))
        self._screen.say("")
        if tally.rejected:
            told = "no events any more and cannot be sent"
            self._screen.say(f"{plural(tally.rejected, 'letter')}: {told}.", "yellow")
        left = len(self._letters) - tally.done
        if left:
            self._screen.say(f"Not sent: {plural(left, 'letter')}.", "bold yellow")
        if self._problem:
            self._screen.say(f"It stopped: {self._problem}", "bold red")
        if left or self._problem or tally.rejected or tally.recorded_events < tally.finished:
            return 1
        self._screen.say("Every one was recorded, now or before.", "bold green")
        return 0


class _Letters:
    """Dead letters, read as the lines of a file would be; each is known by its number.

    Args:
        letters: What to send, oldest first.
        company_key: Under which key; None: each letter's own.
    """

    def __init__(self, letters: Sequence[DeadLetter], company_key: str | None) -> None:
        self._letters = letters
        self._company_key = company_key
        self.total: int | None = len(letters)

    async def batches(self, skip: Container[int] = ()) -> AsyncGenerator[Batch, None]:
        """Yield them one by one: what is read ahead would be marked ahead."""
        for letter in self._letters:
            if letter.id not in skip:
                yield Batch(items=(self._item(letter),), upto=letter.id)

    def _item(self, letter: DeadLetter) -> Record | Reject:
        event = letter.event()
        if event is None:
            reasons = (Reason("the letter", "is no event any more"),)
            return Reject(number=letter.id, reasons=reasons, raw=letter.body.encode())
        key = self._company_key or letter.company_key
        return Record(number=letter.id, event=event, company_key=key)


class _LetterNotes(Notes):
    """Marks letters with what becomes of them."""

    def __init__(self, box: DeadLetters, letters: Sequence[DeadLetter]) -> None:
        self._box = box
        self._letters = {letter.id: letter for letter in letters}

    def sending(self, record: Record) -> None:
        self._box.note(record.number, _SENDING)

    def not_sent(self, record: Record) -> None:
        letter = self._letters[record.number]  # its mark is again what was read
        was = letter.resent_status
        self._box.note(letter.id, was, letter.resent_detail, at=letter.resent)

    def ended(self, record: Record, outcome: Outcome, ending: Ending) -> None:  # noqa: ARG002
        if outcome.status in _UNSENT and not (outcome.attempts or outcome.ambiguous):
            self.not_sent(record)
        else:
            told = outcome.code or outcome.detail
            self._box.note(record.number, outcome.status.value, told)
