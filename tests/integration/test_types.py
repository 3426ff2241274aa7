"""The installed package, as a type checker of a user's project sees it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CHECKER = Path(sysconfig.get_path("scripts")) / "basedpyright"
STRICT = {
    "typeCheckingMode": "strict",
    "reportUnnecessaryTypeIgnoreComment": "error",
    "reportMissingModuleSource": "none",
    "pythonVersion": "3.11",
}

pytestmark = pytest.mark.skipif(
    not CHECKER.exists(), reason="basedpyright is not installed: types are judged by mypy alone"
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose environment has the wheel, and beside it what this one has."""
    project = tmp_path_factory.mktemp("project")
    venv.create(project / "env", symlinks=True)
    [packages] = project.glob("env/lib/python3*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))
    pip(project, "wheel", "--no-build-isolation", "--wheel-dir", "dist", str(ROOT))
    [wheel] = project.glob("dist/*.whl")
    pip(project, "install", "--target", str(packages), str(wheel))
    return project


def pip(project: Path, command: str, *arguments: str) -> None:
    quiet = ("--quiet", "--no-deps", "--disable-pip-version-check")
    done = run(sys.executable, "-m", "pip", command, *quiet, *arguments, cwd=project)
    assert done.returncode == 0, done.stderr


def run(*command: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def checked(project: Path, *arguments: str) -> Any:
    """What the checker says, as JSON."""
    environment = project / "env"
    path = f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
    command = (str(CHECKER), *arguments, "--outputjson")
    done = run(*command, cwd=project, VIRTUAL_ENV=str(environment), PATH=path)
    return json.loads(done.stdout)


def test_every_public_name_has_a_known_type(project: Path) -> None:
    """All of them: an unknown one silences the checker wherever a user comes near it."""
    found = checked(project, "--verifytypes", "alhena_async", "--ignoreexternal")
    report = found["typeCompleteness"]
    unknown = [
        one["name"] for one in report["symbols"] if one["isExported"] and not one["isTypeKnown"]
    ]
    assert unknown == []
    assert report["completenessScore"] == 1
    assert report["exportedSymbolCounts"]["withKnownType"] > 500
    assert str(project) in report["packageRootDirectory"]


def test_what_users_write_is_right_and_what_is_wrong_is_refused(project: Path) -> None:
    """In the strictest mode; a line that says it is wrong has to be."""
    (project / "pyrightconfig.json").write_text(json.dumps(STRICT))
    source = ROOT / "tests" / "typing" / "users.py"
    (project / "users.py").write_text(source.read_text())
    found = checked(project, "users.py")
    assert found["summary"]["filesAnalyzed"] == 1
    told = [
        f"{one['range']['start']['line'] + 1}: {one['message']}"
        for one in found["generalDiagnostics"]
    ]
    assert not told, "\n".join(told)
