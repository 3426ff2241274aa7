"""Which requests a test asks for: facts to be met, and in words how a record misses them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol, Self, TypedDict

from attrs import frozen

from alhena_async.emulator.contract import CartType, EventKind

if TYPE_CHECKING:
    from alhena_async.emulator.records import Recorded, Refused

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
        """Whether the record has every fact."""
        return all(_has(record, name, value) for name, value in self.facts.items())

    def distance(self, record: Recorded | Refused) -> tuple[int, list[bool]]:
        """How far the record is from meeting the facts, to compare: the smaller, the nearer.

        How many it lacks; of as many, rather a later one than an earlier one, since people name
        first what they look for.
        """
        lacks = [not _has(record, name, value) for name, value in self.facts.items()]
        return sum(lacks), lacks

    def misses(self, record: Recorded | Refused) -> list[str]:
        """Which facts the record lacks, in words."""
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
    """Both fingerprints of a visitor, or the pair itself.

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
