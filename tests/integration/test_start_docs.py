"""The blocks of docs/start.md, choosing.md, concepts.md and upgrading.md do what they say."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

import alhena_async
from alhena_async import AlhenaClient, OutcomeStatus, Visitor
from alhena_async.browser import encode_visitor
from alhena_async.emulator import Emulator
from alhena_async.testing import EmulatorThread
from tests.patience import PATIENCE
from tests.scripted import cart

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page: str, kind: str = "python") -> list[str]:
    text = (DOCS / page).read_text()
    return re.findall(rf"^```{kind}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


FIRST, REAL, SERVICE = blocks("start.md")


def test_the_first_program_prints_what_the_page_says(tmp_path: Path) -> None:
    """Saved and run as the page tells, it needs nothing else."""
    [said] = [one for one in blocks("start.md", "console") if "python first.py" in one]
    (tmp_path / "first.py").write_text(FIRST)
    done = subprocess.run(
        [sys.executable, "first.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == said.partition("\n")[2]
    assert done.stderr == ""


def test_the_service_records_what_a_known_visitor_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copied as it stands, with the variables that the page sets."""
    visitor = Visitor(fingerprint="a", faq_fingerprint="b")
    names: dict[str, Any] = {"__name__": "shop"}
    with EmulatorThread() as emulator:
        monkeypatch.setenv("ALHENA_COMPANY_KEY", "my-company")
        monkeypatch.setenv("ALHENA_BASE_URL", emulator.url)
        exec(SERVICE, names)
        with TestClient(names["app"]) as browser:
            assert browser.post("/cart/cup").status_code == 200
            claim = {"X-Alhena-Visitor": encode_visitor(visitor)}
            assert browser.post("/cart/mug", headers=claim).status_code == 200
        assert [event.product_id for event in emulator.recorded()] == ["mug"]


@pytest.mark.parametrize("block", [REAL, *blocks("choosing.md"), *blocks("upgrading.md")])
def test_the_other_blocks_make_what_they_say(block: str) -> None:
    """Each alone; none opens anything before it is started."""
    names: dict[str, Any] = {"AlhenaClient": AlhenaClient}
    exec(compile(block, "docs", "exec"), names)
    if "public" in names:
        assert set(names["public"]) <= set(dir(alhena_async))


async def test_the_concepts_are_shown_by_code_that_runs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A receipt, a mode, and a refusal in words: the very words of the page."""
    tracked, made, told = blocks("concepts.md")
    names: dict[str, Any] = {"AlhenaClient": AlhenaClient, "event": cart()}
    async with Emulator(companies=["another"]) as emulator:
        names["alhena"] = AlhenaClient("my-company", base_url=emulator.url)
        async with names["alhena"]:
            code = compile(tracked, "concepts", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            waiting = eval(code, names)
            assert inspect.isawaitable(waiting)
            await waiting
    exec(made, names)
    exec(told, names)
    [example] = re.findall(r'# e\.g\. "(.*)"', told)
    assert capsys.readouterr().out == f"{example}\n"


def test_every_outcome_is_told_what_to_do_about() -> None:
    """The table has each status, once."""
    told = re.findall(r"^\| (`[A-Z`, ]+`) \|", (DOCS / "concepts.md").read_text(), re.MULTILINE)
    names = [name for row in told for name in re.findall(r"[A-Z]+", row)]
    assert names == [status.name for status in OutcomeStatus]
