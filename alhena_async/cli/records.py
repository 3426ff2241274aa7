"""What a line of a file of events is: an event, or the reasons why it is none. Pure."""

from __future__ import annotations

from typing import Final

import attrs

from alhena_async.cli.text import plural
from alhena_async.events import Event

MAX_LINE_BYTES: Final = 1024 * 1024
"""A longer line is no event: the largest order seen in a shop's data has 136 KB."""


@attrs.frozen(kw_only=True)
class Record:
    """A line that is an event."""

    number: int
    """The line's number in its file, from 1."""
    event: Event
    at: float | None = None
    """Its timestamp in seconds since the epoch; None when it was not asked for."""


@attrs.frozen(kw_only=True)
class Reject:
    """A line that is no event."""

    number: int
    """The line's number in its file, from 1."""
    reasons: tuple[tuple[str, str], ...]
    """What is wrong, as pairs of where (`line_items[2].quantity`; may be empty) and what."""
    raw: bytes
    """The line as it stood in the file, without its line end."""
    cut: bool = False
    """Whether `raw` is only the beginning of the line."""

    @property
    def reason(self) -> str:
        """All reasons as one text; like ones of one order's lines are told once, and counted."""
        firsts: dict[tuple[str, str], str] = {}
        more: dict[tuple[str, str], int] = {}
        for where, what in self.reasons:
            key = (_bare(where), what)
            more[key] = more.get(key, -1) + 1
            firsts.setdefault(key, f"{where} {what}".strip())
        return "; ".join(
            f"{first} (and {plural(more[key], 'line item')} more)" if more[key] else first
            for key, first in firsts.items()
        )

    @property
    def causes(self) -> tuple[str, ...]:
        """The reasons without places and without repetition, to count lines by."""
        bare = ((_bare(where), what.partition(" (got ")[0]) for where, what in self.reasons)
        return tuple(dict.fromkeys(f"{where} {what}".strip() for where, what in bare))


@attrs.frozen(kw_only=True)
class Reading:
    """How lines are read."""

    name_from_id: bool = False
    """Put the product id where a product name is empty or missing. Default: no."""
    timed: bool = False
    """Ask every line for its timestamp. Default: no."""


def _bare(where: str) -> str:
    """`line_items[3].quantity` -> `line_items[].quantity`."""
    head, bracket, rest = where.partition("[")
    return head + "[]" + rest.partition("]")[2] if bracket else head
