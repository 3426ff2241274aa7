"""What a reply means: codes in any envelope, successes, and what is not the API's at all."""

import gzip
import json
import tracemalloc
import zlib
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import pytest

from alhena_async._replies import Verdict, VerdictKind, classify
from alhena_async.outcomes import ErrorCode
from alhena_async.transports import Reply

ENVELOPES: dict[str, Callable[[str], Any]] = {
    "error": lambda code: {"error": code},
    "error_code": lambda code: {"error_code": code},
    "code": lambda code: {"code": code},
    "status": lambda code: {"status": code},
    "event_type": lambda code: {"event_type": code},
    "message": lambda code: {"message": f"Refused: {code}."},
    "detail": lambda code: {"detail": code},
    "error.code": lambda code: {"error": {"code": code, "message": "No."}},
    "errors of strings": lambda code: {"errors": [code]},
    "errors of objects": lambda code: {"errors": [{"field": "value"}, {"code": code}]},
    "deeper": lambda code: {"data": {"results": [{"why": {"reason": code}}]}},
    "plain text": lambda code: f"refused ({code})",
}
KIND_OF_CODE = {
    "MISSING_REQUIRED_FIELDS": VerdictKind.REFUSED,
    "COMPANY_NOT_FOUND": VerdictKind.REFUSED,
    "ACTIVE_TICKET_NOT_FOUND": VerdictKind.NO_TICKET,
    "PREVIOUS_ITEM_ADDED_EVENT_NOT_FOUND": VerdictKind.PRECONDITION,
    "PREVIOUS_QUANTITY_INCREASED_EVENT_NOT_FOUND": VerdictKind.PRECONDITION,
    "ORDER_ALREADY_EXISTS": VerdictKind.ORDER_EXISTS,
}
TRANSIENT = {408, 425, 429, *range(500, 600)}
CODE = "COMPANY_NOT_FOUND"


def read(status: int, body: object, **headers: str) -> Verdict:
    """Classify a body: bytes and text as they are, anything else as JSON."""
    if not isinstance(body, bytes | str):
        body = json.dumps(body)
    raw = body.encode() if isinstance(body, str) else body
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return classify(Reply(status, raw, named), wall_time=1_700_000_000.0)


# --- documented codes ---------------------------------------------------------------------------


@pytest.mark.parametrize("envelope", ENVELOPES.values(), ids=ENVELOPES)
@pytest.mark.parametrize("code", KIND_OF_CODE)
def test_a_documented_code_is_final_in_any_envelope_at_any_status(
    envelope: Callable[[str], Any], code: str
) -> None:
    """At every HTTP status there is, a retry would change nothing, and nothing is ambiguous."""
    body = envelope(code)
    for status in range(100, 600):
        verdict = read(status, body, Retry_After="120")
        assert (verdict.kind, verdict.code) == (KIND_OF_CODE[code], code), status
        assert verdict.http_status == status
        assert not verdict.kind.is_transient
        assert not verdict.ambiguous
        assert code in (verdict.detail or "")


@pytest.mark.parametrize(
    "name", [name for name in ENVELOPES if name not in {"status", "plain text", "deeper"}]
)
@pytest.mark.parametrize("status", [200, 201, 202, 299])
def test_a_code_counts_beside_a_status_of_success(name: str, status: int) -> None:
    """An envelope that says success and carries a code in a known place carries a code."""
    verdict = read(status, {"status": "success", **ENVELOPES[name](CODE)})
    assert (verdict.kind, verdict.code) == (VerdictKind.REFUSED, CODE)


def test_an_echoed_product_name_is_no_refusal() -> None:
    """Success is success, whatever a shop calls its products."""
    body = {"status": "success", "event": {"product_name": "ORDER_ALREADY_EXISTS"}}
    assert read(200, body).kind is VerdictKind.RECORDED


@pytest.mark.parametrize("status", [302, 404, 429, 500, 503])
def test_a_body_that_says_success_hides_no_code_from_a_failure(status: int) -> None:
    """Only where the HTTP status says success too is a code deep inside taken for an echo."""
    assert read(status, {"status": "success", "data": {"why": CODE}}).code == CODE


