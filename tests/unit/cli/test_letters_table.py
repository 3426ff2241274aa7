"""Dead letters in a table: whatever stands in one, it has its row."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from alhena_async.cli._dead_letters import plain, shown, table
from alhena_async.journal import DeadLetter


def letter(body: str, kind: str = "cart") -> DeadLetter:
    return DeadLetter(
        id=7, origin=None, destination="https://eu.alhena.ai/", company_key="shop", kind=kind,
        status="rejected", code="WHY", http_status=400, attempts=1, detail=None, order_id=None,
        accepted=1.7e9, ended=1.7e9, body=body,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["cart", "checkout", "?"])
@pytest.mark.parametrize(
    "body",
    [
        "", "null", "[]", "{}", "{", '{"value": 1e999}', '{"value": -1e999}', '{"value": NaN}',
        '{"value": ' + "9" * 4_000 + "}", '{"value": "9"}', '{"value": true}', '{"value": [1]}',
        '{"value": 1, "currency": ["EUR"]}', '{"type": []}', '{"type": {}}', '{"type": 1}',
        '{"product_id": null}', '{"order_id": {}}', '{"line_items": 5}', "[" * 5_000,
        '{"value": 1e-99999999999999999999}', '{"value": 1e99999999999999999999}',
    ],
    ids=lambda body: body[:30],
)  # fmt: skip
def test_an_odd_letter_has_its_row(body: str, kind: str) -> None:
    """Listed, shown and given as JSON: it hides no other."""
    console = Console(file=io.StringIO(), width=120)
    console.print(table([letter(body, kind)], 1.7e9), *shown(letter(body, kind), 1.7e9))
    assert isinstance(console.file, io.StringIO)
    assert "WHY" in console.file.getvalue()
    assert plain(letter(body, kind)).startswith('{"id": 7')


def test_a_value_that_no_event_has_is_no_money() -> None:
    """It is not shown as an amount, and does not end the list."""
    console = Console(file=io.StringIO(), width=120)
    bodies = ('{"value": 1e999, "currency": "EUR"}', '{"value": 9.50, "currency": "EUR"}')
    console.print(table([letter(body) for body in bodies], 1.7e9))
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().count("EUR") == 1
