"""Which replies are read without aiohttp's parser: those that leave nothing to think about."""

from __future__ import annotations

import pytest

from alhena_async._http.plain import read_plain
from tests.raw_server import SUCCESS, answer

ROOM = 65_536


def test_a_plain_reply_is_read_whole() -> None:
    """Status, body, and headers, which are looked up in any spelling."""
    reply = read_plain(answer(SUCCESS, "retry-AFTER:  7", "X:", "Connection: keep-alive"), ROOM)
    assert reply is not None
    assert (reply.status, reply.body, reply.broke_off, reply.was_repeated) == (
        200, SUCCESS, False, False
    )  # fmt: skip
    assert (reply.headers["Retry-After"], reply.headers["x"]) == ("7", "")


def test_a_loop_may_hand_out_bytearrays() -> None:
    """The body is bytes all the same; and `Keep-Alive` is said in many spellings."""
    reply = read_plain(bytearray(answer(SUCCESS, "connection: Keep-Alive")), ROOM)
    assert reply is not None
    assert type(reply.body) is bytes


@pytest.mark.parametrize("status", ["200 OK", "201 ", "404 Not Found", "503 Busy"])
def test_any_final_status_is_plain(status: str) -> None:
    """With a reason or without."""
    reply = read_plain(answer(b"{}", status=status), ROOM)
    assert reply is not None
    assert (reply.status, reply.body) == (int(status[:3]), b"{}")


NOT_PLAIN = {
    "nothing": b"",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Len",
    "half a body": answer(SUCCESS)[:-1],
    "more than asked for": answer(SUCCESS) + b"H",
    "two at once": answer(SUCCESS) * 2,
    "an interim reply first": b"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n" + answer(SUCCESS),
    "interim": answer(b"", status="100 Continue"),
    "switching": answer(b"", status="101 Switching Protocols"),
    "no content": answer(b"", status="204 No Content"),
    "not modified": answer(b"", status="304 Not Modified"),
    "a status out of bounds": answer(b"", status="600 What"),
    "HTTP/1.0": answer(SUCCESS).replace(b"HTTP/1.1", b"HTTP/1.0"),
    "no HTTP": b"SSH-2.0-OpenSSH_9.7\r\n\r\n",
    "no length": b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n" + SUCCESS,
    "no header at all": b"HTTP/1.1 200 OK\r\n\r\n",
    "two lengths": answer(SUCCESS, f"Content-Length: {len(SUCCESS)}"),
    "two lengths that differ": answer(SUCCESS, "content-length: 5"),
    "a list of lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\n{}",
    "a length with a sign": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n{}",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}",
    "a length with a zero": b"HTTP/1.1 200 OK\r\nContent-Length: 02\r\n\r\n{}",
    "a hexadecimal length": b"HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\n{}",
    "a length behind spaces": b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\n{}",
    "a length before spaces": b"HTTP/1.1 200 OK\r\nContent-Length: 2 \r\n\r\n{}",
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "chunks and a length": answer(SUCCESS, "transfer-encoding: chunked"),
    "a coding that nobody knows": answer(SUCCESS, "Transfer-Encoding: identity"),
    "a last reply": answer(SUCCESS, "Connection: close"),
    "a last reply, in a list": answer(SUCCESS, "connection: keep-alive, Close"),
    "a last reply, in two lines": answer(SUCCESS, "Connection: keep-alive", "connection: close"),
    "a proxy's last reply": answer(SUCCESS, "Proxy-Connection: close"),
    "a folded header": answer(SUCCESS, "A: b", " c"),
    "a header without a name": answer(SUCCESS, ": b"),
    "a header without a colon": answer(SUCCESS, "nonsense"),
    "a tab": answer(SUCCESS, "A:\tb"),
    "a null byte": answer(SUCCESS, "A: b\0"),
    "a letter of another script": answer(SUCCESS, "A: \u00fc"),
    "a bare line feed": answer(SUCCESS).replace(b"\r\n", b"\n"),
    "a bare carriage return": answer(SUCCESS, "A: b\rContent-Length: 1"),
    "many headers": answer(SUCCESS, *["A: b"] * 101),
    "a long header": answer(SUCCESS, "A: " + "b" * 4_096),
    "a long body": answer(b"x" * 4_096),
}


@pytest.mark.parametrize("kind", NOT_PLAIN)
def test_anything_else_is_left_to_the_parser(kind: str) -> None:
    """Cut, doubtful or hostile, or the connection's last."""
    assert read_plain(NOT_PLAIN[kind], ROOM) is None


def test_a_body_past_its_bound_is_not_plain() -> None:
    """Somebody has to cut it."""
    assert read_plain(answer(b"12345"), 5) is not None
    assert read_plain(answer(b"12345"), 4) is None
