"""The file of lines that are no events: which, why, and what they held. For its owner alone."""

from __future__ import annotations

import base64
import json
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from alhena_async.cli._files import private_file
from alhena_async.cli._input import stem_of
from alhena_async.cli._lines import Reject

_MAGIC: Final = b'{"line":'


class NoRejectsFileError(Exception):
    """Something else stands where the rejects are to go; the message says so."""


def default_rejects_path(file: str) -> Path:
    """Where the rejects of an input go unless it is said: `NAME.rejects.jsonl`."""
    return Path(f"{stem_of(file)}.rejects.jsonl")


def row_of(reject: Reject) -> bytes:
    """Return a reject as a line of JSON: `line`, `reason`, and `text` or else `base64`. Pure.

    ASCII only: a terminal that shows the file is not steered by what is in it.
    """
    row: dict[str, Any] = {"line": reject.number, "reason": reject.reason}
    try:
        row["text"] = reject.raw.decode()
    except UnicodeDecodeError:
        row["base64"] = base64.b64encode(reject.raw).decode()
    if reject.cut:
        row["cut"] = True
    return json.dumps(row, separators=(",", ":")).encode() + b"\n"


class RejectsFile:
    """Takes rejects in the order of their lines. Each run replaces the file.

    Entered, it removes the file of an earlier run; the new one appears with the first reject.

    Args:
        path: Where to.

    Raises:
        NoRejectsFileError: The file that stands there holds something else.
        OSError: The file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        _check(path)
        self._file: Any = None

    def __enter__(self) -> Self:
        if self.path.is_file():
            self.path.unlink()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            with suppress(OSError):  # `write` has told of it
                self._file.close()

    def write(self, reject: Reject) -> None:
        """Add a reject, and hand it to the operating system.

        Raises:
            OSError: The disk refused.
        """
        if self._file is None:
            self._file = os.fdopen(_opened(self.path), "wb")
        self._file.write(row_of(reject))
        self._file.flush()


def _check(path: Path) -> None:
    """Find out whether the file may be written, and leave its content as it is."""
    was_there = os.path.lexists(path)
    os.close(_opened(path))
    if not was_there:
        path.unlink()


def _opened(path: Path) -> int:
    try:
        return private_file(path, _MAGIC, regular=False)
    except ValueError as error:
        raise NoRejectsFileError(f"{error}: give another --rejects") from None
