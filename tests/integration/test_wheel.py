"""The wheel and the sdist, built: what users get is whole, says what it is, and works installed."""

from __future__ import annotations

import configparser
import importlib
import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email import message_from_string
from email.message import Message
from pathlib import Path

import pytest

from tests.dockerfile import Instruction, instructions
from tests.patience import PATIENCE

ROOT = Path(__file__).parents[2]
TESTS = """
import alhena_async, pytest_alhena, sys

async def test_the_installed_one(alhena_client, alhena_emulator):
    outcome = await alhena_client.record(alhena_async.CheckoutEvent(
        visitor=alhena_async.Visitor(fingerprint="a", faq_fingerprint="b"), value=1, currency="EUR",
        line_items=[alhena_async.LineItem(product_id="mug", product_name="Mug", quantity=1, value=1,
            currency="EUR")], order_id="ORD-1"))
    assert outcome.ok
    alhena_emulator.assert_recorded(order_id="ORD-1")
    for module in (alhena_async, pytest_alhena):
        assert module.__file__.startswith(sys.prefix)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the tree, with the build backend of this environment."""
    target = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
        "--disable-pip-version-check", "--wheel-dir", str(target), str(ROOT))  # fmt: skip
    [built] = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> tarfile.TarFile:
    """Built as the wheel is."""
    target = tmp_path_factory.mktemp("sdist")
    code = "import sys; from hatchling.build import build_sdist; build_sdist(sys.argv[1])"
    run(sys.executable, "-c", code, str(target), cwd=ROOT)
    [built] = target.glob("*.tar.gz")
    return tarfile.open(built)


@pytest.fixture(params=["wheel", "sdist"])
def metadata(request: pytest.FixtureRequest) -> Message:
    """What a package index reads: the same in both."""
    built = request.getfixturevalue(request.param)
    if isinstance(built, Path):
        archive = zipfile.ZipFile(built)
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return message_from_string(archive.read(name).decode())
    file = built.extractfile(f"{top_of(built)}/PKG-INFO")
    assert file is not None
    return message_from_string(file.read().decode())


def top_of(sdist: tarfile.TarFile) -> str:
    """The one folder that all of it lies in."""
    [top] = {name.split("/")[0] for name in sdist.getnames()}
    return top


def run(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_holds_the_package_the_plugin_and_nothing_else(wheel: Path) -> None:
    """Every file of the package, and the pages as Markdown with their list."""
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    package = ROOT / "alhena_async"
    files = {path for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    docs = ROOT / "docs"
    pages = {f"alhena_async/pages/{path.relative_to(docs)}" for path in docs.rglob("*.md")}
    own = {str(path.relative_to(ROOT)) for path in files} | {"pytest_alhena.py"}
    assert names == own | pages | {"alhena_async/pages/llms.txt"}
    assert {"alhena_async/py.typed", "alhena_async/emulator/page.html"} <= names


def test_pyinstaller_takes_the_files_along_that_no_import_leads_to(wheel: Path) -> None:
    """The browser's script and the emulator's page: without them a frozen shop did not start."""
    archive = zipfile.ZipFile(wheel)
    [name] = [one for one in archive.namelist() if one.endswith(".dist-info/entry_points.txt")]
    declared = configparser.ConfigParser()
    declared.read_string(archive.read(name).decode())
    module, _, function = declared["pyinstaller40"]["hook-dirs"].partition(":")
    [directory] = getattr(importlib.import_module(module), function)()
    hook = Path(directory) / "hook-alhena_async.py"
    assert hook.is_file()
    pytest.importorskip("PyInstaller", reason="PyInstaller is not installed: its hook is not run")
    taken = {Path(file).name for file, _ in runpy.run_path(str(hook))["datas"]}
    assert {"alhena-visitor.js", "page.html"} <= taken


def test_two_builds_are_one(wheel: Path, sdist: tarfile.TarFile, tmp_path: Path) -> None:
    """Byte for byte, from another folder and at another time: who rebuilds a release can tell."""
    assert sdist.name is not None
    source = tmp_path / "elsewhere"
    with tarfile.open(str(sdist.name)) as unpacked:
        unpacked.extractall(source, filter="data")
    [tree] = source.iterdir()
    code = (
        "import sys; from hatchling.build import build_sdist, build_wheel;"
        "build_sdist(sys.argv[1]); build_wheel(sys.argv[1])"
    )
    run(sys.executable, "-c", code, str(tmp_path), cwd=tree)
    assert (tmp_path / wheel.name).read_bytes() == wheel.read_bytes()
    assert (tmp_path / Path(str(sdist.name)).name).read_bytes() == Path(
        str(sdist.name)
    ).read_bytes()


def test_the_wheel_says_what_it_is_made_of(wheel: Path, metadata: Message) -> None:
    """A bill of materials (CycloneDX, PEP 770): what the metadata require, and no more."""
    archive = zipfile.ZipFile(wheel)
    [name] = [one for one in archive.namelist() if ".dist-info/sboms/" in one]
    bill = json.loads(archive.read(name))
    assert bill["bomFormat"] == "CycloneDX"
    itself = bill["metadata"]["component"]
    assert (itself["name"], itself["version"]) == (metadata["Name"], metadata["Version"])
    assert itself["purl"] == f"pkg:pypi/{metadata['Name']}@{metadata['Version']}"
    required = [one for one in metadata.get_all("Requires-Dist", []) if "extra ==" not in one]
    names = [re.split(r"[<>=!~ \[;]", one)[0] for one in required]
    assert [one["name"] for one in bill["components"]] == sorted(names)
    assert bill["dependencies"][0]["dependsOn"] == sorted(names)


def test_the_licence_is_in_both(wheel: Path, sdist: tarfile.TarFile) -> None:
    """Whoever gets the package gets the permission to use it."""
    text = (ROOT / "LICENSE").read_bytes()
    archive = zipfile.ZipFile(wheel)
    [name] = [one for one in archive.namelist() if one.endswith(".dist-info/licenses/LICENSE")]
    assert archive.read(name) == text
    file = sdist.extractfile(f"{top_of(sdist)}/LICENSE")
    assert file is not None
    assert file.read() == text


def test_the_metadata_says_what_it_is(metadata: Message) -> None:
    """The licence as an expression, and no address before there is a public home."""
    assert metadata["License-Expression"] == "MIT"
    assert metadata.get_all("License-File") == ["LICENSE"]
    assert metadata["Author"] == "the alhena-async authors"
    assert metadata["Requires-Python"] == ">=3.11"
    assert "Project-URL" not in metadata
    assert "Home-page" not in metadata
    classifiers = metadata.get_all("Classifier", [])
    assert "Typing :: Typed" in classifiers
    assert not [one for one in classifiers if one.startswith("License ::")]  # the expression's word


def test_the_long_description_leads_nowhere_that_is_not_there(metadata: Message) -> None:
    """It is the README; what links and pictures lie beside it are gone, all else is kept."""
    assert metadata["Description-Content-Type"] == "text/markdown"
    shown = metadata.get_payload()
    assert isinstance(shown, str)
    readme = (ROOT / "README.md").read_text()
    targets = re.findall(r"\]\(([^)]*)\)", shown)
    assert targets
    assert all(target.startswith("https://") for target in targets)
    assert "![" not in shown
    code = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
    assert code.findall(shown) == code.findall(readme)
    headings = re.compile(r"^#.*", re.MULTILINE)
    assert headings.findall(shown) == headings.findall(readme)


def test_the_sdist_has_what_its_readme_leads_to(sdist: tarfile.TarFile) -> None:
    """Whoever unpacks it can follow each link."""
    names = set(sdist.getnames())
    links = re.findall(r"\]\((?!https?://)([^)#]+)", (ROOT / "README.md").read_text())
    assert links
    assert {f"{top_of(sdist)}/{link}" for link in links} <= names


def test_its_plugin_works_where_it_is_installed(wheel: Path, tmp_path: Path) -> None:
    """In a new environment, asserts of the package rewritten, with warnings as errors."""
    home = tmp_path / "venv"
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps",
        "--no-index", "--disable-pip-version-check", str(wheel))  # fmt: skip
    # What the wheel depends on is lent by this environment; nothing is downloaded.
    [site] = (home / "lib").glob("python*/site-packages")
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
    )
    said = run(str(python), "-W", "error", "-m", "pytest", "-W", "error", cwd=tmp_path)
    assert "1 passed" in said


