"""The command `alhena`: emulate the API, show a shop's day, replay a file of events.

It needs the extra `cli` (click and rich); the client itself does not.
"""

from __future__ import annotations

import os
import signal
import sys

__all__ = ["main"]

_MISSING = """\
The command `alhena` needs click and rich, and {name} is not installed. Install both with:

    pip install 'alhena-async[cli]'

The manual needs neither: python -m alhena_async docs
"""


def main() -> None:
    """Run the command `alhena` with the process's arguments, and exit with its status.

    Raises:
        SystemExit: Always; with status 2 and a hint what to install when click or rich is missing.
    """
    _fill_gaps()
    try:
        import click  # noqa: F401, PLC0415  only to tell a missing extra from a broken one
        import rich  # noqa: F401, PLC0415
    except ModuleNotFoundError as error:
        sys.stderr.write(_MISSING.format(name=error.name))
        raise SystemExit(2) from None
    try:
        from alhena_async.cli._commands import alhena  # noqa: PLC0415  the extra is there now
    except KeyboardInterrupt:  # a quick Ctrl-C finds the process still importing
        raise SystemExit(128 + signal.SIGINT) from None
    alhena(prog_name="alhena")


def _fill_gaps() -> None:
    """Put something on descriptors 0 to 2 that were closed (`>&-`): else sockets take them."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free one is taken, which is this one. Reading from it fails, as it should.
            os.open(os.devnull, os.O_WRONLY)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
