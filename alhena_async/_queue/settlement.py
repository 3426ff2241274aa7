"""Who is accepted and not settled: their room, their age, their flush, and their rows on disk.

What enters these accounts leaves them by `settle`, whatever lane it stood in, and has its outcome
then.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from alhena_async._queue.admission import Admission
from alhena_async._queue.backlog import Backlogs
from alhena_async._queue.deadlines import Deadlines
from alhena_async._queue.envelope import Envelope, Folds
from alhena_async._queue.flush import FlushTracker
from alhena_async._queue.journal_gateway import JournalGateway, ending_of
from alhena_async._queue.spill import Spill
from alhena_async._telemetry.telemetry import Telemetry
from alhena_async.events import CheckoutEvent, Event, exact
from alhena_async.journal import Ending
from alhena_async.outcomes import Outcome, OutcomeStatus
from alhena_async.policies import QueuePolicy, RetryPolicy

if TYPE_CHECKING:
    from alhena_async._queue.lane import Lane
    from alhena_async._queue.scheduler import LaneScheduler

__all__ = ["RecentOrders", "Settlement"]

_MEMBERS_AT_ONCE: Final = 16  # of a group: there may be 32 that end in one turn of the loop


class Settlement:
    """Keeps count of every envelope from its acceptance to its outcome.

    Args:
        policy: The capacity and the linger.
        retry: The delivery timeouts, and what may be repeated.
        telemetry: Is told of every outcome.
        journal: Where accepted events are kept; None keeps them in memory only.
        scheduler: Has the lanes; forgets those of which nothing is left.
    """

    def __init__(
        self,
        *,
        policy: QueuePolicy,
        retry: RetryPolicy,
        telemetry: Telemetry,
        journal: JournalGateway | None,
        scheduler: LaneScheduler,
    ) -> None:
        self._telemetry = telemetry
        self._scheduler = scheduler
        self.spill = Spill()
        self.backlogs = Backlogs(share=max(1, policy.capacity // 2))
        self.admission = Admission(policy, self.spill, self.backlogs)
        self.deadlines = Deadlines(retry, linger=policy.linger or 0.0)
        self.flushes = FlushTracker()
        self._journal = journal
        self._drained: asyncio.Future[None] | None = None
        self.unfinished: deque[Iterator[None]] = deque()
        """Large groups of which the survivor is settled, and each what is left to do of it."""

    @property
    def outstanding(self) -> int:
        """Events accepted or replayed, and not settled."""
        return self.admission.outstanding

    def settle(self, envelope: Envelope, outcome: Outcome) -> None:
        """Settle an envelope that has left its lane, and those folded into it."""
        if self._journal is not None or envelope.folds is not None:
            self.settle_together([(envelope, outcome)])
            return
        lane = envelope.lane
        self._settle(envelope, outcome, lane)
        self._make_room(lane)

    def settle_together(self, endings: Sequence[tuple[Envelope, Outcome]]) -> None:
        """Settle envelopes that have left their lane, and those folded into them.

        Args:
            endings: Of one lane, each with its outcome, all with the same status; their rows go in
                one transaction, but for those that are `KEPT`.
        """
        lane, status = endings[0][0].lane, endings[0][1].status
        groups = []
        for envelope, outcome in endings:
            self._settle(envelope, outcome, lane)
            folds = envelope.folds
            if folds is not None and folds.survivor is envelope:
                groups.append((folds, outcome))
        rows: list[Ending] | None = None
        if self._journal is not None and status is not OutcomeStatus.KEPT:
            rows = [ending_of(envelope, lane.company_key) for envelope, _ in endings]
        if groups:
            self.unfinished.append(self._settle_members(groups, rows, lane))
            self.settle_some(_MEMBERS_AT_ONCE)
        else:
            self._finish(rows, lane)

    def settle_some(self, budget: int) -> None:
        """Settle folded events whose survivor is settled, at most so many."""
        while self.unfinished and budget > 0:
            for _ in self.unfinished[0]:
                budget -= 1
                if budget <= 0:
                    break
            else:
                self.unfinished.popleft()
        if self.unfinished:
            self._scheduler.stirred = True
            self.admission.grant()

    def _settle_members(
        self, groups: list[tuple[Folds, Outcome]], rows: list[Ending] | None, lane: Lane
    ) -> Iterator[None]:
        """Settle one after the other; their rows go with their survivors', in one transaction."""
        for folds, outcome in groups:
            for member in folds.members:
                self._settle(member, self._folded(member, folds.survivor, outcome), lane)
                if rows is not None:
                    rows.append(ending_of(member, lane.company_key))
                yield
        self._finish(rows, lane)

    def _folded(self, member: Envelope, survivor: Envelope, outcome: Outcome) -> Outcome:
        detail = f"folded into {survivor.id}"
        if _is_order_with_another_total(member.event, survivor.event):
            detail = self.with_another_total(detail)
        return Outcome(
            status=OutcomeStatus.COALESCED,
            event=member.event,
            elapsed=survivor.accepted_at + outcome.elapsed - member.accepted_at,
            detail=detail,
            survivor=outcome,
        )

    def _finish(self, rows: list[Ending] | None, lane: Lane) -> None:
        if rows is not None and self._journal is not None:
            self._journal.settle(rows)
        self._make_room(lane)

    def _make_room(self, lane: Lane) -> None:
        """Pass on what the settling of a lane's events has set free."""
        if not lane.size:
            self._scheduler.forget(lane)
        self.admission.grant()
        if self._drained is not None:
            self.check_drained()

    def _settle(self, envelope: Envelope, outcome: Outcome, lane: Lane) -> None:
        if envelope.is_replayed:
            self.backlogs.settled()
            self.admission.reserved_for_replay = self.backlogs.slots
        else:
            self.deadlines.remove(envelope)
        self.admission.release(lane, envelope.event)
        self._telemetry.settled(outcome)  # first: observers hear before awaiters
        envelope.settle(outcome)
        self.flushes.settled(envelope.generation)

    def with_another_total(self, detail: str | None) -> str:
        """Tell that an order's id came again with another total; return the detail that says so."""
        self._telemetry.another_total()
        return f"{detail}, with another total" if detail else "with another total"

    def drain(self) -> asyncio.Future[None]:
        """Return a future for the settling of all that is not held; nothing comes in any more.

        What is on disk alone is waited for.
        """
        drained: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._drained = drained
        self.check_drained()
        return drained

    def check_drained(self) -> None:
        """Resolve the future of `drain` if all is settled that it waits for."""
        drained = self._drained
        if drained is None or drained.done() or self.spill.count:
            return
        if self.outstanding <= self.backlogs.held_count:
            drained.set_result(None)


