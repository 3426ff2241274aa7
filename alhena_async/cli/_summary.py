"""What a run came to, as aligned tables. Pure: a tally in, things to print out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Final

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from alhena_async.cli._format import clean, count, duration, money, per_second, plural
from alhena_async.cli._tally import Tally
from alhena_async.observers import Stats
from alhena_async.outcomes import OutcomeStatus

_MEANING: Final[Mapping[str, str]] = {
    "recorded": "",
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

_GOOD: Final = frozenset({"recorded", "duplicate", "coalesced"})

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
        lines.append(f"{count(tally.rejected)} are no events")
    if tally.blank:
        lines.append(f"{count(tally.blank)} blank")
    rate = per_second(tally.finished, seconds)
    return facts(
        [
            ("Lines", count(tally.upto), ", ".join(lines)),
            ("Events", count(tally.accepted), ""),
            ("Requests", count(stats.requests), plural(stats.retries, "retry", "retries")),
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
    grid = _headed("Outcome", "Events")
    grid.add_column(style="dim", overflow="fold")
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
    grid = _headed(title, noun)
    for text, number in numbers.most_common(_MOST_CAUSES):
        grid.add_row(Text(clean(text, limit=200)), count(number))
    rest = numbers.most_common()[_MOST_CAUSES:]
    if rest:
        grid.add_row(f"({len(rest)} more)", count(sum(number for _, number in rest)))
    return [grid]


def revenue(columns: Sequence[tuple[str, Mapping[str, Decimal]]]) -> list[RenderableType]:
    """Return sums by currency, side by side, to the last digit; nothing where there is none.

    Args:
        columns: Pairs of a heading and sums by currency.
    """
    currencies = sorted({currency for _, sums in columns for currency in sums})
    if not currencies:
        return []
    grid = _headed("Revenue", *(heading for heading, _ in columns))
    for currency in currencies:
        amounts = [money(sums.get(currency, Decimal(0))) for _, sums in columns]
        grid.add_row(Text(clean(currency)), *amounts)
    return [grid]


def spaced(blocks: Sequence[RenderableType]) -> list[RenderableType]:
    """Return the blocks with an empty line before each."""
    return [part for block in blocks for part in (Text(""), block)]


def _grid() -> Table:
    return Table.grid(padding=(0, 2))


def _headed(name: str, *numbers: str) -> Table:
    grid = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    grid.add_column(name, overflow="fold", min_width=10)
    for heading in numbers:
        grid.add_column(heading, justify="right", no_wrap=True, min_width=12)
    return grid


def _style(status: str) -> str:
    if status in _GOOD:
        return "green"
    return "yellow" if status in _REFUSED else "bold red"
