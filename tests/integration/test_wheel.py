"""The wheel, built and installed: what users get is whole, and the plugin is found in it."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

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


def run(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_holds_the_package_the_plugin_and_nothing_else(wheel: Path) -> None:
    """Every file of the package, the emulator's page and the type marker among them."""
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    package = ROOT / "alhena_async"
    files = {path for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert names == {str(path.relative_to(ROOT)) for path in files} | {"pytest_alhena.py"}
    assert {"alhena_async/py.typed", "alhena_async/emulator/page.html"} <= names


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
