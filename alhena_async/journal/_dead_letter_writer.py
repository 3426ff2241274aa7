"""The writer's side of dead letters: a row is deleted only once its letter is on disk."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from alhena_async.errors import JournalError
from alhena_async.journal._clock import uptime
from alhena_async.journal._dead_letters import (
    BUSY_TIMEOUT,
    UNREADABLE,
    DeadLetter,
    DeadLetterStore,
    Retention,
    letter_of,
    letters_path,
)
from alhena_async.journal._directory import Directory, FullDiskError, identity_of
from alhena_async.journal._locks import exclusively
from alhena_async.journal._models import Settings, keeps_row, makes_letter
from alhena_async.journal._outage import Outage
from alhena_async.journal._rows import Stored
from alhena_async.journal._salvage import salvaged_letters, set_aside
from alhena_async.journal._sqlite import DamagedError, is_damage, to_journal_error
from alhena_async.journal._sqlite_pages import loses_log
from alhena_async.journal.protocol import Ending

__all__ = ["DeadLetterWriter"]

_log = logging.getLogger("alhena_async")

_SECONDS_BETWEEN_TRIES: Final = 0.5
"""Seconds between two tries while the file cannot be written."""

_LAST_BUSY_TIMEOUT: Final = 1.0
"""Instead of `BUSY_TIMEOUT` where the next try may be another process's: several may close."""

_SECONDS_OF_PATIENCE: Final = 60.0
"""Seconds for which rows wait for letters that cannot be kept, unless the disk is only full."""

_MAX_LETTERS_WAITING: Final = 10_000
"""Letters that wait at most."""


