"""docs/replay.md tells the truth: its lines are events, its table's are none, its options exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click
import pytest

from alhena_async import CartEvent, CheckoutEvent
from alhena_async.cli._commands import reconcile, replay
from alhena_async.cli._lines import Reading, Record, Reject, read_line

PAGE = (Path(__file__).parents[3] / "docs" / "replay.md").read_text()
BLOCKS = re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
CART, CHECKOUT = BLOCKS[0].splitlines()
# | `"field": value` | `what the reason says` |
REFUSED = re.findall(r'^\| `("\w+": [^`]+)` \| `([^`]+)` \|$', PAGE, re.MULTILINE)
# | `field`, `another` | of | rule |
FIELDS = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| [^|`]+ \| ", PAGE, re.MULTILINE)


def read(line: str, *, timed: bool = True) -> Record | Reject | None:
    return read_line(1, line.encode(), Reading(timed=timed))


@pytest.mark.parametrize(("line", "kind"), [(CART, CartEvent), (CHECKOUT, CheckoutEvent)])
def test_its_lines_are_events(line: str, kind: type) -> None:
    """As they stand on the page, timestamp included."""
    record = read(line)
    assert isinstance(record, Record)
    assert isinstance(record.event, kind)


@pytest.mark.parametrize(("part", "reason"), REFUSED)
def test_its_table_tells_what_the_reason_says(part: str, reason: str) -> None:
    """The cart event of the page with that field instead."""
    changed = json.loads(CART) | json.loads(f"{{{part}}}")
    reject = read(json.dumps(changed))
    assert isinstance(reject, Reject)
    assert reason in reject.reason


def test_every_field_that_a_line_may_have_is_told() -> None:
    """In the table of fields, and none that no line has."""
    told = {name for row in FIELDS for name in re.findall(r"\w+", row)}
    cart, checkout = json.loads(CART), json.loads(CHECKOUT)
    assert told == {*cart, *checkout, "visitor", "source"}


@pytest.mark.parametrize("command", [replay, reconcile], ids=["replay", "reconcile"])
def test_no_example_invents_a_fingerprint(command: click.Command) -> None:
    """Lines to copy have what the widget said: a shop's own id is for an emulator only."""
    for shown in (command.help or "", PAGE):
        assert '"visitor":' not in shown
        assert not re.search(r"^.*alhena re.* --derive-visitors", shown, re.MULTILINE)


def test_its_options_exist() -> None:
    """Every option that the page names is one of the commands'."""
    commands: list[click.Command] = [replay, reconcile]
    known = {name for command in commands for option in command.params for name in option.opts}
    named = set(re.findall(r"--[a-z-]+[a-z]", PAGE)) - {"--port"}
    assert named <= known
