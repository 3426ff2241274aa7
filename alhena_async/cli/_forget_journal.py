"""`alhena forget DIR`: a person removed from a journal's directory, bytes included."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs

from alhena_async.cli._console import Screen
from alhena_async.cli._format import clean, plural
from alhena_async.cli._inspect import check_journal
from alhena_async.cli._options import CommandError
from alhena_async.errors import JournalError
from alhena_async.events import Visitor
from alhena_async.journal import Forgotten, forget_visitor

__all__ = ["forget_in_journal"]


def forget_in_journal(directory: Path, visitor: Visitor, timeout: float, *, as_json: bool) -> int:
    """Remove a visitor, tell of it, and return the exit status.

    Args:
        directory: The journal's.
        visitor: Whom.
        timeout: Seconds to wait for processes that are running.
        as_json: Tell programs, not people.

    Raises:
        CommandError: It is no journal's directory, or cannot be used.
    """
    try:
        check_journal(directory)
        found = forget_visitor(
            directory, visitor.fingerprint, visitor.faq_fingerprint, timeout=timeout
        )
    except JournalError as error:
        raise CommandError(str(error)) from None
    screen = Screen()
    if as_json:
        screen.write(json.dumps(_plain(found), indent=2))
    else:
        for sentence in _sentences(found):
            screen.say(sentence)
    return screen.exit_status or int(not found.is_complete)


def _plain(found: Forgotten) -> dict[str, Any]:
    said = {**attrs.asdict(found), "left": [str(path) for path in found.left]}
    return {"complete": found.is_complete, **said}


def _sentences(found: Forgotten) -> list[str]:
    events, letters = found.waiting, found.letters
    told = [f"Removed {plural(events, 'event')} that waited, and {plural(letters, 'dead letter')}."]
    if found.damaged:
        told.append(f"Overwrote {plural(found.damaged, 'place')} in damaged files.")
    if found.on_wire:
        told.append(f"{plural(found.on_wire, 'event')} on the wire just then: Alhena may have it.")
    told += [f"Process {pid} did not answer: stop it, and run this again." for pid in found.silent]
    told += [f"{clean(path.name)} still holds something of the visitor." for path in found.left]
    told += found.problems
    if found.is_complete:
        told.append("Nothing of the visitor is left there.")
    return told
