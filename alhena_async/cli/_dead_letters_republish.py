"""A broker's letters sent again: each is published to its broker, and removed once that has it.

One after the other, in the order of their numbers, so that a run that dies has at most one letter
whose event was published and which is not gone. The next run publishes it under the same id
(`JetStreamLetters.id_of`), and the broker takes it for a repeat.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, Protocol, TypeVar

from alhena_async.cli._console import Screen, Snapshot
from alhena_async.cli._dead_letters_replay import Replaying
from alhena_async.cli._format import plural
from alhena_async.cli._signals import STOPPED
from alhena_async.journal import DeadLetter, DeadLetterFilter
from alhena_async.relay import Parcel, ParcelTooLargeError
from alhena_async.relay._letters import parcel_of, wanted_of
from alhena_async.transports import TransportError

__all__ = ["BrokerReplay", "Letters"]

_SECONDS_BETWEEN_TRIES: Final = 0.5

Result = TypeVar("Result")


class Letters(Protocol):
    """Letters whose events can be published again."""

    async def open(self) -> None:
        """Be at them, again if the connection was lost.

        Raises:
            TransportError: They cannot be reached now.
        """

    async def after(self, number: int) -> DeadLetter | None:
        """Return the first letter above a number, if it was there at the first opening."""

    def id_of(self, number: int) -> str:
        """Return what a letter's event is published under: the same at each try."""
        ...

    async def publish(self, parcel: Parcel) -> None:
        """Publish an event; where that removes its letter too, `remove` finds none."""

    async def remove(self, number: int) -> bool:
        """Remove a letter for good; return whether it was there."""
        ...


class BrokerReplay:
    """One run.

    Args:
        letters: Where they are, opened.
        wanted: Which of them.
        how: Under which key; how long each is tried.
        screen: Where it is told.
    """

    def __init__(
        self, letters: Letters, wanted: DeadLetterFilter, how: Replaying, screen: Screen
    ) -> None:
        self._letters = letters
        self._wanted = wanted
        self._how = how
        self._screen = screen
        self._published = 0
        self._unreadable = 0
        self._too_large = 0
        self._trouble = ""

    async def run(self) -> int:
        """Publish; return the exit status."""
        problem = ""
        try:
            async with self._screen.following(self._look):
                await self._send_all()
        except TransportError as error:
            problem = str(error)
        except STOPPED:
            self._conclude("")
            raise
        return self._conclude(problem)

    async def _send_all(self) -> None:
        async for letter in wanted_of(self._after, self._wanted):
            await self._send(letter)

    async def _after(self, number: int) -> DeadLetter | None:
        return await self._tried(partial(self._letters.after, number))

    async def _send(self, letter: DeadLetter) -> None:
        parcel = parcel_of(
            letter,
            self._letters.id_of(letter.id),
            now=time.time(),
            company_key=self._how.company_key,
        )
        if parcel is None:
            self._unreadable += 1
            return
        try:
            await self._tried(partial(self._letters.publish, parcel))
        except ParcelTooLargeError:
            self._too_large += 1
            return
        self._published += 1
        await self._tried(partial(self._letters.remove, letter.id))

    async def _tried(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """Do something at the broker, again and again while that fails.

        Raises:
            TransportError: It failed for as long as it is tried.
        """
        loop = asyncio.get_running_loop()
        over = loop.time() + self._how.sending.give_up_after
        while True:
            try:
                await self._letters.open()
                result = await work()
            except TransportError as error:
                if loop.time() >= over:
                    raise
                self._trouble = str(error)
            else:
                self._trouble = ""
                return result
            await asyncio.sleep(_SECONDS_BETWEEN_TRIES)

    def _look(self) -> Snapshot:
        trouble = f"waiting: {self._trouble}" if self._trouble else ""
        return Snapshot(done=self._published, noun="letters", trouble=trouble)

    def _conclude(self, problem: str) -> int:
        """Say what became of them; return the exit status."""
        say = self._screen.say
        left = self._unreadable + self._too_large
        if not (self._published or left or problem):
            say("Nothing to send.")
        if self._published:
            say(f"{plural(self._published, 'letter')} published again; a relay delivers them.")
        if self._unreadable:
            say(f"{plural(self._unreadable, 'letter')}: no events and cannot be sent.", "yellow")
        if self._too_large:
            say(f"{plural(self._too_large, 'letter')}: larger than the broker takes.", "yellow")
        if problem:
            say(f"It stopped: {problem}", "bold red")
        return 1 if problem or left else 0
