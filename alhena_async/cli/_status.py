"""`alhena status`: how every process of a journal's directory fares, and all of them together."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs
import click
from rich.console import RenderableType
from rich.table import Column
from rich.text import Text

from alhena_async.cli._console import Grid, Screen
from alhena_async.cli._dead_letters_replay import ARRIVED
from alhena_async.cli._format import ago, clean, count, iso, plural
from alhena_async.cli._inspect import DIRECTORY, check_journal
from alhena_async.cli._options import CommandError, Seconds, json_option
from alhena_async.cli._signals import run
from alhena_async.cli._threads import in_thread
from alhena_async.errors import JournalError
from alhena_async.journal import (
    DeadLetterFilter,
    DeadLetters,
    JournalReport,
    ProcessReport,
    ProcessState,
    inspect_journal,
    read_processes,
)
from alhena_async.observers import BreakerState, Stats
from alhena_async.outcomes import ErrorCode, documented

__all__ = ["status"]


@click.command(short_help="Say how all processes of a journal's directory fare.")
@DIRECTORY
@json_option
@click.option("--watch", is_flag=True, help="Again and again, until Ctrl-C.")
@click.option(
    "--every",
    type=Seconds(min=0.1),
    default=2,
    show_default=True,
    metavar="SECONDS",
    help="How often, with --watch.",
)
def status(directory: Path, *, as_json: bool, watch: bool, every: float) -> None:
    """Say how every process with a journal in DIR fares, and all of them together.

    Each client writes what it counts into its journal's directory, every two seconds and at its
    end. So a process that was killed is up to two seconds behind; what it left in its journal is
    counted from the journal. Those that are gone are listed for a week, 64 at most.

    \b
    With --json:
      processes  each with pid, state (living, ended, died), accepted, recorded, waiting, oldest
                 (seconds, or null), refused (by code), breaker, updated (seconds ago), begun,
                 destination, and stats: all counts of its client
      total      the same of all together: waiting holds what dead processes left as well
      left       events in files of processes that are gone, and the age of the oldest
      problems   files that cannot be read, and why

    \b
    Exit status:
      0    all is well
      1    somebody should look: a process that is gone left events behind, a breaker is not
           closed, the API refused events (and their dead letters were not sent again and
           recorded since), or a file cannot be read
      2    DIR is no directory, holds no journal, or may not be read
      130  Ctrl-C (143: SIGTERM)

    \b
    Examples:
      alhena status var/alhena --watch
      alhena status var/alhena --json | jq .total.waiting
    """  # noqa: D301  click wants the character, not the escape
    screen = Screen()
    if watch:
        run(_watch(directory, screen, as_json=as_json, every=every))
        raise SystemExit(screen.exit_status)
    seen = _look(directory)
    _print(seen, screen, as_json=as_json)
    raise SystemExit(screen.exit_status or int(seen.needs_somebody))


async def _watch(directory: Path, screen: Screen, *, as_json: bool, every: float) -> None:
    while not screen.is_gone:
        seen = await in_thread(partial(_look, directory))
        screen.clear()
        _print(seen, screen, as_json=as_json, is_one_line=True)
        await asyncio.sleep(every)


# --- what is seen -------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class _Process:
    """One process, as it is now."""

    report: ProcessReport
    stats: Stats
    """Its counts; of one that is gone, nothing waits and no breaker is open any more."""
    waiting: int
    """Its unsettled events; of one that is gone, what is left of them in its journal's file."""
    oldest: float | None
    """Seconds since the oldest of them was accepted."""
    updated: float
    """Seconds since it told of itself."""

    @property
    def lives(self) -> bool:
        return self.report.state is ProcessState.LIVING


