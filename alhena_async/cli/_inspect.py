"""`alhena journal inspect`: what waits, how old, in which files. Looks, and changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
from rich.console import RenderableType
from rich.table import Column
from rich.text import Text

from alhena_async.cli._console import Grid, Screen
from alhena_async.cli._format import ago, clean, count, iso, plural
from alhena_async.cli._options import CommandError, JournalDirectory, json_option
from alhena_async.cli._summary import facts, spaced
from alhena_async.errors import JournalError
from alhena_async.journal import (
    FileReport,
    JournalReport,
    holds_journal,
    inspect_journal,
    read_processes,
)

__all__ = ["journal"]

DIRECTORY = click.argument("directory", metavar="DIR", type=JournalDirectory())


@click.group(short_help="Look into a journal's directory, or deliver what is left in it.")
def journal() -> None:
    """Look into a journal's directory, or deliver what is left in it."""


@journal.command(short_help="Say what waits, how old, in which files.")
@DIRECTORY
@json_option
def inspect(directory: Path, *, as_json: bool) -> None:
    """Say what waits in a journal's directory, how old it is, and in which files.

    It only looks, also while processes work on the directory.

    \b
    Exit status:
      0  all is readable
      1  a file cannot be read, or was set aside as damaged
      2  DIR is no directory, holds no journal, or may not be read
    """  # noqa: D301  click wants the character, not the escape
    try:
        check_journal(directory)
        found = inspect_journal(directory)
    except JournalError as error:
        raise CommandError(str(error)) from None
    screen = Screen()
    if as_json:
        screen.write(json.dumps(_plain(found), indent=2))
    else:
        screen.show(*_shown(found))
        screen.say("")
    problems = [found.dead_letters_problem, *(one.problem for one in found.files)]
    bad = bool(found.damaged or any(problems))
    raise SystemExit(screen.exit_status or int(bad))


def check_journal(directory: Path) -> None:
    """Refuse a directory in which nothing of a journal is.

    Raises:
        CommandError: Nothing is.
        JournalError: It is no directory, or cannot be read.
    """
    if not (holds_journal(directory) or read_processes(directory)[0]):
        raise CommandError(
            f"{directory} is no journal directory: nothing of a journal is in it (one that was "
            "closed with nothing left is empty)"
        )


def _plain(found: JournalReport) -> dict[str, Any]:
    return {
        "directory": str(found.directory),
        "files": [_plain_file(one) for one in found.files],
        "damaged": [str(path) for path in found.damaged],
        "dead_letters": [
            {"status": status, "code": code, "count": number}
            for (status, code), number in found.dead_letters.most_common()
        ],
        "dead_letters_problem": found.dead_letters_problem,
    }


def _plain_file(one: FileReport) -> dict[str, Any]:
    return {
        "path": str(one.path),
        "held": one.is_held,
        "pid": one.pid,
        "destination": one.destination,
        "begun": None if one.begun is None else iso(one.begun),
        "carts": one.carts,
        "checkouts": one.checkouts,
        "oldest_age": None if one.oldest_age is None else round(one.oldest_age, 3),
        "bytes": one.bytes,
        "problem": one.problem,
    }


def _shown(found: JournalReport) -> Iterator[RenderableType]:
    carts = sum(one.carts for one in found.files)
    checkouts = sum(one.checkouts for one in found.files)
    ages = [one.oldest_age for one in found.files if one.oldest_age is not None]
    kinds = f"{plural(carts, 'cart event')}, {plural(checkouts, 'checkout')}"
    letters, problem = found.dead_letters, found.dead_letters_problem
    yield from spaced(
        [
            facts(
                [
                    ("Waiting", count(carts + checkouts), kinds if carts + checkouts else ""),
                    ("Oldest", ago(max(ages)) if ages else "-", ""),
                    ("Dead letters", count(letters.total()), problem or ""),
                    ("Damaged", count(len(found.damaged)), "set aside" if found.damaged else ""),
                ]
            ),
            *_files(found),
            *_letters(found),
            *_damaged(found),
        ]
    )


def _files(found: JournalReport) -> Iterator[RenderableType]:
    if not found.files:
        return
    grid = _grid("File", "State", "Pid", "Events", "Oldest", "Size", "Destination")
    for one in found.files:
        state = Text("unreadable", "bold red") if one.problem else _state(one)
        grid.add_row(
            one.path.name,
            state,
            "?" if one.pid is None else str(one.pid),
            "?" if one.problem else count(one.carts + one.checkouts),
            "-" if one.oldest_age is None else ago(one.oldest_age),
            _size(one.bytes),
            Text(clean(one.destination or "?")),
        )
    yield grid
    for one in found.files:
        if one.problem:
            yield Text(clean(one.problem, limit=1000), "red")


def _state(one: FileReport) -> Text:
    # An adopted file is held by the process that delivers it.
    return Text("in use", "green") if one.is_held else Text("left behind", "yellow")


def _letters(found: JournalReport) -> Iterator[RenderableType]:
    if not found.dead_letters:
        return
    grid = _grid("Dead letters", "Code", "Events")
    for (status, code), number in found.dead_letters.most_common():
        grid.add_row(Text(clean(status)), Text(clean(code or "-")), count(number))
    yield grid


def _damaged(found: JournalReport) -> Iterator[RenderableType]:
    if not found.damaged:
        return
    grid = _grid("Set aside as damaged")
    for path in found.damaged:
        grid.add_row(Text(clean(path.name)))
    yield grid


_NUMBERS: Final = frozenset({"Pid", "Events", "Oldest", "Size"})


def _grid(*names: str) -> Grid:
    return Grid(
        *(
            Column(name, no_wrap=True, justify="right" if name in _NUMBERS else "left")
            for name in names
        )
    )


def _size(number: int) -> str:
    if number < 1_000_000:
        return f"{number / 1_000:,.0f} kB"
    return f"{number / 1_000_000:,.1f} MB"
