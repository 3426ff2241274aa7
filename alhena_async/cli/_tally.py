"""The account of a run: what was read, how it ended, what is left, and its exit status. No I/O."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection
from decimal import Decimal
from typing import Final

import attrs

from alhena_async.cli._format import add
from alhena_async.cli._input import Batch
from alhena_async.cli._lines import Kind, Record, Reject, Worth
from alhena_async.events import CheckoutEvent, Event, exact
from alhena_async.outcomes import ErrorCode, Outcome, OutcomeStatus

NO_EVENT: Final = "no event"
"""Stands beside the outcomes' statuses for lines that are no events."""

_SETTLED: Final = frozenset(
    {
        OutcomeStatus.RECORDED,
        OutcomeStatus.PUBLISHED,
        OutcomeStatus.DUPLICATE,
        OutcomeStatus.UNATTRIBUTED,
        OutcomeStatus.UNKNOWN,
    }
)
"""What a resumed run does not send again. `UNKNOWN` is among them: it may not be repeated."""

_OK: Final = (
    OutcomeStatus.RECORDED,
    OutcomeStatus.PUBLISHED,
    OutcomeStatus.DUPLICATE,
    OutcomeStatus.COALESCED,
)

_REFUSED: Final = frozenset({OutcomeStatus.UNATTRIBUTED, OutcomeStatus.REJECTED})

_MAX_CAUSES: Final = 50
"""Causes that are told apart: a server may make up a new one for every event."""

FIRST_EVENTS: Final = 20
"""So many refusals of the company key in the beginning are no accident."""


def ending_of(outcome: Outcome) -> Outcome:
    """Return how the event ended that this one was folded into; else the outcome itself."""
    while outcome.survivor is not None:
        outcome = outcome.survivor
    return outcome


def is_settled(outcome: Outcome) -> bool:
    """Return whether a resumed run need not send the event again."""
    ending = ending_of(outcome)
    if ending.status is OutcomeStatus.REJECTED:
        # Without a code it was hardly the API that answered: a wrong address, a proxy. And another
        # company key is another run.
        return ending.code not in {None, ErrorCode.COMPANY_NOT_FOUND}
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


def told_apart(cause: str, causes: Collection[str]) -> str:
    """Return a cause, or what stands for those that are too many: a server may make them up."""
    return cause if cause in causes or len(causes) < _MAX_CAUSES else "(others)"


def count_cause(causes: Counter[str], cause: str) -> None:
    """Count a cause."""
    causes[told_apart(cause, causes)] += 1


def worth_of(event: Event) -> Worth | None:
    """Return what an order comes to; None for a cart event."""
    is_order = isinstance(event, CheckoutEvent)
    return Worth(exact(event.value), event.currency) if is_order else None


@attrs.frozen(kw_only=True)
class Ending:
    """How a line's event ended, as far as the account goes."""

    status: str
    """An `OutcomeStatus`."""
    into: str | None = None
    """How the event ended that it was folded into, if it was."""
    code: str | None = None
    """Why it was refused, or what it was folded into."""
    worth: Worth | None = None
    """What an order comes to; None for a cart event."""
    was_here: bool = False
    """Whether a duplicate is the trace of this very line, which a killed run had sent."""
    settled: bool = True
    """Whether a resumed run passes it over."""

    @property
    def kind(self) -> Kind:
        """What it was."""
        return "cart" if self.worth is None else "checkout"

    @property
    def comes_to(self) -> str:
        """The status that tells what the API has of it."""
        if self.was_here:
            return OutcomeStatus.RECORDED
        return self.status if self.into is None or self.into in _OK else self.into


@attrs.define(kw_only=True)
class Amount:
    """Orders, and their sums by currency."""

    orders: int = 0
    sums: dict[str, Decimal] = attrs.field(factory=dict)

    def add(self, worth: Worth | None) -> None:
        """Add an order, of whose worth nothing may be known."""
        self.orders += 1
        if worth is not None:
            add(self.sums, worth.currency, worth.value)

    def remove(self, worth: Worth | None) -> None:
        """Take an order out again."""
        self.orders -= 1
        if worth is not None:
            add(self.sums, worth.currency, -worth.value)

    def add_all(self, other: Amount) -> None:
        """Add all of another amount."""
        self.orders += other.orders
        for currency, value in other.sums.items():
            add(self.sums, currency, value)


