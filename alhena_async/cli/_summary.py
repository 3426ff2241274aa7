"""What a run came to, as aligned tables. Pure: a tally in, things to print out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Final

from rich.console import RenderableType
from rich.table import Column, Table
from rich.text import Text

from alhena_async.cli._console import Grid
from alhena_async.cli._format import clean, count, duration, money, per_second, plural
from alhena_async.cli._tally import NO_EVENT, Tally
from alhena_async.observers import Stats
from alhena_async.outcomes import OutcomeStatus

_MEANING: Final[Mapping[str, str]] = {
    "recorded": "",
    "published": "the broker has it",
    "duplicate": "the order was recorded before",
    "coalesced": "folded into another event",
    "unattributed": "the visitor has no conversation",
    "rejected": "refused by the API",
    "expired": "given up: its time ran out",
    "unknown": "perhaps recorded, and may not be repeated",
    "dropped": "given up before sending",
    "kept": "kept for the next start",
    "abandoned": "left when the run stopped",
}

_GOOD: Final = frozenset({"recorded", "published", "duplicate", "coalesced"})

_REFUSED: Final = frozenset({"unattributed", "rejected"})

_MOST_CAUSES: Final = 8


def facts(rows: Iterable[tuple[str, str, str]]) -> RenderableType:
    """Return rows of name, number and remark.

    Args:
        rows: The remark may be empty.
    """
    grid = _grid()
    grid.add_column(style="bold", no_wrap=True, min_width=10)
    grid.add_column(justify="right", no_wrap=True, min_width=12)
    grid.add_column(style="dim", overflow="fold")
    for name, number, remark in rows:
        grid.add_row(name, number, Text(clean(remark)))
    return grid


def run_facts(tally: Tally, stats: Stats, seconds: float) -> RenderableType:
    """Return how much went in and out, and how fast."""
    lines = []
    if tally.skipped:
        lines.append(f"{count(tally.skipped)} settled by an earlier run")
    if tally.rejected:
        lines.append(f"{count(tally.rejected)} rejected")
    if tally.blank:
        lines.append(f"{count(tally.blank)} blank")
    rate = per_second(tally.finished, seconds)
    repeats = [plural(stats.retries, "retry", "retries")]
    if stats.failed_attempts:
        repeats.append(plural(stats.failed_attempts, "failed attempt"))
    return facts(
        [
            ("Lines", count(tally.upto), ", ".join(lines)),
            ("Events", count(tally.accepted), ""),
            ("Requests", count(stats.requests), ", ".join(repeats)),
            ("Time", duration(seconds), f"{rate.removesuffix('/s')} events a second"),
        ]
    )


def endings(tally: Tally, given_up: Counter[str]) -> list[RenderableType]:
    """Return how events ended and why; nothing for what did not occur.

    Args:
        tally: The account of the run.
        given_up: Expired events by reason.
    """
    return [
        *outcomes(tally.statuses),
        *counted("Refused because", "Events", tally.codes),
        *counted("Given up because", "Events", given_up),
        *counted("No event because", "Lines", tally.causes),
    ]


def outcomes(statuses: Counter[str]) -> list[RenderableType]:
    """Return how many events ended how; nothing for none."""
    if not statuses.total():
        return []
    grid = headed("Outcome", "Events", remark=True)
    for status in OutcomeStatus:
        number = statuses[status.value]
        if number:
            style = _style(status.value)
            grid.add_row(
                Text(status.value, style), Text(count(number), style), _MEANING[status.value]
            )
    return [grid]


def counted(title: str, noun: str, numbers: Counter[str]) -> list[RenderableType]:
    """Return the commonest of some texts, and how often each came; nothing for none."""
    if not numbers:
        return []
    grid = headed(title, noun)
    for text, number in numbers.most_common(_MOST_CAUSES):
        grid.add_row(Text(clean(text, limit=200)), count(number))
    rest = numbers.most_common()[_MOST_CAUSES:]
    if rest:
        grid.add_row(f"({len(rest)} more)", count(sum(number for _, number in rest)))
    return [grid]


def revenue(tally: Tally, whole: str, **more: Mapping[str, Decimal]) -> list[RenderableType]:
    """Return what orders came to, by currency, to the last digit; nothing without orders.

    Args:
        tally: The account of the run.
        whole: What all of it is called.
        **more: Further sums, under their names.
    """
    columns = {whole: tally.offered.sums, "Recorded": tally.recorded.sums}
    if tally.before.orders:
        columns["Recorded before"] = tally.before.sums
    return sums({**columns, "Not recorded": tally.missing.sums, **more})


def sums(columns: Mapping[str, Mapping[str, Decimal]]) -> list[RenderableType]:
    """Return sums by currency, side by side, to the last digit; nothing where there is none.

    Args:
        columns: Sums by currency, by heading.
    """
    currencies = sorted({currency for amounts in columns.values() for currency in amounts})
    if not currencies:
        return []
    grid = headed("Revenue", *columns)
    for currency in currencies:
        amounts = [money(amounts.get(currency, Decimal(0))) for amounts in columns.values()]
        grid.add_row(Text(clean(currency)), *amounts)
    return [grid]


_LEFT_OUT: Final[Mapping[str, str]] = {
    "duplicate": "recorded before",
    "coalesced": "folded into others",
    NO_EVENT: "rejected",
    "rejected": "refused",
    "unattributed": "without a conversation",
    "expired": "expired",
    "unknown": "perhaps recorded",
    "dropped": "dropped",
    "kept": "kept",
    "abandoned": "not sent",
}


def truth(tally: Tally) -> list[str]:
    """Return what is true of a run, a sentence for each kind of line; that on orders comes last."""
    unknown = tally.rejected - sum(counts[NO_EVENT] for counts in tally.kinds.values())
    told = [f"{plural(unknown, 'line')} rejected that cannot be read."] if unknown else []
    if tally.kinds["cart"]:
        told.append(f"{_recorded_of(tally.kinds['cart'], 'cart event')}.")
    if tally.kinds["checkout"]:
        told.append(f"{_recorded_of(tally.kinds['checkout'], 'order')}{in_money(tally)}.")
    return told


def _recorded_of(counts: Counter[str], noun: str) -> str:
    """Return `711 of 855 orders recorded; 158 rejected`."""
    rest = [f"{count(counts[name])} {word}" for name, word in _LEFT_OUT.items() if counts[name]]
    told = f"{count(counts['recorded'])} of {plural(counts.total(), noun)} recorded"
    return "; ".join(filter(None, [told, ", ".join(rest)]))


def in_money(tally: Tally) -> str:
    """Return `: 22,493.75 of 133,495.37 BRL are missing`, or what all of it comes to."""
    missing, offered = tally.missing.sums, tally.offered.sums
    told = [
        f"{money(missing[currency])} of {money(offered[currency])} {currency}"
        for currency in sorted(missing)
        if missing[currency]
    ]
    if tally.unread:
        told.append(f"the value of {plural(tally.unread, 'order')} that cannot be read")
    if told:
        return f": {' and '.join(told)} {'is' if told[0].startswith('the') else 'are'} missing"
    earned = " and ".join(f"{money(offered[currency])} {currency}" for currency in sorted(offered))
    if earned and tally.missing.orders:
        return f": nothing of {earned} is missing"
    return f": {earned}" if earned else ""


def spaced(blocks: Sequence[RenderableType]) -> list[RenderableType]:
    """Return the blocks with an empty line before each."""
    return [part for block in blocks for part in (Text(""), block)]


def _grid() -> Table:
    return Table.grid(padding=(0, 2))


def headed(name: str, *numbers: str, remark: bool = False) -> Grid:
    """Return a table of a column of text and columns of numbers.

    Args:
        name: The heading of the first column.
        *numbers: The others' headings.
        remark: Add a column of remarks, without a heading.
    """
    columns = [Column(name, overflow="fold", min_width=10)]
    columns += [Column(heading, justify="right", no_wrap=True, min_width=12) for heading in numbers]
    return Grid(*columns, *([Column(style="dim", overflow="fold")] if remark else []))


def _style(status: str) -> str:
    if status in _GOOD:
        return "green"
    return "yellow" if status in _REFUSED else "bold red"
