"""The writer's side of dead letters: first the letter is kept, then its row may go."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Final

from alhena_async.journal._clock import uptime
from alhena_async.journal._directory import Directory
from alhena_async.journal._endings import makes_letter
from alhena_async.journal._letters import (
    Bounds,
    Letter,
    LetterBox,
    identity_of,
    letter_of,
    letters_path,
    origin_of,
)
from alhena_async.journal._rows import Stored
from alhena_async.journal._salvage import set_aside
from alhena_async.journal._schema import is_damage, translated
from alhena_async.journal._settings import Settings
from alhena_async.journal.protocol import Ending

__all__ = ["Correspondence"]

_log = logging.getLogger("alhena_async")

_ID: Final = (1 << 40) - 1
_PATIENCE: Final = 60.0
"""Seconds for which rows wait for their letters, if these cannot be kept."""
_MOST: Final = 10_000
"""Letters that wait at most."""


class Correspondence:
    """Keeps letters, and holds back the rows whose letters could not be kept yet.

    Args:
        directory: Where.
        destination: What the letters say they were meant for.
        settings: How many are kept, and for how long.
    """

    def __init__(self, directory: Directory, destination: str, settings: Settings) -> None:
        self._directory = directory
        self._destination = destination
        self._bounds = Bounds(limit=settings.dead_letter_limit, age=settings.dead_letter_age)
        self._box: LetterBox | None = None
        self._waiting: list[tuple[int | None, Letter]] = []
        self._failing_since: float | None = None

    @property
    def has_debts(self) -> bool:
        """Whether letters wait to be kept."""
        return bool(self._waiting)

    def write(
        self,
        endings: Sequence[Ending],
        uuid_of: Callable[[int], str | None],
    ) -> list[int]:
        """Keep the letters of what ended, and return the places whose rows may go.

        Args:
            endings: What ended.
            uuid_of: Returns the name of the file that a place is in.
        """
        gone: list[int] = []
        for ending in endings:
            if makes_letter(ending.outcome):
                self._waiting.append((ending.place, self._letter(ending, uuid_of)))
            elif ending.place is not None:
                gone.append(ending.place)
        if self._waiting and self._may_go():
            gone += (place for place, _ in self._waiting if place is not None)
            self._waiting.clear()
        return gone

    def keep_unreadable(self, rows: Sequence[Stored], uuid: str) -> None:
        """Keep rows that are whole and yet no events."""
        now = time.time()
        for row in rows:
            letter = Letter(
                origin=origin_of(uuid, row.id), destination=self._destination,
                company_key=row.company_key, kind="checkout" if row.kind else "cart",
                status="unreadable", code=None, http_status=None, attempts=0,
                detail="its stored form breaks the rules of an event", order_id=row.order_id,
                accepted=row.accepted / 1e6, ended=now, body=row.body,
            )  # fmt: skip
            self._waiting.append((None, letter))
        if self._may_go():
            self._waiting.clear()

    def rows_of(self, uuid: str) -> list[int]:
        """Return which rows of a file are letters already; none if that cannot be told."""
        if not letters_path(self._directory.path).exists():
            return []
        try:
            return self._opened().rows_of(uuid)
        except Exception as error:  # noqa: BLE001  then they are delivered once more
            self._failed(error)
            return []

    def close(self) -> None:
        """Keep what waits, if it can be, and close the file."""
        if self._waiting:
            self._may_go()
        self._shut()

    def _letter(self, ending: Ending, uuid_of: Callable[[int], str | None]) -> Letter:
        origin = None
        if ending.place is not None:
            uuid = uuid_of(ending.place)
            origin = origin_of(uuid, ending.place & _ID) if uuid else None
        return letter_of(ending, origin=origin, destination=self._destination, now=time.time())

    def _may_go(self) -> bool:
        """Keep what waits; return whether the rows may go."""
        try:
            self._opened().keep([letter for _, letter in self._waiting], self._bounds)
        except Exception as error:  # noqa: BLE001  a letter that cannot be kept must harm nothing
            return self._failed(error)
        if self._failing_since is not None:
            _log.warning("%s can be written again", letters_path(self._directory.path))
            self._failing_since = None
        return True

    def _opened(self) -> LetterBox:
        if self._box is not None and identity_of(self._box.path) != self._box.identity:
            self._shut()  # deleted underneath, or set aside by another process
        if self._box is None:
            self._box = LetterBox.open(self._directory.path)
        return self._box

    def _failed(self, error: Exception) -> bool:
        path = letters_path(self._directory.path)
        self._shut()
        if is_damage(error):
            self._set_aside(error)
        now = uptime()
        if self._failing_since is None:
            self._failing_since = now
            if not is_damage(error):
                _log.error("%s; dead letters wait in memory (said once)", translated(path, error))
        if now - self._failing_since < _PATIENCE and len(self._waiting) < _MOST:
            return False
        _log.error(
            "%s: %d dead letters are lost, and their events with them; the log tells of each kind",
            path, len(self._waiting),
        )  # fmt: skip
        return True

    def _set_aside(self, error: Exception) -> None:
        path = letters_path(self._directory.path)
        try:
            aside = set_aside(path)
        except OSError as failure:
            _log.error("%s is damaged and cannot be set aside: %s", path, failure.strerror)
        else:
            _log.error("%s is damaged (%s): set aside as %s, and begun anew", path, error, aside)

    def _shut(self) -> None:
        if self._box is not None:
            try:
                self._box.close()
            except sqlite3.Error as error:
                _log.debug("%s", error)
            self._box = None
