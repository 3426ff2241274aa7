"""The house's rules that a machine can check."""

import ast
import re
from functools import cache
from pathlib import Path

import grimp
import pytest

import alhena_async
from tests.bare import run_bare

PACKAGE = Path(alhena_async.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
ANNEXES = (
    "integrations",
    "browser",
    "relay",
    "outbox",
    "emulator",
    "cli",
    "testing",
    "journal",
    "sync",
)
CORE = [
    path
    for path in MODULES
    if path.relative_to(PACKAGE).parts[0].removesuffix(".py") not in ANNEXES
]


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def imports_of(path: Path) -> set[str]:
    """Top names of all that a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def calls_in(path: Path) -> set[str]:
    """Names of all that a module calls."""
    nodes = ast.walk(ast.parse(path.read_text()))
    called = [node.func for node in nodes if isinstance(node, ast.Call)]
    return {getattr(one, "attr", getattr(one, "id", "")) for one in called}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    """A docstring at its top."""
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_sqlite_is_the_journals_and_the_outboxs_alone() -> None:
    """No other module touches it."""
    users = {name_of(path) for path in MODULES if "sqlite3" in imports_of(path)}
    assert all(user.startswith(("journal", "outbox/_sqlite")) for user in users)


def test_tasks_are_made_in_one_place_of_the_core() -> None:
    """Every task has one owner."""
    makers = {"create_task", "ensure_future", "Task", "TaskGroup", "Thread", "run_in_executor"}
    assert {name_of(path) for path in CORE if calls_in(path) & makers} == {"_delivery/tasks.py"}


def test_only_the_transport_knows_the_http_library() -> None:
    """`policies` names its types, and nothing more."""
    users = {name_of(path) for path in CORE if "aiohttp" in imports_of(path)}
    assert users == {
        "_http/connections.py",
        "_http/exchange.py",
        "_http/transport.py",
        "policies.py",
    }


def test_no_chain_of_imports_is_long() -> None:
    """Twelve files in a row at most, from the client down; what only types need is left out."""
    graph = grimp.build_graph("alhena_async", exclude_type_checking_imports=True)
    annexes = tuple(f"alhena_async.{name}." for name in ANNEXES)
    core = {name for name in graph.modules if not f"{name}.".startswith(annexes)}
    core = core - {"alhena_async"} | {"alhena_async.journal", "alhena_async.journal.protocol"}

    @cache
    def longest_from(name: str) -> tuple[str, ...]:
        below = graph.find_modules_directly_imported_by(name) & core
        return (name, *max(map(longest_from, below), key=len, default=()))

    longest = max(map(longest_from, core), key=len)
    assert len(longest) <= 12, longest


def test_nothing_sleeps_or_waits_by_the_wall_clock() -> None:
    """The loop's clock is the engine's only one, but for dates in `Retry-After`."""
    for path in CORE:
        if name_of(path) != "_delivery/attempts.py":
            assert "time" not in imports_of(path), path


def test_importing_the_package_imports_no_annex_and_no_extra() -> None:
    """Not the emulator, not the command, nor what they need."""
    unwanted = [f"alhena_async.{name}" for name in ("browser", "cli", "emulator", "integrations")]
    unwanted += ["click", "fastapi", "rich", "sqlite3", "starlette", "uvloop"]
    code = (
        "import sys; sys.modules['orjson'] = None; import alhena_async; "
        f"print([name for name in {unwanted!r} if name in sys.modules])"
    )
    assert run_bare(code).strip() == "[]"


def test_all_names_exist_and_are_sorted() -> None:
    """What `__all__` promises is there."""
    assert sorted(alhena_async.__all__) == alhena_async.__all__
    assert all(hasattr(alhena_async, name) for name in alhena_async.__all__)


def test_there_is_a_marker_for_type_checkers() -> None:
    """`py.typed`, or all annotations are for nothing."""
    assert (PACKAGE / "py.typed").exists()


ROOT = PACKAGE.parent
TOLD = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    *(
        path
        for folder in ("alhena_async", "benchmarks", "examples", "tests")
        for path in (ROOT / folder).rglob("*.py")
    ),
]


def test_nobody_is_told_to_hide_errors() -> None:
    """`reporting` is the one way to keep errors out of a handler: it leaves a trace of each."""
    hides = re.compile(r"suppress" + r"\(\s*(\w+\.)*AlhenaError")
    assert [str(path) for path in TOLD if hides.search(path.read_text())] == []


PAGES = [path for path in TOLD if path.suffix == ".md"]
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://)(?P<path>[^)#]*)(?:#(?P<heading>[^)]*))?\)")


def headings_of(page: Path) -> set[str]:
    """What a link may name of a page: its headings as a forge spells them."""
    text = FENCED.sub("", page.read_text())
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head).lower().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_link_leads_nowhere(page: Path) -> None:
    """Each names a file that is there, and a heading in it."""
    for link in LINK.finditer(FENCED.sub("", page.read_text())):
        target = page.parent / link["path"] if link["path"] else page
        assert target.exists(), link[0]
        if link["heading"]:
            assert link["heading"] in headings_of(target), link[0]


LINES = re.compile(
    r"\b_log\.(?:(?:debug|info|warning|error|exception)\(|log\(\s*[^,]+,)(?P<text>\s*\S.{9})"
)


def test_every_line_of_the_log_says_whose_it_is() -> None:
    """Where a handler shows no logger's name, a line still begins with it."""
    for path in MODULES:
        for line in LINES.finditer(path.read_text()):
            assert line["text"].strip().startswith('"alhena: '), f"{name_of(path)}: {line[0]}"
