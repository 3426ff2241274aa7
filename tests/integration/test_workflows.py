"""What runs elsewhere: the workflows of CI and of a release do what this project's pages say."""

import re
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ZIZMOR = shutil.which("zizmor", path=sysconfig.get_path("scripts"))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def workflow(name: str) -> Any:
    return yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text())


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned(path: Path) -> None:
    """To a commit, with its version beside it: a tag can be moved."""
    used = re.findall(r"uses: (.*)", path.read_text())
    assert used
    for one in used:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+(\.\d+)*", one), one


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_what_it_makes_is_a_target(path: Path) -> None:
    """A workflow that calls for what is not there fails on the day of the release."""
    text = path.read_text()
    wanted = set(re.findall(r"run: make ([a-z-]+)", text))
    for matrix in re.findall(r"target: \[(.*)\]", text):
        wanted |= set(matrix.split(", "))
    assert wanted <= TARGETS


def test_ci_runs_what_is_run_here() -> None:
    """The one script, on every Python that the package is said to be for."""
    job = workflow("ci.yml")["jobs"]["test"]
    assert [step["run"] for step in job["steps"] if "run" in step] == ["bash .ci/run"]
    classifiers = re.findall(
        r"Programming Language :: Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text()
    )
    assert job["strategy"]["matrix"]["python"] == classifiers


def test_a_release_is_published_without_a_password() -> None:
    """By the one job that may ask for an identity, in an environment that can be guarded."""
    jobs = workflow("release.yml")["jobs"]
    assert jobs["publish"]["permissions"] == {"id-token": "write", "attestations": "write"}
    assert jobs["publish"]["environment"] == "pypi"
    assert jobs["build"]["permissions"] == {"contents": "read"}
    assert "secrets." not in (ROOT / ".github" / "workflows" / "release.yml").read_text()


@pytest.mark.skipif(ZIZMOR is None, reason="zizmor is not installed: workflows are not audited")
def test_an_auditor_of_workflows_finds_nothing() -> None:
    """With its strictest rules, without a network."""
    assert ZIZMOR is not None
    command = [
        ZIZMOR,
        "--offline",
        "--pedantic",
        "--quiet",
        "--format=plain",
        str(ROOT / ".github"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
