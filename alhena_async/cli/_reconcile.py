"""`alhena reconcile`: a shop's own orders against what the API has of them."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Container, Iterator, Mapping
from contextlib import closing
from decimal import Decimal
from typing import Any, Final

import attrs

from alhena_async.cli._console import Screen
from alhena_async.cli._format import count, money, plural
from alhena_async.cli._input import Batch, Reader
from alhena_async.cli._lines import Reading, Record, Reject
from alhena_async.cli._options import SendingOptions, identified
from alhena_async.cli._replay import check_visitors
from alhena_async.cli._sending import Notes, Sender, Trouble
from alhena_async.cli._signals import STOPPED
from alhena_async.cli._summary import headed, spaced
from alhena_async.cli._tally import Amount, Ending, OrderIds, Tally, told_apart, worth_of
from alhena_async.events import CheckoutEvent
from alhena_async.outcomes import Outcome, OutcomeStatus

_NO_READING: Final = (
    "The API cannot be read: an order that was there already is known by its id alone, not by its "
    "amount, and orders that only the API has are not seen."
)

LATE: Final = (
    "It attributes an order to a conversation of the 24 hours before it is recorded: what was "
    "recorded just now is attributed by today's conversations, if at all."
)

CANNOT_KNOW: Final = (_NO_READING, LATE)

_OUTSTANDING: Final = 2_000
"""Orders handed over and not yet answered, at most."""

_WORDS: Final[Mapping[str, str]] = {
    "expired": "no answer in time",
    "unknown": "perhaps recorded, and may not be repeated",
    "dropped": "given up before sending",
    "kept": "not sent",
    "abandoned": "not sent",
}


@attrs.frozen(kw_only=True)
class ReconcileOptions:
    """What to reconcile, and with whom: the command's options by their names."""

    file: str
    """A path, or `-` for standard input."""
    sending: SendingOptions
    company_key: str
    name_from_id: bool
    derive_visitors: bool
    as_json: bool

    @property
    def reading(self) -> Reading:
        """How lines are read."""
        derive_visitors = self.derive_visitors or self.sending.stays_here
        return Reading(name_from_id=self.name_from_id, derive_visitors=derive_visitors)


@attrs.define(kw_only=True)
class Report:
    """What became of a shop's orders. `earned` is the sum of the other three, at the end."""

    earned: Amount = attrs.field(factory=Amount)
    there: Amount = attrs.field(factory=Amount)
    """Recorded before."""
    recorded: Amount = attrs.field(factory=Amount)
    """Missing until now."""
    not_recordable: dict[str, Amount] = attrs.field(factory=dict)
    """By reason."""
    others: int = 0
    """Lines of cart events, which are passed over."""
    repeats: int = 0
    """Lines of an order that stands further up."""
    unreadable: int = 0
    """Lines that may have been orders, and are not even JSON objects of a kind."""

    @property
    def missing(self) -> Amount:
        """All that is not recordable."""
        amount = Amount()
        for one in self.not_recordable.values():
            amount.add_all(one)
        return amount

    @property
    def is_even(self) -> bool:
        """Whether all that was earned is recorded."""
        return not self.not_recordable and not self.unreadable

    def fail(self, reason: str, order: Record | Reject) -> None:
        """Count an order that cannot be recorded."""
        worth = worth_of(order.event) if isinstance(order, Record) else order.worth
        amount = self.not_recordable.setdefault(told_apart(reason, self.not_recordable), Amount())
        amount.add(worth)
        if isinstance(order, Reject):
            self.earned.add(worth)

    def plain(self) -> dict[str, Any]:
        """Return it for programs; amounts are text with all their digits."""
        return {
            "earned": _plain(self.earned),
            "there_already": _plain(self.there),
            "recorded_now": _plain(self.recorded),
            "not_recordable": _plain(self.missing),
            "reasons": [
                {"reason": reason, **_plain(amount)}
                for reason, amount in self.not_recordable.items()
            ],
            "cart_lines": self.others,
            "repeated_lines": self.repeats,
            "unreadable_lines": self.unreadable,
            "all_recorded": self.is_even,
            "cannot_know": list(CANNOT_KNOW),
        }


def _plain(amount: Amount) -> dict[str, Any]:
    sums = {currency: money(value).replace(",", "") for currency, value in amount.sums.items()}
    return {"orders": amount.orders, "sums": sums}


