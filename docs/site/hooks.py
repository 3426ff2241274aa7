"""What the site has beyond the pages in `docs`: navigation, reference, files outside `docs`.

Pages, README and code link to each other as files of the repository, so that they can be read
there. The site knows no repository: what a page links to outside `docs` becomes a page of the
site itself, below `repository/`.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

import alhena_async
from alhena_async.cli._reference import commands_page

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
INDEX = DOCS / "llms.txt"
COMMANDS = "commands.md"
PICTURES = {".png", ".svg"}
KINDS = {
    ".py": "python",
    ".toml": "toml",
    ".json": "json",
    ".html": "html",
    ".js": "js",
    ".yaml": "yaml",
}
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#|/)([^)\s#]+)")
FENCE = re.compile(r"^(```+).*?^\1", re.MULTILINE | re.DOTALL)


def on_config(config: Any) -> Any:
    """Take the navigation from `llms.txt`, and add what is generated."""
    nav: list[dict[str, Any]] = []
    for line in INDEX.read_text().splitlines():
        if line.startswith("## "):
            nav.append({line[3:]: []})
        elif found := re.match(r"- \[(.+?)\]\((.+?)\)", line):
            next(iter(nav[-1].values())).append({found[1]: found[2]})
    [internals] = nav.pop().values()
    decisions = [f"decisions/{one.name}" for one in sorted((DOCS / "decisions").glob("[a-z]*.md"))]
    modules = [
        {name.removeprefix("alhena_async."): reference_uri(name)} for name in public_modules()
    ]
    reference = [{"Commands": COMMANDS}, {"API": ["reference/index.md", *modules]}]
    [at] = [n for n, one in enumerate(internals) if "Decisions" in one]
    internals[at] = {"Decisions": [*internals[at].values(), *decisions]}
    config["nav"] = [*nav, {"Reference": reference}, {"Internals": internals}]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the reference, and what pages link to outside `docs`."""
    added = {COMMANDS: commands_page(), "reference/index.md": names_page()}
    added |= {reference_uri(name): f"# `{name}`\n\n::: {name}\n" for name in public_modules()}
    for uri, content in added.items():
        files.append(File.generated(config, uri, content=content))
    for path in outside():
        if path.suffix in PICTURES:
            files.append(File.generated(config, uri_of(path), abs_src_path=str(path)))
        else:
            files.append(File.generated(config, uri_of(path), content=shown(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links between files of the repository lead to the site's pages."""
    path = sources().get(page.file.src_uri)
    if path is None or (path.suffix != ".md" and not path.is_dir()):
        return markdown
    here = Path(page.file.src_uri).parent

    def relinked(found: re.Match[str]) -> str:
        target = target_of(path, found[1])
        return os.path.relpath(uri_of(target), here) if target else found[0]

    return outside_code(markdown, lambda text: LINK.sub(relinked, text))


def on_page_content(html: str, **_: Any) -> str:
    """Make a table's empty corner a cell: a heading without a word says nothing to who listens."""
    return html.replace("<th></th>", "<td></td>")


def on_post_page(output: str, **_: Any) -> str:
    """Let the logo lead to the first page: from the disk, its folder is a list of files."""
    return re.sub(r'href="(\.|(?:\.\./)*\.\.)"', r'href="\1/index.html"', output)


def on_post_build(config: Any) -> None:
    """Put the pages as Markdown beside themselves: `llms.txt` links to them."""
    for page in DOCS.rglob("*.md"):
        shutil.copy(page, Path(config["site_dir"]) / page.relative_to(DOCS))


def outside_code(markdown: str, change: Any) -> str:
    """Apply `change` to all but the blocks of code."""
    parts, at = [], 0
    for block in FENCE.finditer(markdown):
        parts += [change(markdown[at : block.start()]), block[0]]
        at = block.end()
    return "".join([*parts, change(markdown[at:])])


def uri_of(path: Path) -> str:
    """Return where a file or folder of the repository stands in the site."""
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix()
    name = path.relative_to(ROOT).as_posix()
    if path.is_dir():
        return f"repository/{name}/index.md"
    if path.name == "README.md":  # would be the folder's index
        return f"repository/{name[:-9]}about.md"
    return f"repository/{name}" + ("" if path.suffix in {".md", *PICTURES} else ".md")


def target_of(source: Path, link: str) -> Path | None:
    """Return the file or folder that a relative link means; None if there is none."""
    base = source if source.is_dir() else source.parent
    path = Path(os.path.normpath(base / link))
    return path if path.exists() and path.is_relative_to(ROOT) else None


def links_of(path: Path) -> Iterator[Path]:
    """Yield the files and folders that a page, or a folder's list, links to."""
    if path.is_dir():
        yield from children(path)
    elif path.suffix == ".md":
        text = FENCE.sub("", path.read_text())
        yield from (one for link in LINK.findall(text) if (one := target_of(path, link)))


@cache
def outside() -> tuple[Path, ...]:
    """Return all outside `docs` that is reached from its pages, over any number of links."""
    found: dict[Path, None] = {}
    queue = [*sorted(DOCS.rglob("*.md"))]
    while queue:
        for path in links_of(queue.pop(0)):
            if not path.is_relative_to(DOCS) and path not in found:
                found[path] = None
                queue.append(path)
    return tuple(found)


@cache
def sources() -> dict[str, Path]:
    """Return which file each page was made from."""
    return {uri_of(path): path for path in [*DOCS.rglob("*.md"), *outside()]}


def children(folder: Path) -> list[Path]:
    """Return what a folder's page lists."""
    return sorted(one for one in folder.iterdir() if not one.name.startswith(("_", ".")))


def shown(path: Path) -> str:
    """Return the page for a file or folder outside `docs`."""
    name = path.relative_to(ROOT).as_posix()
    if path.is_dir():
        return f"# `{name}/`\n\n" + "".join(
            f"- [{one.name}]({one.name})\n" for one in children(path)
        )
    if path.suffix == ".md":
        return path.read_text()
    return f"# `{name}`\n\n````{KINDS.get(path.suffix, 'text')}\n{path.read_text()}\n````\n"


@cache
def public_modules() -> dict[str, ast.Module]:
    """Return every module without an underscore in its path, except the package itself."""
    found = {}
    for path in sorted((ROOT / "alhena_async").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts).removesuffix(".__init__")
        if "._" not in name and name != "alhena_async":
            found[name] = ast.parse(path.read_text())
    return found


def exports(module: ast.Module) -> list[str]:
    """Return a module's `__all__`."""
    for node in module.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names: list[str] = ast.literal_eval(node.value)
            return names
    return []


def reference_uri(name: str) -> str:
    """Return where a module's page stands."""
    return f"reference/{name.removeprefix('alhena_async.')}.md"


def names_page() -> str:
    """Return the page of what `alhena_async` itself exports, and of its modules."""
    names = "".join(f"- {reference_to(name)}\n" for name in alhena_async.__all__)
    rows = "".join(
        f"| [`{name}`]({reference_uri(name).removeprefix('reference/')}) | {first_line(module)} |\n"
        for name, module in public_modules().items()
    )
    return (
        "# API\n\nEvery public name, from its docstring. A path without an underscore is promised: "
        "[upgrading](../upgrading.md).\n\n## Modules\n\n| module | what it has |\n|---|---|\n"
        f"{rows}\n## From `alhena_async` itself\n\n{names}"
    )


def reference_to(name: str) -> str:
    """Return a link to where a name of the package is described."""
    homes = [home for home, module in public_modules().items() if name in exports(module)]
    return f"[`{name}`][{homes[0]}.{name}]" if homes else f"`{name}`"


def first_line(module: ast.Module) -> str:
    """Return what a module says of itself."""
    return (ast.get_docstring(module) or "").partition("\n")[0]
