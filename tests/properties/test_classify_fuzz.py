"""Whatever a server, a proxy or an attacker answers, `classify` gives a verdict."""

import gzip
import json
import math
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from alhena_async._replies import Verdict, VerdictKind, classify
from alhena_async.outcomes import ErrorCode
from alhena_async.transports import Reply

CODES = [code.value for code in ErrorCode]
FIELDS = [
    "error", "error_code", "code", "status", "event_type", "message", "detail", "errors", "type",
    "data", "", "é",
]  # fmt: skip

words = st.sampled_from(
    [
        *CODES,
        "success",
        "SUCCESS",
        "error",
        "ok",
        "null",
        "X_NOT_FOUND",
        "200",
        " ",
        "\ud800",
        "\x1b",
    ]
)
leaves = st.none() | st.booleans() | st.integers() | st.floats() | words | st.text(max_size=20)
documents = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=12,
)


def to_json(document: Any) -> bytes:
    return json.dumps(document).encode()


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    """A JSON text, cut or with bytes put in."""
    raw = to_json(draw(documents))
    place = draw(st.integers(0, len(raw)))
    return raw[:place] + draw(st.binary(max_size=4)) + draw(st.sampled_from([b"", raw[place:]]))


plain_bodies = (
    st.binary(max_size=300)
    | documents.map(to_json)
    | broken()
    | st.text(max_size=100).map(lambda text: text.encode("utf-16", "surrogatepass"))
    | st.sampled_from([b"[" * 3_000, b'{"a":' * 3_000, b"1" * 5_000, b'"' + b"\\ud800" * 50 + b'"'])
)
squeezes: list[Callable[[bytes], bytes]] = [bytes, gzip.compress, zlib.compress]
bodies = st.builds(
    lambda body, squeeze, cut: squeeze(body)[: cut or None],
    plain_bodies,
    st.sampled_from(squeezes),
    st.sampled_from([0, 0, 0, 1, 5, 12, 30]),
)
statuses = st.one_of(
    st.integers(100, 599),
    st.sampled_from([200, 201, 204, 301, 404, 429, 500, 503]),
    st.integers(-5, 1_100),
    st.integers(),
)
dates = st.builds(
    "{}, {} {} {} {}:{}:{} {}".format,
    st.sampled_from(["Mon", "Sunday", "", "X"]),
    st.integers(-5, 40),
    st.sampled_from(["Jan", "Feb", "Dec", "Foo", "13"]),
    st.integers(-10, 100_000),
    st.integers(-1, 30),
    st.integers(-1, 70),
    st.integers(-1, 70),
    st.sampled_from(["GMT", "-0000", "+9999", "+99999999999", "EST", "", "\x00"]),
)
retry_afters = st.one_of(
    st.text(max_size=30),
    st.text("0123456789-+:;,. ()", max_size=30),
    st.integers().map(str),
    st.integers(1, 400).map(lambda length: "9" * length),
    dates,
)
encodings = st.sampled_from(
    ["gzip", "GZIP ", "deflate", "br", "identity", "", "gzip, deflate", "\x00"]
)
headers = st.one_of(
    st.fixed_dictionaries(
        {}, optional={"Retry-After": retry_afters, "Content-Encoding": encodings, "X": st.text()}
    ),
    st.dictionaries(
        st.sampled_from(["retry-after", "CONTENT-ENCODING", "RETRY-AFTER", ""]),
        retry_afters | encodings,
    ),
    st.builds(lambda text: CIMultiDict([("retry-after", text)] * 2), retry_afters),
)


def check(verdict: Verdict, status: int) -> None:
    """What holds of every verdict there is."""
    assert isinstance(verdict, Verdict)
    assert verdict.http_status == status
    if verdict.detail is not None:
        assert len(verdict.detail) <= 700
        assert verdict.detail.isprintable()
        verdict.detail.encode()
    if verdict.code is not None:
        assert 0 < len(verdict.code) <= 200
        verdict.code.encode()
    if verdict.retry_after is not None:
        assert math.isfinite(verdict.retry_after)
        assert verdict.retry_after >= 0
        assert verdict.kind is VerdictKind.THROTTLED
    if verdict.kind is VerdictKind.RECORDED:
        assert 200 <= status < 300
        assert verdict.code is None
    if verdict.ambiguous:
        assert verdict.kind.is_transient
    if verdict.kind.is_transient:
        assert verdict.code not in CODES
        assert not 300 <= status < 400
        assert status not in {410, 451}
    if verdict.code in CODES:
        assert not verdict.kind.is_transient


