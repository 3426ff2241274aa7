"""How a visitor is forgotten while processes run: a request in the directory, and their answers.

    forget-5e6f7a8b.request              whom, as salted digests: it holds nothing of a person
    forget-5e6f7a8b.4711-1a2b3c4d.done   what process 4711 did about it

Each process with a client looks for requests every few seconds, forgets what it has in memory and
in its own files, and answers. Whoever asked removes all of it in the end.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Self

import attrs

from alhena_async.events import Event
from alhena_async.journal._event_file import EventFile
from alhena_async.journal._locks import SAFE, read_object
from alhena_async.journal._rows import event_of

__all__ = ["Answer", "ForgetRequest", "Whom", "is_of", "requests_in", "rows_of"]

_REQUEST: Final = re.compile(r"forget-([0-9a-f]{8})\.request")

_MAX_BYTES: Final = 4_096

_ROWS_PER_READ: Final = 512


@attrs.frozen
class Whom:
    """Who is to be forgotten, told from all others without saying who it is."""

    salt: str
    digests: frozenset[str]
    """Of both fingerprints: an event with either is this visitor's."""

    @classmethod
    def of(cls, *fingerprints: str) -> Self:
        """Return what tells a visitor with any of these."""
        salt = os.urandom(16).hex()
        return cls(salt, frozenset(_digest(salt, one) for one in fingerprints))

    def is_one_of(self, *fingerprints: str) -> bool:
        """Return whether any of these is the visitor's."""
        return any(_digest(self.salt, one) in self.digests for one in fingerprints)

    def has(self, event: Event) -> bool:
        """Return whether an event is the visitor's."""
        return self.is_one_of(event.visitor.fingerprint, event.visitor.faq_fingerprint)


def _digest(salt: str, fingerprint: str) -> str:
    return hashlib.sha256((salt + fingerprint).encode("utf-8", "surrogatepass")).hexdigest()


@attrs.frozen(kw_only=True)
class Answer:
    """What a process did about a request."""

    dropped: int
    """Events that waited, in memory or on disk."""
    on_wire: int
    """Events whose request was out when it looked: the API may have them."""


@attrs.frozen
class ForgetRequest:
    """A request, where it stands."""

    path: Path
    whom: Whom

    @classmethod
    def make(cls, directory: Path, whom: Whom) -> Self:
        """Put a request into a directory.

        Raises:
            OSError: It cannot be written.
        """
        path = directory / f"forget-{os.urandom(4).hex()}.request"
        _write(path, {"salt": whom.salt, "digests": sorted(whom.digests)})
        return cls(path, whom)

    def answer(self, name: str, answer: Answer) -> None:
        """Say that a process is done with it.

        Args:
            name: The process's.
            answer: What it did.

        Raises:
            OSError: It cannot be written.
        """
        with contextlib.suppress(FileExistsError):
            _write(self._answer_path(name), attrs.asdict(answer))

    def answer_of(self, name: str) -> Answer | None:
        """Return what a process did; None if it is not done."""
        said = read_object(self._answer_path(name), _MAX_BYTES)
        try:
            return Answer(dropped=int(said["dropped"]), on_wire=int(said["on_wire"]))
        except (KeyError, TypeError, ValueError):
            return None

    def _answer_path(self, name: str) -> Path:
        return self.path.with_name(f"{self.path.stem}.{name}.done")

    def withdraw(self) -> None:
        """Remove it, and its answers."""
        for path in (self.path, *self.path.parent.glob(f"{self.path.stem}.*.done")):
            with contextlib.suppress(OSError):
                path.unlink()


def requests_in(directory: Path) -> Iterator[ForgetRequest]:
    """Go through the requests of a directory, which may be gone by now."""
    names: list[str] = []
    with contextlib.suppress(OSError):
        names = sorted(os.listdir(directory))  # noqa: PTH208  names alone: it is asked often
    for name in names:
        if _REQUEST.fullmatch(name):
            said = read_object(directory / name, _MAX_BYTES)
            with contextlib.suppress(KeyError, TypeError, ValueError):
                whom = Whom(str(said["salt"]), frozenset(map(str, said["digests"])))
                yield ForgetRequest(directory / name, whom)


def _write(path: Path, said: dict[str, Any]) -> None:
    """Make a file that is whole as soon as it has its name."""
    beside = path.with_suffix(".new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | SAFE, 0o600)
    try:
        os.write(descriptor, json.dumps(said).encode())
        if os.geteuid() == 0:  # so that those whose directory it is can read it
            owner = path.parent.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
    finally:
        os.close(descriptor)
    beside.rename(path)


def rows_of(file: EventFile, whom: Whom, needles: Sequence[str] = ()) -> list[int]:
    """Return the ids of a visitor's rows in a file.

    Args:
        file: Open.
        whom: Whose.
        needles: What a row that is no event holds if it is the visitor's.

    Raises:
        sqlite3.Error: The file cannot be read.
    """
    found, after = list[int](), 0
    while rows := file.read(after=after, limit=_ROWS_PER_READ):
        found += [row[0] for row in rows if is_of(row[7], whom, needles)]
        after = rows[-1][0]
    return found


def is_of(body: object, whom: Whom, needles: Sequence[str] = ()) -> bool:
    """Return whether a stored form is an event of the visitor, or nonsense that names it."""
    if not isinstance(body, str):
        return False
    try:
        return whom.has(event_of(body))
    except ValueError:
        return any(needle in body for needle in needles)
