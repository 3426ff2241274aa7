"""The seam to what survives the process: what the engine asks of a journal, and in which words.

The engine submits and never waits, except where a caller asked for the disk's word. Everything
here is called on the client's event loop; a journal does its work elsewhere.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import attrs

from alhena_async.events import Event
from alhena_async.outcomes import Outcome

__all__ = ["FORGOTTEN", "Backlog", "Ending", "Journal", "Page", "Row", "SendMark"]


FORGOTTEN: Final = "the visitor was forgotten"
"""The detail of an event that was dropped for it: no letter is kept of that."""


class SendMark(enum.IntEnum):
    """Whether a row's event was sent, as far as the disk knows.

    UNSENT -> SENT: its one attempt is about to begin.
    SENT -> UNSENT: the client closes, and no attempt of it can have reached the API.
    NONE stays: such an event may be repeated, so nobody wrote down when it was sent.
    """

    NONE = 0
    """Perhaps sent: it may be repeated, and replays as ambiguous."""
    UNSENT = 1
    """Certainly not sent: it may not be repeated, and its intent was never written."""
    SENT = 2
    """Perhaps recorded, and it may not be repeated: it replays as `UNKNOWN`."""


@attrs.frozen(kw_only=True)
class Row:
    """An event that the disk alone has: of a dead process, or spilled by this one."""

    row_id: int
    """Names the row in this journal; opaque, grows within a file in the order of acceptance."""
    lane: int
    """`lane_digest` of its visitor and company key."""
    event: Event
    company_key: str
    order_id: str | None
    """The order id that is sent: the caller's or the assigned one."""
    age: float
    """Seconds from its acceptance to the call of `page`, by the wall clock. Less than 0 if it was
    accepted while the page was read; of a dead process's row, never."""
    guard: SendMark
    identity: str | None = None
    """Names the event in every process that reads the row; None: the journal has no `series`."""


@attrs.frozen(kw_only=True)
class Backlog:
    """The rows of a dead process's file, adopted and not yet paged in."""

    file: int
    """Names the file in this journal; files are adopted in the order they were begun."""
    rows: int
    lanes: Mapping[int, int]
    """How many rows each lane has, by `lane_digest`; none where nobody has counted them yet."""


@attrs.frozen(kw_only=True)
class Page:
    """The next rows of a backlog, in order."""

    rows: Sequence[Row]
    last: bool
    """No row is left behind these. Unreadable rows were set aside, and are in no page."""


@attrs.frozen(kw_only=True)
class Ending:
    """How an event ended, for the journal: its row goes, and perhaps a dead letter comes."""

    row_id: int | None
    """None: it never had a row."""
    outcome: Outcome
    company_key: str
    order_id: str | None


class Journal(Protocol):
    """Keeps accepted events until they are settled. A client opens it once and closes it once."""

    async def open(self, *, destination: str) -> None:
        """Begin to keep events for this destination (the base URL), on the running loop.

        A full disk is no reason to fail: what is submitted waits in memory until there is room.

        Raises:
            JournalError: The directory cannot be used; the message says why and what to do.
        """

    @property
    def has_room(self) -> bool:
        """Whether events may be spilled: all is written in good time, and no bound is reached."""
        ...

    def append(
        self,
        event: Event,
        *,
        company_key: str,
        order_id: str | None,
        guard: SendMark,
        spilled: bool = False,
    ) -> int:
        """Submit an event and return the id of its row, larger than all before. Never waits.

        Args:
            event: What was accepted.
            company_key: Whose event it is.
            order_id: The order id that is sent.
            guard: Whether its sending is to be written down.
            spilled: The client keeps nothing of it in memory, and will ask for it by `page`. Nor
                should the journal, once it is on disk.

        Raises:
            JournalError: More waits for the disk than may: it is not taken, and has no row. The
                journal logs that itself, once.
        """
        ...

    async def committed(self, row_id: int) -> None:
        """Return when the row is on disk. Cancelled, it only stops waiting.

        Raises:
            JournalError: It could not be written (now; it is tried again with what follows).
        """

    async def mark(self, row_ids: Sequence[int], guard: SendMark) -> None:
        """Commit that guarded rows are about to be sent, or were not, in one transaction.

        Rows that are not guarded stay as they are. Each event comes with all that were folded into
        it: a row left unmarked would be sent again by the next process, though the one request
        stood for it as well. Several events may come together, of several files.

        Args:
            row_ids: Which rows.
            guard: `SENT` or `UNSENT`.

        Raises:
            JournalError: It could not be written.
        """

    def holds(self, row_id: int) -> bool:
        """Return whether the row is on disk now."""
        ...

    def settle(self, endings: Sequence[Ending]) -> None:
        """Submit that these events ended: their rows go in one transaction. Never waits."""

    async def adopt(self) -> Sequence[Backlog]:
        """Take over the files of dead processes with this destination, oldest first.

        Raises:
            JournalError: The directory cannot be read.
        """
        ...

    async def page(self, file: int | None, *, after: int | None, limit: int) -> Page:
        """Return up to `limit` rows of a file behind the one with the id `after`.

        Args:
            file: One that was adopted. None: this process's own; of it the spilled rows that are
                not settled, whether they are on disk by now or not.
            after: None begins with the first.
            limit: Rows at most.

        Raises:
            JournalError: The file cannot be read any more.
        """
        ...

    async def sync(self) -> None:
        """Return when all that was submitted before this call is on disk.

        Raises:
            JournalError: Some of it could not be written.
        """

    async def close(self) -> None:
        """Write what was submitted, release every file, and stop. Idempotent."""
