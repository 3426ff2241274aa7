"""What a reply's bytes say: is it the API's success, and which code does it carry where?

The shape of an error is not documented, so a documented code is looked for in every field that
an envelope is known to use, and then anywhere in the text.
"""

from __future__ import annotations

import codecs
import enum
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, Final

import attrs

from alhena_async.outcomes import ErrorCode, printable
from alhena_async.transports import Reply

__all__ = ["Reading", "Verdict", "VerdictKind", "classify", "read"]


@attrs.frozen(kw_only=True, eq=False)  # by identity: one that is met again is the same object
class Reading:
    """What stands in a body."""

    code_in_field: ErrorCode | None
    """A documented code in a field that carries codes."""
    code_in_text: ErrorCode | None
    """A documented code anywhere."""
    unknown_code: str | None
    """What an error field holds otherwise, verbatim but bounded."""
    says_success: bool
    """It is a JSON object whose `status` is `success`."""
    is_object: bool
    """It is a JSON object, as all that the API says."""
    may_be_success: bool
    """It is a JSON object without a `status` other than `success`."""
    is_documented_success: bool
    """It is a JSON object with all that the documented success holds."""
    marks_error: bool
    """A field that only errors have is filled, with whatever."""
    excerpt: str
    """Its beginning, fit to print and to store."""


MAX_CODE_CHARACTERS: Final = 200

MAX_EXCERPT_CHARACTERS: Final = 500

_MAX_INFLATED_BYTES: Final = 65_536

_SHORT_BODY_BYTES: Final = 512


def read(body: bytes, content_encoding: str) -> Reading:
    """Read a body. Never raises, whatever the bytes."""
    if content_encoding:
        body = _inflate(body, content_encoding.strip().lower())
    body = bytes(body)
    # Nearly every reply is one of a few short ones, to the byte.
    return _read_again(body) if len(body) <= _SHORT_BODY_BYTES else _read(body)


codecs.lookup("utf-8-sig")  # from the disk, which may stand still when the first reply comes


def _read(body: bytes) -> Reading:
    text = body.decode("utf-8-sig", "replace")
    document = _parse(text)
    fields = document if isinstance(document, dict) else {}
    status = fields.get("status", "success")
    in_fields = (_documented_code(text) for text in _strings(fields, _CODE_FIELDS))
    return Reading(
        code_in_field=next(filter(None, in_fields), None),
        code_in_text=_documented_code(text),
        unknown_code=_unknown_code(fields),
        says_success=fields.get("status") == "success",
        is_object=isinstance(document, dict),
        may_be_success=isinstance(document, dict) and status == "success",
        is_documented_success=(
            fields.get("status") == "success" and fields.get("event_type") in _RECORDED
        ),
        marks_error=any(fields.get(field) for field in _ERROR_MARKS),
        excerpt=printable(text[:MAX_EXCERPT_CHARACTERS]).strip(),
    )


_read_again = lru_cache(maxsize=256)(_read)


def _inflate(body: bytes, encoding: str) -> bytes:
    """Undo a compression that nobody asked for, within a bound."""
    if encoding not in {"gzip", "deflate"}:
        return body
    try:
        inflater = zlib.decompressobj(wbits=47 if encoding == "gzip" else 15)
        return inflater.decompress(body, _MAX_INFLATED_BYTES)
    except zlib.error:
        return body


def _parse(text: str) -> object:
    try:
        parsed: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return parsed


# Where an envelope may carry its code. The first are for errors alone; the others serve success
# as well, so an undocumented word there is no code.
_ERROR_MARKS: Final = ("error", "error_code", "errors")

_ERROR_FIELDS: Final = ("error", "error_code", "code", "errors")

_CODE_FIELDS: Final = (*_ERROR_FIELDS, "status", "event_type", "message", "detail")

_INNER_FIELDS: Final = ("code", "error_code", "error", "type", "message")

# A code is a whole word. In the text of a JSON document the letter before it may belong to an
# escape: "Sorry:\nCOMPANY_NOT_FOUND".
_WORD_BEGINS: Final = r"(?:(?<![A-Za-z0-9_])|(?<=\\[bfnrt])|(?<=\\u[0-9A-Fa-f]{4}))"

_CODE_WORD: Final = re.compile(_WORD_BEGINS + "(?:" + "|".join(ErrorCode) + ")(?![A-Za-z0-9_])")

