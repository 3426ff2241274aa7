"""`alhena forget`: a person removed from where events wait."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import attrs
import click

from alhena_async.cli._broker import schema_option
from alhena_async.cli._console import Screen
from alhena_async.cli._forget_journal import forget_in_journal
from alhena_async.cli._format import clean, plural
from alhena_async.cli._options import Seconds, json_option
from alhena_async.cli._outboxes import OutboxAt, is_outbox
from alhena_async.cli._signals import run
from alhena_async.cli._told import told
from alhena_async.errors import InvalidEventError
from alhena_async.events import Visitor
from alhena_async.outbox._contents import Forgotten, forget_visitor

__all__ = ["forget"]

_ELSEWHERE: Final = (
    "name a journal's directory, or an outbox: postgresql://host/database or sqlite:///shop.db. "
    "From a broker's stream nobody can be removed: its messages go as they are delivered, or by "
    "its own limits"
)


@click.command(short_help="Remove a person from a journal or an outbox.")
@click.argument("where", metavar="DIR|URL")
@click.option(
    "--visitor",
    nargs=2,
    metavar="FINGERPRINT FAQ_FINGERPRINT",
    required=True,
    help="Whom, by both fingerprints.",
)
@schema_option
@click.option(
    "--timeout",
    type=Seconds(min=0),
    default=30,
    show_default=True,
    metavar="SECONDS",
    help="Of a journal: how long to wait for the processes that are running.",
)
@json_option
def forget(
    where: str, visitor: tuple[str, str], schema: str | None, timeout: float, *, as_json: bool
) -> None:
    """Remove a person's events and dead letters from a journal's directory, or an outbox.

    DIR is a journal's directory; URL is postgresql://user@host/database or sqlite:///shop.db. What
    was delivered is Alhena's; of a delivered order an outbox keeps the id alone, which names no
    visitor.

    An event with either fingerprint is the person's. In a journal processes that are running are
    asked by a file in DIR, which names nobody: each lets go of what it has, in memory and on disk,
    within seconds, and answers. At the end the bytes of every file in DIR are looked through.

    It reaches neither what a broker holds (its messages go as they are delivered, or by the
    stream's own limits; letters: alhena dead-letters purge) nor copies made by others: exports,
    backups, snapshots of a disk.

    \b
    Exit status:
      0    nothing of the person is left there
      1    of an outbox: something is with a relay right now, which may still send it, or write a
           letter of it: run it again once the lease is over. Of a journal: something is left, or
           may be, as a process did not answer, or a file could not be changed
      2    it could not look

    \b
    Examples:
      alhena forget var/alhena --visitor 550e8400-… 660e8400-…
      alhena forget postgresql://owner@db/shop --visitor 550e8400-… 660e8400-…
      alhena forget sqlite:///shop.db --visitor 550e8400-… 660e8400-…
    """  # noqa: D301  click wants the character, not the escape
    if "://" in where and not is_outbox(where):
        raise click.UsageError(_ELSEWHERE)
    try:
        whom = Visitor(fingerprint=visitor[0], faq_fingerprint=visitor[1])
    except InvalidEventError as error:
        raise click.UsageError(clean(str(error))) from None
    if not is_outbox(where):
        raise SystemExit(forget_in_journal(Path(where), whom, timeout, as_json=as_json))
    raise SystemExit(_show(run(told(_forget(OutboxAt(where, schema), whom))), as_json=as_json))


async def _forget(outbox: OutboxAt, visitor: Visitor) -> Forgotten:
    async with outbox.opened() as contents:
        return await forget_visitor(contents, visitor)


def _show(forgotten: Forgotten, *, as_json: bool) -> int:
    """Say what was removed; return the exit status."""
    screen = Screen()
    if as_json:
        screen.write(json.dumps(attrs.asdict(forgotten)))
    else:
        events, letters = forgotten.waiting, forgotten.letters
        screen.write(
            f"Removed {plural(events, 'event')} that waited, and {plural(letters, 'dead letter')}."
        )
    if forgotten.in_hand:
        screen.note(
            f"{plural(forgotten.in_hand, 'event')} of them may be on the way right now: run it "
            "again once the lease is over.",
            "bold yellow",
        )
    return 1 if forgotten.in_hand else 0
