"""What the doctor makes of what it sees: replies, file systems, directories, pages."""

from __future__ import annotations

import os
from email.utils import formatdate
from pathlib import Path

import pytest

from alhena_async.browser import SCRIPT_PATH, script_reply
from alhena_async.cli._doctor_journal import file_system_of, journal
from alhena_async.cli._doctor_network import judge
from alhena_async.cli._doctor_page import PageError, page_findings, scripts_in
from alhena_async.cli._doctor_settings import read_setup, versions
from alhena_async.cli._findings import Finding, Level, is_wrong
from alhena_async.transports import Reply

NOW = 1_700_000_000.0
SCRIPT = f'<script src="{SCRIPT_PATH}" defer></script>'
WIDGET = '<script src="https://eu.alhena.ai/sdk/gleenWidget.js" async></script>'


def levels(findings: list[Finding]) -> list[str]:
    return [f"{one.level.value} {one.what.partition(':')[0]}" for one in findings]


def said(body: str, status: int = 400, *, now: float = NOW, has_key: bool = True) -> list[str]:
    reply = Reply(status, body.encode(), {"Date": formatdate(NOW, usegmt=True)})
    return levels(judge(reply, has_key=has_key, behind_proxy=False, now=now))


@pytest.mark.parametrize(
    ("body", "status", "expected"),
    [
        ('{"error": "MISSING_REQUIRED_FIELDS"}', 400, ["ok API", "info key", "ok clock"]),
        ('{"error": {"code": "COMPANY_NOT_FOUND"}}', 200, ["ok API", "error key", "ok clock"]),
        ('{"message": "ACTIVE_TICKET_NOT_FOUND"}', 404, ["ok API", "ok key", "ok clock"]),
        ('{"status": "success"}', 200, ["error API", "ok clock"]),
        ("<html>Just a moment</html>", 403, ["error API", "ok clock"]),
        ("", 302, ["error API", "ok clock"]),
        ("", 407, ["error proxy", "ok clock"]),
    ],
)
def test_a_reply_says_whose_it_is_and_whether_the_key_is_known(
    body: str, status: int, expected: list[str]
) -> None:
    """A documented code in any envelope, at any status; anything else is not the API's."""
    assert said(body, status) == expected


@pytest.mark.parametrize("ahead", [-3600, -31, 31, 86_400])
def test_a_clock_that_is_off_is_told(ahead: float) -> None:
    """Either way."""
    assert said('{"error": "MISSING_REQUIRED_FIELDS"}', now=NOW + ahead)[-1] == "warning clock"


@pytest.mark.parametrize("date", [None, "", "yesterday", "Mon, 99 Foo 9999 99:99:99 GMT"])
def test_without_a_date_the_clock_cannot_be_told(date: str | None) -> None:
    """That is no fault of this machine."""
    headers = {} if date is None else {"Date": date}
    reply = Reply(400, b'{"error": "MISSING_REQUIRED_FIELDS"}', headers)
    assert not is_wrong(judge(reply, has_key=True, behind_proxy=False, now=NOW))


MOUNTS = r"""
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /srv rw shared:9 - nfs4 host:/x rw
31 30 8:2 / /srv/local\040disk rw - xfs /dev/sdb rw
32 22 0:41 / /srvother rw master:1 - cifs //h/x rw
nonsense
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/alhena", "ext4"),
        ("/srv/alhena", "nfs4"),
        ("/srv/local disk/alhena", "xfs"),
        ("/srvother", "cifs"),
        ("/srvothers", "ext4"),
    ],
)
def test_the_file_system_of_a_path_is_the_nearest_mounts(path: str, kind: str) -> None:
    """By whole names."""
    assert file_system_of(Path(path), MOUNTS) == kind
    assert file_system_of(Path(path), "") == ""


def test_a_network_file_system_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the log nor the locks can be relied on there."""
    monkeypatch.setattr("alhena_async.cli._doctor_journal._mounts", lambda: MOUNTS + (
        f"40 22 0:50 / {tmp_path.resolve()} rw - nfs host:/y rw"
    ))  # fmt: skip
    tmp_path.chmod(0o700)
    assert any("network" in one.what and one.level is Level.ERROR for one in journal(tmp_path))


def test_a_directory_of_others_a_link_and_a_file_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the client refuses them."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    for name in ("file", "link", "nowhere", "file/below"):
        assert is_wrong(journal(tmp_path / name)), name
    (tmp_path / "own").mkdir(mode=0o700)
    own = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: own + 1)
    assert any("belongs to user" in one.what for one in journal(tmp_path / "own"))


