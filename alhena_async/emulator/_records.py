"""What the emulator remembers of single requests, bounded in number and in bytes."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from attrs import field, frozen

from alhena_async.emulator._contract import (
    Cart,
    CartType,
    Checkout,
    Event,
    EventKind,
    Line,
    UnreadableBodyError,
    Visitor,
    parse_json,
    read_event,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from decimal import Decimal


_MAX_KEPT_BYTES = 128 * 1024 * 1024


@frozen(kw_only=True)
class Recorded:
    """An event that was recorded.

    Of a checkout only the body's bytes are kept, and `line_items` and `body` read them again: a
    day of orders with hundreds of lines each then fits into memory.
    """

    seq: int
    """Position among all recorded and refused events since the start or the last reset; from 1."""
    at: float
    """When, in seconds since the epoch."""
    kind: EventKind
    company_key: str
    fingerprint: str
    faq_fingerprint: str
    value: Decimal
    """With the digits that were sent."""
    currency: str
    type: CartType | None = None
    """None for a checkout, as are the three next."""
    product_id: str | None = None
    product_name: str | None = None
    quantity: Decimal | None = None
    order_id: str | None = None
    """None for a cart event, and for a checkout without one."""
    source: str | None = None
    lines: int = 0
    """How many line items a checkout had; 0 for a cart event."""
    raw: bytes = field(repr=False)
    """The request's body as it came."""

    def __str__(self) -> str:
        number = f"{self.value} {self.currency}"
        if self.kind is EventKind.CART:
            what = f"{self.type} {self.product_id!r}, quantity {self.quantity}, {number}"
        else:
            products = ", ".join(repr(line.product_id) for line in self.line_items)
            what = f"checkout {self.order_id!r}, {number} for {products}"
        return f"#{self.seq} {what}, visitor {self.fingerprint!r}"

    @property
    def visitor(self) -> Visitor:
        """Both fingerprints."""
        return Visitor(self.fingerprint, self.faq_fingerprint)

    @property
    def body(self) -> dict[str, Any]:
        """The request's JSON object; its numbers are `Decimal`."""
        return cast("dict[str, Any]", parse_json(self.raw))

    @property
    def line_items(self) -> tuple[Line, ...]:
        """A checkout's lines; empty for a cart event."""
        event = read_event(self.kind, self.raw) if self.kind is EventKind.CHECKOUT else None
        return event.lines if isinstance(event, Checkout) else ()

    def has_product(self, product_id: str) -> bool:
        """Return whether the event is about this product, or a line of the checkout is."""
        if self.kind is EventKind.CART:
            return self.product_id == product_id
        return any(line.product_id == product_id for line in self.line_items)


@frozen(kw_only=True)
class Refused:
    """A request that was answered with an error by the contract (faults are not among them).

    Fields of the body are None where it did not hold them as non-empty strings.
    """

    seq: int
    """Position among all recorded and refused events since the start or the last reset; from 1."""
    at: float
    """When, in seconds since the epoch."""
    kind: EventKind
    code: str
    """A documented code, or the emulator's own for a request that was no event at all."""
    http_status: int
    message: str
    company_key: str | None = None
    fingerprint: str | None = None
    faq_fingerprint: str | None = None
    type: str | None = None
    product_id: str | None = None
    product_name: str | None = None
    order_id: str | None = None
    raw: bytes = field(default=b"", repr=False)
    """The request's body as it came; empty when it was not read."""

    def __str__(self) -> str:
        what = f"{self.type or self.kind} {self.product_id or self.order_id!r}"
        return f"#{self.seq} {what}, {self.code} ({self.message}), visitor {self.fingerprint!r}"

    def has_product(self, product_id: str) -> bool:
        """Return whether the refused event named this product (line items are not looked at)."""
        return self.product_id == product_id


def recorded(event: Event, raw: bytes, *, seq: int, at: float) -> Recorded:
    """Make the record of an event."""
    common: dict[str, Any] = {
        "seq": seq,
        "at": at,
        "company_key": event.company_key,
        "fingerprint": event.visitor.fingerprint,
        "faq_fingerprint": event.visitor.faq_fingerprint,
        "value": event.value,
        "currency": event.currency,
        "source": event.source,
        "raw": raw,
    }
    if isinstance(event, Cart):
        return Recorded(
            kind=EventKind.CART,
            type=event.type,
            product_id=event.product_id,
            product_name=event.product_name,
            quantity=event.quantity,
            **common,
        )
    return Recorded(
        kind=EventKind.CHECKOUT, order_id=event.order_id, lines=len(event.lines), **common
    )


