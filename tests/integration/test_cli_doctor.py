"""`alhena doctor`, as users run it: it finds what keeps events from arriving, and says the cure."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme

from alhena_async.browser import script_reply
from alhena_async.emulator import Emulator
from tests.cli_process import alhena
from tests.journals import cart, committed, opened
from tests.raw_server import always, answer, server, tls_of_nobody

KEY = "shop-7f31"
PAGE = """<html><script>document.gleenConfig = {company: "x", apiBaseUrl: "https://eu.alhena.ai"};
</script><script src="https://eu.alhena.ai/sdk/gleenWidget.js" async></script>
<script src="/alhena-visitor.js?v=2" defer></script></html>"""


class Found(NamedTuple):
    status: int
    findings: list[dict[str, str]]
    out: str

    def about(self, subject: str, level: str) -> str:
        """Return the one finding of a level about a subject, with its cure."""
        (one,) = (
            one for one in self.findings
            if one["what"].startswith(f"{subject}:") and one["level"] == level
        )  # fmt: skip
        assert bool(one["do"]) or level in {"ok", "info"}
        return f"{one['what']} / {one['do']}"


async def doctor(
    cwd: Path, *arguments: str | Path, variables: Mapping[str, str] | None = None
) -> Found:
    """Run it with --json."""
    done = await alhena("doctor", "--json", *arguments, cwd=cwd, variables=variables)
    assert done.err == "", done.err
    found = json.loads(done.out)
    assert list(found) == ["findings"]
    assert all(set(one) == {"level", "what", "do"} for one in found["findings"])
    return Found(done.status, found["findings"], done.out)


async def test_all_is_well_and_nothing_is_recorded(tmp_path: Path) -> None:
    """Settings from the environment; the key cannot be told, for want of a body without risk."""
    async with Emulator(companies=[KEY]) as emulator:
        variables = {
            "ALHENA_COMPANY_KEY": KEY,
            "ALHENA_BASE_URL": emulator.url,
            "ALHENA_JOURNAL": "var/alhena",
        }
        found = await doctor(tmp_path, variables=variables)
        assert (found.status, emulator.recorded_count, emulator.requests) == (0, 0, 1)
        assert "cannot tell" in found.about("key", "info")
        assert "MISSING_REQUIRED_FIELDS" not in found.about("API", "ok")
        found.about("clock", "ok")
        assert "not there yet" in found.about("journal", "info")
        assert not (tmp_path / "var").exists()
        assert KEY not in found.out


async def test_people_get_a_list_and_what_to_do(tmp_path: Path) -> None:
    """Each finding with its level, the cure below it, the sum at the end."""
    done = await alhena("doctor", "--base-url", "https://x.invalid", cwd=tmp_path)
    assert done.status == 1
    assert "error    DNS: x.invalid (the API) has no address here" in done.out
    assert "-> correct the name" in done.out
    assert done.out.rstrip().endswith("2 errors, 0 warnings.")
    assert "\x1b" not in done.out


async def test_every_variable_at_fault_is_named(tmp_path: Path) -> None:
    """All in one run, a misspelt one too, whatever else is wrong."""
    variables = {
        "ALHENA_COMPANYKEY": KEY,
        "ALHENA_REGION": "mars",
        "ALHENA_LINGER": "soon",
        "ALHENA_BASE_URL": "http://x.invalid/",
    }
    found = await doctor(tmp_path, variables=variables)
    assert found.status == 1
    errors = "\n".join(
        one["what"] + one["do"] for one in found.findings
        if one["level"] == "error" and one["what"].startswith("configuration:")
    )  # fmt: skip
    assert "set ALHENA_COMPANY_KEY," in errors
    for name in ("REGION", "LINGER", "BASE_URL"):
        assert f"correct ALHENA_{name}," in errors
    assert "did you mean ALHENA_COMPANY_KEY" in found.about("configuration", "warning")


async def test_a_certificate_that_nobody_signed_is_named(tmp_path: Path) -> None:
    """With what OpenSSL says of it."""
    async with server(always(b""), tls_of_nobody()) as url:
        found = await doctor(tmp_path, "--base-url", url, "--company-key", KEY)
    assert found.status == 1
    assert "self-signed certificate" in found.about("TLS", "error")


@pytest.mark.parametrize(
    ("name", "days", "level", "words"),
    [
        ("127.0.0.1", 90, "ok", "trusted, for 8"),
        ("127.0.0.1", 3, "warning", "ends in 2 days"),
        ("other.example", 90, "error", "not valid for '127.0.0.1'"),
    ],
)
async def test_a_certificate_of_a_ca_is_judged_by_name_and_end(
    tmp_path: Path, name: str, days: int, level: str, words: str
) -> None:
    """The CA is the one that the environment names; the API behind it answers, and has a clock."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    until = datetime.now(UTC) + timedelta(days=days)
    ca.issue_cert(name, not_after=until).configure_cert(tls)
    body = b'{"error": "MISSING_REQUIRED_FIELDS"}'
    reply = answer(body, f"Date: {formatdate(0, usegmt=True)}", status="400 Bad Request")
    async with server(always(reply), tls) as url:
        found = await doctor(
            tmp_path,
            *("--base-url", url, "--company-key", KEY),
            variables={"SSL_CERT_FILE": str(tmp_path / "ca.pem")},
        )
    assert found.status == 1
    assert words in found.about("TLS", level)
    if level != "error":
        assert "ahead of the API's" in found.about("clock", "warning")