@pytest.mark.parametrize(
    "body",
    [
        pytest.param([{"code": CODE}], id="array"),
        pytest.param(json.dumps(CODE), id="json-string"),
        pytest.param({"errors": {"company_key": [CODE]}}, id="errors-by-field"),
        pytest.param({"errors": [[CODE]]}, id="nested-list"),
        pytest.param({"errors": ["x"] * 5_000 + [CODE]}, id="late-in-a-long-list"),
        pytest.param({"error": {"code": {"value": CODE}}}, id="code-object"),
        pytest.param({CODE: True}, id="as-a-key"),
        pytest.param({"code": f"  {CODE}\n"}, id="blanks-around"),
        pytest.param({"data": {"trace": f"Sorry:\n{CODE}\n"}}, id="line-breaks-around"),
        pytest.param({"data": {"trace": f"é{CODE}é"}}, id="escaped-letters-around"),
        pytest.param('{"trace": "Sorry:\\n' + CODE, id="line-break-in-truncated"),
        pytest.param({"code": f"analytics.errors.{CODE}"}, id="dotted"),
        pytest.param({"message": f"[{CODE}] no company 'gleen'"}, id="in-a-sentence"),
        pytest.param({"status": "error", "code": 40401, "message": CODE}, id="number-beside"),
        pytest.param(json.dumps({"code": CODE}, indent=4), id="pretty"),
        pytest.param("\ufeff" + json.dumps({"code": CODE}), id="byte-order-mark"),
        pytest.param(b'{"code": "\\u0043OMPANY_NOT_FOUND"}', id="escaped"),
        pytest.param(f"<html><h1>Error</h1><p>{CODE}</p></html>", id="html"),
        pytest.param(f"<error><code>{CODE}</code></error>", id="xml"),
        pytest.param("{'error': '" + CODE + "'}", id="python-repr"),
        pytest.param(CODE, id="bare"),
        pytest.param('{"error": "' + CODE, id="truncated"),
        pytest.param(b"\xff\xfe\x00" + CODE.encode() + b"\x00\xff", id="among-broken-bytes"),
        pytest.param("[" * 100_000 + CODE, id="deep-nesting"),
        pytest.param('{"n": ' + "9" * 5_000 + ', "error": "' + CODE + '"}', id="5000-digits"),
    ],
)
@pytest.mark.parametrize("status", [200, 404, 500])
def test_a_documented_code_is_found_anywhere_in_the_text(status: int, body: object) -> None:
    """Whatever shape a reply has, a code that stands in it as a word is found."""
    verdict = read(status, body)
    assert (verdict.kind, verdict.code) == (VerdictKind.REFUSED, CODE)


@pytest.mark.parametrize(
    "word",
    [
        "company_not_found",
        "Company_Not_Found",
        "COMPANY_NOT_FOUND_YET",
        "SUBCOMPANY_NOT_FOUND",
        "THE_COMPANY_NOT_FOUND",
        "COMPANY_NOT_FOUND2",
        "COMPANY NOT FOUND",
        "COMPANY-NOT-FOUND",
        "COMPANY_NOT_FOUN",
    ],
)
def test_a_code_is_a_whole_word(word: str) -> None:
    """What only resembles a documented code is an unknown one, kept verbatim."""
    assert read(404, {"code": word}).code == word
    assert read(503, {"code": word}).kind is VerdictKind.THROTTLED


@pytest.mark.parametrize(
    "body",
    [
        {"message": "not ORDER_ALREADY_EXISTS", "code": CODE},
        {"message": "not ORDER_ALREADY_EXISTS", "error": {"code": CODE}},
        {"detail": "not ORDER_ALREADY_EXISTS", "errors": [CODE]},
        {"hint": "not ORDER_ALREADY_EXISTS", "message": CODE},
        {"error": {"message": "not ORDER_ALREADY_EXISTS", "code": CODE}},
        {"errors": [{"message": "not ORDER_ALREADY_EXISTS", "code": CODE}]},
        {"error": "UNHEARD_OF", "message": CODE},
        {"code": "UNHEARD_OF", "deeper": [CODE]},
    ],
    ids=ascii,
)
def test_the_code_field_wins_over_prose_and_the_documented_over_the_unknown(body: object) -> None:
    """Where several stand in a reply, the one in the place for codes counts."""
    assert read(422, body).code == CODE


def test_every_documented_code_is_judged() -> None:
    """A seventh code would have to say what it means."""
    assert {code.value for code in ErrorCode} == set(KIND_OF_CODE)


