"""What a test asks of recorded events, and what it is told when there are others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, TypeVar, Unpack

from attrs import frozen

from alhena_async.emulator.records import Recorded, Refused
from alhena_async.emulator.wanted import RECORDED, REFUSED, Facts, RefusedFacts, Wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from decimal import Decimal

    from alhena_async.emulator.faults import FaultKind
    from alhena_async.emulator.ledger import CartKey
    from alhena_async.emulator.store import Store

T = TypeVar("T")

_LISTED = 10


class Recordings(ABC):
    """Reads a store, and asserts on it: the same words wherever events are recorded.

    The assertions take the same facts as `recorded`, and their messages tell what was recorded
    instead, what came nearest, and what was refused.
    """

    @abstractmethod
    def _look(self, read: Callable[[Store], T]) -> T:
        """Call `read` with the store, where the store may be read."""

    @property
    def requests(self) -> int:
        """POSTs seen at the two endpoints, faulted and refused ones included."""
        return self._look(lambda store: store.requests)

    @property
    def revenue(self) -> dict[str, Decimal]:
        """Exact totals of the recorded checkouts, by currency."""
        return self._look(lambda store: store.ledger.revenue)

    @property
    def carts(self) -> dict[CartKey, Decimal]:
        """Quantity in the carts now, by `(company_key, (fingerprint, faq_fingerprint), product)`.

        What was removed, set to 0 or bought (a line of a recorded checkout) is not in it.
        """
        return self._look(lambda store: store.ledger.carts)

    @property
    def refusals(self) -> dict[str, int]:
        """How many requests were refused, by code."""
        return self._look(lambda store: dict(store.refused_counts))

    @property
    def faulted(self) -> dict[FaultKind, int]:
        """How many faults were played, by kind."""
        return self._look(lambda store: dict(store.fault_counts))

    @property
    def recorded_count(self) -> int:
        """How many events were recorded, those that the history no longer keeps included."""
        return self._look(lambda store: store.recorded_counts.total())

    @property
    def refused_count(self) -> int:
        """How many requests were refused, those that the history no longer keeps included."""
        return self._look(lambda store: store.refused_counts.total())

    def recorded(self, **facts: Unpack[Facts]) -> list[Recorded]:
        """The kept recorded events that meet every given fact, oldest first.

        Args:
            **facts: `kind`, `type`, `product_id`, `order_id`, `visitor`, `fingerprint`,
                `company_key`, `quantity`, `value`, `currency`, `source`; see `Facts`.

        Raises:
            TypeError: There is no fact of that name, or its value is of the wrong type.
            ValueError: There is no such kind or type.
        """
        wanted = Wanted.of(facts, RECORDED)
        return [record for record in self._look(_recorded) if wanted.meets(record)]

    def refused(self, **facts: Unpack[RefusedFacts]) -> list[Refused]:
        """The kept refused requests that meet every given fact, oldest first.

        Args:
            **facts: `code` and, of requests that held them, `kind`, `type`, `product_id` (of
                cart events), `order_id`, `visitor`, `fingerprint`, `company_key`.

        Raises:
            TypeError: There is no fact of that name, or its value is of the wrong type.
            ValueError: There is no such kind or type.
        """
        wanted = Wanted.of(facts, REFUSED)
        return [record for record in self._look(_refused) if wanted.meets(record)]

    def assert_recorded(self, *, times: int | None = 1, **facts: Unpack[Facts]) -> list[Recorded]:
        """Assert that events were recorded, and return them, oldest first.

        Args:
            times: How many meet the facts, exactly; default 1. None: one or more.
            **facts: As for `recorded`.

        Raises:
            AssertionError: There are more or fewer; it lists what was recorded instead.
        """
        __tracebackhide__ = True  # a failure points at the test's line
        wanted = Wanted.of(facts, RECORDED)
        account = self._look(_Account.of)
        found = [record for record in account.recorded if wanted.meets(record)]
        if len(found) != times if times is not None else not found:
            expected = "at least 1 event" if times is None else _count(times, "event")
            raise AssertionError(
                f"expected {expected} recorded{_with(wanted)}, found {len(found) or 'none'}"
                f"{_nearest(wanted, account, found)}{account}"
            )
        return found

    def assert_nothing_recorded(self, **facts: Unpack[Facts]) -> None:
        """Assert that no event was recorded, or none that meets the facts.

        Args:
            **facts: As for `recorded`.

        Raises:
            AssertionError: There is one; it lists what was recorded.
        """
        __tracebackhide__ = True
        self.assert_recorded(times=0, **facts)


@frozen(kw_only=True)
class _Account:
    """What a failure tells of, taken in one look."""

    recorded: Sequence[Recorded]
    refused: Sequence[Refused]
    requests: int
    faulted: Mapping[FaultKind, int]

    @classmethod
    def of(cls, store: Store) -> _Account:
        return cls(
            recorded=_recorded(store),
            refused=_refused(store),
            requests=store.requests,
            faulted=dict(store.fault_counts),
        )

    def __str__(self) -> str:
        faults = ", ".join(f"{count} {kind}" for kind, count in self.faulted.items()) or "none"
        lines = [
            *_listed("recorded", self.recorded),
            *_listed("refused", self.refused),
            f"requests: {self.requests}, faults played: {faults}",
        ]
        if not self.requests:
            lines.append("Does the event still wait in the client? Flush or close it first.")
        return "".join(f"\n{line}" for line in lines)


def _recorded(store: Store) -> list[Recorded]:
    return list(store.recorded)


def _refused(store: Store) -> list[Refused]:
    return list(store.refused)


def _nearest(wanted: Wanted, account: _Account, found: Sequence[Recorded]) -> str:
    """The record that misses the fewest facts; nothing where events were found or none is."""
    if found or not account.recorded:
        return ""
    best = min(account.recorded, key=wanted.distance)
    return f"\nnearest: {best}: {', '.join(wanted.misses(best))}"


def _listed(title: str, records: Sequence[Recorded] | Sequence[Refused]) -> list[str]:
    left_out = max(0, len(records) - _LISTED)
    bound = f", the last {_LISTED} of {len(records)}" if left_out else ""
    shown = [f"  {record}" for record in records[left_out:]] or ["  nothing"]
    return [f"{title}{bound}:", *shown]


def _with(wanted: Wanted) -> str:
    return f" with {wanted}" if wanted.facts else ""


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
