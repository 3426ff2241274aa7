"""The only module of the engine that calls a journal, with one answer to whatever it raises.

A `JournalError` the journal has said itself: it is passed on to whoever waits for the disk, and
ends nothing else. Anything else is a foreign bug: it is logged, once of its kind, and then treated
as a `JournalError`. Either way the shop goes on, in memory if need be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from alhena_async._queue.envelope import Envelope, SpilledReceipt, may_repeat
from alhena_async._telemetry.telemetry import log_foreign
from alhena_async.errors import JournalError
from alhena_async.events import Event
from alhena_async.journal import Backlog, Ending, Journal, Page, SendMark
from alhena_async.observers import JournalLevels
from alhena_async.outcomes import Outcome
from alhena_async.policies import RetryPolicy

if TYPE_CHECKING:
    from alhena_async.journal import ForgetRequest, Whom

__all__ = ["JournalGateway", "ending_of"]

_NO_ROW: Final = "the journal did not take the event; it goes on in memory"


class JournalGateway:
    """Speaks to a journal of envelopes, where the journal knows of rows.

    Args:
        journal: Where they are kept.
        retry: Says what may be repeated; of what may not, the journal knows whether it was sent.
        repeats_all: Everything may be repeated, whatever the policy says.
    """

    def __init__(self, journal: Journal, retry: RetryPolicy, *, repeats_all: bool = False) -> None:
        self._journal = journal
        self._retry = retry
        self._repeats_all = repeats_all
        self._logged: set[tuple[str, type[Exception]]] = set()
        """Which foreign errors have been logged, by what failed."""

    # --- what is submitted, and never waited for -----------------------------------------------

    def append(self, envelope: Envelope, company_key: str) -> None:
        """Give an accepted envelope its row; one that gets none goes on in memory."""
        mark = self._mark_of(envelope.event, envelope.order_id)
        if mark is SendMark.UNSENT:
            envelope.details().send_mark = mark
        try:
            envelope.row_id = self._journal.append(  # type: ignore[misc]
                envelope.event,
                company_key=company_key,
                order_id=envelope.order_id,
                guard=mark,
            )
        except Exception as error:  # noqa: BLE001  foreign
            self._log("take an event", error)

    def _mark_of(self, event: Event, order_id: str | None) -> SendMark:
        repeats = may_repeat(event, order_id, self._retry) or self._repeats_all
        return SendMark.NONE if repeats else SendMark.UNSENT

    @property
    def series(self) -> str | None:
        """What names this process's rows, before their ids; None if the journal has no such."""
        return getattr(self._journal, "series", None)

    @property
    def has_room(self) -> bool:
        """Whether events may be left to the disk alone."""
        try:
            return self._journal.has_room
        except Exception as error:  # noqa: BLE001  then nobody may rely on it
            self._log("say whether it has room", error)
            return False

    def spill(self, event: Event, company_key: str, order_id: str | None) -> int | None:
        """Give an event a row that is all that is kept of it; None if it got none."""
        try:
            return self._journal.append(
                event,
                company_key=company_key,
                order_id=order_id,
                guard=self._mark_of(event, order_id),
                spilled=True,
            )
        except Exception as error:  # noqa: BLE001  foreign
            self._log("take an event", error)
            return None

    def holds(self, row_id: int, *, otherwise: bool = False) -> bool:
        """Return whether a row is on disk; `otherwise` if the journal fails to say."""
        try:
            return self._journal.holds(row_id)
        except Exception as error:  # noqa: BLE001  foreign
            self._log("say what it holds", error)
            return otherwise

    def settle(self, endings: Sequence[Ending]) -> None:
        """Delete the rows of what has ended, in one transaction."""
        try:
            self._journal.settle(endings)
        except Exception as error:  # noqa: BLE001  they have ended all the same
            self._log("take an ending", error)

    def drop(self, outcome: Outcome, company_key: str, order_id: str | None) -> None:
        """Record the end of an event that found no room, and so never had a row."""
        ending = Ending(row_id=None, outcome=outcome, company_key=company_key, order_id=order_id)
        self.settle([ending])

    def is_durable(self, envelope: Envelope) -> bool:
        """Return whether the disk has an envelope, and all that were folded into it."""
        return all(one.row_id is not None and self.holds(one.row_id) for one in envelope.group)

    def is_on_disk(self, envelope: Envelope) -> bool:
        """Return whether the disk has, or may have, an envelope or any that was folded into it."""
        row_ids = [one.row_id for one in envelope.group if one.row_id is not None]
        return any(self.holds(row_id, otherwise=True) for row_id in row_ids)

    # --- what it tells of itself ---------------------------------------------------------------

    @property
    def levels(self) -> JournalLevels | None:
        """How full the journal is; None if it does not say."""
        levels: JournalLevels | None = getattr(self._journal, "levels", None)
        return levels

    def listen(self, on_commit: Callable[[int, float], object]) -> None:
        """Have a function called with each commit, on whatever thread, if the journal tells."""
        if hasattr(self._journal, "on_commit"):
            self._journal.on_commit = on_commit

    @property
    def takes_reports(self) -> bool:
        """Whether the journal has a place for what the process counts."""
        return hasattr(self._journal, "report")

    async def report(
        self,
        counts: Mapping[str, Any],
        outcomes: Sequence[Mapping[str, Any]],
        *,
        is_last: bool = False,
    ) -> bool:
        """Put down what the process counts; return whether anybody watches its outcomes."""
        try:
            return bool(await self._journal.report(counts, outcomes, is_last=is_last))  # type: ignore[attr-defined]
        except Exception as error:  # noqa: BLE001  nothing depends on it
            self._log("keep the counts", error)
            return False

    # --- who is forgotten ----------------------------------------------------------------------

    @property
    def forgets(self) -> bool:
        """Whether the journal knows of visitors that are to be forgotten."""
        return hasattr(self._journal, "forget_requests")

    async def forget_requests(self) -> Sequence[ForgetRequest]:
        """Return what is asked for in the directory."""
        try:
            return await self._journal.forget_requests()  # type: ignore[attr-defined,no-any-return]
        except Exception as error:  # noqa: BLE001  asked again in a moment
            self._log("look for requests", error)
            return ()

    async def forget(self, whom: Whom) -> int:
        """Remove what the disk alone has of a visitor, and every byte; return how many events.

        Raises:
            JournalError: It was not done.
        """
        return await self._journal.forget(whom)  # type: ignore[attr-defined,no-any-return]

    async def answer(self, request: ForgetRequest, *, dropped: int, on_wire: int) -> None:
        """Tell whoever asked that it is done here.

        Raises:
            JournalError: It could not be told.
        """
        await self._journal.answer(request, dropped=dropped, on_wire=on_wire)  # type: ignore[attr-defined]

    # --- what is waited for --------------------------------------------------------------------

    async def open(self, *, destination: str) -> Sequence[Backlog]:
        """Open the journal, and return what dead processes left in it.

        Raises:
            JournalError: It cannot be used. Nothing is left open.
        """
        with self._foreign_errors("open"):
            await self._journal.open(destination=destination)  # leaves nothing open if it fails
        try:
            return await self.adopt()
        except BaseException:
            await self.close()
            raise

    async def adopt(self) -> Sequence[Backlog]:
        """Take over what processes left that died since the last look.

        Raises:
            JournalError: The journal cannot be searched.
        """
        with self._foreign_errors("adopt"):
            return await self._journal.adopt()

    async def page(self, file: int | None, *, after: int | None, limit: int) -> Page:
        """Return the next rows of an adopted file, or (None) of what was spilled.

        Raises:
            JournalError: It cannot be read on.
        """
        with self._foreign_errors("read a backlog"):
            return await self._journal.page(file, after=after, limit=limit)

    async def committed(self, receipt: Envelope | SpilledReceipt) -> None:
        """Return once the disk has an event, or need not have it any more.

        Raises:
            JournalError: It could not be written; the event goes on in memory.
        """
        if receipt.row_id is None:
            if not receipt.done():
                raise JournalError(_NO_ROW)
            return
        try:  # every durable event comes this way: `_foreign_errors` would cost a tenth of it
            await self._journal.committed(receipt.row_id)
        except JournalError:
            raise
        except Exception as error:
            raise self._foreign("say what it holds", error) from error

    async def mark(self, envelopes: Sequence[Envelope], mark: SendMark) -> None:
        """Commit that these are about to be sent, or were not; one without a row is left out.

        Raises:
            JournalError: It could not be written.
        """
        row_ids = [one.row_id for one in envelopes if one.row_id is not None]
        if row_ids:
            with self._foreign_errors("mark an event"):
                await self._journal.mark(row_ids, mark)

    async def sync(self) -> None:
        """Return once everything submitted so far is on disk.

        Raises:
            JournalError: Some of it could not be written.
        """
        with self._foreign_errors("write the last events"):
            await self._journal.sync()

    async def close(self) -> None:
        """Close the journal; whatever that raises is raised."""
        await self._journal.close()

    # --- what it raises ------------------------------------------------------------------------

    @contextmanager
    def _foreign_errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except JournalError:
            raise
        except Exception as error:
            raise self._foreign(what, error) from error

    def _foreign(self, what: str, error: Exception) -> JournalError:
        self._log(what, error)
        return JournalError(f"the journal failed to {what}: {type(error).__name__}")

    def _log(self, what: str, error: Exception) -> None:
        kind = (what, type(error))
        if not isinstance(error, JournalError) and kind not in self._logged:
            self._logged.add(kind)
            log_foreign(f"the journal failed to {what}", error)


def ending_of(envelope: Envelope, company_key: str) -> Ending:
    """Return how a settled envelope ended."""
    return Ending(
        row_id=envelope.row_id,
        outcome=envelope.settled_outcome,
        company_key=company_key,
        order_id=envelope.order_id,
    )