# --- unknown codes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {"error": "TEAPOT"},
        {"error_code": "TEAPOT"},
        {"code": "TEAPOT"},
        {"error": {"code": "TEAPOT", "message": "short and stout"}},
        {"errors": ["TEAPOT"]},
        {"errors": [{"code": "TEAPOT"}]},
        {"code": 418, "error": "TEAPOT"},
        {"error": None, "code": "TEAPOT", "message": "short and stout"},
        {"error": "", "code": " TEAPOT "},
        {"status": "success", "code": "TEAPOT"},
    ],
    ids=ascii,
)
def test_an_unknown_code_is_kept_and_its_http_status_decides(body: object) -> None:
    """408, 425, 429 and 5xx are transient, every other status is final, 200 too."""
    for status in range(200, 600):
        verdict = read(status, body)
        assert verdict.code == "TEAPOT", status
        assert verdict.kind.is_transient is (status in TRANSIENT), status


def test_an_unknown_code_is_kept_verbatim_within_a_bound() -> None:
    """Case, blanks inside and odd letters stay; 200 characters at most."""
    assert read(400, {"code": "Tea Pot: №5 „leer“\x1b[0m"}).code == "Tea Pot: №5 „leer“\x1b[0m"
    assert read(400, {"code": "x" * 200}).code == "x" * 200
    assert read(400, {"code": "x" * 60_000}).code == "x" * 200


def test_an_unknown_code_can_be_stored() -> None:
    """JSON may spell half of a surrogate pair, which no log, file or journal can hold."""
    code = read(400, b'{"code": "A\\ud800B"}').code
    assert code == "A?B"


@pytest.mark.parametrize(
    "body",
    [
        {"error": None},
        {"error": ""},
        {"error": False},
        {"code": 404},
        {"code": "404"},
        {"error": 5, "errors": [5, None, [], {}]},
        {"errors": []},
        {"status": "error", "message": "no such thing", "detail": "none", "event_type": "CART"},
        {"error": {}},
    ],
    ids=ascii,
)
def test_what_is_no_code_is_not_made_one(body: object) -> None:
    """Numbers, prose and the words for nothing are no codes; a 4xx is final all the same."""
    verdict = read(404, body)
    assert (verdict.kind, verdict.code) == (VerdictKind.REFUSED, None)


# --- what counts as recorded --------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {"status": "success", "event_type": "CART_EVENT_RECORDED"},
        {"status": "success", "event_type": "CHECKOUT_EVENT_RECORDED"},
        {"status": "success"},
        {"event_type": "CART_EVENT_RECORDED"},
        {},
        {"status": "success", "code": 200, "message": "ok", "detail": None},
        {"status": "success", "code": "200"},
        {"status": "success", "error": None, "errors": [], "error_code": "", "code": None},
        {"status": "success", "error": False},
        {"status": "success", "data": {"id": 5, "status": "queued"}},
        '\ufeff {"status":"success"}\r\n',
    ],
    ids=ascii,
)
@pytest.mark.parametrize("status", [200, 201, 202, 203, 299])
def test_a_json_object_without_a_code_is_a_success(status: int, body: object) -> None:
    """2xx, an object, no code, no `status` other than success: recorded."""
    verdict = read(status, body)
    assert verdict == Verdict(kind=VerdictKind.RECORDED, http_status=status)


