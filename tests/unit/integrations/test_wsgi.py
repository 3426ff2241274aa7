"""The WSGI middleware: the script, the visitor, the context, bodies that come late."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from alhena_async import AlhenaClient, Visitor, current_client, current_visitor
from alhena_async.browser import encode_visitor
from alhena_async.integrations.wsgi import AlhenaMiddleware, Environ, StartResponse
from alhena_async.sync import SyncAlhenaClient
from tests.scripted import visitor

ANN = visitor("ann")


@pytest.fixture
def alhena() -> Iterator[SyncAlhenaClient]:
    with SyncAlhenaClient("shop", enabled=False) as client:
        yield client


class Shop:
    """An application that notes who came, as it is called and as its body is made."""

    def __init__(self) -> None:
        self.seen: list[Visitor | None] = []
        self.environ: Environ = {}
        self.closed_by: list[Visitor | None] = []

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        self.environ = environ
        self.seen.append(current_visitor())
        start_response("200 OK", [("Content-Type", "text/plain")])
        return self._body()

    def _body(self) -> Iterator[bytes]:
        try:
            self.seen.append(current_visitor())
            yield b"late"
        finally:
            self.closed_by.append(current_visitor())


def call(app: Any, path: str = "/", **variables: str) -> tuple[str, dict[str, str], bytes]:
    """Make a request as a server that checks everything does."""
    environ: Environ = {"PATH_INFO": path, "QUERY_STRING": "", "SCRIPT_NAME": "", **variables}
    setup_testing_defaults(environ)
    answer: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], *_: object) -> Any:
        answer.extend([status, dict(headers)])
        return lambda _: None

    checked = validator(app)
    body = checked(environ, start_response)
    parts = list(body)
    body.close()  # type: ignore[attr-defined]
    return answer[0], {name.lower(): text for name, text in answer[1].items()}, b"".join(parts)


@pytest.mark.parametrize(
    "claim",
    [
        {"HTTP_COOKIE": f"theme=dark; alhena_visitor={encode_visitor(ANN)}"},
        {"HTTP_X_ALHENA_VISITOR": encode_visitor(ANN)},
    ],
    ids=["cookie", "header"],
)
def test_the_visitor_is_there_until_the_body_is_over(
    alhena: SyncAlhenaClient, claim: dict[str, str]
) -> None:
    """In `environ` and in the context, in a generator and as it is closed; and not after it."""
    shop = Shop()
    status, _, body = call(AlhenaMiddleware(shop, client=alhena), **claim)
    assert (status, body) == ("200 OK", b"late")
    assert shop.seen == [ANN, ANN]
    assert shop.closed_by == [ANN]
    assert shop.environ["alhena.visitor"] == ANN
    assert shop.environ["alhena.client"] is alhena
    assert current_visitor() is None
    assert current_client() is None


def test_nobody_usable_is_none(alhena: SyncAlhenaClient) -> None:
    """A claim that is not sound, and none at all."""
    shop = Shop()
    app = AlhenaMiddleware(shop, client=alhena)
    call(app)
    call(app, HTTP_X_ALHENA_VISITOR="\xff:\xfe")
    assert shop.seen == [None] * 4


def test_the_script_is_served_with_its_etag(alhena: SyncAlhenaClient) -> None:
    """As behind ASGI; the application does not hear of it."""
    shop = Shop()
    app = AlhenaMiddleware(shop, client=alhena)
    status, headers, body = call(app, "/alhena-visitor.js")
    assert status == "200 OK"
    assert b"alhena_visitor" in body
    status, _, body = call(app, "/alhena-visitor.js", HTTP_IF_NONE_MATCH=headers["etag"])
    assert (status, body) == ("304 Not Modified", b"")
    answers: list[str] = []
    app(
        {"PATH_INFO": "/alhena-visitor.js", "REQUEST_METHOD": "POST"},
        lambda status, _: answers.append(status),
    )
    assert answers == ["405 Method Not Allowed"]
    assert not shop.seen
    call(AlhenaMiddleware(shop, client=alhena, script_path=None), "/alhena-visitor.js")
    assert shop.seen


def test_what_cannot_work_is_refused_at_once(alhena: SyncAlhenaClient) -> None:
    """The asynchronous client, a path without its slash, a header that HTTP does not allow."""
    with pytest.raises(TypeError, match="client must be a SyncAlhenaClient, not AlhenaClient"):
        AlhenaMiddleware(Shop(), client=AlhenaClient("shop"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="script_path"):
        AlhenaMiddleware(Shop(), client=alhena, script_path="x.js")
    with pytest.raises(ValueError, match="header_name"):
        AlhenaMiddleware(Shop(), client=alhena, header_name="no good")