def test_rubbish_among_the_files_is_told_and_harms_nothing(tmp_path: Path) -> None:
    """A file that is no database, and one that was set aside."""
    (tmp_path / "j").mkdir(mode=0o700)
    (tmp_path / "j" / "00000001.events").write_bytes(b"rubbish" * 99)
    (tmp_path / "j" / "00000002.events.damaged").touch()
    found = journal(tmp_path / "j")
    assert [one.level for one in found if "00000001" in one.what] == [Level.WARNING]
    assert any("set aside as damaged" in one.what for one in found)


async def judged(tmp_path: Path, html: str, base_url: str = "https://eu.alhena.ai/") -> list[str]:
    page = tmp_path / "page.html"
    page.write_text(html)
    return levels(await page_findings(str(page), base_url))


async def test_a_page_with_both_halves_is_well(tmp_path: Path) -> None:
    """The script beside it is read; a foreign one cannot be told."""
    assert await judged(tmp_path, WIDGET + SCRIPT) == ["ok page", "ok page", "info page"]
    (tmp_path / SCRIPT_PATH.lstrip("/")).write_bytes(script_reply("GET").body)
    assert await judged(tmp_path, WIDGET + SCRIPT) == ["ok page", "ok page", "ok page"]
    (tmp_path / SCRIPT_PATH.lstrip("/")).write_text("document.cookie = 'visitor=1'")
    assert await judged(tmp_path, WIDGET + SCRIPT) == ["ok page", "ok page", "error page"]


@pytest.mark.parametrize("html", ["", "<script>", "<scr\0ipt src>", "<!--" + SCRIPT + "-->"])
async def test_a_page_with_neither_half_says_so(tmp_path: Path, html: str) -> None:
    """Also one that is no HTML, or has it in a comment."""
    assert await judged(tmp_path, html) == ["error page", "warning page"]


async def test_a_widget_of_another_region_is_told(tmp_path: Path) -> None:
    """Its conversations would be in one region, the events in the other."""
    html = '<script>document.gleenConfig = {apiBaseUrl: "https://app.alhena.ai"}</script>' + SCRIPT
    assert "warning page" in await judged(tmp_path, html)
    assert "warning page" not in await judged(tmp_path, html, "https://app.alhena.ai/")
    html = '<script src="https://eu.alhena.ai/sdk/gleenWidget.js" async></script>' + SCRIPT
    assert "warning page" in await judged(tmp_path, html, "https://app.alhena.ai/")
    assert "warning page" not in await judged(tmp_path, html)


async def test_a_shop_that_is_down_is_a_finding_and_no_end_of_the_others() -> None:
    """Whoever asks why nothing arrives may have forgotten to start it."""
    [found] = await page_findings("http://127.0.0.1:9/", "https://eu.alhena.ai/")
    assert found.level is Level.ERROR
    assert "start the shop" in found.do


async def test_only_this_machines_pages_are_fetched() -> None:
    """Nothing is sent to a shop that serves customers."""
    with pytest.raises(PageError, match="only pages of this machine"):
        await page_findings("https://shop.invalid/", "https://eu.alhena.ai/")


def test_scripts_are_found_in_any_spelling() -> None:
    """HTML knows no case, and entities in attributes."""
    page = scripts_in("<SCRIPT SRC='/a.js?x=1&amp;y=2'></SCRIPT><script>var a = '<b>'</script>")
    assert page.sources == ["/a.js?x=1&y=2"]
    assert page.inline == ["var a = '<b>'"]


def test_options_win_over_the_environment_and_both_are_checked() -> None:
    """What is wrong in the environment does not matter where an option stands in its place."""
    given = {"company_key": "k", "region": "eu"}
    setup, findings = read_setup({"ALHENA_REGION": "mars"}, given, proxy=None)
    assert (setup.base_url, setup.company_key) == ("https://eu.alhena.ai/", "k")
    assert not is_wrong(findings)
    with pytest.raises(ValueError, match="base_url"):
        read_setup({}, {"base_url": "x"}, proxy=None)


def test_the_versions_here_will_do() -> None:
    """Each dependency against the floor that the package declares."""
    found = versions()
    assert not is_wrong(found)
    assert {"aiohttp", "attrs", "SQLite"} <= {one.what.split()[1] for one in found}


@pytest.mark.parametrize(
    ("environ", "given", "told"),
    [
        ({}, {}, True),
        ({}, {"company_key": "shop"}, True),
        ({}, {"company_key": "shop", "region": "eu"}, False),
        ({"ALHENA_COMPANY_KEY": "shop"}, {}, False),
    ],
)
def test_what_stands_in_the_code_is_said_to_be_unseen(
    environ: dict[str, str], given: dict[str, str], told: bool
) -> None:
    """Where the key does, the rest may as well; once it is said here, nothing is left to ask."""
    _, findings = read_setup(environ, given, proxy=None)
    asked = [one for one in findings if "cannot be seen from here" in one.what]
    assert [(one.level, "--journal" in one.do) for one in asked] == [(Level.INFO, True)] * told
