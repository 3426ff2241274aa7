"""Reads a Dockerfile, as far as ours goes: one instruction a line, JSON or a shell's text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

__all__ = ["Instruction", "instructions"]


class Instruction(NamedTuple):
    """One line."""

    name: str
    text: str

    @property
    def command(self) -> list[str]:
        """What is run, as arguments; a shell's text goes to a shell, as Docker does it."""
        _, bracket, rest = self.text.partition("[")
        if self.name in {"CMD", "ENTRYPOINT", "HEALTHCHECK"} and bracket:
            return [str(one) for one in json.loads(bracket + rest)]
        return ["/bin/sh", "-c", self.text]


def instructions(path: Path) -> list[Instruction]:
    """Return the instructions of a file, without its comments.

    Raises:
        ValueError: A line is none.
    """
    lines = [line.strip() for line in path.read_text().splitlines()]
    found = []
    for line in lines:
        if not line or line.startswith("#"):
            continue
        name, _, text = line.partition(" ")
        if name not in _KNOWN or not text or text.endswith("\\"):
            raise ValueError(f"not read here: {line}")
        found.append(Instruction(name, text))
    return found


_KNOWN = {"FROM", "COPY", "RUN", "USER", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"}
