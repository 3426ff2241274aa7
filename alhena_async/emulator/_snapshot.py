"""The state as JSON, for the page and for scripts. Long texts are cut, lists are bounded."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

from attrs import frozen

from alhena_async.emulator._contract import EventKind
from alhena_async.emulator._records import Recorded, Refused

if TYPE_CHECKING:
    from alhena_async.emulator._ledger import Store


MAX_EVENTS = 60

MAX_CARTS = 10

_MAX_CURRENCIES = 12

_MAX_CHARS = 160

_MAX_BODY_BYTES = 64 * 1024


@frozen(kw_only=True)
class Filter:
    """Which events are listed. An empty text asks for nothing."""

    kind: str = ""
    """"cart", "checkout" or "refused"."""
    visitor: str = ""
    """How the fingerprint, or the FAQ fingerprint, begins."""

    def meets(self, record: Recorded | Refused) -> bool:
        """Whether the record is to be listed."""
        refused = isinstance(record, Refused)
        if self.kind and self.kind != ("refused" if refused else record.kind.value):
            return False
        prints = (record.fingerprint, record.faq_fingerprint)
        return not self.visitor or any(one and one.startswith(self.visitor) for one in prints)


def snapshot(store: Store, *, after: int = 0, only: Filter = Filter()) -> dict[str, Any]:
    """Draw up the state.

    Args:
        store: Where it is read from.
        after: Only events with a greater `seq` are listed; at most 60 of them, newest first.
        only: Only events that meet it are listed. Counts and sums are of all.

    Returns:
        A value for `json.dumps`. Money and quantities are strings, so that no digit is lost.
    """
    ledger = store.ledger
    revenue = ledger.revenue
    shown = heapq.nlargest(_MAX_CURRENCIES, revenue, key=lambda code: revenue[code])
    return {
        "epoch": store.epoch,
        "seq": store.seq,
        "requests": store.requests,
        "recorded": sum(store.recorded_counts.values()),
        "cart_events": store.recorded_counts[EventKind.CART],
        "checkouts": store.recorded_counts[EventKind.CHECKOUT],
        "refused": sum(store.refused_counts.values()),
        "refusals": {_cut(code): count for code, count in store.refused_counts.most_common()},
        "faults": {kind.value: count for kind, count in store.fault_counts.most_common()},
        "revenue": [[_cut(code), f"{revenue[code]:f}"] for code in shown],
        "currencies": len(revenue),
        "cart_lines": ledger.cart_count,
        "carts": [
            {
                "visitor": _cut(key.visitor.fingerprint),
                "product_id": _cut(key.product_id),
                "product_name": _cut(line.product_name),
                "quantity": f"{line.quantity:f}",
                "value": f"{line.value:f}",
                "currency": _cut(line.currency),
            }
            for key, line in ledger.latest_carts(MAX_CARTS)
        ],
        "tickets": ledger.ticket_count,
        "chart": {"width": store.series.width, "points": store.series.points()},
        "events": _latest(store, after, only),
    }


def body_of(store: Store, seq: int) -> str | None:
    """Return the body of a kept event as text, cut at 64 KiB; None if it is not kept."""
    record = store.recorded.find(seq) or store.refused.find(seq)
    return None if record is None else record.raw[:_MAX_BODY_BYTES].decode("utf-8", "replace")


def _latest(store: Store, after: int, only: Filter) -> list[dict[str, Any]]:
    recorded: list[Recorded | Refused] = [
        *store.recorded.latest(MAX_EVENTS, after=after, meets=only.meets)
    ]
    refused = store.refused.latest(MAX_EVENTS, after=after, meets=only.meets)
    merged = heapq.nlargest(MAX_EVENTS, [*recorded, *refused], key=lambda record: record.seq)
    return [_recorded(it) if isinstance(it, Recorded) else _refused(it) for it in merged]


def _recorded(record: Recorded) -> dict[str, Any]:
    return {
        "seq": record.seq,
        "at": record.at,
        "kind": record.kind.value,
        "type": record.type.value if record.type else "",
        "product_id": _cut(record.product_id),
        "product_name": _cut(record.product_name),
        "order_id": _cut(record.order_id),
        "lines": record.lines,
        "quantity": "" if record.quantity is None else f"{record.quantity:f}",
        "value": f"{record.value:f}",
        "currency": _cut(record.currency),
        "visitor": _cut(record.fingerprint),
        "faq": _cut(record.faq_fingerprint),
    }


def _refused(record: Refused) -> dict[str, Any]:
    return {
        "seq": record.seq,
        "at": record.at,
        "kind": record.kind.value,
        "type": _cut(record.type),
        "product_id": _cut(record.product_id),
        "product_name": _cut(record.product_name),
        "order_id": _cut(record.order_id),
        "visitor": _cut(record.fingerprint),
        "faq": _cut(record.faq_fingerprint),
        "code": _cut(record.code),
        "http_status": record.http_status,
        "message": _cut(record.message),
    }


def _cut(text: str | None) -> str:
    if text is None or len(text) <= _MAX_CHARS:
        return text or ""
    return text[: _MAX_CHARS - 1] + "\N{HORIZONTAL ELLIPSIS}"