def test_the_dockerfile_installs_it_and_serves(wheel: Path, tmp_path: Path) -> None:
    """Its RUN in an environment instead of an image, its ENTRYPOINT and HEALTHCHECK on loopback."""
    steps = instructions(ROOT / "Dockerfile")
    by_name = {step.name: step for step in steps}
    names = [step.name for step in steps]
    assert names == ["FROM", "COPY", "RUN", "USER", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT"]
    pattern, target = by_name["COPY"].text.split()
    assert Path("dist", wheel.name).match(pattern)
    assert set((ROOT / ".dockerignore").read_text().split()) == {"*", "!dist/*.whl"}
    home, copied = tmp_path / "image", tmp_path / "copied"
    venv.create(home, with_pip=False)
    copied.mkdir()
    shutil.copy(wheel, copied)
    # This environment's pip, told to install there; it lends what the wheel depends on.
    there = {"PIP_PYTHON": str(home / "bin" / "python"), "PIP_NO_DEPS": "1", "PIP_NO_INDEX": "1"}
    there |= {"PATH": f"{Path(sys.executable).parent}:{os.defpath}", "HOME": str(tmp_path)}
    installing = Instruction("RUN", by_name["RUN"].text.replace(target, f"{copied}/"))
    subprocess.run(installing.command, env=there, cwd=tmp_path, check=True, timeout=PATIENCE)
    [site] = (home / "lib").glob("python*/site-packages")
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    assert by_name["ENTRYPOINT"].command == ["alhena", "emulate", "--expose"]
    program, *options = by_name["ENTRYPOINT"].command
    inside = {
        "PATH": f"{home / 'bin'}:{os.defpath}",
        "ALHENA_EMULATOR_TOKEN": "a-token-of-the-tests",
    }
    serving = subprocess.Popen(
        [str(home / "bin" / program), *options, "--host", "127.0.0.1", "--port", "0"],
        env=inside, cwd=tmp_path, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert serving.stdout is not None
        said = next(line for line in serving.stdout if "Emulating" in line)
        [port] = re.findall(r"http://127\.0\.0\.1:(\d+)/a-token-of-the-tests/", said)
        healthy = [
            one.replace(by_name["EXPOSE"].text, port) for one in by_name["HEALTHCHECK"].command
        ]
        subprocess.run(healthy, env=inside, check=True, timeout=PATIENCE)
    finally:
        serving.send_signal(signal.SIGTERM)
        serving.communicate(timeout=PATIENCE)
    with pytest.raises(subprocess.CalledProcessError):
        subprocess.run(healthy, env=inside, check=True, timeout=PATIENCE, stderr=subprocess.DEVNULL)
