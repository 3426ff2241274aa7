"""The progress file: which lines are settled, so that an interrupted run can go on.

Lines of JSON, only ever appended. The first one ties it to an input and a destination; then, in
any order, `{"upto": N}` (lines up to N may have been sent) and one row per settled line; and at
the end of a complete run `{"complete": true}`. Each row is one `os.write` at the moment of
settlement: a killed process loses none. (A power cut may: nothing here waits for the disk.)
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import attrs

from alhena_async.cli._format import add
from alhena_async.cli._input import Identity

if sys.platform != "win32":  # where two runs at once are not told apart
    import fcntl

_VERSION: Final = 1

_MAGIC: Final = b'{"alhena_replay":'

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
            "size": self.input.size,
            "sha256": self.input.sha256,
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

    lines: LineSet = attrs.field(factory=LineSet)
    statuses: Counter[str] = attrs.field(factory=Counter)
    codes: Counter[str] = attrs.field(factory=Counter)
    revenue: dict[str, Decimal] = attrs.field(factory=dict)
    upto: int = 0
    """Lines up to this one may have been sent, those after it were not."""
    complete: bool = False

    def take(self, row: dict[str, Any]) -> None:
        """Take a row of the file into account.

        Raises:
            KeyError, ValueError, TypeError, ArithmeticError: It is none of ours.
        """
        if "line" in row:
            number, status = int(row["line"]), str(row["status"])
            if not 1 <= number <= _MAX_LINES or number in self.lines:
                raise ValueError("no such line, or one settled twice")
            if "value" in row:
                add(self.revenue, str(row["currency"]), Decimal(row["value"]))
            self.lines.add(number)
            self.statuses[status] += 1
            if "code" in row:
                self.codes[str(row["code"])] += 1
        elif "upto" in row:
            self.upto = max(self.upto, int(row["upto"]))
        else:
            self.complete = bool(row["complete"])


class ProgressFile:
    """A progress file, opened and locked.

    Args:
        path: Where it is or will be.
        key: What it belongs to.
        resume: Go on from it. False: begin anew.
        restart: Begin anew even where there was a run, interrupted or complete.

    Raises:
        ProgressError: It belongs to another input or destination, is damaged, is in use, or would
            be overwritten although nobody said so.
        OSError: It cannot be read or written.
    """

    def __init__(
        self, path: Path, key: RunKey, *, resume: bool = False, restart: bool = False
    ) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            self._check_regular()
            self._lock()
            self.earlier = self._begin(key, resume=resume, restart=restart)
        except BaseException:
            os.close(self._descriptor)
            raise
        self._upto = self.earlier.upto

    def sending(self, number: int) -> None:
        """Say, before a line is handed over, that it may be sent from now on.

        Raises:
            OSError: The disk refused.
        """
        if number > self._upto:
            self._upto = number + _AHEAD - 1
            self._append({"upto": self._upto})

    def settled(
        self,
        number: int,
        status: str,
        *,
        code: str | None = None,
        value: Decimal | None = None,
        currency: str | None = None,
    ) -> None:
        """Note how a line ended; it will not be sent again.

        Args:
            number: The line's number.
            status: The outcome's.
            code: The API's, if it gave one.
            value: The amount recorded, for a recorded checkout.
            currency: Its currency.

        Raises:
            OSError: The disk refused.
        """
        row: dict[str, Any] = {"line": number, "status": status}
        if code is not None:
            row["code"] = code
        if value is not None:
            row |= {"value": str(value), "currency": currency}
        self._append(row)

    def complete(self) -> None:
        """Note that every line is settled or rejected.

        Raises:
            OSError: The disk refused.
        """
        self._append({"complete": True})

    def close(self) -> None:
        """Close the file and release its lock. Idempotent."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _append(self, row: dict[str, Any]) -> None:
        data = _encoded(row)
        if os.write(self._descriptor, data) != len(data):
            raise OSError(f"{self.path}: the disk took only part of a row")

    def _check_regular(self) -> None:
        if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            raise ProgressError(f"{self.path} is no regular file: give another --progress")

    def _lock(self) -> None:
        if sys.platform != "win32":
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ProgressError(f"{self.path} is in use by another replay") from None

    def _begin(self, key: RunKey, *, resume: bool, restart: bool) -> Earlier:
        size = os.fstat(self._descriptor).st_size
        self._check_ours()
        if size and not restart:
            if resume:
                return self._resumed(key)
            if self._loaded()[1].complete:
                raise ProgressError(
                    f"{self.path} is of a run that was completed: --restart sends it all again"
                )
            raise ProgressError(
                f"{self.path} is of a run that was interrupted: --resume goes on from there, "
                "--restart forgets it"
            )
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self._append(key.header())
        return Earlier()

    def _check_ours(self) -> None:
        """Refuse a file that something else has written: --restart must not wipe it out."""
        head = os.read(self._descriptor, len(_MAGIC))
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        if not _MAGIC.startswith(head):
            raise ProgressError(f"{self.path} is no progress file: give another --progress")

    def _resumed(self, key: RunKey) -> Earlier:
        header, earlier, end = self._loaded()
        # The last row may be torn: what follows must begin on a line of its own.
        os.ftruncate(self._descriptor, end)
        os.lseek(self._descriptor, 0, os.SEEK_END)
        if not header:  # not even the first row was whole: nothing had been sent
            self._append(key.header())
            return earlier
        for fields, what in _DIFFERENCES:
            if any(header.get(field) != key.header()[field] for field in fields):
                raise ProgressError(
                    f"{self.path} belongs to another {what}: give the right one, or "
                    "another --progress, or --restart to forget what it holds"
                )
        earlier.complete = False
        return earlier

    def _loaded(self) -> tuple[dict[str, Any], Earlier, int]:
        """Read the file: its header (empty: there is none yet), its rows, its end."""
        header: dict[str, Any] = {}
        earlier = Earlier()
        end = 0
        with open(self._descriptor, "rb", closefd=False) as file:
            file.seek(0)
            for number, raw in enumerate(file, 1):
                if not raw.endswith(b"\n"):
                    break
                try:
                    row = json.loads(raw)
                    if number == 1:
                        header = _checked_header(row)
                    else:
                        earlier.take(row)
                except (KeyError, ValueError, TypeError, ArithmeticError, RecursionError):
                    raise ProgressError(
                        f"{self.path} is damaged in line {number}: --restart begins anew"
                    ) from None
                end += len(raw)
        return header, earlier, end


_DIFFERENCES: Final = (
    (("alhena_replay",), "version of this command"),
    (("size", "sha256"), "input"),
    (("destination",), "destination"),
    (("company_key",), "company key"),
)


def _checked_header(row: Any) -> dict[str, Any]:
    if not isinstance(row, dict) or "alhena_replay" not in row:
        raise ValueError("no header")
    return row


def _encoded(row: dict[str, Any]) -> bytes:
    return json.dumps(row, separators=(",", ":")).encode() + b"\n"
