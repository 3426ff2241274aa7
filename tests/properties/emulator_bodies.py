"""Send the emulator's reader a million bodies: `python -m tests.properties.emulator_bodies`.

Each is a sound event with something broken: a value, a number as nobody writes it, a name, bytes
overwritten, cut or repeated. Whatever it is, it is judged, told in a line and shown on the page.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from alhena_async.cli._emulate import request_line
from alhena_async.emulator import EventKind, Preconditions, Tickets
from alhena_async.emulator._contract import read_event
from alhena_async.emulator._endpoints import default_error_body, handled, reply_to
from alhena_async.emulator._ledger import Ledger, Store
from alhena_async.emulator._snapshot import snapshot

__all__ = ["bodies", "judge", "main"]

_VISITOR = {"company_key": "shop", "user_fingerprint": "fp", "user_faq_fingerprint": "faq"}
_LINE = {"product_id": "mug", "product_name": "Mug", "quantity": 2, "value": 9.5, "currency": "EUR"}
_SOUND: dict[EventKind, dict[str, Any]] = {
    EventKind.CART: {**_VISITOR, **_LINE, "type": "ITEM_ADDED", "source": "web"},
    EventKind.CHECKOUT: {
        **_VISITOR, "value": 19, "currency": "EUR", "order_id": "A1", "orderId": "A1",
        "line_items": [_LINE, _LINE],
    },
}  # fmt: skip

_TOKENS = (
    "null", "true", "false", "0", "-0", "-1", "1.0", "0.10", "1e2", "1E+2", "1e-7", "[]", "{}",
    '""', '" "', '"x"', '"ITEM_REMOVED"', '"QUANTITY_DECREASED"', '"item_added"', "NaN", "Infinity",
    "-Infinity", "1.", ".5", "+1", "01", "0x1", "1_000", "'x'", "[[]]", '{"a":{}}', "[1,2", "{,}",
    '"\\ud800"', '"\\udfff\\ud800"', '"\\u0000"', '"\\u001b[2J"', '"\\u202e"', '"\u2028"', '"\\',
    '"' + "x" * 5_000 + '"', "9" * 79, "9" * 81, "9" * 5_000, "0." + "3" * 70, "1e59", "1e-59",
    "1e60", "1e61", "-1e60", "1e-60", "9" * 75 + "e60", "0e60", "0e61", "1" + "0" * 70 + "e-60",
)  # fmt: skip

_EXPONENTS = (2, 20, 61, 400, 4_300, 999_999, 10**18 - 1, 10**18, 2**63, 10**20, 10**70)


def bodies(seed: int) -> Iterator[tuple[EventKind, bytes]]:
    """Make bodies without end, the same ones for the same seed."""
    dice = random.Random(seed)
    while True:
        kind = dice.choice(list(EventKind))
        raw = _text(_SOUND[kind], dice).encode("utf-8", "surrogatepass")
        if dice.random() < 0.3:
            raw = _with_broken_bytes(raw, dice)
        yield kind, raw


def _text(value: Any, dice: random.Random) -> str:
    """Return a value as JSON in which, now and then, something is not as it should be."""
    if dice.random() < 0.08:
        return _token(dice)
    if isinstance(value, dict):
        names = [*value, *dice.choices(list(value), k=dice.random() < 0.05)]
        if dice.random() < 0.05:
            names.remove(dice.choice(names))
        return (
            "{" + ",".join(f"{json.dumps(name)}:{_text(value[name], dice)}" for name in names) + "}"
        )
    if isinstance(value, list):
        return (
            "[" + ",".join(_text(one, dice) for one in value * dice.choice((0, 1, 1, 1, 2))) + "]"
        )
    return json.dumps(value)


def _token(dice: random.Random) -> str:
    if dice.random() < 0.3:
        digits = dice.choice(("0", "1", "-1", "9" * 30, "-0.1", "1.000"))
        return f"{digits}e{dice.choice(('', '-', '+'))}{dice.choice(_EXPONENTS)}"
    return dice.choice(_TOKENS)


def _with_broken_bytes(raw: bytes, dice: random.Random) -> bytes:
    start = dice.randrange(len(raw))
    end = min(len(raw), start + dice.randrange(1, 9))
    return (
        raw[:start]
        + dice.choice((b"", dice.randbytes(end - start), 2 * raw[start:end]))
        + raw[end:]
    )


def judge(count: int, seed: int) -> Counter[str]:
    """Judge so many bodies; return how often each verdict was given.

    Raises:
        Exception: One of them was too much.
    """
    ledger = Ledger(companies=None, tickets=Tickets.ALL, preconditions=Preconditions.STRICT)
    store = Store(ledger, history=100, statuses={}, on_change=lambda: None)
    verdicts: Counter[str] = Counter()
    for number, (kind, raw) in zip(range(count), bodies(seed), strict=False):
        record = store.settle(kind, raw, read_event(kind, raw))
        reply = reply_to(record, default_error_body)
        line = request_line(handled(kind, record, None, reply.status), 0.0)
        assert line.isprintable(), line
        assert str(record)
        if number % 200 == 0:
            json.dumps(snapshot(store)).encode()
        verdicts[str(getattr(record, "code", "recorded"))] += 1
    return verdicts


def main() -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bodies", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    began = time.monotonic()
    verdicts = judge(given.bodies, given.seed)
    print(
        f"{verdicts.total():,} bodies in {time.monotonic() - began:.0f} s, none raised: {verdicts}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