def glimpse(raw: bytes) -> dict[str, str | None]:
    """Read what can be read of a refused body: the text fields of `Refused`."""
    try:
        body = parse_json(raw)
    except UnreadableBodyError:
        return {}
    if not isinstance(body, dict):
        return {}
    names = {
        "company_key": "company_key",
        "fingerprint": "user_fingerprint",
        "faq_fingerprint": "user_faq_fingerprint",
        "type": "type",
        "product_id": "product_id",
        "product_name": "product_name",
    }
    seen = {ours: _text_or_none(body.get(theirs)) for ours, theirs in names.items()}
    seen["order_id"] = _text_or_none(body.get("orderId")) or _text_or_none(body.get("order_id"))
    return seen


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


Record = TypeVar("Record", Recorded, Refused)


class History(Generic[Record]):
    """The latest records, oldest first; the oldest leave when there are too many or too big.

    Args:
        limit: How many records are kept at most; at least 1.
    """

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"history must keep at least 1 event, not {limit}")
        self._limit = limit
        self._records: deque[Record] = deque()
        self._bytes = 0

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def append(self, record: Record) -> None:
        """Keep a record, and let the oldest go where there is no room."""
        self._records.append(record)
        self._bytes += len(record.raw)
        while len(self._records) > self._limit or self._bytes > _MAX_KEPT_BYTES:
            self._bytes -= len(self._records.popleft().raw)

    def latest(
        self, limit: int, *, after: int, meets: Callable[[Record], bool] = lambda _: True
    ) -> list[Record]:
        """Return the newest that meet a condition, with a `seq` above `after`, newest first."""
        found: list[Record] = []
        for record in reversed(self._records):
            if record.seq <= after or len(found) == limit:
                break
            if meets(record):
                found.append(record)
        return found

    def find(self, seq: int) -> Record | None:
        """Return the record with this `seq`; None if it is not kept."""
        place = bisect_left(self._records, seq, key=lambda record: record.seq)
        if place < len(self._records) and self._records[place].seq == seq:
            return self._records[place]
        return None

    def clear(self) -> None:
        """Forget them all."""
        self._records.clear()
        self._bytes = 0


# Each divides the next, so that whole buckets merge.
_WIDTHS = (1, 5, 15, 60, 300, 900, 3600, 21_600, 86_400)

_MAX_BUCKETS = 120


class Series:
    """Recorded and refused events over time.

    Seconds at first; once the span needs more than 120 buckets, neighbours merge into wider ones.
    """

    def __init__(self) -> None:
        self._width = 0
        self._buckets: dict[int, list[int]] = {}
        self._last = 0

    @property
    def width(self) -> int:
        """Seconds that one bucket covers."""
        return _WIDTHS[self._width]

    def add(self, now: float, *, refused: bool) -> None:
        """Count one event.

        Args:
            now: Seconds since the epoch; a clock that was set back counts as the latest time seen.
            refused: Which of the two counts grows.
        """
        self._last = max(self._last, int(now))
        while self._needed() > _MAX_BUCKETS:
            self._widen()
        start = self._last - self._last % self.width
        self._buckets.setdefault(start, [0, 0])[refused] += 1

    def points(self) -> list[tuple[int, int, int]]:
        """Return the filled buckets, oldest first: start in epoch seconds, recorded, refused."""
        return [(start, counts[0], counts[1]) for start, counts in self._buckets.items()]

    def _needed(self) -> int:
        first = next(iter(self._buckets), self._last)
        return (self._last - first) // self.width + 1

    def _widen(self) -> None:
        if self._width == len(_WIDTHS) - 1:
            del self._buckets[next(iter(self._buckets))]
            return
        self._width += 1
        narrow, self._buckets = self._buckets, {}
        for start, counts in narrow.items():
            wide = self._buckets.setdefault(start - start % self.width, [0, 0])
            wide[0] += counts[0]
            wide[1] += counts[1]
