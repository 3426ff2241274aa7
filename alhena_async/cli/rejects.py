"""The file of lines that are no events: which, why, and what they held."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from alhena_async.cli.records import Reject


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
    """Takes rejects in the order of their lines. A run writes its file anew.

    Args:
        path: Where to. The file appears with the first reject; one of an earlier run goes.

    Raises:
        OSError: The file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.is_file():
            path.unlink()
        self._file: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, reject: Reject) -> None:
        """Add a reject.

        Raises:
            OSError: The disk refused.
        """
        if self._file is None:
            self._file = self.path.open("wb")
        self._file.write(row_of(reject))

    def flush(self) -> None:
        """Hand what was written to the operating system.

        Raises:
            OSError: The disk refused.
        """
        if self._file is not None:
            self._file.flush()
