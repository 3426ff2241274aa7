"""The visitor script for npm: what a package of it holds, its types, and a page that imports it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tarfile
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from alhena_async import __version__
from alhena_async.browser import script_reply
from tests.chromium import needs_chromium
from tests.patience import PATIENCE

BROWSER, CHROMIUM, SESSION = needs_chromium
ROOT = Path(__file__).parents[2]
FOLDER = Path(str(files("alhena_async.browser")))
README = (FOLDER / "README.md").read_text()
TYPESCRIPT = "typescript@5.9.3"
STRICT = (
    *("--strict", "--noEmit", "--noUncheckedIndexedAccess", "--exactOptionalPropertyTypes"),
    *("--module", "nodenext", "--target", "es2020", "--lib", "es2020,dom"),
)
WIDGET = """window.gleenWidget = {
  getFingerprint: () => "fp-1", getFAQFingerprint: () => "faq-1", on() {} };"""
IMPORTED = """<!doctype html><link rel="icon" href="data:,"><button>Add</button>
<script type="importmap">{"imports": {"alhena-visitor": "/npm/alhena-visitor.js"}}</script>
<script>%s</script>
<script type="module" src="/main.js"></script>"""

needs_npm = pytest.mark.skipif(shutil.which("npm") is None, reason="no npm on this machine")


def npm(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run npm, without its questions to the registry that nobody asked for."""
    quiet = ("--no-audit", "--no-fund", "--no-update-notifier", "--loglevel", "error")
    return subprocess.run(
        ["npm", *command, *quiet],
        cwd=cwd, capture_output=True, text=True, timeout=PATIENCE * 4, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project into which the packed package is unpacked, as `npm install` does it."""
    project = tmp_path_factory.mktemp("project")
    packed = npm("pack", str(FOLDER), "--pack-destination", str(project), "--json", cwd=project)
    assert packed.returncode == 0, packed.stderr
    [archive] = project.glob("*.tgz")
    with tarfile.open(archive) as opened:
        opened.extractall(project / "unpacked", filter="data")
    modules = project / "node_modules"
    modules.mkdir()
    (project / "unpacked" / "package").rename(modules / "alhena-visitor")
    return project


@needs_npm
def test_npm_packs_the_script_its_types_and_nothing_of_python(project: Path) -> None:
    """The very bytes that a shop serves, under the version of the Python package."""
    package = project / "node_modules" / "alhena-visitor"
    assert {path.name for path in package.iterdir()} == {
        "README.md",
        "alhena-visitor.d.ts",
        "alhena-visitor.js",
        "package.json",
    }
    assert (package / "alhena-visitor.js").read_bytes() == script_reply("GET").body
    told = json.loads((package / "package.json").read_text())
    assert told["version"] == __version__
    assert told["private"] is True  # nobody publishes it by accident


@pytest.fixture(scope="module")
def tsc(project: Path) -> Path:
    """TypeScript's compiler; without it the test is skipped."""
    (project / "package.json").write_text("{}")
    package = project / "node_modules" / "alhena-visitor"
    kept = project / "kept"
    package.rename(kept)  # npm removes what it did not install
    try:
        installed = npm("install", "--ignore-scripts", TYPESCRIPT, cwd=project)
    except subprocess.TimeoutExpired:
        pytest.skip("TypeScript cannot be installed from npm here: no answer in time")
    finally:
        package.parent.mkdir(exist_ok=True)
        kept.rename(package)
    if installed.returncode:
        pytest.skip(f"TypeScript cannot be installed from npm here: {installed.stderr[:200]}")
    return project / "node_modules" / "typescript" / "bin" / "tsc"


@needs_npm
def test_the_types_take_what_is_right_and_nothing_else(project: Path, tsc: Path) -> None:
    """The sample and both files of the README; each line that expects an error has one."""
    blocks = re.findall(r"^```ts\n// (\S+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert [name for name, _ in blocks] == ["alhena-options.ts", "main.ts"]
    for name, block in blocks:
        (project / name).write_text(block)
    shutil.copy(ROOT / "tests" / "typing" / "visitor.ts", project)
    done = subprocess.run(
        ["node", str(tsc), *STRICT, "visitor.ts", "main.ts"],
        cwd=project, capture_output=True, text=True, timeout=PATIENCE * 4, check=False,
    )  # fmt: skip
    assert done.stdout == ""
    assert done.returncode == 0


def members(interface: str) -> set[str]:
    """The members that the types give an interface, those that are never there aside."""
    types = (FOLDER / "alhena-visitor.d.ts").read_text()
    found = re.search(rf"interface {interface} {{\n(.*?)^}}", types, re.MULTILINE | re.DOTALL)
    assert found
    named = re.findall(r"^  (?:readonly )?(\w+)\??[(:](?! undefined)", found[1], re.MULTILINE)
    return set(named)


@BROWSER
@CHROMIUM
@SESSION
async def test_the_types_name_what_the_script_offers_and_reads(browser: Any) -> None:
    """In a real browser: every member there is and no other; the options are the script's."""
    async with await browser.new_context() as context:
        page = await context.new_page()
        script = script_reply("GET").body.decode()
        await page.evaluate(script)
        offered = set(await page.evaluate("Object.keys(alhenaVisitor)"))
    assert offered == members("AlhenaVisitor")
    defaults = re.search(r"options = {(.*?)\.\.\.tag", script, re.DOTALL)
    assert defaults
    read = set(re.findall(r"(\w+):", defaults[1]))
    assert read == members("AlhenaVisitorOptions") == set(re.findall(r"options\.(\w+)", script))


@needs_npm
@BROWSER
@CHROMIUM
@SESSION
@pytest.mark.parametrize(("answer", "claim"), [("true", "fp-1:faq-1"), ("false", None)])
async def test_a_page_that_imports_the_package_heeds_options_imported_before_it(
    browser: Any, project: Path, answer: str, claim: str | None
) -> None:
    """As the README says it: a module of options first, in a real browser."""
    package = project / "node_modules" / "alhena-visitor"
    served = {
        "/": ("text/html", IMPORTED % WIDGET),
        "/main.js": ("text/javascript", 'import "./options.js";\nimport "alhena-visitor";'),
        "/options.js": (
            "text/javascript",
            f"window.alhenaVisitor = {{ consent: () => {answer} }};",
        ),
        "/npm/alhena-visitor.js": (
            "text/javascript",
            (package / "alhena-visitor.js").read_text(),
        ),
    }

    async def serve(route: Any) -> None:
        kind, text = served["/" + route.request.url.split("/", 3)[3]]
        await route.fulfill(content_type=kind, body=text)

    async with await browser.new_context() as context:
        await context.route("**/*", serve)
        page = await context.new_page()
        await page.goto("https://shop.example/")
        assert await page.evaluate("alhenaVisitor.ready") == claim
        kept = {one["name"]: one["value"] for one in await context.cookies()}
        assert kept == ({} if claim is None else {"alhena_visitor": claim})