@settings(max_examples=400)
@given(
    status=statuses,
    body=bodies,
    fields=headers,
    wall_time=st.floats() | st.just(1_700_000_000.0),
)
@example(status=503, body=b"", fields={"Retry-After": "Mon, 1 Jan 0 0:0:0 GMT"}, wall_time=0.0)
@example(status=200, body=b'{"status":"success"}', fields={}, wall_time=0.0)
def test_any_reply_gives_a_verdict(
    status: int, body: bytes, fields: Mapping[str, str], wall_time: float
) -> None:
    """Any bytes, any status, any headers, any clock: a verdict that can be kept, no exception."""
    check(classify(Reply(status, body, fields), wall_time=wall_time), status)


@settings(max_examples=200)
@given(text=retry_afters, status=st.sampled_from([429, 503]), wall_time=st.floats(0, 4e9))
def test_any_retry_after_gives_a_delay_or_none(text: str, status: int, wall_time: float) -> None:
    """Garbage in the header is no error, and never a negative or endless delay."""
    verdict = classify(Reply(status, b"", {"Retry-After": text}), wall_time=wall_time)
    check(verdict, status)
    assert verdict.kind is VerdictKind.THROTTLED
    if text.isascii() and text.isdigit():
        assert verdict.retry_after is not None


@settings(max_examples=300)
@given(document=documents, status=statuses)
def test_success_needs_every_sign_of_it(document: Any, status: int) -> None:
    """Recorded only for 2xx, an object, no other status, no code in any field for codes."""
    verdict = classify(Reply(status, to_json(document)))
    check(verdict, status)
    if verdict.kind is VerdictKind.RECORDED:
        assert isinstance(document, dict)
        assert document.get("status", "success") == "success"
        for field in FIELDS[:8]:
            value = document.get(field)
            assert not (isinstance(value, str) and any(code in value.split() for code in CODES))
        for field in ("error", "error_code", "errors"):
            value = document.get(field)
            assert not value or (isinstance(value, str) and value.strip().lower() in NOTHING)


NOTHING = {"", "success", "ok", "none", "null", "false"}


prose = st.text(
    st.characters(codec="utf-8", exclude_categories=["Lu", "Ll", "Nd", "Lo", "Lm", "Lt"],
                  exclude_characters="_"),
    max_size=20,
)  # fmt: skip
keys = st.text(st.characters(codec="utf-8", min_codepoint=97, max_codepoint=122), min_size=1)


@st.composite
def envelopes(draw: st.DrawFn, code: str) -> object:
    """A document with the code as a word somewhere in it, at any depth, among other things."""
    document: object = draw(prose) + code + draw(prose)
    for _ in range(draw(st.integers(0, 6))):
        field = draw(st.sampled_from(FIELDS) | keys)
        if draw(st.booleans()):
            document = [*draw(st.lists(st.integers() | prose, max_size=2)), document]
        else:
            beside = draw(st.dictionaries(keys, st.integers() | prose, max_size=2))
            document = {**beside, field: document}
    return document


@pytest.mark.parametrize("code", CODES)
@settings(max_examples=60)
@given(data=st.data(), status=st.integers(100, 599))
def test_a_documented_code_is_found_wherever_it_stands(
    code: str, data: st.DataObject, status: int
) -> None:
    """In any envelope at any depth, at any status: found, and final."""
    document = data.draw(envelopes(code))
    raw = json.dumps(document, ensure_ascii=data.draw(st.booleans())).encode()
    verdict = classify(Reply(status, raw, {"Retry-After": "5"}))
    check(verdict, status)
    assert verdict.code == code
    assert not verdict.kind.is_transient
    assert verdict.kind is not VerdictKind.RECORDED


@settings(max_examples=100)
@given(before=st.binary(max_size=60), after=st.binary(max_size=60), status=statuses)
def test_a_code_among_any_bytes_is_found(before: bytes, after: bytes, status: int) -> None:
    """Broken text around it hides no code."""
    raw = before + b" ORDER_ALREADY_EXISTS " + after
    verdict = classify(Reply(status, raw))
    check(verdict, status)
    assert verdict.code == "ORDER_ALREADY_EXISTS"


@settings(max_examples=60)
@given(body=plain_bodies, status=st.integers(100, 599))
def test_compression_changes_no_verdict(body: bytes, status: int) -> None:
    """What a proxy compressed means what it meant before."""
    plain = classify(Reply(status, body))
    for encoding, squeezed in [("gzip", gzip.compress(body)), ("deflate", zlib.compress(body))]:
        assert classify(Reply(status, squeezed, {"Content-Encoding": encoding})) == plain
