"""What may fold, what may be shed."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from alhena_async import Receipt
from alhena_async.events import CartEvent
from alhena_async.outcomes import Outcome, OutcomeStatus
from tests.simulation.book import MOMENT, Entry

if TYPE_CHECKING:
    from tests.simulation.oracle import Oracle

__all__ = ["FoldsWatch"]

_EPS = 1e-6
_CHANGES = {"QUANTITY_INCREASED", "QUANTITY_DECREASED"}


def _detail(survivor: Receipt, outcome: Outcome) -> str:
    """What the detail of an event says that was folded into another."""
    detail = f"folded into {survivor.id}"
    one, other = outcome.event, survivor.event
    if one.value == other.value and one.currency == other.currency:
        return detail
    return detail if isinstance(one, CartEvent) else f"{detail}, with another total"


class FoldsWatch:
    """Judges every folded and every shed event."""

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle
        self._survivors: list[Entry] = []
        self._cancelled: list[Entry] = []
        self._shed: list[tuple[Entry, Entry]] = []
        self._victim: Entry | None = None

    def folded(self, entry: Entry, outcome: Outcome) -> str | None:
        """Judge what can be judged at once; return the broken rule, or None."""
        if outcome.survivor is None:
            self._cancelled.append(entry)
            return None if self._oracle.rules.coalescing == "net" else "only NET cancels out"
        survivor = self._oracle.entries.get(_key(outcome.survivor))
        if survivor is None or survivor.outcome is not outcome.survivor:
            return "its survivor is not settled"
        if survivor.lane is not entry.lane:
            return "folded into another visitor's"
        receipt = survivor.receipt
        if receipt is not None and outcome.detail != _detail(receipt, outcome):
            return f"its detail is not: {_detail(receipt, outcome)}"
        if survivor.members is None:
            survivor.members = []
            self._survivors.append(survivor)
        survivor.members.append(entry)
        return None if entry.is_cart else _broken_join(entry, survivor)

    def shed(self, entry: Entry) -> str | None:
        """Judge a shed event: the oldest goes first, and the later ones of its product with it."""
        victim = self._victim
        with_it = (
            victim is not None
            and victim.outcome is not None
            and victim.lane is entry.lane
            and victim.product == entry.product
            and victim.order < entry.order
        )
        if not with_it:
            self._victim = entry
            oldest = self._oldest(entry) or entry
            if oldest.order < entry.order:
                self._shed.append((oldest, entry))
        return None

    def _oldest(self, victim: Entry) -> Entry | None:
        """Return the oldest that may be shed; one that outlives its deadline is folded.

        Where the victim's own lane was full, it is the oldest of that.
        """
        untouched, now = self._oracle.untouched, self._oracle.now()
        if victim.lane.full_at >= now - _EPS:
            of_lane = (entry for entry in victim.lane.waiting if entry.key in untouched)
            return next((entry for entry in of_lane if entry.deadline > now), None)
        while untouched:
            oldest = next(iter(untouched.values()))
            if oldest.deadline > now:
                return oldest
            del untouched[oldest.key]
        return None

    def idle(self) -> None:
        """All news of this instant has come."""
        self._victim = None

    def finish(self) -> None:
        """Judge whole groups, once the life is over."""
        expect = self._oracle.expect
        for survivor in self._survivors:
            if survivor.is_cart:
                group = [*(survivor.members or ()), survivor]
                kind = self._effect(group)
                expect(kind is not None, "no such fold:", group)
                sent = survivor.sent_type
                expect(sent in {None, kind}, f"sent as {sent}, folds to {kind}:", group)
        for entry in self._oracle.entries.values():
            if entry.sent_type is not None and entry.members is None:
                expect(entry.sent_type == entry.event.type, "its type was changed", entry)  # type: ignore[union-attr]
        self._finish_shed()
        self._finish_pairs()

    def _finish_shed(self) -> None:
        """An older one may have been folded away by then: what spoke for it was younger."""
        for oldest, victim in self._shed:
            outcome = oldest.outcome
            while outcome is not None and outcome.survivor is not None:
                outcome = outcome.survivor
            assert outcome is not None
            speaker = self._oracle.entries[_key(outcome)]
            self._oracle.expect(
                victim.order <= speaker.order, "shed, though an older one waited:", victim, oldest
            )

    def _finish_pairs(self) -> None:
        pairs = list(zip(self._cancelled[::2], self._cancelled[1::2], strict=False))
        self._oracle.expect(len(self._cancelled) % 2 == 0, "one cancelled out alone")
        for one, other in pairs:
            kind = self._effect([*(one.members or ()), one])
            fits = (
                one.lane is other.lane
                and self._undivided(one, other)
                and one.product == other.product
                and kind == "ITEM_ADDED"
                and _type(other) == "ITEM_REMOVED"
                and not one.attempts
                and other.outcome is not None
                and (other.outcome.elapsed <= MOMENT or self._oracle.journal is not None)
            )
            self._oracle.expect(fits, "these do not cancel out:", one, other)

    def _effect(self, group: list[Entry]) -> str | None:
        """Return the type that a group of neighbours amounts to; None if they may not fold."""
        mode = self._oracle.rules.coalescing
        kind = _type(group[0])
        for one, other in pairwise(group):
            if not self._undivided(one, other):
                return None
            now = _type(other)
            if one.key >> 1 == other.key >> 1 and kind == now:
                continue  # a double click
            if mode not in {"latest", "net"} or not _alike(one, other):
                return None
            if kind == now:
                continue
            if mode != "net":
                return None
            if kind == "ITEM_ADDED" and now in _CHANGES:
                continue
            if kind not in _CHANGES or now != "ITEM_REMOVED":
                return None
            kind = now
        return kind

    def _undivided(self, one: Entry, other: Entry) -> bool:
        """Whether nothing that tells against a fold stood between: no checkout, nor its product."""
        book = one.lane.products[one.product or ""]
        between = book.entries[one.place + 1 : other.place]
        orders = one.lane.checkouts[one.segment : other.segment]
        return all(self._gone(entry, other) for entry in between) and all(
            self._stands_aside(checkout, other) for checkout in orders
        )

    def _gone(self, entry: Entry, other: Entry) -> bool:
        """Whether an event had cancelled out with another, or was settled, before `other` came.

        Or what expired on disk: it never stood in the lane.
        """
        outcome = entry.outcome
        assert outcome is not None
        if outcome.status is OutcomeStatus.EXPIRED and self._oracle.journal is not None:
            return not entry.attempts
        settled_at = entry.accepted_at + outcome.elapsed
        while outcome.survivor is not None:
            outcome = outcome.survivor
        undone = outcome.status is OutcomeStatus.COALESCED
        return undone or settled_at <= other.accepted_at + MOMENT

    def _stands_aside(self, checkout: Entry, other: Entry) -> bool:
        """Whether a checkout joined an earlier one, and stands there instead, or had gone."""
        outcome = checkout.outcome
        assert outcome is not None
        return outcome.status is OutcomeStatus.COALESCED or self._gone(checkout, other)


def _broken_join(entry: Entry, survivor: Entry) -> str | None:
    if entry.order_id is None or survivor.is_cart or entry.order_id != survivor.order_id:
        return "joined another order"
    if survivor.order > entry.order or 0 <= survivor.first_step < entry.step:
        return "joined one that did not wait"
    return None


def _alike(one: Entry, other: Entry) -> bool:
    first, second = one.event, other.event
    assert isinstance(first, CartEvent)
    assert isinstance(second, CartEvent)
    return first.currency == second.currency and first.source == second.source


def _type(entry: Entry) -> str:
    assert isinstance(entry.event, CartEvent)
    return entry.event.type


def _key(outcome: Outcome) -> int:
    value = outcome.event.value
    return 2 * int(value) + (value.__class__ is int)


def ended_well(entry: Entry) -> bool:
    """Return whether nothing is missing at the API on an event's account."""
    return entry.outcome is not None and (
        entry.outcome.ok or entry.outcome.status is OutcomeStatus.RECORDED
    )
