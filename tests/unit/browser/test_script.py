"""The script's replies: cacheable, revalidated, and nothing but the script."""

from __future__ import annotations

from importlib.resources import files

import pytest

from alhena_async.browser import ScriptReply, script_reply

SCRIPT = files("alhena_async.browser").joinpath("alhena-visitor.js").read_bytes()


def headers_of(reply: ScriptReply) -> dict[str, str]:
    headers = dict(reply.headers)
    assert len(headers) == len(reply.headers)
    return headers


def test_get_gives_the_script() -> None:
    """As JavaScript that no browser sniffs, cacheable for anyone, under a strong tag."""
    reply = script_reply("GET")
    headers = headers_of(reply)
    assert (reply.status, reply.body) == (200, SCRIPT)
    assert headers["content-type"] == "text/javascript; charset=utf-8"
    assert headers["content-length"] == str(len(SCRIPT))
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"].startswith("public, max-age=")
    assert headers["etag"][0] == headers["etag"][-1] == '"'


def test_head_gives_the_same_headers_and_no_body() -> None:
    """`content-length` is that of the script."""
    assert script_reply("HEAD") == ScriptReply(
        status=200, headers=script_reply("GET").headers, body=b""
    )


@pytest.mark.parametrize("form", ["{}", "W/{}", '"x", {}', '"x" ,\tW/{} , "y"', "*"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_who_has_it_already_is_told_so(method: str, form: str) -> None:
    """In every form that HTTP gives the condition; the caching headers come again."""
    etag = headers_of(script_reply("GET"))["etag"]
    reply = script_reply(method, if_none_match=form.format(etag))
    assert (reply.status, reply.body) == (304, b"")
    assert headers_of(reply)["etag"] == etag
    assert "cache-control" in headers_of(reply)
    assert "content-length" not in headers_of(reply)


@pytest.mark.parametrize("condition", ["", '"x"', "x", '"', ",,,", "W/", "\x00", '"x",' * 300_000])
def test_any_other_condition_gets_the_script(condition: str) -> None:
    """Hostile ones included, however long."""
    assert script_reply("GET", if_none_match=condition).status == 200


def test_a_condition_is_read_as_far_as_1_kib() -> None:
    """Longer ones are nobody's cache."""
    etag = headers_of(script_reply("GET"))["etag"]
    assert script_reply("GET", if_none_match='"x",' * 10 + etag).status == 304
    assert script_reply("GET", if_none_match='"x",' * 300 + etag).status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "get", ""])
def test_nothing_but_get_and_head_is_served(method: str) -> None:
    """The reply names the two."""
    reply = script_reply(method)
    assert (reply.status, reply.body) == (405, b"")
    assert headers_of(reply) == {"allow": "GET, HEAD", "content-length": "0"}
