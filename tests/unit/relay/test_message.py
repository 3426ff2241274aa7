"""The message between publisher and relay: what it says, and what makes one unreadable."""

import json
from decimal import Decimal
from typing import Any

import attrs
import pytest

from alhena_async.relay._message import Message, UnreadableError, decode, encode
from tests.scripted import cart, checkout

MESSAGE = Message(
    company_key="shop", order_id=None, accepted_at=1_790_000_000.123, event=cart(product="mug")
)


def changed(**fields: Any) -> bytes:
    document = json.loads(encode(MESSAGE)) | fields
    return json.dumps(document).encode()


def without(name: str) -> bytes:
    document = json.loads(encode(MESSAGE))
    del document[name]
    return json.dumps(document).encode()


def test_it_is_the_documented_json() -> None:
    """Other languages write it too."""
    assert json.loads(encode(MESSAGE)) == {
        "v": 1,
        "company_key": "shop",
        "order_id": None,
        "accepted_at": 1_790_000_000.123,
        "event": {
            "user_fingerprint": "v",
            "user_faq_fingerprint": "faq-v",
            "type": "ITEM_ADDED",
            "product_id": "mug",
            "product_name": "mug",
            "value": 9.5,
            "currency": "EUR",
            "quantity": 1,
        },
    }


@pytest.mark.parametrize(
    "message",
    [
        MESSAGE,
        attrs.evolve(MESSAGE, event=checkout(order_id="o"), order_id="o"),
        attrs.evolve(MESSAGE, event=checkout(order_id=None), order_id="auto-1"),
        attrs.evolve(MESSAGE, event=attrs.evolve(cart(), value=Decimal("19.90"))),
    ],
)
def test_what_was_written_is_read(message: Message) -> None:
    """With the digits that it had, and the order id that is sent."""
    assert decode(encode(message)) == message


UNREADABLE = [
    (b"\xff", "UTF-8"),
    (b"", "no JSON"),
    (b"{", "no JSON"),
    (b"[]", "no JSON object"),
    (b"7", "no JSON object"),
    (b"[" * 100_000, "nested too deep"),
    (b'{"v":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deep"),
    (changed(v=2), "v is not 1"),
    (changed(v=True), "v is not 1"),
    (changed(v="1"), "v is not 1"),
    (without("v"), "v is not 1"),
    (without("company_key"), "company_key is missing"),
    (without("order_id"), "order_id is missing"),
    (without("accepted_at"), "accepted_at is missing"),
    (without("event"), "event is missing"),
    (changed(company_key=" "), "company_key"),
    (changed(company_key=7), "company_key"),
    (changed(company_key="a\nb"), "company_key"),
    (changed(order_id=7), "order_id"),
    (changed(order_id=""), "order_id"),
    (changed(order_id="\ud800"), "order_id"),
    (changed(accepted_at="now"), "accepted_at"),
    (changed(accepted_at=True), "accepted_at"),
    (changed(accepted_at=float("nan")), "NaN"),
    (changed(accepted_at=float("inf")), "NaN or Infinity"),
    (encode(MESSAGE).replace(b"1790000000.123", b"1e999"), "not finite"),
    (encode(MESSAGE).replace(b"1790000000.123", b"9" * 5_000), "number"),
    (changed(event=None), "event is no object"),
    (changed(event={}), "user_fingerprint is missing"),
    (changed(event={**json.loads(encode(MESSAGE))["event"], "currency": "secret"}), "currency"),
    (changed(event={**json.loads(encode(MESSAGE))["event"], "user_fingerprint": 7}), "event"),
    (changed(event={**json.loads(encode(MESSAGE))["event"], "line_items": 7}), "event"),
]


@pytest.mark.parametrize(("body", "rule"), UNREADABLE)
def test_what_is_unreadable_is_said_by_its_rule(body: bytes, rule: str) -> None:
    """And never by its value."""
    with pytest.raises(UnreadableError, match=rule) as caught:
        decode(body)
    assert "secret" not in str(caught.value)


def test_what_a_later_version_adds_is_not_in_the_way() -> None:
    """Unknown fields beside the known ones are left alone."""
    assert decode(changed(trace="abc")) == decode(encode(MESSAGE))
