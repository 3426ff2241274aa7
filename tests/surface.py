"""The public surface as text: `python -m tests.surface` writes it down anew.

A change of it is a change for users: it shows in review, and `tests/unit/test_surface.py` fails
until it is written down.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import alhena_async

FILE = Path(__file__).parent / "surface.txt"


def surface() -> str:
    """Return every public module with its names, their signatures and defaults."""
    return "\n".join(line for module in _modules() for line in _of_module(module)) + "\n"


def _modules() -> Iterator[ModuleType]:
    found = pkgutil.walk_packages(alhena_async.__path__, "alhena_async.")
    names = [info.name for info in found if not any(p[0] == "_" for p in info.name.split("."))]
    for name in ("alhena_async", *sorted(names)):
        yield importlib.import_module(name)


def _of_module(module: ModuleType) -> Iterator[str]:
    yield f"# {module.__name__}"
    for name in sorted(getattr(module, "__all__", [])):
        yield from _of(name, getattr(module, name), module)
    yield ""


def _of(name: str, value: Any, module: ModuleType) -> Iterator[str]:
    home = getattr(value, "__module__", None)
    if inspect.isclass(value):
        if module is alhena_async and home and not home.startswith("alhena_async._"):
            yield f"{name}  from {home}"
        else:
            yield from _of_class(name, value)
    elif callable(value) and not isinstance(value, type):
        yield f"{_kind(value)}{name}{_signature(value)}"
    else:
        yield f"{name}: {type(value).__name__}"


def _of_class(name: str, kind: type) -> Iterator[str]:
    if issubclass(kind, enum.Enum):
        yield f"enum {name}: " + ", ".join(f"{one.name}={one.value!r}" for one in kind)
        return
    bases = ", ".join(base.__name__ for base in kind.__bases__ if base is not object)
    yield f"class {name}({bases}){_signature(kind, name='__init__')}"
    for member in sorted(dir(kind)):
        if member.startswith("_"):
            continue
        owner = next((base for base in kind.__mro__ if member in vars(base)), object)
        if not owner.__module__.startswith("alhena_async"):
            continue
        value = inspect.getattr_static(kind, member)
        if isinstance(value, property):
            yield f"    {member}: property"
        elif isinstance(value, classmethod | staticmethod):
            yield f"    {type(value).__name__} {member}{_signature(value.__func__)}"
        elif inspect.isfunction(value):
            yield f"    {_kind(value)}{member}{_signature(value)}"


def _kind(value: Any) -> str:
    if inspect.isasyncgenfunction(value):
        return "async generator "
    return "async " if inspect.iscoroutinefunction(value) else ""


def _signature(value: Any, name: str = "") -> str:
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return "(...)"
    parts = [
        parameter.replace(default=_Shown(parameter.default))
        if parameter.default is not parameter.empty
        else parameter
        for parameter in signature.parameters.values()
    ]
    returned = signature.return_annotation if not name else signature.empty
    return str(signature.replace(parameters=parts, return_annotation=returned))


class _Shown:
    """A default as it prints: without addresses, which differ in each run."""

    def __init__(self, value: object) -> None:
        self._text = repr(value)
        if " at 0x" in self._text:
            self._text = getattr(value, "__qualname__", type(value).__name__)

    def __repr__(self) -> str:
        return self._text


if __name__ == "__main__":
    FILE.write_text(surface())
    sys.stdout.write(f"{FILE}\n")