@attrs.frozen(kw_only=True)
class _Seen:
    """A directory, as it is now."""

    directory: Path
    processes: Sequence[_Process]
    sent_again: Counter[str]
    """Of what the API refused, the dead letters that were sent again since and arrived, by code."""
    left: int
    """Events in files that nobody holds."""
    oldest_left: float | None
    problems: Sequence[str]

    @property
    def stats(self) -> Stats:
        return sum((one.stats for one in self.processes), Stats())

    @property
    def refused(self) -> Counter[str]:
        return sum((Counter(one.report.refused) for one in self.processes), Counter[str]())

    @property
    def waiting(self) -> int:
        return self.left + sum(one.waiting for one in self.processes if one.lives)

    @property
    def oldest(self) -> float | None:
        ages = [self.oldest_left, *(one.oldest for one in self.processes)]
        return max((age for age in ages if age is not None), default=None)

    @property
    def oldest_alive(self) -> float | None:
        """The age of the oldest event that a living process could send."""
        ages = [one.oldest for one in self.processes if one.lives and not one.stats.paused]
        return max((age for age in ages if age is not None), default=None)

    @property
    def needs_somebody(self) -> bool:
        """Whether something will not come right by itself."""
        is_open = self.stats.breaker is not BreakerState.CLOSED
        return bool(self.left or self.problems or self.still_refused or is_open)

    @property
    def still_refused(self) -> bool:
        """Whether the API refused, through somebody's fault, what has not arrived since."""
        return bool((self.refused - self.sent_again).keys() - _NO_FAULT)


_LONG: Final = 10.0
"""Seconds that no event waits while the API answers."""

_NO_FAULT: Final = frozenset({ErrorCode.ACTIVE_TICKET_NOT_FOUND, ErrorCode.ORDER_ALREADY_EXISTS})


def _look(directory: Path) -> _Seen:
    """Look at a directory.

    Raises:
        CommandError: It cannot be looked at.
    """
    try:
        reports, problems = read_processes(directory)
        if not (reports or problems):
            check_journal(directory)
        found = inspect_journal(directory)
    except JournalError as error:
        raise CommandError(str(error)) from None
    left = _left(found)
    ages = [age for _, age in left.values() if age is not None]
    now = time.time()
    return _Seen(
        directory=directory,
        sent_again=_sent_again(directory),
        left=sum(number for number, _ in left.values()),
        oldest_left=max(ages, default=None),
        processes=[_process(one, left, now) for one in _last_first(reports)],
        problems=[*problems, *(one.problem for one in found.files if one.problem)],
    )


def _sent_again(directory: Path) -> Counter[str]:
    wanted = DeadLetterFilter(statuses=("rejected",), resent_statuses=tuple(ARRIVED))
    found: Counter[str] = Counter()
    with suppress(JournalError), DeadLetters(directory, busy_timeout=0.25) as letters:
        for (_, code), number in letters.count(wanted).items():
            found[documented(code or "other")] += number
    return found


def _last_first(reports: Sequence[ProcessReport]) -> list[ProcessReport]:
    """Return the living in the order they began, and behind them the others, the latest first."""
    living = [one for one in reports if one.state is ProcessState.LIVING]
    gone = [one for one in reports if one.state is not ProcessState.LIVING]
    return [*living, *sorted(gone, key=lambda one: -one.at)]


_Left = dict[int | None, tuple[int, float | None]]
"""Events in files that nobody holds and the age of the oldest, by the process that began them."""


def _left(found: JournalReport) -> _Left:
    left: _Left = {}
    for one in found.files:
        rows = one.carts + one.checkouts
        if rows and not one.is_held:
            before, oldest = left.get(one.pid, (0, None))
            left[one.pid] = before + rows, max(oldest or 0.0, one.oldest_age or 0.0)
    return left


def _process(report: ProcessReport, left: _Left, now: float) -> _Process:
    stats, updated = report.stats, max(0.0, now - report.at)
    if report.state is ProcessState.LIVING:
        waiting = stats.queued + stats.in_flight + stats.spilled
        oldest = stats.oldest_age + updated if waiting else None
    else:
        waiting, oldest = left.pop(report.pid, (0, None))
        stats = attrs.evolve(
            stats,
            queued=0,
            in_flight=0,
            spilled=0,
            oldest_age=0.0,
            cart_breaker=BreakerState.CLOSED,
            checkout_breaker=BreakerState.CLOSED,
        )
    return _Process(report=report, stats=stats, waiting=waiting, oldest=oldest, updated=updated)


# --- what is shown ------------------------------------------------------------------------------


def _print(seen: _Seen, screen: Screen, *, as_json: bool, is_one_line: bool = False) -> None:
    if as_json:
        screen.write(json.dumps(_plain(seen), indent=None if is_one_line else 2))
        return
    screen.show(*_shown(seen))
    screen.say("")


