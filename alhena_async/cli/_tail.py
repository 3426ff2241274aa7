"""`alhena tail`: outcomes as they come, of every process of a journal's directory."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from pathlib import Path
from typing import Final

import click

from alhena_async.cli._console import Screen
from alhena_async.cli._format import iso, plural
from alhena_async.cli._inspect import DIRECTORY, check_journal
from alhena_async.cli._options import CommandError
from alhena_async.cli._signals import run
from alhena_async.cli._threads import in_thread
from alhena_async.errors import JournalError
from alhena_async.journal import OutcomeReader, ToldOutcome, Watch, read_processes
from alhena_async.outcomes import OutcomeStatus

__all__ = ["tail"]

_PAUSE: Final = 0.25
"""Seconds between two looks."""


@click.command(short_help="Show outcomes as they come, of all processes.")
@DIRECTORY
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")
def tail(directory: Path, *, as_json: bool) -> None:
    """Show outcomes as they come, of every process with a journal in DIR, until Ctrl-C.

    Of an event its kind alone is shown: no fingerprint, no product, no order. Processes notice
    within two seconds that somebody watches, and stop with the last one who does; until then they
    write nothing of the kind. Where more comes than can be shown, it is said how much is missing.

    \b
    With --json, a line for each: at, pid, event (cart, checkout), outcome, code, attempts, and
    seconds from its acceptance to its end.

    \b
    Exit status:
      0    whoever read it has stopped
      2    DIR is no directory, holds no journal, or may not be written
      130  Ctrl-C (143: SIGTERM)

    \b
    Examples:
      alhena tail var/alhena
      alhena tail var/alhena --json | jq 'select(.outcome == "rejected")'
    """  # noqa: D301  click wants the character, not the escape
    screen = Screen()
    run(_follow(directory, screen, as_json=as_json))
    raise SystemExit(screen.exit_status)


async def _follow(directory: Path, screen: Screen, *, as_json: bool) -> None:
    watch, outcomes = _begun(directory)
    try:
        screen.note(f"Watching {directory}; Ctrl-C ends it")
        while not screen.is_gone:
            for told in await in_thread(partial(_some, outcomes)):
                _show(told, screen, as_json=as_json)
            if outcomes.lost:
                screen.note(f"({plural(outcomes.lost, 'outcome')} not shown)")
                outcomes.lost = 0
            await asyncio.sleep(_PAUSE)
    finally:
        watch.close()
        outcomes.close()


def _begun(directory: Path) -> tuple[Watch, OutcomeReader]:
    """Begin to watch.

    Raises:
        CommandError: Nothing can be watched there.
    """
    try:
        if not any(read_processes(directory)):
            check_journal(directory)
        outcomes = OutcomeReader(directory)  # first, so that nothing of what follows is passed over
        return Watch(directory), outcomes
    except JournalError as error:
        raise CommandError(str(error)) from None
    except OSError as error:
        raise CommandError(f"{directory} cannot be written: {error.strerror}") from None


def _some(outcomes: OutcomeReader) -> list[ToldOutcome]:
    return list(outcomes.poll())


_GOOD: Final = frozenset(
    {
        OutcomeStatus.RECORDED,
        OutcomeStatus.PUBLISHED,
        OutcomeStatus.DUPLICATE,
        OutcomeStatus.COALESCED,
    }
)

_USUAL: Final = frozenset({OutcomeStatus.UNATTRIBUTED, OutcomeStatus.KEPT})


def _show(told: ToldOutcome, screen: Screen, *, as_json: bool) -> None:
    if as_json:
        screen.write(json.dumps(_plain(told)))
        return
    attempts = plural(told.attempts, "attempt")
    style = "" if told.status in _GOOD else "dim" if told.status in _USUAL else "bold red"
    screen.tell(
        f"{iso(told.at)[11:19]}  {told.pid:>7}  {told.kind:8}  {told.status.value:12}  "
        f"{attempts:>11}  {told.seconds:8.3f} s  {told.code or ''}".rstrip(),
        style,
    )


def _plain(told: ToldOutcome) -> dict[str, object]:
    return {
        "at": iso(told.at),
        "pid": told.pid,
        "event": told.kind,
        "outcome": told.status,
        "code": told.code,
        "attempts": told.attempts,
        "seconds": told.seconds,
    }