class DeadLetterWriter:
    """Keeps letters, and holds back the rows whose letters could not be kept yet.

    Args:
        directory: Where.
        destination: What the letters say they were meant for.
        settings: How many are kept, and for how long.
    """

    def __init__(self, directory: Directory, destination: str, settings: Settings) -> None:
        self._directory = directory
        self._destination = destination
        self._retention = Retention(
            limit=settings.dead_letter_limit,
            age=settings.dead_letter_age,
            bytes=settings.dead_letter_bytes,
        )
        self._store: DeadLetterStore | None = None
        self._waiting: list[tuple[int | None, DeadLetter]] = []
        self._outage = Outage(pause=_SECONDS_BETWEEN_TRIES)
        self._patient_since = 0.0
        self._has_looked = False

    @property
    def trouble(self) -> JournalError | None:
        """Why letters wait; None if none do."""
        return self._outage.cause if self._waiting else None

    @property
    def has_debts(self) -> bool:
        """Whether letters wait to be kept."""
        return bool(self._waiting)

    def write(
        self,
        endings: Sequence[Ending],
        origin_of: Callable[[int], str | None],
        *,
        urgent: bool = False,
    ) -> list[int]:
        """Keep the letters of what ended, and return the ids of rows that may go.

        Args:
            endings: What ended.
            origin_of: Returns the name of a row that is the same in every process.
            urgent: Try, even if it has only just failed.
        """
        gone: list[int] = []
        for ending in endings:
            letter = self._letter(ending, origin_of) if makes_letter(ending.outcome) else None
            if letter is not None:
                self._waiting.append((ending.row_id, letter))
            elif ending.row_id is not None and not keeps_row(ending.outcome):
                gone.append(ending.row_id)
        if self._waiting and self._kept(urgent=urgent):
            gone += (row_id for row_id, _ in self._waiting if row_id is not None)
            self._waiting.clear()
        return gone

    def take_unreadable(self, row: Stored, row_id: int, origin: str | None) -> None:
        """Keep a row that is whole and yet no event as a letter; `write` puts it on disk."""
        letter = DeadLetter(
            origin=origin, destination=self._destination,
            company_key=row.company_key, kind="checkout" if row.kind else "cart",
            status=UNREADABLE, code=None, http_status=None, attempts=0,
            detail="its stored form breaks the rules of an event", order_id=row.order_id,
            accepted=row.accepted / 1e6, ended=time.time(), body=row.body,
        )  # fmt: skip
        self._waiting.append((row_id, letter))

    def rows_of(self, uuid: str) -> list[int]:
        """Return which rows of a file are letters already; none if that cannot be read."""
        if not letters_path(self._directory.path).exists():
            return []
        try:
            return self._opened(BUSY_TIMEOUT).rows_of(uuid)
        except Exception as error:  # noqa: BLE001  then they are delivered once more
            self._failed(error)
            return []

    def count(self) -> int:
        """Return how many letters are kept, of all processes; 0 if that cannot be read."""
        if not self._path.exists():
            return 0
        try:
            return self._opened(BUSY_TIMEOUT).count()
        except Exception as error:  # noqa: BLE001  a figure must harm nothing
            self._failed(error)
            return 0

    def close(self) -> None:
        """Close the file. Rows whose letters wait are left for the next process."""
        if self._waiting:
            _log.error(
                "alhena: %s: %d dead letters could not be kept", self._path, len(self._waiting)
            )
        self._shut()

    @property
    def _path(self) -> Path:
        return letters_path(self._directory.path)

    def _letter(self, ending: Ending, origin_of: Callable[[int], str | None]) -> DeadLetter | None:
        origin = None if ending.row_id is None else origin_of(ending.row_id)
        try:
            return letter_of(ending, origin=origin, destination=self._destination, now=time.time())
        except Exception as error:  # noqa: BLE001  one letter must not stand in all others' way
            _log.error(
                "alhena: a dead letter could not be encoded (%s), and is lost", type(error).__name__
            )
            return None

    def _kept(self, *, urgent: bool) -> bool:
        """Keep what waits; return whether that is done with."""
        if not self._outage.may_try(urgent=urgent):
            return False
        letters = [letter for _, letter in self._waiting]
        try:
            wait = _LAST_BUSY_TIMEOUT if urgent else BUSY_TIMEOUT
            self._opened(wait).keep(letters, self._retention)
        except Exception as error:  # noqa: BLE001  a letter that cannot be kept must harm nothing
            self._failed(error)
            return self._is_out_of_patience()
        self._outage.succeeded(f"{self._path} can be written again")
        return True

    def _opened(self, wait: float) -> DeadLetterStore:
        if self._store is not None and identity_of(self._path) != self._store.identity:
            self._shut()  # deleted underneath, or set aside by another process
        if self._store is None:
            self._check_log()
            self._store = DeadLetterStore.open(self._directory.path, busy_timeout=wait)
        else:
            self._store.wait_for_others(wait)
        return self._store

    def _check_log(self) -> None:
        """Return if SQLite will read all of the log; looked at once, where no other process writes.

        Raises:
            DamagedError: It would pass over letters without a word.
        """
        if self._has_looked or self._directory.is_in_use():
            return
        self._has_looked = True
        if loses_log(self._path):
            raise DamagedError("its log holds more than can be reached through the file")

    def _failed(self, error: Exception) -> None:
        damaged = identity_of(self._path) if self._store is None else self._store.identity
        self._shut()
        if is_damage(error, self._path) and self._set_aside(damaged, error):
            return
        self._outage.failed(to_journal_error(self._path, error), "dead letters wait in memory")

    def _set_aside(self, damaged: tuple[int, int] | None, error: Exception) -> bool:
        try:
            with exclusively(self._path.with_suffix(".lock")):
                if identity_of(self._path) != damaged:
                    return True  # another process was quicker
                aside = set_aside(self._path)
        except OSError as failure:
            _log.debug("alhena: %s cannot be set aside: %s", self._path, failure.strerror)
            return False
        count = self._salvaged(aside)
        _log.error(
            "alhena: %s is damaged (%s): set aside as %s; %s letters were salvaged into a new one",
            self._path, error, aside, "no" if count is None else count,
        )  # fmt: skip
        return True

    def _salvaged(self, aside: Path) -> int | None:
        """Begin the file again with what can be read of a damaged one; None if that fails."""
        try:
            return self._opened(BUSY_TIMEOUT).take_in(salvaged_letters(aside))
        except Exception as failure:  # noqa: BLE001  the damaged file has them still
            _log.error("alhena: %s", to_journal_error(self._path, failure))
            return None

    def _is_out_of_patience(self) -> bool:
        """Whether what waits must be given up: rows cannot wait for their letters for ever."""
        if self._outage.cause is None:
            return False
        waited = uptime() - max(self._outage.began, self._patient_since)
        # On a full disk their rows cost nothing more, and are letters as soon as there is room.
        is_patient = waited < _SECONDS_OF_PATIENCE or isinstance(self._outage.cause, FullDiskError)
        if is_patient and len(self._waiting) < _MAX_LETTERS_WAITING:
            return False
        self._patient_since = uptime()
        _log.error(
            "alhena: %d dead letters are lost: %s; their events are settled without",
            len(self._waiting), self._outage.cause,
        )  # fmt: skip
        return True

    def _shut(self) -> None:
        if self._store is not None:
            with contextlib.suppress(sqlite3.Error):
                self._store.close()
            self._store = None
