"""Which claims of a browser are believed to be a visitor, and which are nobody."""

from __future__ import annotations

import logging

import pytest

from alhena_async import Visitor
from alhena_async.browser import VisitorReader, decode_visitor, encode_visitor, read_visitor
from tests.scripted import visitor

ANN = Visitor(
    fingerprint="550e8400-e29b-41d4-a716-446655440000",
    faq_fingerprint="660e8400-e29b-41d4-a716-446655441111",
)
CLAIM = b"550e8400-e29b-41d4-a716-446655440000:660e8400-e29b-41d4-a716-446655441111"


def cookie(*values: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"cookie", value) for value in values]


def header(*values: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"x-alhena-visitor", value) for value in values]


@pytest.mark.parametrize(
    "value",
    [
        b"alhena_visitor=" + CLAIM,
        b"theme=dark; alhena_visitor=" + CLAIM + b"; cart=1",
        b"theme=dark;alhena_visitor=" + CLAIM + b";cart=1",
        b"theme=dark;\talhena_visitor=" + CLAIM + b" ; cart",
        b"not_alhena_visitor=x; alhena_visitor2=x; Alhena_Visitor=x; alhena_visitor=" + CLAIM,
        b'quoted="; a=b"; alhena_visitor=' + CLAIM,
        b"; ; =; =x; alhena_visitor=" + CLAIM,
    ],
)
def test_the_cookie_is_found_among_others(value: bytes) -> None:
    """Whatever stands around it, and only under its exact name."""
    assert read_visitor(cookie(value)) == ANN


def test_cookies_may_come_in_several_headers() -> None:
    """HTTP/2 splits them."""
    assert read_visitor(cookie(b"a=b", b"alhena_visitor=" + CLAIM, b"c=d")) == ANN


def test_the_headers_case_does_not_matter() -> None:
    """Aiohttp passes names on as they were sent."""
    assert read_visitor([(b"X-Alhena-VISITOR", CLAIM)]) == ANN
    assert read_visitor([(b"Cookie", b"alhena_visitor=" + CLAIM)]) == ANN


def test_the_header_wins_over_the_cookie() -> None:
    """An app that sends it knows better than a cookie jar."""
    assert read_visitor([*cookie(b"alhena_visitor=x:y"), *header(CLAIM)]) == ANN


@pytest.mark.parametrize("bad", [b"x", b"%zz:y", CLAIM + b"," + CLAIM, b"x" * 1_025])
def test_a_header_that_is_not_sound_does_not_fall_back_to_the_cookie(bad: bytes) -> None:
    """The cookie may be another visitor's: a wrong attribution is worse than none."""
    assert read_visitor([*header(bad), *cookie(b"alhena_visitor=" + CLAIM)]) is None


@pytest.mark.parametrize("empty", [b"", b" \t "])
def test_an_empty_header_claims_nothing(empty: bytes) -> None:
    """A page that sends it before the widget has loaded keeps its cookie."""
    assert read_visitor([*header(empty), *cookie(b"alhena_visitor=" + CLAIM)]) == ANN
    assert read_visitor(header(empty)) is None


@pytest.mark.parametrize(
    "headers",
    [
        header(CLAIM, CLAIM),
        header(CLAIM, b""),
        header(CLAIM, b"x:y"),
        cookie(b"alhena_visitor=" + CLAIM + b"; alhena_visitor=" + CLAIM),
        cookie(b"alhena_visitor=" + CLAIM, b"alhena_visitor=" + CLAIM),
        cookie(b"alhena_visitor=" + CLAIM + b"; alhena_visitor="),
        cookie(b"alhena_visitor=" + CLAIM + b"; alhena_visitor=x:y"),
    ],
)
def test_what_comes_twice_is_nobody(headers: list[tuple[bytes, bytes]]) -> None:
    """Which of the two is meant cannot be known."""
    assert read_visitor(headers) is None


def test_without_header_and_cookie_there_is_nobody() -> None:
    """The usual case of a visitor who has not seen the widget yet."""
    assert read_visitor([]) is None
    assert read_visitor([(b"host", b"shop"), (b"cookie", b"a=b")]) is None


@pytest.mark.parametrize(
    "claim",
    [
        b"",
        b":",
        b"a",
        b"a:",
        b":a",
        b"a:b:c",
        b"a::b",
        b"a b:c",
        b'"a:b"',
        b"a:b,c",
        b"a=b:c",
        b"a+b/c:d",
        b"%:b",
        b"a:%2",
        b"a:%2g",
        b"a:%-1",
        b"%u00e9:b",
        b"a:%ff",  # no UTF-8
        b"a:%c0%ae",  # overlong
        b"a:%ed%a0%80",  # half of a surrogate pair
        b"a:%00",
        b"a:%0d%0aSet-Cookie",
        b"a:%7f",
        b"a:%c2%85",  # a control character past ASCII
        b"a:b\x00",
        b"a:b\n",
        b"\xc3\xa9:b",  # not encoded
        b"a" * 257 + b":b",  # one more than a fingerprint may have
        b"a:" + b"b" * 1_023,  # a byte past the bound
    ],
)
def test_a_claim_that_is_not_sound_is_nobody(claim: bytes) -> None:
    """In the cookie as in the header, as bytes as in text."""
    assert decode_visitor(claim) is None
    assert decode_visitor(claim.decode("latin-1")) is None
    assert read_visitor(header(claim)) is None
    assert read_visitor(cookie(b"alhena_visitor=" + claim)) is None