class OrderIds:
    """Which order ids have been there: some 60 bytes for each, whatever its length."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def add(self, order_id: str) -> bool:
        """Return whether it is new, and keep it."""
        digest = hashlib.blake2b(order_id.encode(), digest_size=8).digest()
        number = int.from_bytes(digest)
        is_new = number not in self._seen
        self._seen.add(number)
        return is_new


@attrs.frozen(kw_only=True)
class Allowance:
    """How many lines may be rejected or refused in a run that is a success."""

    most: float = 0
    """Lines, or a share of them."""
    is_share: bool = False

    def covers(self, number: int, lines: int) -> bool:
        """Return whether so many of so many are allowed."""
        return number <= (self.most * lines if self.is_share else self.most)


@attrs.define(kw_only=True)
class Tally:
    """What is known of a run so far; what earlier runs settled counts too, where a run goes on."""

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
    derived: int = 0
    """Those of them whose fingerprints are invented."""
    statuses: Counter[str] = attrs.field(factory=Counter)
    kinds: dict[Kind, Counter[str]] = attrs.field(
        factory=lambda: {"cart": Counter(), "checkout": Counter()}
    )
    """What became of each kind: by status, that of what it was folded into where that failed, and
    `NO_EVENT`."""
    codes: Counter[str] = attrs.field(factory=Counter)
    """Refusals by code, or else by HTTP status."""
    refused: int = 0
    """Events refused by the API for a stated reason, other than for want of a conversation."""
    unsettled: int = 0
    """Events that a resumed run sends again."""
    recorded: Amount = attrs.field(factory=Amount)
    before: Amount = attrs.field(factory=Amount)
    """Orders that were recorded before, or stand in the file more than once."""
    missing: Amount = attrs.field(factory=Amount)
    """Orders that ended otherwise, or are none by the rules."""
    unread: int = 0
    """Orders that are none by the rules, and whose worth cannot be read."""
    offered: Amount = attrs.field(factory=Amount)
    """Orders handed over or rejected in this run, or settled by an earlier one."""
    doubtful_upto: int = 0
    """Lines up to this one may have been sent by a run that was killed before it could note it."""
    counted_orders: set[str] = attrs.field(factory=set)

    @property
    def done(self) -> int:
        """Lines of which no more is to come."""
        return self.blank + self.skipped + self.rejected + self.finished

    @property
    def outstanding(self) -> int:
        """Events that were handed over and have no outcome yet."""
        return self.accepted - self.finished

    @property
    def unanswered(self) -> int:
        """Events that ended neither recorded nor refused for a stated reason."""
        return self.unsettled + self.statuses[OutcomeStatus.UNKNOWN.value]

    @property
    def settled(self) -> int:
        """Events that a resumed run does not send again."""
        return self.statuses.total() - self.unsettled

    @property
    def recorded_events(self) -> int:
        """Events that the API has, one way or another."""
        return sum(counts[status] for counts in self.kinds.values() for status in _OK)

    @property
    def is_of_no_company(self) -> bool:
        """Whether the API knew the company key of none of the events that have an outcome."""
        return 0 < self.finished == self.codes[ErrorCode.COMPANY_NOT_FOUND]

    def exit_status(self, allowance: Allowance) -> int:
        """Return 0 if all is recorded that the allowance does not cover, else 1.

        Visitors without a conversation are the usual case, but an API that knows none of them all
        has recorded nothing.
        """
        lines = self.rejected + self.statuses.total()
        is_covered = allowance.covers(self.rejected + self.refused, lines)
        return 0 if is_covered and self.recorded_events and not self.unanswered else 1

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
        if reject.kind is not None:
            self.kinds[reject.kind][NO_EVENT] += 1
        if reject.worth is not None and reject.kind == "checkout":
            self.offered.add(reject.worth)
            self.missing.add(reject.worth)
        elif reject.kind == "checkout":
            self.unread += 1

    def take_record(self, record: Record) -> None:
        """Count an event that was handed over."""
        self.upto = record.number
        self.accepted += 1
        self.derived += record.derived
        if (worth := worth_of(record.event)) is not None:
            self.offered.add(worth)

    def take_outcome(self, number: int, outcome: Outcome) -> Ending:
        """Count how a line's event ended, and return it.

        Args:
            number: The line's number.
            outcome: The outcome.
        """
        last = ending_of(outcome)
        ending = Ending(
            status=outcome.status.value,
            into=None if last is outcome else last.status.value,
            code=refusal_of(last),
            worth=worth_of(outcome.event),
            was_here=self._was_here(number, outcome),
            settled=is_settled(outcome),
        )
        self.finished += 1
        self._take(ending)
        return ending

    def take_earlier(self, ending: Ending) -> None:
        """Count how an event ended in an earlier run."""
        if ending.worth is not None:
            self.offered.add(ending.worth)
        self._take(ending)

    def _take(self, ending: Ending) -> None:
        self.statuses[ending.status] += 1
        self.kinds[ending.kind][ending.comes_to] += 1
        self.unsettled += not ending.settled
        if ending.code is not None:
            count_cause(self.codes, ending.code)
        self.refused += ending.settled and ending.comes_to == OutcomeStatus.REJECTED
        if ending.worth is not None:
            self._amount_of(ending.comes_to).add(ending.worth)

    def _amount_of(self, status: str) -> Amount:
        if status == OutcomeStatus.RECORDED:
            return self.recorded
        return self.before if status in _OK else self.missing

    def _was_here(self, number: int, outcome: Outcome) -> bool:
        """Return whether a duplicate is the trace of the same line, which a killed run had sent."""
        if outcome.status is not OutcomeStatus.DUPLICATE or number > self.doubtful_upto:
            return False
        # A second line with the same order is a real duplicate.
        order_id = getattr(outcome.event, "order_id", None) or ""
        first = order_id not in self.counted_orders
        self.counted_orders.add(order_id)
        return first