@pytest.mark.parametrize("status", [100, 199, 300, 302, 400, 404, 408, 429, 500, 503, 599])
def test_only_2xx_is_a_success(status: int) -> None:
    """The documented success body under any other status is none."""
    body = {"status": "success", "event_type": "CART_EVENT_RECORDED"}
    assert read(status, body).kind is not VerdictKind.RECORDED


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("", id="empty"),
        pytest.param(" \r\n", id="blank"),
        pytest.param("<!doctype html><title>Please wait…</title>", id="html"),
        pytest.param("OK", id="text"),
        pytest.param('{"status":"success","event_type":"CART_EVENT_REC', id="truncated"),
        pytest.param('{"status":"success"', id="truncated-at-the-end"),
        pytest.param('{"status":"success"}{"status":"success"}', id="twice"),
        pytest.param("null", id="null"),
        pytest.param("true", id="true"),
        pytest.param("200", id="number"),
        pytest.param('"success"', id="string"),
        pytest.param("[]", id="array"),
        pytest.param([{"status": "success"}], id="array-of-success"),
        pytest.param({"status": "pending"}, id="other-status"),
        pytest.param({"status": "SUCCESS"}, id="other-case"),
        pytest.param({"status": None}, id="null-status"),
        pytest.param({"status": True}, id="true-status"),
        pytest.param({"status": ["success"]}, id="list-status"),
        pytest.param(b"\xff\xfe\xfd", id="bytes"),
        pytest.param(b"\x1f\x8b\x08\x00", id="gzip-head"),
        pytest.param(b"\x00" * 100, id="zeros"),
        pytest.param("[" * 100_000, id="deep"),
    ],
)
@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_a_2xx_that_is_not_the_apis_is_transient_and_ambiguous(status: int, body: object) -> None:
    """A proxy or a CDN spoke, or the answer broke off: perhaps recorded, so ask again."""
    verdict = read(status, body)
    assert verdict.kind is VerdictKind.TRANSIENT
    assert verdict.ambiguous
    assert verdict.code is None
    assert f"HTTP {status}" in (verdict.detail or "")


def test_an_error_without_a_code_in_a_2xx_is_a_refusal() -> None:
    """`{"error": true}` beside success is no success."""
    assert read(200, {"status": "success", "error": True}).kind is VerdictKind.REFUSED
    assert read(200, {"error": {"at": 5}}).kind is VerdictKind.REFUSED
    assert read(200, {"errors": [5]}).kind is VerdictKind.REFUSED


# --- statuses -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", range(300, 400))
@pytest.mark.parametrize("body", ["", "<html>Moved</html>", {"status": "success"}], ids=ascii)
def test_a_redirect_is_final_and_says_what_to_check(status: int, body: object) -> None:
    """A POST may not wander to another host."""
    verdict = read(status, body, Location="https://elsewhere.example/")
    assert verdict.kind is VerdictKind.REFUSED
    assert not verdict.ambiguous
    assert "region" in (verdict.detail or "")
    assert "base URL" in (verdict.detail or "")


PAGES = ["<h1>Oh no</h1>", "", "Not Found", "[]", "null", '"{}"', '{"error": "cut', b"\xff\x00"]


@pytest.mark.parametrize("body", PAGES, ids=ascii)
@pytest.mark.parametrize("status", range(400, 500))
def test_a_4xx_page_is_not_the_apis(status: int, body: str | bytes) -> None:
    """A firewall's bad half second ends no order; nothing was recorded. 410 and 451 are final."""
    verdict = read(status, body)
    if status in {410, 451}:
        assert verdict.kind is VerdictKind.REFUSED
    else:
        assert verdict.kind is (VerdictKind.THROTTLED if status == 429 else VerdictKind.TRANSIENT)
        assert verdict.is_page is (status not in TRANSIENT)
        assert f"HTTP {status}" in verdict.summary
        assert "Oh no" not in verdict.summary
    assert not verdict.ambiguous


@pytest.mark.parametrize("status", [0, 42, 99, 100, 101, 103, 199, 500, 502, 504, 599, 600, 999])
@pytest.mark.parametrize("body", ["<h1>Oh no</h1>", '{"error": "TEAPOT"}', "{}"])
def test_a_status_that_is_no_word_of_the_apis_is_tried_again(status: int, body: str) -> None:
    """5xx, what stands above, and what is no final reply at all: perhaps recorded."""
    verdict = read(status, body)
    assert verdict.kind is VerdictKind.TRANSIENT
    assert verdict.ambiguous


@pytest.mark.parametrize("status", [408, 425, 429, 503])
def test_some_statuses_say_that_nothing_was_recorded(status: int) -> None:
    """Then the event may be repeated whatever it is."""
    verdict = read(status, "<h1>Oh no</h1>")
    throttled = status in {429, 503}
    assert verdict.kind is (VerdictKind.THROTTLED if throttled else VerdictKind.TRANSIENT)
    assert not verdict.ambiguous
    assert verdict.detail == "<h1>Oh no</h1>"


# --- bodies that broke off ----------------------------------------------------------------------


