"""What a shop earned: its own orders, from a file's lines or from the rows of a statement."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any

import attrs

from alhena_async._json import dumps, loads
from alhena_async.cli._lines import Reading, Record, Reject, Worth, read_line
from alhena_async.cli._tally import OrderIds, worth_of
from alhena_async.errors import InvalidEventError
from alhena_async.events import CheckoutEvent, Event
from alhena_async.money import from_minor

__all__ = ["Earned", "EarnedOrders", "items_of"]


@attrs.frozen(kw_only=True)
class Earned:
    """One order."""

    order_id: str
    worth: Worth | None
    """None: it cannot be read."""
    event: Event | None
    """What can be added to an outbox; None: it is no event, by `why_not`."""
    why_not: str = ""


@attrs.define(kw_only=True)
class EarnedOrders:
    """Tells the orders of an input from the rest of it, each once."""

    untold: list[tuple[str, Worth | None]] = attrs.field(factory=list)
    """Orders that cannot be looked for, and why; taken out by who counts them."""
    others: int = 0
    """Cart events, which are passed over."""
    repeats: int = 0
    """Orders that stand further up."""
    unreadable: int = 0
    """What may have been an order, and is not even an object of a kind."""
    _ids: OrderIds = attrs.field(factory=OrderIds)
    _totals: OrderIds = attrs.field(factory=OrderIds)

    def of(self, items: Iterable[Record | Reject]) -> list[Earned]:
        """Return the orders among some lines; count the rest."""
        return [one for one in map(self._earned, items) if one is not None]

    def _earned(self, item: Record | Reject) -> Earned | None:
        order = _order_in(item)
        if order is None:
            is_other = isinstance(item, Record) or item.kind == "cart"
            self.others += is_other
            self.unreadable += not is_other
            return None
        if order.order_id == "":
            self.untold.append(("it has no order_id", order.worth))
            return None
        is_new = self._ids.add(order.order_id)
        is_other_total = self._totals.add(f"{order.worth} {order.order_id}") and not is_new
        if is_other_total:
            why = "its order_id stands further up, with another total"
            self.untold.append((why, order.worth))
        elif not is_new:
            self.repeats += 1
        return order if is_new else None


def _order_in(item: Record | Reject) -> Earned | None:
    """Return the order that a line is, with an empty id if it has none; None: it is none."""
    if isinstance(item, Record):
        event = item.event
        if not isinstance(event, CheckoutEvent):
            return None
        return Earned(order_id=str(event.order_id or ""), worth=worth_of(event), event=event)
    if item.kind != "checkout":
        return None
    return Earned(
        order_id=item.order_id or "",
        worth=item.worth,
        event=None,
        why_not="; ".join(item.causes),
    )


async def items_of(
    pages: AsyncIterator[list[dict[str, Any]]], reading: Reading
) -> AsyncIterator[list[Record | Reject]]:
    """Read rows as lines of a file are read: a row's columns are the fields of a line.

    `kind` may be left out, `line_items` may be JSON as text, and `value_minor`, in the currency's
    smallest unit, may stand for `value`.
    """
    number = 0
    async for rows in pages:
        items = []
        for row in rows:
            number += 1
            item = read_line(number, dumps(_fields_of(row)), reading)
            if item is not None:
                items.append(item)
        yield items


def _fields_of(row: Mapping[str, Any]) -> dict[str, Any]:
    fields = {"kind": "checkout", **{name: _plain(value) for name, value in row.items()}}
    lines = fields.get("line_items")
    if isinstance(lines, str):
        try:
            lines = fields["line_items"] = loads(lines)
        except (ValueError, ArithmeticError, RecursionError):
            lines = None
    for one in (fields, *(lines if isinstance(lines, list) else ())):
        if isinstance(one, dict) and "value_minor" in one:
            _to_major(one)
    return fields


def _plain(value: Any) -> Any:
    """Return a column's value as it can stand in JSON."""
    if value is None or isinstance(value, str | int | float | Decimal | list | dict):
        return value
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _to_major(fields: dict[str, Any]) -> None:
    """Put `value` in the place of `value_minor`; of what is no amount it is missing then."""
    minor = fields.pop("value_minor")
    with suppress(InvalidEventError):
        fields["value"], fields["currency"] = from_minor(minor, fields.get("currency", ""))