@pytest.mark.parametrize(
    ("reply", "subject", "words"),
    [
        (answer(b"", status="407 Proxy Authentication Required"), "proxy", "user and password"),
        (answer(b"<html>no</html>", status="403 Forbidden"), "API", "the proxy, or a firewall"),
    ],
)
async def test_a_proxy_that_refuses_is_named(
    tmp_path: Path, reply: bytes, subject: str, words: str
) -> None:
    """The API's host is not looked up here: that is the proxy's."""
    async with server(always(reply)) as url:
        proxy = url.replace("//", "//user:geheim@")
        found = await doctor(
            tmp_path, "--base-url", "http://127.0.0.1:9", "--company-key", KEY, "--proxy", proxy
        )
    assert found.status == 1
    assert words in found.about(subject, "error")
    assert "geheim" not in found.out


async def test_a_proxy_that_refuses_the_tunnel_is_named(tmp_path: Path) -> None:
    """For an API behind TLS."""
    async with server(always(answer(b"", status="403 Forbidden"))) as url:
        found = await doctor(
            tmp_path, "--base-url", "https://x.invalid", "--company-key", KEY, "--proxy", url
        )
    assert "permits CONNECT" in found.about("proxy", "error")


@pytest.mark.parametrize(
    ("proxy", "subject", "words"),
    [
        ("http://user:geheim@x.invalid:3128", "DNS", "x.invalid (the proxy)"),
        ("socks5://user:geheim@x.invalid", "proxy", "HTTPS_PROXY"),
    ],
)
async def test_the_environments_proxy_is_looked_at_where_the_client_takes_it(
    tmp_path: Path, proxy: str, subject: str, words: str
) -> None:
    """With ALHENA_PROXY=env, as the client would find it."""
    variables = {
        "ALHENA_PROXY": "env",
        "HTTPS_PROXY": proxy,
        "https_proxy": proxy,
        "NO_PROXY": "",
        "no_proxy": "",
    }
    where = ("--base-url", "https://y.invalid", "--company-key", KEY)
    found = await doctor(tmp_path, *where, variables=variables)
    assert words in found.about(subject, "error")
    assert "geheim" not in found.out


async def test_nobody_listens(tmp_path: Path) -> None:
    """Refused at once; and the usual proxy's variable is pointed out."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    found = await doctor(
        tmp_path,
        *("--base-url", f"http://127.0.0.1:{port}", "--company-key", KEY),
        variables={"HTTPS_PROXY": "http://u:geheim@127.0.0.1:1"},
    )
    assert found.status == 1
    assert "ConnectionRefusedError" in found.about("connection", "error")
    assert "HTTPS_PROXY" in found.about("proxy", "info")
    assert "geheim" not in found.out


async def test_a_host_that_hangs_costs_no_more_than_the_time_given(tmp_path: Path) -> None:
    """It is said, and all the rest is there."""

    async def hang(_: bytes, __: object, ___: object) -> None:
        await asyncio.get_running_loop().create_future()

    async with server(hang) as url:
        found = await doctor(
            tmp_path, *("--base-url", url, "--company-key", KEY, "--timeout", "0.5")
        )
    assert found.status == 1
    assert "something hangs" in found.about("network", "error")
    found.about("configuration", "ok")


async def test_a_page_of_this_machine_is_looked_at_with_its_script(tmp_path: Path) -> None:
    """The script as the middleware serves it, from the page's own origin."""
    script = script_reply("GET").body

    async def serve(head: bytes, _: object, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(script if b"alhena-visitor" in head else PAGE.encode()))
        await writer.drain()

    async with Emulator() as emulator, server(serve) as url:
        found = await doctor(
            tmp_path, "--base-url", emulator.url, "--company-key", KEY, "--page", url
        )
    assert found.status == 0
    pages = [one["what"] for one in found.findings if one["what"].startswith("page:")]
    assert len(pages) == 3
    assert "sets the cookie alhena_visitor" in pages[-1]


async def test_what_a_dead_process_left_is_something_to_see_to(tmp_path: Path) -> None:
    """How much, how old; a page that is no file is no finding but a mistake."""
    async with opened(tmp_path / "j") as journal:
        await committed(journal, [cart(1), cart(2)])
    async with Emulator() as emulator:
        where = ("--base-url", emulator.url, "--company-key", KEY)
        found = await doctor(tmp_path, *where, "--journal", "j")
        assert found.status == 1
        assert "2 events of processes that are gone" in found.about("journal", "warning")
        (tmp_path / "j").chmod(0o755)
        found = await doctor(tmp_path, *where, "--journal", "j")
        assert any("chmod 700" in one["do"] for one in found.findings)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--page", "missing.html"),
        ("--page", "https://shop.invalid/"),
        ("--base-url", "ftp://x"),
        ("--proxy", "x"),
        ("--timeout", "0"),
    ],
)
async def test_what_cannot_be_looked_at_is_a_mistake_of_the_caller(
    tmp_path: Path, arguments: tuple[str, str]
) -> None:
    """Status 2, and a sentence."""
    done = await alhena("doctor", *arguments, cwd=tmp_path)
    assert done.status == 2
    assert "Traceback" not in done.err
    assert done.err
