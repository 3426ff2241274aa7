"""A reply that is read as plain is read by aiohttp's parser in the same way."""

from __future__ import annotations

import asyncio

from aiohttp.client_proto import ResponseHandler
from hypothesis import given
from hypothesis import strategies as st

from alhena_async._http.plain import read_plain

NAMES = st.sampled_from(
    ["Content-Length", "transfer-encoding", "Connection", "Proxy-Connection", "Upgrade", "Date"]
)
VALUES = st.sampled_from(["2", "02", "2, 2", "chunked", "close", "keep-alive", "Keep-Alive", ""])
ODD_NAMES = st.text("!#$%&'*+.^_`|~09azAZ-: \t\u00fc", max_size=4)
ODD_VALUES = st.text("".join(map(chr, range(32, 127))) + "\t\r\n\0", max_size=6)
LINES = st.builds("{}: {}\r\n".format, NAMES, VALUES) | st.builds(
    "{}{}{}{}".format,
    NAMES | ODD_NAMES,
    st.sampled_from([":", ":  ", " :", ""]),
    VALUES | ODD_VALUES,
    st.sampled_from(["\r\n", "\n", " \r\n", "\r\n\t"]),
)
PLAIN_START = st.just("HTTP/1.1 200 OK\r\n")
STARTS = PLAIN_START | st.sampled_from(
    ["HTTP/1.1 404 \r\n", "HTTP/1.1 500\r\n", "HTTP/1.0 200 OK\r\n", "HTTP/1.1  200 OK\r\n"]
)
BODIES = st.sampled_from(["", "{}", "{}{}", "{"])


@st.composite
def replies(draw: st.DrawFn) -> bytes:
    """Draw what is nearly a plain reply."""
    lines = draw(st.lists(LINES, max_size=3))
    body = draw(BODIES)
    lines.insert(draw(st.integers(0, len(lines))), f"Content-Length: {len(body)}\r\n")
    return (draw(STARTS) + "".join(lines) + "\r\n" + body).encode("latin-1")


class _Open(asyncio.Transport):
    def is_closing(self) -> bool:
        return False

    def resume_reading(self) -> None:
        pass


async def read_by_aiohttp(data: bytes) -> tuple[int, bytes, list[tuple[str, str]]]:
    handler = ResponseHandler(asyncio.get_running_loop())
    handler.connection_made(_Open())
    handler.set_response_params(read_until_eof=True, auto_decompress=False)
    handler.data_received(data)
    message, content = await handler.read()
    body = b"" if content.at_eof() else await content.read(65_536)
    assert content.is_eof()
    assert not handler.should_close
    return message.code, body, list(message.headers.items())


@given(data=replies())
async def test_what_is_plain_is_read_as_aiohttp_reads_it(data: bytes) -> None:
    """To the byte, and the connection can be used again."""
    reply = read_plain(data, 65_536)
    if reply is not None:
        read = (reply.status, reply.body, list(reply.headers.items()))
        assert read == await read_by_aiohttp(data)
