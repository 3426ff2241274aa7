"""docs/promises.md names tests and commands that are there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = [
    line
    for line in (ROOT / "docs" / "promises.md").read_text().splitlines()
    if line.startswith("| ") and "`" in line
]
TARGETS = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))


def proofs(row: str) -> list[str]:
    return re.findall(r"`((?:tests/|make )[^`]+)`", row)


@cache
def functions(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in tree.body if isinstance(node, kinds)}


def test_there_are_promises() -> None:
    """Else the others would pass on an empty page."""
    assert len(ROWS) > 25


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip()[:60])
def test_a_promise_has_what_would_fail(row: str) -> None:
    """A test by its name, or a command."""
    assert proofs(row), "nothing would fail"
    for proof in proofs(row):
        kind, _, name = proof.partition("::")
        if not name:
            assert kind.removeprefix("make ") in TARGETS, proof
            continue
        assert name in functions(kind), proof
