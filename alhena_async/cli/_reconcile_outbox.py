"""`alhena reconcile --outbox`: a shop's own orders against what its outbox knows of them."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, closing
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import attrs
import click

from alhena_async.cli._console import Screen
from alhena_async.cli._earned import Earned, EarnedOrders, items_of
from alhena_async.cli._format import count, iso, money, plural
from alhena_async.cli._input import InputBrokenError, Reader
from alhena_async.cli._lines import Reading, Record, Reject, Worth
from alhena_async.cli._options import CommandError, identified
from alhena_async.cli._outboxes import OutboxAt
from alhena_async.cli._reconcile import LATE
from alhena_async.cli._signals import STOPPED
from alhena_async.cli._summary import headed, spaced
from alhena_async.cli._tally import Amount, told_apart
from alhena_async.events import Event
from alhena_async.money import EXPONENTS
from alhena_async.outbox._contents import Contents, Stands, dead_orders, stands

__all__ = ["OutboxReconcileOptions", "OutboxReconciliation"]

_MAX_ADDED: Final = 100_000
"""Orders that one run adds: they are in memory until the summary is shown."""

_ELSEWHERE: Final = (
    "It knows orders by their ids: of what was delivered no amount is kept, and an order that went "
    "another way than through this outbox counts as missing (Alhena records each id once)."
)

_IS_THERE: Final = (Stands.DELIVERED, Stands.WAITING)


@attrs.frozen(kw_only=True)
class OutboxReconcileOptions:
    """What to reconcile, and with which outbox: the command's options by their names."""

    outbox: str
    schema: str | None
    file: str | None
    """A path, or `-` for standard input; None: `query`."""
    query: str | None
    """SQL, or a file of it behind an `@`."""
    add_missing: bool
    company_key: str
    name_from_id: bool
    derive_visitors: bool
    as_json: bool

    @property
    def reading(self) -> Reading:
        """How lines, or rows, are read."""
        return Reading(name_from_id=self.name_from_id, derive_visitors=self.derive_visitors)

    @property
    def sql(self) -> str:
        """The statement.

        Raises:
            CommandError: Its file cannot be read.
        """
        text = self.query or ""
        if text.startswith("@"):
            try:
                text = Path(text[1:]).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise CommandError(f"cannot read {text[1:]}: {error}") from None
        return text.strip().removesuffix(";")


@attrs.define(kw_only=True)
class Report:
    """How a shop's orders stand. `earned` is the sum of the others."""

    earned: Amount = attrs.field(factory=Amount)
    standing: dict[Stands, Amount] = attrs.field(factory=lambda: {one: Amount() for one in Stands})
    untold: dict[str, Amount] = attrs.field(factory=dict)
    """Of which nothing can be said, by reason."""
    not_added: dict[str, Amount] = attrs.field(factory=dict)
    """Missing, and no event, by reason."""
    added: Amount = attrs.field(factory=Amount)
    """Missing until now; they wait."""

    @property
    def is_there(self) -> bool:
        """Whether all that was earned is delivered or waits."""
        lacking = (self.standing[Stands.MISSING], self.standing[Stands.DEAD])
        return self.earned.orders > 0 and not self.untold and not any(a.orders for a in lacking)

    def take(self, order: Earned, how: Stands) -> None:
        """Count an order."""
        self.earned.add(order.worth)
        self.standing[how].add(order.worth)
        if how is Stands.MISSING and order.event is None:
            _count(self.not_added, order.why_not, order.worth)

    def take_untold(self, reason: str, worth: Worth | None) -> None:
        """Count an order that cannot be looked for."""
        self.earned.add(worth)
        _count(self.untold, reason, worth)

    def take_added(self, order: Earned) -> None:
        """Count an order that was missing, and waits now."""
        self.added.add(order.worth)
        self.standing[Stands.MISSING].remove(order.worth)
        self.standing[Stands.WAITING].add(order.worth)


def _count(amounts: dict[str, Amount], reason: str, worth: Worth | None) -> None:
    amounts.setdefault(told_apart(reason, amounts), Amount()).add(worth)