def cut(status: int, body: bytes, **headers: str) -> Verdict:
    return classify(Reply(status, body, headers, broke_off=True))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"error":"ORDER_ALREADY_E',
        b'{"error":"TEAPOT"}',
        b'{"status":"success"}',
        b'{"status":"success","event_type":"CART_EVENT_RECORDED"',
        b'{"event_type":"CART_EVENT_RECORDED"}',
        b'{"status":"success","event_type":["CART_EVENT_RECORDED"]}',
        b"{}",
        b"<html>",
    ],
)
def test_a_body_that_broke_off_is_a_lost_connection_at_every_status(body: bytes) -> None:
    """Even if its JSON is whole: what was to follow is not known."""
    for status in range(200, 600):
        verdict = cut(status, body)
        assert verdict.kind.is_transient, status
        assert verdict.ambiguous is (status not in {408, 425, 429, 503}), status


@pytest.mark.parametrize("kind", ["CART_EVENT_RECORDED", "CHECKOUT_EVENT_RECORDED"])
def test_what_came_of_a_body_may_settle_the_event(kind: str) -> None:
    """A documented code, or the whole documented success: nothing else can follow."""
    success = f'{{"status":"success","event_type":"{kind}"}}'.encode()
    assert cut(200, success).kind is VerdictKind.RECORDED
    assert cut(500, success).kind is VerdictKind.TRANSIENT
    for status in (200, 404, 503):
        assert cut(status, b'{"error":"COMPANY_NOT_FOUND","de').code == CODE


def test_a_throttling_reply_that_broke_off_still_throttles() -> None:
    """Its head came whole."""
    verdict = classify(Reply(429, b"slow", {"Retry-After": "7"}, broke_off=True))
    assert (verdict.kind, verdict.retry_after) == (VerdictKind.THROTTLED, 7.0)


def test_a_refusals_body_is_kept_within_a_bound() -> None:
    """An unknown refusal explains itself, in 500 characters that a terminal may show."""
    verdict = read(410, "no\x1b[31m\n\u202e\x00" + "x" * 100_000)
    detail = verdict.detail or ""
    assert detail.startswith("no [31m")
    assert len(detail) <= 500
    assert detail.isprintable()


def test_an_empty_refusal_has_no_detail() -> None:
    """Nothing said is nothing kept; a transient one at least names its status."""
    assert read(410, "").detail is None
    assert read(500, "").detail == "HTTP 500"


# --- Retry-After --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        ("  120  ", 120.0),
        ("007", 7.0),
        ("2.5", 2.5),
        ("0.01", 0.01),
        ("99999999999", 99_999_999_999.0),
        ("Tue, 14 Nov 2023 22:13:20 GMT", 0.0),  # the very moment of the reply
        ("Tue, 14 Nov 2023 22:14:50 GMT", 90.0),
        ("Tue, 14 Nov 2023 23:14:50 +0100", 90.0),
        ("Tue, 14 Nov 2023 22:14:50 -0000", 90.0),
        ("Tuesday, 14-Nov-23 22:14:50 GMT", 90.0),  # RFC 850
        ("Tue Nov 14 22:14:50 2023", 90.0),  # asctime
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),  # over
        ("Fri, 31 Dec 9999 23:59:59 GMT", 251_702_300_799.0),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_read_in_both_forms(status: int, text: str, seconds: float) -> None:
    """Seconds, or any of the three dates of HTTP; what is over asks for nothing."""
    verdict = read(status, "", Retry_After=text)
    assert verdict.kind is VerdictKind.THROTTLED
    assert verdict.retry_after == seconds


@pytest.mark.parametrize("skew", [-3_600, -240, 0, 20, 3_600])
def test_a_dated_retry_after_counts_from_the_replys_own_date(skew: int) -> None:
    """A clock that is wrong, ours or theirs, makes no pause longer or shorter."""
    theirs = 1_700_000_000 + skew
    headers = {"Date": formatdate(theirs, usegmt=True), "Retry-After": formatdate(theirs + 2)}
    assert classify(Reply(429, b"", headers), wall_time=1_700_000_000).retry_after == 2.0
    headers["Date"] = "yesterday"
    assert classify(Reply(429, b"", headers), wall_time=float(theirs)).retry_after == 2.0


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "-1", "+5", "1.", ".5", "1.5.2", "1e3", "0x10", "5s", "soon", "1 2", "5, 6",
        "\u0665", "\uff15", "²",
        "Tue, 32 Nov 2023 22:14:50 GMT", "Tue, 14 Foo 2023 22:14:50 GMT", "14 Nov", "nan", "inf",
        "Tue, 14 Nov 2023 99:99:99 GMT", "Tue, 14 Nov 99999999999 22:14:50 GMT", "\x00", "None",
        "Tue, 14 Nov 2023 22:14:50 +999999",
    ],
    ids=ascii,
)  # fmt: skip
def test_any_other_retry_after_counts_as_none(text: str) -> None:
    """Garbage neither raises nor delays."""
    verdict = read(503, "", Retry_After=text)
    assert (verdict.kind, verdict.retry_after) == (VerdictKind.THROTTLED, None)


