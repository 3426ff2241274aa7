"""`alhena dead-letters`: look at what ended badly, take it out, send it again, let it go."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from decimal import Decimal
from functools import wraps
from pathlib import Path
from typing import IO, Any, Final

import attrs
import click
from rich.console import RenderableType
from rich.table import Column, Table
from rich.text import Text

from alhena_async._json import dumps_ascii
from alhena_async.cli._broker import Access, access_options, schema_option
from alhena_async.cli._console import Grid, Screen
from alhena_async.cli._dead_letters_boxes import LetterBox, box_at
from alhena_async.cli._dead_letters_replay import ARRIVED, FAILED_AGAIN, SENDING, Replaying
from alhena_async.cli._files import SAFE
from alhena_async.cli._format import Moment, ago, clean, count, iso, money, plural
from alhena_async.cli._options import (
    Command,
    CommandError,
    SendingOptions,
    sending_options,
    with_options,
)
from alhena_async.cli._signals import run
from alhena_async.events import NUMBER_BOUND, exact
from alhena_async.journal import DeadLetter, DeadLetterFilter

__all__ = [
    "dead_letters",
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


@attrs.define
class Export:
    """Writes letters as lines that `alhena replay` reads, and counts them.

    Args:
        write: Takes a line.
    """

    write: Callable[[str], None]
    _written: int = 0
    _unreadable: int = 0
    _company_keys: set[str] = attrs.field(factory=set)

    def add(self, letter: DeadLetter) -> None:
        """Write one, unless it is unreadable."""
        line = letter.line()
        if line is None:
            self._unreadable += 1
            return
        self._written += 1
        self._company_keys.add(letter.company_key)
        self.write(line)

    def told(self) -> str:
        """Return what is to be said of it."""
        told = f"{plural(self._written, 'dead letter')} written"
        if self._unreadable:
            told += f", {self._unreadable} unreadable ones left out"
        if len(self._company_keys) > 1:
            told += (
                f". They are of {len(self._company_keys)} company keys, and `alhena replay` sends "
                "under one: export each with --only-company-key"
            )
        return f"{told}."


@contextmanager
def _written(path: Path, *, force: bool) -> Iterator[Callable[[str], None]]:
    """Make a file of lines, and remove it if it does not become whole.

    Raises:
        CommandError: It is there, or cannot be written.
    """
    try:
        # Never into what is there: it may be a link, or have other readers.
        if force:
            path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | SAFE, 0o600)
        with os.fdopen(descriptor, "wb") as file, _removed_if_broken(path):
            os.fchmod(descriptor, 0o600)
            yield lambda line: _append(file, line)
            file.flush()
    except FileExistsError:
        raise CommandError(f"{path} exists: give another name, or --force to replace it") from None
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}") from None


def _append(file: IO[bytes], line: str) -> None:
    file.write(f"{line}\n".encode())


@contextmanager
def _removed_if_broken(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


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
    click.option("--id", "ids", type=int, multiple=True, metavar="N", help="The one numbered N."),
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


_WHERE: Final = click.argument("where", metavar="DIR|URL")


def _kept(command: Command) -> Command:
    """Give a command the argument WHERE, with what it takes to be there; it arrives as `box`."""

    @wraps(command)
    def packed(
        *arguments: Any, where: str, access: Access, schema: str | None, **given: Any
    ) -> Any:
        return command(*arguments, box=box_at(where, access, schema), **given)

    return _WHERE(access_options(schema_option(packed)))  # type: ignore[return-value]  # one still


@click.group("dead-letters", short_help="Look at events that ended badly, and send them again.")
def dead_letters() -> None:
    """Look at events that ended badly, and send them again.

    DIR|URL is where they are kept: a journal's directory (var/alhena), a broker
    (nats://host:4222) or an outbox (postgresql://user@host/database, sqlite:///shop.db). A journal
    keeps what was rejected, expired, perhaps recorded (unknown) or dropped for want of room,
    bounded by number and age; the others keep what their relays could not deliver. Filters may be
    given several times: the same one widens, different ones narrow.

    \b
    Examples:
      alhena dead-letters list var/alhena
      alhena dead-letters show var/alhena 1
      alhena dead-letters replay var/alhena --code COMPANY_NOT_FOUND
    """  # noqa: D301  click wants the character, not the escape


@dead_letters.command("list", short_help="List them, oldest first.")
@_kept
@_wanted_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, events included.")
def list_letters(box: LetterBox, *, as_json: bool, **filters: Any) -> None:
    """List dead letters, oldest first: events that ended badly, with the reason."""
    screen = Screen()
    listed, waiting = run(_list(box, _filter(**filters), screen, as_json=as_json))
    if listed and not as_json:
        screen.say("")
        screen.say(plural(listed, "dead letter"))
        if waiting:
            where = _typed_where()
            screen.say(f"One with its event: alhena dead-letters show {where} {waiting}")
            screen.say(f"Once the cause is mended: alhena dead-letters replay {where}")
    elif not as_json:
        screen.say("No dead letters." if not any(filters.values()) else "None that match.")
    raise SystemExit(screen.exit_status)


def _typed_where() -> str:
    """Return WHERE as it was typed; a URL that may have a password in it stays out of the log."""
    where = str(click.get_current_context().params["where"])
    return "URL" if "@" in where else clean(where)


async def _list(
    box: LetterBox, wanted: DeadLetterFilter, screen: Screen, *, as_json: bool
) -> tuple[int, int]:
    """Print letters; return how many, and the number of the first that has not arrived since."""
    listed = waiting = 0
    page: list[DeadLetter] = []
    async with box.opened() as letters:
        async for letter in letters.letters(wanted):
            listed += 1
            waiting = waiting or (0 if letter.resent_status in ARRIVED else letter.id)
            if as_json:
                screen.write(plain(letter))
                continue
            page.append(letter)
            if len(page) == _LETTERS_IN_A_TABLE:
                screen.show(table(page, time.time()))
                page = []
    if page:
        screen.show(table(page, time.time()))
    return listed, waiting


_LETTERS_IN_A_TABLE: Final = 1_000
"""More make another table: any number can be listed."""


@dead_letters.command("show", short_help="Show one with its event.")
@_kept
@click.argument("number", type=int, metavar="N")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def show(box: LetterBox, number: int, *, as_json: bool) -> None:
    """Show dead letter N with its reason and its event, fingerprints included."""
    screen = Screen()
    found = run(_found(box, DeadLetterFilter(ids=(number,))))
    if not found:
        raise CommandError(f"{box} holds no dead letter {number}")
    if as_json:
        screen.write(plain(found[0]))
    else:
        screen.show(*shown(found[0], time.time()))
        screen.say("")
    raise SystemExit(screen.exit_status)


async def _found(box: LetterBox, wanted: DeadLetterFilter) -> list[DeadLetter]:
    async with box.opened() as letters:
        return [letter async for letter in letters.letters(wanted)]


@dead_letters.command(short_help="Write them to a file that `alhena replay` reads.")
@_kept
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path, allow_dash=True))
@_wanted_options
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
def export(box: LetterBox, file: Path, *, force: bool, **filters: Any) -> None:
    """Write dead letters to FILE, one JSON object a line, as `alhena replay` reads them.

    The file holds what your visitors did: it is readable by you alone (mode 0600). - is standard
    output. The letters stay where they are.
    """
    screen = Screen()
    wanted = _filter(**filters)
    screen.note(run(_export(box, wanted, file, screen, force=force)))
    raise SystemExit(screen.exit_status)


async def _export(
    box: LetterBox, wanted: DeadLetterFilter, file: Path, screen: Screen, *, force: bool
) -> str:
    async with box.opened() as letters:
        to = nullcontext(screen.write) if file == _STDOUT else _written(file, force=force)
        with to as write:
            export = Export(write)
            async for letter in letters.letters(wanted):
                export.add(letter)
    return export.told()


@dead_letters.command(short_help="Send them again.")
@_WHERE
@access_options
@schema_option
@_wanted_options
@click.option(
    "--again", is_flag=True, help="Also those that were sent again before, whatever became of them."
)
@sending_options(region=None, max_in_flight=8, give_up_after=300)
@click.option(
    "--send-as", metavar="KEY", help="Under this company key. Default: each letter's own."
)
@click.option(
    "--broker",
    "servers",
    metavar="URL[,URL]",
    help="Publish a directory's letters to this broker; --prefix and the like say how.",
)
def replay(
    where: str,
    *,
    access: Access,
    schema: str | None,
    servers: str | None,
    again: bool,
    sending: SendingOptions,
    send_as: str | None,
    **filters: Any,
) -> None:
    """Send dead letters again, oldest first, each visitor's in order.

    Each goes where it was to go, unless --base-url or --region says otherwise. What a publisher
    kept goes to its broker again, which --broker names; a relay delivers it.

    A broker's own letters are published to it again, one after the other and as of now, and each is
    removed once the broker has it: a relay delivers them, and what fails again is a new letter.
    Unreadable ones stay.

    A directory's letter is marked as being sent when its request goes out, and then with what
    became of it. What an earlier run left unsent is sent; of what was under way when that run died,
    orders with an order id and cart events are sent once more, and orders without one stay in
    doubt: the API may have recorded them, and would count them twice. Those, and what failed again,
    are sent once more by --again, or by --sending and --failed-again, which choose them.

    One run at a time sends a directory's letters: another one waits for its end. The API takes no
    timestamps: an event that is sent late counts as of today, so that a late event is a wrong
    event. Think before you send carts of last week.

    \b
    Exit status:
      0    every one of them was recorded or published, now or before, or there is none
      1    some are not: not sent, in doubt, or failed again
      2    it could not begin
      130  Ctrl-C before the end (143: SIGTERM)
    """  # noqa: D301  click wants the character, not the escape
    if sending.base_url is not None and sending.region is not None:
        raise click.UsageError("give --base-url or --region, not both")
    wanted = _filter(**filters)
    how = Replaying(
        again=again or bool(wanted.resent_statuses),
        sending=sending,
        company_key=send_as,
        broker=None if servers is None else access.broker(servers),
    )
    if how.broker is not None and how.goes_elsewhere:
        raise click.UsageError("give --broker, or where they are sent, not both")
    screen = Screen()
    status = run(_replay(box_at(where, access, schema), wanted, how, screen))
    raise SystemExit(status or screen.exit_status)


async def _replay(box: LetterBox, wanted: DeadLetterFilter, how: Replaying, screen: Screen) -> int:
    async with box.opened() as letters:
        return await letters.replay(wanted, how, screen)


@dead_letters.command(short_help="Delete them.")
@_kept
@_wanted_options
@click.option("--yes", is_flag=True, help="Do not ask.")
def purge(box: LetterBox, *, yes: bool, **filters: Any) -> None:
    """Delete dead letters: all of them, or those that the filters say. Asks first.

    --resent means those that arrived when they were sent again; what failed once more stays.
    """
    screen = Screen()
    chosen, failed = run(_chosen(box, _filter(**filters)))
    if failed:
        told = f"{plural(failed, 'dead letter')} did not arrive when sent again, and stay."
        screen.say(told, "yellow")
    if not chosen:
        screen.say("Nothing to delete.")
        raise SystemExit(screen.exit_status)
    if not yes:
        question = f"Delete {plural(len(chosen), 'dead letter')} for good?"
        click.confirm(question, abort=True, err=True)
    screen.say(f"{count(run(_purge(box, chosen)))} deleted.")
    raise SystemExit(screen.exit_status)


async def _chosen(box: LetterBox, wanted: DeadLetterFilter) -> tuple[list[int], int]:
    """Return which letters are to go, and how many stay since they failed once more."""
    chosen: list[int] = []
    failed = 0
    async with box.opened() as letters:
        async for letter in letters.letters(wanted):
            if wanted.resent and letter.resent_status not in ARRIVED:
                failed += 1
            else:
                chosen.append(letter.id)
    return chosen, failed


async def _purge(box: LetterBox, ids: Sequence[int]) -> int:
    async with box.opened() as letters:
        return await letters.purge(ids)
