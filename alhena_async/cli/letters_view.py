"""Dead letters as tables, and as JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from alhena_async.cli.moments import ago, iso
from alhena_async.cli.text import clean, money, plural
from alhena_async.journal._letter import Letter
from alhena_async.journal._rows import shown as event_shown

__all__ = ["ascii_json", "form_of", "plain", "shown", "table"]


def form_of(letter: Letter) -> dict[str, Any] | None:
    """Return a letter's event in its stored form; None if it is unreadable."""
    try:
        form = event_shown(letter.body)
    except (ValueError, RecursionError):
        return None
    return form if isinstance(form, dict) else None


def ascii_json(value: Any) -> str:
    """Return JSON in ASCII, numbers with the digits they have: a terminal is not steered by it."""
    if isinstance(value, dict):
        inner = ", ".join(f"{json.dumps(str(k))}: {ascii_json(v)}" for k, v in value.items())
        return f"{{{inner}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(ascii_json, value))}]"
    return format(value, "f") if isinstance(value, Decimal) else json.dumps(value)


def plain(letter: Letter) -> str:
    """Return a letter as one line of JSON."""
    return ascii_json(
        {
            "id": letter.id,
            "ended": iso(letter.ended),
            "accepted": iso(letter.accepted),
            "kind": letter.kind,
            "status": letter.status,
            "code": letter.code,
            "http_status": letter.http_status,
            "attempts": letter.attempts,
            "detail": letter.detail,
            "order_id": letter.order_id,
            "company_key": letter.company_key,
            "destination": letter.destination,
            "resent": None if letter.resent is None else iso(letter.resent),
            "resent_status": letter.resent_status,
            "resent_detail": letter.resent_detail,
            "event": form_of(letter) or letter.body,
        }
    )


def table(letters: Sequence[Letter], now: float) -> RenderableType:
    """Return a list of letters.

    Args:
        letters: In order.
        now: Seconds since the epoch.
    """
    grid = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    rows = [_row(letter, now) for letter in letters]
    for place, name in enumerate(_COLUMNS):
        # The reason comes last and may be broken into lines; `show` has all of it.
        widest = max(len(name), *(len(row[place]) for row in rows))
        grid.add_column(
            name,
            justify="right" if name in _NUMBERS else "left",
            overflow="fold",
            min_width=min(widest, 20) if name == "Reason" else widest,
        )
    for row in rows:
        grid.add_row(*row)
    return grid


_COLUMNS = ("N", "Ended", "Status", "Event", "Value", "Sent again", "Reason")
_NUMBERS = frozenset({"N", "Ended", "Value"})


def _row(letter: Letter, now: float) -> list[Text]:
    form = form_of(letter) or {}
    return [
        Text(str(letter.id)),
        Text(ago(now - letter.ended)),
        Text(clean(letter.status), "yellow" if letter.status == "dropped" else "bold red"),
        Text(clean(_what(letter, form), limit=30)),
        Text(clean(_value(form))),
        Text(clean(letter.resent_status or ""), _style(letter.resent_status)),
        Text(clean(_reason(letter), limit=72)),
    ]


def shown(letter: Letter, now: float) -> Iterator[RenderableType]:
    """Return everything about a letter.

    Args:
        letter: Which.
        now: Seconds since the epoch.
    """
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    http = f"HTTP {letter.http_status}" if letter.http_status is not None else ""
    resent = ""
    if letter.resent is not None:
        told = " ".join(filter(None, [letter.resent_status, letter.resent_detail]))
        resent = f"{iso(letter.resent)}: {told}"
    for name, text in (
        ("Number", str(letter.id)),
        ("Status", f"{letter.status} after {plural(letter.attempts, 'attempt')}"),
        ("Code", " ".join(filter(None, [letter.code, http]))),
        ("Detail", letter.detail or ""),
        ("Accepted", f"{iso(letter.accepted)}, {ago(now - letter.accepted)} ago"),
        ("Ended", f"{iso(letter.ended)}, {ago(now - letter.ended)} ago"),
        ("Order id", letter.order_id or ""),
        ("Company", letter.company_key),
        ("For", letter.destination),
        ("Sent again", resent),
    ):
        if text:
            grid.add_row(name, Text(clean(text, limit=1_000)))
    yield grid
    yield Text("")
    form = form_of(letter)
    if form is None:
        yield Text(clean(letter.body, limit=4_000), "red")
        return
    for line in _lines(form):
        yield Text(line)


def _lines(form: dict[str, Any]) -> Iterator[str]:
    for name, value in form.items():
        if isinstance(value, list):
            yield f"{clean(name)}:"
            yield from (f"  {ascii_json(line)}" for line in value)
        else:
            yield f"{clean(name)}: {ascii_json(value)}"


def _reason(letter: Letter) -> str:
    if letter.code:
        return letter.code
    return letter.detail or (f"HTTP {letter.http_status}" if letter.http_status else "-")


def _what(letter: Letter, form: dict[str, Any]) -> str:
    if letter.kind == "checkout":
        return f"order {letter.order_id or form.get('order_id') or 'without id'}"
    return f"{_WORDS.get(form.get('type', ''), '?')} {form.get('product_id', '?')}"


_WORDS = {
    "ITEM_ADDED": "added",
    "QUANTITY_INCREASED": "increased",
    "QUANTITY_DECREASED": "decreased",
    "ITEM_REMOVED": "removed",
}


def _value(form: dict[str, Any]) -> str:
    value = form.get("value")
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return ""
    return f"{money(Decimal(str(value)))} {form.get('currency', '')}"


def _style(status: str | None) -> str:
    return "green" if status in {"recorded", "duplicate", "coalesced"} else "yellow"
