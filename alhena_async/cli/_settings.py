"""`alhena settings`: what is in force in this environment, and from where."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Mapping
from typing import Any, Final

import attrs
import click
from rich.table import Column
from rich.text import Text

from alhena_async._config import arguments_from
from alhena_async._variables import (
    BROKER_VARIABLES,
    EMULATOR_VARIABLE,
    POLICIES,
    VARIABLES,
    Variable,
    variables_in,
)
from alhena_async.cli._console import Grid, Screen
from alhena_async.cli._format import clean
from alhena_async.cli._options import json_option

__all__ = ["Found", "look", "settings"]

_NAME: Final = re.compile(r"\bALHENA_[A-Z_]+\b")

_KNOWN: Final = {
    **{one.name: one for one in VARIABLES},
    **dict.fromkeys((*BROKER_VARIABLES, EMULATOR_VARIABLE)),
}


@attrs.frozen(kw_only=True)
class Found:
    """What an environment says."""

    arguments: Mapping[str, Any]
    """The client's, as far as they can be read."""
    variables: frozenset[str]
    """The names of those that are in force."""
    problems: tuple[str, ...]
    """What cannot be read, cannot work, or is read by nothing."""


def look(environ: Mapping[str, str]) -> Found:
    """Return what a client would be made of here, and all that is wrong, not only the first."""
    texts = {name: text for name, text in variables_in(environ).items() if name in _KNOWN}
    problems = [_unread(name) for name in sorted(environ) if _is_unknown(name)]
    while (problem := _problem_of(texts)) is not None:
        problems.append(problem)
        named = set(_NAME.findall(problem))
        texts = {name: text for name, text in texts.items() if named and name not in named}
    policies = {name: policy() for name, policy in POLICIES.items()}
    given = {one.argument: one.default for one in VARIABLES if one.owner is None}
    return Found(
        arguments={**given, **policies, **_arguments_of(texts)},
        variables=frozenset(texts),
        problems=tuple(problems),
    )


def _arguments_of(texts: Mapping[str, str]) -> dict[str, Any]:
    """Return a client's arguments; its key may well stand in the code."""
    key = texts.get("ALHENA_COMPANY_KEY")
    return arguments_from(texts, {} if key else {"company_key": None})


def _problem_of(texts: Mapping[str, str]) -> str | None:
    try:
        _arguments_of(texts)
    except ValueError as error:
        return str(error)
    return None


def _is_unknown(name: str) -> bool:
    return name.startswith("ALHENA_") and name not in _KNOWN


def _unread(name: str) -> str:
    near = difflib.get_close_matches(name, _KNOWN, 1, 0.8)
    hint = f": did you mean {near[0]}?" if near else ""
    return f"{name} is read by nothing{hint}"


@click.command(short_help="Say which settings are in force here, and from where.")
@json_option
def settings(*, as_json: bool) -> None:
    """Say what `AlhenaClient.from_env()` makes of this environment.

    Each setting with its value, and whether that is the default or a variable's. Arguments in the
    code come on top, and cannot be seen from here; a company key that stands there is no mistake.
    No .env file is read, here or anywhere. Passwords and the values of headers are masked.

    \b
    Exit status:
      0  all that is set is in force
      1  a variable ALHENA_... cannot be read, cannot work, or is read by nothing

    \b
    Examples:
      alhena settings
      ALHENA_MAX_IN_FLIGHT=8 alhena settings --json
    """  # noqa: D301  click wants the character, not the escape
    found = look(os.environ)
    screen = Screen()
    if as_json:
        screen.write(json.dumps(_plain(found), indent=2))
    else:
        screen.show(_grid(found))
        for problem in found.problems:
            screen.say(clean(problem), "red")
        screen.say("")
    raise SystemExit(screen.exit_status or int(bool(found.problems)))


def _plain(found: Found) -> dict[str, Any]:
    return {
        "settings": [
            {
                "name": one.name,
                "sets": one.sets,
                "value": one.shown(one.of(found.arguments)),
                "source": _source(one, found),
            }
            for one in VARIABLES
        ],
        "problems": list(found.problems),
    }


def _grid(found: Found) -> Grid:
    grid = Grid(Column("Variable", no_wrap=True), Column("Value"), Column("From", no_wrap=True))
    for one in VARIABLES:
        source = _source(one, found)
        style = "dim" if source == "default" else "bold"
        value = one.shown(one.of(found.arguments))
        said = _said(value) + (_NONE_STANDS_FOR.get(one.name, "") if value is None else "")
        grid.add_row(one.name, Text(clean(said), style), Text(clean(source), style))
    return grid


_NONE_STANDS_FOR: Final = {
    "ALHENA_LINGER": ": 0.5 s, or 0 before a broker",
    "ALHENA_CAPACITY_BYTES": ": 10,000 for each of capacity",
}
"""Where a setting without a value does not mean that there is nothing."""


def _source(variable: Variable, found: Found) -> str:
    return "environment" if variable.name in found.variables else "default"


def _said(value: Any) -> str:
    """Return a value as a variable would say it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)