class OutboxReconciliation:
    """One run.

    Args:
        options: What to reconcile, and with which outbox.
        screen: Where it is told.

    Raises:
        click.UsageError: There can be no such outbox, or no such company.
    """

    def __init__(self, options: OutboxReconcileOptions, screen: Screen) -> None:
        self._options = options
        self._screen = screen
        self._outbox = OutboxAt(options.outbox, options.schema)
        self._report = Report()
        self._orders = EarnedOrders()
        self._missing: list[tuple[Earned, Event]] = []
        self._since: float | None = None
        try:
            self._adding = self._outbox.adding(options.company_key)
        except ValueError as error:
            raise click.UsageError(str(error)) from None

    async def run(self) -> int:
        """Reconcile; return the exit status.

        Raises:
            CommandError: The orders cannot be read.
            TransportError, TopologyError, OutboxError: The outbox cannot be looked through.
        """
        self._screen.note(f"Reconciling {self._options.file or 'the query'} with {self._outbox}")
        try:
            async with self._outbox.opened() as contents:
                await self._look(contents)
                if not self._options.as_json:
                    self._show()
                if self._options.add_missing:
                    await self._add(contents)
        except InputBrokenError as error:
            raise CommandError(f"the orders cannot be read on: {error}") from None
        except STOPPED:
            self._screen.note("Interrupted: run it again, what was added stays so.", "yellow")
            raise
        return self._conclude()

    async def _look(self, contents: Contents) -> None:
        key = self._options.company_key
        dead = await dead_orders(contents, key)
        async with aclosing(self._items()) as pages:
            async for items in pages:
                orders = self._orders.of(items)
                for reason, worth in self._orders.untold:
                    self._report.take_untold(reason, worth)
                self._orders.untold.clear()
                found = await stands(contents, key, [one.order_id for one in orders], dead)
                for order, how in zip(orders, found, strict=True):
                    self._take(order, how)
        self._since = await contents.known_since()

    def _take(self, order: Earned, how: Stands) -> None:
        self._report.take(order, how)
        is_wanted = self._options.add_missing and how is Stands.MISSING
        if is_wanted and order.event is not None and len(self._missing) < _MAX_ADDED:
            self._missing.append((order, order.event))

    async def _items(self) -> AsyncGenerator[Sequence[Record | Reject], None]:
        options = self._options
        if options.file is None:
            async for items in items_of(self._outbox.query(options.sql), options.reading):
                yield items
            return
        with closing(Reader(options.file, options.reading)) as reader:
            await identified(reader, options.file)
            async for batch in reader.batches():
                yield batch.items

    async def _add(self, contents: Contents) -> None:
        for order, event in self._missing:
            await contents.add(*self._outbox.said(self._adding.statement(event)))
            self._report.take_added(order)  # put in now, or by another hand meanwhile

    def _conclude(self) -> int:
        report, options = self._report, self._options
        is_good = report.is_there and not self._orders.unreadable
        if options.as_json:
            self._screen.write(json.dumps(self._plain(), indent=2))
        else:
            if options.add_missing:
                self._screen.say(f"{plural(report.added.orders, 'order')} added to the outbox.")
            self._screen.say(_truth(report), "bold green" if is_good else "bold red")
        return 0 if is_good else 1

    # --- how it is told ------------------------------------------------------------------------

    def _show(self) -> None:
        self._screen.show(*spaced(list(_tables(self._report))))
        self._screen.say("")
        for told in self._remarks():
            self._screen.say(told)

    def _remarks(self) -> Iterator[str]:
        orders, missing = self._orders, self._report.standing[Stands.MISSING].orders
        if orders.others:
            yield f"{plural(orders.others, 'cart event')} passed over."
        if orders.repeats:
            yield f"{plural(orders.repeats, 'order')} that stood further up passed over."
        if orders.unreadable:
            yield f"{plural(orders.unreadable, 'line')} that cannot be read."
        yield self._memory()
        yield _ELSEWHERE
        if self._report.standing[Stands.DEAD].orders:
            yield "What is dead has its reason: alhena dead-letters list; replay sends it again."
        if missing and not self._options.add_missing:
            yield f"--add-missing puts what is missing into the outbox. {LATE}"

    def _memory(self) -> str:
        if self._since is None:
            return "The outbox knows of no delivered order as yet."
        return f"Delivered orders are known since {iso(self._since)}: older ones count as missing."

    def _plain(self) -> dict[str, Any]:
        report, orders = self._report, self._orders
        return {
            "earned": _plain(report.earned),
            **{how.value: _plain(amount) for how, amount in report.standing.items()},
            "added": _plain(report.added),
            "not_added": _reasons(report.not_added),
            "untold": _reasons(report.untold),
            "cart_lines": orders.others,
            "repeated_lines": orders.repeats,
            "unreadable_lines": orders.unreadable,
            "known_since": None if self._since is None else iso(self._since),
            "all_there": report.is_there and not orders.unreadable,
            "cannot_know": [_ELSEWHERE, LATE],
        }


def _reasons(amounts: dict[str, Amount]) -> list[dict[str, Any]]:
    return [{"reason": reason, **_plain(amount)} for reason, amount in amounts.items()]


def _plain(amount: Amount) -> dict[str, Any]:
    sums = {name: _money(amount, name).replace(",", "") for name in amount.sums}
    return {"orders": amount.orders, "sums": sums}


def _money(amount: Amount, currency: str) -> str:
    return money(amount.sums.get(currency, Decimal(0)), digits=EXPONENTS.get(currency, 2))


def _tables(report: Report) -> Iterator[Any]:
    columns = {"Earned": report.earned}
    columns |= {how.value.capitalize(): amount for how, amount in report.standing.items()}
    grid = headed("", *columns)
    grid.add_row("Orders", *(count(amount.orders) for amount in columns.values()))
    for currency in sorted(report.earned.sums):
        grid.add_row(currency, *(_money(amount, currency) for amount in columns.values()))
    yield grid
    for title, amounts in (
        ("Nothing can be said because", report.untold),
        ("Missing, and no event because", report.not_added),
    ):
        if amounts:
            reasons = headed(title, "Orders", "Amount")
            for reason, amount in amounts.items():
                reasons.add_row(reason, count(amount.orders), _in_words(amount) or "-")
            yield reasons


def _in_words(amount: Amount) -> str:
    return " and ".join(
        f"{_money(amount, name)} {name}" for name in sorted(amount.sums) if amount.sums[name]
    )


def _truth(report: Report) -> str:
    """Return the last line: what of all that was earned is delivered or waits."""
    there, lacking = Amount(), Amount()
    for how, amount in report.standing.items():
        (there if how in _IS_THERE else lacking).add_all(amount)
    for amount in report.untold.values():
        lacking.add_all(amount)
    told = f"{count(there.orders)} of {plural(report.earned.orders, 'order')} delivered or waiting"
    if lacking.orders:
        return f"{told}: {_in_words(lacking) or '0'} of {_in_words(report.earned)} are not."
    words = _in_words(there)
    return f"{told}: {words}." if words else f"{told}."
