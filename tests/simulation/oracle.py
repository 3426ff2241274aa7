"""The oracle: hears what callers did, what went over the wire and how events ended, and judges.

It imports nothing of the engine but events and outcomes. It never raises into the engine, which
would swallow it: a finding waits until the loop is idle, and ends the run there.
"""

from __future__ import annotations

import hashlib
import struct
from collections import Counter, OrderedDict
from typing import Any

from alhena_async.events import CartEvent, Event
from alhena_async.outcomes import Outcome, OutcomeStatus
from tests.simulation.accounts import Accounts
from tests.simulation.book import MOMENT, Entry, LaneBook, Rules, key_of
from tests.simulation.callers_watch import CallersWatch
from tests.simulation.folds import FoldsWatch
from tests.simulation.room_watch import RoomWatch
from tests.simulation.truths import check_outcome
from tests.simulation.wire_watch import WireWatch

__all__ = ["Oracle", "Violation"]

_STATUSES = tuple(OutcomeStatus)
_WORDS = {status: place for place, status in enumerate(_STATUSES)}
_fact = struct.Struct("<dii").pack


class Violation(AssertionError):  # noqa: N818  a finding
    """A promise was broken."""


class Oracle:
    """Judges one client's life.

    Args:
        rules: The policies' numbers.
        loop: For its `time()`, nothing else.
    """

    def __init__(self, rules: Rules, loop: Any) -> None:
        self.rules = rules
        self.now = loop.time
        self.findings: list[str] = []
        self.entries: dict[int, Entry] = {}
        self.lanes: dict[tuple[str, str], LaneBook] = {}
        self.open_carts: OrderedDict[int, Entry] = OrderedDict()
        self.open_checkouts: OrderedDict[int, Entry] = OrderedDict()
        self.untouched: OrderedDict[int, Entry] = OrderedDict()
        """Open cart events that certainly stand in their lane, oldest first: what may be shed."""
        self.counts: Counter[OutcomeStatus] = Counter()
        self.callers = CallersWatch(self)
        self.room = RoomWatch(self)
        self.folds = FoldsWatch(self)
        self.wire = WireWatch(self)
        self.filtered: set[int] = set()
        self.client: Any = None
        self.journal: Any = None
        """Where what has no room goes; None: nowhere."""
        self.accepted = self.steps = 0
        self.recorded_orders: set[tuple[str, str]] = set()
        self.closing_at: float | None = None
        self.ended = False
        self.accounts = Accounts(self)
        self._looked_at = 0
        self._trace = bytearray()

    # --- findings ------------------------------------------------------------------------------

    def expect(self, truth: object, finding: str, *about: object) -> None:
        """Note a finding unless it holds."""
        if not truth:
            what = " ".join([finding, *map(repr, about)])
            self.findings.append(f"t={self.now():.6f} {what}")

    def failed(self, traceback: str) -> None:
        """Note a failure of the oracle's own: it may have overlooked something."""
        self.findings.append(f"the oracle failed: {traceback}")

    def trace(self, now: float, what: int, key: int) -> None:
        """Add a fact to the run's fingerprint."""
        self._trace += _fact(now, what, key)

    def fingerprint_after(self, earlier: str) -> str:
        """Return what two runs of a seed must share, this life and the earlier ones."""
        return hashlib.blake2b(self._trace + earlier.encode(), digest_size=16).hexdigest()

    # --- acceptance ----------------------------------------------------------------------------

    def lane(self, company: str, visitor: str) -> LaneBook:
        """Return the book of a lane."""
        lane = self.lanes.get((company, visitor))
        if lane is None:
            lane = self.lanes[company, visitor] = LaneBook(company, visitor)
        return lane

    def entry(self, event: Event, company: str, *, pinned: bool) -> Entry:
        """Make an entry for an event that a caller is about to give."""
        key = key_of(event.value)
        entry = Entry(key, event, self.lane(company, event.visitor.fingerprint), pinned=pinned)
        self.entries[key] = entry
        return entry

    def accept(self, entry: Entry) -> None:
        """An event was accepted just now."""
        now = self.now()
        self.steps += 1
        entry.order = self.accepted
        self.accepted += 1
        entry.accepted_at = at = self._time_of(entry, now)
        entry.step = self.steps
        rules = self.rules
        entry.deadline = at + (rules.cart_timeout if entry.is_cart else rules.checkout_timeout)
        self.trace(now, 1, entry.key)
        if self.closing_at is not None and now > self.closing_at:
            self.expect(False, "accepted after close", entry)
        if entry.doomed or entry.key in self.filtered:
            entry.doomed = True
            if entry.product is not None:
                entry.lane.product(entry.product).spoilt = True
            return
        lane = entry.lane
        entry.segment = lane.segment
        if entry.is_cart:
            self._accept_cart(entry, lane)
        else:
            lane.segment += 1
            lane.checkouts.append(entry)
            self.open_checkouts[entry.key] = entry
        lane.waiting.append(entry)
        self.room.accepted(entry)

    def _time_of(self, entry: Entry, now: float) -> float:
        """Return when it was accepted: what comes within a millisecond may share a time."""
        told: float = now if entry.receipt is None else entry.receipt.accepted_at
        self.expect(now - MOMENT <= told <= now, f"accepted at {told}", entry)
        return told

    def _accept_cart(self, entry: Entry, lane: LaneBook) -> None:
        event = entry.event
        assert isinstance(event, CartEvent)
        product = lane.product(event.product_id)
        entry.place = len(product.entries)
        product.entries.append(entry)
        entry.added, entry.increased = product.added, product.increased
        if event.type == "ITEM_ADDED":
            if product.quantity > 0 and self.rules.coalescing == "net":
                product.spoilt = True  # NET speaks of what is added to an empty product only
            product.added = True
        elif not product.added:
            product.spoilt = True
        elif event.type == "QUANTITY_INCREASED":
            product.increased = True
        product.quantity = float(event.quantity)
        self.open_carts[entry.key] = entry
        self.untouched[entry.key] = entry

    def never_accepted(self, entry: Entry) -> None:
        """The caller's event was refused, or the caller went away first."""
        del self.entries[entry.key]
        if entry.product is not None:
            entry.lane.product(entry.product).spoilt = True

    # --- settling: the observer's side ---------------------------------------------------------

    def outcome(self, outcome: Outcome) -> None:
        """The client tells of an outcome."""
        entry = self.entries.get(key_of(outcome.event.value))
        if entry is None or entry.order < 0:
            self.expect(False, "an outcome for what was never accepted", outcome)
            return
        if entry.outcome is not None:
            self.expect(False, "settled twice", entry, outcome)
            return
        self.steps += 1
        entry.outcome = outcome
        self.counts[outcome.status] += 1
        now = self.now()
        self.trace(now, 10 + _WORDS[outcome.status], entry.key)
        check_outcome(self, entry, outcome, now)
        if not entry.doomed:
            (self.open_carts if entry.is_cart else self.open_checkouts).pop(entry.key, None)
            self.untouched.pop(entry.key, None)
            self.room.settled(entry.lane)
        lane = entry.lane
        if entry.attempts and lane.taken is entry:
            lane.taken = None
        if entry.attempts:
            self.wire.taken -= 1
        if not outcome.ok and entry.product is not None:
            lane.product(entry.product).spoilt = True

    def accepted_news(self, event: Event) -> None:
        """The client tells of an acceptance, which the oracle saw with its own eyes."""
        entry = self.entries.get(key_of(event.value))
        self.expect(entry is not None and entry.order >= 0, "told of an acceptance", event)

    # --- when all is quiet ---------------------------------------------------------------------

    def idle(self) -> None:
        """All work of this instant is done: the accounts must be exact.

        Raises:
            Violation: Something was found since the last time.
        """
        if self.client is None or self.steps == self._looked_at:
            return
        self._looked_at = self.steps
        self.wire.idle()
        self.callers.idle()
        self.folds.idle()
        self.accounts.check()
        if self.findings:
            raise Violation("\n".join(self.findings[:20]))

    def oldest(self) -> Entry | None:
        """Return the unsettled event that was accepted first."""
        cart = next(iter(self.open_carts.values()), None)
        checkout = next(iter(self.open_checkouts.values()), None)
        if cart is None or checkout is None:
            return cart or checkout
        return cart if cart.order < checkout.order else checkout
