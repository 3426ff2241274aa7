"""`python -m alhena_async docs [PAGE]` prints the documentation; all else is the command `alhena`.

The pages lie in the wheel beside the package's modules, in a checkout where they are written.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from alhena_async.cli import main

_PACKAGE: Final = Path(__file__).parent
_COMMANDS: Final = "commands"


class NoSuchPageError(LookupError):
    """There is no page of that name; the message says which are near."""


def run(arguments: Sequence[str]) -> None:
    """Run as the arguments say, and exit with a status.

    Raises:
        SystemExit: Always.
    """
    if arguments[:1] == ["docs"]:
        raise SystemExit(print_pages(arguments[1:]))
    main()


def print_pages(names: Sequence[str]) -> int:
    """Print the pages of these names, or the list of all; return the exit status."""
    try:
        for name in names or ["llms.txt"]:
            sys.stdout.write(read_page(name))
    except NoSuchPageError as error:
        sys.stderr.write(f"{error}\nThe list of pages: python -m alhena_async docs\n")
        return 2
    return 0


def read_page(name: str) -> str:
    """Return a page's text by its name: `journal`, `internals/relay.md`, `llms.txt`.

    Raises:
        NoSuchPageError: There is none.
    """
    if name.removesuffix(".md") == _COMMANDS:
        return _commands()
    pages = _pages()
    found = pages.get(name.removesuffix(".md"))
    if found is None:
        near = difflib.get_close_matches(name, [*pages, _COMMANDS])
        hint = f"; perhaps {' or '.join(near)}" if near else ""
        raise NoSuchPageError(f"there is no page {name!r}{hint}")
    return found.read_text(encoding="utf-8")


def _pages() -> dict[str, Path]:
    """Return each page's file by its name; what is made from the commands aside."""
    installed = _PACKAGE / "pages"
    folder = installed if installed.is_dir() else _PACKAGE.parent / "docs"
    files = [folder / "llms.txt", *sorted(folder.rglob("*.md"))]
    return {one.relative_to(folder).as_posix().removesuffix(".md"): one for one in files}


def _commands() -> str:
    try:
        from alhena_async.cli._reference import commands_page  # noqa: PLC0415  needs an extra
    except ModuleNotFoundError as error:
        raise NoSuchPageError(
            f"the page of the commands is made from them, and {error.name} is not installed: "
            "pip install 'alhena-async[cli]'"
        ) from None
    return commands_page()


if __name__ == "__main__":
    run(sys.argv[1:])
