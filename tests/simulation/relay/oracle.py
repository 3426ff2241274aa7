"""What must be true of events that went over a broker. Pure: a history in, what is wrong out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import attrs

__all__ = ["Arrival", "History", "Verdict", "judge"]

_SHOWN: Final = 5
"""Examples of each kind of fault."""


@attrs.frozen
class Arrival:
    """An event that the API recorded."""

    name: str
    """Of the event; unique."""
    order_id: str | None = None
    """None: it is no order."""


@attrs.frozen(kw_only=True)
class History:
    """What was promised, and what came of it.

    Attributes:
        promised: By visitor, the names of the events that publishers said they published, in the
            order in which they were accepted: the next after the answer for the one before.
        arrivals: What the API recorded, in its order, repeats included.
        letters: The names of the events that are among the letters.
        not_sent_twice: Names of what may not be repeated: orders.
        faults: Faults after which a worker may hold what another holds too.
        held: Events that a worker holds at most, of those that it can repeat: partitions.
        excused: Repeats that the API's own faults account for: it recorded, and its answer was
            lost.
    """

    promised: Mapping[str, Sequence[str]]
    arrivals: Iterable[Arrival]
    letters: Collection[str] = ()
    not_sent_twice: Collection[str] = ()
    faults: int = 0
    held: int = 0
    excused: int = 0


@attrs.define(kw_only=True)
class Verdict:
    """What is wrong, by kind, with a few examples of each."""

    events: int = 0
    lost: int = 0
    reordered: int = 0
    """First arrivals behind a later event of their visitor."""
    stale: int = 0
    """Repeats behind a later event of their visitor."""
    twice: int = 0
    """Orders that were accepted twice."""
    repeats: int = 0
    too_many: int = 0
    """Repeats that nothing accounts for."""
    examples: list[str] = attrs.Factory(list)

    @property
    def sins(self) -> list[str]:
        """What is wrong, in words; empty: nothing is."""
        kinds = ("lost", "reordered", "stale", "twice", "too_many")
        counts = {kind: getattr(self, kind) for kind in kinds}
        told = [f"{count} {kind}" for kind, count in counts.items() if count]
        return [*told, *self.examples] if told else []

    def note(self, kind: str, example: str) -> None:
        """Count one of a kind."""
        count = getattr(self, kind) + 1
        setattr(self, kind, count)
        if count <= _SHOWN:
            self.examples.append(f"{kind}: {example}")


def judge(history: History) -> Verdict:
    """Hold what arrived against what was promised."""
    verdict = Verdict(events=sum(map(len, history.promised.values())))
    arrivals = list(history.arrivals)
    _judge_order(history, arrivals, verdict)
    _judge_losses(history, arrivals, verdict)
    _judge_orders(history, arrivals, verdict)
    unexplained = verdict.repeats - history.excused - history.faults * history.held
    if unexplained > 0:
        verdict.too_many = unexplained
        verdict.examples.append(
            f"{verdict.repeats} repeats: {history.faults} faults x {history.held} held, "
            f"and {history.excused} lost answers of the API"
        )
    return verdict


def _judge_order(history: History, arrivals: Sequence[Arrival], verdict: Verdict) -> None:
    places = {
        name: (visitor, place)
        for visitor, names in history.promised.items()
        for place, name in enumerate(names)
    }
    seen: set[str] = set()
    latest: dict[str, tuple[int, str]] = {}
    for arrival in arrivals:
        is_repeat = arrival.name in seen
        verdict.repeats += is_repeat
        seen.add(arrival.name)
        if arrival.name not in places:
            continue
        visitor, place = places[arrival.name]
        before, later = latest.get(visitor, (-1, ""))
        if place < before:
            kind = "stale" if is_repeat else "reordered"
            verdict.note(kind, f"{arrival.name} came behind {later}")
        else:
            latest[visitor] = place, arrival.name


def _judge_losses(history: History, arrivals: Sequence[Arrival], verdict: Verdict) -> None:
    there = {arrival.name for arrival in arrivals} | set(history.letters)
    for names in history.promised.values():
        for name in names:
            if name not in there:
                verdict.note("lost", name)


def _judge_orders(history: History, arrivals: Sequence[Arrival], verdict: Verdict) -> None:
    ids = Counter(arrival.order_id for arrival in arrivals if arrival.order_id is not None)
    names = Counter(arrival.name for arrival in arrivals)
    for order_id, count in ids.items():
        if count > 1:
            verdict.note("twice", f"order {order_id}, {count} times")
    for name in history.not_sent_twice:
        if names[name] > 1:
            verdict.note("twice", f"{name}, {names[name]} times")
