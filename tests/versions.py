"""Bring the oldest or the newest declared dependencies into an environment.

`python -m tests.versions oldest` installs the very floors that `pyproject.toml` declares, for users
and for every extra of theirs, `newest` the newest versions that it allows, with all that they need.
What the tests themselves need stays as it is.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

__all__ = ["declared", "floor"]

_OUR_OWN = {"bench", "dev", "docs", "test"}
"""Extras for who works on the package."""


_BESIDE_OLDEST = (
    "anyio<4.15",
    "httpx<0.27",
    "opentelemetry-exporter-otlp-proto-http==1.30.0",
    "opentelemetry-sdk==1.30.0",
    "pytest<9.2",
)
"""What the tests need beside the floors: what fastapi of that age runs on, a pytest that knows this
anyio, an SDK of its API's."""

_WITHOUT = {"oldest": "opentelemetry-exporter-otlp-common", "newest": "sanic"}
"""What goes first: a part of later exporters alone; what holds back what users get (multidict)."""


def declared(pyproject: str) -> list[Requirement]:
    """Return what users get by installing the package with all of its extras."""
    project = tomllib.loads(pyproject)["project"]
    extras = [
        one
        for extra, several in project["optional-dependencies"].items()
        for one in several
        if extra not in _OUR_OWN
    ]
    return [Requirement(one) for one in project["dependencies"] + extras]


def floor(requirement: Requirement) -> str:
    """Return the requirement of a package's oldest declared version, with its extras."""
    [oldest] = [one.version for one in requirement.specifier if one.operator == ">="]
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return f"{requirement.name}{extras}=={oldest}"


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("which", choices=["oldest", "newest"])
    which = parser.parse_args().which
    packages = declared(Path("pyproject.toml").read_text())
    if which == "oldest":
        wanted = [*map(floor, packages), *_BESIDE_OLDEST]
    else:
        wanted = ["--upgrade", "--upgrade-strategy=eager", *map(str, packages)]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "uninstall", "--quiet", "--yes", _WITHOUT[which]], check=True)
    subprocess.run([*pip, "install", "--quiet", *wanted], check=True)
    subprocess.run([*pip, "check"], check=True)
    names = {one.name for one in packages}
    installed = subprocess.run([*pip, "freeze"], check=True, capture_output=True, text=True).stdout
    print(*(line for line in installed.splitlines() if line.partition("==")[0] in names))


if __name__ == "__main__":
    main()