class Reconciliation:
    """One run.

    Args:
        options: What to reconcile, and with whom.
        screen: Where it is told.
    """

    def __init__(self, options: ReconcileOptions, screen: Screen) -> None:
        self._options = options
        self._screen = screen
        self._trouble = Trouble()
        self._report = Report()
        # Ids are the shop's own: one that was made up here would find nothing.
        self._client = options.sending.client(
            options.company_key,
            observer=self._trouble,
            outstanding=_OUTSTANDING,
            assign_order_ids=False,
        )

    async def run(self) -> int:
        """Reconcile; return the exit status.

        Raises:
            CommandError: The file cannot be read.
        """
        options = self._options
        self._screen.note(f"Reconciling {options.file} with {self._client.base_url}")
        with closing(Reader(options.file, options.reading)) as reader:
            await identified(reader, options.file)
            check_visitors(reader.first, options.file, self._client.base_url)
            sender = Sender(
                self._client,
                Tally(),
                self._trouble,
                self._screen,
                drain_timeout=options.sending.drain,
                outstanding=_OUTSTANDING,
                notes=_Outcomes(self._report),
                company_key=options.company_key,
            )
            try:
                await sender.run(_Orders(reader, self._report))
            except STOPPED:
                self._conclude(sender)
                raise
            return self._conclude(sender)

    def _conclude(self, sender: Sender) -> int:
        report = self._report
        whole = sender.whole
        if not sender.knows_company:
            self._screen.note(sender.problem, "bold red")
            return 1
        if self._options.as_json:
            self._screen.write(json.dumps({"whole": whole, **report.plain()}, indent=2))
        else:
            self._screen.show(*spaced(list(_tables(report))))
            self._screen.say("")
            for told in (*_remarks(report), *CANNOT_KNOW):
                self._screen.say(told)
        if sender.problem:
            self._screen.note(f"It stopped: {sender.problem}", "bold red")
        elif not whole:
            self._screen.note("Interrupted: run it again, what is recorded stays so.", "yellow")
        is_good = whole and report.is_even and report.earned.orders > 0
        if not self._options.as_json:
            self._screen.say(_truth(report, whole=whole), "bold green" if is_good else "bold red")
        return 0 if is_good else 1


class _Orders:
    """The orders of an input that can be reconciled; the others are reported.

    Args:
        reader: All of it.
        report: Where the others are counted.
    """

    def __init__(self, reader: Reader, report: Report) -> None:
        self._reader = reader
        self._report = report
        self._ids = OrderIds()
        self._totals = OrderIds()

    @property
    def total(self) -> int | None:
        """How many lines there are; None as long as that is not known."""
        return self._reader.total

    async def batches(self, skip: Container[int] = ()) -> AsyncGenerator[Batch, None]:
        """Yield the orders batch by batch; the other lines count as blank ones."""
        async for batch in self._reader.batches(skip):
            orders = tuple(item for item in batch.items if self._is_order(item))
            blank = batch.blank + len(batch.items) - len(orders)
            yield attrs.evolve(batch, items=orders, blank=blank)

    def _is_order(self, item: Record | Reject) -> bool:
        report = self._report
        if isinstance(item, Reject):
            self._take_reject(item)
            return False
        if not isinstance(item.event, CheckoutEvent):
            report.others += 1
            return False
        order_id, worth = item.event.order_id, worth_of(item.event)
        is_new = order_id is None or self._ids.add(order_id)
        is_other = self._totals.add(f"{worth} {order_id}") and not is_new
        if not is_new and not is_other:
            report.repeats += 1
            return False
        report.earned.add(worth)
        if order_id is None:
            report.fail("it has no order_id, and would count once more with each run", item)
        elif is_other:
            report.fail("its order_id stands further up, with another total", item)
        return is_new and order_id is not None

    def _take_reject(self, reject: Reject) -> None:
        if reject.kind == "checkout":
            self._report.fail("; ".join(reject.causes), reject)
        elif reject.kind == "cart":
            self._report.others += 1
        else:
            self._report.unreadable += 1


class _Outcomes(Notes):
    """Reports how each order ended."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def ended(self, record: Record, outcome: Outcome, ending: Ending) -> None:
        if outcome.status is OutcomeStatus.RECORDED:
            self._report.recorded.add(ending.worth)
        elif outcome.status is OutcomeStatus.DUPLICATE:
            self._report.there.add(ending.worth)
        else:
            self._report.fail(ending.code or _WORDS.get(ending.status, ending.status), record)


def _tables(report: Report) -> Iterator[Any]:
    columns = {
        "Earned": report.earned,
        "There already": report.there,
        "Recorded now": report.recorded,
        "Not recordable": report.missing,
    }
    grid = headed("", *columns)
    grid.add_row("Orders", *(count(amount.orders) for amount in columns.values()))
    for currency in sorted({name for amount in columns.values() for name in amount.sums}):
        amounts = (amount.sums.get(currency, Decimal(0)) for amount in columns.values())
        grid.add_row(currency, *map(money, amounts))
    yield grid
    if report.not_recordable:
        reasons = headed("Not recordable because", "Orders", "Amount")
        for reason, amount in report.not_recordable.items():
            reasons.add_row(reason, count(amount.orders), _in_words(amount) or "-")
        yield reasons


def _remarks(report: Report) -> Iterator[str]:
    if report.others:
        yield f"{plural(report.others, 'line')} of cart events passed over."
    if report.repeats:
        yield f"{plural(report.repeats, 'line')} of an order that stands further up passed over."
    if report.unreadable:
        yield f"{plural(report.unreadable, 'line')} that cannot be read: see alhena replay --check."


def _truth(report: Report, *, whole: bool) -> str:
    """Return the last line: earned and recorded, in orders and money."""
    recorded = Amount()
    recorded.add_all(report.there)
    recorded.add_all(report.recorded)
    told = f"{count(recorded.orders)} of {plural(report.earned.orders, 'order')} recorded"
    if not whole:
        told = f"So far, {told}"
    if missing := _in_words(report.missing):
        return f"{told}: {missing} of {_in_words(report.earned)} missing."
    earned = _in_words(recorded)
    return f"{told}: {earned}." if earned else f"{told}."


def _in_words(amount: Amount) -> str:
    return " and ".join(f"{money(amount.sums[name])} {name}" for name in sorted(amount.sums))
