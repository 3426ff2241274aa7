"""`docs/architecture.md` is true of the code: its files, its names, its tables of moves."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import alhena_async
from benchmarks import trace

PACKAGE = Path(alhena_async.__file__).parent
ROOT = PACKAGE.parent
TEXT = (ROOT / "docs" / "architecture.md").read_text()
PAGE = re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL)
PICTURE = re.search(r"```text\n(.*?)```", TEXT, flags=re.DOTALL)
MACHINES = re.findall(r"<!-- moves: (\S+) -->\n\n((?:\|.*\n)+)", PAGE)
FILE = re.compile(r"[\w./-]+\.(?:py|js|html|toml|md)")
NAME = re.compile(r"[A-Za-z_]\w*(?:\.\w+)*")
WORDS_OF_OTHERS = {"capacity", "before_send", "on_failure", "on_ready", "now", "reporting"}


def defined_in(source: Path) -> set[str]:
    """Return the names that a file defines, those of classes both alone and with their class."""
    names: set[str] = set()

    def visit(node: ast.AST, owner: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                names.update({child.name, owner + child.name})
                if isinstance(child, ast.ClassDef):
                    visit(child, f"{owner}{child.name}.")
            elif isinstance(child, ast.Assign | ast.AnnAssign):
                targets = child.targets if isinstance(child, ast.Assign) else [child.target]
                names.update(one.id for one in targets if isinstance(one, ast.Name))

    visit(ast.parse(source.read_text()), "")
    return names


DEFINED = {str(source.relative_to(PACKAGE)): defined_in(source) for source in PACKAGE.rglob("*.py")}
EVERYTHING = set().union(*DEFINED.values())


def paragraphs() -> Iterator[str]:
    """Yield each row of a table and each paragraph or item, on one line."""
    for block in re.split(r"\n\n|\n(?=\||\d+\. )", PAGE):
        yield " ".join(block.split())


def spans(paragraph: str) -> list[str]:
    """Return what stands between backticks."""
    return re.findall(r"`([^`]+)`", paragraph)


def test_every_file_on_the_page_exists() -> None:
    """In the package, or in the repository."""
    files = {one for part in paragraphs() for one in spans(part) if FILE.fullmatch(one)}
    assert len(files) > 70
    assert [
        one for one in sorted(files) if not any((at / one).is_file() for at in (PACKAGE, ROOT))
    ] == []


def test_every_name_on_the_page_is_defined_where_the_page_says() -> None:
    """In one of the files that its row or paragraph names; anywhere, if it names none."""
    unknown, known = [], 0
    for part in paragraphs():
        places = [DEFINED[one] for one in spans(part) if one in DEFINED]
        for name in spans(part):
            if not NAME.fullmatch(name) or FILE.fullmatch(name) or name in WORDS_OF_OTHERS:
                continue
            here = set().union(*places) if places else EVERYTHING
            known += 1
            if name not in here and not re.fullmatch(r"[0-9a-f]{7}|linger\.ms", name):
                unknown.append(f"{name}: {part[:80]}")
    assert unknown == [], f"docs/architecture.md names what is not there: {unknown}"
    assert known > 150


def test_a_file_that_a_row_opens_first_holds_what_to_look_for() -> None:
    """The first name of the third column stands in the file of the second."""
    rows = [part.split(" | ") for part in paragraphs() if part.startswith("| ")]
    for _, first, *rest in (row for row in rows if len(row) == 3):
        files, names = spans(first), spans(rest[0])
        if len(files) == 1 and files[0] in DEFINED and names and NAME.fullmatch(names[0]):
            assert names[0] in DEFINED[files[0]], (files[0], names[0])


def test_every_module_has_a_row_that_says_what_to_change_there() -> None:
    """Whoever adds a file says what it is for, in the words of who looks for it."""
    rows = TEXT[TEXT.index("## Where do I change") :].splitlines()
    named = {file for row in rows if row.startswith("| ") for file in spans(row)}
    assert sorted(name for name in DEFINED if not name.endswith("__init__.py")) == sorted(
        name for name in DEFINED if name in named and not name.endswith("__init__.py")
    )


@pytest.mark.parametrize(("module", "table"), MACHINES, ids=[module for module, _ in MACHINES])
def test_a_table_of_moves_is_the_codes(module: str, table: str) -> None:
    """In the order of the table in the code, and of the enum."""
    moves = importlib.import_module(module).MOVES
    rows = ["| from | to |\n", "|---|---|\n"]
    for state, after in moves.items():
        names = [f"`{one.name}`" for one in type(state) if one in after]
        rows.append(f"| `{state.name}` | {', '.join(names) or 'nowhere: the end'} |\n")
    assert table == "".join(rows), "put into docs/architecture.md:\n" + "".join(rows)


def test_every_state_machine_has_its_table() -> None:
    """Each module with `MOVES` stands on the page."""
    having = {
        "alhena_async." + name.removesuffix(".py").replace("/", ".")
        for name, names in DEFINED.items()
        if "MOVES" in names
    }
    assert {module for module, _ in MACHINES} == having


def test_every_module_of_the_core_is_in_the_picture_or_in_a_table() -> None:
    """A new file has to be put on the page."""
    assert PICTURE is not None
    for name in DEFINED:
        room, _, rest = name.rpartition("/")
        stem = rest.removesuffix(".py")
        if room in {"", "_delivery", "_queue", "_http", "_telemetry"} and stem not in {
            "__init__",
            "_version",
        }:
            assert re.search(rf"\b{stem}\b", PICTURE[1]), name
        elif room == "journal" and stem.startswith("_") and stem != "__init__":
            assert f"`{name}`" in PAGE, name


def test_the_ways_are_no_longer_than_the_page_says() -> None:
    """Files and climbs, as `python -m benchmarks.trace` counts them."""
    said = re.findall(
        r"^\| (.+?) \| *\d* *\| *\d* *\| (\d+) \| (\d+) \|$", PAGE, flags=re.MULTILINE
    )
    ways = trace.ways()
    assert len(said) == len(ways)
    for (way, passed, up), calls in zip(said, ways.values(), strict=True):
        assert len(trace.files(calls)) <= int(passed), way
        assert len(trace.climbs(calls)) <= int(up), way
