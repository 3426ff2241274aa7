"""The progress file: which lines are settled, so that an interrupted run can go on.

Lines of JSON, only ever appended. The first one ties it to an input and a destination; then, in
any order, `{"upto": N}` (lines up to N may have been sent), one row per settled line, and
`{"size": N, "sha256": …}` where a run goes on with an input that has grown; and at the end of a
complete run `{"complete": true}`. Each row is one `os.write` at the moment of settlement: a killed
process loses none. (A power cut may: nothing here waits for the disk.)
"""

from __future__ import annotations

import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import attrs

from alhena_async.cli._files import private_file
from alhena_async.cli._input import STDIN, Identity, stem_of
from alhena_async.cli._lines import Worth
from alhena_async.cli._tally import Ending, Tally

try:
    import fcntl
except ImportError:  # Windows, where two runs at once are not told apart
    fcntl = None  # type: ignore[assignment]

_VERSION: Final = 2

_MAGIC: Final = b'{"alhena_replay":'

_HEADER: Final = ("alhena_replay", "size", "sha256", "destination", "company_key")

_AHEAD: Final = 32
"""Lines for which one `upto` row is written in advance."""

_MAX_LINES: Final = 1_000_000_000
"""A higher number is damage: it would take more memory than a run may."""


class ProgressError(Exception):
    """The progress file does not fit the run; the message says why and what to do."""


@attrs.frozen(kw_only=True)
class RunKey:
    """What an interrupted run and the run that goes on must have in common."""

    input: Identity
    destination: str
    company_key: str

    def header(self) -> dict[str, Any]:
        """Return the first row of the file."""
        return {
            "alhena_replay": _VERSION,
            **self.input.row(),
            "destination": self.destination,
            "company_key": self.company_key,
        }


class LineSet:
    """A set of line numbers: a bit each, so that ten million lines take little more than 1 MB."""

    def __init__(self) -> None:
        self._bits = bytearray()

    def __contains__(self, number: object) -> bool:
        if not isinstance(number, int):
            return False
        place = number >> 3
        return place < len(self._bits) and bool(self._bits[place] >> (number & 7) & 1)

    def add(self, number: int) -> None:
        """Put a number in."""
        place = number >> 3
        if place >= len(self._bits):
            self._bits.extend(bytes(place + 1 - len(self._bits)))
        self._bits[place] |= 1 << (number & 7)


@attrs.define(kw_only=True)
class Earlier:
    """What earlier runs have settled."""

    header: dict[str, Any] = attrs.field(factory=dict)
    """What they belong to, the input as the last of them found it; empty: none has begun."""
    lines: LineSet = attrs.field(factory=LineSet)
    tally: Tally = attrs.field(factory=Tally)
    complete: bool = False
    end: int = 0
    """Bytes up to the end of the last row that is whole."""

    def take(self, row: dict[str, Any]) -> None:
        """Take a row of the file into account.

        Raises:
            KeyError, ValueError, TypeError, ArithmeticError: It is none of ours.
        """
        if not self.header:
            self.header = {name: row[name] for name in _HEADER}
        elif "line" in row:
            number = int(row["line"])
            if not 1 <= number <= _MAX_LINES or number in self.lines:
                raise ValueError("no such line, or one settled twice")
            self.tally.take_earlier(_ending_of(row))
            self.lines.add(number)
        elif "upto" in row:
            self.tally.doubtful_upto = max(self.tally.doubtful_upto, int(row["upto"]))
        elif "size" in row:
            self.header |= {"size": row["size"], "sha256": row["sha256"]}
            self.complete = False
        else:
            self.complete = bool(row["complete"])


def default_progress_path(file: str) -> Path | None:
    """Where the progress of an input goes unless it is said: `NAME.progress.jsonl`.

    None for standard input, of which progress is kept only on request: one pipe is hardly told
    from another.
    """
    return None if file == STDIN else Path(f"{stem_of(file)}.progress.jsonl")


