"""What a scenario is, what it measured, and how its claims are judged.

A scenario is a few cases that are measured in turns (A B C A B C ...), each time in a fresh
process on a core of its own: one process drifts against the next by a fifth. A claim is a ratio of
two cases, taken turn by turn, and then the median of it.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import attrs

__all__ = ["Case", "Claim", "Figures", "Measured", "Ratio", "Scenario"]

Figures = dict[str, float]
"""What one turn of a case measured, by name; the name ends in the unit."""


@attrs.frozen(kw_only=True)
class Case:
    """Something that is measured."""

    measure: Callable[[], Figures | Coroutine[Any, Any, Figures]]
    """Runs in a process of its own; a coroutine runs on asyncio's loop, or on uvloop's."""
    rounds: int = 5
    needs: tuple[str, ...] = ()
    """Distributions without which it is skipped."""
    uvloop: bool = False


@attrs.frozen(kw_only=True)
class Claim:
    """A figure that is held against a target; without one it is only reported."""

    what: str
    value: float
    unit: str = "x"
    at_most: float | None = None
    at_least: float | None = None
    turns: list[float] = attrs.field(factory=list)
    """What each turn said, where the value is their median."""

    @classmethod
    def of_turns(
        cls,
        what: str,
        turns: list[float],
        *,
        unit: str = "x",
        at_most: float | None = None,
        at_least: float | None = None,
    ) -> Claim:
        """Claim the median of the turns; how far they lie apart is shown beside it."""
        value = statistics.median(turns)
        return cls(
            what=what, value=value, unit=unit, at_most=at_most, at_least=at_least, turns=turns
        )

    @property
    def is_met(self) -> bool | None:
        """Whether the target is reached; None without one."""
        if self.at_most is not None:
            return self.value <= self.at_most
        if self.at_least is not None:
            return self.value >= self.at_least
        return None

    @property
    def target(self) -> str:
        """The target in words."""
        if self.at_most is not None:
            return f"{self.at_most:g} or less"
        return "" if self.at_least is None else f"{self.at_least:g} or more"


class Measured:
    """All turns of all cases of a scenario."""

    def __init__(self, runs: Mapping[str, list[Figures]], skipped: Mapping[str, str]) -> None:
        self.runs = dict(runs)
        self.skipped = dict(skipped)
        """Cases that were not measured, with the reason."""

    def __contains__(self, case: str) -> bool:
        return case in self.runs

    def has(self, *cases: str) -> bool:
        """Return whether all of these were measured."""
        return all(case in self.runs for case in cases)

    def median(self, case: str, figure: str) -> float:
        """Return the median of a figure over a case's turns."""
        return statistics.median(self.turns(case, figure))

    def turns(self, case: str, figure: str) -> list[float]:
        """Return what each turn of a case measured."""
        return [run[figure] for run in self.runs[case]]

    def ratios(self, case: str, other: str, figure: str) -> list[float]:
        """Return one case's figure over another's, for each turn that both had."""
        pairs = zip(self.runs[case], self.runs[other], strict=False)
        return [mine[figure] / theirs[figure] for mine, theirs in pairs]

    def least(self, cases: list[str], figure: str) -> str:
        """Return which of these cases (of those measured) has the smallest median."""
        return min(
            (case for case in cases if case in self), key=lambda case: self.median(case, figure)
        )


@attrs.frozen(kw_only=True)
class Ratio:
    """A column that tells each case's figure over another's, turn by turn."""

    heading: str
    figure: str
    reference: Callable[[str], str]
    """Which case a case is held against."""

    def turns(self, measured: Measured, case: str) -> list[float]:
        """Return the ratios; none for the reference itself, and where that was not measured."""
        reference = self.reference(case)
        if case == reference or reference not in measured:
            return []
        return measured.ratios(case, reference, self.figure)


@attrs.frozen(kw_only=True)
class Scenario:
    """A question that the bench answers."""

    title: str
    how: str
    """How it is measured, for whoever reads the result."""
    cases: Mapping[str, Case]
    claims: Callable[[Measured], list[Claim]]
    figures: Mapping[str, str]
    """Which figures the table shows, with their headings."""
    ratio: Ratio | None = None
    cannot: Mapping[str, str] = attrs.field(factory=dict)
    """Who cannot do this at all, and why."""
    draw: Callable[[Measured, Any], None] | None = None
    """Draws the plot on a pair of axes, if it has one."""