def _is_order_with_another_total(event: Event, first: Event) -> bool:
    if isinstance(event, CheckoutEvent) and isinstance(first, CheckoutEvent):
        return total_of(event) != total_of(first)
    return False


_MAX_ORDERS: Final = 10_000  # remembered; the API is the judge past that


class RecentOrders:
    """Callers' order ids by company key with each order's total, the latest of them."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], Total] = OrderedDict()

    def remember(self, event: Event, company_key: str) -> None:
        """Remember what was recorded or published, if a caller gave it an order id."""
        if isinstance(event, CheckoutEvent) and event.order_id is not None:
            self._known[company_key, event.order_id] = total_of(event)
            if len(self._known) > _MAX_ORDERS:
                self._known.popitem(last=False)

    def has(self, event: Event, company_key: str) -> bool:
        """Return whether the event is a checkout that was recorded lately."""
        return isinstance(event, CheckoutEvent) and (company_key, event.order_id) in self._known

    def differs(self, event: Event, company_key: str) -> bool:
        """Return whether it is an order that was recorded lately with another total."""
        if not isinstance(event, CheckoutEvent) or event.order_id is None:
            return False
        known = self._known.get((company_key, event.order_id))
        return known is not None and known != total_of(event)


Total = tuple[Decimal, str]
"""What an order came to, and in which currency."""


def total_of(order: CheckoutEvent) -> Total:
    """Return an order's total, to compare it with another's of the same id."""
    return exact(order.value), order.currency