def test_an_endless_retry_after_stays_a_number() -> None:
    """400 digits are a finite, huge delay: the policy's cap bounds it."""
    verdict = read(429, "", Retry_After="9" * 400)
    assert verdict.retry_after is not None
    assert 1e9 < verdict.retry_after < float("inf")


@pytest.mark.parametrize("name", ["Retry-After", "retry-after", "RETRY-AFTER"])
def test_header_names_have_no_case(name: str) -> None:
    """Also where the transport hands over a plain dict."""
    assert classify(Reply(429, b"", {name: "7"})).retry_after == 7.0


@pytest.mark.parametrize("status", [200, 301, 400, 408, 425, 500, 502, 504])
def test_only_429_and_503_may_ask_for_peace(status: int) -> None:
    """On any other status `Retry-After` means nothing to us."""
    assert read(status, "", Retry_After="120").retry_after is None


def test_retry_after_survives_a_clock_that_is_off() -> None:
    """A wall time that no calendar has gives no delay, and no error."""
    headers = {"Retry-After": "Tue, 14 Nov 2023 22:14:50 GMT"}
    for wall_time in (float("nan"), float("inf"), -1e30, 1e30):
        assert classify(Reply(429, b"", headers), wall_time=wall_time).retry_after is None


# --- compression --------------------------------------------------------------------------------

SUCCESS = b'{"status":"success"}'


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(SUCCESS, mtime=0)),
        (" GZIP ", gzip.compress(SUCCESS, mtime=0)),
        ("gzip", zlib.compress(SUCCESS)),
        ("deflate", zlib.compress(SUCCESS)),
        ("identity", SUCCESS),
        ("", SUCCESS),
        ("gzip", SUCCESS),  # a proxy that undid the compression and left the header
        ("br", SUCCESS),
    ],
    ids=ascii,
)
def test_a_compressed_reply_is_understood(encoding: str, body: bytes) -> None:
    """Nobody asked for compression, but some proxies do it anyway."""
    assert read(200, body, Content_Encoding=encoding).kind is VerdictKind.RECORDED
    assert classify(Reply(200, body, {"content-encoding": encoding})).kind is VerdictKind.RECORDED


def test_a_code_in_a_compressed_reply_is_found() -> None:
    """Even when the body was cut, as far as it goes."""
    body = gzip.compress(b'{"error":"COMPANY_NOT_FOUND","more":"' + bytes(range(256)) * 8 + b'"}')
    assert read(404, body, Content_Encoding="gzip").code == CODE
    assert read(404, body[:-30], Content_Encoding="gzip").code == CODE


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "\x00"])
@pytest.mark.parametrize(
    "body", [b"", b"\x1f\x8b", b"\x1f\x8b\x08\x00garbage" * 9, b"\x78\x9c\xff"]
)
def test_garbage_that_claims_to_be_compressed_is_not_the_apis(encoding: str, body: bytes) -> None:
    """It is read as it is, and is no success."""
    verdict = read(200, body, Content_Encoding=encoding)
    assert (verdict.kind, verdict.ambiguous) == (VerdictKind.TRANSIENT, True)


def test_a_bomb_does_not_go_off() -> None:
    """60 KB that would inflate to 60 MB are inflated no further than a reply may be long."""
    bomb = gzip.compress(b" " * 60_000_000, compresslevel=9)
    tracemalloc.start()
    try:
        verdict = read(200, bomb, Content_Encoding="gzip")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert verdict.kind is VerdictKind.TRANSIENT
    assert peak < 2_000_000
