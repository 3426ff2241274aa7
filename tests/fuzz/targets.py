"""What reads bytes that others wrote: each target takes any bytes, and may raise nothing.

An error that a reader promises is caught here; whatever else comes out is a fault. Seeds are of
the shapes that are met in practice.
"""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

import attrs

from alhena_async._replies import Verdict, classify
from alhena_async.browser import encode_visitor, read_visitor
from alhena_async.cli._lines import Reading, Record, Reject, read_line
from alhena_async.errors import InvalidEventError
from alhena_async.events import event_from_json
from alhena_async.journal._dead_letters import DeadLetter, judged
from alhena_async.journal._rows import event_of
from alhena_async.journal._sqlite_pages import carve, loses_log
from alhena_async.relay._letter import unreadable_letter
from alhena_async.relay._letters import message_in, read_letter
from alhena_async.relay._message import Message, UnreadableError, decode, encode
from alhena_async.relay._postgres_table import read as read_settings
from alhena_async.relay._topology import TopologyError
from alhena_async.transports import Reply
from tests.journals import cart, order, visitor

__all__ = ["TARGETS", "Target"]


@attrs.frozen
class Target:
    """One reader."""

    read: Callable[[bytes], object]
    seeds: Callable[[], list[bytes]]
    slowness: int = 1
    """So many times fewer inputs: a log is summed up byte by byte."""


# --- from the API ---------------------------------------------------------------------------------


def _reply(data: bytes) -> None:
    """A status, headers and a body, as they stand on the wire."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    status = int(first[:3]) if first[:3].isascii() and first[:3].isdigit() else 200
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip(): value.strip() for name, _, value in pairs}
    for broke_off in (False, True):
        verdict = classify(Reply(status, body, headers, broke_off), wall_time=1_790_000_000.0)
        assert isinstance(verdict, Verdict)
        assert verdict.retry_after is None or verdict.retry_after >= 0
        assert len(verdict.code or "") <= 200


def _replies() -> list[bytes]:
    success = b'{"status":"success","data":{"event_id":"1","event_type":"ITEM_ADDED"}}'
    error = b'{"status":"error","error_code":"ORDER_ALREADY_EXISTS","message":"order \xc3\xa9"}'
    date = b"Retry-After: Sun, 06 Nov 2026 08:49:37 GMT\r\nDate: Sun, 06 Nov 2026 08:49:00 GMT"
    heads = [
        b"200\r\nContent-Type: application/json",
        b"400\r\nContent-Type: application/json; charset=utf-8",
        b"429\r\nRetry-After: 30",
        b"503\r\n" + date,
        b"502\r\nContent-Type: text/html\r\nContent-Encoding: gzip",
        b"302\r\nLocation: https://elsewhere.invalid/",
    ]
    bodies = [success, error, b"<html><body>Bad gateway</body></html>", b"", b"[]", b"null"]
    return [b"\r\n\r\n".join((head, body)) for head in heads for body in bodies]


# --- from a browser -------------------------------------------------------------------------------


def _claim(data: bytes) -> None:
    for headers in (
        [(b"cookie", data)],
        [(b"x-alhena-visitor", data)],
        [(b"cookie", data), (b"x-alhena-visitor", data), (b"cookie", data)],
    ):
        found = read_visitor(headers)
        assert found is None or (found.fingerprint and found.faq_fingerprint)


def _claims() -> list[bytes]:
    claim = encode_visitor(visitor(1)).encode()
    return [claim, b"alhena_visitor=" + claim, b"a=b; alhena_visitor=" + claim + b"; c=d", b""]


# --- from files and from whoever has events as data -----------------------------------------------


def _line(data: bytes) -> None:
    for reading in (Reading(), Reading(name_from_id=True, timed=True, derive_visitors=False)):
        found = read_line(1, data, reading)
        assert found is None or isinstance(found, Record | Reject)
        if isinstance(found, Reject):
            assert found.reason
            assert found.causes


def _event_json(data: bytes) -> None:
    try:
        event = event_from_json(data)
    except InvalidEventError as error:
        str(error)
        return
    assert event_from_json(event.to_json()).to_json() == event.to_json()


def _stored_forms() -> list[bytes]:
    return [one.to_json().encode() for one in (cart(1), cart(2, name="Tasse é"), order(3))]


def _lines() -> list[bytes]:
    more = {"ts": "2024-03-14T09:30:00Z", "note": None}
    forms = [json.loads(form) for form in _stored_forms()]
    kinds = ["checkout" if "line_items" in form else "cart" for form in forms]
    lines = [{**more, "kind": kind, **form} for kind, form in zip(kinds, forms, strict=True)]
    of_shop = [
        {"visitor": "v-17", **{name: line[name] for name in line if not name.startswith("user_")}}
        for line in lines
    ]
    return [json.dumps(line).encode() for line in (*lines, *of_shop)]


# --- from the journal's directory -----------------------------------------------------------------


def _row(data: bytes) -> None:
    with suppress(ValueError):
        event_of(data.decode("utf-8", "replace"))


@cache
def _directory() -> Path:
    """A folder of this process, in memory where there is one."""
    shared = Path("/dev/shm")
    parent = shared if os.access(shared, os.W_OK) else None
    return Path(tempfile.mkdtemp(prefix="fuzz-", dir=parent))


def _page(data: bytes) -> None:
    """A database file, with nothing beside it."""
    path = _directory() / "pages"
    path.write_bytes(data)
    for _, values in carve(path):
        assert isinstance(values, list)


def _log(data: bytes) -> None:
    """A log, beside a sound file."""
    path = _directory() / "logged"
    if not path.exists():
        path.write_bytes(_database()[0])
    path.with_name("logged-wal").write_bytes(data)
    loses_log(path)
    for _, values in carve(path):
        assert isinstance(values, list)


@cache
def _database() -> tuple[bytes, bytes]:
    """A small database and its log, of the journal's kind of rows."""
    path = _directory() / "made"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute("CREATE TABLE events (id INTEGER PRIMARY KEY, kind, lane, body, seal)")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for number in range(6):
            body = (cart(number) if number % 2 else order(number)).to_json()
            connection.execute(
                "INSERT INTO events VALUES (?, ?, ?, ?, ?)", (number, 0, 1 << 62, body, -1)
            )
            if number == 2:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return path.read_bytes(), path.with_name("made-wal").read_bytes()


