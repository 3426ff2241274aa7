"""Whose turn came first at a process, held against the order that is promised. Pure.

What is promised, for each visitor, of the turns that one process gives (a turn: an event is taken
out of its lane for its first request):

- Events come in order of acceptance, wherever they were accepted: by this process, or by processes
  whose files it has taken over.
- An event that had its turn before a file was taken over stays ahead of that file's rows.
- What the process has left to the disk alone may come behind rows that are younger: they were taken
  over, and go before it.

Nothing is promised between the turns of processes that live at once. Acceptance is what the process
knows of it: its own clock, and a row's age by the machine's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from math import inf

import attrs

__all__ = ["Turns", "judge_turns"]

_TIE = 0.001
"""Seconds within which two acceptances are the same moment: clocks are read one after the other."""


@attrs.define
class _Event:
    """What a process has told of an event."""

    name: str
    accepted_at: float
    since: int = -1
    """The line at which its file was taken over; -1 for one of the process's own."""
    file: int | None = None
    spilled: bool = False
    turn: float = inf
    """The line at which it had its turn; infinity: never."""


@attrs.frozen(kw_only=True)
class Turns:
    """What came of a process's turns."""

    compared: int
    """Pairs of events of one visitor that different processes had accepted."""
    sins: list[str]


def judge_turns(told: Sequence[str], settled: Container[str] = ()) -> Turns:
    """Return every turn that was given out of order.

    Args:
        told: A process's lines: `accepted NAME AT SPILLED`, `adopted FILE`, `row FILE NAME AT` and
            `turn NAME`, in order. The first two words of a file's rows may come long after it.
        settled: Names of events that ended without a turn: their dead letters say so.
    """
    visitors: defaultdict[str, list[_Event]] = defaultdict(list)
    for event in _events(told):
        if event.turn < inf or event.name not in settled:
            visitors[event.name.split(".")[1]].append(event)
    compared, sins = 0, []
    for events in visitors.values():
        for earlier, later in _promised(events):
            compared += _life(earlier) != _life(later)
            if later.turn < earlier.turn:
                sins.append(f"{later.name} had its turn before {earlier.name}, which is older")
    return Turns(compared=compared, sins=sins)


def _events(told: Sequence[str]) -> Iterable[_Event]:
    """Return the events of which it is known when they were accepted."""
    known: dict[str, _Event] = {}
    turns: dict[str, int] = {}
    adopted: dict[int, int] = {}
    for number, line in enumerate(told):
        match line.split():
            case ["accepted", name, at, spilled]:
                known[name] = _Event(name, float(at), spilled=spilled == "1")
            case ["adopted", file]:
                adopted[int(file)] = number
            case ["row", file, name, at]:
                known[name] = _Event(name, float(at), adopted[int(file)], int(file))
            case ["turn", name]:
                turns.setdefault(name, number)
    for event in known.values():
        event.turn = turns.get(event.name, inf)
    return known.values()


def _promised(events: Sequence[_Event]) -> Iterable[tuple[_Event, _Event]]:
    """Yield each two of a visitor's events that must have their turns in this order."""
    in_order = sorted(events, key=lambda event: event.accepted_at)
    for place, later in enumerate(in_order):
        if later.turn == inf:
            continue
        for earlier in in_order[:place]:
            if _is_promised(earlier, later):
                yield earlier, later


def _is_promised(earlier: _Event, later: _Event) -> bool:
    """Return whether the older of two events has its turn before the younger one, which had one."""
    if earlier.file == later.file:
        return True
    is_tie = later.accepted_at - earlier.accepted_at < _TIE
    was_touched = later.turn < earlier.since
    passes_disk = earlier.spilled and later.file is not None
    return not (is_tie or was_touched or passes_disk)


def _life(event: _Event) -> str:
    return event.name.partition(".")[0]
