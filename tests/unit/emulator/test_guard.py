"""Who may speak to the emulator."""

import pytest

from alhena_async.emulator._security import (
    authority,
    known_hosts,
    loopback_host,
    refuse_sender,
    token_matches,
)

KNOWN = known_hosts("127.0.0.1", 8787)


def refused(
    hosts: list[str],
    origins: list[str] | None = None,
    site: str | None = None,
    *,
    navigates: bool = False,
) -> bool:
    reason = refuse_sender(
        KNOWN, hosts=hosts, origins=origins or [], fetch_site=site, navigates=navigates
    )
    return reason is not None


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "localhost", "LocalHost"])
def test_loopback_may_be_bound(host: str) -> None:
    """Loopback addresses are taken, and localhost is one address."""
    assert loopback_host(host) in {"127.0.0.1", "127.3.2.1", "::1"}


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.1.2", "", "example.com", "localhost.example.com", "127.1"]
)
def test_nothing_else_may_be_bound(host: str) -> None:
    """A server without a login does not leave the machine."""
    with pytest.raises(ValueError, match="loopback only"):
        loopback_host(host)


def test_an_ipv6_authority_has_brackets() -> None:
    """As it stands in a URL and in a Host header."""
    assert authority("::1", 8787) == "[::1]:8787"
    assert "[::1]:8787" in known_hosts("::1", 8787)


def test_port_80_may_be_left_out() -> None:
    """Browsers leave the default port out of Host."""
    assert {"127.0.0.1", "localhost"} <= known_hosts("127.0.0.1", 80)


@pytest.mark.parametrize("host", ["127.0.0.1:8787", "localhost:8787", "LOCALHOST:8787"])
def test_a_server_that_names_the_emulator_is_served(host: str) -> None:
    """No Origin and no Sec-Fetch-Site: no browser tab."""
    assert not refused([host])


@pytest.mark.parametrize(
    "hosts",
    [
        [],
        [""],
        ["evil.example:8787"],
        ["127.0.0.1"],
        ["127.0.0.1:8788"],
        ["127.0.0.1:8787.evil.example"],
        ["127.0.0.1:8787", "evil.example:8787"],
    ],
)
def test_a_rebound_or_missing_host_is_refused(hosts: list[str]) -> None:
    """DNS rebinding shows in Host, and only the exact host and port will do."""
    assert refused(hosts)


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "http://evil.example",
        "http://evil.example:8787",
        "https://127.0.0.1:8787",
        "http://127.0.0.1:3000",
        "http://localhost:8787",
    ],
)
def test_a_foreign_origin_is_refused(origin: str) -> None:
    """Even another port or name of this machine is another origin."""
    assert refused(["127.0.0.1:8787"], [origin])


def test_the_page_itself_is_served() -> None:
    """Same origin in every header."""
    assert not refused(["localhost:8787"], ["http://localhost:8787"], "same-origin")


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_site_is_refused_unless_it_links_to_the_page(site: str) -> None:
    """GETs carry no Origin, but they carry Sec-Fetch-Site; a link may open the page."""
    assert refused(["127.0.0.1:8787"], site=site)
    assert not refused(["127.0.0.1:8787"], site=site, navigates=True)


@pytest.mark.parametrize("given", [None, "", "tokem", "token ", "tökén", "\udcff"])
def test_a_wrong_token_does_not_match(given: str | None) -> None:
    """Whatever its characters, a wrong token is just wrong."""
    assert token_matches("token", "token")
    assert not token_matches("token", given)