_RECORDED: Final = ("CART_EVENT_RECORDED", "CHECKOUT_EVENT_RECORDED")

_NO_CODES: Final = frozenset(
    {"success", "ok", "none", "null", "false", *(word.lower() for word in _RECORDED)}
)


def _documented_code(text: str) -> ErrorCode | None:
    found = _CODE_WORD.search(text)
    return ErrorCode(found.group()) if found else None


def _unknown_code(fields: dict[str, Any]) -> str | None:
    for candidate in _strings(fields, _ERROR_FIELDS):
        word = candidate.strip()
        if word and word.lower() not in _NO_CODES and not word.isdigit():
            # Verbatim, but for half a surrogate pair, which nothing can store.
            return word[:MAX_CODE_CHARACTERS].encode("utf-8", "replace").decode()
    return None


def _strings(document: dict[str, Any], fields: tuple[str, ...]) -> Iterator[str]:
    """Yield the texts in an envelope's fields: itself, one level inside, or in a list."""
    for field in fields:
        yield from _strings_of(document.get(field), fields)


def _strings_of(value: Any, fields: tuple[str, ...]) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        # Inside an error object a message describes; the code comes first.
        for field in (*_INNER_FIELDS, *fields):
            if isinstance(value.get(field), str):
                yield value[field]
    elif isinstance(value, list):
        for entry in value[:100]:
            if isinstance(entry, str | dict):
                yield from _strings_of(entry, fields)


class VerdictKind(enum.Enum):
    """What an attempt's end means for its event: whether another attempt can help."""

    RECORDED = "recorded"
    PUBLISHED = "published"
    """A broker has it."""
    ORDER_EXISTS = "order exists"
    NO_TICKET = "no ticket"
    PRECONDITION = "precondition"
    """A `PREVIOUS_*` code: final, but another process may still hold the earlier event."""
    REFUSED = "refused"
    TRANSIENT = "transient"
    THROTTLED = "throttled"
    """Transient, and the API asks for less: 429 and 503."""

    def __init__(self, value: str) -> None:
        self.is_transient = value in {"transient", "throttled"}
        """Whether another attempt may end differently."""


@attrs.frozen(kw_only=True, weakref_slot=False)
class Verdict:
    """What one attempt's end means."""

    kind: VerdictKind
    code: str | None = None
    http_status: int | None = None
    ambiguous: bool = False
    """The attempt may have been recorded: no documented reply, and no 408, 425, 429 or 503."""
    retry_after: float | None = None
    """Seconds that the API asks for before the next request, 0 or more; only when throttled."""
    detail: str | None = None
    is_page: bool = False
    """It came from something before the API: a CDN, a firewall, a proxy."""
    is_local: bool = False
    """This machine's doing: it shows nothing of the API."""

    @property
    def summary(self) -> str:
        """What happened, in words that quote nothing of a reply: it may echo the event."""
        if self.http_status is None:
            return self.detail or "no answer"
        if self.is_page:
            return f"HTTP {self.http_status} with a page that is not the API's"
        code = self.code if self.code in ErrorCode.__members__ else None
        return f"HTTP {self.http_status}" if code is None else f"{code}, HTTP {self.http_status}"


_KIND_OF_CODE: Final[Mapping[str, VerdictKind]] = {
    ErrorCode.ORDER_ALREADY_EXISTS: VerdictKind.ORDER_EXISTS,
    ErrorCode.ACTIVE_TICKET_NOT_FOUND: VerdictKind.NO_TICKET,
    ErrorCode.PREVIOUS_ITEM_ADDED_EVENT_NOT_FOUND: VerdictKind.PRECONDITION,
    ErrorCode.PREVIOUS_QUANTITY_INCREASED_EVENT_NOT_FOUND: VerdictKind.PRECONDITION,
}

_THROTTLING: Final = frozenset({429, 503})

_NOT_PROCESSED: Final = frozenset({408, 425, 429, 503})

_GONE: Final = frozenset({410, 451})
"""Final whoever says so: nothing is there, or may be."""


