"""The list of pages has them all, as `python -m alhena_async docs` and `alhena --help` do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from alhena_async.__main__ import print_pages, read_page, run
from alhena_async.cli._commands import alhena
from alhena_async.cli._reference import commands_page

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
LISTED = re.compile(r"\]\(([^)#:]+\.md)\)")


def listed(page: Path) -> set[Path]:
    """Return the pages that one links to."""
    return {page.parent / name for name in LISTED.findall(page.read_text())}


def test_every_page_is_on_the_list() -> None:
    """`docs/llms.txt` is the site's navigation, and what a reader of the wheel finds pages by."""
    assert listed(DOCS / "llms.txt") == {
        page for page in PAGES if page.parent.name != "decisions"
    } | {DOCS / "decisions" / "README.md"}, "docs/llms.txt has to name each page, with a line on it"


def test_every_decision_is_on_their_list() -> None:
    """Their folder has its own."""
    folder = DOCS / "decisions"
    assert listed(folder / "README.md") >= set(folder.glob("[a-z]*.md"))


def test_the_list_and_each_page_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """By the names that the list has them under, with or without their ending."""
    assert print_pages([]) == 0
    names = re.findall(r"\]\((.+?)\)", capsys.readouterr().out)
    for name in names:
        assert print_pages([name]) == 0
        assert capsys.readouterr().out == (DOCS / name).read_text()
    assert read_page("journal") == read_page("journal.md")


def test_a_name_that_is_no_page_is_told_with_what_is_near(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On stderr, with status 2; never a traceback."""
    with pytest.raises(SystemExit) as ended:
        run(["docs", "jornal"])
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "perhaps journal" in said.err
    assert print_pages(["../pyproject"]) == 2


def commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        for below in command.commands.values():
            yield from commands(below, f"{name} {below.name}")


@pytest.mark.parametrize(("name", "command"), list(commands(alhena, "alhena")))
def test_every_command_and_option_is_on_the_page(name: str, command: click.Command) -> None:
    """None is missing, whoever adds it."""
    page = commands_page()
    section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    assert section or command.hidden
    for option in command.params:
        if isinstance(option, click.Option) and section and not option.hidden:
            assert option.opts[-1] in section
