"""Dead letters -> a file of events that `alhena replay` reads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alhena_async.cli.display import Screen
from alhena_async.cli.letters_view import ascii_json, form_of
from alhena_async.cli.moments import iso
from alhena_async.cli.options import CommandError
from alhena_async.cli.text import plural
from alhena_async.journal._letter import Letter

__all__ = ["export_letters", "line_of"]

_STDOUT = Path("-")


def export_letters(letters: Sequence[Letter], file: Path, screen: Screen, *, force: bool) -> str:
    """Write letters; return what is to be said of it.

    Args:
        letters: Which, in order.
        file: Where to; `-` is standard output.
        screen: Standard output.
        force: Replace a file that is there.

    Raises:
        CommandError: The file is there, or cannot be written.
    """
    lines = [line for line in map(line_of, letters) if line is not None]
    if file == _STDOUT:
        for line in lines:
            screen.write(line)
    else:
        _write(file, "".join(f"{line}\n" for line in lines).encode(), force=force)
    told = f"{plural(len(lines), 'dead letter')} written"
    if len(lines) < len(letters):
        told += f", {len(letters) - len(lines)} unreadable ones left out"
    keys = {letter.company_key for letter in letters}
    if len(keys) > 1:
        told += (
            f". They are of {len(keys)} company keys, and `alhena replay` sends under one: "
            "export each with --company-key"
        )
    return f"{told}."


def line_of(letter: Letter) -> str | None:
    """Return a letter as a line of a file of events; None if its event is unreadable. Pure."""
    form = form_of(letter)
    if form is None or letter.status == "unreadable":
        return None
    line: dict[str, Any] = {"ts": iso(letter.accepted), "kind": letter.kind, **form}
    if letter.order_id is not None:
        line["order_id"] = letter.order_id  # also an assigned one: the API knows it by that
    line["company_key"] = letter.company_key
    line["dead_letter"] = {"id": letter.id, "status": letter.status, "code": letter.code}
    return ascii_json(line)


def _write(path: Path, content: bytes, *, force: bool) -> None:
    # Never into what is there: it may be a link, or have other readers.
    try:
        if force:
            path.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)
            file.write(content)
    except FileExistsError:
        raise CommandError(f"{path} exists: give another name, or --force to replace it") from None
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}") from None
