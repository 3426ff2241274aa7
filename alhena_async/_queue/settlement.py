"""Who is accepted and not settled: their room, their age, their flush, and their rows on disk.

What enters these accounts leaves them by `settle`, whatever lane it stood in, and has its outcome
then.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from alhena_async._queue.admission import Admission
from alhena_async._queue.backlog import Backlogs
from alhena_async._queue.deadlines import Deadlines
from alhena_async._queue.envelope import Envelope, Folds
from alhena_async._queue.flush import FlushTracker
from alhena_async._queue.journal_gateway import JournalGateway
from alhena_async._telemetry.telemetry import Telemetry
from alhena_async.events import CheckoutEvent, Event, exact
from alhena_async.outcomes import Outcome, OutcomeStatus
from alhena_async.policies import QueuePolicy, RetryPolicy

__all__ = ["RecentOrders", "Settlement"]


class Settlement:
    """Keeps count of every envelope from its acceptance to its outcome.

    Args:
        policy: The capacity and the linger.
        retry: The delivery timeouts, and what may be repeated.
        telemetry: Is told of every outcome.
        journal: Where accepted events are kept; None keeps them in memory only.
    """

    def __init__(
        self,
        *,
        policy: QueuePolicy,
        retry: RetryPolicy,
        telemetry: Telemetry,
        journal: JournalGateway | None,
    ) -> None:
        self._telemetry = telemetry
        self.admission = Admission(policy.capacity)
        self.deadlines = Deadlines(retry, linger=policy.linger)
        self.flushes = FlushTracker()
        share = max(1, policy.capacity // 2)
        self._journal = journal
        self.backlogs = Backlogs(share=share)
        self._drained: asyncio.Future[None] | None = None

    @property
    def outstanding(self) -> int:
        """Events accepted or replayed, and not settled."""
        return self.admission.outstanding

    def settle(
        self, endings: Sequence[tuple[Envelope, Outcome]], company_key: str, status: OutcomeStatus
    ) -> None:
        """Settle envelopes that have left their lane, and those folded into them.

        Args:
            endings: Each with its outcome; their rows go in one transaction.
            company_key: Their lane's.
            status: What they have in common; what is `KEPT` keeps its rows.
        """
        for envelope, outcome in endings:
            self._settle(envelope, outcome)
            folds = envelope.folds
            if folds is not None and folds.survivor is envelope:
                self._settle_members(folds, outcome)
        if self._journal is not None and status is not OutcomeStatus.KEPT:
            self._journal.settle([envelope for envelope, _ in endings], company_key)
        self.admission.grant()
        if self._drained is not None:
            self._check_drained(self._drained)

    def _settle_members(self, folds: Folds, outcome: Outcome) -> None:
        survivor = folds.survivor
        now = survivor.accepted_at + outcome.elapsed
        for member in folds.members:
            detail = f"folded into {survivor.id}"
            if _is_order_with_another_total(member.event, survivor.event):
                detail = self.with_another_total(detail)
            self._settle(
                member,
                Outcome(
                    status=OutcomeStatus.COALESCED,
                    event=member.event,
                    elapsed=now - member.accepted_at,
                    detail=detail,
                    survivor=outcome,
                ),
            )

    def _settle(self, envelope: Envelope, outcome: Outcome) -> None:
        if envelope.is_replayed:
            self.backlogs.settled()
            self.admission.reserved_for_replay = self.backlogs.slots
        else:
            self.deadlines.remove(envelope)
        self.admission.release()
        self._telemetry.settled(outcome)  # first: observers hear before awaiters
        envelope.settle(outcome)
        self.flushes.settled(envelope.generation)

    def with_another_total(self, detail: str | None) -> str:
        """Tell that an order's id came again with another total; return the detail that says so."""
        self._telemetry.another_total()
        return f"{detail}, with another total" if detail else "with another total"

    def drain(self) -> asyncio.Future[None]:
        """Return a future for the settling of all that is not held; nothing comes in any more."""
        drained: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._drained = drained
        self._check_drained(drained)
        return drained

    def _check_drained(self, drained: asyncio.Future[None]) -> None:
        if self.outstanding <= self.backlogs.held_count and not drained.done():
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
        """Remember a recorded event, if it is a checkout with an order id of the caller's."""
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
