"""The emulator reads the contract by itself."""

import ast
import sys
from pathlib import Path

import alhena_async.emulator

SOURCES = sorted(Path(alhena_async.emulator.__file__).parent.rglob("*.py"))
ALLOWED = {"aiohttp", "attrs", "alhena_async.emulator"}


def imported(source: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or ".")
    return names


def test_nothing_of_the_package_is_imported() -> None:
    """Client code is out of reach, and so are other libraries: no shared mistakes."""
    foreign = {
        f"{source.name}: {name}"
        for source in SOURCES
        for name in imported(source)
        if name.split(".")[0] not in sys.stdlib_module_names
        and not any(name == allowed or name.startswith(f"{allowed}.") for allowed in ALLOWED)
    }
    assert len(SOURCES) > 10
    assert foreign == set()


def test_what_is_promised_is_there() -> None:
    """Every public name can be imported."""
    for name in alhena_async.emulator.__all__:
        assert hasattr(alhena_async.emulator, name)