class ProgressFile:
    """A progress file, opened and locked. Only its owner can read it.

    Args:
        path: Where it is or will be.
        key: What it belongs to.
        resume: Go on from it. False: start over.
        restart: Start over even where there was a run, interrupted or complete.

    Raises:
        ProgressError: It belongs to another input or destination, is damaged, is in use, or would
            be overwritten although nobody said so.
        OSError: It cannot be read or written.
    """

    def __init__(
        self, path: Path, key: RunKey, *, resume: bool = False, restart: bool = False
    ) -> None:
        self.path = path
        self.forgotten = ""
        """Of what the complete run was that this one takes the place of; empty: of none."""
        self._key = key
        self._descriptor = _opened(path)
        try:
            self._lock()
            self.earlier = self._begin(resume=resume, restart=restart)
        except BaseException:
            os.close(self._descriptor)
            raise
        self._upto = self.earlier.tally.doubtful_upto

    def sending(self, number: int) -> None:
        """Say, before a line is handed over, that it may be sent from now on.

        Raises:
            OSError: The disk refused.
        """
        if number > self._upto:
            self._upto = number + _AHEAD - 1
            self._append({"upto": self._upto})

    def settled(self, number: int, ending: Ending) -> None:
        """Note how a line ended; it will not be sent again.

        Args:
            number: The line's number.
            ending: How its event ended.

        Raises:
            OSError: The disk refused.
        """
        self._append({"line": number, **_row_of(ending)})

    def complete(self, found: Identity) -> None:
        """Note that every line is settled or rejected.

        Args:
            found: The input as it was when all of it was read.

        Raises:
            OSError: The disk refused.
        """
        if found != self._key.input:
            self._append(found.row())
        self._append({"complete": True})

    def forget(self) -> None:
        """Remove the file of a run that has settled nothing: there is nothing to go on from."""
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file and release its lock. Idempotent."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _append(self, row: dict[str, Any]) -> None:
        data = json.dumps(row, separators=(",", ":")).encode() + b"\n"
        if os.write(self._descriptor, data) != len(data):
            raise OSError(f"{self.path}: the disk took only part of a row")

    def _lock(self) -> None:
        if fcntl is not None:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ProgressError(f"{self.path} is in use by another replay") from None

    def _begin(self, *, resume: bool, restart: bool) -> Earlier:
        earlier = Earlier() if restart else self._loaded()
        if earlier.header and not resume:
            self._check_replaceable(earlier)
        elif earlier.header:
            self._check_same(earlier)
            self._go_on(earlier)
            return earlier
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self._append(self._key.header())
        return Earlier(header=self._key.header())

    def _go_on(self, earlier: Earlier) -> None:
        # The last row may be torn: what follows must begin on a line of its own.
        os.ftruncate(self._descriptor, earlier.end)
        os.lseek(self._descriptor, 0, os.SEEK_END)
        if self._key.input.row() != _input_of(earlier.header).row():
            self._append(self._key.input.row())
        earlier.complete = False

    def _check_replaceable(self, earlier: Earlier) -> None:
        """Check that nothing is lost when this run takes the place of an earlier one."""
        other = self._difference(earlier.header)
        has_grown = self._key.input.has_grown_from(_input_of(earlier.header))
        if earlier.complete and other == "input":
            self.forgotten = f"another {other}"
        elif other:
            raise ProgressError(
                f"{self.path} is of another {other}: give another --progress, or --restart to "
                "forget what it holds"
            )
        elif earlier.complete and not has_grown:
            raise ProgressError(
                f"{self.path} is of a run that was completed: --restart sends it all again"
            )
        elif earlier.complete:
            raise ProgressError(
                f"{self.path} is of a run that was completed, and the input has grown since: "
                "--resume sends what is new, --restart sends it all again"
            )
        else:
            raise ProgressError(
                f"{self.path} is of a run that was interrupted: --resume goes on from there, "
                "--restart forgets it"
            )

    def _check_same(self, earlier: Earlier) -> None:
        if other := self._difference(earlier.header):
            raise ProgressError(
                f"{self.path} belongs to another {other}: give the right one, or "
                "another --progress, or --restart to forget what it holds"
            )

    def _difference(self, header: dict[str, Any]) -> str:
        """Return in what a file's run differs from this one; empty if it is the same."""
        now = self._key.header()
        if header["alhena_replay"] != _VERSION:
            return "version of this command"
        was = _input_of(header)
        if was != self._key.input and not self._key.input.has_grown_from(was):
            return "input"
        if header["destination"] != now["destination"]:
            return "destination"
        return "company key" if header["company_key"] != now["company_key"] else ""

    def _loaded(self) -> Earlier:
        earlier = Earlier()
        with open(self._descriptor, "rb", closefd=False) as file:
            file.seek(0)
            for number, raw in enumerate(file, 1):
                if not raw.endswith(b"\n"):
                    break
                try:
                    earlier.take(json.loads(raw))
                except (KeyError, ValueError, TypeError, ArithmeticError, RecursionError):
                    raise ProgressError(
                        f"{self.path} is damaged in line {number}: --restart starts over"
                    ) from None
                earlier.end += len(raw)
        return earlier


def _opened(path: Path) -> int:
    try:
        return private_file(path, _MAGIC)
    except ValueError as error:
        raise ProgressError(f"{error}: give another --progress") from None


def _input_of(header: dict[str, Any]) -> Identity:
    return Identity(size=header["size"], sha256=header["sha256"])


def _row_of(ending: Ending) -> dict[str, Any]:
    row: dict[str, Any] = {"status": ending.status}
    if ending.into is not None:
        row["into"] = ending.into
    if ending.code is not None:
        row["code"] = ending.code
    if ending.worth is not None:
        row |= {"value": str(ending.worth.value), "currency": ending.worth.currency}
    if ending.was_here:
        row["was_here"] = True
    return row


def _ending_of(row: dict[str, Any]) -> Ending:
    """Return the ending that a row tells of.

    Raises:
        KeyError, ValueError, TypeError, ArithmeticError: It is none of ours.
    """
    into, code = row.get("into"), row.get("code")
    worth = Worth(Decimal(row["value"]), str(row["currency"])) if "value" in row else None
    return Ending(
        status=str(row["status"]),
        into=None if into is None else str(into),
        code=None if code is None else str(code),
        worth=worth,
        was_here=bool(row.get("was_here", False)),
    )