@pytest.mark.parametrize("claim", [None, 7, ["a:b"], {"a": "b"}, bytearray(b"a:b"), object()])
def test_what_is_neither_text_nor_bytes_is_nobody(claim: object) -> None:
    """A column of a database may hold anything, too."""
    assert decode_visitor(claim) is None


def test_spaces_around_a_claim_do_not_matter() -> None:
    """Some servers leave them in a header's value."""
    assert read_visitor(header(b" \t" + CLAIM + b"\t ")) == ANN


def test_a_claim_of_1_kib_is_still_read() -> None:
    """The bound holds for what arrives, not for what it decodes to."""
    exact = Visitor(fingerprint="é" * 169, faq_fingerprint="b" * 9)  # 6 * 169 + 1 + 9 = 1,024
    assert len(encode_visitor(exact)) == 1_024
    assert decode_visitor(encode_visitor(exact)) == exact
    past = Visitor(fingerprint="é" * 169, faq_fingerprint="b" * 10)
    assert decode_visitor(encode_visitor(past)) is None


def test_the_encoding_is_the_browsers() -> None:
    """As `encodeURIComponent` writes: what it leaves alone, and what it does not."""
    there = visitor("a:b é☕-_.!~*'()")
    written = "a%3Ab%20%C3%A9%E2%98%95-_.!~*'()"
    assert encode_visitor(there) == f"{written}:faq-{written}"
    assert decode_visitor(encode_visitor(there).replace("%3A", "%3a")) == there


def test_names_of_your_own() -> None:
    """Both may differ, also by characters that mean something in a pattern."""
    reader = VisitorReader(cookie_name="shop.$visitor|x", header_name="X-Shop")
    assert reader.read(cookie(b"shop.$visitor|x=" + CLAIM)) == ANN
    assert reader.read([(b"x-shop", CLAIM)]) == ANN
    for other in (b"alhena_visitor=", b"x=", b"shop-$visitor|x="):
        assert reader.read(cookie(other + CLAIM)) is None
    assert reader.read(header(CLAIM)) is None


@pytest.mark.parametrize("name", ["", "a b", "a=b", "a;b", "a\n", "é", None])
def test_a_name_that_http_does_not_allow_is_refused(name: str) -> None:
    """At once, and not by never finding anything."""
    with pytest.raises(ValueError, match="cookie_name must be a name"):
        VisitorReader(cookie_name=name)
    with pytest.raises(ValueError, match="header_name must be a name"):
        VisitorReader(header_name=name)


@pytest.mark.parametrize(
    "part",
    [
        b"; ",
        b";",
        b" ",
        b"\t",
        b"=",
        b"alhena_visitor",
        b"alhena_visitor=",
        b"alhena_visitor=;",
        b"xalhena_visitor=a:b",
        b"; alhena_visito",
        b"%",
        b"\xff",
    ],
)
def test_a_huge_cookie_header_is_not_read_at_all(part: bytes) -> None:
    """Past 16 KiB, in one header or in many, not even a sound claim in it counts."""
    good = b"; alhena_visitor=" + CLAIM
    assert read_visitor(cookie(part * (1_048_576 // len(part)) + good)) is None
    assert read_visitor(cookie(*[part * (7_000 // len(part))] * 3, good)) is None


def test_a_cookie_header_of_16_kib_is_read() -> None:
    """Shops keep a lot in cookies."""
    mine = b"; alhena_visitor=" + CLAIM
    assert read_visitor(cookie(b"a" * (16_384 - len(mine)) + mine)) == ANN
    assert read_visitor(cookie(b"a" * (16_385 - len(mine)) + mine)) is None


def test_nothing_of_a_claim_is_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sound or not: neither value nor cookie, at any level; not in the one warning there is."""
    monkeypatch.setattr("alhena_async.events._fields_warned_of", set())
    with caplog.at_level(logging.DEBUG):
        for claim in (b"secret-fp:secret-faq", b"secret-fp:%ff", b"secret-fp", b"secret:%00"):
            read_visitor(header(claim))
            read_visitor(cookie(b"alhena_visitor=" + claim))
    assert "is no UUID" in caplog.text
    assert "secret" not in caplog.text
