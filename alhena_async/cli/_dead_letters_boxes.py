"""Where dead letters are kept: a journal's directory, a broker, an outbox in SQLite."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final, Protocol

import click

from alhena_async.cli._broker import Access, file_at, outbox_at
from alhena_async.cli._console import Screen
from alhena_async.cli._dead_letters_replay import LetterReplay, Replaying
from alhena_async.cli._dead_letters_republish import BrokerReplay, Letters
from alhena_async.cli._inspect import check_journal
from alhena_async.cli._options import CommandError, JournalDirectory
from alhena_async.errors import JournalError
from alhena_async.journal import DeadLetter, DeadLetterFilter, DeadLetters
from alhena_async.outbox._sqlite_letters import SQLiteLetters
from alhena_async.relay import JetStream, Postgres
from alhena_async.relay._brokers import is_database
from alhena_async.relay._letters import JetStreamLetters, wanted_of
from alhena_async.relay._postgres_letters import PostgresLetters
from alhena_async.transports import TransportError

__all__ = ["LetterBox", "box_at"]


class OpenBox(Protocol):
    """Letters that can be read and removed."""

    def letters(self, wanted: DeadLetterFilter) -> AsyncIterator[DeadLetter]:
        """Go through the wanted letters, oldest first."""

    async def purge(self, ids: Collection[int]) -> int:
        """Delete these; return how many there were."""

    async def replay(self, wanted: DeadLetterFilter, how: Replaying, screen: Screen) -> int:
        """Send the wanted letters again; return the exit status."""


class LetterBox(Protocol):
    """Where letters are kept."""

    def opened(self) -> AbstractAsyncContextManager[OpenBox]:
        """Be at the letters while the block runs.

        Raises:
            CommandError: There are none, or they cannot be reached any longer.
        """


def box_at(where: str, access: Access, schema: str | None) -> LetterBox:
    """Return the box of a directory, or of a broker's or an outbox's URL.

    Raises:
        click.UsageError: It is the URL of no broker, or a file.
    """
    if where.startswith("sqlite:"):
        return _InOutbox(file_at(where))
    if is_database(where):
        return _AtBroker(outbox_at(where, schema))
    if "://" in where:
        return _AtBroker(access.broker(where))
    return _InDirectory(_DIRECTORY.convert(where, None, None))


_DIRECTORY: Final = JournalDirectory()


class _InDirectory:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __str__(self) -> str:
        return str(self._directory)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[_Directory]:
        try:
            check_journal(self._directory)
            with DeadLetters(self._directory) as letters:
                yield _Directory(letters)
        except JournalError as error:
            raise CommandError(str(error)) from None


class _Directory:
    """A journal's letters. The disk is waited for on the loop, on which nothing else runs."""

    def __init__(self, inner: DeadLetters) -> None:
        self._inner = inner

    async def letters(self, wanted: DeadLetterFilter) -> AsyncIterator[DeadLetter]:
        for letter in self._inner.list(wanted):
            yield letter

    async def purge(self, ids: Collection[int]) -> int:
        return self._inner.purge(DeadLetterFilter(ids=tuple(ids)))

    async def replay(self, wanted: DeadLetterFilter, how: Replaying, screen: Screen) -> int:
        return await LetterReplay(self._inner, wanted, how, screen).run()


class _AtBroker:
    def __init__(self, broker: JetStream | Postgres) -> None:
        self._broker = broker

    def __str__(self) -> str:
        return str(self._broker)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[_Broker]:
        try:
            letters = _letters_at(self._broker)
        except (ValueError, ModuleNotFoundError) as error:
            raise CommandError(str(error)) from None
        try:
            await letters.open()
            yield _Broker(letters)
        except TransportError as error:
            raise CommandError(str(error)) from None
        finally:
            await letters.close()


def _letters_at(broker: JetStream | Postgres) -> JetStreamLetters | PostgresLetters:
    if isinstance(broker, Postgres):
        return PostgresLetters(broker.dialler())
    return JetStreamLetters(broker.dialler())


class _InOutbox:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __str__(self) -> str:
        return str(self._path)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[_Broker]:
        letters = SQLiteLetters(self._path)
        try:
            await letters.open()
            yield _Broker(letters)
        except TransportError as error:
            raise CommandError(str(error)) from None


class _Broker:
    def __init__(self, inner: Letters) -> None:
        self._inner = inner

    def letters(self, wanted: DeadLetterFilter) -> AsyncIterator[DeadLetter]:
        return wanted_of(self._inner.after, wanted)

    async def purge(self, ids: Collection[int]) -> int:
        gone = 0
        for number in ids:
            gone += await self._inner.remove(number)
        return gone

    async def replay(self, wanted: DeadLetterFilter, how: Replaying, screen: Screen) -> int:
        if how.broker is not None or how.goes_elsewhere:
            raise click.UsageError(
                "these letters go where they came from again, and are delivered from there: "
                "give neither --broker nor --region nor --base-url"
            )
        return await BrokerReplay(self._inner, wanted, how, screen).run()
