"""docs/hosts.md shows the programs that the tests run, and names every host of the table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.hosts.run import PAGE
from tests.hosts.table import HOSTS

EXAMPLES = Path(__file__).parents[2] / "examples" / "hosts"
WORKERS = EXAMPLES.parent / "workers"


def test_every_program_stands_there_as_it_is_run() -> None:
    """Copied from the page, it is the file that the tests run, but for its first line."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    programs = {
        path.name: re.sub(r'^""".*?"""\n\n', "", path.read_text()) for path in EXAMPLES.glob("*.py")
    }
    assert programs
    assert {name for name, text in programs.items() if text not in blocks} == set()


@pytest.mark.parametrize("program", sorted(EXAMPLES.glob("*.py")), ids=lambda one: one.stem)
def test_every_program_is_run_by_the_lines_above_it(program: Path) -> None:
    """Who has the page alone saves it as `shop.py`: no line needs a file of the repository."""
    text = program.read_text().partition('"""\n\n')[2]
    above = PAGE.read_text().partition(text)[0].rpartition("\n### ")[2]
    [lines] = re.findall(r"^```console\n(.*?)^```", above, re.MULTILINE | re.DOTALL)
    installed, run = lines.splitlines()
    assert installed.startswith("$ pip install ")
    module = f"examples.hosts.{program.stem}"
    started = [word for host in HOSTS.values() for word in host.command if word.startswith(module)]
    names = {word.replace(module, "shop") for word in started}
    assert any(f" {name}" in run for name in names or {"shop"}), run
    assert "examples." not in run


def test_the_workers_page_shows_the_programs_that_the_tests_run() -> None:
    """Whole, but for their first lines."""
    page = (PAGE.parent / "workers.md").read_text()
    for path in WORKERS.glob("*.py"):
        program = path.read_text().partition("from __future__ import annotations\n\n")[2]
        assert f"`{path.name}`:\n\n```python\n{program}```" in page


def test_every_host_has_its_row() -> None:
    """As `make hosts` has written it."""
    rows = re.findall(r"^\| ([^|]+) \|", PAGE.read_text(), re.MULTILINE)
    assert set(HOSTS) <= set(rows)


def test_the_table_says_that_nothing_was_lost() -> None:
    """In every row as many were recorded as accepted."""
    [table] = re.findall(r"<!-- make hosts -->\n(.*?)<!-- end -->", PAGE.read_text(), re.DOTALL)
    for row in table.splitlines()[4:]:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[3] == cells[4], row
        assert cells[6] == cells[7], row
