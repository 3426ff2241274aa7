"""What a test asks of recorded events, and what it is told when there are others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol, Self, TypedDict, TypeVar, Unpack

from attrs import frozen

from alhena_async.emulator._contract import CartType, EventKind, Visitor
from alhena_async.emulator._records import Recorded, Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alhena_async.emulator._faults import FaultKind
    from alhena_async.emulator._ledger import CartKey, Store


Number = int | float | Decimal

Reader = Callable[[str, Any], object]
"""Makes of a fact's name and given value what a record is held against."""


class HasFingerprints(Protocol):
    """A visitor, by whatever class."""

    @property
    def fingerprint(self) -> str:
        """The chat widget's."""

    @property
    def faq_fingerprint(self) -> str:
        """The Product FAQs'."""


class CommonFacts(TypedDict, total=False):
    """What may be asked of any request. A fact that is None is not asked."""

    kind: EventKind | str | None
    """"cart" or "checkout"."""
    type: str | None
    """A cart event's type."""
    product_id: str | None
    """A cart event's product, or that of any line of a recorded checkout."""
    order_id: str | None
    """A checkout's."""
    visitor: HasFingerprints | tuple[str, str] | None
    """Both fingerprints: any visitor object, or a pair."""
    fingerprint: str | None
    """The visitor's, without the FAQ one."""
    company_key: str | None


class Facts(CommonFacts, total=False):
    """What may be asked of a recorded event."""

    quantity: Number | None
    """A cart event's. A float means the digits that it prints: 0.1 is a tenth."""
    value: Number | None
    """A price or an order's total; read like `quantity`."""
    currency: str | None
    source: str | None


class RefusedFacts(CommonFacts, total=False):
    """What may be asked of a refused request; of those that named it."""

    code: str | None


@frozen
class Wanted:
    """Facts that a record must meet, all of them."""

    facts: Mapping[str, object]

    @classmethod
    def of(cls, given: Mapping[str, Any], known: Mapping[str, Reader]) -> Self:
        """Read what a test gave as keyword arguments.

        Args:
            given: The facts; one that is None is not asked.
            known: `RECORDED` or `REFUSED`: which there are, and how each is read.

        Raises:
            TypeError: A name is not among the known ones, or a value of the wrong type.
            ValueError: There is no such kind or type.
        """
        unknown = sorted(given.keys() - known)
        if unknown:
            raise TypeError(f"no such fact: {unknown[0]!r}; there are {', '.join(sorted(known))}")
        return cls(
            {name: known[name](name, value) for name, value in given.items() if value is not None}
        )

    def __str__(self) -> str:
        return ", ".join(f"{name}={_shown(value)}" for name, value in self.facts.items())

    def meets(self, record: Recorded | Refused) -> bool:
        """Return whether the record has every fact."""
        return all(_has(record, name, value) for name, value in self.facts.items())

    def distance(self, record: Recorded | Refused) -> tuple[int, list[bool]]:
        """Return how far the record is from meeting the facts, to compare: the smaller, the nearer.

        How many it lacks; of as many, rather a later one than an earlier one, since people name
        first what they look for.
        """
        lacks = [not _has(record, name, value) for name, value in self.facts.items()]
        return sum(lacks), lacks

    def misses(self, record: Recorded | Refused) -> list[str]:
        """Return the facts that the record lacks, in words."""
        return [
            _miss(record, name, value)
            for name, value in self.facts.items()
            if not _has(record, name, value)
        ]


def _has(record: Recorded | Refused, name: str, value: object) -> bool:
    if name == "product_id":
        return record.has_product(str(value))
    if name == "visitor":
        return (record.fingerprint, record.faq_fingerprint) == value
    return bool(getattr(record, name) == value)


def _miss(record: Recorded | Refused, name: str, value: object) -> str:
    if name == "product_id" and record.kind is EventKind.CHECKOUT:
        return f"no line has product_id {_shown(value)}"
    if name == "visitor":
        have: object = (record.fingerprint, record.faq_fingerprint)
    else:
        have = getattr(record, name)
    return f"{name} is {_shown(have)}, not {_shown(value)}"


def _shown(value: object) -> str:
    return str(value) if isinstance(value, Decimal) else repr(_plain(value))


def _plain(value: object) -> object:
    return str(value) if isinstance(value, str) else value  # an enum's repr is not its text


def _decimal(name: str, given: object) -> Decimal:
    if isinstance(given, bool) or not isinstance(given, Number):
        raise TypeError(f"{name} must be a number, not {type(given).__name__}")
    # By its text: 199.97 is sent as these digits, and the nearest binary fraction is no match.
    return Decimal(str(given))


def pair_of(visitor: HasFingerprints | tuple[str, str]) -> tuple[str, str]:
    """Return both fingerprints of a visitor, or the pair itself.

    Raises:
        TypeError: It is neither.
    """
    if isinstance(visitor, tuple):
        fingerprint, faq_fingerprint = visitor
        return fingerprint, faq_fingerprint
    try:
        return visitor.fingerprint, visitor.faq_fingerprint
    except AttributeError:
        given = type(visitor).__name__
        raise TypeError(f"expected a visitor or a pair of fingerprints, not {given}") from None


# What no record could ever meet is refused: it would pass every "nothing was recorded".


def _text(name: str, given: object) -> str:
    if not isinstance(given, str):
        raise TypeError(f"{name} must be a text, not {type(given).__name__}")
    return given


def _kind(_: str, given: str) -> EventKind:
    return EventKind(given)


def _cart_type(_: str, given: str) -> CartType:
    return CartType(given)


def _visitor(_: str, given: HasFingerprints | tuple[str, str]) -> tuple[str, str]:
    return pair_of(given)


_COMMON: dict[str, Reader] = {
    "kind": _kind,
    "type": _cart_type,
    "product_id": _text,
    "order_id": _text,
    "visitor": _visitor,
    "fingerprint": _text,
    "company_key": _text,
}

RECORDED: Mapping[str, Reader] = _COMMON | {
    "quantity": _decimal,
    "value": _decimal,
    "currency": _text,
    "source": _text,
}
"""How each of `Facts` is read."""

REFUSED: Mapping[str, Reader] = _COMMON | {"code": _text, "type": _text}
"""How each of `RefusedFacts` is read; a type may be what an event was refused for."""

T = TypeVar("T")

_LISTED = 10


class Recordings(ABC):
    """Reads a store, and asserts on it: the same words wherever events are recorded.

    The assertions take the same facts as `recorded`, and their messages tell what was recorded
    instead, what came nearest, and what was refused.
    """

    @abstractmethod
    def _look(self, use: Callable[[Store], T]) -> T:
        """Call `use` with the store, where the store may be used."""

    def open_ticket(self, visitor: HasFingerprints | tuple[str, str]) -> None:
        """Give a visitor an active ticket, at every company (matters with `Tickets.OPENED`).

        Args:
            visitor: Any object with both fingerprints, or the pair of them.

        Raises:
            TypeError: It is neither.
        """
        pair = Visitor(*pair_of(visitor))
        self._look(lambda store: store.open_ticket(pair))

    def close_ticket(self, visitor: HasFingerprints | tuple[str, str]) -> None:
        """Take a visitor's ticket away; no effect without one.

        Args:
            visitor: As for `open_ticket`.

        Raises:
            TypeError: It is neither.
        """
        pair = Visitor(*pair_of(visitor))
        self._look(lambda store: store.close_ticket(pair))

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
        """Return the kept recorded events that meet every given fact, oldest first.

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
        """Return the kept refused requests that meet every given fact, oldest first.

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
