"""`alhena dead-letters`: look at what ended badly, take it out, send it again, let it go."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import click
from rich.console import RenderableType
from rich.table import Column, Table
from rich.text import Text

from alhena_async._wire import dumps_ascii
from alhena_async.cli._broker import broker_options
from alhena_async.cli._console import Grid, Screen
from alhena_async.cli._dead_letters_replay import ARRIVED, FAILED_AGAIN, SENDING, LetterReplay
from alhena_async.cli._files import SAFE
from alhena_async.cli._format import Moment, ago, clean, count, iso, money, plural
from alhena_async.cli._inspect import DIRECTORY, check_journal
from alhena_async.cli._options import (
    CommandError,
    SendingOptions,
    sending_options,
    with_options,
)
from alhena_async.cli._signals import run
from alhena_async.errors import JournalError
from alhena_async.events import NUMBER_BOUND, exact
from alhena_async.journal import DeadLetter, DeadLetterFilter, DeadLetters
from alhena_async.relay import JetStream

__all__ = [
    "dead_letters",
    "export_letters",
    "plain",
    "shown",
    "table",
]


def plain(letter: DeadLetter) -> str:
    """Return a letter as one line of JSON."""
    return dumps_ascii(
        {
            "id": letter.id,
            "ended": iso(letter.ended),
            "accepted": iso(letter.accepted),
            "kind": letter.kind,
            "status": letter.status,
            "code": letter.code,
            "http_status": letter.http_status,
            "attempts": letter.attempts,
            "detail": letter.detail,
            "order_id": letter.order_id,
            "company_key": letter.company_key,
            "destination": letter.destination,
            "resent": None if letter.resent is None else iso(letter.resent),
            "resent_status": letter.resent_status,
            "resent_detail": letter.resent_detail,
            "event": letter.form() or letter.body,
        }
    )


def table(letters: Sequence[DeadLetter], now: float) -> RenderableType:
    """Return a list of letters.

    Args:
        letters: In order.
        now: Seconds since the epoch.
    """
    grid = Grid(
        *(
            # The reason comes last and may be broken into lines; `show` has all of it.
            Column(name, overflow="fold", min_width=20)
            if name == "Reason"
            else Column(name, no_wrap=True, justify="right" if name in _NUMBERS else "left")
            for name in _COLUMNS
        )
    )
    for letter in letters:
        grid.add_row(*_row(letter, now))
    return grid


_COLUMNS = ("N", "Ended", "Status", "Event", "Value", "Sent again", "Reason")

_NUMBERS = frozenset({"N", "Ended", "Value"})


def _row(letter: DeadLetter, now: float) -> list[Text]:
    form = letter.form() or {}
    return [
        Text(str(letter.id)),
        Text(ago(now - letter.ended)),
        Text(clean(letter.status), "yellow" if letter.status == "dropped" else "bold red"),
        Text(clean(_what(letter, form), limit=30)),
        Text(clean(_value(form))),
        Text(clean(letter.resent_status or ""), _style(letter.resent_status)),
        Text(clean(_reason(letter), limit=72)),
    ]


def shown(letter: DeadLetter, now: float) -> Iterator[RenderableType]:
    """Return everything about a letter.

    Args:
        letter: Which.
        now: Seconds since the epoch.
    """
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    http = f"HTTP {letter.http_status}" if letter.http_status is not None else ""
    resent = ""
    if letter.resent is not None:
        told = " ".join(filter(None, [letter.resent_status, letter.resent_detail]))
        resent = f"{iso(letter.resent)}: {told}"
    for name, text in (
        ("Number", str(letter.id)),
        ("Status", f"{letter.status} after {plural(letter.attempts, 'attempt')}"),
        ("Code", " ".join(filter(None, [letter.code, http]))),
        ("Detail", letter.detail or ""),
        ("Accepted", f"{iso(letter.accepted)}, {ago(now - letter.accepted)} ago"),
        ("Ended", f"{iso(letter.ended)}, {ago(now - letter.ended)} ago"),
        ("Order id", letter.order_id or ""),
        ("Company", letter.company_key),
        ("For", letter.destination),
        ("Sent again", resent),
    ):
        if text:
            grid.add_row(name, Text(clean(text, limit=1_000)))
    yield grid
    yield Text("")
    form = letter.form()
    if form is None:
        yield Text(clean(letter.body, limit=4_000), "red")
        return
    for line in _lines(form):
        yield Text(line)


def _lines(form: dict[str, Any]) -> Iterator[str]:
    for name, value in form.items():
        if isinstance(value, list):
            yield f"{clean(name)}:"
            yield from (f"  {dumps_ascii(line)}" for line in value)
        else:
            yield f"{clean(name)}: {dumps_ascii(value)}"


def _reason(letter: DeadLetter) -> str:
    if letter.code:
        return letter.code
    return letter.detail or (f"HTTP {letter.http_status}" if letter.http_status else "-")


def _what(letter: DeadLetter, form: dict[str, Any]) -> str:
    if letter.kind == "checkout":
        return f"order {letter.order_id or form.get('order_id') or 'without id'}"
    return f"{_WORDS.get(str(form.get('type')), '?')} {form.get('product_id', '?')}"


_WORDS = {
    "ITEM_ADDED": "added",
    "QUANTITY_INCREASED": "increased",
    "QUANTITY_DECREASED": "decreased",
    "ITEM_REMOVED": "removed",
}


def _value(form: dict[str, Any]) -> str:
    value = form.get("value")
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return ""
    if not 0 <= value < NUMBER_BOUND:  # no event's, whatever it is
        return "?"
    return f"{money(exact(value))} {form.get('currency', '')}"


def _style(status: str | None) -> str:
    return "green" if status in ARRIVED else "yellow"


_STDOUT = Path("-")


def export_letters(
    letters: Sequence[DeadLetter], file: Path, screen: Screen, *, force: bool
) -> str:
    """Write letters; return what is to be said of it.

    Args:
        letters: Which, in order.
        file: Where to; `-` is standard output.
        screen: Standard output.
        force: Replace a file that is there.

    Raises:
        CommandError: The file is there, or cannot be written.
    """
    lines = [line for letter in letters if (line := letter.line()) is not None]
    if file == _STDOUT:
        for line in lines:
            screen.write(line)
    else:
        _write(file, "".join(f"{line}\n" for line in lines).encode(), force=force)
    told = f"{plural(len(lines), 'dead letter')} written"
    if len(lines) < len(letters):
        told += f", {len(letters) - len(lines)} unreadable ones left out"
    keys = {letter.company_key for letter in letters}
    if len(keys) > 1:
        told += (
            f". They are of {len(keys)} company keys, and `alhena replay` sends under one: "
            "export each with --only-company-key"
        )
    return f"{told}."


def _write(path: Path, content: bytes, *, force: bool) -> None:
    # Never into what is there: it may be a link, or have other readers.
    try:
        if force:
            path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | SAFE, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)
            file.write(content)
    except FileExistsError:
        raise CommandError(f"{path} exists: give another name, or --force to replace it") from None
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}") from None


_MOMENT: Final = Moment(time.time)

_STATUSES: Final = ("rejected", "expired", "unknown", "dropped", "unreadable")

_WANTED: Final = (
    click.option("--code", "codes", multiple=True, metavar="CODE", help="Refused with this code."),
    click.option(
        "--status", "statuses", multiple=True, metavar="STATUS", type=click.Choice(_STATUSES),
        help=f"Ended so: {', '.join(_STATUSES)}.",
    ),
    click.option("--kind", "kinds", multiple=True, type=click.Choice(["cart", "checkout"])),
    click.option(
        "--only-company-key", "company_keys", multiple=True, metavar="KEY",
        help="Recorded, or to be recorded, under this company key.",
    ),
    click.option("--id", "ids", type=int, multiple=True, metavar="N", help="This letter."),
    click.option(
        "--since", type=_MOMENT, metavar="WHEN",
        help="Ended then or later: an ISO time, or an age such as 2h or 3d.",
    ),
    click.option("--until", type=_MOMENT, metavar="WHEN", help="Ended before then."),
    click.option("--resent/--not-resent", default=None, help="Sent again, or not yet."),
    click.option(
        "--sending", "is_sending", is_flag=True,
        help="Being sent just now, or left so by a run that died.",
    ),
    click.option(
        "--failed-again", is_flag=True, help="Sent again, and neither recorded nor being sent."
    ),
    click.option(
        "--limit", type=click.IntRange(min=1), metavar="N", help="The oldest N of them at most."
    ),
)  # fmt: skip


_wanted_options: Final = with_options(_WANTED)
"""Gives a command the options that say which letters."""


def _filter(*, is_sending: bool, failed_again: bool, **fields: Any) -> DeadLetterFilter:
    statuses = (*((SENDING,) if is_sending else ()), *(FAILED_AGAIN if failed_again else ()))
    return DeadLetterFilter(resent_statuses=statuses, **fields)


@click.group("dead-letters", short_help="Look at events that ended badly, and send them again.")
def dead_letters() -> None:
    """Look at events that ended badly, and send them again.

    A journal keeps what was rejected, expired, perhaps recorded (unknown) or dropped for want of
    room as dead letters, bounded by number and age. Filters may be given several times: the same
    one widens, different ones narrow.
    """


@dead_letters.command("list", short_help="List them, oldest first.")
@DIRECTORY
@_wanted_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, events included.")
def list_letters(directory: Path, *, as_json: bool, **filters: Any) -> None:
    """List dead letters, oldest first."""
    screen = Screen()
    with _opened(directory) as box:
        letters = box.list(_filter(**filters))
    if as_json:
        for letter in letters:
            screen.write(plain(letter))
    elif letters:
        screen.show(table(letters, time.time()))
        screen.say("")
        screen.say(plural(len(letters), "dead letter"))
    else:
        screen.say("No dead letters." if not any(filters.values()) else "None that match.")
    raise SystemExit(screen.exit_status)


@dead_letters.command("show", short_help="Show one with its event.")
@DIRECTORY
@click.argument("number", type=int, metavar="N")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def show(directory: Path, number: int, *, as_json: bool) -> None:
    """Show dead letter N with its reason and its event, fingerprints included."""
    screen = Screen()
    with _opened(directory) as box:
        found = box.list(DeadLetterFilter(ids=(number,)))
    if not found:
        raise CommandError(f"{directory} holds no dead letter {number}")
    if as_json:
        screen.write(plain(found[0]))
    else:
        screen.show(*shown(found[0], time.time()))
        screen.say("")
    raise SystemExit(screen.exit_status)


@dead_letters.command(short_help="Write them to a file that `alhena replay` reads.")
@DIRECTORY
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path, allow_dash=True))
@_wanted_options
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
def export(directory: Path, file: Path, *, force: bool, **filters: Any) -> None:
    """Write dead letters to FILE, one JSON object a line, as `alhena replay` reads them.

    The file holds what your visitors did: it is readable by you alone (mode 0600). - is standard
    output. The letters stay where they are.
    """
    screen = Screen()
    with _opened(directory) as box:
        letters = box.list(_filter(**filters))
    told = export_letters(letters, file, screen, force=force)
    screen.note(told)
    raise SystemExit(screen.exit_status)


@dead_letters.command(short_help="Send them again.")
@DIRECTORY
@_wanted_options
@click.option(
    "--again", is_flag=True, help="Also those that were sent again before, whatever became of them."
)
@sending_options(region=None, max_in_flight=8, give_up_after=300)
@click.option(
    "--send-as", metavar="KEY", help="Under this company key. Default: each letter's own."
)
@broker_options(required=False)
def replay(
    directory: Path,
    *,
    again: bool,
    sending: SendingOptions,
    send_as: str | None,
    broker: JetStream | None,
    **filters: Any,
) -> None:
    """Send dead letters again, oldest first, each visitor's in order.

    Each goes where it was to go, unless --base-url or --region says otherwise. What a publisher
    kept goes to its broker again, which --broker names; a relay delivers it.

    Each is marked as being sent when its request goes out, and then with what became of it. What an
    earlier run left unsent is sent; of what was under way when that run died, orders with an order
    id and cart events are sent once more, and orders without one stay in doubt: the API may have
    recorded them, and would count them twice. Those, and what failed again, are sent once more by
    --again, or by --sending and --failed-again, which choose them.

    One run at a time sends a directory's letters: another one waits for its end. The API takes no
    timestamps: an event that is sent late counts as of today, so that a late event is a wrong
    event. Think before you send carts of last week.

    \b
    Exit status:
      0    every one of them was recorded, now or before, or there is none
      1    some are not: not sent, in doubt, or failed again
      2    it could not begin
      130  Ctrl-C before the end (143: SIGTERM)
    """  # noqa: D301  click wants the character, not the escape
    if sending.base_url is not None and sending.region is not None:
        raise click.UsageError("give --base-url or --region, not both")
    if broker is not None and (sending.base_url or sending.region):
        raise click.UsageError("give --broker, or where they are sent, not both")
    wanted = _filter(**filters)
    screen = Screen()
    with _opened(directory) as box:
        resending = LetterReplay(
            box,
            wanted,
            again=again or bool(wanted.resent_statuses),
            sending=sending,
            company_key=send_as,
            screen=screen,
            broker=broker,
        )
        status = run(resending.run())
    raise SystemExit(status or screen.exit_status)


@dead_letters.command(short_help="Delete them.")
@DIRECTORY
@_wanted_options
@click.option("--yes", is_flag=True, help="Do not ask.")
def purge(directory: Path, *, yes: bool, **filters: Any) -> None:
    """Delete dead letters: all of them, or those that the filters say. Asks first.

    --resent means those that arrived when they were sent again; what failed once more stays.
    """
    screen = Screen()
    with _opened(directory) as box:
        found = box.list(_filter(**filters))
        keep_failed = filters["resent"]
        chosen = [one.id for one in found if not keep_failed or one.resent_status in ARRIVED]
        if len(chosen) < len(found):
            failed = plural(len(found) - len(chosen), "dead letter")
            screen.say(f"{failed} did not arrive when sent again, and stay.", "yellow")
        if not chosen:
            screen.say("Nothing to delete.")
            raise SystemExit(screen.exit_status)
        if not yes:
            question = f"Delete {plural(len(chosen), 'dead letter')} for good?"
            click.confirm(question, abort=True, err=True)
        gone = box.purge(DeadLetterFilter(ids=tuple(chosen)))
    screen.say(f"{count(gone)} deleted.")
    raise SystemExit(screen.exit_status)


@contextmanager
def _opened(directory: Path) -> Iterator[DeadLetters]:
    try:
        check_journal(directory)
        with DeadLetters(directory) as letters:
            yield letters
    except JournalError as error:
        raise CommandError(str(error)) from None
