"""What a reply's bytes say: is it the API's success, and which code does it carry where?

The shape of an error is not documented, so a documented code is looked for in every field that
an envelope is known to use, and then anywhere in the text.
"""

from __future__ import annotations

import enum
import json
import re
import zlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

import attrs

__all__ = ["ErrorCode", "Reading", "printable", "read"]


class ErrorCode(enum.StrEnum):
    """The codes that the vendor documents. Each one is final."""

    MISSING_REQUIRED_FIELDS = "MISSING_REQUIRED_FIELDS"
    COMPANY_NOT_FOUND = "COMPANY_NOT_FOUND"
    ACTIVE_TICKET_NOT_FOUND = "ACTIVE_TICKET_NOT_FOUND"
    PREVIOUS_ITEM_ADDED_EVENT_NOT_FOUND = "PREVIOUS_ITEM_ADDED_EVENT_NOT_FOUND"
    PREVIOUS_QUANTITY_INCREASED_EVENT_NOT_FOUND = "PREVIOUS_QUANTITY_INCREASED_EVENT_NOT_FOUND"
    ORDER_ALREADY_EXISTS = "ORDER_ALREADY_EXISTS"


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
    may_be_success: bool
    """It is a JSON object without a `status` other than `success`."""
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
        may_be_success=isinstance(document, dict) and status == "success",
        marks_error=any(fields.get(field) for field in _ERROR_MARKS),
        excerpt=printable(text[:MAX_EXCERPT_CHARACTERS]).strip(),
    )


_read_again = lru_cache(maxsize=256)(_read)


def printable(text: str) -> str:
    """Return text that UTF-8 can carry and a terminal may show."""
    cleaned = "".join(letter if letter.isprintable() else " " for letter in text)
    return cleaned.encode("utf-8", "replace").decode()


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
_NO_CODES: Final = frozenset(
    {"success", "ok", "none", "null", "false", "cart_event_recorded", "checkout_event_recorded"}
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
