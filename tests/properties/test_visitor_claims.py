"""Whatever a browser sends as a visitor: no exception, and nothing accepted that breaks a rule."""

from __future__ import annotations

from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from alhena_async import Visitor
from alhena_async.browser import decode_visitor, encode_visitor, read_visitor
from tests.properties.test_wire_roundtrip import visitors

names = st.sampled_from([b"cookie", b"Cookie", b"x-alhena-visitor", b"X-ALHENA-VISITOR", b"host"])
pieces = st.sampled_from(
    [b"alhena_visitor=", b"alhena_visitor", b"a:b", b"a" * 256, b":", b";", b"; ", b" ", b"=", b","]
) | st.sampled_from(
    [b"%41", b"%", b"%ff", b"%00", b"%e2%98%95", b'"', b"\x00", b"\r\n", b"\xff", b"x"]
)
built = st.lists(pieces, max_size=12).map(b"".join)
values = st.binary(max_size=80) | built
headers = st.lists(st.tuples(names, values), max_size=5)


def is_sound(visitor: Visitor) -> bool:
    """The rules, once more and by themselves."""
    texts = (visitor.fingerprint, visitor.faq_fingerprint)
    return all(
        0 < len(text) <= 256
        and not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in text)
        and text.encode().decode() == text
        for text in texts
    )


@given(headers)
def test_hostile_headers_give_a_sound_visitor_or_nobody(sent: list[tuple[bytes, bytes]]) -> None:
    """Never an exception, and what is accepted was sent by exactly one header or cookie."""
    found = read_visitor(sent)
    if found is None:
        return
    assert is_sound(found)
    claimed = [value for name, value in sent if name.lower() == b"x-alhena-visitor"]
    if any(value.strip(b" \t") for value in claimed):
        assert len(claimed) == 1
    else:
        cookies = [value for name, value in sent if name.lower() == b"cookie"]
        crumbs = [crumb.strip(b" \t") for value in cookies for crumb in value.split(b";")]
        assert sum(crumb.startswith(b"alhena_visitor=") for crumb in crumbs) == 1


@given(values | st.text(max_size=80))
def test_a_hostile_claim_gives_a_sound_visitor_or_nobody(claim: bytes | str) -> None:
    """And a sound one says the same when it is written again."""
    found = decode_visitor(claim)
    if found is not None:
        assert is_sound(found)
        assert len(claim) <= 1_024
        assert decode_visitor(encode_visitor(found)) == found


def encode_uri_component(text: str) -> str:
    """JavaScript's function of that name."""
    return "".join(letter if letter in "!*'()" else quote(letter, safe="") for letter in text)


@given(visitors)
def test_what_the_script_writes_is_read_back(visitor: Visitor) -> None:
    """Cookie and header, for every visitor whose claim fits into 1 KiB; beyond, nobody."""
    parts = (visitor.fingerprint, visitor.faq_fingerprint)
    claim = ":".join(map(encode_uri_component, parts))
    assert encode_visitor(visitor) == claim
    wanted = visitor if len(claim) <= 1_024 else None
    assert decode_visitor(claim) == wanted
    assert read_visitor([(b"x-alhena-visitor", claim.encode())]) == wanted
    assert read_visitor([(b"cookie", f"a=b; alhena_visitor={claim}; c=d".encode())]) == wanted
