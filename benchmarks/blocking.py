"""The least that the wire costs anybody: sockets that block, without an event loop."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator

from benchmarks.loops import request_head
from benchmarks.sink import Sink

__all__ = ["blocking_post"]


@contextlib.contextmanager
def blocking_post(sink: Sink, at_once: int) -> Iterator[Callable[[bytes, int], None]]:
    """Connect so often; give what sends a body so many times, a request to each, then reads."""
    head = request_head(sink)
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(_connected(sink)) for _ in range(at_once)]

        def post_all(body: bytes, count: int) -> None:
            for _ in range(count // at_once):
                for one in sockets:
                    one.send(b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body))
                for one in sockets:
                    assert one.recv(65_536).startswith(b"HTTP/1.1 200")

        yield post_all


def _connected(sink: Sink) -> socket.socket:
    plain = socket.create_connection(("127.0.0.1", sink.port))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if sink.trust is None:
        return plain
    return sink.trust.wrap_socket(plain, server_hostname="127.0.0.1")