def classify(reply: Reply, *, wall_time: float = 0.0) -> Verdict:
    """Say what a reply means. Never raises, whatever the bytes.

    A documented code is final in any envelope and at any status. Success is a 2xx with a JSON
    object that carries no code and no `status` other than `success`. An unknown code is kept
    verbatim, and its HTTP status decides: 408, 425, 429 and 5xx are transient. A redirect is
    final. A 2xx or 4xx with anything but a JSON object is not from the API, so transient, 410 and
    451 aside. A body that broke off is a lost connection, unless what came settles the event.

    Args:
        reply: The reply.
        wall_time: Seconds since the epoch, for a `Retry-After` that names a date in a reply that
            has none itself.
    """
    status = reply.status
    reading = read(reply.body, _header(reply.headers, "Content-Encoding"))
    if 200 <= status < 300 and (not reply.broke_off or reading.is_documented_success):
        return _judge_success(status, reading)
    code = reading.code_in_field or reading.code_in_text
    if code is not None:
        return _documented(status, reading, code)
    if reply.broke_off or status in _NOT_PROCESSED or status >= 500 or status < 200:
        return _judge_transient(reply, reading, wall_time)
    if 400 <= status < 500 and not reading.is_object and status not in _GONE:
        return _page(status, reading, ambiguous=False)
    detail = reading.excerpt or None
    if 300 <= status < 400:
        detail = "a redirect, which is never followed: check the region or the base URL"
    return Verdict(
        kind=VerdictKind.REFUSED, code=reading.unknown_code, http_status=status, detail=detail
    )


def _documented(status: int, reading: Reading, code: ErrorCode) -> Verdict:
    kind = _KIND_OF_CODE.get(code, VerdictKind.REFUSED)
    return Verdict(kind=kind, code=code, http_status=status, detail=reading.excerpt)


@lru_cache(maxsize=256)
def _judge_success(status: int, reading: Reading) -> Verdict:
    # Where success is said in so many words, a product's name that is echoed is no refusal.
    code = reading.code_in_field or (None if reading.says_success else reading.code_in_text)
    if code is not None:
        return _documented(status, reading, code)
    if reading.unknown_code is not None or (reading.may_be_success and reading.marks_error):
        return Verdict(
            kind=VerdictKind.REFUSED,
            code=reading.unknown_code,
            http_status=status,
            detail=reading.excerpt,
        )
    if reading.may_be_success:
        return Verdict(kind=VerdictKind.RECORDED, http_status=status)
    return _page(status, reading, ambiguous=True)


def _page(status: int, reading: Reading, *, ambiguous: bool) -> Verdict:
    """Judge what something before the API said: whoever it was, it is no last word."""
    return Verdict(
        kind=VerdictKind.TRANSIENT,
        http_status=status,
        ambiguous=ambiguous,
        detail=f"HTTP {status}, but the body is not the API's: {reading.excerpt}",
        is_page=True,
    )


def _judge_transient(reply: Reply, reading: Reading, wall_time: float) -> Verdict:
    throttled = reply.status in _THROTTLING
    broke_off = f"HTTP {reply.status}, but the connection was lost in its body"
    return Verdict(
        kind=VerdictKind.THROTTLED if throttled else VerdictKind.TRANSIENT,
        code=reading.unknown_code,
        http_status=reply.status,
        ambiguous=reply.status not in _NOT_PROCESSED,
        retry_after=_retry_after(reply.headers, wall_time) if throttled else None,
        detail=broke_off if reply.broke_off else reading.excerpt or f"HTTP {reply.status}",
    )


def _header(headers: Mapping[str, str], name: str) -> str:
    if name in headers:
        return str(headers[name])
    lowered = name.lower()
    for key in headers:  # every reply comes through here, and hardly one has what is asked for
        if len(key) == len(name) and key.lower() == lowered:
            return str(headers[key])
    return ""


_SECONDS: Final = re.compile(r"\d+(\.\d+)?", re.ASCII)


def _retry_after(headers: Mapping[str, str], wall_time: float) -> float | None:
    """Read `Retry-After`, seconds or an HTTP date (RFC 9110, 10.2.3); None if it is neither.

    The RFC has whole seconds only; a server that sends fractions means them all the same.
    """
    given = _header(headers, "Retry-After").strip()
    if not given:
        return None
    if _SECONDS.fullmatch(given):
        return float(given[:12])
    date = _date(given)
    if date is None:
        return None
    try:
        # The API's clock against itself: ours may be wrong.
        now = _date(_header(headers, "Date")) or datetime.fromtimestamp(wall_time, UTC)
        return max(0.0, (date - now).total_seconds())
    except (ValueError, OverflowError, OSError):
        return None


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
        return date if date.tzinfo is not None else date.replace(tzinfo=UTC)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