def _plain(seen: _Seen) -> dict[str, Any]:
    return {
        "directory": str(seen.directory),
        "processes": [_plain_process(one) for one in seen.processes],
        "total": _counts(seen.stats, seen.waiting, seen.oldest, seen.refused),
        "left": {"events": seen.left, "oldest": _rounded(seen.oldest_left)},
        "problems": [clean(problem, limit=1000) for problem in seen.problems],
    }


def _plain_process(one: _Process) -> dict[str, Any]:
    return {
        "pid": one.report.pid,
        "state": one.report.state,
        **_counts(one.stats, one.waiting, one.oldest, one.report.refused),
        "updated": _rounded(one.updated),
        "begun": iso(one.report.begun),
        "destination": one.report.destination,
    }


def _counts(stats: Stats, waiting: int, oldest: float | None, refused: Any) -> dict[str, Any]:
    return {
        "accepted": stats.accepted,
        "recorded": stats.recorded,
        "waiting": waiting,
        "oldest": _rounded(oldest),
        "refused": dict(refused),
        "breaker": stats.breaker,
        "stats": attrs.asdict(stats),
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


_NUMBERS: Final = frozenset({"Pid", "Accepted", "Recorded", "Waiting", "Oldest", "Refused"})

_STYLES: Final = {
    ProcessState.LIVING: "green",
    ProcessState.ENDED: "dim",
    ProcessState.DIED: "yellow",
}


def _shown(seen: _Seen) -> Iterator[RenderableType]:
    names = ("Pid", "State", "Accepted", "Recorded", "Waiting", "Oldest", "Refused", "Breaker")
    grid = Grid(
        *(
            Column(name, no_wrap=True, justify="right" if name in _NUMBERS else "left")
            for name in (*names, "Updated")
        )
    )
    for one in seen.processes:
        is_paused = one.lives and one.stats.paused
        state = Text("paused" if is_paused else one.report.state, _STYLES[one.report.state])
        refused = sum(one.report.refused.values())
        cells = _cells(one.stats, one.waiting, one.oldest, refused)
        grid.add_row(str(one.report.pid), state, *cells, f"{ago(one.updated)} ago")
    total = _cells(seen.stats, seen.waiting, seen.oldest, seen.refused.total())
    grid.add_row("all", "", *total, "")
    yield grid
    yield from _remarks(seen)


def _cells(stats: Stats, waiting: int, oldest: float | None, refused: int) -> list[str | Text]:
    is_closed = stats.breaker is BreakerState.CLOSED
    return [
        count(stats.accepted),
        count(stats.recorded),
        count(waiting),
        "-" if oldest is None else ago(oldest),
        count(refused),
        Text(stats.breaker.value, "" if is_closed else "bold red"),
    ]


def _remarks(seen: _Seen) -> Iterator[RenderableType]:
    if seen.refused:
        yield Text("")
        numbers = ("Events", "Sent again since, and recorded")[: 2 if seen.sent_again else 1]
        columns = [Column(name, justify="right") for name in numbers]
        grid = Grid(Column("Refused because", no_wrap=True), *columns)
        for code, number in seen.refused.most_common():
            cells = [count(number), count(seen.sent_again[code])]
            grid.add_row(code, *cells[: len(columns)])
        yield grid
        if seen.still_refused:
            command = f"alhena dead-letters list {clean(str(seen.directory), limit=1000)}"
            yield Text(f"To see and to send again: {command}", no_wrap=True, overflow="ignore")
    if (seen.oldest_alive or 0.0) > _LONG:
        yield Text("")
        yield Text(
            f"The oldest event of a process that lives has waited {ago(seen.oldest_alive or 0.0)}: "
            "alhena doctor says what is in its way, and the service's log since when",
            "yellow",
        )
    if seen.left:
        oldest = "" if seen.oldest_left is None else f", the oldest {ago(seen.oldest_left)} old"
        yield Text("")
        yield Text(
            f"{plural(seen.left, 'event')} left by processes that are gone{oldest}: the next "
            "client that starts with this directory delivers them, or alhena journal deliver",
            "yellow",
        )
    for problem in seen.problems:
        yield Text(clean(problem, limit=1000), "red")
