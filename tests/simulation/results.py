"""A long run's results: a line for each seed, appended, so that whoever stops it loses nothing.

`python -m tests.simulation.results FILE...` prints the figures of one leg or several as a table.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import attrs

from tests.simulation.life import Figures

__all__ = ["Result", "Results", "main", "seeds_as_text", "table", "total"]


@attrs.frozen(kw_only=True)
class Result:
    """What one seed amounted to."""

    seed: int
    events: int
    """How many were asked for; a life may accept a few more."""
    faults: float
    """The share of faulty requests that was asked for."""
    figures: Figures
    finding: str | None = None
    """The promise that was broken, if one was."""

    def as_line(self) -> str:
        """Return it as a line of JSON."""
        return json.dumps(attrs.asdict(self)) + "\n"

    @classmethod
    def of_line(cls, line: str) -> Result:
        """Return what `as_line` was given.

        Raises:
            ValueError: It is no such line, or only the beginning of one.
        """
        told = json.loads(line)
        figures = told.pop("figures")
        figures["outcomes"] = Counter(figures["outcomes"])
        return cls(figures=Figures(**figures), **told)


class Results:
    """A file of results that only grows.

    Args:
        path: Need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[Result]:
        """Return one result for each seed. A line that was being written at a kill is no result."""
        if not self._path.exists():
            return []
        text = self._path.read_text()
        whole = text[: text.rfind("\n") + 1]
        results = map(Result.of_line, whole.splitlines())
        return list({result.seed: result for result in results}.values())

    def resume(self, *, events: int, faults: float) -> list[Result]:
        """Return what is there already, and mend an end that was cut off.

        Raises:
            ValueError: It is another leg's file: events or faults differ.
        """
        results = self.read()
        for result in results:
            if (result.events, result.faults) != (events, faults):
                raise ValueError(
                    f"{self._path} is of {result.events} events a seed and {result.faults:g} faults"
                )
        if self._path.exists():
            with self._path.open("r+b") as file:
                file.truncate(self._path.read_bytes().rfind(b"\n") + 1)
        return results

    def append(self, result: Result) -> None:
        """Add a result; it is in the file when this returns."""
        with self._path.open("a") as file:
            file.write(result.as_line())


def seeds_as_text(seeds: Iterable[int]) -> str:
    """Return seeds in short, as `seeds_of` reads them: `1-100,107`."""
    spans: list[list[int]] = []
    for seed in sorted(seeds):
        if spans and seed == spans[-1][-1] + 1:
            spans[-1][1:] = [seed]
        else:
            spans.append([seed])
    return ",".join("-".join(map(str, span)) for span in spans)


def total(results: Iterable[Result]) -> Figures:
    """Return the figures of all of them together, whatever order they came in.

    They are added in the order of their seeds: sums of floats differ in their last digit otherwise.
    """
    figures = Figures()
    for result in sorted(results, key=lambda result: result.seed):
        figures.add(result.figures)
    return figures


_ROWS: dict[str, Callable[[Figures], str]] = {
    "seeds": lambda leg: f"{leg.seeds:,}",
    "lives of a client": lambda leg: f"{leg.lives:,}",
    "events accepted": lambda leg: f"{leg.events:,}",
    "requests": lambda leg: f"{leg.requests:,}",
    "faults injected": lambda leg: f"{leg.faults:,}",
    "recorded twice, each after an ambiguous fault of that event": lambda leg: f"{leg.repeated:,}",
    "steps judged": lambda leg: f"{leg.steps:,}",
    "full recounts": lambda leg: f"{leg.recounts:,}",
    "virtual time": lambda leg: f"{leg.virtual_seconds / 3600:,.0f} hours",
    "CPU time": lambda leg: f"{leg.cpu_seconds:,.0f} s",
    "events per second of CPU": lambda leg: f"{leg.events / (leg.cpu_seconds or 1.0):,.0f}",
}


def table(legs: Sequence[Sequence[Result]]) -> str:
    """Return the figures as a table in Markdown: a column for each leg, and one for their sum."""
    columns = {f"`SEEDS={seeds_as_text(result.seed for result in leg)}`": leg for leg in legs}
    if len(legs) > 1:
        columns["together"] = [result for leg in legs for result in leg]
    sums = [total(results) for results in columns.values()]
    broken = [sum(one.finding is not None for one in results) for results in columns.values()]
    rows = [
        ["", *columns],
        ["---"] * (1 + len(columns)),
        *([name, *map(shown, sums)] for name, shown in _ROWS.items()),
        ["seeds that broke a promise", *map(str, broken)],
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table of some files, then what was found. Returns 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description="Add up the results of long runs.")
    parser.add_argument("files", nargs="+", type=Path, help="a leg each")
    legs = [Results(path).read() for path in parser.parse_args(arguments).files]
    findings = [result.finding for leg in legs for result in leg if result.finding is not None]
    sys.stdout.write("\n\n".join([table(legs), *findings]) + "\n")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