def _dead_letter(data: bytes) -> None:
    """A row of the letters' file, with whatever in its columns."""
    try:
        found = json.loads(data.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        found = {"body": data, "detail": data.decode("utf-8", "surrogateescape")}
    if not isinstance(found, dict):
        found = {"ended": found}
    letter = judged(1, {name: found.get(name, found) for name in _LETTER_FIELDS})
    assert isinstance(letter, DeadLetter)
    letter.line()


_LETTER_FIELDS: Final = [one.name for one in attrs.fields(DeadLetter) if one.name != "id"]


def _dead_letters() -> list[bytes]:
    values: dict[str, Any] = dict.fromkeys(_LETTER_FIELDS)
    values |= {"company_key": "shop", "kind": "checkout", "status": "rejected", "ended": 1.79e9}
    values |= {"accepted": 1.79e9, "attempts": 3, "body": order(1).to_json(), "detail": "é"}
    return [json.dumps(values).encode(), json.dumps({**values, "ended": "x"}).encode()]


# --- from a broker and from an outbox -------------------------------------------------------------


def _message(data: bytes) -> None:
    with suppress(UnreadableError):
        assert isinstance(decode(data), Message)


def _messages() -> list[bytes]:
    pairs = ((cart(1), None), (order(2), "A-1"))
    return [
        encode(Message(company_key="shop", order_id=order_id, accepted_at=1.79e9, event=event))
        for event, order_id in pairs
    ]


def _letter_at_broker(data: bytes) -> None:
    letter = read_letter(1, data, kept=1_790_000_000.0)
    assert isinstance(letter, DeadLetter)
    assert isinstance(message_in(data), bytes)
    letter.line()
    assert unreadable_letter(data, "is none", destination="http://127.0.0.1/", ended=1.0)


def _letters_at_broker() -> list[bytes]:
    return [
        unreadable_letter(message, "is none", destination="http://127.0.0.1/", ended=1.79e9)
        for message in (*_messages(), b"\xff", b"{}")
    ]


def _outbox_settings(data: bytes) -> None:
    """The row that says where an outbox's events go."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    row = {"version": 1, "lease": 30.0, "destination": "http://127.0.0.1/"}
    row |= found if isinstance(found, dict) else {"destination": data.decode("utf-8", "replace")}
    with suppress(TopologyError):
        read_settings(row)


def _outbox_rows() -> list[bytes]:
    return [b'{"version": 1, "lease": 30.0, "destination": "https://eu.alhena.ai/"}', b"{}"]


TARGETS: Final[dict[str, Target]] = {
    "replies": Target(_reply, _replies),
    "claims": Target(_claim, _claims),
    "lines": Target(_line, _lines),
    "events": Target(_event_json, _stored_forms),
    "rows": Target(_row, _stored_forms),
    "pages": Target(_page, lambda: [_database()[0]]),
    "log": Target(_log, lambda: [_database()[1]], slowness=20),
    "letters": Target(_dead_letter, _dead_letters),
    "messages": Target(_message, _messages),
    "broker-letters": Target(_letter_at_broker, _letters_at_broker),
    "outbox": Target(_outbox_settings, _outbox_rows),
}


def mutated(seeds: list[bytes], dice: Any) -> Iterator[bytes]:
    """Make inputs without end of what is broken in seeds: where nothing looks at coverage."""
    while True:
        data = bytearray(dice.choice(seeds))
        for _ in range(dice.randrange(1, 5)):
            dice.choice(_CHANGES)(data, seeds, dice)
        yield bytes(data)


def _flip(data: bytearray, _: list[bytes], dice: Any) -> None:
    if data:
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)


def _cut(data: bytearray, _: list[bytes], dice: Any) -> None:
    start = dice.randrange(len(data) + 1)
    del data[start : start + dice.choice((1, 4, 64, len(data)))]


def _splice(data: bytearray, seeds: list[bytes], dice: Any) -> None:
    other = dice.choice(seeds)
    start = dice.randrange(len(other) + 1)
    place = dice.randrange(len(data) + 1)
    data[place:place] = other[start : start + dice.choice((1, 8, 512))]


def _put(data: bytearray, _: list[bytes], dice: Any) -> None:
    place = dice.randrange(len(data) + 1)
    token = dice.choice(_TOKENS)
    data[place : place + dice.choice((0, len(token)))] = token


_CHANGES: Final = (_flip, _cut, _splice, _put)
_TOKENS: Final = (
    b"null", b"true", b"-1", b"0", b"1e999", b"NaN", b"9" * 5_000, b"[" * 2_000, b'{"a":' * 500,
    b'""', b'"\\ud800"', b"\xff", b"\xed\xa0\x80", b"\x00", bytes(4), b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00", b"\r\n\r\n", b"; ", b"=", b"%", b"%ZZ", b"1.0", b",",
    b"ORDER_ALREADY_EXISTS", b"success", b"line_items", b"\xef\xbb\xbf", b"\xe2\x80\xa8",
)  # fmt: skip
