"""The account of a run: what was read, how it ended, and what is left. No I/O."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Final

import attrs

from alhena_async.cli._format import add
from alhena_async.cli._input import Batch
from alhena_async.cli._lines import Record, Reject
from alhena_async.cli._progress import Earlier
from alhena_async.events import CheckoutEvent
from alhena_async.outcomes import Outcome, OutcomeStatus

_SETTLED: Final = frozenset(
    {
        OutcomeStatus.RECORDED,
        OutcomeStatus.DUPLICATE,
        OutcomeStatus.UNATTRIBUTED,
        OutcomeStatus.UNKNOWN,
    }
)
"""What a resumed run does not send again. `UNKNOWN` is among them: it may not be repeated."""

_REFUSED: Final = frozenset({OutcomeStatus.UNATTRIBUTED, OutcomeStatus.REJECTED})

_MAX_CAUSES: Final = 50
"""Causes that are told apart: a server may make up a new one for every event."""


def ending_of(outcome: Outcome) -> Outcome:
    """Return how the event ended that this one was folded into; else the outcome itself."""
    while outcome.survivor is not None:
        outcome = outcome.survivor
    return outcome


def is_settled(outcome: Outcome) -> bool:
    """Return whether a resumed run need not send the event again."""
    ending = ending_of(outcome)
    if ending.status is OutcomeStatus.REJECTED:
        # Without a code it was hardly the API that answered: a wrong address, a proxy.
        return ending.code is not None
    # COALESCED without a survivor: two events that cancelled each other out.
    return ending.status in _SETTLED or ending.status is OutcomeStatus.COALESCED


def refusal_of(outcome: Outcome) -> str | None:
    """Return why an event was refused, the API's code if it gave one; None if it was not."""
    if outcome.status not in _REFUSED:
        return None
    if outcome.code is not None:
        return outcome.code
    if outcome.http_status is None:
        return outcome.detail or "no reason given"
    told = f"HTTP {outcome.http_status}"
    is_redirect = 300 <= outcome.http_status < 400
    return f"{told}: {outcome.detail}" if is_redirect and outcome.detail else told


def count_cause(causes: Counter[str], cause: str) -> None:
    """Count a cause that a server may have made up: only so many are told apart."""
    known = cause in causes or len(causes) < _MAX_CAUSES
    causes[cause if known else "(others)"] += 1


@attrs.define(kw_only=True)
class Tally:
    """What is known of a run so far; `earlier` counts too, where a run goes on."""

    upto: int = 0
    """The number of the last line that was taken."""
    blank: int = 0
    skipped: int = 0
    """Lines that an earlier run has settled."""
    rejected: int = 0
    """Lines that are no events."""
    causes: Counter[str] = attrs.field(factory=Counter)
    """Rejected lines by reason; a line with two reasons counts under both together."""
    accepted: int = 0
    """Events handed to the client in this run."""
    finished: int = 0
    """Those of them that have an outcome."""
    statuses: Counter[str] = attrs.field(factory=Counter)
    codes: Counter[str] = attrs.field(factory=Counter)
    """Refusals by code, or else by HTTP status."""
    unsettled: int = 0
    """Events that a resumed run sends again."""
    not_ok: int = 0
    """Events of this run that are missing at the API."""
    offered: dict[str, Decimal] = attrs.field(factory=dict)
    """The sums of all valid orders taken in this run, by currency."""
    revenue: dict[str, Decimal] = attrs.field(factory=dict)
    """The sums of what was recorded, by currency."""
    doubtful_upto: int = 0
    """Lines up to this one may have been sent by a run that was killed before it could note it."""
    counted_orders: set[str] = attrs.field(factory=set)

    @classmethod
    def going_on(cls, earlier: Earlier) -> Tally:
        """Begin with what earlier runs have settled."""
        return cls(
            statuses=Counter(earlier.statuses),
            codes=Counter(earlier.codes),
            revenue=dict(earlier.revenue),
            doubtful_upto=earlier.upto,
        )

    @property
    def done(self) -> int:
        """Lines of which no more is to come."""
        return self.blank + self.skipped + self.rejected + self.finished

    @property
    def outstanding(self) -> int:
        """Events that were handed over and have no outcome yet."""
        return self.accepted - self.finished

    @property
    def missing(self) -> int:
        """Events that ended neither recorded nor refused for a stated reason."""
        return self.unsettled + self.statuses[OutcomeStatus.UNKNOWN.value]

    def take_batch(self, batch: Batch) -> None:
        """Count what a batch holds beside its items, once those are taken."""
        self.blank += batch.blank
        self.skipped += batch.skipped
        self.upto = max(self.upto, batch.upto)

    def take_reject(self, reject: Reject) -> None:
        """Count a line that is no event."""
        self.upto = reject.number
        self.rejected += 1
        self.causes["; ".join(reject.causes)] += 1

    def take_record(self, record: Record) -> None:
        """Count an event that was handed over."""
        self.upto = record.number
        self.accepted += 1
        if isinstance(record.event, CheckoutEvent):
            add(self.offered, record.event.currency, Decimal(record.event.value))

    def take_outcome(self, number: int, outcome: Outcome) -> Decimal | None:
        """Count how a line's event ended; return the amount that counts as recorded with it.

        Args:
            number: The line's number.
            outcome: The outcome.
        """
        self.finished += 1
        self.statuses[outcome.status.value] += 1
        self.unsettled += not is_settled(outcome)
        self.not_ok += not outcome.ok
        if (refusal := refusal_of(outcome)) is not None:
            count_cause(self.codes, refusal)
        event = outcome.event
        if not isinstance(event, CheckoutEvent) or not self._counts(number, event, outcome):
            return None
        value = Decimal(event.value)
        add(self.revenue, event.currency, value)
        return value

    def _counts(self, number: int, event: CheckoutEvent, outcome: Outcome) -> bool:
        if outcome.status is OutcomeStatus.RECORDED:
            return True
        if outcome.status is not OutcomeStatus.DUPLICATE or number > self.doubtful_upto:
            return False
        # A killed run may have sent this very line, and the API has its order: that is the record
        # of it. A second line with the same order is a real duplicate.
        order_id = event.order_id or ""
        first = order_id not in self.counted_orders
        self.counted_orders.add(order_id)
        return first
